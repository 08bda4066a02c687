//! OmniZip: sound with its video, the less of which stays the less there is to hear.
//!
//! Tao et al., "OmniZip: Audio-Guided Dynamic Token Compression for Fast Omnimodal Large Language Models" (2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Activation, Attention, BipartiteMatch, Limit, Order, Partition, QueryKeyValue, Relation, Statistic, Threshold, ThresholdInputs, TopK,
    TopKInputs, activate, add, compact, concat_rows, convert, density_peaks, gather_rows, group_tokens, invert_index, keep_live, mark,
    multiples, multiply, pair_similarity, previous_at, ranges, reduce, row_normalize, scale,
};
use crate::methods::parts::arithmetic::{blend, complement, difference, quotient};
use crate::methods::parts::keep::{keep_marked, keep_positions};
use crate::methods::parts::lists::{choose, first_entries, pick, product, rows_of, select_mask};
use crate::methods::similarity::video::frames::Frames;
use crate::options;
use crate::schedule::{Rounding, keep_count};
use crate::tensor::{Elem, HostTensor, NONE};
use crate::token_map::{Compressed, TokenMap, Tokens, capped, count_by_length, plus_one};

/// Prunes sound by a score, and the video beside it by how much of the sound stays.
///
/// ```text
/// of n sound tokens stay the round((1 - audio) n) with the highest score, and of the others round(context n), evenly spaced: the anchors
/// every other sound token goes to the anchor of the highest cosine; s_i = its highest cosine to any video token
/// each anchor takes the `members` of highest s among those: anchor' = (anchor + sum_i w_i x_i) / 2, w = softmax s; what is left is dropped
///
/// of a chunk's video goes: drop = most - (most - least) (share of the chunk's sound that stays)
/// with more than two such chunks, all but the first least and the first largest of these are scaled, within least and most, and then
/// shifted, within them again, so that `video` of all goes
/// of each frame of n tokens int((1 - drop) n) stay:
///   1st, 3rd .. frame of a chunk   those with the highest density peak, by cosine distance to their 5 nearest others
///   2nd, 4th ..                    those least like the same place of the frame before
/// ```
///
/// A chunk is `frames_per_chunk` frames and `audio_per_chunk` sound tokens; one without sound loses `video` of its video. What is kept
/// stays in order. The tokens of a last frame that is not whole are a frame of fewer; the published code drops them. Shares of video are
/// f32: what is less than 1/1024 of a token below a whole number counts as that.
///
/// Ties go to the lowest position. Sound tokens with a NaN or an infinity join nothing; video tokens that have one count as zeros, and are
/// kept last in a 2nd frame. Where no video token is sound, s is the cosine to the anchor.
///
/// Cost: one copy of all tokens and their norms, `2 D (A + V) C` operations for D sound tokens that do not stay, A anchors and V video
/// tokens; `6 n^2 C` for the density peaks of each other frame, two reads of the video for the rest; about ninety small dispatches.
///
/// ```
/// use tokenpress::methods::OmniZip;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let video = graph.tokens("video", [1, 4, 2], Elem::F32)?;
/// let audio = graph.tokens("audio", [1, 4, 2], Elem::F32)?;
/// let score = graph.constant(HostTensor::f32([1, 4], vec![1.0, 0.0, 0.0, 0.0]));
/// let method = OmniZip { tokens_per_frame: 2, audio: 0.75, context: 0.25, least: 0.2, most: 0.8, ..Default::default() };
/// let kept = method.build(&mut graph, &video, &audio, score)?;
/// graph.output("video kept", kept.video.map.representative)?;
/// graph.output("audio'", kept.audio.tokens.x)?;
/// graph.output("drop", kept.drop)?;
/// let [picture, sound] = [[1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 2.0, 0.0, 4.0, 0.0, 4.0, 0.0]];
/// let inputs = [("video", picture), ("audio", sound)].map(|(name, x)| (name.to_owned(), HostTensor::f32([1, 4, 2], x.to_vec())));
/// let out = graph.run_reference(&inputs.into())?;
/// // Half of the sound stays, with what the other two tokens said. So half of the video goes.
/// assert_eq!(out["audio'"].floats(), [1.0, 1.0, 3.0, 0.0]);
/// assert!((out["drop"].floats()[0] - 0.5).abs() < 1e-6);
/// assert_eq!(out["video kept"].integers()[..2], [0, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("omni", "audio_guided"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OmniZip {
    /// Video tokens of a frame.
    pub tokens_per_frame: u32,
    /// Frames of a chunk.
    pub frames_per_chunk: u32,
    /// Sound tokens of a chunk.
    pub audio_per_chunk: u32,
    /// Share of the sound that goes, but for anchors, 0 to 1.
    pub audio: f64,
    /// Share of the sound that is anchors, 0 to 1.
    pub context: f64,
    /// Sound tokens that an anchor takes in, at most.
    pub members: u32,
    /// Share of the video that goes, 0 to 1.
    pub video: f32,
    /// The least share of a chunk's video that goes, 0 to 1.
    pub least: f32,
    /// The largest share of a chunk's video that goes, 0 to 1.
    pub most: f32,
}

