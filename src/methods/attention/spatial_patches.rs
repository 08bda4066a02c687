//! Patches at even distances, that stay whatever their attention: PruMerge+.

use crate::error::Error;
use crate::graph::{Graph, Tensor, expect_listed};
use crate::kernels::{Limit, Threshold, ThresholdInputs, compact, concat_rows, gather_rows, invert_index, mark};
use crate::methods::parts::lists::{choose, first_entries, marks_of};
use crate::token_map::{Tokens, count_by_length, count_by_length_and, plus_one};

/// Of N patches of which n are outliers every `int(int(N / n) / 3)`-th.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Distances {
    /// Most outliers of any row.
    pub outliers: u32,
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
    /// The distance of a row; of no outliers it is infinite, and no patch is taken, not even the first.
    fn distance(live: u32, outliers: u32) -> Option<u32> {
        let ratio = 1.0 / (f64::from(outliers) / f64::from(live));
        (!ratio.is_infinite()).then_some((ratio as u32 / 3).max(1))
    }

    /// Where the patches end that those of a row are taken from.
    fn end(self, live: u32) -> u32 {
        self.among.unwrap_or(live.saturating_sub(1)).min(live)
    }

    /// The listed patches and, behind them, the spatial ones; and all others. `counts` `[batch]` says how many outliers there are.
    pub(crate) fn add(self, graph: &mut Graph, patches: &Tokens, listed: Listed, counts: Tensor) -> Result<(Listed, Tensor), Error> {
        let (batch, capacity, lengths) = (patches.batch(), patches.capacity(), patches.lengths);
        // Which distance it is, by the numbers of patches and of outliers; and once for each distance, which patches those are.
        let lives = match graph.known(lengths) {
            Some(known) => known.values().map(|live| live.min(capacity)).collect(),
            None => (0..=capacity).collect::<Vec<_>>(),
        };
        expect_listed("prumerge: tokens", [lives.len() as u32, plus_one("prumerge: outliers", self.outliers)?].into())?;
        let distances = lives.iter().flat_map(|&live| (0..=self.outliers).map(move |n| Self::distance(live, n)));
        let mut distances: Vec<Option<u32>> = distances.collect();
        distances.sort_unstable();
        distances.dedup();
        let place = |live: u32, n: u32| distances.partition_point(|d| *d < Self::distance(live, n)) as u32;
        let place = count_by_length_and(graph, (lengths, capacity), (counts, self.outliers), place)?;
        let taken = |d: &Option<u32>| (0..capacity).map(|i| u32::from(d.is_some_and(|d| i.is_multiple_of(d)))).collect::<Vec<_>>();
        let shape = [1, distances.len() as u32, capacity];
        let patterns = graph.listed("prumerge: tokens", shape, || distances.iter().flat_map(taken).collect())?;
        let place = graph.reshape(place, [1, batch])?;
        let chosen = gather_rows(graph, patterns, place, None)?;
        let chosen = graph.reshape(chosen, [batch, capacity])?;

        let marks = marks_of(graph, listed.0, capacity, mark::EXCLUDED)?;
        let (ends, _) = count_by_length(graph, lengths, capacity, |live| self.end(live))?;
        let any = graph.filled_f32([batch, capacity], 0.0);
        let any = ThresholdInputs::new(any, Limit::Constant(-1.0));
        let spatial = ThresholdInputs { lengths: Some(ends), marks: Some(marks), among: Some(chosen), ..any };
        let spatial = Threshold::default().mask(graph, spatial)?;
        let spatial = compact(graph, spatial, None)?;
        let at_most = |live: u32| {
            let count = |n: u32| Self::distance(live, n).map_or(0, |d| self.end(live).div_ceil(d));
            (0..=most_outliers(live).min(self.outliers)).map(count).max().unwrap_or(0)
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
