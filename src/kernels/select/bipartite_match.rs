//! The most similar destination of every source.

use crate::checks::expect;
use crate::compare::{Comparison, Worst};
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::{alone, lengths_or_full, list, list_of, team};
use crate::kernels::{Normalized, Partition};
use crate::reference::{self, Candidates};
use crate::tensor::{Desc, Elem, HostTensor, NONE};

params! {
    struct Params {
        /// Of 64 sources, or of one where an invocation has one, in the whole batch.
        tiles: u32,
        tokens: u32,
        /// In elems.
        channels: u32,
        source_count: u32,
        destination_count: u32,
        /// From one batch row's list to the next: 0 or the count.
        source_stride: u32,
        destination_stride: u32,
        protected_sources: u32,
        protected_destinations: u32,
    }
}

pub(super) static BIPARTITE_MATCH: Shader = Shader {
    name: "bipartite_match",
    source: include_str!("../../../shaders/select/bipartite_match/bipartite_match.wgsl"),
    includes: &[Include::Order, Include::MatchCandidates, Include::TileLanes, Include::Products, Include::Tile, Include::RowFacts],
    headers: &[Header::F32, Header::F32x4],
    inputs: &[
        ("unit", BindingElem::Elem),
        ("norm", BindingElem::F32),
        ("sources", BindingElem::U32),
        ("destinations", BindingElem::U32),
        ("lengths", BindingElem::U32),
    ],
    outputs: &[("similarity", BindingElem::F32), ("partner", BindingElem::U32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

pub(super) static SHORT_ROWS: Shader = Shader {
    name: "bipartite_match.short",
    source: include_str!("../../../shaders/select/bipartite_match/bipartite_match.short.wgsl"),
    includes: &[Include::Order, Include::MatchCandidates],
    ..BIPARTITE_MATCH
};

/// For every source the most similar destination, by cosine.
///
/// ```text
/// S_ij = unit[source_i] . unit[destination_j]      similarity_i = max_j S_ij      partner_i = argmax_j S_ij
/// ```
///
/// It is the first step of ToMe (Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023).
///
/// Cost: one dispatch, `2 B Ns Nd C` operations for Ns sources and Nd destinations. The matrix S is never in memory: nothing is
/// written but the outputs.
///
/// ```
/// use tokenpress::kernels::{BipartiteMatch, Partition, row_normalize};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 4, 2], vec![1.0, 0.0, 0.0, 1.0, 0.0, 2.0, 3.0, 0.0]));
/// let normalized = row_normalize(&mut graph, x, None)?;
/// // Sources are tokens 0 and 2, destinations 1 and 3.
/// let partition = Partition::even_odd(&mut graph, 4);
/// let matches = BipartiteMatch::default().build(&mut graph, normalized, partition, None)?;
/// graph.output("partner", matches.partner)?;
/// assert_eq!(graph.run_reference(&[].into())?["partner"].integers(), [1, 0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("bipartite_soft_matching", "cosine", "argmax"))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct BipartiteMatch {
    /// Leading entries of the list of sources that are matched with nothing: the class token.
    pub protected_sources: u32,
    /// Leading entries of the list of destinations that nothing is matched with: the distillation token.
    pub protected_destinations: u32,
}

/// What [`BipartiteMatch::build`] gives.
#[derive(Debug, Clone, Copy)]
pub struct Matches {
    /// Similarity of each source to its partner, f32 `[B, Ns]`.
    pub similarity: Tensor,
    /// Index of the partner in the list of destinations, u32 `[B, Ns]`.
    pub partner: Tensor,
}

impl BipartiteMatch {
    /// Finds a partner for every source among the destinations.
    ///
    /// `normalized` comes from [`row_normalize`](crate::kernels::row_normalize()) on the metric `[B, N, C]`. Entries of the
    /// partition at or after `lengths[b]` are dead (u32 `[B]`, all N live for `None`).
    ///
    /// - On ties the lowest index wins.
    /// - The similarity to a row of the same direction is 1, and none is larger: near 1 it is taken from the rows' difference.
    /// - A zero row has similarity 0 to everything.
    /// - The similarity to or of a row with a NaN or an infinity is NaN, which ranks lowest. Such a destination is chosen only
    ///   where no other is left. Such a source gets the first destination.
    /// - A source that is dead or protected, or has no candidate, gets -infinity and [`NONE`](crate::NONE).
    pub fn build(self, graph: &mut Graph, normalized: Normalized, partition: Partition, lengths: Option<Tensor>) -> Result<Matches, Error> {
        let [batch, tokens, _] = normalized.unit.shape().exactly("bipartite_match: unit", "[B, N, C]")?;
        let lengths = lengths_or_full(graph, lengths, batch, tokens);
        let inputs = [normalized.unit, normalized.norm, partition.sources, partition.destinations, lengths];
        let outputs = graph.call(self, &inputs)?;
        Ok(Matches { similarity: outputs[0], partner: outputs[1] })
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn find(self, graph: &mut Graph, normalized: Normalized, partition: Partition, lengths: Option<Tensor>) -> Result<Matches, Error> {
        self.build(graph, normalized, partition, lengths)
    }
}

impl BipartiteMatch {
    /// The candidates of every batch row.
    fn candidates<'a>(&self, inputs: &[&'a HostTensor], unit: &'a [f32], norm: &'a [f32]) -> Vec<Candidates<'a>> {
        let [batch, tokens, channels] = inputs[0].dims();
        let row = |b: usize| Candidates {
            unit: &unit[b * tokens * channels..][..tokens * channels],
            norm: &norm[b * tokens..][..tokens],
            channels,
            sources: list_of(inputs[2], b),
            destinations: list_of(inputs[3], b),
            live: inputs[4].integers()[b],
            protected_sources: self.protected_sources,
            protected_destinations: self.protected_destinations,
        };
        (0..batch).map(row).collect()
    }
}

