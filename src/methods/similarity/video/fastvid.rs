//! FastVID: segments of alike frames, in which anchors of a few frames take in what is not salient.
//!
//! Shen et al., "FastVID: Dynamic Density Pruning for Fast Video Large Language Models" (NeurIPS 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    BipartiteMatch, Groups, Limit, Normalized, Order, Partition, Reduce, Relation, RunSegments, Statistic, Threshold, ThresholdInputs,
    TopK, TopKInputs, add, concat_rows, convert, density_peaks, gather_rows, group_tokens, invert_index, keep_live, lookup, mark,
    merge_with_totals, multiply, pair_similarity, previous_at, reduce, row_normalize, scale,
};
use crate::methods::parts::keep::keep_positions;
use crate::methods::parts::lists::{choose, each_row, first_entries, pick, product, select_mask};
use crate::methods::similarity::video::frames::Frames;
use crate::options;
use crate::pattern::Pattern;
use crate::schedule::{Rounding, keep_count};
use crate::tensor::{Desc, Elem, HostTensor, NONE};
use crate::token_map::{Compressed, TokenMap, Tokens, capped, count_by_length, plus_one};

/// Keeps the salient tokens of every frame, and merges the others into anchors of every few frames of a segment.
///
/// ```text
/// a frame begins a segment if its cosine to the frame before is one of the segments - 1 smallest, or below threshold
/// b = int(keep n) of a frame's n tokens             c = int(context b)
/// salient: the b - c of every frame with the highest score
/// anchor frames of a segment of L frames: its last, and every stride-th before
/// anchors: of each the int(c L / ceil(L / stride)) others with the highest density peak      (density_peaks, 4 nearest)
/// for each anchor frame apart: every token of the segment that is not salient joins the anchor of the highest cosine, anchors too
/// anchor' = w anchor + (1 - w) mean of those that joined it        w = max(own, 1 / (1 + their number))
/// ```
///
/// What is kept stays in order, at its positions. This is the published code for LLaVA-OneVision. That for other models deals the counts of
/// a segment out to its frames, and leaves out frames that are all but equal to the next. The published density has noise of 1e-6, which
/// this one leaves out.
///
/// A token joins an anchor of every anchor frame of its segment. The map names that of the segment's last frame, where sizes add up, and
/// an anchor is its own. Salient tokens stay as they are, bit for bit. Where `c` is 0, what is not salient is dropped.
///
/// Ties go to the lowest position. Tokens with a NaN or an infinity join nothing, and are anchors last. A frame whose own row has one is
/// cut off only where too few other cosines are. How many tokens are kept is on the GPU: near `keep` of all.
///
/// Cost: two reads of the tokens for segments and norms, the density peaks of the anchor frames, `6 n^2 C` operations each. Then, for each
/// of the K = ceil((frames - segments + 1) / stride) anchor frames that a segment can have, one copy of the tokens and `2 N A C` operations
/// for A anchors a frame. Workspace: two copies of the tokens, and `12 N K` bytes.
///
/// ```
/// use tokenpress::methods::FastVid;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 6, 2], Elem::F32)?;
/// let score = graph.constant(HostTensor::f32([1, 6], vec![9.0, 0.0, 0.0, 0.0, 9.0, 0.0]));
/// let method = FastVid { tokens_per_frame: 3, keep: 0.67, context: 0.5, segments: 1, ..Default::default() };
/// let merged = method.build(&mut graph, &tokens, score, None)?;
/// graph.output("kept", merged.map.representative)?;
/// graph.output("parent", merged.map.parent)?;
/// // Two frames alike: a salient token of each, and two anchors in the last frame.
/// let x = HostTensor::f32([1, 6, 2], vec![1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["kept"].integers(), [0, 3, 4, 5]);
/// assert_eq!(out["parent"].integers(), [0, 1, 3, 1, 2, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("dyseg", "stprune", "dpc_knn"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FastVid {
    /// Tokens of a frame.
    pub tokens_per_frame: u32,
    /// Share of a frame's tokens that stays, 0 to 1.
    pub keep: f64,
    /// At least so many segments, of a video with fewer frames as many as frames.
    pub segments: u32,
    /// The cosine of frames below which a segment begins.
    pub threshold: f32,
    /// Share of what stays that is anchors, 0 to 1.
    pub context: f64,
    /// Every how many frames of a segment one has anchors, at least 1.
    pub stride: u32,
    /// The least weight of an anchor in what it becomes, 0 to 1.
    pub own: f64,
}

