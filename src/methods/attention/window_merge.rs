//! Windows of a grid that look alike become one token: MustDrop's first stage.
//!
//! Liu et al., "Multi-Stage Vision Token Dropping: Towards Efficient Multimodal Large Language Model" (2024).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Limit, Normalized, Reduce, Relation, Selection, Statistic, Threshold, ThresholdInputs, TopK, TopKInputs, compact, gather_rows,
    invert_index, lookup, reduce, row_normalize,
};
use crate::methods::parts::keep::keep_range;
use crate::methods::parts::lists::{choose, each_row, first_entries, product};
use crate::methods::parts::mean_cosine::mean_cosine;
use crate::methods::parts::places::{Protect, Protected};
use crate::options;
use crate::pattern::Pattern;
use crate::tensor::{Desc, Elem, HostTensor, NONE};
use crate::token_map::{Compressed, TokenMap, Tokens, count_by_length};

/// The first stage of MustDrop, in the vision encoder: merges each window of the patches' grid that looks alike into one token.
///
/// ```text
/// s_w    = mean over i != j in window w of cos(x_i, x_j)
/// merge the R windows of highest s, R the number of windows with s_w >= threshold
/// output = [protected, merged windows in descending s, other patches ascending]
/// ```
///
/// Patches are the tokens that are not protected; by default token 0 is, the class token. An encoder without one needs nothing in its
/// place: no score decides here, so that [`Protect::NONE`] is all. Of equally similar windows the first merge first.
///
/// A merged token is the mean of its window, weighted by sizes, and stands at its last patch. The places after a row's live tokens are
/// empty, and a window with an empty place stays as it is. So images of fewer rows than the grid take part.
///
/// Each row has its own R. In the published code the batch shares the smallest one, and so it does if [`WindowMerge::shared_count`] is set.
///
/// Cost: the tokens are normalised, then laid out window by window and summed up: six reads and four writes of them, whatever the
/// size of a window. Beside these a selection of windows, and one read and one write of the tokens for the merge.
///
/// ```
/// use tokenpress::methods::WindowMerge;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 9, 2], Elem::F32)?;
/// let method = WindowMerge { height: 2, width: 4, window: 2, threshold: 0.8, ..Default::default() };
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
    /// Tokens that are no patches: the class token, registers.
    pub protect: Protect,
}

/// The published windows of 3 x 3 of 24 x 24 patches; each row has its own count.
impl Default for WindowMerge {
    fn default() -> Self {
        Self { height: 24, width: 24, window: 3, threshold: 0.8, shared_count: false, protect: Protect::CLASS }
    }
}

/// Tokens after the merge, and what decided.
#[derive(Debug, Clone, Copy)]
pub struct WindowMergeOutput {
    /// `[protected.., merged.., others..]`, and where every token went.
    pub compressed: Compressed,
    /// Mean cosine of each window that the capacity has room for, row-major, `[batch, windows]` f32.
    pub score: Tensor,
    /// The windows that merge.
    pub selection: Selection,
}

