//! HoliTom: windows of a video in which most places stay as they are need them once.
//!
//! Shao et al., "HoliTom: Holistic Token Merging for Fast Video Large Language Models" (NeurIPS 2025): what it does before the language
//! model.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Activation, Among, Groups, Limit, Neighbours, Order, Reduce, Relation, StaticWindows, Statistic, Threshold, ThresholdInputs, TopK,
    TopKInputs, activate, add, compact, concat_rows, convert, density_peaks_of, gather_rows, group_tokens, invert_index, mark,
    merge_tokens, merge_with_totals, multiply, pair_similarity, previous_at, previous_equal, reduce, row_normalize, scale,
};
use crate::methods::parts::arithmetic::{complement, quotient};
use crate::methods::parts::keep::keep_positions;
use crate::methods::parts::lists::{choose, pick, product};
use crate::methods::similarity::video::frames::Frames;
use crate::options;
use crate::tensor::{Elem, HostTensor, NONE};
use crate::token_map::{Compressed, TokenMap, Tokens, capped, count_by_length};

/// Merges what does not change within windows of frames, and keeps the best of what does.
///
/// ```text
/// a place joins the frame before if their cosine is above `threshold`
/// the frames are divided into windows of at most `longest`, so that sum (static places) (frames - 1) is largest   (StaticWindows)
/// r = min(1, keep tokens / (tokens that are left when each static place is there once a window))
/// static places of a window, as means over its frames: round(r n) of n are centres, those of the highest density peak (density_peaks);
///     every other one joins the nearest centre;           centre' = own centre + (1 - own) mean of the others
/// tokens that change, of each frame: the ceil(r n) of n with the highest score
/// ```
///
/// A centre stands at its place in the first frame of its window. The output is in order of positions; the published code, but where it
/// puts newline tokens into a grid, has the static ones of a window first. Its noise of 1e-6 in densities is left out, and so are the share
/// of changing tokens that it clusters too, 0 by default, and what it does within the language model.
///
/// Densities are over the 7 nearest, or over as many as there are centres. Ties go to the lowest position. A token with a NaN or an
/// infinity is never static, nor is a place that a last frame, where that is not whole, does not have. `r` is f32: what a count is less
/// than 1/1024 above a whole number, or above a half, counts as that, and halves are rounded down. Means of f16 tokens are f16. How many
/// tokens are kept is on the GPU.
///
/// Cost: two reads of the tokens for the cosines, a walk over the frames, one read and two copies of the tokens for the means, the density
/// peaks of each window, `6 n^2 C` operations, `3 n k C` to join k centres, two small selections, about seventy small dispatches.
///
/// ```
/// use tokenpress::methods::HoliTom;
/// use tokenpress::{Elem, Graph, HostTensor, NONE};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 2], Elem::F32)?;
/// let score = graph.constant(HostTensor::f32([1, 4], vec![0.0, 1.0, 0.0, 2.0]));
/// let merged = HoliTom { tokens_per_frame: 2, keep: 0.75, ..Default::default() }.build(&mut graph, &tokens, score)?;
/// graph.output("parent", merged.map.parent)?;
/// graph.output("x'", merged.tokens.x)?;
/// // Two frames, of which the first place stays as it is: three tokens are left, and all of them are kept.
/// let x = HostTensor::f32([1, 4, 2], vec![1.0, 0.0, 0.0, 1.0, 3.0, 0.0, 1.0, 0.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["parent"].integers(), [0, 1, 0, 2]);
/// assert_eq!(out["x'"].floats()[..6], [2.0, 0.0, 0.0, 1.0, 1.0, 0.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("static_windows", "temporal_merging"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HoliTom {
    /// Tokens of a frame.
    pub tokens_per_frame: u32,
    /// Share of the tokens that stays, 0 to 1.
    pub keep: f32,
    /// The cosine above which a place is like that of the frame before.
    pub threshold: f32,
    /// Frames of a window at most, from 1 to 1024.
    pub longest: u32,
    /// The weight of a centre in what it becomes where others join it, 0 to 1.
    pub own: f32,
}

