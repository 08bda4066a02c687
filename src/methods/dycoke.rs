//! DyCoke: tokens that a frame has in common with an earlier one are left out.
//!
//! Tao et al., "DyCoke: Dynamic Compression of Tokens for Fast Video Large Language Models" (CVPR 2025): its temporal token merging.

use super::prune::keep_marked;
use super::video::Frames;
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Limit, Order, Relation, Threshold, ThresholdInputs, TopK, TopKInputs, concat_rows, gather_rows, lengths_or_full, lookup,
    pair_similarity, previous_at, row_normalize,
};
use crate::schedule::{Rounding, keep_count};
use crate::tensor::{HostTensor, NONE};
use crate::token_map::{Compressed, Tokens, count_by_length};

/// Of every four frames keeps the first whole, and of the others what is least like an earlier one.
///
/// ```text
/// frame 4i        whole
/// frame 4i + 1    the int((1 - merge) n) of its n tokens that are least like the same place of frame 4i
/// frame 4i + 2    ... of frame 4i
/// frame 4i + 3    ... of frame 4i + 2
/// ```
///
/// What is kept stays in order; the published code has it in ascending similarity within a frame. It also leaves frame 4i + 2 of the
/// last group whole, drops an odd last frame, and needs more than four frames; here every frame is treated alike. Ties go to
/// the lowest position, rows with a NaN or an infinity are kept last.
///
/// Cost: two reads of the tokens for each of two similarities, a selection, one copy of what is kept.
///
/// ```
/// use tokenpress::methods::DyCoke;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 2], Elem::F32)?;
/// let kept = DyCoke { tokens_per_frame: 2, merge: 0.5 }.build(&mut graph, &tokens)?;
/// graph.output("kept", kept.map.representative)?;
/// let x = HostTensor::f32([1, 4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["kept"].integers(), [0, 1, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DyCoke {
    /// Tokens of a frame.
    pub tokens_per_frame: u32,
    /// Share of a frame's tokens that goes, 0 to 1; the published code's is 0.7.
    pub merge: f64,
}

impl DyCoke {
    /// Tokens of a frame that are kept: all of every fourth.
    pub fn kept(&self, frame: u32) -> u32 {
        let ratio = if frame.is_multiple_of(4) { 1.0 } else { 1.0 - self.merge };
        keep_count(self.tokens_per_frame, ratio, Rounding::Floor)
    }

    /// Prunes `tokens`, frame after frame.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens) -> Result<Compressed, Error> {
        let frames = Frames::of(tokens, self.tokens_per_frame, "dycoke: tokens_per_frame")?;
        if !(0.0..=1.0).contains(&self.merge) {
            return Err(Error::Value { argument: "dycoke: merge", expected: "0 to 1".to_owned(), actual: self.merge.to_string() });
        }
        let (batch, capacity, lengths) = (tokens.batch(), tokens.capacity(), Some(tokens.lengths));
        let normalized = row_normalize(graph, tokens.x, lengths)?;
        let [near, far] = [1, 2].map(|frames| previous_at(graph, capacity, self.tokens_per_frame.saturating_mul(frames)));
        let near = pair_similarity(graph, normalized, near, lengths)?;
        let far = pair_similarity(graph, normalized, far, lengths)?;
        let odd = |i: u32| if i / self.tokens_per_frame % 2 == 1 { i } else { NONE };
        let odd = graph.constant(HostTensor::u32([capacity], (0..capacity).map(odd).collect()));
        let similarity = gather_rows(graph, near, odd, Some(far))?;

        let per_frame: Vec<u32> = (0..frames.count).map(|frame| self.kept(frame)).collect();
        let outputs = per_frame.iter().sum::<u32>().min(capacity);
        let counts = graph.constant(HostTensor::u32([batch, frames.count], per_frame.repeat(batch as usize)));
        let lengths = frames.lengths(graph, tokens)?;
        let scores = frames.split(graph, similarity)?;
        let select = TopK { k: self.tokens_per_frame, order: Order::Index, largest: false, complement: None, mask: true };
        let selection = select.select(graph, TopKInputs { scores, lengths: Some(lengths), counts: Some(counts), marks: None })?;
        // A mask was asked for just above.
        let mask = frames.joined(graph, selection.mask.unwrap_or(selection.indices), tokens)?;
        keep_marked(graph, tokens, mask, outputs)
    }
}

/// DyCoke's dynamic part: which of the video's keys and values a decoding step uses.
///
/// ```text
/// where cos(a, a of the last step) < similarity: select the int(keep n) of n tokens of highest attention a
/// elsewhere the last step's selection stays
/// ```
///
/// `a` is the attention that the newest token pays to the video's, a mean over the heads, as
/// [`AttentionScore`](crate::kernels::AttentionScore) gives it with [`Queries::Last`](crate::kernels::Queries). All of it stays on
/// the GPU; the published code reads the decision and the list back at every step.
///
/// ```
/// use tokenpress::methods::{DyCokeCache, DyCokeStep};
/// use tokenpress::{Graph, HostTensor, NONE};
///
/// let mut graph = Graph::new();
/// let last = DyCokeStep {
///     attention: graph.constant(HostTensor::f32([1, 4], vec![0.0; 4])),
///     selected: graph.constant(HostTensor::u32([1, 2], vec![NONE; 2])),
/// };
/// let attention = graph.constant(HostTensor::f32([1, 4], vec![0.1, 0.4, 0.2, 0.3]));
/// let step = DyCokeCache { keep: 0.5, similarity: 0.9 }.step(&mut graph, attention, None, last)?;
/// graph.output("selected", step.selected)?;
/// assert_eq!(graph.run_reference(&[].into())?["selected"].integers(), [1, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DyCokeCache {
    /// Share of the video's tokens that is used, 0 to 1; the published code's is 0.3.
    pub keep: f64,
    /// Similarity of two steps' attention below which the selection is made anew; the published code's is 0.9.
    pub similarity: f32,
}

