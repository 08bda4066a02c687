//! LLaVA-PruMerge: as many patches as stand out, each with its surroundings.
//!
//! Shang et al., "LLaVA-PruMerge: Adaptive Token Reduction for Efficient Large Multimodal Models" (ICCV 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Among, AttentionInputs, AttentionScore, Groups, Limit, Nearest, Neighbours, Order, Reduce, Relation, Statistic, Threshold,
    ThresholdInputs, TopK, TopKInputs, add, compact, fence, float_ratio, gather_rows, merge_tokens, row_normalize,
};
use crate::methods::attention::spatial_patches::{Distances, most_outliers};
use crate::methods::parts::fused::fused;
use crate::methods::parts::keep::keep_listed;
use crate::methods::parts::lists::product;
use crate::methods::parts::places::{Protect, Protected, of_two_counts};
use crate::options;
use crate::token_map::{Compressed, Tokens, count_by_length, plus_one};

/// Keeps the patches whose attention from the class token is an outlier, and adds to each what is like it.
///
/// ```text
/// a_j   = softmax_j(q_0 . k_j / sqrt(C)) over the class token and all patches; one head as wide as the model
/// keep the n patches with a_j > q3 + factor (q3 - q1), the quartiles of a, and at least `floor`, in descending a
/// x'_i  = x_i + sum of a_j x_j over the `neighbours` other patches j of the most similar keys, kept or not
/// rest  = sum of a_j x_j over the dropped patches              appended last
/// ```
///
/// How many stay, at most a quarter, is decided on the GPU for each row; in the published code a batch shares one n. With `spatial`
/// (PruMerge+) patches at even distances, `int(int(N / n) / 3)`, stay as well, after the others in ascending order.
///
/// An encoder without a class token (SigLIP, Qwen-VL) has no row to rank by. There take a score of your own, [`PruMerge::by_score`].
///
/// The neighbours of a patch may be kept ones too, and their sum is not divided, as in the published code. The paper's text clusters only
/// dropped patches, and takes weighted averages.
///
/// Cost, for N patches of which K stay:
///
/// - one attention row of `2 N C` operations, a sort of the scores for the quartiles, a selection;
/// - [`Neighbours`](crate::kernels::Neighbours) of the kept patches, `2 K N C` operations, and a weighted sum of `neighbours`
///   rows for each;
/// - one copy of the kept patches, one more read of the dropped ones.
///
/// With `spatial` there are about ten small dispatches more, and a table of `N + 2` numbers.
///
/// ```
/// use tokenpress::methods::PruMerge;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let patches = graph.tokens("x", [1, 8, 1], Elem::F32)?;
/// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 9, 1], Elem::F32));
/// let merged = PruMerge { neighbours: 2, ..Default::default() }.build(&mut graph, &patches, queries, keys)?;
/// graph.output("lengths", merged.compressed.tokens.lengths)?;
/// let heads = HostTensor::f32([1, 1, 9, 1], vec![1.0, 0.1, 0.2, 0.1, 5.0, 0.0, 0.1, 0.2, 0.1]);
/// let x = HostTensor::f32([1, 8, 1], vec![1.0; 8]);
/// let inputs = [("x", x), ("q", heads.clone()), ("k", heads)].map(|(name, value)| (name.to_owned(), value));
/// // One patch stands out; the others become the last token.
/// assert_eq!(graph.run_reference(&inputs.into())?["lengths"].integers(), [2]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PruMerge {
    /// How far above the upper quartile an outlier is, in units of the quartiles' distance.
    pub factor: f32,
    /// At least so many patches are taken for outliers, those of highest attention; of a row with fewer all of them.
    pub floor: u32,
    /// Patches that are added to each kept one, at most 64.
    pub neighbours: u32,
    /// Whether patches at even distances stay as well: PruMerge+.
    pub spatial: bool,
    /// Patches that the spatial ones are taken from, the first; all but the last by default. The published code has 575 whatever
    /// the number of patches, the same for its 576.
    pub spatial_among: Option<u32>,
    /// Whether `floor(N (n / N))` in f64 patches stay instead of n, as published: for a few N it is n - 1.
    pub count_from_ratio: bool,
    /// Tokens that are no patches, such as registers: they come first, and no patch is like one. The class token is not among the tokens.
    pub protect: Protect,
}