/// The published setting, for frames of one token.
impl Default for HoliTom {
    fn default() -> Self {
        Self { tokens_per_frame: 1, keep: 0.15, threshold: 0.8, longest: 1024, own: 0.6 }
    }
}

/// Neighbours of a density, as published.
const NEAREST: u32 = 7;

/// What a count may be above a whole number.
const ROUNDED: f32 = 1.0 / 1024.0;

impl HoliTom {
    /// Merges `tokens` of at most 32768 frames, frame after frame, by a score `[batch, tokens]` f32, such as the attention of the vision
    /// tower.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, score: Tensor) -> Result<Compressed, Error> {
        let frames = Frames::of(tokens, self.tokens_per_frame, "holitom: tokens_per_frame")?;
        for (argument, share) in [("holitom: keep", self.keep), ("holitom: own", self.own)] {
            options::share(argument, share.into())?;
        }
        options::threshold("holitom: threshold", self.threshold)?;
        options::within("holitom: longest", 1..=1024, self.longest)?;
        tokens.expect_score("holitom: score", score)?;
        let [batch, capacity, channels] = tokens.checked()?;
        let (count, size, shape) = (frames.count, frames.size, tokens.x.shape());
        let whole = product("holitom: x", shape, count, size)?;
        let rows = product("holitom: x", shape, batch, count)?;
        let wide = product("holitom: x", shape, size, channels)?;
        let live = frames.lengths(graph, tokens)?;
        let of_frames = graph.reshape(live, [rows])?;
        let x = frames.resized(graph, tokens.x, whole)?;
        let windows = self.windows(graph, tokens, frames, x)?;

        // The places of every window, in the row of its first frame, and the tokens of every frame that change.
        let among = |graph: &mut Graph, relation: Relation, changes: Tensor| {
            let changes = graph.reshape(changes, [rows, size])?;
            let inputs = ThresholdInputs { lengths: Some(of_frames), ..ThresholdInputs::new(changes, Limit::Constant(0.5)) };
            Threshold { relation }.build(graph, inputs)
        };
        let fixed = among(graph, Relation::Below, windows.changes)?;
        let changing = among(graph, Relation::AtLeast, windows.changes_of_frame)?;
        let fixed = compact(graph, fixed, Some(of_frames))?;
        let changes = compact(graph, changing, Some(of_frames))?.counts;
        let ratio = self.ratio(graph, tokens, [fixed.counts, changes], count)?;
        let counts = |graph: &mut Graph, of: Tensor, round: f32| {
            let of = convert(graph, of, Elem::F32)?;
            let of = graph.reshape(of, [batch, count])?;
            let exact = multiply(graph, of, ratio)?;
            let half = graph.filled_f32([batch, count], round);
            let exact = add(graph, exact, half)?;
            let counts = convert(graph, exact, Elem::U32)?;
            graph.reshape(counts, [rows])
        };
        let centres = counts(graph, fixed.counts, 0.5 - ROUNDED)?;
        let salient = counts(graph, changes, 1.0 - ROUNDED)?;

        // The means of places over the frames of windows.
        let by_frame = graph.reshape(x, [batch, count, wide])?;
        let mean = merge_tokens(graph, by_frame, windows.groups, None, Reduce::Mean)?;
        let mean = graph.reshape(mean, [rows, size, channels])?;
        let mean = gather_rows(graph, mean, fixed.indices, None)?;
        let clusters = self.clusters(graph, mean, fixed.counts, centres)?;

