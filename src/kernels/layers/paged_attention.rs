//! Softmax attention over some pages of the keys.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::Lowering;
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::layers::attention::{Attended, Attention, CHUNK, Pages};
use crate::kernels::operands::{lengths_or_full, scale_of};
use crate::kernels::{Heads, convert};
use crate::options;
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

/// The first number that is no page's: lists are read as f32.
const NO_PAGE: u32 = 1 << 24;

/// Softmax attention over pages of a cache: the keys are those of a list of pages, and nothing else is read.
///
/// ```text
/// keys of a row = page * size + 0 .. size - 1 for each page of its list, below the live keys
/// rows[b,h,i]   = sum_j softmax_j(scale * queries[b,h,i] . keys[b, h / (H / Hkv), j]) values[b, h / (H / Hkv), j]
/// ```
///
/// The list is on the GPU, and nothing is copied. With pages of one key it is a list of keys. [`Quest`](crate::methods::Quest) makes such lists.
///
/// - What the list says after its live entries does not matter. An entry that is no page ([`NONE`](crate::NONE) among them) adds nothing, nor
///   does a key of a page at or beyond the live ones. A page that is listed twice counts twice.
/// - A row that sees no key is 0, and its log-sum-exp is negative infinity. NaN and infinities are as in [`Attention`].
/// - Keys are summed in the order of the list, in chunks of 256.
///
/// Cost: two dispatches; 2 M n (D + V) operations a head for n keys of the list, and their keys and values are read once for every 4 query rows.
///
/// ```
/// use tokenpress::kernels::{PagedAttention, PagedInputs};
/// use tokenpress::{Graph, HostTensor, NONE};
///
/// let mut graph = Graph::new();
/// let keys = graph.constant(HostTensor::f32([1, 1, 6, 1], vec![0.0; 6]));
/// let values = graph.constant(HostTensor::f32([1, 1, 6, 1], vec![1.0, 2.0, 3.0, 4.0, 5.0, 9.0]));
/// let queries = graph.constant(HostTensor::f32([1, 1, 1, 1], vec![0.0]));
/// let pages = graph.constant(HostTensor::u32([1, 1, 3], vec![2, 0, NONE]));
/// let inputs = PagedInputs { queries, keys, values, pages, counts: None, lengths: None };
/// let attended = PagedAttention { page: 2, ..PagedAttention::default() }.build(&mut graph, inputs)?;
/// graph.output("rows", attended.rows)?;
/// // Keys 4, 5, 0 and 1.
/// assert_eq!(graph.run_reference(&[].into())?["rows"].floats(), [4.25]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("block_sparse", "sparse_attention", "page_table"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PagedAttention {
    /// Keys of a page, a power of two up to 65536.
    pub page: u32,
    /// Factor of the dot products; `1 / sqrt(D)` for `None`.
    pub scale: Option<f32>,
    /// Whether the rows' log-sum-exp is an output too.
    pub lse: bool,
}

/// Quest's pages.
impl Default for PagedAttention {
    fn default() -> Self {
        Self { page: 16, scale: None, lse: false }
    }
}

/// What [`PagedAttention::build`] reads.
#[derive(Debug, Clone, Copy)]
pub struct PagedInputs {
    /// `[B, H, M, D]`, f32, f16 or bf16; all rows are live.
    pub queries: Tensor,
    /// `[B, Hkv, N, D]` of the same element type; H is a multiple of Hkv, and head h attends to head `h / (H / Hkv)`.
    pub keys: Tensor,
    /// `[B, Hkv, N, V]` of the same element type, V at least 1.
    pub values: Tensor,
    /// u32 `[B, H, P]`: a list for each query head, or `[B, 1, P]` for all of them.
    pub pages: Tensor,
    /// u32 `[B]`: live entries of the lists. All for `None`.
    pub counts: Option<Tensor>,
    /// u32 `[B]`: live keys. All for `None`.
    pub lengths: Option<Tensor>,
}

