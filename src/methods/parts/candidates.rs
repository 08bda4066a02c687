//! Which tokens ToMe matches with which, and how many of them merge.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Compacted, Partition, compact, concat_rows, gather_rows, keep_live, lookup};
use crate::methods::ToMe;
use crate::methods::parts::lists::{choose, live_entries, live_mask, product};
use crate::methods::parts::matching::Matching;
use crate::methods::parts::places::{Protect, Protected};
use crate::pattern::{Pattern, Piece};
use crate::tensor::{Desc, Elem};
use crate::token_map::{Tokens, count_by_length, plus_one};

/// What is matched, and what may come of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidates {
    /// Token positions of sources and destinations. Protected tokens are sources, before all others.
    pub partition: Partition,
    /// Tokens that take part, all but the k-th variant's tail: `[batch]` u32.
    pub lengths: Tensor,
    /// Live sources, `[batch]` u32.
    pub sources: Tensor,
    /// Which of them do not merge.
    pub protected: Protected,
    /// Whether every live source that is not protected has a partner for sure.
    pub partnered: bool,
    /// Sources that merge, at most: `[batch]` u32, and the most of all rows.
    pub merged: (Tensor, u32),
    /// Output rows, at most.
    pub outputs: u32,
}

/// A list of each row, `[batch, entries]` u32, and how many entries it has, `[batch]`.
type Listed = (Tensor, Tensor);

impl Candidates {
    /// Even and odd tokens, without the first `leading`, of which as many merge as `merged` says; so that `outputs` are left at most.
    pub(crate) fn even_odd(graph: &mut Graph, tokens: &Tokens, leading: u32, merged: (Tensor, u32), outputs: u32) -> Result<Self, Error> {
        let capacity = tokens.capacity();
        let leading = leading.min(capacity);
        // The first even and the first odd position behind them.
        let (even, odd) = (leading.next_multiple_of(2), leading | 1);
        let sources_of = |live: u32| live.min(leading) + live.saturating_sub(even).div_ceil(2);
        let partition = if leading < 2 {
            Partition::even_odd(graph, capacity)
        } else {
            let evens = Piece { end: u32::MAX, first: even, step: 2 };
            let sources = Pattern::Pieces([Piece { end: leading, first: 0, step: 1 }, evens, evens]);
            Partition {
                sources: graph.pattern(Desc::new([sources_of(capacity)], Elem::U32), sources),
                destinations: graph.counted([capacity.saturating_sub(odd).div_ceil(2)], odd, 2),
            }
        };
        let (sources, _) = count_by_length(graph, tokens.lengths, capacity, sources_of)?;
        let protected = Protected::Leading(leading);
        Ok(Self { partition, lengths: tokens.lengths, sources, protected, partnered: true, merged, outputs })
    }

    /// Sources and destinations, and the protected tokens as sources that do not merge.
    fn with_protected(
        graph: &mut Graph,
        tokens: &Tokens,
        protected: Protected,
        (sources, count): Listed,
        destinations: Tensor,
        merged: (Tensor, u32),
        outputs: u32,
    ) -> Result<Self, Error> {
        let (list, first) = protected.listed(graph, tokens)?;
        let (sources, count) = concat_rows(graph, (list, Some(first)), (sources, Some(count)))?;
        let partition = Partition { sources, destinations };
        Ok(Self { partition, lengths: tokens.lengths, sources: count, protected, partnered: false, merged, outputs })
    }
}

