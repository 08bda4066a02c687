//! PyramidDrop: image tokens of a language model are dropped in stages.
//!
//! Xing et al., "PyramidDrop: Accelerating Your Large Vision-Language Models via Pyramid Visual Redundancy Reduction" (CVPR 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::Statistic;
use crate::methods::attention::fastv::{FastV, FastVOutput};
use crate::methods::parts::places::{Images, Protected, of_two_counts};
use crate::options;
use crate::schedule::{Rounding, keep_count};
use crate::token_map::{Tokens, count_by_length};

/// After each stage of layers keeps a smaller share of the image tokens, those that the last instruction token attends to most.
///
/// ```text
/// a_j = mean over heads of softmax_j(q_last . k_j / sqrt(D))         causal, over all keys
/// keep every other token, and the max(int(n * ratios[stage]), floor) image tokens of highest a, in order; n: before the first stage
/// ```
///
/// It is [`FastV`] in stages, with two differences for the caller:
///
/// - Queries and keys are the next layer's own. Compute them for the decision from the tokens as they leave the stage, by that layer's
///   norm, projections and rotation. Of the queries one row is enough, and the model's attention may stay fused.
/// - Positions are renumbered: `map.positions(graph, None, Positions::Compact)`.
///
/// Images may be anywhere ([`Images`]). Of a range n is its number of tokens, whether or not a short row has them all. With marks how
/// many image tokens a row had before the first stage is on the GPU: count once, [`PyramidDrop::counts`], and take the marks of each
/// stage from [`FastVOutput::images`]. Ties go to the lowest position.
///
/// Cost of a stage: one attention row of `2 H N D` operations for H heads of D channels, a selection, one copy of the kept
/// tokens, as of [`FastV`].
///
/// ```
/// use tokenpress::methods::{Images, PyramidDrop};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 6, 1], Elem::F32)?;
/// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 6, 1], Elem::F32));
/// let images = Images::Range { start: 1, tokens: 4 };
/// let method = PyramidDrop { images, ratios: vec![0.5, 0.25], ..Default::default() };
/// let kept = method.build(&mut graph, &tokens, 0, queries, keys)?;
/// graph.output("kept", kept.pruned.selection.indices)?;
/// let x = HostTensor::f32([1, 6, 1], vec![0.0, 3.0, 1.0, 2.0, 4.0, 1.0]);
/// let heads = x.clone().reshaped([1, 1, 6, 1]);
/// let inputs = [("x", x), ("q", heads.clone()), ("k", heads)].map(|(name, value)| (name.to_owned(), value));
/// assert_eq!(graph.run_reference(&inputs.into())?["kept"].integers(), [0, 1, 4, 5]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
///
/// Two stages of images that are marked:
///
/// ```
/// use tokenpress::methods::{Images, PyramidDrop};
/// use tokenpress::{Elem, Graph};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [2, 300, 8], Elem::F32)?;
/// let marks = graph.input("marks", [2, 300], Elem::U32);
/// let images = Images::Marked { marks, others: 44 };
/// let mut method = PyramidDrop { images, ratios: vec![0.5, 0.25], ..Default::default() };
/// method.counts = method.counts(&mut graph, &tokens)?;
/// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [2, 4, 300, 2], Elem::F32));
/// let first = method.build(&mut graph, &tokens, 0, queries, keys)?;
/// method.images = first.images;
/// let tokens = first.pruned.compressed.tokens;
/// let [queries, keys] = ["q2", "k2"].map(|name| graph.input(name, [2, 4, tokens.capacity(), 2], Elem::F32));
/// let second = method.build(&mut graph, &tokens, 1, queries, keys)?;
/// // 44 others at most, and a quarter of 300 tokens at most.
/// assert_eq!(second.pruned.compressed.tokens.capacity(), 44 + 75);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PyramidDrop {
    /// Where image tokens are: a range before the first stage, or marks of the tokens that a stage gets.
    pub images: Images,
    /// Share of the first stage's image tokens that stays after each stage, descending.
    pub ratios: Vec<f64>,
    /// At least so many stay after any stage, of fewer all of them.
    pub floor: u32,
    /// f32 `[batch, tokens]`, added to the logits: negative infinity hides padding in front of a row.
    pub bias: Option<Tensor>,
    /// For marked images and stages behind the first: what [`PyramidDrop::counts`] gave before it.
    pub counts: Vec<(Tensor, u32)>,
}

