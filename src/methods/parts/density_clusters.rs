//! Clustering by density peaks: what SparseVLM recycles with.

use crate::error::Error;
use crate::graph::Graph;
use crate::kernels::{Among, Neighbours, Order, Peaks, Reduce, TopK, TopKInputs, density_peaks, gather_rows, invert_index};
use crate::token_map::{Compressed, TokenMap, Tokens};

/// Tokens become the means of clusters around the tokens that stand out by density.
///
/// ```text
/// centres = the `clusters` tokens of highest density_i separation_i       (density_peaks)
/// every token joins the nearest centre, the first of equally near ones; a centre its own
/// ```
///
/// The output is in descending score of the centres. Du et al., "Study on density peaks clustering based on k-nearest neighbors and
/// principal component analysis" (Knowledge-Based Systems, 2016); for tokens first in Zeng et al., "Not All Tokens Are Equal:
/// Human-centric Visual Analysis via Token Clustering Transformer" (CVPR 2022).
///
/// Cost: `6 N^2 C` operations for the density peaks of N tokens, `3 N K C` to find the nearest of K centres, a selection of the
/// centres, and one read of the tokens for the means.
///
/// ```
/// use tokenpress::methods::DensityClusters;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 6, 1], Elem::F32)?;
/// let merged = DensityClusters { clusters: 2, nearest: 3 }.build(&mut graph, &tokens)?;
/// graph.output("centres", merged.compressed.map.representative)?;
/// graph.output("parent", merged.compressed.map.parent)?;
/// let x = HostTensor::f32([1, 6, 1], vec![0.0, 0.5, 1.0, 5.0, 5.25, 5.5]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["centres"].integers(), [4, 1]);
/// assert_eq!(out["parent"].integers(), [1, 1, 1, 0, 0, 0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("dpc_knn", "clustering"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DensityClusters {
    /// Clusters at most.
    pub clusters: u32,
    /// Neighbours that a density is taken over, the token itself among them; at most 64.
    pub nearest: u32,
}

/// The clusters' means, and what decided.
#[derive(Debug, Clone, Copy)]
pub struct DensityClustersOutput {
    /// One token for each cluster, its centre the representative.
    pub compressed: Compressed,
    /// What made the centres.
    pub peaks: Peaks,
}

impl DensityClusters {
    /// Clusters the live tokens of each row by their Euclidean distances.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens) -> Result<DensityClustersOutput, Error> {
        let [batch, capacity, _] = tokens.checked()?;
        let lengths = Some(tokens.lengths);
        let peaks = density_peaks(graph, tokens.x, self.nearest, lengths)?;
        let clusters = self.clusters.min(capacity);
        let select = TopK { k: clusters, order: Order::Value, largest: true, complement: None, mask: false };
        let centres = select.build(graph, TopKInputs { lengths, ..TopKInputs::new(peaks.score) })?;
        let among = Among { queries: None, candidates: Some(centres.indices), lengths };
        let nearest = Neighbours { nearest: 1, exclude_self: false }.closest(graph, tokens.x, among)?.indices;
        let nearest = graph.reshape(nearest, [batch, capacity])?;
        let own = graph.counted([batch, clusters], 0, 1);
        let place = invert_index(graph, centres.indices, capacity)?;
        let parent = gather_rows(graph, own, place, Some(nearest))?;
        let map = TokenMap { parent, representative: centres.indices, lengths: centres.kept };
        Ok(DensityClustersOutput { compressed: map.compress(graph, tokens, None, Reduce::Mean)?, peaks })
    }
}
