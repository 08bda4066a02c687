//! How much of its attention a compression forgets.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Attention, Elementwise, Heads, Operation, QueryKeyValue, add, convert, gather_rows, multiply, row_normalize};
use crate::methods::cache::state::to_heads;
use crate::methods::cache::{Cache, Evicted};
use crate::methods::parts::lists::product;
use crate::tensor::Elem;
use crate::token_map::TokenMap;

/// How much of the attention of each query went to tokens that are gone, and how far that moves its output.
///
/// ```text
/// a[j] = the softmax weights of a query over all tokens that it sees, E = those that are gone
/// share  = sum_{j in E} a[j]
/// change = |o' - o| = share |o' - o_E|        o: the output over all, o': over what is left, o_E: over what is gone, all with softmax
/// norm   = |o|
/// ```
///
/// It is one measure for every method: for an eviction from a cache ([`Evicted::forgotten`]) and for every pruning that gives a
/// [`TokenMap`] ([`forgotten`]). The queries are those that matter: the last ones of a prompt, as SnapKV looks at them, or all of a layer. The
/// mean over queries is [`reduce`](crate::kernels::reduce()) of `share`; `change` over `norm` is the relative change.
///
/// The change is exact, not a bound: `o` is the mean of `o'` and `o_E` with weights `1 - share` and `share`.
///
/// - A query that sees nothing has 0 throughout. One that sees only what is gone has the share 1, and its output becomes 0.
/// - A token that was merged into another is not gone: its attention goes to where it went. What merging changes is not measured.
/// - A NaN that a query sees makes its numbers NaN.
#[doc(alias("attention_mass", "forget_error", "audit"))]
#[derive(Debug, Clone, Copy)]
pub struct Forgotten {
    /// f32 `[B, H, M]`, 0 to 1, rounded once to the element type of the keys.
    pub share: Tensor,
    /// f32 `[B, H, M]`, in the units of the values.
    pub change: Tensor,
    /// f32 `[B, H, M]`: the length of the output before.
    pub norm: Tensor,
}

