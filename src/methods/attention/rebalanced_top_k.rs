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
/// Cost: about `tokens ln(count)` steps on the host, and a look at each row for each distance; nothing on the GPU.
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
    let count = count.min(shape.elements() as u32) as usize;
    let mut distances = vec![u32::MAX; shape.elements() as usize];
    // No distance of a row is above its bound. Distances only fall, so an old bound is one too.
    let mut bounds = vec![u32::MAX; height as usize];
    let mut spread = Vec::new();
    while spread.len() < count {
        let level = bounds.iter().copied().max().unwrap_or_default();
        // The tokens at the largest distance, in order: those that a new position does not bring nearer stay the farthest.
        for y in (0..height).filter(|y| bounds[*y as usize] == level).collect::<Vec<_>>() {
            for x in 0..width {
                if spread.len() < count && distances[(y * width + x) as usize] == level {
                    spread.push(y * width + x);
                    draw_near(&mut distances, [height, width], [y, x], level);
                }
            }
            let row = &distances[(y * width) as usize..][..width as usize];
            bounds[y as usize] = row.iter().copied().max().unwrap_or_default();
        }
    }
    Ok(spread)
}

/// Distances after one more position, where none was above `level`: only nearer tokens change.
fn draw_near(distances: &mut [u32], [height, width]: [u32; 2], [y, x]: [u32; 2], level: u32) {
    let reach = level.saturating_sub(1);
    for row in y.saturating_sub(reach)..=y.saturating_add(reach).min(height - 1) {
        let down = row.abs_diff(y);
        let left = reach - down;
        for column in x.saturating_sub(left)..=x.saturating_add(left).min(width - 1) {
            let distance = &mut distances[(row * width + column) as usize];
            *distance = (*distance).min(down + column.abs_diff(x));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Word for word what the function says.
    fn farthest(height: u32, width: u32, count: u32) -> Vec<u32> {
        let tokens = height * width;
        let distance = |a: u32, b: u32| (a / width).abs_diff(b / width) + (a % width).abs_diff(b % width);
        let mut spread: Vec<u32> = Vec::new();
        while spread.len() < count.min(tokens) as usize {
            let nearest = |i: u32| spread.iter().map(|other| distance(i, *other)).min().unwrap_or(u32::MAX);
            let best = (0..tokens).fold(0, |best, i| if nearest(i) > nearest(best) { i } else { best });
            spread.push(best);
        }
        spread
    }

    #[test]
    fn the_farthest_go_first_and_the_lowest_of_equals() {
        for (height, width) in [(1, 1), (1, 9), (7, 1), (4, 4), (5, 8), (9, 3)] {
            for count in [0, 1, 2, 5, height * width, 100] {
                assert_eq!(spatial_spread(height, width, count), Ok(farthest(height, width, count)), "{height} x {width}, {count}");
            }
        }
        assert_eq!(spatial_spread(0, 5, 3), Ok(Vec::new()));
    }

    #[test]
    fn a_large_grid_takes_no_walk_for_each_position() {
        // A walk over the grid for each would take minutes.
        assert_eq!(spatial_spread(2000, 2000, 50_000).map(|spread| spread.len()), Ok(50_000));
    }
}