impl ToMe {
    pub(crate) fn candidates(&self, graph: &mut Graph, tokens: &Tokens) -> Result<Candidates, Error> {
        let (lengths, capacity, merge) = (tokens.lengths, tokens.capacity(), self.merge);
        // With a threshold it may be that nothing merges.
        let left = |tokens: u32, merged: u32| if self.threshold.is_some() { tokens } else { tokens - merged };
        let protected = Protected::of(graph, tokens, self.protect)?;
        let is_none = self.protect == Protect::NONE;
        match self.matching {
            Matching::EvenOdd => {
                let count = |others: u32| merge.min(others / 2);
                let merged = protected.of_others(graph, tokens, count)?;
                match protected {
                    Protected::Leading(leading) => {
                        let (_, outputs) =
                            count_by_length(graph, lengths, capacity, |live| left(live, count(live.saturating_sub(leading))))?;
                        Candidates::even_odd(graph, tokens, leading, merged, outputs)
                    }
                    _ => {
                        let (_, counts) = protected.listed(graph, tokens)?;
                        let outputs = protected.most_left(capacity, |others| left(others, count(others)));
                        let others = protected.others(graph, tokens)?;
                        let (sources, destinations) = alternate(graph, others, counts, protected.most())?;
                        let among = Candidates::with_protected(graph, tokens, protected, sources, destinations, merged, outputs)?;
                        // Where there is a source alone, none merges.
                        Ok(Candidates { partnered: true, ..among })
                    }
                }
            }
            Matching::Kth(stride) => {
                let partition = Partition::strided(graph, capacity, stride);
                let whole = |others: u32| others - others % stride;
                let merges = |others: u32| others / stride * (stride - 1);
                if is_none {
                    let (grouped, _) = count_by_length(graph, lengths, capacity, whole)?;
                    let merged = count_by_length(graph, lengths, capacity, merges)?;
                    let (_, outputs) = count_by_length(graph, lengths, capacity, |live| left(whole(live), merges(live)))?;
                    let partnered = true;
                    return Ok(Candidates { partition, lengths: grouped, sources: merged.0, protected, partnered, merged, outputs });
                }
                let others = protected.others(graph, tokens)?;
                let (grouped, _) = count_by_length(graph, others.counts, capacity, whole)?;
                let merged = count_by_length(graph, others.counts, capacity, merges)?;
                let outputs = match self.threshold {
                    None => protected.most_left(capacity, |others| others / stride),
                    // A full row loses its tail, unless it may have protected tokens enough for whole groups of the others.
                    Some(_) => {
                        let fewest = capacity.saturating_sub(protected.most());
                        let tail = if fewest.div_ceil(stride) <= capacity / stride { 0 } else { fewest % stride };
                        capacity - tail
                    }
                };
                // Their places among the others become positions.
                let others = keep_live(graph, others.indices, grouped)?;
                let [sources, destinations] =
                    [partition.sources, partition.destinations].map(|list| gather_rows(graph, others, list, None));
                let among = Candidates::with_protected(graph, tokens, protected, (sources?, merged.0), destinations?, merged, outputs)?;
                Ok(Candidates { partnered: true, ..among })
            }
            Matching::Lists(lists) => {
                let entries = |list: Tensor| list.shape().dims().last().copied().unwrap_or(0);
                let (from, to) = (entries(lists.sources), entries(lists.destinations));
                let full = is_none && tokens.is_full(graph);
                let (partition, sources) = if full {
                    (lists, graph.filled([tokens.batch()], from))
                } else {
                    let others = if is_none {
                        live_mask(graph, lengths, capacity)?
                    } else {
                        let others = protected.others(graph, tokens)?.ranks;
                        choose(graph, others, capacity, [1, 0])?
                    };
                    let (sources, count) = live_entries(graph, lists.sources, others)?;
                    let (destinations, _) = live_entries(graph, lists.destinations, others)?;
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
                if is_none {
                    return Ok(Candidates { partition, lengths, sources, protected, partnered, merged, outputs });
                }
                let Partition { sources: list, destinations } = partition;
                let outputs = outputs.saturating_add(protected.most()).min(capacity);
                Candidates::with_protected(graph, tokens, protected, (list, sources), destinations, merged, outputs)
            }
        }
    }
}

/// Of the tokens that are left, by turns one source and one destination. The first is a source where there is an even number of protected
/// tokens: where those come first, positions decide, as without them.
fn alternate(graph: &mut Graph, others: Compacted, protected: Tensor, most: u32) -> Result<(Listed, Tensor), Error> {
    let [batch, capacity] = others.indices.shape().exactly("tome: tokens", "[batch, tokens]")?;
    let half = capacity.div_ceil(2);
    let parity = Desc::new([plus_one("tome: protect", most)?], Elem::U32);
    let parity = graph.pattern(parity, Pattern::Runs { first: 0, run: 2, jump: 0 });
    let odd = lookup(graph, parity, protected)?;
    let even = choose(graph, odd, 1, [1, 0])?;
    // Places 0, 2 .. and places 1, 3 ..
    let both = product("tome: tokens", others.indices.shape(), 2, half)?;
    let rest = Piece { end: u32::MAX, first: 1, step: 2 };
    let places = graph.pattern(Desc::new([both], Elem::U32), Pattern::Pieces([Piece { end: half, first: 0, step: 2 }, rest, rest]));
    let places = graph.reshape(places, [1, 2, half])?;
    let [sources, destinations] = [odd, even].map(|which| {
        let places = gather_rows(graph, places, which, None)?;
        let places = graph.reshape(places, [batch, half])?;
        gather_rows(graph, others.indices, places, None)
    });
    let sources = sources?;
    let flags = choose(graph, sources, capacity, [1, 0])?;
    let count = compact(graph, flags, None)?.counts;
    Ok(((sources, count), destinations?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::IdleVit;

    #[test]
    fn there_is_room_for_what_any_row_keeps() {
        for (capacity, few) in (1..14).flat_map(|capacity| (0..7).map(move |few| (capacity, few))) {
            for most in 0..=capacity {
                let mut graph = Graph::new();
                let tokens = graph.tokens("x", [1, capacity, 1], Elem::F32).unwrap();
                let (marks, score) = (graph.input("marks", [capacity], Elem::U32), graph.input("score", [1, capacity], Elem::F32));
                let protect = Protect::Marked { marks, most };
                let of_any = |left: &dyn Fn(u32) -> u32| (0..=most).map(|p| p + left(capacity - p)).max();
                let pruned = IdleVit { keep: few, protect }.by_score(&mut graph, &tokens, score).unwrap().pruned;
                assert_eq!(Some(pruned.compressed.tokens.capacity()), of_any(&|others| others.min(few)));
                let (stride, threshold) = (few + 1, Some(0.5));
                let pairs = ToMe { merge: few, protect, ..ToMe::default() };
                let groups = ToMe { matching: Matching::Kth(stride), ..pairs };
                let tails = ToMe { threshold, ..groups };
                let lefts: [&dyn Fn(u32) -> u32; 3] = [&|n| n - few.min(n / 2), &|n| n / stride, &|n| n - n % stride];
                for (method, left) in [pairs, groups, tails].into_iter().zip(lefts) {
                    let merged = method.build(&mut graph, &tokens, tokens.x).unwrap();
                    assert_eq!(Some(merged.tokens.capacity()), of_any(left), "{method:?} of {capacity}, {most} protected");
                }
            }
        }
    }
}
