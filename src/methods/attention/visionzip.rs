//! VisionZip: the tokens that the class token looks at, and the rest merged into a few.
//!
//! Yang et al., "VisionZip: Longer is Better but Not Necessary in Vision Language Models" (CVPR 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    AttentionInputs, AttentionScore, BipartiteMatch, HeadReduction, Order, Partition, Selection, compact, gather_rows, invert_index,
    keep_live, multiples, row_normalize,
};
use crate::methods::parts::contextual::Contextual;
use crate::methods::parts::lists::{choose, first_entries};
use crate::methods::parts::places::{Protect, Protected};
use crate::methods::parts::prune::{Prune, Pruned};
use crate::tensor::NONE;
use crate::token_map::{Compressed, TokenMap, Tokens, rows_by_known_length};

/// Keeps the class token and the `dominant` patches that it attends to most, in order. Merges the others into `contextual` tokens.
///
/// ```text
/// a_j      = sum over heads of softmax_j(q_0 . k_j / sqrt(D))
/// targets  = every s-th of the R patches that are left, s = max(1, R / contextual), the first `contextual` of them
/// assigned = each other one to the target of largest cosine between the heads' mean keys (lowest on ties)
/// output   = [protected and dominant.., contextual..]
/// ```
///
/// Patches are the tokens that are not protected; by default token 0 is, the class token. Protected and dominant tokens stand in ascending
/// position.
///
/// An encoder without a class token (SigLIP, Qwen-VL) has no row to rank by. There take a score of your own, [`VisionZip::by_score`].
///
/// Cost: one attention row of `2 H N D` operations for H heads of D channels, a selection, one copy of the kept tokens. The match
/// of the R patches that are left with T targets takes `2 T R D` operations, and their merge one read of them.
///
/// ```
/// use tokenpress::methods::VisionZip;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 9, 1], Elem::F32)?;
/// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 9, 1], Elem::F32));
/// let zipped = VisionZip { dominant: 2, contextual: 2, ..Default::default() }.build(&mut graph, &tokens, queries, keys)?;
/// graph.output("parent", zipped.compressed.map.parent)?;
/// let x = HostTensor::f32([1, 9, 1], vec![1.0, 2.0, 9.0, 3.0, 1.0, 8.0, 3.0, 2.0, 1.0]);
/// let heads = x.clone().reshaped([1, 1, 9, 1]);
/// let inputs = [("x", x), ("q", heads.clone()), ("k", heads)].map(|(name, value)| (name.to_owned(), value));
/// // Patches 2 and 5 stay; of the others 1 and 6 are targets, and in one dimension all are alike.
/// assert_eq!(graph.run_reference(&inputs.into())?["parent"].integers(), [0, 3, 1, 3, 3, 2, 4, 3, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VisionZip {
    /// Patches that stay. The published counts include the class token: their 54 are 53 here.
    pub dominant: u32,
    /// Tokens that the others become, at most.
    pub contextual: u32,
    /// What these are.
    pub merge: Contextual,
    /// Tokens that are no patches: the class token, registers.
    pub protect: Protect,
}

/// The published setting of 64 tokens.
impl Default for VisionZip {
    fn default() -> Self {
        Self { dominant: 53, contextual: 10, merge: Contextual::default(), protect: Protect::CLASS }
    }
}

/// Tokens after VisionZip, and what decided.
#[derive(Debug, Clone, Copy)]
pub struct VisionZipOutput {
    /// `[protected and dominant.., contextual..]`, and where every token went.
    pub compressed: Compressed,
    /// The class token's attention to every token, summed over heads, or the caller's score, `[batch, tokens]` f32.
    pub score: Tensor,
    /// The protected tokens and the dominant patches, and those left.
    pub selection: Selection,
    /// The targets' positions, `[batch, contextual]` u32.
    pub targets: Tensor,
    /// The positions of those assigned to a target, `[batch, rest]` u32, and which target it is.
    pub assigned: (Tensor, Tensor),
}