impl PyramidDrop {
    /// Of so many image tokens before the first stage how many are left after one; `None` for those before the first.
    fn left(&self, image_tokens: u32, stage: Option<usize>) -> Result<u32, Error> {
        let Some(stage) = stage else { return Ok(image_tokens) };
        match self.ratios.get(stage) {
            Some(&ratio) => {
                options::share("pyramiddrop: ratio", ratio)?;
                Ok(keep_count(image_tokens, ratio, Rounding::Floor).max(self.floor).min(image_tokens))
            }
            None => {
                let expected = format!("below {}", self.ratios.len());
                Err(Error::Value { argument: "pyramiddrop: stage", expected, actual: stage.to_string() })
            }
        }
    }

    /// Image tokens of each row that stay after each stage, u32 `[batch]`, and the most of any row; of the tokens before the first stage.
    pub fn counts(&self, graph: &mut Graph, tokens: &Tokens) -> Result<Vec<(Tensor, u32)>, Error> {
        let [_, capacity, _] = tokens.checked()?;
        let stages = 0..self.ratios.len();
        // Whether the shares are ones.
        stages.clone().try_for_each(|stage| self.left(capacity, Some(stage)).map(drop))?;
        let others = Protected::all_but(graph, tokens, self.images, ["pyramiddrop: image"; 2], 0)?;
        let (images, _) = others.of_others(graph, tokens, |images| images)?;
        stages.map(|stage| self.count(graph, images, capacity, stage)).collect()
    }

    /// Of the image tokens before the first stage, u32 `[batch]`, those that stay after a stage, whose share was checked.
    fn count(&self, graph: &mut Graph, images: Tensor, capacity: u32, stage: usize) -> Result<(Tensor, u32), Error> {
        count_by_length(graph, images, capacity, |images| self.left(images, Some(stage)).unwrap_or(0))
    }

    /// Prunes the tokens after a stage, counted from 0, by the keys `[batch, key heads, tokens, channels]` and the last row of the
    /// queries `[batch, heads, rows, channels]`.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, stage: usize, queries: Tensor, keys: Tensor) -> Result<FastVOutput, Error> {
        let [_, capacity, _] = tokens.checked()?;
        if let Images::Range { start, tokens: image_tokens } = self.images {
            let rank = self.left(image_tokens, Some(stage))?;
            let images = Images::Range { start, tokens: self.left(image_tokens, stage.checked_sub(1))? };
            return FastV { images, rank, bias: self.bias }.build(graph, tokens, queries, keys);
        }
        self.left(0, Some(stage))?;
        let before = self.counts.get(stage).copied();
        if before.is_none() && stage > 0 {
            let expected = format!("those of {} stages", self.ratios.len());
            return Err(Error::Value { argument: "pyramiddrop: counts", expected, actual: self.counts.len().to_string() });
        }
        let method = FastV { images: self.images, rank: 0, bias: self.bias };
        let others = method.others(graph, tokens)?;
        let (images, _) = others.of_others(graph, tokens, |images| images)?;
        let (count, most) = match before {
            // Counted before the first stage, of which a stage before this one may have left fewer.
            Some((count, most)) => (of_two_counts(graph, [count, images], Statistic::Min)?, most),
            None => self.count(graph, images, capacity, stage)?,
        };
        let (_, stay) = others.listed(graph, tokens)?;
        let counts = of_two_counts(graph, [stay, count], Statistic::Sum)?;
        let most = others.most_left(capacity, |images| images.min(most));
        method.keep(graph, tokens, queries, keys, (others, (counts, most)))
    }
}
