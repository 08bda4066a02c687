//! Pruning by a score: what EViT, FastV, IdleViT and DynamicViT share.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Order, Selection, TopK, TopKInputs, gather_rows};
use crate::token_map::{Compressed, TokenMap, Tokens, count_by_length};

/// Keeps the tokens of the highest score.
///
/// Ties go to the lowest position, NaN scores are kept last. Which tokens must stay is said by `marks`.
#[derive(Debug, Clone, Copy)]
pub struct Prune {
    /// Output in descending score, or in ascending position.
    pub order: Order,
}

/// What a pruning decided and made.
#[derive(Debug, Clone, Copy)]
pub struct Pruned {
    /// The tokens that are left, and where the others went.
    pub compressed: Compressed,
    /// The positions kept and dropped.
    pub selection: Selection,
}

impl Prune {
    /// Keeps `keep(live)` tokens of each row by `scores` `[batch, tokens]`, those marked
    /// [`mark::PROTECTED`](crate::kernels::mark) among them, first of all.
    pub fn build(
        &self,
        graph: &mut Graph,
        tokens: &Tokens,
        scores: Tensor,
        marks: Option<Tensor>,
        keep: impl Fn(u32) -> u32,
    ) -> Result<Pruned, Error> {
        let selection = self.decide(graph, tokens, scores, marks, keep)?;
        let map = TokenMap::selection(graph, selection.indices, selection.kept, tokens.capacity())?;
        let x = gather_rows(graph, tokens.x, selection.indices, None)?;
        let size = gather_rows(graph, tokens.size, selection.indices, None)?;
        Ok(Pruned { compressed: Compressed { tokens: Tokens { x, size, lengths: selection.kept }, map }, selection })
    }

    /// The positions that [`Prune::build`] would keep, and those that it would drop, ascending.
    pub fn decide(
        &self,
        graph: &mut Graph,
        tokens: &Tokens,
        scores: Tensor,
        marks: Option<Tensor>,
        keep: impl Fn(u32) -> u32,
    ) -> Result<Selection, Error> {
        let (counts, most) = count_by_length(graph, tokens.lengths, tokens.capacity(), |live| keep(live).min(live))?;
        let select = TopK { k: most, order: self.order, largest: true, complement: Some(Order::Index), mask: false };
        select.select(graph, TopKInputs { scores, lengths: Some(tokens.lengths), counts: Some(counts), marks })
    }
}
