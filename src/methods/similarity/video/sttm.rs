//! STTM: a quadtree for each frame, whose leaves merge along time.
//!
//! Hyun et al., "Multi-Granular Spatio-Temporal Token Merging for Training-Free Acceleration of Video LLMs" (ICCV 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Limit, PaddedWindows, Pool, Reduce, Relation, Threshold, ThresholdInputs, Windows, compact, components, concat_rows, gather_rows,
    link_pairs, lookup, mark, pair_similarity, previous_at, row_normalize,
};
use crate::methods::parts::lists::{allowed, choose, each_row, either, marks_of, product, rows_of};
use crate::options;
use crate::tensor::{HostTensor, NONE};
use crate::token_map::{Compressed, TokenMap, Tokens, count_by_length};

/// Makes one token of every area of a frame that is alike, and of such areas in successive frames.
///
/// ```text
/// pyramid: averages of 2 x 2 nodes, level on level, until a side is 2; an odd first row or column is halved in the other direction alone
/// a node is whole iff cos(node, child) >= threshold for each of its children; the leaves are the topmost whole nodes
/// leaves of successive frames are linked iff one lies within the other and their cos >= temporal
/// x' = the mean of the leaves of each connected component, at the place of its first leaf; a leaf is at its first token
/// ```
///
/// Sizes are the tokens that leaves cover. The output is in order. At odd borders the published code also compares a node with the first node
/// of its frame, in the place of a child that is not there; here only children count.
///
/// Nodes with a NaN or an infinity are not whole, and leaves with one are linked to none. A row is whole frames: what lies behind its last one
/// is dropped. There are no ties. How many tokens are left is on the GPU.
///
/// Cost: for N tokens about nine reads and six writes of `4 N / 3` rows, a walk of one workgroup over each row of the batch, about twelve small
/// dispatches a level and thirty more. Workspace: `N^2 / 8` bytes of links, beside the copies.
///
/// ```
/// use tokenpress::methods::Sttm;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// // Two frames of 4 x 4 tokens, of which the last one of all differs.
/// let tokens = graph.tokens("x", [1, 32, 2], Elem::F32)?;
/// let merged = Sttm { height: 4, width: 4, ..Default::default() }.build(&mut graph, &tokens)?;
/// graph.output("kept", merged.map.representative)?;
/// graph.output("size", merged.tokens.size)?;
/// let mut x = [1.0, 0.0].repeat(32);
/// x[62..].copy_from_slice(&[0.0, 1.0]);
/// let out = graph.run_reference(&[("x".to_owned(), HostTensor::f32([1, 32, 2], x))].into())?;
/// // Four quarters of both frames, and that token.
/// assert_eq!(out["kept"].integers()[..6], [0, 2, 8, 10, 31, tokenpress::NONE]);
/// assert_eq!(out["size"].floats()[..5], [8.0, 8.0, 8.0, 7.0, 1.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("quadtree", "octree"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sttm {
    /// Rows of a frame's grid, at least 1.
    pub height: u32,
    /// Its columns, at least 1.
    pub width: u32,
    /// The least cosine of a whole node and its children.
    pub threshold: f32,
    /// The least cosine of leaves that merge along time; `None` leaves frames apart.
    pub temporal: Option<f32>,
    /// The level of the largest nodes: 0 is the top, where a side is 2.
    pub root: u32,
}

/// The published thresholds, for frames of one token.
impl Default for Sttm {
    fn default() -> Self {
        Self { height: 1, width: 1, threshold: 0.8, temporal: Some(0.6), root: 0 }
    }
}

/// The nodes of a quadtree, level after level from the tokens on.
struct Tree {
    /// Rows and columns of each level.
    sizes: Vec<[u32; 2]>,
    /// The node above each one, `NONE` for those of the last level.
    parent: Vec<u32>,
    /// The nodes below each one, `NONE` where there are fewer than four.
    children: [Vec<u32>; 4],
    /// The first token of each one.
    first: Vec<u32>,
}