impl WindowMerge {
    /// Merges `tokens`: the protected ones and the patches row by row. There are at most as many patches as places in the grid.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens) -> Result<WindowMergeOutput, Error> {
        options::threshold("mustdrop: threshold", self.threshold)?;
        let side = self.window;
        if side < 2 || !self.height.is_multiple_of(side) || !self.width.is_multiple_of(side) {
            let expected = format!("at least 2, and a divisor of {} and {}", self.height, self.width);
            return Err(Error::Value { argument: "mustdrop: window", expected, actual: side.to_string() });
        }
        let protected = Protected::of(graph, tokens, self.protect)?;
        if let Protected::Leading(leading) = protected {
            return self.behind(graph, tokens, leading);
        }
        let [stay, rest] = protected.apart(graph, tokens)?;
        let merged = self.behind(graph, &rest.tokens, 0)?;
        let compressed = rest.then(graph, &merged.compressed)?;
        Ok(WindowMergeOutput { compressed: stay.append(graph, &compressed)?, ..merged })
    }

    /// The same of the patches behind so many leading tokens.
    fn behind(&self, graph: &mut Graph, tokens: &Tokens, leading: u32) -> Result<WindowMergeOutput, Error> {
        let ([batch, capacity, _], side) = (tokens.checked()?, self.window);
        let places = u64::from(self.height) * u64::from(self.width);
        let most = u64::from(u32::MAX - leading);
        if places + u64::from(leading) < u64::from(capacity) || places >= most {
            let expected = format!("{} places or more, and fewer than {most}", capacity - leading);
            let actual = format!("{} x {}", self.height, self.width);
            return Err(Error::Value { argument: "mustdrop: grid", expected, actual });
        }
        // Token positions, window by window; the last of each window, which ascend.
        // A grid without places has windows of any size.
        let (columns, members) = (self.width / side, side.saturating_mul(side));
        let token = |w: u32, i: u32| leading + (w / columns * side + i / side) * self.width + w % columns * side + i % side;
        let last = (0..self.height / side * columns).map(|w| token(w, members - 1));
        let last: Vec<u32> = last.take_while(|token| *token < capacity).collect();
        let windows = last.len() as u32;
        let order: Vec<u32> = (0..windows).flat_map(|w| (0..members).map(move |i| (w, i))).map(|(w, i)| token(w, i)).collect();
        let (whole, _) = count_by_length(graph, tokens.lengths, capacity, |live| last.partition_point(|token| *token < live) as u32)?;

        let Normalized { unit, norm } = row_normalize(graph, tokens.x, Some(tokens.lengths))?;
        let alive = Threshold { relation: Relation::Above }.build(graph, ThresholdInputs::new(norm, Limit::Constant(0.0)))?;
        let [_, _, channels] = unit.shape().exactly("mustdrop: x", "[batch, tokens, channels]")?;
        let list = graph.constant(HostTensor::u32([order.len() as u32], order.clone()));
        let by_window = gather_rows(graph, unit, list, None)?;
        let all = product("mustdrop: x", tokens.x.shape(), batch, windows)?;
        let by_window = graph.reshape(by_window, [all, members, channels])?;
        let alive = gather_rows(graph, alive, list, None)?;
        let alive = graph.reshape(alive, [all, members])?;
        let score = mean_cosine(graph, by_window, alive)?;
        let score = graph.reshape(score, [batch, windows])?;

        let alike = ThresholdInputs { lengths: Some(whole), ..ThresholdInputs::new(score, Limit::Constant(self.threshold)) };
        let alike = Threshold { relation: Relation::AtLeast }.build(graph, alike)?;
        let mut counts = reduce(graph, alike, 1, Statistic::Sum, None)?;
        if self.shared_count {
            let smallest = reduce(graph, counts, 0, Statistic::Min, None)?;
            let everywhere = graph.filled([batch], 0);
            counts = lookup(graph, smallest, everywhere)?;
        }
        let inputs = TopKInputs { lengths: Some(whole), counts: Some(counts), ..TopKInputs::new(score) };
        let selection = TopK { k: windows, ..Default::default() }.build(graph, inputs)?;

        let mut window_of = vec![NONE; capacity as usize];
        order.into_iter().enumerate().for_each(|(place, token)| window_of[token as usize] = place as u32 / members);
        let map = merge_windows(graph, tokens, leading, selection, window_of, last)?;
        let compressed = map.compress(graph, tokens, Some(tokens.size), Reduce::WeightedMean)?;
        Ok(WindowMergeOutput { compressed, score, selection })
    }
}

/// The leading tokens, the selected windows, the other patches, given the window of each token and the last token of each window.
fn merge_windows(
    graph: &mut Graph,
    tokens: &Tokens,
    leading: u32,
    selection: Selection,
    window_of: Vec<u32>,
    last: Vec<u32>,
) -> Result<TokenMap, Error> {
    let (batch, capacity, windows) = (tokens.batch(), tokens.capacity(), last.len() as u32);
    let last = each_row(graph, batch, &last)?;
    let window_of = graph.constant(HostTensor::u32([capacity], window_of));
    let rank = invert_index(graph, selection.indices, windows)?;
    let parent = gather_rows(graph, rank, window_of, None)?;
    let representative = gather_rows(graph, last, selection.indices, None)?;
    let merged = TokenMap { parent, representative, lengths: selection.kept };

    // What went nowhere; leading tokens have their places.
    let only_leading = graph.pattern(Desc::new([batch, capacity], Elem::U32), Pattern::split(leading, 0, NONE));
    let placed = gather_rows(graph, rank, window_of, Some(only_leading))?;
    let nowhere = choose(graph, placed, windows.max(1), [0, 1])?;
    let others = compact(graph, nowhere, Some(tokens.lengths))?;
    let others = TokenMap::selection(graph, others.indices, others.counts, capacity)?;
    let map = match leading {
        0 => merged,
        _ => keep_range(graph, tokens, 0..leading)?.map.append(graph, &merged)?,
    };
    let map = map.append(graph, &others)?;
    // There are never more rows than tokens.
    let representative = first_entries(graph, map.representative, capacity)?;
    Ok(TokenMap { representative, ..map })
}