/// The published setting, for frames of one token.
impl Default for FastVid {
    fn default() -> Self {
        Self { tokens_per_frame: 1, keep: 0.1, segments: 8, threshold: 0.9, context: 0.4, stride: 4, own: 0.6 }
    }
}

/// As many anchor frames of a segment as make a graph of sensible size.
const MOST_PASSES: u32 = 1024;

/// Neighbours of a density, as published.
const NEAREST: u32 = 4;

impl FastVid {
    /// Merges `tokens`, frame after frame, by a score `[batch, tokens]` f32, such as the attention of the vision tower. `features`
    /// `[batch, frames, channels]` say how alike frames are, as the published vision tower's pooled ones; for `None` the means of their
    /// tokens do.
    ///
    /// # Errors
    /// [`Error::Value`] for options out of range, and for segments that could have more than 1024 anchor frames; [`Error::Shape`] and
    /// [`Error::Elem`] for other tensors.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, score: Tensor, features: Option<Tensor>) -> Result<Compressed, Error> {
        let frames = Frames::of(tokens, self.tokens_per_frame, "fastvid: tokens_per_frame")?;
        options::share("fastvid: keep", self.keep)?;
        options::threshold("fastvid: threshold", self.threshold)?;
        options::share("fastvid: context", self.context)?;
        options::within("fastvid: stride", 1..=u32::MAX, self.stride)?;
        options::share("fastvid: own", self.own)?;
        tokens.expect_score("fastvid: score", score)?;
        let [batch, capacity, _] = tokens.checked()?;
        let shape = tokens.x.shape();
        let whole = product("fastvid: x", shape, frames.count, frames.size)?;
        let rows = product("fastvid: x", shape, batch, frames.count)?;
        let kept = keep_count(self.tokens_per_frame, self.keep, Rounding::Floor);
        let context = keep_count(kept, self.context, Rounding::Floor);
        let salient = kept - context;

        let x = frames.resized(graph, tokens.x, whole)?;
        let live = frames.lengths(graph, tokens)?;
        let of_frames = graph.reshape(live, [rows])?;

        // Of each frame the salient tokens, and the rest.
        let by_frame = frames.split(graph, score)?;
        let select = TopK { k: salient.min(frames.size), order: Order::Index, complement: Some(Order::Index), ..Default::default() };
        let chosen = select.build(graph, TopKInputs { lengths: Some(live), ..TopKInputs::new(by_frame) })?;
        let own = graph.counted([batch, whole], 0, 1);
        let own = graph.reshape(own, [rows, frames.size])?;
        let stays = graph.reshape(chosen.indices, [rows, select.k])?;
        let stays = gather_rows(graph, own, stays, None)?;
        let stays = graph.reshape(stays, [batch, frames.count * select.k])?;
        let width = frames.size - select.k;
        let most = self.most_anchors(context, frames.count).min(width);
        let outputs = kept.saturating_mul(frames.count).min(capacity);
        let Some(rest) = chosen.complement.filter(|_| most > 0) else {
            return keep_positions(graph, tokens, stays, outputs);
        };
        let rest = graph.reshape(rest, [rows, frames.size])?;
        let rest = first_entries(graph, rest, width)?;
        let left: Vec<u32> = (0..=frames.size).map(|live| live.saturating_sub(salient)).collect();
        let left = graph.constant(HostTensor::u32([frames.size + 1], left));
        let left = lookup(graph, left, of_frames)?;

        let segments = self.segments(graph, tokens, frames, x, of_frames, features)?;
        let anchors = self.anchors(graph, frames, x, context, &segments, Rest { listed: rest, lengths: left, most })?;
        let positions = gather_rows(graph, own, rest, None)?;
        let anchor_positions = gather_rows(graph, positions, anchors.indices, None)?;
        let all = product("fastvid: x", shape, frames.count, most)?;
        let listed = graph.reshape(anchor_positions, [batch, all])?;
        let joined = self.joins(graph, tokens, frames, x, &segments, Joins { positions, left, listed, counts: anchors.kept, most })?;

        // Anchors and what joined them.
        let groups = group_tokens(graph, joined.parent, all)?;
        let members = gather_rows(graph, joined.positions, groups.members, None)?;
        let groups = Groups { members, ..groups };
        let ones = graph.filled_f32([batch, whole], 1.0);
        let [mean, number] = merge_with_totals(graph, x, groups, ones, Reduce::Mean)?;
        let itself = gather_rows(graph, x, listed, None)?;
        let number = convert(graph, number, Elem::U32)?;
        let [weight, other] = self.weights(graph, number, whole)?;
        let (itself, mean) = (multiply(graph, itself, weight)?, multiply(graph, mean, other)?);
        let merged = add(graph, itself, mean)?;

