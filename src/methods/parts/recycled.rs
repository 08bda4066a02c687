//! What SparseVLM makes of the tokens that it drops.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{TopK, TopKInputs, gather_rows};
use crate::methods::parts::image_range::ImageRange;
use crate::methods::parts::keep::keep_listed;
use crate::methods::{DensityClusters, SparseVlm};
use crate::schedule::{Rounding, keep_count};
use crate::token_map::{Compressed, Tokens, count_by_length};

impl SparseVlm {
    /// Image tokens that are recycled, and the clusters that they become.
    pub fn recycled(&self) -> (u32, u32) {
        let dropped = self.image_tokens.saturating_sub(self.rank);
        let taken = (keep_count(dropped, 0.3, Rounding::Floor) + 1).min(dropped);
        (taken, if taken == 0 { 0 } else { taken / 10 + 1 })
    }

    /// The best of the dropped tokens as clusters.
    pub(crate) fn clusters(
        &self,
        graph: &mut Graph,
        tokens: &Tokens,
        image: ImageRange,
        score: Tensor,
        dropped: Tensor,
    ) -> Result<Compressed, Error> {
        let capacity = tokens.capacity();
        let (taken, clusters) = self.recycled();
        let rank = self.rank;
        let (count, _) = count_by_length(graph, tokens.lengths, capacity, |live| image.live(live).saturating_sub(rank))?;
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