/// The published setting, for frames of one token.
impl Default for OmniZip {
    fn default() -> Self {
        Self {
            tokens_per_frame: 1,
            frames_per_chunk: 2,
            audio_per_chunk: 50,
            audio: 0.3,
            context: 0.05,
            members: 3,
            video: 0.6,
            least: 0.35,
            most: 0.75,
        }
    }
}

/// Sound and video after OmniZip.
#[derive(Debug, Clone, Copy)]
pub struct OmniZipOutput {
    /// The sound tokens left, in order.
    pub audio: Compressed,
    /// The video tokens left, in order.
    pub video: Compressed,
    /// Share of each chunk's video that went, `[batch, chunks]` f32.
    pub drop: Tensor,
}

/// Neighbours of a density, as published.
const NEAREST: u32 = 5;

/// What a share of tokens may be below a whole number.
const ROUNDED: f32 = 1.0 / 1024.0;

impl OmniZip {
    /// Prunes `video`, frame after frame, and `audio` by a score `[batch, audio tokens]` f32, such as its encoder's attention.
    pub fn build(&self, graph: &mut Graph, video: &Tokens, audio: &Tokens, score: Tensor) -> Result<OmniZipOutput, Error> {
        let frames = Frames::of(video, self.tokens_per_frame, "omnizip: tokens_per_frame")?;
        let sounds = Frames::of(audio, self.audio_per_chunk, "omnizip: audio_per_chunk")?;
        options::within("omnizip: frames_per_chunk", 1..=u32::MAX, self.frames_per_chunk)?;
        options::share("omnizip: audio", self.audio)?;
        options::share("omnizip: context", self.context)?;
        for (argument, share) in [("omnizip: video", self.video), ("omnizip: least", self.least), ("omnizip: most", self.most)] {
            options::share(argument, share.into())?;
        }
        let ([batch, _, channels], [rows, of_audio, others]) = (video.checked()?, audio.checked()?);
        if [rows, others] != [batch, channels] {
            let expected = format!("[{batch}, tokens, {channels}]");
            return Err(Error::Shape { argument: "omnizip: audio", expected, actual: audio.x.shape() });
        }
        audio.expect_score("omnizip: score", score)?;
        let audio_kept = self.audio(graph, video, audio, score)?;
        let outputs = audio_kept.tokens.capacity();
        let own = invert_index(graph, audio_kept.map.representative, of_audio)?;
        let stays = choose(graph, own, outputs, [1, 0])?;
        let drop = self.drop(graph, [video, audio], [frames, sounds], stays)?;
        let video = self.video(graph, video, frames, drop)?;
        Ok(OmniZipOutput { audio: audio_kept, video, drop })
    }

