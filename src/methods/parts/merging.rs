//! What merges with what: ToMe's decision.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    AssignInputs, AssignTokens, Assignment, BipartiteMatch, Limit, Matches, Order, Partition, Relation, Selection, Threshold,
    ThresholdInputs, TopK, TopKInputs, mark, row_normalize,
};
use crate::methods::ToMe;
use crate::methods::parts::candidates::Candidates;
use crate::methods::parts::lists::choose;
use crate::pattern::Pattern;
use crate::tensor::{Desc, Elem};
use crate::token_map::{TokenMap, Tokens};

/// What a match decided, before it is applied to anything.
#[derive(Debug, Clone, Copy)]
pub struct Merging {
    /// Where every token goes.
    pub map: TokenMap,
    /// Token positions of sources and destinations.
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
        let Candidates { partition, lengths, sources, partnered, merged: (merged, most), outputs } = among;
        let protected = self.protected();
        let normalized = row_normalize(graph, metric, Some(tokens.lengths))?;
        let matching =
            BipartiteMatch { protected_sources: u32::from(protected.class), protected_destinations: u32::from(protected.distillation) };
        let matches = matching.build(graph, normalized, partition, Some(lengths))?;
        let marks = self.marks(graph, matches, sources, partition, partnered)?;
        let rest = if protected.class { Order::Index } else { Order::Value };
        let select = TopK { k: most, complement: Some(rest), ..Default::default() };
        let inputs = TopKInputs { scores: matches.similarity, lengths: Some(sources), counts: Some(merged), marks };
        let selection = select.build(graph, inputs)?;
        // The complement was asked for just above.
        let unmerged = selection.complement.unwrap_or(selection.indices);
        let inputs = AssignInputs { partition, lengths: Some(lengths), partner: matches.partner, unmerged };
        let assign = AssignTokens { tokens: tokens.capacity(), outputs, interleave: protected.distillation };
        let Assignment { parent, representative, lengths } = assign.build(graph, inputs)?;
        let map = TokenMap { parent, representative, lengths };
        Ok(Merging { map, partition, matches, selection })
    }

    /// Marks for the sources, where some may not merge: a class token, those without a partner, those below the threshold.
    fn marks(
        &self,
        graph: &mut Graph,
        matches: Matches,
        sources: Tensor,
        partition: Partition,
        partnered: bool,
    ) -> Result<Option<Tensor>, Error> {
        let marks = if self.protected().class {
            let [_, sources] = matches.similarity.shape().exactly("matches: similarity", "[batch, sources]")?;
            Some(graph.pattern(Desc::new([sources], Elem::U32), Pattern::split(1, mark::EXCLUDED, mark::CANDIDATE)))
        } else if partnered {
            None
        } else {
            let destinations = partition.destinations.shape().dims().last().copied().unwrap_or(0);
            Some(choose(graph, matches.partner, destinations, [mark::CANDIDATE, mark::EXCLUDED])?)
        };
        let Some(threshold) = self.threshold else { return Ok(marks) };
        let inputs =
            ThresholdInputs { lengths: Some(sources), marks, ..ThresholdInputs::new(matches.similarity, Limit::Constant(threshold)) };
        let mask = Threshold { relation: Relation::AtLeast }.build(graph, inputs)?;
        choose(graph, mask, 1, [mark::EXCLUDED, mark::CANDIDATE]).map(Some)
    }
}
