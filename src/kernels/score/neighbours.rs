//! The nearest tokens of tokens.

use crate::checks::expect;
use crate::compare::{Comparison, Worst};
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::Normalized;
use crate::kernels::operands::{alone, lengths_or_full, list, list_of};
use crate::reference::{self, Rows};
use crate::tensor::{Desc, Elem, HostTensor, NONE};

params! {
    struct Params {
        /// Workgroups of the dispatch, or queries where an invocation has one.
        groups: u32,
        /// Of 64 queries: the first of the dispatch.
        first_tile: u32,
        tokens: u32,
        /// In elems.
        channels: u32,
        query_count: u32,
        candidate_count: u32,
        queries_listed: u32,
        candidates_listed: u32,
        /// From one batch row's list to the next: 0 or the count.
        query_stride: u32,
        candidate_stride: u32,
        /// From one query's keys to the next.
        pitch: u32,
        /// K, at most 64.
        nearest: u32,
        by_distance: u32,
        exclude_self: u32,
    }
}

use BindingElem::{F32, U32};

pub(super) static KEYS: Shader = Shader {
    name: "neighbours.keys",
    source: include_str!("../../../shaders/score/neighbours/neighbours.keys.wgsl"),
    includes: &[Include::Order, Include::NeighbourLists, Include::TileLanes, Include::Products, Include::Tile, Include::RowFacts],
    headers: &[Header::F32, Header::F32x4],
    inputs: &[("rows", BindingElem::Elem), ("norm", F32), ("queries", U32), ("candidates", U32), ("lengths", U32)],
    outputs: &[("keys", BindingElem::U32x4)],
    params: Params::NAMES,
    tunings: &[&[]],
};

pub(super) static KEYS_BY_DISTANCE: Shader = Shader {
    name: "neighbours.keys.distances",
    includes: &[Include::Order, Include::NeighbourLists, Include::TileLanes, Include::Differences, Include::Tile, Include::RowFacts],
    headers: FLOATS,
    ..KEYS
};

pub(super) static NEIGHBOURS: Shader = Shader {
    name: "neighbours",
    source: include_str!("../../../shaders/score/neighbours/neighbours.wgsl"),
    includes: &[Include::Order, Include::Distance, Include::NeighbourLists, Include::NeighbourKeys],
    headers: FLOATS,
    inputs: &[("rows", BindingElem::Elem), ("queries", U32), ("candidates", U32), ("lengths", U32)],
    outputs: &[("keys", BindingElem::U32x4), ("indices", U32), ("values", F32)],
    ..KEYS
};

pub(super) static SHORT_ROWS: Shader = Shader {
    name: "neighbours.short",
    source: include_str!("../../../shaders/score/neighbours/neighbours.short.wgsl"),
    inputs: KEYS.inputs,
    outputs: &[("indices", U32), ("values", F32)],
    ..NEIGHBOURS
};

const FLOATS: &[Header] = &[Header::F32, Header::F16, Header::F32x4, Header::F16x4];

/// The most keys of queries and candidates that lie in memory at a time, unless 64 queries alone have more.
const MOST_KEYS: u64 = 1 << 22;

/// Longest list of neighbours that one invocation finds.
const SHORT: u32 = 16;

/// Longest list of neighbours.
const MOST: u32 = 64;

/// The nearest candidates of every query, by cosine or by distance.
///
/// ```text
/// similarity_ij = unit_i . unit_j                    the largest first
/// distance_ij   = sqrt(sum_c (x_ic - x_jc)^2)        the smallest first
/// ```
///
/// Of equally near candidates the first in the list goes first. The similarity to or of a row with a NaN or an infinity is NaN. So is a
/// distance that is not finite in f32. NaN ranks last.
///
/// Cost: `2 B Q M C` operations for M candidates of Q queries, `3 B Q M C` for distances. Two dispatches for every 2^22 pairs, or one where rows
/// are short. The workspace is at most 16 MiB, or `256 M` bytes where that is more: the matrix of all pairs is never in memory.
///
/// ```
/// use tokenpress::kernels::{Among, Neighbours};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [1, 4, 1], Elem::F32);
/// let nearest = Neighbours { nearest: 2, exclude_self: true }.closest(&mut graph, x, Among::default())?;
/// graph.output("indices", nearest.indices)?;
/// let x = HostTensor::f32([1, 4, 1], vec![0.0, 3.0, 1.0, 7.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["indices"].integers(), [2, 1, 2, 0, 0, 1, 1, 2]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("knn", "nearest_neighbors", "cdist"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Neighbours {
    /// How many to find for each query, at most 64.
    pub nearest: u32,
    /// Whether a token may not be its own neighbour.
    pub exclude_self: bool,
}

