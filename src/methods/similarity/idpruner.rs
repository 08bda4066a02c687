//! IDPruner: importance against diversity by maximal marginal relevance.
//!
//! Published with AngelSlim (Tencent, 2026); the rule is Carbonell and Goldstein's (SIGIR 1998).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{MinMax, Objective};
use crate::methods::parts::diverse::{Diverse, diverse};
use crate::options;
use crate::schedule::{Rounding, keep_count};
use crate::token_map::Tokens;

/// Keeps tokens that are important, and unlike those kept before them.
///
/// ```text
/// importance = (score - min) / (max - min + 1e-6)
/// first = argmax importance, then argmax_i relevance importance_i - (1 - relevance) max_{s selected} cos(x_i, x_s)
/// ```
///
/// `max(1, floor, round(keep * tokens))` stay, halves to even, in ascending position. The published code can select several tokens at a
/// time, which is an approximation; here it is one.
///
/// Cost: `2 k N C` operations to select k of N tokens ([`GreedySelect`](crate::kernels::GreedySelect)), three small dispatches
/// for the importance, one copy of the kept tokens.
///
/// ```
/// use tokenpress::methods::IdPruner;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 2], Elem::F32)?;
/// let score = graph.constant(HostTensor::f32([1, 4], vec![0.9, 0.8, 0.1, 0.2]));
/// let kept = IdPruner { keep: 0.5, relevance: 0.5, floor: 0 }.build(&mut graph, &tokens, score)?;
/// graph.output("order", kept.selected.indices)?;
/// let x = HostTensor::f32([1, 4, 2], vec![1.0, 0.0, 1.0, 0.1, 0.0, 1.0, 0.1, 1.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["order"].integers(), [0, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias = "mmr")]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IdPruner {
    /// Share of the tokens that stays, 0 to 1.
    pub keep: f64,
    /// Weight of the importance, 0 to 1; the rest is that of the similarity. The published code's is a half.
    pub relevance: f32,
    /// At least so many stay, of a row with fewer all of them.
    pub floor: u32,
}

impl IdPruner {
    /// Prunes `tokens` by a score `[batch, tokens]` f32, the larger the more important: that of a trained selector, or attention.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, score: Tensor) -> Result<Diverse, Error> {
        tokens.checked()?;
        options::share("idpruner: keep", self.keep)?;
        options::share("idpruner: relevance", f64::from(self.relevance))?;
        let importance = MinMax { epsilon: 1e-6, ..Default::default() }.build(graph, score, Some(tokens.lengths))?;
        let objective = Objective::MarginalRelevance { relevance: self.relevance };
        diverse(graph, tokens, objective, Some(importance), |live| {
            keep_count(live, self.keep, Rounding::NearestEven).max(1).max(self.floor)
        })
    }
}