    /// What is left of the sound.
    fn audio(&self, graph: &mut Graph, video: &Tokens, audio: &Tokens, score: Tensor) -> Result<Compressed, Error> {
        let ([batch, capacity, channels], [_, pictures, _]) = (audio.checked()?, video.checked()?);
        let salient = |live: u32| keep_count(live, 1.0 - self.audio, Rounding::NearestEven);
        let of_rest = |live: u32| live - salient(live);
        let anchors =
            |live: u32| if self.members == 0 { 0 } else { keep_count(live, self.context, Rounding::NearestEven).min(of_rest(live)) };
        let step = |live: u32| of_rest(live).checked_div(anchors(live)).unwrap_or(NONE);
        let mut count = |of: &dyn Fn(u32) -> u32| count_by_length(graph, audio.lengths, capacity, of);
        let (counts, most) = count(&salient)?;
        let ((left, _), (steps, _), (anchor_counts, most_anchors)) = (count(&of_rest)?, count(&step)?, count(&anchors)?);
        let outputs = most.saturating_add(most_anchors).min(capacity);
        let select = TopK { k: most, order: Order::Index, complement: Some(Order::Index), ..Default::default() };
        let inputs = TopKInputs { lengths: Some(audio.lengths), counts: Some(counts), ..TopKInputs::new(score) };
        let chosen = select.build(graph, inputs)?;
        let Some(rest) = chosen.complement.filter(|_| most_anchors > 0) else {
            return keep_positions(graph, audio, chosen.indices, outputs);
        };

        // Every so many of the rest is an anchor, and the others are the pool.
        let spaced = multiples(graph, steps, capacity)?;
        let spaced = compact(graph, spaced, Some(left))?.indices;
        let spaced = first_entries(graph, spaced, most_anchors)?;
        let spaced = keep_live(graph, spaced, anchor_counts)?;
        let is_anchor = invert_index(graph, spaced, capacity)?;
        let others = choose(graph, is_anchor, most_anchors, [0, 1])?;
        let others = compact(graph, others, Some(left))?;
        let anchors = gather_rows(graph, rest, spaced, None)?;
        let pool = gather_rows(graph, rest, others.indices, None)?;

        let all = product("omnizip: x", audio.x.shape(), batch, most_anchors)?;
        plus_one("omnizip: audio", capacity.saturating_add(pictures))?;
        let (both, _) = concat_rows(graph, (audio.x, None), (video.x, None))?;
        let normalized = row_normalize(graph, both, None)?;
        let nearest = BipartiteMatch::default().build(graph, normalized, Partition { sources: pool, destinations: anchors }, None)?;
        let destinations = graph.counted([batch, pictures], capacity, 1);
        let destinations = keep_live(graph, destinations, video.lengths)?;
        let seen = BipartiteMatch::default().build(graph, normalized, Partition { sources: pool, destinations }, None)?;
        let mut sound = |similarity: Tensor| {
            let inputs = ThresholdInputs::new(similarity, Limit::Constant(-2.0));
            Threshold { relation: Relation::AtLeast }.build(graph, inputs)
        };
        let (of_anchors, of_video) = (sound(nearest.similarity)?, sound(seen.similarity)?);
        let unseen = choose(graph, of_video, 1, [NONE, 0])?;
        let likeness = pick(graph, unseen, [seen.similarity, nearest.similarity])?;

        // The best of those that go to each anchor.
        let marks = choose(graph, of_anchors, 1, [mark::EXCLUDED, mark::CANDIDATE])?;
        let sort = TopK { k: capacity, order: Order::Value, ..Default::default() };
        let inputs = TopKInputs { lengths: Some(others.counts), marks: Some(marks), ..TopKInputs::new(likeness) };
        let order = sort.build(graph, inputs)?.indices;
        let label = gather_rows(graph, nearest.partner, order, None)?;
        let groups = group_tokens(graph, label, most_anchors)?;
        let members = self.members.min(capacity);
        let slots = product("omnizip: members", audio.x.shape(), most_anchors, members)?;
        product("omnizip: members", audio.x.shape(), all, members)?;
        // The offsets of one batch row after those of another. Between two rows they fall, and there is none.
        let ends = product("omnizip: x", audio.x.shape(), batch, plus_one("omnizip: x", most_anchors)?)?;
        let offsets = graph.reshape(groups.offsets, [1, ends])?;
        let nought = graph.filled([1, 1], 0);
        let (offsets, _) = concat_rows(graph, (offsets, None), (nought, None))?;
        let offsets = graph.reshape(offsets, [plus_one("omnizip: x", ends)?])?;
        let first = ranges(graph, offsets, members)?;
        let places = graph.reshape(first.indices, [batch, most_anchors + 1, members])?;
        let places = rows_of(graph, places, 0..most_anchors)?;
        let places = graph.reshape(places, [batch, slots])?;
        let taken = graph.reshape(first.lengths, [batch, most_anchors + 1])?;
        let taken = rows_of(graph, taken, 0..most_anchors)?;
        let places = gather_rows(graph, groups.members, places, None)?;
        let places = gather_rows(graph, order, places, None)?;
        let tokens = gather_rows(graph, pool, places, None)?;

        // Their softmax is an attention of one channel.
        let logits = gather_rows(graph, likeness, places, None)?;
        let keys = graph.reshape(logits, [all, 1, members, 1])?;
        let values = gather_rows(graph, audio.x, tokens, None)?;
        let values = convert(graph, values, Elem::F32)?;
        let values = graph.reshape(values, [all, 1, members, channels])?;
        let queries = graph.filled_f32([all, 1, 1, 1], 1.0);
        let lengths = Some(graph.reshape(taken, [all])?);
        let attention = Attention { scale: Some(1.0), ..Default::default() };
        let inputs = QueryKeyValue { queries, keys, values, bias: None, lengths, query_lengths: None };
        let sum = attention.build(graph, inputs)?.rows;
        let sum = graph.reshape(sum, [batch, most_anchors, channels])?;
        let own = gather_rows(graph, audio.x, anchors, None)?;
        let wide = convert(graph, own, Elem::F32)?;
        let [wide, sum] = [wide, sum].map(|half| scale(graph, half, 0.5));
        let merged = add(graph, wide?, sum?)?;
        let merged = convert(graph, merged, audio.x.elem())?;
        // An anchor that takes nothing in stays as it is.
        let alone = choose(graph, taken, 1, [NONE, 0])?;
        let itself = graph.counted([batch, most_anchors], 0, 1);
        let nothing = graph.filled([batch, most_anchors], NONE);
        let joined = pick(graph, alone, [itself, nothing])?;
        let merged = gather_rows(graph, merged, joined, Some(own))?;

        let (listed, _) = concat_rows(graph, (chosen.indices, None), (anchors, None))?;
        let kept = keep_positions(graph, audio, listed, outputs)?;
        let anchor_of = invert_index(graph, anchors, capacity)?;
        let row = gather_rows(graph, anchor_of, kept.map.representative, None)?;
        let x = gather_rows(graph, merged, row, Some(kept.tokens.x))?;
        // Where those went that an anchor took in.
        let of_slot = graph.listed("omnizip: members", [slots], || (0..slots).map(|slot| slot / members).collect())?;
        let of_slot = gather_rows(graph, anchors, of_slot, None)?;
        let slot = invert_index(graph, tokens, capacity)?;
        let went = gather_rows(graph, of_slot, slot, None)?;
        let went = gather_rows(graph, kept.map.parent, went, None)?;
        let places = graph.counted([batch, outputs], 0, 1);
        let parent = gather_rows(graph, places, kept.map.parent, Some(went))?;
        let map = TokenMap { parent, ..kept.map };
        let size = map.sizes(graph, audio.size)?;
        Ok(Compressed { tokens: Tokens { x, size, lengths: kept.tokens.lengths }, map })
    }