        let (both, _) = concat_rows(graph, (stays, None), (listed, None))?;
        let kept = keep_positions(graph, tokens, both, outputs)?;
        let anchor_of = invert_index(graph, listed, capacity)?;
        let row = gather_rows(graph, anchor_of, kept.map.representative, None)?;
        let x = gather_rows(graph, merged, row, Some(kept.tokens.x))?;
        // Where each of the rest went in the last frame of its segment.
        let place = invert_index(graph, rest, frames.size)?;
        let went = gather_rows(graph, joined.last, place, None)?;
        let went = frames.joined(graph, went, tokens)?;
        let went = gather_rows(graph, listed, went, None)?;
        let went = gather_rows(graph, kept.map.parent, went, None)?;
        let places = graph.counted([batch, outputs], 0, 1);
        let parent = gather_rows(graph, places, kept.map.parent, Some(went))?;
        let map = TokenMap { parent, ..kept.map };
        let size = map.sizes(graph, tokens.size)?;
        Ok(Compressed { tokens: Tokens { x, size, lengths: kept.tokens.lengths }, map })
    }

    /// Anchors of one anchor frame of a segment of so many frames.
    fn anchors_of(&self, context: u32, length: u32) -> u32 {
        let all = u64::from(context) * u64::from(length);
        u32::try_from(all / u64::from(length.div_ceil(self.stride).max(1))).unwrap_or(u32::MAX)
    }

    /// The most frames of a segment.
    fn longest(&self, frames: u32) -> u32 {
        frames.saturating_sub(self.segments.saturating_sub(1)).max(1)
    }

    fn most_anchors(&self, context: u32, frames: u32) -> u32 {
        (1..=self.longest(frames)).map(|length| self.anchors_of(context, length)).max().unwrap_or(0)
    }

    /// The segments of the frames.
    fn segments(
        &self,
        graph: &mut Graph,
        tokens: &Tokens,
        frames: Frames,
        x: Tensor,
        of_frames: Tensor,
        features: Option<Tensor>,
    ) -> Result<FrameSegments, Error> {
        let [batch, _, channels] = tokens.checked()?;
        let count = frames.count;
        let features = match features {
            Some(features) => match *features.shape().dims() {
                [rows, of, _] if rows == batch && of == count => features,
                _ => {
                    let expected = format!("[{batch}, {count}, channels]");
                    return Err(Error::Shape { argument: "fastvid: features", expected, actual: features.shape() });
                }
            },
            None => {
                let x = graph.reshape(x, [batch * count, frames.size, channels])?;
                let mean = reduce(graph, x, 1, Statistic::Mean, Some(of_frames))?;
                graph.reshape(mean, [batch, count, channels])?
            }
        };
        let (live, _) = count_by_length(graph, tokens.lengths, tokens.capacity(), |live| live.div_ceil(frames.size))?;
        let lengths = Some(live);
        let normalized = row_normalize(graph, features, lengths)?;
        let before = previous_at(graph, count, 1);
        let near = pair_similarity(graph, normalized, before, lengths)?;
        // The first frame begins a segment in any case.
        let first = graph.pattern(Desc::new([count], Elem::U32), Pattern::split(1, mark::EXCLUDED, mark::CANDIDATE));
        let select = TopK { k: self.segments.saturating_sub(1).min(count), largest: false, ..Default::default() };
        let cuts = select_mask(graph, select, TopKInputs { lengths, marks: Some(first), ..TopKInputs::new(near) })?;
        let cut = ThresholdInputs { lengths, marks: Some(cuts), ..ThresholdInputs::new(near, Limit::Constant(self.threshold)) };
        let cut = Threshold { relation: Relation::Below }.build(graph, cut)?;
        let joins = choose(graph, cut, 1, [1, 0])?;
        let start = RunSegments::default().build(graph, joins, before, lengths)?.start;

        let groups = group_tokens(graph, start, count)?;
        let number = graph.counted([batch, count], 0, 1);
        let number = convert(graph, number, Elem::F32)?;
        let ones = graph.filled_f32([batch, count], 1.0);
        let [last, length] = merge_with_totals(graph, number, groups, ones, Reduce::Max)?;
        let [last_of, length] = [last, length].map(|of_start| gather_rows(graph, of_start, start, None));
        let (last_of, length) = (last_of?, length?);
        let length = convert(graph, length, Elem::U32)?;
        let back = scale(graph, number, -1.0)?;
        let to_end = add(graph, last_of, back)?;
        let to_end = convert(graph, to_end, Elem::U32)?;
        let last = convert(graph, last, Elem::U32)?;
        let last = gather_rows(graph, last, start, None)?;
        let first = convert(graph, start, Elem::F32)?;
        let first = scale(graph, first, -1.0)?;
        let from_start = add(graph, number, first)?;
        let from_start = convert(graph, from_start, Elem::U32)?;
        Ok(FrameSegments { length, last, from_start, to_end })
    }

    /// The anchors of every frame, as places in its rest.
    fn anchors(
        &self,
        graph: &mut Graph,
        frames: Frames,
        x: Tensor,
        context: u32,
        segments: &FrameSegments,
        rest: Rest,
    ) -> Result<Anchors, Error> {
        let [batch, _, channels] = x.shape().exactly("fastvid: x", "[batch, tokens, channels]")?;
        let (count, size) = (frames.count, frames.size);
        let rows = batch * count;
        let table: Vec<u32> = (0..=count).map(|length| self.anchors_of(context, length)).collect();
        let table = graph.constant(HostTensor::u32([count + 1], table));
        let of_length = lookup(graph, table, segments.length)?;
        let every: Vec<u32> = (0..count.max(1)).map(|to_end| if to_end % self.stride == 0 { 0 } else { NONE }).collect();
        let every = graph.constant(HostTensor::u32([count.max(1)], every));
        let is_anchor = lookup(graph, every, segments.to_end)?;
        let is_anchor = graph.reshape(is_anchor, [rows])?;
        let none = graph.filled([rows], 0);
        let of_length = graph.reshape(of_length, [rows])?;
        let counts = pick(graph, is_anchor, [of_length, none])?;
        let lengths = pick(graph, is_anchor, [rest.lengths, none])?;

        let x = graph.reshape(x, [rows, size, channels])?;
        let x = gather_rows(graph, x, rest.listed, None)?;
        let peaks = density_peaks(graph, x, NEAREST, Some(lengths))?;
        let select = TopK { k: rest.most, order: Order::Index, ..Default::default() };
        let inputs = TopKInputs { lengths: Some(lengths), counts: Some(counts), ..TopKInputs::new(peaks.score) };
        let chosen = select.build(graph, inputs)?;
        Ok(Anchors { indices: chosen.indices, kept: chosen.kept })
    }

    /// Which anchor each of the rest joins, in every anchor frame of its segment.
    fn joins(
        &self,
        graph: &mut Graph,
        tokens: &Tokens,
        frames: Frames,
        x: Tensor,
        segments: &FrameSegments,
        joins: Joins,
    ) -> Result<Joined, Error> {
        let [batch, _, channels] = x.shape().exactly("fastvid: x", "[batch, tokens, channels]")?;
        let count = frames.count;
        let passes = self.longest(count).div_ceil(self.stride);
        options::within("fastvid: anchor frames of a segment", 1..=MOST_PASSES, passes)?;
        let Joins { positions, left, listed, counts, most } = joins;
        let [rows, width] = positions.shape().exactly("fastvid: rest", "[frames, tokens]")?;
        let shape = tokens.x.shape();
        let each = product("fastvid: x", shape, count, width)?;
        let beside = product("fastvid: x", shape, count, width + most)?;
        product("fastvid: x", shape, each, passes)?;

        let lengths = frames.live_tokens(graph, tokens)?;
        let normalized = row_normalize(graph, x, Some(lengths))?;
        // Broken tokens join nothing.
        let sound = ThresholdInputs::new(normalized.norm, Limit::Constant(0.0));
        let sound = Threshold { relation: Relation::AtLeast }.build(graph, sound)?;
        let broken = choose(graph, sound, 1, [NONE, 0])?;
        let flat = graph.reshape(positions, [batch, each])?;
        let broken = gather_rows(graph, broken, flat, None)?;
        let sources = graph.counted([rows, width], 0, 1);
        let sources = keep_live(graph, sources, left)?;
        let none = graph.filled([rows, width], NONE);
        let broken = graph.reshape(broken, [rows, width])?;
        let sources = pick(graph, broken, [sources, none])?;

        let numbers = graph.counted([batch, count * most], 0, 1);
        let numbers = graph.reshape(numbers, [batch, count, most])?;
        let anchors = graph.reshape(listed, [batch, count, most])?;
        let counts = graph.reshape(counts, [batch, count])?;
        let no_counts = graph.filled([batch, count], 0);
        // From an anchor frame to the one before it in its segment.
        let nowhere = graph.filled([batch, count], NONE);
        let back: Vec<u32> = (0..count).map(|frame| frame.checked_sub(self.stride).unwrap_or(NONE)).collect();
        let back = each_row(graph, batch, &back)?;
        let first_few = choose(graph, segments.from_start, self.stride.min(count), [0, NONE])?;
        let back = pick(graph, first_few, [nowhere, back])?;

        let mut frame = segments.last;
        let mut joined: Option<Joined> = None;
        for _ in 0..passes {
            if joined.is_some() {
                frame = gather_rows(graph, back, frame, None)?;
            }
            // Each frame's rest, and after it the anchors.
            let anchors = gather_rows(graph, anchors, frame, None)?;
            let anchors = graph.reshape(anchors, [rows, most])?;
            let (index, _) = concat_rows(graph, (positions, None), (anchors, None))?;
            let index = graph.reshape(index, [batch, beside])?;
            let unit = gather_rows(graph, normalized.unit, index, None)?;
            let unit = graph.reshape(unit, [rows, width + most, channels])?;
            let norm = gather_rows(graph, normalized.norm, index, None)?;
            let norm = graph.reshape(norm, [rows, width + most])?;
            let live = gather_rows(graph, counts, frame, Some(no_counts))?;
            let live = graph.reshape(live, [rows])?;
            let destinations = graph.counted([rows, most], width, 1);
            let destinations = keep_live(graph, destinations, live)?;
            let partition = Partition { sources, destinations };
            let partner = BipartiteMatch::default().build(graph, Normalized { unit, norm }, partition, None)?.partner;
            let numbers = gather_rows(graph, numbers, frame, None)?;
            let numbers = graph.reshape(numbers, [rows, most])?;
            let last = gather_rows(graph, numbers, partner, None)?;
            let parent = graph.reshape(last, [batch, each])?;
            joined = Some(match joined {
                None => Joined { parent, positions: flat, last },
                Some(so_far) => {
                    let (parent, _) = concat_rows(graph, (so_far.parent, None), (parent, None))?;
                    let (positions, _) = concat_rows(graph, (so_far.positions, None), (flat, None))?;
                    Joined { parent, positions, ..so_far }
                }
            });
        }
        // There is at least one pass.
        Ok(joined.unwrap_or(Joined { parent: flat, positions: flat, last: positions }))
    }

    /// The weight of an anchor that so many tokens `[batch, anchors]` joined, and that of their mean, each f32 `[batch, anchors, 1]`.
    fn weights(&self, graph: &mut Graph, number: Tensor, most: u32) -> Result<[Tensor; 2], Error> {
        let [batch, anchors] = number.shape().exactly("fastvid: anchors", "[batch, anchors]")?;
        // From some number on all have the least weight.
        let enough = ((1.0 / self.own.abs()).ceil() as u32).min(most);
        let entries = plus_one("fastvid: x", enough)?;
        let all = product("fastvid: x", number.shape(), batch, anchors)?;
        let flat = graph.reshape(number, [all])?;
        let number = capped(graph, flat, enough)?;
        let number = graph.reshape(number, [1, all])?;
        let weight = |number: u32| self.own.max(1.0 / (f64::from(number) + 1.0));
        let mut of = |of: &dyn Fn(f64) -> f64| {
            let table = (0..=enough).map(|number| of(weight(number)) as f32).collect();
            let table = graph.constant(HostTensor::f32([1, entries], table));
            let found = gather_rows(graph, table, number, None)?;
            graph.reshape(found, [batch, anchors, 1])
        };
        Ok([of(&|weight| weight)?, of(&|weight| 1.0 - weight)?])
    }
}

/// Where each frame is in its segment, u32 `[batch, frames]`.
struct FrameSegments {
    length: Tensor,
    last: Tensor,
    from_start: Tensor,
    to_end: Tensor,
}

/// What is not salient, by frame: places in the frame, how many they are, and how many of them are anchors at most.
struct Rest {
    listed: Tensor,
    lengths: Tensor,
    most: u32,
}

/// `[rows, most]` and `[rows]`.
struct Anchors {
    indices: Tensor,
    kept: Tensor,
}

/// What joins what.
struct Joins {
    /// Of the rest, `[rows, width]`.
    positions: Tensor,
    /// How many they are, `[rows]`.
    left: Tensor,
    /// Positions of the anchors, `[batch, frames * most]`.
    listed: Tensor,
    /// How many they are, `[rows]`.
    counts: Tensor,
    most: u32,
}

/// Pairs of tokens and anchors, `[batch, pairs]`, and the anchors of the first pass, `[rows, width]`.
struct Joined {
    parent: Tensor,
    positions: Tensor,
    last: Tensor,
}