/// The attention of a decoding step and the tokens that it uses.
#[derive(Debug, Clone, Copy)]
pub struct DyCokeStep {
    /// f32 `[batch, tokens]`; zeros before the first step, and behind live tokens.
    pub attention: Tensor,
    /// u32 `[batch, capacity]`, in descending attention: `int(keep tokens)` of them at most.
    pub selected: Tensor,
}

impl DyCokeCache {
    /// The selection for `attention` `[batch, tokens]` f32, of which the first `lengths[b]` (u32 `[batch]`, all for `None`) are alive, after
    /// the step `last`.
    pub fn step(&self, graph: &mut Graph, attention: Tensor, lengths: Option<Tensor>, last: DyCokeStep) -> Result<DyCokeStep, Error> {
        let [batch, tokens] = attention.shape().exactly("dycoke: attention", "[B, N]")?;
        if !(0.0..=1.0).contains(&self.keep) {
            return Err(Error::Value { argument: "dycoke: keep", expected: "0 to 1".to_owned(), actual: self.keep.to_string() });
        }
        let keep = |live: u32| keep_count(live, self.keep, Rounding::Floor);
        let lengths = lengths_or_full(graph, lengths, batch, tokens);
        let (counts, _) = count_by_length(graph, lengths, tokens, keep)?;
        let select = TopK { k: keep(tokens), ..TopK::default() };
        let inputs = TopKInputs { scores: attention, lengths: Some(lengths), counts: Some(counts), marks: None };
        let fresh = select.select(graph, inputs)?.indices;

        // Both steps as two tokens of a row.
        let mut pair = |new: Tensor, old: Tensor, width: u32| {
            let [new, old] = [new, old].map(|tensor| graph.reshape(tensor, [batch, 1, width]));
            Ok::<_, Error>(concat_rows(graph, (new?, None), (old?, None))?.0)
        };
        let steps = pair(attention, last.attention, tokens)?;
        let selections = pair(fresh, last.selected, keep(tokens))?;
        let normalized = row_normalize(graph, steps, None)?;
        let before = previous_at(graph, 2, 1);
        let similarity = pair_similarity(graph, normalized, before, None)?;
        let inputs = ThresholdInputs::new(similarity, Limit::Constant(self.similarity));
        let changed = Threshold { relation: Relation::Below }.mask(graph, inputs)?;
        let [second, choice] = [vec![1], vec![1, 0]].map(|list| graph.constant(HostTensor::u32([list.len() as u32], list)));
        let changed = gather_rows(graph, changed, second, None)?;
        let choice = lookup(graph, choice, changed)?;
        let selected = gather_rows(graph, selections, choice, None)?;
        Ok(DyCokeStep { attention, selected: graph.reshape(selected, [batch, keep(tokens)])? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::video::tests::{cosine, positions, run, video};

    #[test]
    fn a_second_formulation() {
        let (frame, lengths) = (6, [30, 48, 6, 0, 20]);
        let method = DyCoke { tokens_per_frame: frame, merge: 0.6 };
        let x = video(3, [5, 48, 5]);
        let kept = positions(&run(&x, &lengths, |graph, tokens| method.build(graph, tokens)));
        for (b, &live) in lengths.iter().enumerate() {
            let row = |i: u32| &x[(b * 48 + i as usize) * 5..][..5];
            let mut expected = Vec::new();
            for first in (0..live).step_by(frame as usize) {
                let places = first..(first + frame).min(live);
                let back = match first / frame % 4 {
                    0 => {
                        expected.extend(places);
                        continue;
                    }
                    2 => 2 * frame,
                    _ => frame,
                };
                let mut order: Vec<u32> = places.collect();
                order.sort_by(|&i, &j| cosine(row(i), row(i - back)).total_cmp(&cosine(row(j), row(j - back))));
                order.truncate(2);
                order.sort_unstable();
                expected.extend(order);
            }
            assert_eq!(kept[b], expected);
        }
    }

    #[test]
    fn a_selection_stays_while_the_attention_does() {
        // Three rows: the same attention but for little, another, and none before.
        let mut graph = Graph::new();
        let tensor = |values: [[f32; 4]; 3]| HostTensor::f32([3, 4], values.concat());
        let now = graph.constant(tensor([[0.1, 0.5, 0.3, 0.05], [0.1, 0.5, 0.3, 0.05], [0.1, 0.5, 0.3, 0.7]]));
        let before = graph.constant(tensor([[0.1, 0.4, 0.35, 0.05], [0.9, 0.0, 0.1, 0.0], [0.0; 4]]));
        let selected = graph.constant(HostTensor::u32([3, 2], vec![2, 1, 0, 2, NONE, NONE]));
        let lengths = graph.constant(HostTensor::u32([3], vec![4, 4, 3]));
        let method = DyCokeCache { keep: 0.5, similarity: 0.9 };
        let step = method.step(&mut graph, now, Some(lengths), DyCokeStep { attention: before, selected }).expect("shapes agree");
        graph.output("selected", step.selected).expect("a name");
        let out = graph.run_reference(&[].into()).expect("no inputs");
        assert_eq!(out["selected"].integers(), [2, 1, 1, 2, 1, NONE]);
    }
}