/// Which tokens have neighbours, and which are: token positions, u32 `[Q]` for all of the batch or `[B, Q]`. Every token for
/// `None`. Positions that are not alive ([`NONE`] among them) have no neighbours, and are none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Among {
    /// The tokens whose neighbours are sought.
    pub queries: Option<Tensor>,
    /// The tokens that may be neighbours.
    pub candidates: Option<Tensor>,
    /// Live tokens of each row, u32 `[B]`; all for `None`.
    pub lengths: Option<Tensor>,
}

/// What [`Neighbours`] finds, nearest first.
#[derive(Debug, Clone, Copy)]
pub struct Nearest {
    /// u32 `[B, Q, nearest]`: indices into the list of candidates, which are token positions where every token is one;
    /// [`NONE`] after the last candidate.
    pub indices: Tensor,
    /// f32 `[B, Q, nearest]`: their similarities or distances; 0 after the last.
    pub values: Tensor,
}

impl Neighbours {
    /// By cosine, of rows from [`row_normalize`](crate::kernels::row_normalize()).
    pub fn most_similar(self, graph: &mut Graph, normalized: Normalized, among: Among) -> Result<Nearest, Error> {
        self.find(graph, normalized.unit, Some(normalized.norm), among)
    }

    /// By Euclidean distance, of rows `[B, N, C]`, f32, f16 or bf16.
    pub fn closest(self, graph: &mut Graph, x: Tensor, among: Among) -> Result<Nearest, Error> {
        self.find(graph, x, None, among)
    }

    fn find(self, graph: &mut Graph, rows: Tensor, norm: Option<Tensor>, among: Among) -> Result<Nearest, Error> {
        let [batch, tokens, _] = rows.shape().exactly("neighbours: rows", "[B, N, C]")?;
        if self.nearest > MOST {
            let actual = self.nearest.to_string();
            return Err(Error::Value { argument: "neighbours: nearest", expected: format!("at most {MOST}"), actual });
        }
        let lengths = lengths_or_full(graph, among.lengths, batch, tokens);
        let search = Search {
            options: self,
            by_distance: norm.is_none(),
            queries_listed: among.queries.is_some(),
            candidates_listed: among.candidates.is_some(),
        };
        // What stands in for an input that is not there is never read.
        let nothing = graph.constant(HostTensor::u32([1], vec![0]));
        let norm = norm.unwrap_or_else(|| graph.constant(HostTensor::f32([1], vec![0.0])));
        let inputs = [rows, norm, among.queries.unwrap_or(nothing), among.candidates.unwrap_or(nothing), lengths];
        let outputs = graph.call(search, &inputs)?;
        Ok(Nearest { indices: outputs[0], values: outputs[1] })
    }
}

/// The kernel call.
#[derive(Debug, Clone, Copy)]
struct Search {
    options: Neighbours,
    by_distance: bool,
    queries_listed: bool,
    candidates_listed: bool,
}

/// One query's search on the host.
struct Found {
    /// Live candidates, nearest first.
    ranked: Vec<(u32, f64)>,
    query: usize,
}

impl Found {
    /// The largest error of any of their values.
    fn bound(&self, rows: &Rows<'_>, candidates: &[u32]) -> f64 {
        let bound =
            |(index, value): &(u32, f64)| if value.is_nan() { 0.0 } else { rows.bound(self.query, candidates[*index as usize] as usize) };
        self.ranked.iter().map(bound).fold(0.0, f64::max)
    }
}

impl Search {
    /// Entries of the lists, and the strides from one batch row's to the next.
    fn lists(&self, inputs: &[Desc]) -> Result<[(u32, u32); 2], Error> {
        let [batch, tokens, _] = inputs[0].shape.exactly("neighbours: rows", "[B, N, C]")?;
        let of = |argument, desc, listed| if listed { list(argument, desc, batch) } else { Ok((tokens, 0)) };
        Ok([of("neighbours: queries", inputs[2], self.queries_listed)?, of("neighbours: candidates", inputs[3], self.candidates_listed)?])
    }