impl Tree {
    fn of(size: [u32; 2], root: u32) -> Self {
        let mut sizes = vec![size];
        let halved = |[h, w]: [u32; 2]| [h.div_ceil(2), w.div_ceil(2)];
        let mut last = size;
        while last.iter().all(|side| *side > 2) {
            last = halved(last);
            sizes.push(last);
        }
        sizes.truncate(sizes.len().saturating_sub(root as usize).max(1));
        let mut tree = Self { parent: Vec::new(), children: Default::default(), first: (0..size[0] * size[1]).collect(), sizes };
        let mut start = 0;
        for level in 0..tree.sizes.len() {
            let [h, w] = tree.sizes[level];
            let next = start + h * w;
            for (row, column) in (0..h).flat_map(|row| (0..w).map(move |column| (row, column))) {
                // An odd first row or column is above alone.
                let above = [(row + h % 2) / 2, (column + w % 2) / 2];
                tree.parent.push(match tree.sizes.get(level + 1) {
                    Some([_, w]) => next + above[0] * w + above[1],
                    None => NONE,
                });
            }
            start = next;
        }
        for node in 0..tree.parent.len() as u32 {
            tree.children.iter_mut().for_each(|list| list.push(NONE));
            let above = tree.parent[node as usize];
            if above == tree.first.len() as u32 {
                let first = tree.first[node as usize];
                tree.first.push(first);
            }
        }
        for (node, &above) in tree.parent.iter().enumerate().filter(|(_, above)| **above != NONE) {
            if let Some(list) = tree.children.iter_mut().find(|list| list[above as usize] == NONE) {
                list[above as usize] = node as u32;
            }
        }
        tree
    }

    /// The node of a level above each token.
    fn above(&self, level: usize) -> Vec<u32> {
        let [h, w] = self.sizes[0];
        let up = |token: u32| (0..level).fold(token, |node, _| self.parent[node as usize]);
        (0..h * w).map(up).collect()
    }
}

impl Sttm {
    /// Merges `tokens`, frames of `height * width` one after the other.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens) -> Result<Compressed, Error> {
        let [batch, capacity, channels] = tokens.checked()?;
        for (argument, side) in [("sttm: height", self.height), ("sttm: width", self.width)] {
            options::within(argument, 1..=u32::MAX, side)?;
        }
        options::threshold("sttm: threshold", self.threshold)?;
        self.temporal.map_or(Ok(()), |temporal| options::threshold("sttm: temporal", temporal))?;
        // A longer frame than there are tokens for is none.
        let size = u64::from(self.height) * u64::from(self.width);
        let frames = (u64::from(capacity) / size) as u32;
        if frames == 0 {
            let nowhere = graph.filled([batch, capacity], NONE);
            let (representative, lengths) = (graph.filled([batch, 0], NONE), graph.filled([batch], 0));
            let map = TokenMap { parent: nowhere, representative, lengths };
            return map.compress(graph, tokens, None, Reduce::Mean);
        }
        let (size, tree) = (size as u32, Tree::of([self.height, self.width], self.root));
        let (whole, rows) = (frames * size, product("sttm: x", tokens.x.shape(), batch, frames)?);
        let (lengths, _) = count_by_length(graph, tokens.lengths, capacity, |live| live / size * size)?;
        let x = if whole == capacity { tokens.x } else { rows_of(graph, tokens.x, 0..whole)? };
        let x = graph.reshape(x, [rows, size, channels])?;

        let nodes = pyramid(graph, x, &tree)?;
        let leaf = self.leaves(graph, nodes, &tree)?;
        let first = graph.constant(HostTensor::u32([tree.first.len() as u32], tree.first.clone()));
        let first = lookup(graph, first, leaf)?;
        // The position of each token's leaf, and its row.
        let own = graph.counted([batch, whole], 0, 1);
        let own = graph.reshape(own, [rows, size])?;
        let position = gather_rows(graph, own, first, None)?;
        let position = graph.reshape(position, [batch, whole])?;
        let of_leaf = gather_rows(graph, nodes, leaf, None)?;
        let of_leaf = graph.reshape(of_leaf, [batch, whole, channels])?;

