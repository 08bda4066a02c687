//! HiPrune: anchors by the attention of a middle layer with their neighbours, and the best of a deep one.
//!
//! Liu et al., "HiPrune: Training-Free Visual Token Pruning via Hierarchical Attention in Vision-Language Models" (2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Order, TopK, TopKInputs, concat_rows, lookup, mark};
use crate::methods::parts::lists::marks_of;
use crate::methods::parts::prune::{Prune, Pruned};
use crate::options;
use crate::schedule::{Rounding, keep_count};
use crate::tensor::NONE;
use crate::token_map::{Tokens, count_by_length, plus_one};

/// Keeps anchors, the four neighbours of each in the image's grid, and others by the score of a deep layer.
///
/// ```text
/// k = max(1, floor, round(keep * tokens))
/// anchors   round(share * k / 5) tokens of highest score in a middle layer; at least one if share > 0 and k >= 5
/// buffers   the tokens left of, right of, above and below each anchor
/// the rest of k by score in a deep layer; all in ascending position
/// ```
///
/// The published code takes the positions before and after an anchor for its left and right neighbours, even where they lie in another
/// row of the grid. [`HiPrune::wrap`] does the same.
///
/// Cost: two selections by scores that the caller has, about ten small dispatches for the neighbours, one copy of the kept
/// tokens. A table of `N + 1` numbers for each of the four directions. No attention is read.
///
/// ```
/// use tokenpress::methods::HiPrune;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 9, 1], Elem::F32)?;
/// let middle = graph.constant(HostTensor::f32([1, 9], vec![0.0, 0.0, 0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.0]));
/// let deep = graph.constant(HostTensor::f32([1, 9], vec![0.0, 0.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.9]));
/// let kept = HiPrune { keep: 0.55, share: 1.0, width: 3, wrap: false, floor: 0 }.build(&mut graph, &tokens, middle, deep)?;
/// graph.output("indices", kept.selection.indices)?;
/// let out = graph.run_reference(&[("x".to_owned(), HostTensor::f32([1, 9, 1], vec![1.0; 9]))].into())?;
/// assert_eq!(out["indices"].integers(), [0, 3, 4, 6, 8]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HiPrune {
    /// Share of the tokens that stays, 0 to 1.
    pub keep: f64,
    /// Share of those that is anchors and their neighbours, 0 to 1.
    pub share: f64,
    /// Width of the image's grid of tokens, at least 1.
    pub width: u32,
    /// Neighbours may be in another row of the grid, as in the published code.
    pub wrap: bool,
    /// At least so many stay, of a row with fewer all of them.
    pub floor: u32,
}

impl HiPrune {
    /// Prunes `tokens`, an image's in row-major order, by scores `[batch, tokens]` of a middle and of a deep layer of the encoder: what each
    /// token receives of all attention, or of the class token's.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, middle: Tensor, deep: Tensor) -> Result<Pruned, Error> {
        for (argument, share) in [("hiprune: keep", self.keep), ("hiprune: share", self.share)] {
            options::share(argument, share)?;
        }
        options::within("hiprune: width", 1..=u32::MAX, self.width)?;
        let [_, capacity, _] = tokens.checked()?;
        tokens.expect_score("hiprune: middle", middle)?;
        tokens.expect_score("hiprune: deep", deep)?;
        let lengths = Some(tokens.lengths);
        let keep = |live: u32| keep_count(live, self.keep, Rounding::NearestEven).max(1).max(self.floor).min(live);
        let anchors = |live: u32| {
            let fifth = (f64::from(keep(live)) * self.share / 5.0).round_ties_even() as u32;
            fifth.max(u32::from(self.share > 0.0 && keep(live) >= 5))
        };
        let (counts, most) = count_by_length(graph, tokens.lengths, capacity, anchors)?;
        let best = TopK { k: most, ..Default::default() };
        let best = best.build(graph, TopKInputs { lengths, counts: Some(counts), ..TopKInputs::new(middle) })?.indices;
        let mut list = best;
        for step in [[0, -1], [0, 1], [-1, 0], [1, 0]] {
            let table = || (0..capacity).map(|i| self.neighbour(i, step)).chain([NONE]).collect();
            let table = graph.listed("tokens: x", [plus_one("tokens: x", capacity)?], table)?;
            let near = lookup(graph, table, best)?;
            list = concat_rows(graph, (list, None), (near, None))?.0;
        }
        let marks = marks_of(graph, list, capacity, mark::PROTECTED)?;
        Prune { order: Order::Index }.build(graph, tokens, deep, Some(marks), keep)
    }

    /// The position some rows and columns from one; [`NONE`] outside the grid's sides.
    fn neighbour(&self, position: u32, [rows, columns]: [i64; 2]) -> u32 {
        let (width, position) = (i64::from(self.width), i64::from(position));
        let inside = self.wrap || (0..width).contains(&(position % width + columns));
        let near = position + rows * width + columns;
        if inside { u32::try_from(near).unwrap_or(NONE) } else { NONE }
    }
}
