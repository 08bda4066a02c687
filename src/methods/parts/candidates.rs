//! Which tokens ToMe matches with which, and how many of them merge.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::Partition;
use crate::methods::ToMe;
use crate::methods::parts::lists::{live_entries, live_mask};
use crate::methods::parts::matching::{Matching, Protect};
use crate::options;
use crate::token_map::{Tokens, count_by_length};

/// What is matched, and what may come of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidates {
    /// Token positions of sources and destinations.
    pub partition: Partition,
    /// Tokens that take part, all but the k-th variant's tail: `[batch]` u32.
    pub lengths: Tensor,
    /// Live sources, `[batch]` u32.
    pub sources: Tensor,
    /// Whether every live source has a partner for sure.
    pub partnered: bool,
    /// Sources that merge, at most: `[batch]` u32, and the most of all rows.
    pub merged: (Tensor, u32),
    /// Output rows, at most.
    pub outputs: u32,
}

impl Candidates {
    /// Even and odd tokens, of which as many merge as `merged` says; so that `outputs` are left at most.
    pub(crate) fn even_odd(graph: &mut Graph, tokens: &Tokens, merged: (Tensor, u32), outputs: u32) -> Result<Self, Error> {
        let partition = Partition::even_odd(graph, tokens.capacity());
        let (sources, _) = count_by_length(graph, tokens.lengths, tokens.capacity(), |live| live.div_ceil(2))?;
        Ok(Self { partition, lengths: tokens.lengths, sources, partnered: true, merged, outputs })
    }
}

impl ToMe {
    /// Leading tokens that do not merge.
    pub(crate) fn protected(&self) -> Protect {
        match self.matching {
            Matching::EvenOdd => self.protect,
            Matching::Kth(_) | Matching::Lists(_) => Protect::NONE,
        }
    }

    pub(crate) fn candidates(&self, graph: &mut Graph, tokens: &Tokens) -> Result<Candidates, Error> {
        let (lengths, capacity, merge) = (tokens.lengths, tokens.capacity(), self.merge);
        // With a threshold it may be that nothing merges.
        let left = |tokens: u32, merged: u32| if self.threshold.is_some() { tokens } else { tokens - merged };
        match self.matching {
            Matching::EvenOdd => {
                let protected = u32::from(self.protect.class) + u32::from(self.protect.distillation);
                let count = |live: u32| merge.min(live.saturating_sub(protected) / 2);
                let merged = count_by_length(graph, lengths, capacity, count)?;
                let (_, outputs) = count_by_length(graph, lengths, capacity, |live| left(live, count(live)))?;
                Candidates::even_odd(graph, tokens, merged, outputs)
            }
            Matching::Kth(stride) => {
                options::within("tome: stride", 1..=u32::MAX, stride)?;
                let partition = Partition::strided(graph, capacity, stride);
                let (grouped, _) = count_by_length(graph, lengths, capacity, |live| live - live % stride)?;
                let merged = count_by_length(graph, lengths, capacity, |live| live / stride * (stride - 1))?;
                let (_, outputs) =
                    count_by_length(graph, lengths, capacity, |live| left(live - live % stride, live / stride * (stride - 1)))?;
                Ok(Candidates { partition, lengths: grouped, sources: merged.0, partnered: true, merged, outputs })
            }
            Matching::Lists(lists) => {
                let entries = |list: Tensor| list.shape().dims().last().copied().unwrap_or(0);
                let (from, to) = (entries(lists.sources), entries(lists.destinations));
                let full = tokens.is_full(graph);
                let (partition, sources) = if full {
                    (lists, graph.filled([tokens.batch()], from))
                } else {
                    let live = live_mask(graph, lengths, capacity)?;
                    let (sources, count) = live_entries(graph, lists.sources, live)?;
                    let (destinations, _) = live_entries(graph, lists.destinations, live)?;
                    (Partition { sources, destinations }, count)
                };
                let merged = count_by_length(graph, sources, from, |n| n.min(merge))?;
                let partnered = full && to > 0;
                let all = from.checked_add(to).ok_or_else(|| Error::Value {
                    argument: "tome: lists",
                    expected: "fewer than 2^32 positions".to_owned(),
                    actual: format!("{from} and {to}"),
                })?;
                let outputs = left(all, merged.1).max(if partnered { 0 } else { from });
                Ok(Candidates { partition, lengths, sources, partnered, merged, outputs })
            }
        }
    }
}
