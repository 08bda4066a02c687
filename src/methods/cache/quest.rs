//! Quest: pages of a cache are chosen at each step, and nothing is evicted.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Activation, Attended, AttentionInputs, AttentionScore, HeadReduction, Norm, Order, PaddedWindows, PagedAttention, PagedInputs, Pool,
    Queries, RowReduction, TopK, TopKInputs, Windows, activate, add, reduce, scale,
};
use crate::methods::cache::Cache;
use crate::methods::cache::snapkv::group_statistic;
use crate::methods::cache::state::{Rows, to_heads};
use crate::methods::parts::lists::product as times;
use crate::options;
use crate::token_map::count_by_length;

/// Attention over the pages of a cache that a query may attend to most; the others stay for the next query.
///
/// ```text
/// page p of `page` tokens, for each channel c:   high[p, c] = max of its keys,   low[p, c] = min of its keys
/// bound[p] = sum_c max(q_c high[p, c], q_c low[p, c])                            no key of the page has a larger product with q
/// the best max(3, budget / page) pages are attended to
/// ```
///
/// Tang et al., "Quest: Query-Aware Sparsity for Efficient Long-Context LLM Inference" (ICML 2024). Each query head has pages of its own, as in
/// the authors' code. Their first two layers attend to everything: leave Quest out there. A reduction over the heads that read one key
/// head, as RocketKV has it, is [`Quest::group`].
///
/// Bounds are of the live keys of a page ([`Quest::bounds`]). They change for the last pages alone while a text grows, so that a runtime keeps
/// them beside its cache; [`Quest::choose`] takes them.
///
/// - Ties go to the earlier page. A NaN in a key is passed over, and a page of NaN alone ranks last.
/// - A budget of as many tokens as are live gives the whole attention.
///
/// Cost: bounds read the keys once; a step reads `2 N / page` rows of bounds in place of N keys, then the chosen pages. About ten dispatches.
///
/// ```
/// use tokenpress::methods::{Cache, Quest};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let keys = graph.constant(HostTensor::f32([1, 1, 6, 1], vec![1.0, -9.0, 2.0, 3.0, 0.0, 1.0]));
/// let cache = Cache::new(&mut graph, keys, keys)?;
/// let query = graph.constant(HostTensor::f32([1, 1, 1, 1], vec![-1.0]));
/// let quest = Quest { page: 2, budget: 2, least: 1, ..Quest::default() };
/// let bounds = quest.bounds(&mut graph, &cache)?;
/// let (pages, _) = quest.choose(&mut graph, &cache, &bounds, query)?;
/// graph.output("pages", pages)?;
/// // The key -9 has a product of 9.
/// assert_eq!(graph.run_reference(&[].into())?["pages"].integers(), [0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("page_selection", "sparse_attention"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quest {
    /// Tokens of a page, a power of two up to 65536.
    pub page: u32,
    /// Tokens that a query attends to.
    pub budget: u32,
    /// Pages at least.
    pub least: u32,
    /// How the bounds of the query heads that read one key head become one, [`HeadReduction::None`] for pages of each query head's own.
    pub group: HeadReduction,
}

/// The authors' pages of 16, and a budget of 1024 tokens.
impl Default for Quest {
    fn default() -> Self {
        Self { page: 16, budget: 1024, least: 3, group: HeadReduction::None }
    }
}

/// Bounds of the keys of each page.
#[derive(Debug, Clone, Copy)]
pub struct PageBounds {
    /// The largest number of each channel, `[B * Hkv, pages, D]`, of the keys' element type.
    pub high: Tensor,
    /// The least number of each channel with its sign turned, `[B * Hkv, pages, D]`.
    pub minus_low: Tensor,
}

impl Quest {
    /// The bounds of all pages of a cache; the last one may have fewer tokens.
    ///
    /// # Errors
    /// [`Error::Value`] for a page of 0, and those of [`Cache`].
    pub fn bounds(&self, graph: &mut Graph, cache: &Cache) -> Result<PageBounds, Error> {
        let Rows { tokens, keys, lengths, .. } = cache.rows(graph)?;
        options::within("quest: page", 1..=1 << 16, self.page)?;
        let windows = PaddedWindows { partial: true, ..PaddedWindows::sequence(self.page, self.page) };
        let largest = Pool::Max(Windows::Padded(windows));
        let high = largest.build(graph, keys, [1, tokens], Some(lengths))?;
        let turned = scale(graph, keys, -1.0)?;
        let minus_low = largest.build(graph, turned, [1, tokens], Some(lengths))?;
        Ok(PageBounds { high, minus_low })
    }