/// What these queries lose of their attention over `inputs` by a compression of its keys.
///
/// `inputs` and `attention` are those of the layer before it was compressed, with [`Heads::First`]; whether `lse` is asked for does not
/// matter. `map` has a row for each batch row, or for each of its key heads: row `b * Hkv + h`.
///
/// Cost: three attentions (over what is left, over what is gone, and one with a single channel), two small dispatches for their masks, and
/// about six over the outputs.
///
/// ```
/// use tokenpress::kernels::{Attention, QueryKeyValue};
/// use tokenpress::methods::forgotten;
/// use tokenpress::{Graph, HostTensor, NONE, TokenMap};
///
/// let mut graph = Graph::new();
/// let mut rows = |values: Vec<f32>| graph.constant(HostTensor::f32([1, 1, values.len() as u32, 1], values));
/// let (queries, keys, values) = (rows(vec![0.0]), rows(vec![1.0; 4]), rows(vec![1.0, 1.0, 1.0, 5.0]));
/// let inputs = QueryKeyValue { queries, keys, values, bias: None, lengths: None, query_lengths: None };
/// // The last of four tokens goes.
/// let parent = graph.constant(HostTensor::u32([1, 4], vec![0, 1, 2, NONE]));
/// let representative = graph.constant(HostTensor::u32([1, 3], vec![0, 1, 2]));
/// let lengths = graph.constant(HostTensor::u32([1], vec![3]));
/// let map = TokenMap { parent, representative, lengths };
/// let lost = forgotten(&mut graph, Attention::default(), inputs, &map)?;
/// for (name, tensor) in [("share", lost.share), ("change", lost.change), ("norm", lost.norm)] {
///     graph.output(name, tensor)?;
/// }
/// let out = graph.run_reference(&[].into())?;
/// assert_eq!([&out["share"], &out["change"], &out["norm"]].map(|x| x.floats()[0]), [0.25, 1.0, 2.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
///
/// # Errors
/// Those of [`Attention::build`], [`Error::Shape`] for a map of other rows or tokens, and [`Error::Value`] for [`Heads::Last`].
pub fn forgotten(graph: &mut Graph, attention: Attention, inputs: QueryKeyValue, map: &TokenMap) -> Result<Forgotten, Error> {
    if attention.heads != Heads::First {
        let (expected, actual) = ("Heads::First".to_owned(), format!("{:?}", attention.heads));
        return Err(Error::Value { argument: "forgotten: heads", expected, actual });
    }
    let [batch, heads, count, depth] = inputs.queries.shape().exactly("forgotten: queries", "[B, H, M, D]")?;
    let [_, key_heads, tokens, _] = inputs.keys.shape().exactly("forgotten: keys", "[B, Hkv, N, D]")?;
    let [_, _, _, width] = inputs.values.shape().exactly("forgotten: values", "[B, Hkv, N, V]")?;
    let rows = product("forgotten: keys", inputs.keys.shape(), batch, key_heads)?;
    let group = heads.checked_div(key_heads).unwrap_or(0);
    let outputs = product("forgotten: queries", inputs.queries.shape(), batch, heads)?;
    let outputs = product("forgotten: queries", inputs.queries.shape(), outputs, count)?;
    let parent = match *map.parent.shape().dims() {
        [of_map, old] if of_map == rows && old == tokens => map.parent,
        [of_map, old] if of_map == batch && old == tokens => to_heads(graph, map.parent, key_heads)?,
        _ => {
            let expected = format!("[{batch}, {tokens}] or [{rows}, {tokens}]");
            return Err(Error::Shape { argument: "forgotten: parent", expected, actual: map.parent.shape() });
        }
    };
    let [_, left] = map.representative.shape().exactly("forgotten: representative", "[rows, new]")?;
    // One number for what is left, and one for what is gone.
    let mut either = |here: f32, gone: f32| {
        let here = graph.filled_f32([rows, left], here);
        let gone = graph.filled_f32([rows, tokens], gone);
        gather_rows(graph, here, parent, Some(gone))
    };
    let (of_left, of_gone, is_gone) = (either(0.0, f32::NEG_INFINITY)?, either(f32::NEG_INFINITY, 0.0)?, either(0.0, 1.0)?);
    let is_gone = convert(graph, is_gone, inputs.keys.elem())?;

    // Each key head is a batch row of its own.
    let mut live = |lengths: Option<Tensor>| lengths.map(|lengths| to_heads(graph, lengths, key_heads)).transpose();
    let (lengths, query_lengths) = (live(inputs.lengths)?, live(inputs.query_lengths)?);
    let bias = match inputs.bias {
        None => None,
        Some(bias) => {
            let [_, _, each, _] = bias.shape().exactly("forgotten: bias", "[B, H, M, N]")?;
            let none = graph.filled_f32([batch, heads, each, tokens], 0.0);
            let bias = add(graph, none, bias)?;
            Some(graph.reshape(bias, [rows, group, each, tokens])?)
        }
    };
    let own = QueryKeyValue {
        queries: graph.reshape(inputs.queries, [rows, group, count, depth])?,
        keys: graph.reshape(inputs.keys, [rows, 1, tokens, depth])?,
        values: graph.reshape(inputs.values, [rows, 1, tokens, width])?,
        bias,
        lengths,
        query_lengths,
    };
    let attend = |graph: &mut Graph, inputs: QueryKeyValue| {
        let rows = Attention { lse: false, ..attention }.build(graph, inputs)?.rows;
        let rows = convert(graph, rows, Elem::F32)?;
        graph.reshape(rows, [1, outputs, inputs.values.shape().dims()[3]])
    };
    let over = |graph: &mut Graph, hidden: Tensor| {
        let hidden = graph.reshape(hidden, [rows, 1, 1, tokens])?;
        let bias = match bias {
            None => hidden,
            Some(bias) => add(graph, bias, hidden)?,
        };
        attend(graph, QueryKeyValue { bias: Some(bias), ..own })
    };
    let after = over(graph, of_left)?;
    let gone = over(graph, of_gone)?;
    let values = graph.reshape(is_gone, [rows, 1, tokens, 1])?;
    let share = attend(graph, QueryKeyValue { values, ..own })?;

    let less = Elementwise { operation: Operation::Add, scale: -1.0, ..Elementwise::default() };
    let apart = less.build(graph, after, gone)?;
    let moved = multiply(graph, apart, share)?;
    let before = less.build(graph, after, moved)?;
    let change = row_normalize(graph, moved, None)?.norm;
    let norm = row_normalize(graph, before, None)?.norm;
    let [share, change, norm] = [share, change, norm].map(|x| graph.reshape(x, [batch, heads, count]));
    Ok(Forgotten { share: share?, change: change?, norm: norm? })
}

impl Evicted {
    /// What the last queries `[B, H, M, D]`, with their rotary embedding, lose by this eviction from `before`; query i sees the live keys up to
    /// its own, which is the M - i th from the end. See [`Forgotten`].
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other tensors, values of another element type than keys among them.
    pub fn forgotten(&self, graph: &mut Graph, before: &Cache, queries: Tensor) -> Result<Forgotten, Error> {
        let rows = before.rows(graph)?;
        let shape = queries.shape();
        let queries = rows.queries(graph, queries)?;
        let [_, _, count, _] = queries.shape().exactly("cache: queries", "[rows, group, M, D]")?;
        let [_, _, _, width] = before.values.shape().exactly("cache: values", "[B, Hkv, N, V]")?;
        let all = graph.filled([rows.rows], count);
        let inputs = QueryKeyValue {
            queries,
            keys: rows.one_head(graph)?,
            values: graph.reshape(before.values, [rows.rows, 1, rows.tokens, width])?,
            bias: None,
            lengths: Some(rows.lengths),
            query_lengths: Some(all),
        };
        let attention = Attention { causal: true, ..Attention::default() };
        let lost = forgotten(graph, attention, inputs, &self.map)?;
        let [batch, heads, count, _] = shape.exactly("cache: queries", "[B, H, M, D]")?;
        let [share, change, norm] = [lost.share, lost.change, lost.norm].map(|x| graph.reshape(x, [batch, heads, count]));
        Ok(Forgotten { share: share?, change: change?, norm: norm? })
    }
}
