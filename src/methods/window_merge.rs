//! Windows of a grid that look alike become one token: MustDrop's first stage.
//!
//! Liu et al., "Multi-Stage Vision Token Dropping: Towards Efficient Multimodal Large Language Model" (2024).

use super::prune::first_entries;
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Elementwise, Limit, Operation, Order, Reduce, Relation, Selection, Statistic, Threshold, ThresholdInputs, TopK, TopKInputs, compact,
    gather_rows, invert_index, lookup, multiply, reduce, row_normalize, scale,
};
use crate::tensor::{HostTensor, NONE};
use crate::token_map::{Compressed, TokenMap, Tokens};

/// The first stage of MustDrop, in the vision encoder: merges each window of the patches' grid that looks alike into one token.
///
/// ```text
/// s_w    = mean over i != j in window w of cos(x_i, x_j)
/// merge the R windows of highest s, R the number of windows with s_w >= threshold
/// output = [class, merged windows in descending s, other patches ascending]
/// ```
///
/// A merged token is the mean of its window, weighted by sizes, and stands at its last patch. The published code lets the batch share
/// the smallest R; here each row has its own unless [`WindowMerge::shared_count`] is set.
///
/// ```
/// use tokenpress::methods::WindowMerge;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 9, 2], Elem::F32)?;
/// let method = WindowMerge { height: 2, width: 4, window: 2, threshold: 0.8, shared_count: false };
/// let merged = method.build(&mut graph, &tokens)?;
/// graph.output("parent", merged.compressed.map.parent)?;
/// // The class token, and two rows of four patches: the right window's are alike.
/// let x = vec![1., 1., 1., 0., 0., 1., 1., 1., 1., 1., 0., 1., 1., 0., 1., 1., 1., 1.];
/// let out = graph.run_reference(&[("x".to_owned(), HostTensor::f32([1, 9, 2], x))].into())?;
/// assert_eq!(out["parent"].integers(), [0, 2, 3, 1, 1, 4, 5, 1, 1]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowMerge {
    /// Rows of the patches' grid.
    pub height: u32,
    /// Columns of the grid.
    pub width: u32,
    /// Rows and columns of a window, at least 2; both sides of the grid are multiples.
    pub window: u32,
    /// Mean cosine from which on a window merges.
    pub threshold: f32,
    /// Whether all batch rows merge as many windows as the one that merges fewest.
    pub shared_count: bool,
}

/// Tokens behind the merge, and what decided.
#[derive(Debug, Clone, Copy)]
pub struct WindowMergeOutput {
    /// `[class, merged.., others..]`, and where every token went.
    pub compressed: Compressed,
    /// Mean cosine of each window, row-major, `[batch, windows]` f32.
    pub score: Tensor,
    /// The windows that merge.
    pub selection: Selection,
}

impl WindowMerge {
    /// Merges `tokens`, the class token and the patches row-major. Rows must be full.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens) -> Result<WindowMergeOutput, Error> {
        let (batch, capacity, side) = (tokens.batch(), tokens.capacity(), self.window);
        let patches = u64::from(self.height) * u64::from(self.width);
        let value = |argument, expected: String, actual: String| Err(Error::Value { argument, expected, actual });
        if side < 2 || !self.height.is_multiple_of(side) || !self.width.is_multiple_of(side) {
            let expected = format!("at least 2, and a divisor of {} and {}", self.height, self.width);
            return value("mustdrop: window", expected, side.to_string());
        }
        if patches + 1 != u64::from(capacity) {
            return value(
                "mustdrop: grid",
                format!("{capacity} tokens with the class token's"),
                format!("{} x {}", self.height, self.width),
            );
        }
        tokens.expect_full(graph, "mustdrop: lengths", "windows")?;
        // Token positions, window by window.
        let (columns, members) = (self.width / side, side * side);
        let windows = self.height / side * columns;
        let token = |w: u32, i: u32| 1 + (w / columns * side + i / side) * self.width + w % columns * side + i % side;
        let order: Vec<u32> = (0..windows).flat_map(|w| (0..members).map(move |i| (w, i))).map(|(w, i)| token(w, i)).collect();
        let mut window_of = vec![NONE; capacity as usize];
        order.iter().enumerate().for_each(|(place, &token)| window_of[token as usize] = place as u32 / members);

