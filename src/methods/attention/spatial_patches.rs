//! Patches at even distances, that stay whatever their attention: PruMerge+.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{compact, concat_rows, float_ratio, invert_index, lookup, mark, multiples};
use crate::methods::parts::lists::{allowed, choose, first_entries, marks_of};
use crate::reference;
use crate::tensor::NONE;
use crate::token_map::{Tokens, count_by_length, plus_one};

/// Of N patches of which n are outliers every `int(int(N / n) / 3)`-th.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Distances {
    /// Most outliers of any row.
    pub outliers: u32,
    /// Outliers that each row has at least, where there are as many patches.
    pub floor: u32,
    /// Patches that they are taken from, the first; all but the last of a row for `None`.
    pub among: Option<u32>,
}

/// How many of `live` patches may be above the upper quartile, at position 3/4 (N - 1).
pub(crate) fn most_outliers(live: u32) -> u32 {
    live - live.min(1) - (u64::from(live.saturating_sub(1)) * 3 / 4) as u32
}

/// A list of patches `[batch, entries]`, and how many there are.
type Listed = (Tensor, Tensor);

impl Distances {
    /// The distance of a row, by `int(N / n)`; of no outliers it is infinite, and no patch is taken, not even the first.
    fn distance(inverse: u32) -> u32 {
        if inverse == NONE { NONE } else { (inverse / 3).max(1) }
    }

    /// Where the patches end that those of a row are taken from.
    fn end(self, live: u32) -> u32 {
        self.among.unwrap_or(live.saturating_sub(1)).min(live)
    }

    /// The listed patches and, after them, the spatial ones; and all others. `counts` `[batch]` says how many outliers there are.
    pub(crate) fn add(self, graph: &mut Graph, patches: &Tokens, listed: Listed, counts: Tensor) -> Result<(Listed, Tensor), Error> {
        let (batch, capacity, lengths) = (patches.batch(), patches.capacity(), patches.lengths);
        let inverse = float_ratio(graph, counts, lengths, capacity)?.inverse;
        // The last entry is of no outliers.
        let entries = plus_one("prumerge: tokens", plus_one("prumerge: tokens", capacity)?)?;
        let table = || (0..=capacity).chain([NONE]).map(Self::distance).collect();
        let table = graph.listed("prumerge: tokens", [entries], table)?;
        let distance = lookup(graph, table, inverse)?;
        let chosen = multiples(graph, distance, capacity)?;

        let marks = marks_of(graph, listed.0, capacity, mark::EXCLUDED)?;
        let (ends, _) = count_by_length(graph, lengths, capacity, |live| self.end(live))?;
        let spatial = allowed(graph, [batch, capacity], Some(ends), Some(marks), chosen)?;
        let spatial = compact(graph, spatial, None)?;
        // The more outliers there are, the nearer the patches.
        let at_most = |live: u32| {
            let (_, inverse) = reference::float_ratio(most_outliers(live).max(self.floor.min(live)).min(self.outliers), live, capacity);
            if inverse == NONE { 0 } else { self.end(live).div_ceil(Self::distance(inverse)) }
        };
        let (_, most) = count_by_length(graph, lengths, capacity, at_most)?;
        let spatial_list = first_entries(graph, spatial.indices, most)?;
        let kept = concat_rows(graph, (listed.0, Some(listed.1)), (spatial_list, Some(spatial.counts)))?;
        let place = invert_index(graph, kept.0, capacity)?;
        let [_, entries] = kept.0.shape().exactly("prumerge: kept", "[batch, kept]")?;
        let missing = choose(graph, place, entries, [0, 1])?;
        let dropped = compact(graph, missing, Some(lengths))?.indices;
        Ok((kept, dropped))
    }
}