/// The published settings. Only the count differs: it is n itself ([`PruMerge::count_from_ratio`]).
impl Default for PruMerge {
    fn default() -> Self {
        Self { factor: 1.5, floor: 0, neighbours: 32, spatial: false, spatial_among: None, count_from_ratio: false, protect: Protect::NONE }
    }
}

/// Tokens after PruMerge, and what decided.
#[derive(Debug, Clone, Copy)]
pub struct PruMergeOutput {
    /// `[protected.., outliers.., spatial.., rest]`, and where every patch went: dropped ones to the last token.
    pub compressed: Compressed,
    /// The class token's attention to every patch, or the caller's score, `[batch, patches]` f32.
    pub score: Tensor,
    /// What an outlier is above, `[batch]` f32.
    pub fence: Tensor,
    /// How many there are, `[batch]` u32.
    pub outliers: Tensor,
    /// Their positions and those of the spatial ones, in the output's order, and how many.
    pub kept: (Tensor, Tensor),
    /// What was added to each.
    pub neighbours: Nearest,
}

impl PruMerge {
    /// Compresses `patches`, without the class token, by the queries and keys `[batch, 1, 1 + patches, channels]` of the vision
    /// encoder's last attention, whose row 0 is the class token's.
    pub fn build(&self, graph: &mut Graph, patches: &Tokens, queries: Tensor, keys: Tensor) -> Result<PruMergeOutput, Error> {
        let [_, capacity, _] = patches.checked()?;
        self.check()?;
        let (with_class, _) = count_by_length(graph, patches.lengths, capacity, |live| live.saturating_add(1))?;
        let attention = AttentionScore { columns: Some(1..capacity + 1), ..Default::default() };
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: Some(with_class), query_lengths: None };
        let score = attention.build(graph, inputs)?.score;
        let own = graph.counted([capacity], 1, 1);
        let keys = gather_rows(graph, keys, own, None)?;
        self.by_score(graph, patches, score, keys)
    }

    /// Compresses `patches` by a score `[batch, patches]` f32, which also weights what is added. `keys` are what decides which patches are
    /// alike: `[batch, 1, patches, channels]`, or any metric `[batch, patches, channels]`.
    ///
    /// The method's authors have a class token. For encoders without one take the mean attention that each patch receives from all. The
    /// scores of protected tokens do not matter.
    ///
    /// ```
    /// use tokenpress::kernels::{AttentionInputs, AttentionScore, Queries};
    /// use tokenpress::methods::PruMerge;
    /// use tokenpress::{Elem, Graph, HostTensor};
    ///
    /// let mut graph = Graph::new();
    /// let patches = graph.tokens("x", [1, 8, 1], Elem::F32)?;
    /// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 8, 1], Elem::F32));
    /// let received = AttentionScore { queries: Queries::All, ..Default::default() };
    /// let score = received.build(&mut graph, AttentionInputs::new(queries, keys))?.score;
    /// let merged = PruMerge { neighbours: 2, ..Default::default() }.by_score(&mut graph, &patches, score, keys)?;
    /// graph.output("lengths", merged.compressed.tokens.lengths)?;
    /// let heads = HostTensor::f32([1, 1, 8, 1], vec![0.1, 0.2, 0.1, 5.0, 0.0, 0.1, 0.2, 0.1]);
    /// let x = HostTensor::f32([1, 8, 1], vec![1.0; 8]);
    /// let inputs = [("x", x), ("q", heads.clone()), ("k", heads)].map(|(name, value)| (name.to_owned(), value));
    /// // One patch stands out; the others become the last token.
    /// assert_eq!(graph.run_reference(&inputs.into())?["lengths"].integers(), [2]);
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    pub fn by_score(&self, graph: &mut Graph, patches: &Tokens, score: Tensor, keys: Tensor) -> Result<PruMergeOutput, Error> {
        let [batch, _, _] = patches.checked()?;
        patches.expect_score("prumerge: score", score)?;
        patches.expect_metric("prumerge: keys", keys)?;
        self.check()?;
        let protected = Protected::of(graph, patches, self.protect)?;
        if protected.most() == 0 {
            return self.among(graph, patches, score, keys);
        }
        let [stay, rest] = protected.apart(graph, patches)?;
        let [of_rest, keys] = [score, keys].map(|tensor| rest.map.gather(graph, tensor));
        let merged = self.among(graph, &rest.tokens, of_rest?, keys?)?;
        let compressed = rest.then(graph, &merged.compressed)?;
        let compressed = stay.append(graph, &compressed)?;
        // Places among the rest become positions.
        let mut position = |places: Tensor| {
            let shape = places.shape();
            let entries = shape.dims()[1..].iter().try_fold(1u32, |all, size| product("prumerge: kept", shape, all, *size))?;
            let places = graph.reshape(places, [batch, entries])?;
            let positions = gather_rows(graph, rest.map.representative, places, None)?;
            graph.reshape(positions, shape)
        };
        let (kept, indices) = (position(merged.kept.0)?, position(merged.neighbours.indices)?);
        let neighbours = Nearest { indices, ..merged.neighbours };
        Ok(PruMergeOutput { compressed, score, kept: (kept, merged.kept.1), neighbours, ..merged })
    }

    fn check(&self) -> Result<(), Error> {
        options::finite("prumerge: factor", self.factor)?;
        options::within("prumerge: neighbours", 0..=64, self.neighbours)
    }

    /// The same of patches alone.
    fn among(&self, graph: &mut Graph, patches: &Tokens, score: Tensor, keys: Tensor) -> Result<PruMergeOutput, Error> {
        let [batch, capacity, _] = patches.checked()?;
        let lengths = Some(patches.lengths);
        let fence = fence(graph, score, self.factor, lengths)?;
        let above = ThresholdInputs { lengths, ..ThresholdInputs::new(score, Limit::PerRow(fence)) };
        let outlying = Threshold { relation: Relation::Above }.build(graph, above)?;
        let outliers = compact(graph, outlying, lengths)?.counts;
        let most = most_outliers(capacity).max(self.floor.min(capacity));
        let outliers = match self.floor {
            0 => outliers,
            floor => {
                let (floor, _) = count_by_length(graph, patches.lengths, capacity, |live| floor.min(live))?;
                of_two_counts(graph, [outliers, floor], Statistic::Max)?
            }
        };
        let counts = if self.count_from_ratio { float_ratio(graph, outliers, patches.lengths, capacity)?.product } else { outliers };
        let select = TopK { k: most, complement: Some(Order::Index), ..Default::default() };
        let selection = select.build(graph, TopKInputs { lengths, counts: Some(counts), ..TopKInputs::new(score) })?;
        let (kept, dropped) = if self.spatial {
            let distances = Distances { outliers: most, floor: self.floor, among: self.spatial_among };
            distances.add(graph, patches, (selection.indices, selection.kept), outliers)?
        } else {
            ((selection.indices, selection.kept), selection.complement.unwrap_or(selection.indices))
        };

        let normalized = row_normalize(graph, keys, lengths)?;
        let search = Neighbours { nearest: self.neighbours.min(capacity.saturating_sub(1)), exclude_self: true };
        let neighbours = search.most_similar(graph, normalized, Among { queries: Some(kept.0), candidates: None, lengths })?;
        let [_, rows] = kept.0.shape().exactly("prumerge: kept", "[batch, kept]")?;
        let entries = product("prumerge: neighbours", kept.0.shape(), rows, search.nearest)?;
        let offsets = graph.counted([batch, plus_one("prumerge: kept", rows)?], 0, search.nearest);
        let members = graph.reshape(neighbours.indices, [batch, entries])?;
        let around = merge_tokens(graph, patches.x, Groups { offsets, members }, Some(score), Reduce::WeightedSum)?;
        let compressed = keep_listed(graph, patches, kept.0, kept.1)?;
        let x = add(graph, compressed.tokens.x, around)?;
        let compressed = Compressed { tokens: Tokens { x, ..compressed.tokens }, ..compressed };
        let rest = fused(graph, patches, dropped, score)?;
        let compressed = compressed.append(graph, &rest)?;
        Ok(PruMergeOutput { compressed, score, fence, outliers, kept, neighbours })
    }
}