    /// The share of each chunk's video that goes, f32 `[batch, chunks]`, by which sound tokens stay, `[batch, audio tokens]`.
    fn drop(&self, graph: &mut Graph, [video, audio]: [&Tokens; 2], [frames, sounds]: [Frames; 2], stays: Tensor) -> Result<Tensor, Error> {
        let batch = video.batch();
        let chunks = frames.count.div_ceil(self.frames_per_chunk);
        let width = self.frames_per_chunk.min(frames.count.max(1));
        let shape = video.x.shape();
        let padded = product("omnizip: frames", shape, chunks, width)?;
        let of_sounds = product("omnizip: audio", audio.x.shape(), batch, sounds.count)?;
        product("omnizip: chunks", shape, batch, chunks)?;
        // One entry a chunk, 0 where there is none.
        let each = graph.counted([chunks], 0, 1);
        let none = graph.filled([batch, chunks], 0);
        let heard = sounds.lengths(graph, audio)?;
        let stays = sounds.split(graph, stays)?;
        let stays = convert(graph, stays, Elem::F32)?;
        let stays = graph.reshape(stays, [of_sounds, sounds.size])?;
        let lengths = graph.reshape(heard, [of_sounds])?;
        let share = reduce(graph, stays, 1, Statistic::Mean, Some(lengths))?;
        let share = graph.reshape(share, [batch, sounds.count])?;
        let share = gather_rows(graph, share, each, None)?;
        let heard = gather_rows(graph, heard, each, Some(none))?;
        let seen = frames.lengths(graph, video)?;
        let no_frames = graph.filled([batch, padded], 0);
        let each_frame = graph.counted([padded], 0, 1);
        let seen = gather_rows(graph, seen, each_frame, Some(no_frames))?;
        let seen = graph.reshape(seen, [batch, chunks, width])?;
        let seen = reduce(graph, seen, 2, Statistic::Sum, None)?;

        // Those with both are the first ones.
        let [of_both, size] = {
            let mut some = |counts: Tensor| {
                let some = choose(graph, counts, 1, [0, 1])?;
                convert(graph, some, Elem::F32)
            };
            let (heard, some) = (some(heard)?, some(seen)?);
            let both = multiply(graph, heard, some)?;
            let seen = convert(graph, seen, Elem::F32)?;
            [both, multiply(graph, seen, both)?]
        };
        let guided = reduce(graph, of_both, 1, Statistic::Sum, None)?;
        let guided = convert(graph, guided, Elem::U32)?;
        let drop = scale(graph, share, self.least - self.most)?;
        let most = graph.filled_f32([batch, chunks], self.most);
        let drop = add(graph, drop, most)?;
        let drop = self.clamped(graph, drop)?;

        // All but two make up for what is missing.
        let mut extreme = |largest: bool| {
            let select = TopK { k: chunks.min(1), largest, ..Default::default() };
            let mask = select_mask(graph, select, TopKInputs { lengths: Some(guided), ..TopKInputs::new(drop) })?;
            convert(graph, mask, Elem::F32)
        };
        let (lowest, highest) = (extreme(false)?, extreme(true)?);
        let many = choose(graph, guided, 3, [0, 1])?;
        let many = convert(graph, many, Elem::F32)?;
        let many = graph.reshape(many, [batch, 1])?;
        let mut free = multiply(graph, of_both, many)?;
        for fixed in [lowest, highest] {
            let other = complement(graph, fixed)?;
            free = multiply(graph, free, other)?;
        }
        let sum = |graph: &mut Graph, x: Tensor| {
            let sum = reduce(graph, x, 1, Statistic::Sum, None)?;
            graph.reshape(sum, [batch, 1])
        };
        let goes = multiply(graph, drop, size)?;
        let wanted = sum(graph, size)?;
        let wanted = scale(graph, wanted, self.video)?;
        let fixed = add(graph, lowest, highest)?;
        let fixed = multiply(graph, goes, fixed)?;
        let fixed = sum(graph, fixed)?;
        let remain = difference(graph, wanted, fixed)?;
        let of_free = multiply(graph, goes, free)?;
        let of_free = sum(graph, of_free)?;
        let factor = quotient(graph, remain, of_free)?;
        let scaled = multiply(graph, drop, factor)?;
        let drop = self.changed(graph, drop, scaled, free)?;

        let goes = multiply(graph, drop, size)?;
        let goes = sum(graph, goes)?;
        let missing = difference(graph, wanted, goes)?;
        let size = multiply(graph, size, free)?;
        let size = sum(graph, size)?;
        let shift = quotient(graph, missing, size)?;
        let shifted = add(graph, drop, shift)?;
        let drop = self.changed(graph, drop, shifted, free)?;
        // The others lose what was asked for.
        let wanted = graph.filled_f32([batch, chunks], self.video);
        blend(graph, wanted, drop, of_both)
    }