    /// The pages for queries `[B, H, 1, D]` with their rotary embedding, u32 `[B * Hkv, H / Hkv, P]` or `[B * Hkv, 1, P]`, ascending, and how many
    /// each list has, u32 `[B * Hkv]`.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other tensors, [`Error::Value`] for a page of 0.
    pub fn choose(&self, graph: &mut Graph, cache: &Cache, bounds: &PageBounds, queries: Tensor) -> Result<(Tensor, Tensor), Error> {
        let rows = cache.rows(graph)?;
        let Rows { rows: count, tokens, depth, lengths, .. } = rows;
        options::within("quest: page", 1..=1 << 16, self.page)?;
        let shape = queries.shape();
        let queries = rows.queries(graph, queries)?;
        let [_, group, 1, _] = *queries.shape().dims() else {
            return Err(Error::Shape { argument: "quest: queries", expected: "[B, H, 1, D]".to_owned(), actual: shape });
        };
        let pages = tokens.div_ceil(self.page);
        let (live, _) = count_by_length(graph, lengths, tokens, |live| live.div_ceil(self.page))?;
        let product = AttentionScore {
            queries: Queries::All,
            norm: Norm::Logits,
            rows: RowReduction::Sum,
            heads: HeadReduction::None,
            ..AttentionScore::default()
        };
        // max(q high, q low) = relu(q) high + relu(-q) (-low)
        let turned = scale(graph, queries, -1.0)?;
        let mut part = |queries: Tensor, bound: Tensor| {
            let queries = activate(graph, queries, Activation::Relu)?;
            let bound = graph.reshape(bound, [count, 1, pages, depth])?;
            let all = graph.filled([count], 1);
            let inputs = AttentionInputs { lengths: Some(live), query_lengths: Some(all), ..AttentionInputs::new(queries, bound) };
            Ok::<_, Error>(product.clone().build(graph, inputs)?.score)
        };
        let (above, below) = (part(queries, bounds.high)?, part(turned, bounds.minus_low)?);
        let bound = add(graph, above, below)?;
        let (bound, lists) = match self.group {
            HeadReduction::None => (bound, group),
            reduction => {
                let statistic = group_statistic("quest: group", reduction)?;
                let one = reduce(graph, bound, 1, statistic, None)?;
                (graph.reshape(one, [count, 1, pages])?, 1)
            }
        };
        let wanted = |live: u32| (self.budget / self.page).max(self.least).min(live.div_ceil(self.page));
        let (counts, most) = count_by_length(graph, lengths, tokens, wanted)?;
        let all = times("quest: queries", shape, count, lists)?;
        let bound = graph.reshape(bound, [all, pages])?;
        let (live, each) = (to_heads(graph, live, lists)?, to_heads(graph, counts, lists)?);
        let inputs = TopKInputs { lengths: Some(live), counts: Some(each), ..TopKInputs::new(bound) };
        let chosen = TopK { k: most, order: Order::Index, ..TopK::default() }.build(graph, inputs)?.indices;
        Ok((graph.reshape(chosen, [count, lists, most])?, counts))
    }

    /// The attention of queries `[B, H, 1, D]` over the pages that these bounds choose: `[B, H, 1, V]`. No key is copied.
    ///
    /// # Errors
    /// Those of [`Quest::choose`], [`Error::Value`] for a page that is no power of two, and [`Error::Elem`] for values of another element type than
    /// the keys'.
    pub fn attend(&self, graph: &mut Graph, cache: &Cache, bounds: &PageBounds, queries: Tensor) -> Result<Attended, Error> {
        let rows = cache.rows(graph)?;
        let (pages, counts) = self.choose(graph, cache, bounds, queries)?;
        let [batch, heads, one, _] = queries.shape().exactly("quest: queries", "[B, H, 1, D]")?;
        let [_, _, _, width] = cache.values.shape().exactly("cache: values", "[B, Hkv, N, V]")?;
        let inputs = PagedInputs {
            queries: rows.queries(graph, queries)?,
            keys: rows.one_head(graph)?,
            values: graph.reshape(cache.values, [rows.rows, 1, rows.tokens, width])?,
            pages,
            counts: Some(counts),
            lengths: Some(rows.lengths),
        };
        let attended = PagedAttention { page: self.page, lse: true, ..PagedAttention::default() }.build(graph, inputs)?;
        let rows = graph.reshape(attended.rows, [batch, heads, one, width])?;
        let lse = attended.lse.map(|lse| graph.reshape(lse, [batch, heads, one])).transpose()?;
        Ok(Attended { rows, lse })
    }
}