impl PagedAttention {
    /// Adds the call.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for tensors other than [`PagedInputs`] says; [`Error::Value`] for a page that is no power of two, and
    /// for more than 2^24 pages or 2^31 keys of a list.
    pub fn build(self, graph: &mut Graph, inputs: PagedInputs) -> Result<Attended, Error> {
        let PagedInputs { queries, keys, values, pages, counts, lengths } = inputs;
        let [batch, lists, entries] = pages.shape().exactly("paged_attention: pages", "[B, H, P]")?;
        let [_, _, tokens, _] = keys.shape().exactly("paged_attention: keys", "[B, Hkv, N, D]")?;
        expect("paged_attention: pages", pages.desc(), Desc::new([batch, lists, entries], Elem::U32))?;
        // In the place of a bias.
        let pages = convert(graph, pages, Elem::F32)?;
        let pages = graph.reshape(pages, [batch, lists, 1, entries])?;
        let lengths = lengths_or_full(graph, lengths, batch, tokens);
        let counts = lengths_or_full(graph, counts, batch, entries);
        let outputs = graph.call(self, &[queries, keys, values, lengths, counts, pages])?;
        Ok(Attended { rows: outputs[0], lse: outputs.get(1).copied() })
    }

    fn attention(self) -> Attention {
        Attention { scale: self.scale, lse: self.lse, ..Attention::default() }
    }

    /// Each head of each batch row as an attention over what its list has: `of` gives rows and log-sum-exp.
    fn each<T>(
        self,
        inputs: &[&HostTensor],
        of: impl Fn(&reference::Attention<'_>, &reference::Values<'_>) -> (Vec<T>, Vec<T>),
    ) -> (Vec<T>, Vec<T>) {
        let [batch, heads, count, depth] = inputs[0].dims();
        let [_, key_heads, tokens, _] = inputs[1].dims();
        let [_, _, _, width] = inputs[2].dims();
        let [_, lists, _, entries] = inputs[5].dims();
        let [queries, keys, values, pages] = [0, 1, 2, 5].map(|input| inputs[input].floats());
        let (mut rows, mut sums) = (Vec::new(), Vec::new());
        for (b, h) in (0..batch).flat_map(|b| (0..heads).map(move |h| (b, h))) {
            let live = (inputs[3].integers()[b] as usize).min(tokens);
            let listed = (inputs[4].integers()[b] as usize).min(entries);
            let list = &pages[(b * lists + if lists == 1 { 0 } else { h }) * entries..][..listed];
            let first = |page: &f32| (*page < NO_PAGE as f32).then_some(*page as usize * self.page as usize);
            let found: Vec<usize> =
                list.iter().filter_map(first).flat_map(|first| first..first + self.page as usize).filter(|key| *key < live).collect();
            // The chunked form is chosen whatever the number of keys is.
            let room = found.len().max(CHUNK as usize + 1);
            let of_head = (b * key_heads + h / (heads / key_heads)) * tokens;
            let gathered = |x: &[f32], width: usize| {
                let mut all: Vec<f32> = found.iter().flat_map(|key| x[(of_head + key) * width..][..width].to_vec()).collect();
                all.resize(room * width, 0.0);
                all
            };
            let (own_keys, own_values) = (gathered(&keys, depth), gathered(&values, width));
            let attention = reference::Attention {
                queries: &queries[(b * heads + h) * count * depth..][..count * depth],
                keys: &own_keys,
                bias: None,
                lengths: &[found.len() as u32],
                query_lengths: &[count as u32],
                heads: 1,
                key_heads: 1,
                query_count: count,
                key_count: room,
                channels: depth,
                scale: scale_of(self.scale, depth as u32),
                causal: false,
            };
            let values = reference::Values { limits: self.attention().limits(), values: &own_values, channels: width, bias: None };
            let (own_rows, own_sums) = of(&attention, &values);
            rows.extend(own_rows);
            sums.extend(own_sums);
        }
        (rows, sums)
    }
}