    /// Between the least and the most.
    fn clamped(&self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        let shape = x.shape();
        let [low, high] = [self.least, self.most.max(self.least)];
        let [minus_low, low, high] = [-low, low, high].map(|limit| graph.filled_f32(shape, limit));
        let above = add(graph, x, minus_low)?;
        let above = activate(graph, above, Activation::Relu)?;
        let x = add(graph, above, low)?;
        let below = difference(graph, high, x)?;
        let below = activate(graph, below, Activation::Relu)?;
        difference(graph, high, below)
    }

    /// The new shares, clamped, of those that are free.
    fn changed(&self, graph: &mut Graph, old: Tensor, new: Tensor, free: Tensor) -> Result<Tensor, Error> {
        let new = self.clamped(graph, new)?;
        blend(graph, old, new, free)
    }

    /// What is left of the video.
    fn video(&self, graph: &mut Graph, video: &Tokens, frames: Frames, drop: Tensor) -> Result<Compressed, Error> {
        let [batch, capacity, channels] = video.checked()?;
        let (count, size, shape) = (frames.count, frames.size, video.x.shape());
        let rows = product("omnizip: x", shape, batch, count)?;
        let whole = product("omnizip: x", shape, count, size)?;
        let live = frames.lengths(graph, video)?;
        let of_frames = graph.reshape(live, [rows])?;
        let x = frames.resized(graph, video.x, whole)?;
        let lengths_of_rows = Some(frames.live_tokens(graph, video)?);
        let normalized = row_normalize(graph, x, lengths_of_rows)?;

        let chunk = graph.listed("omnizip: frames", [count], || (0..count).map(|frame| frame / self.frames_per_chunk).collect())?;
        let share = complement(graph, drop)?;
        let share = gather_rows(graph, share, chunk, None)?;
        let of_live = convert(graph, live, Elem::F32)?;
        let counts = multiply(graph, of_live, share)?;
        let rounded = graph.filled_f32([batch, count], ROUNDED);
        let counts = add(graph, counts, rounded)?;
        let counts = convert(graph, counts, Elem::U32)?;

        // The 1st, 3rd .. frames of a chunk. A distance of units is that of cosines but for a factor, which makes the density's mean of
        // squares, of the token too, that of the others' cosine distances.
        let is_first = |frame: u32| (frame % self.frames_per_chunk).is_multiple_of(2);
        let first = graph.listed("omnizip: frames", [count], || (0..count).map(|f| if is_first(f) { f } else { NONE }).collect())?;
        let none = graph.filled([batch, count], 0);
        let lengths = gather_rows(graph, live, first, Some(none))?;
        let lengths = graph.reshape(lengths, [rows])?;
        let table = (0..=NEAREST + 1).map(|live| match live {
            0 | 1 => 1.0,
            _ => (f64::from(live) * f64::from(channels) / (2.0 * f64::from(live - 1))).sqrt() as f32,
        });
        let table = graph.constant(HostTensor::f32([1, NEAREST + 2], table.collect()));
        let among = capped(graph, of_frames, NEAREST + 1)?;
        let among = graph.reshape(among, [1, rows])?;
        let factor = gather_rows(graph, table, among, None)?;
        let factor = graph.reshape(factor, [rows, 1, 1])?;
        let unit = graph.reshape(normalized.unit, [rows, size, channels])?;
        let unit = multiply(graph, unit, factor)?;
        let peaks = density_peaks(graph, unit, NEAREST + 1, Some(lengths))?;
        let peak = multiply(graph, peaks.score, peaks.separation)?;
        let peak = graph.reshape(peak, [batch, count, size])?;

        let previous = previous_at(graph, whole, size);
        let likeness = pair_similarity(graph, normalized, previous, lengths_of_rows)?;
        let change = scale(graph, likeness, -1.0)?;
        let change = graph.reshape(change, [batch, count, size])?;
        let scores = gather_rows(graph, peak, first, Some(change))?;
        let inputs = TopKInputs { lengths: Some(live), counts: Some(counts), ..TopKInputs::new(scores) };
        let mask = select_mask(graph, TopK { k: size, ..Default::default() }, inputs)?;
        let mask = frames.joined(graph, mask, video)?;
        keep_marked(graph, video, mask, capacity)
    }
}
