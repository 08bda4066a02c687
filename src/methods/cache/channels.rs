//! Channels of keys that no query asks for.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Order, Statistic, TopK, TopKInputs, add, convert, multiply, reduce};
use crate::methods::cache::Cache;
use crate::methods::cache::state::Rows;
use crate::methods::parts::lists::product;
use crate::options;
use crate::tensor::Elem;

/// Prunes the channels of each head's keys that matter least to the last queries: they become 0.
///
/// ```text
/// score[b, h, c] = mean over the group's queries of q_c^2 * mean over the live tokens of k_c^2
/// the floor(prune D) channels with the lowest scores go
/// ```
///
/// Xu et al., "ThinK: Thinner Key Cache by Query-Driven Pruning" (ICLR 2025), as kvpress's `ThinKPress` has it. Values keep all of theirs.
///
/// A logit is a sum over channels, so that the pruned keys give the logits of the channels that stay. A cache without the pruned channels has
/// the columns of [`PrunedChannels::kept`], and so must have the queries that read it.
///
/// - Ties keep the lower channel. A channel whose score is NaN goes before all others.
/// - What goes is multiplied by 0: a NaN or an infinity there becomes NaN.
/// - A head without live tokens scores 0, and keeps its first channels.
/// - Means are rounded to the keys' element type, their squares are not. Channels that differ by less may change places.
///
/// Cost: four reads of the keys and one write, three reads of the queries, a selection of D numbers a head, and about ten small dispatches.
///
/// ```
/// use tokenpress::methods::{Cache, ThinK};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let keys = graph.constant(HostTensor::f32([1, 1, 2, 2], vec![1.0, 5.0, 1.0, -5.0]));
/// let cache = Cache::new(&mut graph, keys, keys)?;
/// // The second channel is large, but this query asks for the first.
/// let query = graph.constant(HostTensor::f32([1, 1, 1, 2], vec![1.0, 0.1]));
/// let pruned = ThinK { prune: 0.5 }.build(&mut graph, &cache, query)?;
/// graph.output("keys'", pruned.cache.keys)?;
/// graph.output("kept", pruned.kept)?;
/// let out = graph.run_reference(&[].into())?;
/// assert_eq!(out["keys'"].floats(), [1.0, 0.0, 1.0, 0.0]);
/// assert_eq!(out["kept"].integers(), [0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("channel_pruning"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThinK {
    /// Share of the channels that goes, 0 to 1.
    pub prune: f64,
}

/// Half of the channels.
impl Default for ThinK {
    fn default() -> Self {
        Self { prune: 0.5 }
    }
}

/// What [`ThinK::build`] gives.
#[derive(Debug, Clone, Copy)]
pub struct PrunedChannels {
    /// The cache, with keys that are 0 in the channels that went.
    pub cache: Cache,
    /// The channels that stay, ascending: u32 `[B, Hkv, D - floor(prune D)]`.
    pub kept: Tensor,
    /// What channels were chosen by, f32 `[B, Hkv, D]`.
    pub score: Tensor,
}

impl ThinK {
    /// Prunes by the last queries `[B, H, M, D]`, 32 as a rule, with their rotary embedding, of the keys' element type.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other tensors, [`Error::Value`] for a share that is none.
    pub fn build(&self, graph: &mut Graph, cache: &Cache, queries: Tensor) -> Result<PrunedChannels, Error> {
        options::share("think: prune", self.prune)?;
        let all = cache.rows(graph)?;
        let queries = all.queries(graph, queries)?;
        let Rows { batch, heads, rows, tokens, depth, keys, lengths, .. } = all;
        let [_, group, count, _] = queries.shape().exactly("cache: queries", "[B * Hkv, H / Hkv, M, D]")?;
        let asked = graph.reshape(queries, [rows, product("cache: queries", queries.shape(), group, count)?, depth])?;
        let of_queries = mean_square(graph, asked, None)?;
        let of_keys = mean_square(graph, keys, Some(lengths))?;
        let score = multiply(graph, of_queries, of_keys)?;

        let kept = depth - (f64::from(depth) * self.prune).floor() as u32;
        let best = TopK { k: kept, order: Order::Index, mask: true, ..TopK::default() };
        let best = best.build(graph, TopKInputs::new(score))?;
        let pruned = match best.mask {
            Some(mask) => {
                let factors = convert(graph, mask, Elem::F32)?;
                let factors = graph.reshape(factors, [rows, 1, depth])?;
                multiply(graph, keys, factors)?
            }
            None => keys,
        };
        Ok(PrunedChannels {
            cache: Cache { keys: graph.reshape(pruned, [batch, heads, tokens, depth])?, ..*cache },
            kept: graph.reshape(best.indices, [batch, heads, kept])?,
            score: graph.reshape(score, [batch, heads, depth])?,
        })
    }
}

/// The mean of each channel's squares over the live tokens of `[rows, N, D]`, f32 `[rows, D]`: the variance and the mean's square, which need no
/// tensor of squares.
fn mean_square(graph: &mut Graph, x: Tensor, lengths: Option<Tensor>) -> Result<Tensor, Error> {
    let [mean, variance] = [Statistic::Mean, Statistic::Variance].map(|statistic| {
        let reduced = reduce(graph, x, 1, statistic, lengths)?;
        if reduced.elem() == Elem::F32 { Ok(reduced) } else { convert(graph, reduced, Elem::F32) }
    });
    let mean = mean?;
    let square = multiply(graph, mean, mean)?;
    add(graph, square, variance?)
}