impl Kernel for BipartiteMatch {
    fn name(&self) -> &'static str {
        "bipartite_match"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["similarity", "partner"]
    }

    fn input_count(&self) -> std::ops::RangeInclusive<usize> {
        5..=5
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens, channels] = inputs[0].shape.exactly("bipartite_match: unit", "[B, N, C]")?;
        expect("bipartite_match: unit", inputs[0], Desc::new([batch, tokens, channels], Elem::F32))?;
        expect("bipartite_match: norm", inputs[1], Desc::new([batch, tokens], Elem::F32))?;
        let (sources, _) = list("bipartite_match: sources", inputs[2], batch)?;
        list("bipartite_match: destinations", inputs[3], batch)?;
        expect("bipartite_match: lengths", inputs[4], Desc::new([batch], Elem::U32))?;
        Ok(vec![Desc::new([batch, sources], Elem::F32), Desc::new([batch, sources], Elem::U32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let (unit, norm) = (inputs[0].floats(), inputs[1].floats());
        let rows = self.candidates(inputs, &unit, &norm);
        let (similarity, partner): (Vec<_>, Vec<_>) = rows.iter().map(reference::bipartite_match).unzip();
        let sources = *inputs[2].shape().dims().last().unwrap_or(&0);
        let shape = [rows.len() as u32, sources];
        vec![HostTensor::f32(shape, similarity.concat()), HostTensor::u32(shape, partner.concat())]
    }

    fn batched_inputs(&self, inputs: &[Desc]) -> Option<Vec<bool>> {
        let of_row = |i: usize| inputs[i].shape.dims().len() == 2;
        Some(vec![true, true, of_row(2), of_row(3), true])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        let entries = |i: usize| u64::from(*inputs[i].shape.dims().last().unwrap_or(&0));
        let (batch, channels) = (u64::from(inputs[0].shape.dims()[0]), entries(0));
        [batch, entries(2), entries(3), channels].iter().fold(2u64, |product, size| product.saturating_mul(*size))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, tokens, channels] = lowering.input(0).shape.exactly("bipartite_match: unit", "[B, N, C]")?;
        let (source_count, source_stride) = list("bipartite_match: sources", lowering.input(2), batch)?;
        let (destination_count, destination_stride) = list("bipartite_match: destinations", lowering.input(3), batch)?;
        let (header, [unit]) = lowering.vectors(Elem::F32, channels, [Slot::Input(0)]);
        let short = alone(destination_count, destination_count.into(), channels);
        let tiles = u64::from(batch) * u64::from(if short { source_count } else { source_count.div_ceil(64) });
        let (shader, groups) = team(short, &BIPARTITE_MATCH, &SHORT_ROWS, tiles);
        lowering.dispatch(Call {
            shader,
            header,
            constants: &[],
            slots: &[unit, Slot::Input(1), Slot::Input(2), Slot::Input(3), Slot::Input(4), Slot::Output(0), Slot::Output(1)],
            params: Params {
                tiles: tiles as u32,
                tokens,
                // Dead entries read the first row, which an empty batch does not have.
                channels: if tokens == 0 { 0 } else { channels / header.width() },
                source_count,
                destination_count,
                source_stride,
                destination_stride,
                protected_sources: self.protected_sources,
                protected_destinations: self.protected_destinations,
            },
            groups,
        })
    }

    /// The similarity is that to the partner. Another partner than the reference's is right if its exact similarity is as near to the best
    /// as both inner products' bounds allow, and no destination of a lower index has the very same row.
    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let (unit, norm) = (inputs[0].floats(), inputs[1].floats());
        let rows = self.candidates(inputs, &unit, &norm);
        let sources = expected[0].shape().dims()[1] as usize;
        let (expected_partner, actual_partner) = (expected[1].integers(), actual[1].integers());
        let (expected_value, actual_value) = (expected[0].floats(), actual[0].floats());
        let judge_value = |at: usize| {
            let (row, i) = (&rows[at / sources], at % sources);
            judge_similarity(at, row, i, actual_partner[at], expected_value[at], actual_value[at])
        };
        let judge = |at: usize| {
            let (row, i) = (&rows[at / sources], at % sources);
            judge_partner(at, row, i, expected_partner[at], actual_partner[at])
        };
        vec![Comparison::judged(&expected[0], &actual[0], judge_value), Comparison::judged(&expected[1], &actual[1], judge)]
    }
}

