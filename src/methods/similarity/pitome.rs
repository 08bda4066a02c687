//! PiToMe: tokens of large groups merge, and those that stand alone stay.
//!
//! Tran et al., "Accelerating Transformers with Spectrum-Preserving Token Merging" (NeurIPS 2024).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Affinity, AssignInputs, AssignTokens, BipartiteMatch, Order, Partition, Reduce, TopK, TopKInputs, compact, gather_rows, mark,
    mean_affinity, row_normalize,
};
use crate::methods::parts::lists::{allowed, choose, first_entries, live_mask, rows_of};
use crate::methods::parts::places::Protect;
use crate::pattern::Pattern;
use crate::tensor::{Desc, Elem};
use crate::token_map::{Compressed, TokenMap, Tokens, count_by_length};

/// Merges the tokens that are most like all others, in pairs of alike ones.
///
/// ```text
/// m_i = metric_i / |metric_i|           energy_i = mean_j f(m_i . m_j) over all tokens j, i among them
/// of the 2 r tokens of highest energy, in descending order: sources are the 1st, 3rd, 5th .., destinations the 2nd, 4th ..
/// every source merges into its most similar destination
/// x'_j = sum(x_i size_i) / sum(size_i) over j and all that merged into it
/// ```
///
/// `r = min(merge, others / 2)`. The output is `[protected, all others in descending energy, destinations]`. Protected tokens have no part in
/// the energies. Equal energies go by position, and equal similarities by the destination's place. Tokens with a NaN or an infinity have the
/// lowest energy, and do not count for the others. Zero rows have cosine 0 to all.
///
/// The published margin is 0.5 in the code, and in the paper `0.9 - 0.9 layer / layers`. For text the published code has a density as its
/// energy, and the first half of the 2 r tokens as sources: [`PiToMe::text`].
///
/// Cost: `2 N^2 C` operations for the energies, `2 r^2 C` for the match, one sort, about ten small dispatches of integers, one read and one
/// write of the tokens; two more copies of the tokens where some are protected.
///
/// ```
/// use tokenpress::methods::PiToMe;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 2], Elem::F32)?;
/// let merged = PiToMe { merge: 1, ..Default::default() }.build(&mut graph, &tokens, tokens.x)?;
/// graph.output("x'", merged.tokens.x)?;
/// graph.output("parent", merged.map.parent)?;
/// // Three tokens of one direction, and one that stands alone.
/// let x = HostTensor::f32([1, 4, 2], vec![0.0, 1.0, 1.0, 0.0, 3.0, 0.0, 2.0, 0.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["x'"].floats(), [2.0, 0.0, 0.0, 1.0, 2.0, 0.0]);
/// assert_eq!(out["parent"].integers(), [1, 2, 2, 0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("energy", "spectrum"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PiToMe {
    /// Tokens to merge away, r; capped as above.
    pub merge: u32,
    /// What the energy is the mean of.
    pub energy: Affinity,
    /// Whether the first r of the 2 r tokens are the sources, in place of every second one.
    pub halves: bool,
    /// Tokens that stay out of it.
    pub protect: Protect,
}

/// The published setting for images, of which nothing merges.
impl Default for PiToMe {
    fn default() -> Self {
        Self { merge: 0, energy: Affinity::Elu { margin: 0.5 }, halves: false, protect: Protect::NONE }
    }
}

impl PiToMe {
    /// The published setting for text: a Gaussian density of width `1 - margin`, and sources before destinations.
    pub fn text(merge: u32, margin: f32) -> Self {
        Self { merge, energy: Affinity::Gaussian { width: 1.0 - margin }, halves: true, protect: Protect::NONE }
    }

    /// Merges tokens by `metric`, `[batch, tokens, channels]` or the keys of an attention `[batch, heads, tokens, channels]`, whose mean over
    /// the heads is then the metric. Each is weighted by its size; sizes add up.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, metric: Tensor) -> Result<Compressed, Error> {
        tokens.checked()?;
        tokens.expect_metric("pitome: metric", metric)?;
        self.energy.check()?;
        if self.protect == Protect::NONE {
            let map = self.decide(graph, tokens, metric)?;
            return map.compress(graph, tokens, Some(tokens.size), Reduce::WeightedMean);
        }
        let [protected, others] = self.protect.apart(graph, tokens)?;
        let metric = others.map.gather(graph, metric)?;
        let map = self.decide(graph, &others.tokens, metric)?;
        let merged = map.compress(graph, &others.tokens, Some(others.tokens.size), Reduce::WeightedMean)?;
        let merged = others.then(graph, &merged)?;
        protected.append(graph, &merged)
    }

    /// Where tokens go of which none is protected.
    fn decide(&self, graph: &mut Graph, tokens: &Tokens, metric: Tensor) -> Result<TokenMap, Error> {
        let [batch, capacity, _] = tokens.checked()?;
        let lengths = Some(tokens.lengths);
        let merged = |live: u32| self.merge.min(live / 2);
        let (count, most) = count_by_length(graph, tokens.lengths, capacity, merged)?;
        let normalized = row_normalize(graph, metric, lengths)?;
        let energy = mean_affinity(graph, normalized, self.energy, lengths)?;
        if most == 0 {
            return TokenMap::identity(graph, tokens);
        }
        let sort = TopK { k: capacity, order: Order::Value, ..Default::default() };
        let order = sort.build(graph, TopKInputs { lengths, ..TopKInputs::new(energy) })?.indices;

        // Places in that order.
        let (both, _) = count_by_length(graph, tokens.lengths, capacity, |live| 2 * merged(live))?;
        let shape = [batch, capacity];
        let (marks, among) = if self.halves {
            let first = live_mask(graph, count, capacity)?;
            (Some(choose(graph, first, 1, [mark::CANDIDATE, mark::EXCLUDED])?), graph.filled([capacity], 1))
        } else {
            let odd = Pattern::Runs { first: 0, run: 2, jump: 0 };
            (None, graph.pattern(Desc::new([capacity], Elem::U32), odd))
        };
        let are_destinations = allowed(graph, shape, Some(both), marks, among)?;
        let destinations = compact(graph, are_destinations, lengths)?.indices;
        let destinations = first_entries(graph, destinations, most)?;
        let destinations = gather_rows(graph, order, destinations, None)?;
        let are_sources = choose(graph, are_destinations, 1, [1, 0])?;
        // The first of each row merge, and the rest stays.
        let sources = compact(graph, are_sources, lengths)?;
        let listed = gather_rows(graph, order, sources.indices, None)?;
        let merging = live_mask(graph, count, capacity)?;
        let stays = choose(graph, merging, 1, [1, 0])?;
        let unmerged = compact(graph, stays, Some(sources.counts))?.indices;

        let first = first_entries(graph, listed, most)?;
        let partition = Partition { sources: first, destinations };
        let partner = BipartiteMatch::default().build(graph, normalized, partition, lengths)?.partner;
        let partner = rows_of(graph, partner, 0..capacity)?;
        let (_, outputs) = count_by_length(graph, tokens.lengths, capacity, |live| live - merged(live))?;
        let partition = Partition { sources: listed, destinations };
        let assign = AssignTokens { tokens: capacity, outputs, interleave: false };
        let assigned = assign.build(graph, AssignInputs { partition, lengths, partner, unmerged })?;
        Ok(TokenMap { parent: assigned.parent, representative: assigned.representative, lengths: assigned.lengths })
    }
}
