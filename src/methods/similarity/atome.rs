//! A-ToMe: adjacent token merging for speech.
//!
//! Li et al., "Accelerating Transducers through Adjacent Token Merging" (Interspeech 2023). The authors' code is not published; the
//! two public re-implementations differ in which pairs may merge, and both are here.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::Reduce;
use crate::methods::parts::runs::{Neighbours, PairChoice, Runs};
use crate::token_map::{Compressed, Tokens};

/// Which neighbours may merge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum AdjacentPairs {
    /// Tokens 2i and 2i + 1 (AngelSlim's re-implementation).
    #[default]
    Disjoint,
    /// Any token and the next. A walk from left to right merges the chosen ones and goes on after both, so that of three tokens
    /// in two chosen pairs the last stays (FastAdaSP's re-implementation).
    Overlapping,
}

/// Merges neighbours that are similar, two into one.
///
/// ```text
/// s_i = cos(metric_i, metric_(i+1))
/// merge tokens i and i + 1 for the most similar pairs, or for those with s_i >= threshold
/// x' = sum(x_i size_i) / sum(size_i)     in order; all other tokens stay
/// ```
///
/// At most half of the tokens merge away. The metric of the paper is the keys' mean over the heads. The published re-implementations take
/// features, or keys of all heads side by side.
///
/// - Equal similarities merge the first pairs first.
/// - Zero rows are similar to nothing (0).
/// - Rows with a NaN or an infinity merge last, and under a threshold never.
/// - How many tokens are left is on the GPU: with overlapping pairs or a threshold it depends on the data.
///
/// Cost: two dispatches for the similarities, `2 N C` operations, seven more dispatches of integers, two for each tensor that is merged.
///
/// ```
/// use tokenpress::methods::{AToMe, PairChoice};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 2], Elem::F32)?;
/// let method = AToMe { choice: PairChoice::Similarity(0.9), ..Default::default() };
/// let merged = method.build(&mut graph, &tokens, tokens.x)?;
/// graph.output("x'", merged.tokens.x)?;
/// let x = HostTensor::f32([1, 4, 2], vec![1.0, 0.0, 3.0, 0.0, 0.0, 1.0, 5.0, 0.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["x'"].floats(), [2.0, 0.0, 0.0, 1.0, 5.0, 0.0, 0.0, 0.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AToMe {
    /// Which of these pairs merge; at most half as many as there are tokens, where the pairs are disjoint.
    pub choice: PairChoice,
    /// Which pairs there are.
    pub pairs: AdjacentPairs,
}

/// A fifth of the tokens merge away.
impl Default for AToMe {
    fn default() -> Self {
        Self { choice: PairChoice::Merge(0.2), pairs: AdjacentPairs::Disjoint }
    }
}

impl AToMe {
    /// Decides on `metric`, `[batch, tokens, channels]` or the keys of an attention `[batch, heads, tokens, channels]`, whose mean
    /// over the heads is then the metric.
    pub fn decide(&self, graph: &mut Graph, tokens: &Tokens, metric: Tensor) -> Result<Runs, Error> {
        tokens.checked()?;
        let disjoint = self.pairs == AdjacentPairs::Disjoint;
        Neighbours { choice: self.choice, disjoint, pairs: true }.decide(graph, tokens, metric, "atome: ratio")
    }

    /// Merges tokens, weighting each by its size; sizes add up.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, metric: Tensor) -> Result<Compressed, Error> {
        tokens.checked()?;
        let map = self.decide(graph, tokens, metric)?.map;
        map.compress(graph, tokens, Some(tokens.size), Reduce::WeightedMean)
    }
}
