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
use crate::methods::parts::lists::{choose, class_protected, first_entries};
use crate::methods::parts::prune::{Prune, Pruned};
use crate::tensor::NONE;
use crate::token_map::{Compressed, TokenMap, Tokens, count_by_length, rows_by_known_length};

/// Keeps the class token and the `dominant` patches that it attends to most, in order, and merges the others into `contextual` tokens.
///
/// ```text
/// a_j      = sum over heads of softmax_j(q_0 . k_j / sqrt(D))
/// targets  = every s-th of the R patches that are left, s = max(1, R / contextual), the first `contextual` of them
/// assigned = each other one to the target of largest cosine between the heads' mean keys (lowest on ties)
/// output   = [class, dominant.., contextual..]
/// ```
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisionZip {
    /// Patches that stay, the class token aside (which the published counts include: their 54 are 53 here).
    pub dominant: u32,
    /// Tokens that the others become, at most.
    pub contextual: u32,
    /// What these are.
    pub merge: Contextual,
}

/// The published setting of 64 tokens.
impl Default for VisionZip {
    fn default() -> Self {
        Self { dominant: 53, contextual: 10, merge: Contextual::default() }
    }
}

/// Tokens after VisionZip, and what decided.
#[derive(Debug, Clone, Copy)]
pub struct VisionZipOutput {
    /// `[class, dominant.., contextual..]`, and where every token went.
    pub compressed: Compressed,
    /// The class token's attention to every token, summed over heads, `[batch, tokens]` f32.
    pub score: Tensor,
    /// The class token and the dominant patches, and those left.
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
        let [_, capacity, _] = tokens.checked()?;
        let attention = AttentionScore { heads: HeadReduction::Sum, ..Default::default() };
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: Some(tokens.lengths), query_lengths: None };
        let score = attention.build(graph, inputs)?.score;
        let class = class_protected(graph, capacity);
        let dominant = self.dominant;
        let keep = move |live: u32| live.min(dominant.saturating_add(1));
        let Pruned { compressed, selection } = Prune { order: Order::Index }.build(graph, tokens, score, Some(class), keep)?;

        // Places of the targets, and of all others, in the list of what is left.
        let contextual = self.contextual;
        let rest = move |live: u32| live - keep(live);
        let stride_of = move |left: u32| left.checked_div(contextual).map_or(1, |s| s.max(1));
        let targets_of = move |left: u32| left.div_ceil(stride_of(left)).min(contextual);
        // In time of the list's own length, whatever a row has left.
        let target_list = move |live: u32| {
            let left = rest(live);
            (0..targets_of(left)).map(move |i| i * stride_of(left)).collect::<Vec<_>>()
        };
        let other_list = move |live: u32| {
            let (left, targets) = (rest(live), targets_of(rest(live)));
            let is_target = move |place: &u32| place.is_multiple_of(stride_of(left)) && place / stride_of(left) < targets;
            (0..left).filter(move |place| !is_target(place)).collect::<Vec<_>>()
        };
        let (target_count, target_capacity) = count_by_length(graph, tokens.lengths, capacity, |live| targets_of(rest(live)))?;
        let (_, other_capacity) = count_by_length(graph, tokens.lengths, capacity, |live| rest(live) - targets_of(rest(live)))?;
        // A selection always has its complement here.
        let left = selection.complement.unwrap_or(selection.indices);
        let mut known = |list: &dyn Fn(u32) -> Vec<u32>, width: u32| {
            let padded = |live| list(live).into_iter().chain(std::iter::repeat(NONE)).take(width as usize).collect();
            rows_by_known_length(graph, tokens.lengths, capacity, width, padded)
        };
        let known = [known(&target_list, target_capacity)?, known(&other_list, other_capacity)?];
        let [target_places, other_places] = if let [Some(targets), Some(others)] = known {
            [targets, others]
        } else {
            let (strides, _) = count_by_length(graph, tokens.lengths, capacity, |live| stride_of(rest(live)))?;
            let (left, most) = count_by_length(graph, tokens.lengths, capacity, rest)?;
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
