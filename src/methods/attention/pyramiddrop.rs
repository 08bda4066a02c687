//! PyramidDrop: image tokens of a language model are dropped in stages.
//!
//! Xing et al., "PyramidDrop: Accelerating Your Large Vision-Language Models via Pyramid Visual Redundancy Reduction" (CVPR 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::methods::attention::fastv::{FastV, FastVOutput};
use crate::options;
use crate::schedule::{Rounding, keep_count};
use crate::token_map::Tokens;

/// After each stage of layers keeps a smaller share of the image tokens, those that the last instruction token attends to most.
///
/// ```text
/// a_j = mean over heads of softmax_j(q_last . k_j / sqrt(D))         causal, over all keys
/// keep every other token, and the max(int(image_tokens * ratios[stage]), floor) image tokens of highest a, in order
/// ```
///
/// It is [`FastV`] in stages, with two differences for the caller:
///
/// - Queries and keys are the next layer's own. Compute them for the decision from the tokens as they leave the stage, by that layer's
///   norm, projections and rotation. Of the queries one row is enough, and the model's attention may stay fused.
/// - Positions are renumbered: `map.positions(graph, None, Positions::Compact)`.
///
/// Cost of a stage: one attention row of `2 H N D` operations for H heads of D channels, a selection, one copy of the kept
/// tokens, as of [`FastV`].
///
/// ```
/// use tokenpress::methods::PyramidDrop;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 6, 1], Elem::F32)?;
/// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 6, 1], Elem::F32));
/// let method = PyramidDrop { image_start: 1, image_tokens: 4, ratios: vec![0.5, 0.25], floor: 0 };
/// let kept = method.build(&mut graph, &tokens, 0, queries, keys)?;
/// graph.output("kept", kept.pruned.selection.indices)?;
/// let x = HostTensor::f32([1, 6, 1], vec![0.0, 3.0, 1.0, 2.0, 4.0, 1.0]);
/// let heads = x.clone().reshaped([1, 1, 6, 1]);
/// let inputs = [("x", x), ("q", heads.clone()), ("k", heads)].map(|(name, value)| (name.to_owned(), value));
/// assert_eq!(graph.run_reference(&inputs.into())?["kept"].integers(), [0, 1, 4, 5]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PyramidDrop {
    /// Position of the first image token.
    pub image_start: u32,
    /// Image tokens before the first stage.
    pub image_tokens: u32,
    /// Share of them that stays after each stage, descending.
    pub ratios: Vec<f64>,
    /// At least so many stay after any stage, of fewer all of them.
    pub floor: u32,
}

impl PyramidDrop {
    /// Image tokens after a stage; `stage` may be `None` for those before the first.
    fn left(&self, stage: Option<usize>) -> Result<u32, Error> {
        let Some(stage) = stage else { return Ok(self.image_tokens) };
        match self.ratios.get(stage) {
            Some(&ratio) => {
                options::share("pyramiddrop: ratio", ratio)?;
                Ok(keep_count(self.image_tokens, ratio, Rounding::Floor).max(self.floor).min(self.image_tokens))
            }
            None => {
                let expected = format!("below {}", self.ratios.len());
                Err(Error::Value { argument: "pyramiddrop: stage", expected, actual: stage.to_string() })
            }
        }
    }

    /// Prunes the tokens after a stage, counted from 0, by the keys `[batch, key heads, tokens, channels]` and the last row of the
    /// queries `[batch, heads, rows, channels]`.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, stage: usize, queries: Tensor, keys: Tensor) -> Result<FastVOutput, Error> {
        tokens.checked()?;
        let image_tokens = self.left(stage.checked_sub(1))?;
        FastV { image_start: self.image_start, image_tokens, rank: self.left(Some(stage))? }.build(graph, tokens, queries, keys)
    }
}