        let each = Tokens::ragged(graph, of_leaf, lengths)?;
        let stands = self.linked(graph, &each, position, size)?;
        let listed = marks_of(graph, stands, whole, mark::PROTECTED)?;
        let kept = compact(graph, listed, Some(lengths))?;
        let parent = gather_rows(graph, kept.ranks, stands, None)?;
        // Each leaf counts once, at its first token.
        let is_leaf = marks_of(graph, position, whole, mark::PROTECTED)?;
        let nowhere = graph.filled([batch, whole], NONE);
        let once = each_by(graph, is_leaf, [nowhere, parent])?;
        let map = TokenMap { parent, representative: kept.indices, lengths: kept.counts };
        let x = TokenMap { parent: once, ..map }.merge(graph, of_leaf, None, Reduce::Mean)?;
        let parent = if whole == capacity { parent } else { rows_of(graph, parent, 0..capacity)? };
        let map = TokenMap { parent, ..map };
        let size = map.sizes(graph, tokens.size)?;
        Ok(Compressed { tokens: Tokens { x, size, lengths: map.lengths }, map })
    }

    /// The leaf of each token, a node of its frame: `[rows, tokens]` u32.
    fn leaves(&self, graph: &mut Graph, nodes: Tensor, tree: &Tree) -> Result<Tensor, Error> {
        let [rows, all, _] = nodes.shape().exactly("sttm: nodes", "[rows, nodes, channels]")?;
        let normalized = row_normalize(graph, nodes, None)?;
        let parent = graph.constant(HostTensor::u32([all], tree.parent.clone()));
        let similarity = pair_similarity(graph, normalized, parent, None)?;
        let near = ThresholdInputs::new(similarity, Limit::Constant(self.threshold));
        let near = Threshold { relation: Relation::AtLeast }.build(graph, near)?;
        // Of all children; a child that is not there does not count.
        let ones = graph.filled([rows, all], 1);
        let mut whole = ones;
        for children in &tree.children {
            let list = graph.constant(HostTensor::u32([all], children.clone()));
            let of_child = gather_rows(graph, near, list, Some(ones))?;
            let marks = choose(graph, of_child, 1, [mark::EXCLUDED, mark::CANDIDATE])?;
            whole = allowed(graph, [rows, all], None, Some(marks), whole)?;
        }
        let own = tree.above(0);
        let mut leaf = each_row(graph, rows, &own)?;
        for level in 1..tree.sizes.len() {
            let above = each_row(graph, rows, &tree.above(level))?;
            let is_whole = gather_rows(graph, whole, above, None)?;
            leaf = each_by(graph, is_whole, [leaf, above])?;
        }
        Ok(leaf)
    }

    /// The position of the leaf that stands for each token's leaf, `[batch, tokens]` u32. `each` has the row of its leaf for every token, and
    /// `position` its place.
    fn linked(&self, graph: &mut Graph, each: &Tokens, position: Tensor, size: u32) -> Result<Tensor, Error> {
        let Some(temporal) = self.temporal else { return Ok(position) };
        let (batch, whole, lengths) = (each.batch(), each.capacity(), Some(each.lengths));
        // Nodes of one grid lie within each other if they share a token.
        let before = previous_at(graph, whole, size);
        let normalized = row_normalize(graph, each.x, lengths)?;
        let similarity = pair_similarity(graph, normalized, before, lengths)?;
        let inputs = ThresholdInputs { lengths, ..ThresholdInputs::new(similarity, Limit::Constant(temporal)) };
        let links = Threshold { relation: Relation::AtLeast }.build(graph, inputs)?;
        let earlier = gather_rows(graph, position, before, None)?;
        let nowhere = graph.filled([batch, whole], NONE);
        let earlier = each_by(graph, links, [nowhere, earlier])?;
        let pairs = link_pairs(graph, position, earlier, whole, lengths)?;
        let label = components(graph, pairs, lengths)?;
        gather_rows(graph, label, position, None)
    }
}

/// The nodes of all levels, `[rows, nodes, channels]`.
fn pyramid(graph: &mut Graph, x: Tensor, tree: &Tree) -> Result<Tensor, Error> {
    let (mut level, mut all) = (x, x);
    for &[h, w] in &tree.sizes[..tree.sizes.len() - 1] {
        let odd = [h % 2, w % 2];
        let windows = PaddedWindows { before: odd, ..PaddedWindows::new([2, 2], [2, 2]) };
        level = Pool::Average(Windows::Padded(windows)).build(graph, level, [h, w], None)?;
        all = concat_rows(graph, (all, None), (level, None))?.0;
    }
    Ok(all)
}

/// One of two numbers for each token, all `[rows, tokens]` u32: the second where `choice` is 1.
fn each_by(graph: &mut Graph, choice: Tensor, lists: [Tensor; 2]) -> Result<Tensor, Error> {
    let [rows, tokens] = choice.shape().exactly("sttm: choice", "[rows, tokens]")?;
    let all = product("sttm: x", choice.shape(), rows, tokens)?;
    let choice = graph.reshape(choice, [all, 1])?;
    let [first, second] = lists.map(|list| graph.reshape(list, [all, 1]));
    let chosen = either(graph, choice, [first?, second?])?;
    graph.reshape(chosen, [rows, tokens])
}