impl VisionZip {
    /// Compresses `tokens`, whose token 0 is the class token, by the queries and keys `[batch, heads, tokens, channels]` of an
    /// attention of the vision encoder.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, queries: Tensor, keys: Tensor) -> Result<VisionZipOutput, Error> {
        tokens.checked()?;
        let attention = AttentionScore { heads: HeadReduction::Sum, ..Default::default() };
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: Some(tokens.lengths), query_lengths: None };
        let score = attention.build(graph, inputs)?.score;
        self.by_score(graph, tokens, score, keys)
    }

    /// Compresses `tokens` by a score `[batch, tokens]` f32, of which those of protected tokens do not matter. `keys` are what decides
    /// which tokens are alike: `[batch, heads, tokens, channels]`, or any metric `[batch, tokens, channels]`.
    ///
    /// For encoders without a class token the authors take the mean attention that each token receives from all, over all heads.
    ///
    /// ```
    /// use tokenpress::kernels::{AttentionInputs, AttentionScore, Queries};
    /// use tokenpress::methods::{Protect, VisionZip};
    /// use tokenpress::{Elem, Graph, HostTensor};
    ///
    /// let mut graph = Graph::new();
    /// let tokens = graph.tokens("x", [1, 5, 1], Elem::F32)?;
    /// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 5, 1], Elem::F32));
    /// let received = AttentionScore { queries: Queries::All, ..Default::default() };
    /// let score = received.build(&mut graph, AttentionInputs::new(queries, keys))?.score;
    /// let method = VisionZip { dominant: 2, contextual: 1, protect: Protect::NONE, ..Default::default() };
    /// let zipped = method.by_score(&mut graph, &tokens, score, keys)?;
    /// graph.output("kept", zipped.selection.indices)?;
    /// graph.output("parent", zipped.compressed.map.parent)?;
    /// let x = HostTensor::f32([1, 5, 1], vec![1.0, 3.0, 2.0, 5.0, 1.0]);
    /// let heads = x.clone().reshaped([1, 1, 5, 1]);
    /// let inputs = [("x", x), ("q", heads.clone()), ("k", heads)].map(|(name, value)| (name.to_owned(), value));
    /// let out = graph.run_reference(&inputs.into())?;
    /// assert_eq!((out["kept"].integers(), out["parent"].integers()), (&[1, 3][..], &[2, 0, 2, 1, 2][..]));
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    pub fn by_score(&self, graph: &mut Graph, tokens: &Tokens, score: Tensor, keys: Tensor) -> Result<VisionZipOutput, Error> {
        let [_, capacity, _] = tokens.checked()?;
        tokens.expect_score("visionzip: score", score)?;
        tokens.expect_metric("visionzip: keys", keys)?;
        let protected = Protected::of(graph, tokens, self.protect)?;
        let dominant = self.dominant;
        let prune = Prune { order: Order::Index };
        let Pruned { compressed, selection } = prune.beside(graph, tokens, score, protected, |patches| patches.min(dominant))?;

        // Places of the targets, and of all others, in the list of what is left.
        let contextual = self.contextual;
        let rest = move |patches: u32| patches.saturating_sub(dominant);
        let stride_of = move |left: u32| left.checked_div(contextual).map_or(1, |s| s.max(1));
        let targets_of = move |left: u32| left.div_ceil(stride_of(left)).min(contextual);
        // In time of the list's own length, whatever a row has left.
        let target_list = move |patches: u32| {
            let left = rest(patches);
            (0..targets_of(left)).map(move |i| i * stride_of(left)).collect::<Vec<_>>()
        };
        let other_list = move |patches: u32| {
            let (left, targets) = (rest(patches), targets_of(rest(patches)));
            let is_target = move |place: &u32| place.is_multiple_of(stride_of(left)) && place / stride_of(left) < targets;
            (0..left).filter(move |place| !is_target(place)).collect::<Vec<_>>()
        };
        let (target_count, target_capacity) = protected.of_others(graph, tokens, |patches| targets_of(rest(patches)))?;
        let (_, other_capacity) = protected.of_others(graph, tokens, |patches| rest(patches) - targets_of(rest(patches)))?;
        // A selection always has its complement here.
        let left = selection.complement.unwrap_or(selection.indices);
        let mut known = |list: &dyn Fn(u32) -> Vec<u32>, width: u32| {
            let Protected::Leading(leading) = protected else { return Ok(None) };
            let padded = |live: u32| list(live.saturating_sub(leading)).into_iter().chain(std::iter::repeat(NONE)).take(width as usize);
            rows_by_known_length(graph, tokens.lengths, capacity, width, |live| padded(live).collect())
        };
        let known = [known(&target_list, target_capacity)?, known(&other_list, other_capacity)?];
        let [target_places, other_places] = if let [Some(targets), Some(others)] = known {
            [targets, others]
        } else {
            let (strides, _) = protected.of_others(graph, tokens, |patches| stride_of(rest(patches)))?;
            let (left, most) = protected.of_others(graph, tokens, rest)?;
            let marks = multiples(graph, strides, most)?;
            let targets = compact(graph, marks, Some(left))?.indices;
            let targets = first_entries(graph, targets, target_capacity)?;
            let targets = keep_live(graph, targets, target_count)?;
            let target_of = invert_index(graph, targets, most)?;
            let others = choose(graph, target_of, target_capacity, [0, 1])?;
            let others = compact(graph, others, Some(left))?.indices;
            [targets, first_entries(graph, others, other_capacity)?]
        };
        let targets = gather_rows(graph, left, target_places, None)?;
        let others = gather_rows(graph, left, other_places, None)?;

        let normalized = row_normalize(graph, keys, Some(tokens.lengths))?;
        let partition = Partition { sources: others, destinations: targets };
        let target = BipartiteMatch::default().build(graph, normalized, partition, Some(tokens.lengths))?.partner;
        let other_place = invert_index(graph, others, capacity)?;
        let target_of_other = gather_rows(graph, target, other_place, None)?;
        let target_place = invert_index(graph, targets, capacity)?;
        let parent = gather_rows(graph, target, other_place, Some(target_place))?;
        let map = TokenMap { parent, representative: targets, lengths: target_count };
        let x = self.merge.apply(graph, tokens, &map, target_of_other)?;
        let size = map.sizes(graph, tokens.size)?;
        let merged = Compressed { tokens: Tokens { x, size, lengths: target_count }, map };
        let compressed = compressed.append(graph, &merged)?;
        Ok(VisionZipOutput { compressed, score, selection, targets, assigned: (others, target) })
    }
}