    /// `judge` on every query of the batch, with its batch row's rows and candidates.
    fn each(&self, inputs: &[&HostTensor], mut judge: impl FnMut(&Rows<'_>, &[u32], Found)) {
        let [batch, tokens, channels] = inputs[0].dims();
        let (rows, norm) = (inputs[0].floats(), inputs[1].floats());
        let all: Vec<u32> = (0..tokens as u32).collect();
        for b in 0..batch {
            let rows = Rows {
                rows: &rows[b * tokens * channels..][..tokens * channels],
                norm: (!self.by_distance).then(|| &norm[b * tokens..][..tokens]),
                channels,
                live: tokens.min(inputs[4].integers()[b] as usize),
            };
            let queries = if self.queries_listed { list_of(inputs[2], b) } else { &all };
            let candidates = if self.candidates_listed { list_of(inputs[3], b) } else { &all };
            for &query in queries {
                let query = query as usize;
                let ranked = reference::neighbours(&rows, query, candidates, self.options.exclude_self.then_some(query));
                judge(&rows, candidates, Found { ranked, query });
            }
        }
    }
}

impl Kernel for Search {
    fn name(&self) -> &'static str {
        "neighbours"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["indices", "values"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens, channels] = inputs[0].shape.exactly("neighbours: rows", "[B, N, C]")?;
        if !inputs[0].elem.is_float() {
            return Err(Error::Elem { argument: "neighbours: rows", expected: "f32, f16 or bf16", actual: inputs[0].elem });
        }
        if !self.by_distance {
            expect("neighbours: unit", inputs[0], Desc::new([batch, tokens, channels], Elem::F32))?;
            expect("neighbours: norm", inputs[1], Desc::new([batch, tokens], Elem::F32))?;
        }
        expect("neighbours: lengths", inputs[4], Desc::new([batch], Elem::U32))?;
        let [(queries, _), _] = self.lists(inputs)?;
        let shape = [batch, queries, self.options.nearest];
        Ok(vec![Desc::new(shape, Elem::U32), Desc::new(shape, Elem::F32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let nearest = self.options.nearest as usize;
        // Of each query what is asked for, and no more: all candidates of all queries may be more than memory holds.
        let (mut indices, mut values) = (Vec::new(), Vec::new());
        self.each(inputs, |_, _, found| {
            let end = indices.len() + nearest;
            indices.extend(found.ranked.iter().take(nearest).map(|(index, _)| *index));
            values.extend(found.ranked.iter().take(nearest).map(|(_, value)| *value as f32));
            indices.resize(end, NONE);
            values.resize(end, 0.0);
        });
        let batch = inputs[4].shape().dims()[0];
        // Without a batch there are no lists to count.
        let [(entries, _), _] = self.lists(&inputs.iter().map(|t| t.desc()).collect::<Vec<_>>()).unwrap_or_default();
        let shape = [batch, entries, self.options.nearest];
        vec![HostTensor::u32(shape, indices), HostTensor::f32(shape, values)]
    }

    fn batched_inputs(&self, inputs: &[Desc]) -> Option<Vec<bool>> {
        let of_row = |i: usize| inputs[i].shape.dims().len() == 2;
        Some(vec![true, !self.by_distance, of_row(2), of_row(3), true])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        let [(queries, _), (candidates, _)] = self.lists(inputs).unwrap_or_default();
        let dims = inputs[0].shape;
        let steps = if self.by_distance { 3 } else { 2 };
        let sizes = [dims.dims()[0], queries, candidates, dims.dims()[2]].map(u64::from);
        sizes.iter().fold(steps, |product, size| product.saturating_mul(*size))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let descs: Vec<_> = (0..lowering.inputs()).map(|i| lowering.input(i)).collect();
        let [batch, tokens, channels] = descs[0].shape.exactly("neighbours: rows", "[B, N, C]")?;
        let [(query_count, query_stride), (candidate_count, candidate_stride)] = self.lists(&descs)?;
        let (header, [rows]) = lowering.vectors(descs[0].elem, channels, [Slot::Input(0)]);
        let short = alone(candidate_count, candidate_count.into(), channels) && self.options.nearest.min(candidate_count) <= SHORT;
        let pitch = candidate_count.next_multiple_of(64);
        let params = |groups: u64, first_tile: u64| Params {
            groups: groups as u32,
            first_tile: first_tile as u32,
            tokens,
            channels: channels / header.width(),
            query_count,
            candidate_count,
            queries_listed: self.queries_listed.into(),
            candidates_listed: self.candidates_listed.into(),
            query_stride,
            candidate_stride,
            pitch,
            nearest: self.options.nearest,
            by_distance: self.by_distance.into(),
            exclude_self: self.options.exclude_self.into(),
        };
        let [norm, queries, candidates, lengths] = [1, 2, 3, 4].map(Slot::Input);
        let [indices, values] = [0, 1].map(Slot::Output);
        let dispatch = |lowering: &mut Lowering<'_>, shader: &'static Shader, slots: &[Slot], params: Params, groups: u64| {
            lowering.dispatch(Call { shader, header, constants: &[], slots, params, groups })
        };
        if short {
            let rows_of_all = u64::from(batch) * u64::from(query_count);
            let slots = [rows, norm, queries, candidates, lengths, indices, values];
            return dispatch(lowering, &SHORT_ROWS, &slots, params(rows_of_all, 0), rows_of_all.div_ceil(64));
        }
        let tiles = u64::from(batch) * u64::from(query_count.div_ceil(64));
        let block = (MOST_KEYS / (64 * u64::from(pitch).max(1))).clamp(1, tiles.max(1));
        let keys = lowering.scratch(block * 64 * u64::from(pitch), Elem::U32);
        let making = if self.by_distance { &KEYS_BY_DISTANCE } else { &KEYS };
        for first in (0..tiles).step_by(block as usize) {
            let here = block.min(tiles - first);
            let groups = here * u64::from(pitch / 64);
            dispatch(lowering, making, &[rows, norm, queries, candidates, lengths, keys], params(groups, first), groups)?;
            let slots = [rows, queries, candidates, lengths, keys, indices, values];
            dispatch(lowering, &NEIGHBOURS, &slots, params(64 * here, first), 64 * here)?;
        }
        Ok(())
    }

    /// If every value is within a bound of the exact one, so is the value at each rank of its exact value at this rank: values are
    /// held to that. Another neighbour than the reference's is right at a rank if its exact value is within twice the bound of that
    /// rank's, if it is not in the list already, and if no candidate before it with the very same row is missing from the list.
    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let nearest = self.options.nearest as usize;
        let (mut bounds, mut worst) = (Vec::new(), Vec::new());
        let (expected_index, actual_index) = (expected[0].integers(), actual[0].integers());
        self.each(inputs, |rows, candidates, found| {
            let (start, bound) = (bounds.len(), found.bound(rows, candidates));
            for rank in 0..nearest {
                bounds.push(if rank < found.ranked.len() { bound } else { 0.0 });
                let (expected, before) = (expected_index[start + rank], &actual_index[start..start + rank]);
                worst.push(judge(start + rank, rows, candidates, (&found, bound), rank, expected, actual_index[start + rank], before));
            }
        });
        vec![Comparison::judged(&expected[0], &actual[0], |index| worst[index]), Comparison::within(&expected[1], &actual[1], &bounds)]
    }
}

#[allow(clippy::too_many_arguments, reason = "what a judgement weighs")]
fn judge(
    at: usize,
    rows: &Rows<'_>,
    candidates: &[u32],
    (found, bound): (&Found, f64),
    rank: usize,
    expected: u32,
    actual: u32,
    before: &[u32],
) -> Worst {
    let exact = Worst { index: at, expected: f64::from(expected), actual: f64::from(actual), bound: 0.0 };
    let value = |index: u32| found.ranked.iter().find(|(i, _)| *i == index).map(|(_, value)| *value);
    let (Some(should), Some(is)) = (found.ranked.get(rank).map(|(_, value)| *value), value(actual)) else { return exact };
    let row = |index: u32| rows.row(candidates[index as usize] as usize);
    let twin = |(index, value): &(u32, f64)| *index < actual && !value.is_nan() && row(*index) == row(actual) && !before.contains(index);
    if expected == actual || should.is_nan() || is.is_nan() || before.contains(&actual) || found.ranked.iter().any(twin) {
        return exact;
    }
    debug_assert!(found.query < rows.live);
    Worst { index: at, expected: should, actual: is, bound: 2.0 * bound }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distances 1, 1 + rounding, 2, 1 (a twin of the first) and NaN from token 0.
    fn passes(indices: [u32; 3], values: [f32; 3]) -> bool {
        let search = Search {
            options: Neighbours { nearest: 3, exclude_self: true },
            by_distance: true,
            queries_listed: true,
            candidates_listed: false,
        };
        let inputs = [
            HostTensor::f32([1, 6, 1], vec![0.0, 1.0, -1.0 - f32::EPSILON, 2.0, 1.0, f32::NAN]),
            HostTensor::f32([1], vec![0.0]),
            HostTensor::u32([1], vec![0]),
            HostTensor::u32([1], vec![0]),
            HostTensor::u32([1], vec![6]),
        ];
        let inputs: Vec<_> = inputs.iter().collect();
        let expected = search.reference(&inputs);
        assert_eq!(expected[0].integers(), [1, 4, 2]);
        let actual = [HostTensor::u32([1, 1, 3], indices.to_vec()), HostTensor::f32([1, 1, 3], values.to_vec())];
        search.compare(&inputs, &expected, &actual).iter().all(Comparison::passed)
    }

    #[test]
    fn neighbours_within_rounding_are_right() {
        assert!(passes([1, 4, 2], [1.0; 3]) && passes([2, 1, 4], [1.0; 3]) && passes([1, 2, 4], [1.0; 3]));
    }

    #[test]
    fn other_neighbours_are_wrong() {
        assert!(!passes([1, 4, 3], [1.0; 3]), "further away than rounding explains");
        assert!(!passes([4, 1, 2], [1.0; 3]), "the first of equal rows wins");
        assert!(!passes([1, 1, 2], [1.0; 3]), "twice");
        assert!(!passes([1, 4, 0], [1.0; 3]) && !passes([1, 4, NONE], [1.0; 3]) && !passes([1, 4, 5], [1.0; 3]), "no candidate");
        assert!(!passes([1, 4, 2], [1.0, 1.0, 1.001]), "another value");
    }
}
