//! SCOPE: tokens that are important, and that stand for many others.
//!
//! "SCOPE: Saliency-Coverage Oriented Token Pruning for Efficient Multimodal LLMs" (NeurIPS 2025); in Tencent's AngelSlim.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::Objective;
use crate::methods::parts::diverse::{Diverse, diverse};
use crate::options;
use crate::schedule::{Rounding, keep_count};
use crate::token_map::Tokens;

/// Keeps tokens that are salient and that all others are like: a greedy maximum of coverage, weighed by saliency.
///
/// ```text
/// m_i = max(0, max_{s selected} cos(x_i, x_s))            gain_j = sum_i max(0, cos(x_i, x_j) - m_i)
/// S = S + argmax_j gain_j saliency_j                      keep times; lowest j on ties; in ascending position
/// ```
///
/// `max(1, floor, round(keep * tokens))` stay, halves to even. The published saliency is the class token's attention. With `additive` it is
/// added to the gain. For another exponent give the saliency to that power.
///
/// Tokens with a NaN or an infinity, in themselves or as their saliency, are kept last, and count for no gain. Zero rows are like nothing.
///
/// Cost: `2 N^2 C` operations for the cosines, `3 k N^2` to select k of N tokens ([`GreedySelect`](crate::kernels::GreedySelect)), in k + 1
/// dispatches; `4 N^2` bytes of workspace a row, for up to 4096 tokens; one copy of the kept tokens.
///
/// ```
/// use tokenpress::methods::Scope;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 2], Elem::F32)?;
/// let saliency = graph.constant(HostTensor::f32([1, 4], vec![0.3, 0.3, 0.2, 0.2]));
/// let kept = Scope { keep: 0.5, ..Default::default() }.build(&mut graph, &tokens, saliency)?;
/// graph.output("order", kept.selected.indices)?;
/// // Three tokens alike: the one between them stands for all.
/// let x = HostTensor::f32([1, 4, 2], vec![1.0, 0.2, 1.0, 0.0, 1.0, -0.2, -1.0, 0.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["order"].integers(), [1, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("facility_location", "coverage"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scope {
    /// Share of the tokens that stays, 0 to 1.
    pub keep: f64,
    /// Whether the saliency is added to the gain, in place of multiplied.
    pub additive: bool,
    /// At least so many stay, of a row with fewer all of them.
    pub floor: u32,
}

/// A tenth of the tokens, by the product.
impl Default for Scope {
    fn default() -> Self {
        Self { keep: 0.1, additive: false, floor: 0 }
    }
}

impl Scope {
    /// Prunes `tokens` by their own rows and a saliency `[batch, tokens]` f32, the larger the more important.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, saliency: Tensor) -> Result<Diverse, Error> {
        tokens.checked()?;
        options::share("scope: keep", self.keep)?;
        tokens.expect_score("scope: saliency", saliency)?;
        let objective = Objective::FacilityLocation { additive: self.additive };
        diverse(graph, tokens, objective, Some(saliency), |live| keep_count(live, self.keep, Rounding::NearestEven).max(1).max(self.floor))
    }
}