        // Centres and what changes at their positions.
        let own = graph.counted([batch, whole], 0, 1);
        let own = graph.reshape(own, [rows, size])?;
        let places = gather_rows(graph, own, fixed.indices, None)?;
        let at = gather_rows(graph, places, clusters.centres, None)?;
        let at = graph.reshape(at, [batch, whole])?;
        let score = frames.split(graph, score)?;
        let score = graph.reshape(score, [rows, size])?;
        let marks = choose(graph, changing, 1, [mark::EXCLUDED, mark::CANDIDATE])?;
        let select = TopK { k: size, order: Order::Index, ..Default::default() };
        let inputs = TopKInputs { lengths: Some(of_frames), counts: Some(salient), marks: Some(marks), ..TopKInputs::new(score) };
        let best = select.build(graph, inputs)?.indices;
        let best = gather_rows(graph, own, best, None)?;
        let best = graph.reshape(best, [batch, whole])?;
        product("holitom: x", shape, whole, 2)?;
        let (listed, _) = concat_rows(graph, (at, None), (best, None))?;
        let kept = keep_positions(graph, tokens, listed, capacity)?;
        let of_centres = graph.reshape(clusters.x, [batch, whole, channels])?;
        let centre_at = invert_index(graph, at, capacity)?;
        let row = gather_rows(graph, centre_at, kept.map.representative, None)?;
        let x = gather_rows(graph, of_centres, row, Some(kept.tokens.x))?;

