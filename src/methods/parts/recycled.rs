//! What SparseVLM makes of the tokens that it drops.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{TopK, TopKInputs, gather_rows};
use crate::methods::parts::keep::keep_listed;
use crate::methods::parts::places::Protected;
use crate::methods::{DensityClusters, SparseVlm};
use crate::schedule::{Rounding, keep_count};
use crate::token_map::{Compressed, Tokens};

impl SparseVlm {
    /// Of so many image tokens how many are recycled, and the clusters that they become.
    pub fn recycled(&self, image_tokens: u32) -> (u32, u32) {
        let dropped = image_tokens.saturating_sub(self.rank);
        let taken = (keep_count(dropped, 0.3, Rounding::Floor) + 1).min(dropped);
        (taken, if taken == 0 { 0 } else { taken / 10 + 1 })
    }

    /// The best of the dropped tokens as clusters.
    pub(crate) fn clusters(
        &self,
        graph: &mut Graph,
        tokens: &Tokens,
        others: Protected,
        score: Tensor,
        dropped: Tensor,
    ) -> Result<Compressed, Error> {
        let (taken, clusters) = self.recycled(self.images.of_full_row(tokens.capacity()));
        let rank = self.rank;
        let (count, _) = others.of_others(graph, tokens, |images| images.saturating_sub(rank))?;
        // A score for each entry of the list.
        let scores = gather_rows(graph, score, dropped, None)?;
        let select = TopK { k: taken, ..Default::default() };
        let best = select.build(graph, TopKInputs { lengths: Some(count), ..TopKInputs::new(scores) })?;
        let positions = gather_rows(graph, dropped, best.indices, None)?;
        let recycled = keep_listed(graph, tokens, positions, best.kept)?;
        let clusters = DensityClusters { clusters, nearest: clusters.min(64) };
        let merged = clusters.build(graph, &recycled.tokens)?.compressed;
        recycled.then(graph, &merged)
    }
}
