//! FastAdaSP: runs of similar speech tokens become one.
//!
//! Lu et al., "FastAdaSP: Multitask-Adapted Efficient Inference for Large Speech Language Model" (EMNLP 2024, industry track).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::Reduce;
use crate::methods::parts::runs::{Neighbours, PairChoice, Runs};
use crate::token_map::{Compressed, Tokens};

/// Merges every run of tokens whose neighbours are among the most similar.
///
/// ```text
/// s_i = cos(metric_i, metric_(i+1))                   choose the most similar pairs; they may overlap
/// x' = sum(w_i x_i) / sum(w_i) over each maximal run of chosen pairs, a run of q pairs being q + 1 tokens
/// ```
///
/// As many tokens go as pairs are chosen, whatever the runs are. Ties, zero and broken rows are as in [`AToMe`](crate::methods::AToMe).
///
/// The published metric is the keys of all heads side by side (`[batch, tokens, heads * channels]`). The published weights w are the
/// attention that each token receives (`merge_weighted`), or equal (`merge_ave`). Which layers merge how much, constant or decaying, is the
/// caller's choice: see [`MergeSchedule`](crate::schedule::MergeSchedule).
///
/// Cost: two dispatches for the similarities, `2 N C` operations, seven more dispatches of integers, two for each tensor that is merged.
///
/// ```
/// use tokenpress::methods::{FastAdaSp, PairChoice};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 2], Elem::F32)?;
/// let merged = FastAdaSp { choice: PairChoice::Merge(0.5) }.build(&mut graph, &tokens, tokens.x, None)?;
/// graph.output("x'", merged.tokens.x)?;
/// let x = HostTensor::f32([1, 4, 2], vec![0.0, 1.0, 1.0, 0.0, 3.0, 0.0, 5.0, 0.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["x'"].floats(), [0.0, 1.0, 3.0, 0.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FastAdaSp {
    /// Which pairs of neighbours merge.
    pub choice: PairChoice,
}

impl FastAdaSp {
    /// Decides on `metric`, `[batch, tokens, channels]`, or keys `[batch, heads, tokens, channels]`, whose mean over the heads is
    /// then the metric.
    pub fn decide(&self, graph: &mut Graph, tokens: &Tokens, metric: Tensor) -> Result<Runs, Error> {
        tokens.checked()?;
        Neighbours { choice: self.choice, disjoint: false, pairs: false }.decide(graph, tokens, metric, "fastadasp: ratio")
    }

    /// Merges tokens, weighting each by `weights` `[batch, tokens]` f32, or by its size; sizes add up. A run whose weights sum to
    /// 0 becomes 0.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, metric: Tensor, weights: Option<Tensor>) -> Result<Compressed, Error> {
        tokens.checked()?;
        let map = self.decide(graph, tokens, metric)?.map;
        map.compress(graph, tokens, Some(weights.unwrap_or(tokens.size)), Reduce::WeightedMean)
    }
}