impl Kernel for PagedAttention {
    fn name(&self) -> &'static str {
        "paged_attention"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["rows", "lse"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, heads, count, depth] = inputs[0].shape.exactly("paged_attention: queries", "[B, H, M, D]")?;
        let [_, key_heads, tokens, _] = inputs[1].shape.exactly("paged_attention: keys", "[B, Hkv, N, D]")?;
        let [_, _, _, width] = inputs[2].shape.exactly("paged_attention: values", "[B, Hkv, N, V]")?;
        let [_, lists, _, entries] = inputs[5].shape.exactly("paged_attention: pages", "[B, H, 1, P]")?;
        let elem = inputs[0].elem;
        if !elem.is_float() {
            return Err(Error::Elem { argument: "paged_attention: queries", expected: "f32, f16 or bf16", actual: elem });
        }
        let grouped = if key_heads == 0 { heads == 0 } else { heads.is_multiple_of(key_heads) };
        if !grouped {
            let expected = format!("a number of heads that divides {heads}");
            return Err(Error::Shape { argument: "paged_attention: keys", expected, actual: inputs[1].shape });
        }
        expect("paged_attention: keys", inputs[1], Desc::new([batch, key_heads, tokens, depth], elem))?;
        expect("paged_attention: values", inputs[2], Desc::new([batch, key_heads, tokens, width], elem))?;
        if width == 0 {
            let expected = "values of at least one channel".to_owned();
            return Err(Error::Shape { argument: "paged_attention: values", expected, actual: inputs[2].shape });
        }
        expect("paged_attention: lengths", inputs[3], Desc::new([batch], Elem::U32))?;
        expect("paged_attention: counts", inputs[4], Desc::new([batch], Elem::U32))?;
        let lists = if lists == 1 { 1 } else { heads };
        expect("paged_attention: pages", inputs[5], Desc::new([batch, lists, 1, entries], Elem::F32))?;
        options::within("paged_attention: page", 1..=1 << 16, self.page)?;
        let wrong = |argument, expected: &str, actual: String| Err(Error::Value { argument, expected: expected.to_owned(), actual });
        if !self.page.is_power_of_two() {
            return wrong("paged_attention: page", "a power of two", self.page.to_string());
        }
        if tokens / self.page >= NO_PAGE {
            return wrong("paged_attention: keys", "fewer than 2^24 pages", (tokens / self.page).to_string());
        }
        if u64::from(entries) * u64::from(self.page) > 1 << 31 {
            return wrong("paged_attention: pages", "at most 2^31 keys of a list", format!("{entries} pages of {}", self.page));
        }
        let rows = Desc::new([batch, heads, count, width], elem);
        Ok([rows].into_iter().chain(self.lse.then(|| Desc::new([batch, heads, count], Elem::F32))).collect())
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let (rows, sums) = self.each(inputs, reference::attention);
        let [batch, heads, count, _] = inputs[0].dims().map(|d: usize| d as u32);
        let [_, _, _, width] = inputs[2].dims().map(|d: usize| d as u32);
        let rows = HostTensor::from_floats(Desc::new([batch, heads, count, width], inputs[0].desc().elem), rows);
        [rows].into_iter().chain(self.lse.then(|| HostTensor::f32([batch, heads, count], sums))).collect()
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let elem = inputs[0].desc().elem;
        let (rows, sums) = self.each(inputs, |attention, values| reference::attention_bound(attention, values, elem));
        expected.iter().zip(actual).zip([rows, sums]).map(|((e, a), bounds)| Comparison::within(e, a, &bounds)).collect()
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true; 6])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        let of = |input: usize, axis: usize| u64::from(inputs[input].shape.dims().get(axis).copied().unwrap_or(0));
        2 * of(0, 0) * of(0, 1) * of(0, 2) * of(5, 3) * u64::from(self.page) * (of(0, 3) + of(2, 3))
    }

    fn bytes(&self, inputs: &[Desc], outputs: &[Desc]) -> u64 {
        // Of keys and values the listed pages.
        let of = |input: usize, axis: usize| u64::from(inputs[input].shape.dims().get(axis).copied().unwrap_or(0));
        let listed = of(5, 3).saturating_mul(u64::from(self.page)).min(of(1, 2));
        let cache = of(1, 0) * of(1, 1) * listed * (of(1, 3) + of(2, 3)) * inputs[1].elem.size();
        let others = [0, 3, 4, 5].map(|input: usize| inputs[input].bytes()).iter().sum::<u64>();
        cache + others + outputs.iter().map(|desc| desc.bytes()).sum::<u64>()
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [_, _, _, entries] = lowering.input(5).shape.exactly("paged_attention: pages", "[B, H, 1, P]")?;
        let pages = Pages { entries, bits: self.page.trailing_zeros() };
        Attention { heads: Heads::First, ..self.attention() }.lower_over(lowering, Some(pages))
    }
}
