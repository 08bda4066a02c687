//! Balanced Token Pruning: attention, diversity and the image's grid, stage by stage.
//!
//! Li et al., "Balanced Token Pruning: Accelerating Vision Language Models Beyond Local Optimization" (NeurIPS 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{GreedyInputs, GreedySelect, GreedySelected, Objective, concat_rows, gather_rows, row_normalize};
use crate::methods::RebalancedTopK;
use crate::methods::parts::diverse::diverse;
use crate::methods::parts::lists::each_row;
use crate::methods::parts::places::{Images, Protected};
use crate::methods::parts::prune::{Prune, Pruned};
use crate::options;
use crate::token_map::Tokens;

/// Keeps image tokens by attention and by diversity in shares that change from stage to stage.
///
/// ```text
/// diverse   int(diversity * keep) tokens by farthest-point sampling on 1 - cos of the hidden rows
/// attended  n = int(attention * keep) of the int(n * oversample) tokens of highest score:
///           those at positions below keep first, then the others, each by score
/// spread    farthest points of the image's grid, `spatial`
/// keep of them all, filled up by farthest-point sampling from their union; in ascending position
/// ```
///
/// The preference for low positions counters the attention's bias to late tokens. A token that is in several lists counts once; the
/// published code keeps it twice at its second stage. What is more than `keep` is cut off in the order above. Position ids are the kept
/// positions. [`drift_stages`](crate::schedule::drift_stages) finds the layers of the stages.
///
/// [`BalancedPrune::build`] takes the image's rows alone, [`BalancedPrune::in_prompt`] a prompt with images anywhere.
///
/// Cost: `2 N^2 C` operations for the nearest other token of each of N, and two greedy selections of `2 k N C` operations each,
/// for the k tokens chosen by diversity and for the `keep` in all. Beside them two small selections by score, and one copy of the
/// kept tokens.
///
/// ```
/// use tokenpress::methods::{BalancedPrune, spatial_spread};
///
/// let first = BalancedPrune::first(288, spatial_spread(24, 24, 144)?);
/// assert_eq!((first.count(first.attention), first.count(first.diversity)), (86, 86));
/// assert_eq!(first.spatial[..3], [0, 575, 23]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
///
/// ```
/// use tokenpress::methods::BalancedPrune;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 2], Elem::F32)?;
/// let score = graph.constant(HostTensor::f32([1, 4], vec![0.1, 0.9, 0.2, 0.3]));
/// let stage = BalancedPrune { keep: 2, attention: 0.5, diversity: 0.0, oversample: 1.0, spatial: Vec::new() };
/// let kept = stage.build(&mut graph, &tokens, score)?;
/// graph.output("kept", kept.pruned.selection.indices)?;
/// let x = HostTensor::f32([1, 4, 2], vec![1.0, 0.0, 2.0, 0.0, 0.0, 1.0, 3.0, 0.0]);
/// // Token 1 has the highest score; the direction of token 2 is the farthest from its own.
/// assert_eq!(graph.run_reference(&[("x".to_owned(), x)].into())?["kept"].integers(), [1, 2]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias = "balanced_token_pruning")]
#[derive(Debug, Clone, PartialEq)]
pub struct BalancedPrune {
    /// Image tokens that stay.
    pub keep: u32,
    /// Share of them chosen by attention, 0 to 1.
    pub attention: f64,
    /// Share of them chosen by diversity, 0 to 1.
    pub diversity: f64,
    /// How many times as many tokens the preference for low positions has to choose from, at least 1.
    pub oversample: f64,
    /// Positions that stay in any case: [`spatial_spread`](crate::methods::spatial_spread) of an image that is still whole.
    pub spatial: Vec<u32>,
}

/// Tokens after a stage, and what chose them.
#[derive(Debug, Clone, Copy)]
pub struct BalancedOutput {
    /// The tokens left, in order, and where the others went.
    pub pruned: Pruned,
    /// The same in order of selection: those of the lists first.
    pub selected: GreedySelected,
    /// Chosen by diversity, `[batch, count]` u32, in order of selection.
    pub diverse: Tensor,
    /// Chosen by attention, `[batch, count]` u32, low positions first.
    pub attended: Tensor,
}

impl BalancedPrune {
    /// The published first stage: layer 4, half of 576 tokens, a quarter of them spread over the grid.
    pub fn first(keep: u32, spatial: Vec<u32>) -> Self {
        Self { keep, attention: 0.3, diversity: 0.3, oversample: 3.7, spatial }
    }

    /// The published second stage: layer 7, half of what is left.
    pub fn second(keep: u32) -> Self {
        Self { keep, attention: 0.9, diversity: 0.1, oversample: 1.5, spatial: Vec::new() }
    }

