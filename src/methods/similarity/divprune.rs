//! DivPrune: the most diverse tokens.
//!
//! Alvar et al., "DivPrune: Diversity-based Visual Token Pruning for Large Multimodal Models" (CVPR 2025).

use crate::error::Error;
use crate::graph::Graph;
use crate::kernels::Objective;
use crate::methods::parts::diverse::{Diverse, diverse};
use crate::options;
use crate::schedule::{Rounding, keep_count};
use crate::token_map::Tokens;

/// Keeps tokens that are far from each other: a greedy maximum of the smallest distance among them.
///
/// ```text
/// D_ij = 1 - cos(x_i, x_j)
/// first = argmax_i min_{j != i} D_ij            then argmax_i min_{s selected} D_is, lowest i on ties
/// ```
///
/// `round(keep * tokens)` stay, halves to even, at least `floor`, in ascending position. What is selected is not selected again; the published code repeats
/// the first of equal tokens. It works on any features: DivPrune's are those after the projector. No attention is read.
///
/// Cost: `2 N^2 C` operations for the nearest other token of each of N, `2 k N C` to select k of them
/// ([`GreedySelect`](crate::kernels::GreedySelect)), one copy of the kept tokens.
///
/// ```
/// use tokenpress::methods::DivPrune;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 2], Elem::F32)?;
/// let kept = DivPrune { keep: 0.5, floor: 0 }.build(&mut graph, &tokens)?;
/// graph.output("indices", kept.pruned.selection.indices)?;
/// let x = HostTensor::f32([1, 4, 2], vec![1.0, 0.1, 1.0, 0.0, 1.0, 0.2, 0.0, 1.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["indices"].integers(), [1, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias = "farthest_point_sampling")]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DivPrune {
    /// Share of the tokens that stays, 0 to 1.
    pub keep: f64,
    /// At least so many stay, of a row with fewer all of them.
    pub floor: u32,
}

impl DivPrune {
    /// Prunes `tokens` by their own rows.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens) -> Result<Diverse, Error> {
        tokens.checked()?;
        options::share("divprune: keep", self.keep)?;
        diverse(graph, tokens, Objective::MaxMin, None, |live| keep_count(live, self.keep, Rounding::NearestEven).max(self.floor))
    }
}
