//! Attention with its layers, as transformers and query methods have it.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, Attention, Heads, QueryKeyValue, gather_rows};
use crate::methods::parts::affine::{Projections, per_head};
use crate::methods::parts::lists::product;

/// Attention with its four projections.
///
/// Cost: five dispatches, one [`Attention`] and four linear layers. The weights of the attention are never stored, and heads are
/// not copied.
///
/// ```
/// use tokenpress::methods::{Affine, KeyMask, MultiHeadAttention, Projections};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let mut layer = |weight| Affine { weight: graph.constant(HostTensor::f32([1, 1], vec![weight])), bias: None };
/// let (zero, one) = (layer(0.0), layer(1.0));
/// let projections = Projections { queries: zero, keys: one, values: one, output: one };
/// let attention = MultiHeadAttention { heads: 1, projections };
/// let x = graph.constant(HostTensor::f32([1, 2, 1], vec![1.0, 3.0]));
/// let projected = attention.project(&mut graph, [x; 3])?;
/// let y = attention.attend(&mut graph, projected, KeyMask::default())?;
/// graph.output("y", y)?;
/// // Queries of zero attend to all alike.
/// assert_eq!(graph.run_reference(&[].into())?["y"].floats(), [2.0, 2.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MultiHeadAttention {
    /// Number of heads, H.
    pub heads: u32,
    /// Its layers.
    pub projections: Projections,
}

/// Queries, keys and values, `[B, M, H D]` and `[B, N, H D]`.
#[derive(Debug, Clone, Copy)]
pub struct Projected {
    /// Of the tokens that ask.
    pub queries: Tensor,
    /// Of the tokens that answer.
    pub keys: Tensor,
    /// Of the same.
    pub values: Tensor,
}

/// Which keys count, and how much.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyMask {
    /// f32 `[B, N]`, added to the scaled logits: the [`log_size`](crate::kernels::log_size) of merged tokens, or a mask.
    ///
    /// Negative infinity hides a key, even one that is NaN. `f32::MIN` hides nothing: keys that all have it share their row. A row that sees
    /// nothing gives the last projection's bias.
    pub bias: Option<Tensor>,
    /// u32 `[B]`: live keys; all for `None`.
    pub lengths: Option<Tensor>,
    /// u32 `[B]`: live queries. For `None` as many as keys where there are as many, and all otherwise.
    pub query_lengths: Option<Tensor>,
}

impl MultiHeadAttention {
    /// Queries of `[B, M, C]`, keys and values of `[B, N, E]`.
    pub fn project(&self, graph: &mut Graph, [queries, keys, values]: [Tensor; 3]) -> Result<Projected, Error> {
        let Projections { queries: query, keys: key, values: value, .. } = &self.projections;
        let queries = query.linear(graph, queries, Activation::None)?;
        let keys = key.linear(graph, keys, Activation::None)?;
        let values = value.linear(graph, values, Activation::None)?;
        Ok(Projected { queries, keys, values })
    }

    /// What every query takes from the values, through the last projection: `[B, M, O]`. Queries that are dead or see nothing give its bias.
    pub fn attend(&self, graph: &mut Graph, projected: Projected, mask: KeyMask) -> Result<Tensor, Error> {
        let KeyMask { bias, lengths, query_lengths } = mask;
        let [queries, keys, values] = [projected.queries, projected.keys, projected.values].map(|rows| self.with_heads(graph, rows));
        let bias = match bias {
            Some(bias) => {
                let [batch, keys] = bias.shape().exactly("transformer: bias", "[B, N]")?;
                Some(graph.reshape(bias, [batch, 1, 1, keys])?)
            }
            None => None,
        };
        let inputs = QueryKeyValue { queries: queries?, keys: keys?, values: values?, bias, lengths, query_lengths };
        let attended = Attention { heads: Heads::Last, ..Attention::default() }.build(graph, inputs)?.rows;
        let [batch, rows, heads, channels] = attended.shape().exactly("transformer: rows", "[B, M, H, D]")?;
        let wide = product("transformer: rows", attended.shape(), heads, channels)?;
        let attended = graph.reshape(attended, [batch, rows, wide])?;
        self.projections.output.linear(graph, attended, Activation::None)
    }

    /// Projected rows `[B, N, H D]` as `[B, H, N, D]`, which scores are made from. A copy.
    pub fn heads_first(&self, graph: &mut Graph, rows: Tensor) -> Result<Tensor, Error> {
        let split = self.with_heads(graph, rows)?;
        let [batch, tokens, heads, channels] = split.shape().exactly("transformer: rows", "[B, N, H, D]")?;
        let entries = product("transformer: rows", split.shape(), tokens, heads)?;
        let all = graph.reshape(split, [batch, entries, channels])?;
        let order = || (0..heads).flat_map(|h| (0..tokens).map(move |n| n * heads + h)).collect();
        let order = graph.listed("transformer: rows", [entries], order)?;
        let first = gather_rows(graph, all, order, None)?;
        graph.reshape(first, [batch, heads, tokens, channels])
    }

    fn with_heads(&self, graph: &Graph, rows: Tensor) -> Result<Tensor, Error> {
        let [batch, tokens, channels] = rows.shape().exactly("transformer: rows", "[B, N, H D]")?;
        graph.reshape(rows, [batch, tokens, self.heads, per_head(self.heads, channels)?])
    }
}
