//! SAMP: similar sounds merge as long as they are like all of their run, and a determinantal point process prunes what is left.
//!
//! In Tencent's AngelSlim, `https://github.com/Tencent/AngelSlim`.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    GreedyInputs, GreedySelect, GreedySelected, Objective, PoolImportance, PooledAttention, Reduce, grow_runs, mark, previous_at,
    row_normalize,
};
use crate::methods::parts::keep::keep_marked;
use crate::methods::parts::lists::marks_of;
use crate::methods::parts::runs::collapse;
use crate::options;
use crate::schedule::{Rounding, keep_count};
use crate::token_map::{Compressed, Tokens, count_by_length};

/// Merges runs of tokens that are all alike, then keeps a relevant and diverse part.
///
/// ```text
/// merge: token t joins the run before it iff the mean of cos(x_t, x_s) over all its members s is the threshold or more
///        x' = sum(a_i x_i) / sum(a_i), r' = mean of r_i over each run             a: importance, r: relevance
/// prune: max(round(keep n), floor) of the n tokens there were at first, by the greedy maximum of det(L) with
///        L_ij = r'_i cos(x'_i, x'_j) r'_j                                         in order; all where fewer are left
/// ```
///
/// The published importance is the attention that a token's frames receive by the strongest head. The published relevance is the attention
/// that they pay themselves. [`Samp::attention`] gives both. Zero rows are similar to nothing. Rows with a NaN or an infinity do not merge.
/// How many tokens are left is on the GPU.
///
/// Cost: the merge is one walk along each row of the batch, `4 N C` operations. The pruning is one step for each of the k tokens that are kept,
/// `2 k N C + k min(k, C) N` operations, with a workspace of `4 N (3 + min(k, C))` bytes a row.
///
/// ```
/// use tokenpress::methods::Samp;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 3, 2], Elem::F32)?;
/// let [importance, relevance] = [[1.0, 3.0, 1.0], [0.5, 0.5, 0.4]].map(|v| graph.constant(HostTensor::f32([1, 3], v.to_vec())));
/// let left = Samp { threshold: 0.9, keep: 0.5, floor: 2 }.build(&mut graph, &tokens, importance, relevance)?;
/// graph.output("x'", left.compressed.tokens.x)?;
/// let x = HostTensor::f32([1, 3, 2], vec![1.0, 0.0, 3.0, 0.0, 0.0, 1.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["x'"].floats(), [2.5, 0.0, 0.0, 1.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Samp {
    /// Least mean cosine to all members of a run.
    pub threshold: f32,
    /// Share of the tokens that stays, 0 to 1, halves rounded to even.
    pub keep: f64,
    /// At least so many stay, where the merge leaves as many; the published code has 2.
    pub floor: u32,
}

/// Tokens after SAMP, and what it decided.
#[derive(Debug, Clone, Copy)]
pub struct SampOutput {
    /// The tokens that are left, in order, and where all others went.
    pub compressed: Compressed,
    /// The tokens after the merge.
    pub merged: Compressed,
    /// Relevance of each of these, `[batch, tokens]` f32.
    pub relevance: Tensor,
    /// Which of these are kept, in order of selection.
    pub selected: GreedySelected,
}

impl Samp {
    /// Importance and relevance of tokens that are `pool` successive frames each of an attention without a mask, whose `queries`
    /// and `keys` are `[batch, heads, tokens * pool, channels]`; `frames` u32 `[batch]` are alive, all for `None`.
    pub fn attention(graph: &mut Graph, queries: Tensor, keys: Tensor, frames: Option<Tensor>, pool: u32) -> Result<PoolImportance, Error> {
        PooledAttention { pool, scale: None }.build(graph, queries, keys, frames)
    }

    /// Compresses `tokens` by their `importance` and `relevance`, f32 `[batch, tokens]`.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, importance: Tensor, relevance: Tensor) -> Result<SampOutput, Error> {
        tokens.checked()?;
        options::share("samp: keep", self.keep)?;
        options::threshold("samp: threshold", self.threshold)?;
        tokens.expect_score("samp: importance", importance)?;
        tokens.expect_score("samp: relevance", relevance)?;
        let capacity = tokens.capacity();
        let normalized = row_normalize(graph, tokens.x, Some(tokens.lengths))?;
        let joins = grow_runs(graph, normalized, self.threshold, Some(tokens.lengths))?;
        let previous = previous_at(graph, capacity, 1);
        let map = collapse(graph, tokens, joins, previous, false, capacity)?;
        let merged = map.compress(graph, tokens, Some(importance), Reduce::WeightedMean)?;
        let relevance = map.merge(graph, relevance, None, Reduce::Mean)?;

        let keep = |live: u32| keep_count(live, self.keep, Rounding::NearestEven).max(self.floor).min(live);
        let (counts, k) = count_by_length(graph, tokens.lengths, capacity, keep)?;
        let normalized = row_normalize(graph, merged.tokens.x, Some(map.lengths))?;
        let inputs =
            GreedyInputs { weights: Some(relevance), lengths: Some(map.lengths), counts: Some(counts), ..GreedyInputs::new(normalized) };
        let selected = GreedySelect { objective: Objective::Determinant, k }.build(graph, inputs)?;
        // In order again.
        let mask = marks_of(graph, selected.indices, capacity, mark::PROTECTED)?;
        let pruned = keep_marked(graph, &merged.tokens, mask, k)?;
        let compressed = Compressed { map: map.then(graph, &pruned.map)?, ..pruned };
        Ok(SampOutput { compressed, merged, relevance, selected })
    }
}