    /// The published third stage: layer 15, a third of what is left, by attention alone.
    pub fn third(keep: u32) -> Self {
        Self { keep, attention: 1.0, diversity: 0.0, oversample: 1.2, spatial: Vec::new() }
    }

    /// Tokens of a share.
    pub fn count(&self, share: f64) -> u32 {
        (f64::from(self.keep) * share) as u32
    }

    /// Prunes `tokens`, the image's hidden rows, by a score `[batch, tokens]`: the last prompt token's logits to them, averaged over
    /// the heads, in the layer before ([`Norm::ScaledLogits`](crate::kernels::Norm), without a softmax).
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, score: Tensor) -> Result<BalancedOutput, Error> {
        let [_, capacity, _] = tokens.checked()?;
        self.check()?;
        tokens.expect_score("btp: score", score)?;
        let normalized = row_normalize(graph, tokens.x, Some(tokens.lengths))?;
        let diversity = self.count(self.diversity).min(capacity);
        let diverse = diverse(graph, tokens, Objective::MaxMin, None, |_| diversity)?.selected.indices;
        let by_attention = RebalancedTopK { select: self.count(self.attention), oversample: self.oversample, early: self.keep };
        let attended = by_attention.build(graph, score, Some(tokens.lengths))?;

        let (chosen, _) = concat_rows(graph, (diverse, None), (attended, None))?;
        let spatial = each_row(graph, tokens.batch(), &self.spatial)?;
        let (chosen, _) = concat_rows(graph, (chosen, None), (spatial, None))?;
        let inputs = GreedyInputs { given: Some(chosen), lengths: Some(tokens.lengths), ..GreedyInputs::new(normalized) };
        let fill = GreedySelect { objective: Objective::MaxMin, k: self.keep.min(capacity) };
        let selected = fill.build(graph, inputs)?;
        let pruned = Prune::listed(graph, tokens, selected.indices, |live| self.keep.min(live))?;
        Ok(BalancedOutput { pruned, selected, diverse, attended })
    }

    fn check(&self) -> Result<(), Error> {
        options::share("btp: attention", self.attention)?;
        options::share("btp: diversity", self.diversity)?;
        options::at_least("btp: oversample", 1.0, self.oversample)
    }

    /// Prunes the image tokens of a prompt, wherever they are, by a score `[batch, tokens]` of all its tokens. Everything else stays, in
    /// order. All lists are of positions in the prompt, but for [`BalancedPrune::spatial`]: that counts image tokens.
    ///
    /// Cost: one copy of the tokens more, and about twenty small dispatches of integers.
    ///
    /// ```
    /// use tokenpress::methods::{BalancedPrune, Images};
    /// use tokenpress::{Elem, Graph, HostTensor};
    ///
    /// let mut graph = Graph::new();
    /// let tokens = graph.tokens("x", [2, 4, 1], Elem::F32)?;
    /// let marks = graph.constant(HostTensor::u32([2, 4], vec![1, 1, 0, 0, /**/ 0, 0, 1, 1]));
    /// let score = graph.constant(HostTensor::f32([2, 4], vec![0.1, 0.2, 0.9, 0.9, /**/ 0.9, 0.9, 0.2, 0.1]));
    /// let images = Images::Marked { marks, others: 2 };
    /// let kept = BalancedPrune::third(1).in_prompt(&mut graph, &tokens, images, score)?;
    /// graph.output("kept", kept.pruned.selection.indices)?;
    /// let x = HostTensor::f32([2, 4, 1], vec![1.0; 8]);
    /// assert_eq!(graph.run_reference(&[("x".to_owned(), x)].into())?["kept"].integers(), [1, 2, 3, /**/ 0, 1, 2]);
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    pub fn in_prompt(&self, graph: &mut Graph, tokens: &Tokens, images: Images, score: Tensor) -> Result<BalancedOutput, Error> {
        tokens.checked()?;
        tokens.expect_score("btp: score", score)?;
        self.check()?;
        let others = Protected::all_but(graph, tokens, images, ["btp: image"; 2], 0)?;
        let [others, image] = others.apart(graph, tokens)?;
        let score = image.map.gather(graph, score)?;
        let BalancedOutput { pruned, selected, diverse, attended } = self.build(graph, &image.tokens, score)?;
        let kept = image.map.then(graph, &pruned.compressed.map)?;
        let pruned = Prune::together(graph, tokens, [&others.map, &kept])?;
        let mut position = |list: Tensor| gather_rows(graph, image.map.representative, list, None);
        let (diverse, attended) = (position(diverse)?, position(attended)?);
        let selected = GreedySelected { indices: position(selected.indices)?, ..selected };
        Ok(BalancedOutput { pruned, selected, diverse, attended })
    }
}