        // The sum over pairs is the square of the sum, less the squares.
        let unit = row_normalize(graph, tokens.x, None)?.unit;
        let order = graph.constant(HostTensor::u32([windows * members], order));
        let channels = unit.shape().dims()[2];
        let unit = gather_rows(graph, unit, order, None)?;
        let in_window = graph.reshape(unit, [batch * windows, members, channels])?;
        let sum = reduce(graph, in_window, 1, Statistic::Sum, None)?;
        let sum = multiply(graph, sum, sum)?;
        let all = reduce(graph, sum, 1, Statistic::Sum, None)?;
        let in_window = graph.reshape(unit, [batch * windows, members * channels])?;
        let squares = multiply(graph, in_window, in_window)?;
        let squares = reduce(graph, squares, 1, Statistic::Sum, None)?;
        let pairs = Elementwise { operation: Operation::Add, scale: -1.0, ..Default::default() }.apply(graph, all, squares)?;
        let score = scale(graph, pairs, 1.0 / (members * (members - 1)) as f32)?;
        let score = graph.reshape(score, [batch, windows])?;

        let alike = ThresholdInputs::new(score, Limit::Constant(self.threshold));
        let alike = Threshold { relation: Relation::AtLeast }.mask(graph, alike)?;
        let mut counts = reduce(graph, alike, 1, Statistic::Sum, None)?;
        if self.shared_count {
            let smallest = reduce(graph, counts, 0, Statistic::Min, None)?;
            let everywhere = graph.constant(HostTensor::u32([batch], vec![0; batch as usize]));
            counts = lookup(graph, smallest, everywhere)?;
        }
        let select = TopK { k: windows, order: Order::Value, largest: true, complement: None, mask: false };
        let selection = select.select(graph, TopKInputs { counts: Some(counts), ..TopKInputs::new(score) })?;
        let map = self.map(graph, tokens, selection, &window_of)?;
        let compressed = map.compress(graph, tokens, Some(tokens.size), Reduce::WeightedMean)?;
        Ok(WindowMergeOutput { compressed, score, selection })
    }

    /// The class token, the merged windows, the other patches.
    fn map(&self, graph: &mut Graph, tokens: &Tokens, selection: Selection, window_of: &[u32]) -> Result<TokenMap, Error> {
        let (batch, capacity) = (tokens.batch(), tokens.capacity());
        let [_, windows] = selection.indices.shape().exactly("mustdrop: windows", "[batch, windows]")?;
        let last = |w: u32| window_of.iter().rposition(|of| *of == w).map_or(NONE, |token| token as u32);
        let last = (0..batch).flat_map(|_| (0..windows).map(last)).collect();
        let last = graph.constant(HostTensor::u32([batch, windows], last));
        let window_of = graph.constant(HostTensor::u32([capacity], window_of.to_vec()));
        let rank = invert_index(graph, selection.indices, windows)?;
        let parent = gather_rows(graph, rank, window_of, None)?;
        let representative = gather_rows(graph, last, selection.indices, None)?;
        let merged = TokenMap { parent, representative, lengths: selection.kept };

        // What went nowhere, without the class token, which is the first of it.
        let mut nowhere = vec![0; windows as usize];
        nowhere.push(1);
        let nowhere = graph.constant(HostTensor::u32([windows + 1], nowhere));
        let flags = lookup(graph, nowhere, parent)?;
        let others = compact(graph, flags, None)?;
        let behind = graph.constant(HostTensor::u32([capacity - 1], (1..capacity).collect()));
        let indices = gather_rows(graph, others.indices, behind, None)?;
        let one_less = (0..=capacity).map(|count| count.saturating_sub(1)).collect();
        let one_less = graph.constant(HostTensor::u32([capacity + 1], one_less));
        let count = lookup(graph, one_less, others.counts)?;
        let others = TokenMap::selection(graph, indices, count, capacity)?;

        let first = graph.constant(HostTensor::u32([batch, 1], vec![0; batch as usize]));
        let one = graph.constant(HostTensor::u32([batch], vec![1; batch as usize]));
        let class = TokenMap::selection(graph, first, one, capacity)?;
        let map = class.append(graph, &merged)?.append(graph, &others)?;
        // There are never more rows than tokens.
        let representative = first_entries(graph, map.representative, capacity)?;
        Ok(TokenMap { representative, ..map })
    }
}