fn destination(row: &Candidates<'_>, partner: u32) -> Option<usize> {
    if (partner as usize) < row.destinations.len() { row.destination(partner as usize) } else { None }
}

fn judge_similarity(index: usize, row: &Candidates<'_>, source: usize, partner: u32, expected: f32, actual: f32) -> Worst {
    let exact = Worst { index, expected: f64::from(expected), actual: f64::from(actual), bound: 0.0 };
    let (Some(source), Some(destination)) = (row.source(source), destination(row, partner)) else { return exact };
    let similarity = row.similarity(source, destination);
    if similarity.is_nan() {
        return exact;
    }
    let bound = reference::cosine_bound(row.row(source), row.row(destination));
    Worst { expected: f64::from(similarity as f32), bound, ..exact }
}

fn judge_partner(index: usize, row: &Candidates<'_>, source: usize, expected: u32, actual: u32) -> Worst {
    let exact = Worst { index, expected: f64::from(expected), actual: f64::from(actual), bound: 0.0 };
    let (Some(token), Some(best), Some(chosen)) = (row.source(source), destination(row, expected), destination(row, actual)) else {
        return exact;
    };
    debug_assert_ne!(expected, NONE);
    let (from, best, chosen) = (row.row(token), (best, row.row(best)), (chosen, row.row(chosen)));
    let (largest, similarity) = (row.similarity(token, best.0), row.similarity(token, chosen.0));
    let twin = (0..actual as usize)
        .any(|j| row.destination(j).is_some_and(|t| row.row(t) == chosen.1 && row.norm[t].is_nan() == row.norm[chosen.0].is_nan()));
    if largest.is_nan() || similarity.is_nan() || twin {
        return exact;
    }
    // It is chosen by its inner product.
    let bound = |to: &[f32]| reference::dot_bound(from, to) + (reference::dot(from, to) - reference::cosine(from, to)).abs();
    Worst { index, expected: largest, actual: similarity, bound: bound(best.1) + bound(chosen.1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source (1, 0); destinations at growing angles, the second nearer than the first by less than rounding, the
    /// last the first's twin.
    fn judge(expected: u32, actual: u32) -> bool {
        let unit = [1.0, 0.0, 0.6, 0.8, 0.6 + f32::EPSILON / 2.0, 0.8, 0.5, 0.866, 0.0, 1.0, 0.6, 0.8];
        let norm = [1.0, 1.0, 1.0, 1.0, f32::NAN, 1.0];
        let row = Candidates {
            unit: &unit,
            norm: &norm,
            channels: 2,
            sources: &[0],
            destinations: &[1, 2, 3, 4, 5, 9],
            live: 6,
            protected_sources: 0,
            protected_destinations: 0,
        };
        judge_partner(0, &row, 0, expected, actual).ratio() <= 1.0
    }

    #[test]
    fn a_partner_within_rounding_of_the_best_is_right() {
        assert!(judge(1, 1) && judge(1, 0) && judge(0, 1));
    }

    #[test]
    fn any_other_partner_is_wrong() {
        assert!(!judge(1, 2), "further away than rounding explains");
        assert!(!judge(1, 3), "a row with a NaN");
        assert!(!judge(0, 4), "the first of equal rows wins");
        assert!(!judge(1, 5), "a dead token");
        assert!(!judge(1, 6) && !judge(1, NONE), "no destination");
        assert!(!judge(NONE, 1), "nothing was to be found");
    }

    #[test]
    fn similarities_are_held_to_their_bound() {
        let matching = BipartiteMatch::default();
        let inputs = [
            HostTensor::f32([1, 2, 2], vec![1.0, 0.0, 0.6, 0.8]),
            HostTensor::f32([1, 2], vec![1.0; 2]),
            HostTensor::u32([1], vec![0]),
            HostTensor::u32([1], vec![1]),
            HostTensor::u32([1], vec![2]),
        ];
        let inputs: Vec<_> = inputs.iter().collect();
        let expected = matching.reference(&inputs);
        let passes = |similarity: f32| {
            let actual = [HostTensor::f32([1, 1], vec![similarity]), expected[1].clone()];
            matching.compare(&inputs, &expected, &actual).iter().all(Comparison::passed)
        };
        assert!(passes(0.6) && passes(0.600_000_1));
        assert!(!passes(0.600_001) && !passes(f32::NAN) && !passes(-0.6));
    }
}
