//! Pruning by a score: what pruning methods share.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Order, Selection, TopK, TopKInputs, concat_rows, mark};
use crate::methods::parts::lists::marks_of;
use crate::methods::parts::places::Protected;
use crate::token_map::{Compressed, TokenMap, Tokens, count_by_length};

/// Keeps the tokens of the highest score.
///
/// Ties go to the lowest position. NaN scores are kept last. `marks` say which tokens must stay.
///
/// Cost: one selection ([`TopK`](crate::kernels::TopK)), one copy of the kept rows and one of their sizes.
///
/// ```
/// use tokenpress::kernels::Order;
/// use tokenpress::methods::Prune;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 3, 1], Elem::F32)?;
/// let scores = graph.input("scores", [1, 3], Elem::F32);
/// let pruned = Prune { order: Order::Index }.build(&mut graph, &tokens, scores, None, |live| live - 1)?;
/// graph.output("x'", pruned.compressed.tokens.x)?;
/// let x = HostTensor::f32([1, 3, 1], vec![5.0, 6.0, 7.0]);
/// let scores = HostTensor::f32([1, 3], vec![0.2, 0.1, 0.7]);
/// let out = graph.run_reference(&[("x".to_owned(), x), ("scores".to_owned(), scores)].into())?;
/// assert_eq!(out["x'"].floats(), [5.0, 7.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
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

impl Pruned {
    /// What is left of tokens after a selection.
    pub(crate) fn of(graph: &mut Graph, tokens: &Tokens, selection: Selection) -> Result<Self, Error> {
        let Selection { indices, kept, places, .. } = selection;
        let map = TokenMap { parent: places, representative: indices, lengths: kept };
        Ok(Self { compressed: map.pick(graph, tokens)?, selection })
    }
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
        tokens.checked()?;
        let selection = self.decide(graph, tokens, scores, marks, keep)?;
        Pruned::of(graph, tokens, selection)
    }

    /// Keeps the protected tokens, and of the others `keep(others)` by `scores`.
    pub(crate) fn beside(
        &self,
        graph: &mut Graph,
        tokens: &Tokens,
        scores: Tensor,
        protected: Protected,
        keep: impl Fn(u32) -> u32,
    ) -> Result<Pruned, Error> {
        let counts = protected.kept(graph, tokens, keep)?;
        self.beside_counted(graph, tokens, scores, protected, counts)
    }

    /// The same with counts of all that stays.
    pub(crate) fn beside_counted(
        &self,
        graph: &mut Graph,
        tokens: &Tokens,
        scores: Tensor,
        protected: Protected,
        counts: (Tensor, u32),
    ) -> Result<Pruned, Error> {
        let marks = protected.marks(graph, tokens);
        let selection = self.decide_counted(graph, tokens, scores, Some(marks), counts)?;
        Pruned::of(graph, tokens, selection)
    }

    /// Keeps the tokens listed in `indices` `[batch, entries]` u32, in ascending position. Each is listed once, and
    /// [`NONE`](crate::NONE) is none. There are `keep(live)` of them in each row.
    pub fn listed(graph: &mut Graph, tokens: &Tokens, indices: Tensor, keep: impl Fn(u32) -> u32) -> Result<Pruned, Error> {
        let [batch, capacity, _] = tokens.checked()?;
        let marks = marks_of(graph, indices, capacity, mark::PROTECTED)?;
        // As many as are protected are kept: scores do not matter.
        let scores = graph.filled_f32([batch, capacity], 0.0);
        Self { order: Order::Index }.build(graph, tokens, scores, Some(marks), keep)
    }

    /// What two maps that only pick, of different tokens, keep together: in ascending position.
    pub(crate) fn together(graph: &mut Graph, tokens: &Tokens, [first, second]: [&TokenMap; 2]) -> Result<Pruned, Error> {
        let [batch, capacity, _] = tokens.checked()?;
        let (list, counts) =
            concat_rows(graph, (first.representative, Some(first.lengths)), (second.representative, Some(second.lengths)))?;
        let most = list.shape().dims().last().copied().unwrap_or(0).min(capacity);
        let marks = marks_of(graph, list, capacity, mark::PROTECTED)?;
        let scores = graph.filled_f32([batch, capacity], 0.0);
        let selection = Self { order: Order::Index }.decide_counted(graph, tokens, scores, Some(marks), (counts, most))?;
        Pruned::of(graph, tokens, selection)
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
        tokens.checked()?;
        let counts = count_by_length(graph, tokens.lengths, tokens.capacity(), |live| keep(live).min(live))?;
        self.decide_counted(graph, tokens, scores, marks, counts)
    }

    /// The same with counts that are known already, and the most of them.
    pub(crate) fn decide_counted(
        &self,
        graph: &mut Graph,
        tokens: &Tokens,
        scores: Tensor,
        marks: Option<Tensor>,
        (counts, most): (Tensor, u32),
    ) -> Result<Selection, Error> {
        let select = TopK { k: most, order: self.order, largest: true, complement: Some(Order::Index), mask: false };
        select.build(graph, TopKInputs { scores, lengths: Some(tokens.lengths), counts: Some(counts), marks })
    }
}
