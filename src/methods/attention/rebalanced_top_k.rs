//! What Balanced Token Pruning adds to a plain selection: a preference for low positions, and a spread over the image.

use crate::error::Error;
use crate::graph::{Graph, Tensor, expect_listed};
use crate::kernels::{TopK, TopKInputs, gather_rows, lookup, mark};
use crate::options;
use crate::pattern::{Pattern, Piece};
use crate::tensor::{Desc, Elem};
use crate::token_map::plus_one;

/// The tokens of highest score, with a preference for low positions.
///
/// Cost: two selections ([`TopK`]), of all scores and of the candidates, a lookup and a copy of indices.
///
/// ```
/// use tokenpress::methods::RebalancedTopK;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let scores = graph.constant(HostTensor::f32([1, 4], vec![0.1, 0.4, 0.3, 0.5]));
/// let best = RebalancedTopK { select: 2, oversample: 1.5, early: 2 }.build(&mut graph, scores, None)?;
/// graph.output("best", best)?;
/// assert_eq!(graph.run_reference(&[].into())?["best"].integers(), [1, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RebalancedTopK {
    /// Tokens to select.
    pub select: u32,
    /// `int(select * oversample)` tokens of highest score are candidates, at least `select`.
    pub oversample: f64,
    /// Candidates at positions below this go first.
    pub early: u32,
}

impl RebalancedTopK {
    /// Positions by `scores` `[batch, tokens]`: u32 `[batch, select]`, early ones first, each kind in descending score;
    /// [`NONE`](crate::NONE) after the last.
    pub fn build(&self, graph: &mut Graph, scores: Tensor, lengths: Option<Tensor>) -> Result<Tensor, Error> {
        let [batch, tokens] = scores.shape().exactly("btp: score", "[B, N]")?;
        options::at_least("btp: oversample", 1.0, self.oversample)?;
        let candidates = ((f64::from(self.select) * self.oversample) as u32).min(tokens);
        let first = TopK { k: candidates, ..Default::default() }.build(graph, TopKInputs { lengths, ..TopKInputs::new(scores) })?;
        // Protected candidates rank by their index, which is their rank by score; all others have equal scores, and rank so too.
        let piece = |end, first| Piece { end, first, step: 0 };
        let early = [piece(self.early.min(tokens), mark::PROTECTED), piece(tokens, mark::CANDIDATE), piece(u32::MAX, mark::EXCLUDED)];
        let entries = plus_one("btp: score", tokens)?;
        let early = graph.pattern(Desc::new([entries], Elem::U32), Pattern::Pieces(early));
        let marks = lookup(graph, early, first.indices)?;
        let equal = graph.filled_f32([batch, candidates], 0.0);
        let select = TopK { k: self.select.min(candidates), ..Default::default() };
        let best = select.build(graph, TopKInputs { marks: Some(marks), ..TopKInputs::new(equal) })?;
        gather_rows(graph, first.indices, best.indices, None)
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn select(&self, graph: &mut Graph, scores: Tensor, lengths: Option<Tensor>) -> Result<Tensor, Error> {
        self.build(graph, scores, lengths)
    }
}

/// Positions of an image's grid of tokens that are far from each other: farthest-point sampling by the Manhattan distance, from
/// position 0, the lowest of equally far ones.
///
/// Cost: `count` walks over the grid on the host; nothing on the GPU.
///
/// ```
/// use tokenpress::methods::spatial_spread;
///
/// // The opposite corners of 2 x 3 tokens, then the first of those that are equally far.
/// assert_eq!(spatial_spread(2, 3, 3)?, [0, 5, 1]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias = "farthest_point_sampling")]
pub fn spatial_spread(height: u32, width: u32, count: u32) -> Result<Vec<u32>, Error> {
    let shape = [height, width].into();
    expect_listed("spatial_spread: grid", shape)?;
    let tokens = shape.elements() as u32;
    let mut distances = vec![u32::MAX; tokens as usize];
    let mut spread = Vec::new();
    while spread.len() < count.min(tokens) as usize {
        let farthest = (0..tokens).fold(0, |best, i| if distances[i as usize] > distances[best as usize] { i } else { best });
        spread.push(farthest);
        for i in 0..tokens {
            let distance = (i / width).abs_diff(farthest / width) + (i % width).abs_diff(farthest % width);
            distances[i as usize] = distances[i as usize].min(distance);
        }
    }
    Ok(spread)
}
