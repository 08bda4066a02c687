//! What merges with what: ToMe's decision.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    AssignInputs, AssignTokens, Assignment, BipartiteMatch, Compacted, Limit, Matches, Order, Partition, Relation, Selection, Threshold,
    ThresholdInputs, TopK, TopKInputs, compact, gather_rows, invert_index, mark, row_normalize,
};
use crate::methods::ToMe;
use crate::methods::parts::candidates::Candidates;
use crate::methods::parts::lists::{allowed, choose, first_entries};
use crate::methods::parts::places::Protected;
use crate::token_map::{TokenMap, Tokens};

/// What a match decided, before it is applied to anything.
#[derive(Debug, Clone, Copy)]
pub struct Merging {
    /// Where every token goes.
    pub map: TokenMap,
    /// Token positions of sources and destinations. Protected tokens are sources too, before all others, and never merge.
    pub partition: Partition,
    /// For every source, its best destination and how similar that is.
    pub matches: Matches,
    /// Which sources merge, in descending similarity; the complement stays, in output order. Both are indices into
    /// the list of sources.
    pub selection: Selection,
}

impl ToMe {
    /// The same with counts that are known already.
    pub(crate) fn decide_among(&self, graph: &mut Graph, tokens: &Tokens, metric: Tensor, among: Candidates) -> Result<Merging, Error> {
        let Candidates { partition, lengths, sources, protected, merged: (merged, most), outputs, .. } = among;
        let normalized = row_normalize(graph, metric, Some(tokens.lengths))?;
        let protected_sources = if let Protected::Leading(count) = protected { count } else { 0 };
        let matches = BipartiteMatch { protected_sources, ..Default::default() }.build(graph, normalized, partition, Some(lengths))?;
        let marks = self.marks(graph, tokens, matches, &among)?;
        let rest = if protected.most() > 0 { Order::Index } else { Order::Value };
        let select = TopK { k: most, complement: Some(rest), ..Default::default() };
        let inputs = TopKInputs { scores: matches.similarity, lengths: Some(sources), counts: Some(merged), marks };
        let selection = select.build(graph, inputs)?;
        // The complement was asked for just above.
        let unmerged = selection.complement.unwrap_or(selection.indices);
        let inputs = AssignInputs { partition, lengths: Some(lengths), partner: matches.partner, unmerged };
        let assign = AssignTokens { tokens: tokens.capacity(), outputs, interleave: false };
        let Assignment { parent, representative, lengths } = assign.build(graph, inputs)?;
        let map = TokenMap { parent, representative, lengths };
        let map = if self.keep_order { in_order(graph, map)? } else { map };
        Ok(Merging { map, partition, matches, selection })
    }

    /// Marks for the sources, where some may not merge: protected ones, those without a partner, those below the threshold.
    fn marks(&self, graph: &mut Graph, tokens: &Tokens, matches: Matches, among: &Candidates) -> Result<Option<Tensor>, Error> {
        let [batch, sources] = matches.similarity.shape().exactly("matches: similarity", "[batch, sources]")?;
        let protected = match among.protected.most() {
            0 => None,
            _ => Some(among.protected.excluded(graph, tokens, sources)?),
        };
        let marks = if among.partnered {
            protected
        } else {
            let destinations = among.partition.destinations.shape().dims().last().copied().unwrap_or(0);
            match protected {
                None => Some(choose(graph, matches.partner, destinations, [mark::CANDIDATE, mark::EXCLUDED])?),
                // Neither protected nor without a partner.
                Some(_) => {
                    let partnered = choose(graph, matches.partner, destinations, [1, 0])?;
                    let may = allowed(graph, [batch, sources], Some(among.sources), protected, partnered)?;
                    Some(choose(graph, may, 1, [mark::EXCLUDED, mark::CANDIDATE])?)
                }
            }
        };
        let Some(threshold) = self.threshold else { return Ok(marks) };
        let inputs =
            ThresholdInputs { lengths: Some(among.sources), marks, ..ThresholdInputs::new(matches.similarity, Limit::Constant(threshold)) };
        let mask = Threshold { relation: Relation::AtLeast }.build(graph, inputs)?;
        choose(graph, mask, 1, [mark::EXCLUDED, mark::CANDIDATE]).map(Some)
    }
}

/// The same rows in ascending position of their representatives.
fn in_order(graph: &mut Graph, map: TokenMap) -> Result<TokenMap, Error> {
    let [_, tokens] = map.parent.shape().exactly("tome: parent", "[batch, tokens]")?;
    let [_, outputs] = map.representative.shape().exactly("tome: representative", "[batch, outputs]")?;
    let place = invert_index(graph, map.representative, tokens)?;
    let stays = choose(graph, place, outputs, [1, 0])?;
    let Compacted { indices, ranks, .. } = compact(graph, stays, None)?;
    let goes_to = gather_rows(graph, map.representative, map.parent, None)?;
    let parent = gather_rows(graph, ranks, goes_to, None)?;
    Ok(TokenMap { parent, representative: first_entries(graph, indices, outputs)?, lengths: map.lengths })
}