        // Every static token went where its place of the window did.
        let place = invert_index(graph, fixed.indices, size)?;
        let went = gather_rows(graph, clusters.parent, place, None)?;
        let at = graph.reshape(at, [rows, size])?;
        let went = gather_rows(graph, at, went, None)?;
        let went = graph.reshape(went, [batch, count, size])?;
        let went = gather_rows(graph, went, windows.start, None)?;
        let went = frames.joined(graph, went, tokens)?;
        let went = gather_rows(graph, kept.map.parent, went, None)?;
        let own = graph.counted([batch, capacity], 0, 1);
        let parent = gather_rows(graph, own, kept.map.parent, Some(went))?;
        let map = TokenMap { parent, ..kept.map };
        let size = map.sizes(graph, tokens.size)?;
        Ok(Compressed { tokens: Tokens { x, size, lengths: kept.tokens.lengths }, map })
    }

    /// The windows of the frames.
    fn windows(&self, graph: &mut Graph, tokens: &Tokens, frames: Frames, x: Tensor) -> Result<Windows, Error> {
        let (batch, count, size) = (tokens.batch(), frames.count, frames.size);
        let lengths = Some(frames.live_tokens(graph, tokens)?);
        let normalized = row_normalize(graph, x, lengths)?;
        let previous = previous_at(graph, count * size, size);
        let near = pair_similarity(graph, normalized, previous, lengths)?;
        let joins = ThresholdInputs { lengths, ..ThresholdInputs::new(near, Limit::Constant(self.threshold)) };
        let joins = Threshold::default().build(graph, joins)?;
        let (live, _) = count_by_length(graph, tokens.lengths, tokens.capacity(), |live| live.div_ceil(size))?;
        let by_frame = graph.reshape(joins, [batch, count, size])?;
        let start = StaticWindows { longest: self.longest }.build(graph, by_frame, Some(live))?;

        // Where a place does not join, but for the first frames of windows.
        let apart = choose(graph, by_frame, 1, [1, 0])?;
        let apart = convert(graph, apart, Elem::F32)?;
        let before = previous_equal(graph, start, Some(live))?;
        let is_first = choose(graph, before, count, [0, NONE])?;
        let own = graph.counted([batch, count], 0, 1);
        let none = graph.filled([batch, count], NONE);
        let inner = pick(graph, is_first, [own, none])?;
        let apart = gather_rows(graph, apart, inner, None)?;
        let groups = group_tokens(graph, start, count)?;
        let ones = graph.filled_f32([batch, count], 1.0);
        let [changes, length] = merge_with_totals(graph, apart, groups, ones, Reduce::Max)?;
        // A frame that is alone has no static places.
        let length = convert(graph, length, Elem::U32)?;
        let alone = choose(graph, length, 2, [1, 0])?;
        let alone = convert(graph, alone, Elem::F32)?;
        let alone = graph.reshape(alone, [batch, count, 1])?;
        let changes = add(graph, changes, alone)?;
        let changes_of_frame = gather_rows(graph, changes, start, None)?;
        Ok(Windows { start, groups, changes, changes_of_frame })
    }

    /// The share of what is left that stays, f32 `[batch, 1]`.
    fn ratio(&self, graph: &mut Graph, tokens: &Tokens, counts: [Tensor; 2], frames: u32) -> Result<Tensor, Error> {
        let batch = tokens.batch();
        let mut sum = |counts: Tensor| {
            let counts = graph.reshape(counts, [batch, frames])?;
            let sum = reduce(graph, counts, 1, Statistic::Sum, None)?;
            let sum = convert(graph, sum, Elem::F32)?;
            graph.reshape(sum, [batch, 1])
        };
        let (fixed, changing) = (sum(counts[0])?, sum(counts[1])?);
        let left = add(graph, fixed, changing)?;
        let all = capped(graph, tokens.lengths, tokens.capacity())?;
        let all = convert(graph, all, Elem::F32)?;
        let all = graph.reshape(all, [batch, 1])?;
        let wanted = scale(graph, all, self.keep)?;
        let ratio = quotient(graph, wanted, left)?;
        let less = complement(graph, ratio)?;
        let less = activate(graph, less, Activation::Relu)?;
        complement(graph, less)
    }

    /// Clusters around so many of each row's first `lengths` tokens.
    fn clusters(&self, graph: &mut Graph, x: Tensor, lengths: Tensor, counts: Tensor) -> Result<Clusters, Error> {
        let [rows, size, _] = x.shape().exactly("holitom: places", "[windows, places, channels]")?;
        let all = product("holitom: x", x.shape(), rows, size)?;
        let nearest = capped(graph, counts, NEAREST)?;
        let peaks = density_peaks_of(graph, x, NEAREST, Some(nearest), Some(lengths))?;
        let select = TopK { k: size, order: Order::Index, ..Default::default() };
        let inputs = TopKInputs { lengths: Some(lengths), counts: Some(counts), ..TopKInputs::new(peaks.score) };
        let centres = select.build(graph, inputs)?.indices;
        let among = Among { queries: None, candidates: Some(centres), lengths: Some(lengths) };
        let nearest = Neighbours { nearest: 1, exclude_self: false }.closest(graph, x, among)?.indices;
        let nearest = graph.reshape(nearest, [rows, size])?;
        let place = invert_index(graph, centres, size)?;
        let own = graph.counted([rows, size], 0, 1);
        let parent = gather_rows(graph, own, place, Some(nearest))?;

        let is_other = choose(graph, place, size, [NONE, 0])?;
        let none = graph.filled([rows, size], NONE);
        let others = pick(graph, is_other, [nearest, none])?;
        let groups = group_tokens(graph, others, size)?;
        let ones = graph.filled_f32([rows, size], 1.0);
        let [mean, number] = merge_with_totals(graph, x, groups, ones, Reduce::Mean)?;
        let number = convert(graph, number, Elem::U32)?;
        let some = choose(graph, number, 1, [0, 1])?;
        let some = graph.reshape(some, [1, all])?;
        let mut weight = |weights: [f32; 2]| {
            let table = graph.constant(HostTensor::f32([1, 2], weights.to_vec()));
            let weight = gather_rows(graph, table, some, None)?;
            graph.reshape(weight, [rows, size, 1])
        };
        let (weight, other) = (weight([1.0, self.own])?, weight([0.0, (1.0 - f64::from(self.own)) as f32])?);
        let itself = gather_rows(graph, x, centres, None)?;
        let (itself, mean) = (multiply(graph, itself, weight)?, multiply(graph, mean, other)?);
        Ok(Clusters { x: add(graph, itself, mean)?, centres, parent })
    }
}

/// How the frames are divided.
struct Windows {
    /// The first frame of each frame's window, `[batch, frames]`.
    start: Tensor,
    /// The frames of each window, which has the number of its first.
    groups: Groups,
    /// 0 where a place is static in a window, `[batch, windows, places]` f32.
    changes: Tensor,
    /// The same for each frame, `[batch, frames, places]`.
    changes_of_frame: Tensor,
}

/// What became of rows of places.
struct Clusters {
    /// Of each centre.
    x: Tensor,
    /// Which places they are, `[rows, places]`.
    centres: Tensor,
    /// The centre of each place.
    parent: Tensor,
}
