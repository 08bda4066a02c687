//! Pruning by a score: what pruning methods share.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Groups, Order, Reduce, Selection, TopK, TopKInputs, compact, gather_rows, invert_index, lookup, mark, merge_tokens};
use crate::tensor::HostTensor;
use crate::token_map::{Compressed, TokenMap, Tokens, count_by_length};

/// Keeps the tokens of the highest score.
///
/// Ties go to the lowest position, NaN scores are kept last. Which tokens must stay is said by `marks`.
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
    pub(super) fn of(graph: &mut Graph, tokens: &Tokens, selection: Selection) -> Result<Self, Error> {
        let compressed = keep_listed(graph, tokens, selection.indices, selection.kept)?;
        Ok(Self { compressed, selection })
    }
}

/// The tokens at the positions `indices` `[batch, new]`, of which the first `kept[b]` are live.
pub(super) fn keep_listed(graph: &mut Graph, tokens: &Tokens, indices: Tensor, kept: Tensor) -> Result<Compressed, Error> {
    let map = TokenMap::selection(graph, indices, kept, tokens.capacity())?;
    let x = gather_rows(graph, tokens.x, indices, None)?;
    let size = gather_rows(graph, tokens.size, indices, None)?;
    Ok(Compressed { tokens: Tokens { x, size, lengths: kept }, map })
}

/// The tokens whose entry of `mask` `[batch, tokens]` is not 0, in order. No row has more than `outputs` of them.
pub(super) fn keep_marked(graph: &mut Graph, tokens: &Tokens, mask: Tensor, outputs: u32) -> Result<Compressed, Error> {
    let kept = compact(graph, mask, Some(tokens.lengths))?;
    let indices = first_entries(graph, kept.indices, outputs)?;
    keep_listed(graph, tokens, indices, kept.counts)
}

/// The first entries of each row of `list` `[batch, entries]`, or rows of more where there are more.
pub(super) fn first_entries(graph: &mut Graph, list: Tensor, entries: u32) -> Result<Tensor, Error> {
    if list.shape().dims()[1] == entries {
        return Ok(list);
    }
    let first = graph.constant(HostTensor::u32([entries], (0..entries).collect()));
    gather_rows(graph, list, first, None)
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
        Pruned::of(graph, tokens, selection)
    }

    /// Keeps the tokens listed in `indices` `[batch, entries]` u32 (each once, [`NONE`](crate::NONE) for none), of which there are
    /// `keep(live)` in each row, in ascending position.
    pub fn listed(graph: &mut Graph, tokens: &Tokens, indices: Tensor, keep: impl Fn(u32) -> u32) -> Result<Pruned, Error> {
        let (batch, capacity) = (tokens.batch(), tokens.capacity());
        let marks = marks_of(graph, indices, capacity, mark::PROTECTED)?;
        // As many as are protected are kept: scores do not matter.
        let scores = graph.constant(HostTensor::f32([batch, capacity], vec![0.0; batch as usize * capacity as usize]));
        Self { order: Order::Index }.build(graph, tokens, scores, Some(marks), keep)
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

/// A [`mark`](crate::kernels::mark) for each of `tokens` tokens: `listed` for those of `indices` `[batch, entries]`, candidates for the
/// others.
pub(super) fn marks_of(graph: &mut Graph, indices: Tensor, tokens: u32, listed: u32) -> Result<Tensor, Error> {
    let entries = indices.shape().dims()[1];
    let place = invert_index(graph, indices, tokens)?;
    let table = [vec![listed; entries as usize], vec![mark::CANDIDATE]].concat();
    let table = graph.constant(HostTensor::u32([entries + 1], table));
    lookup(graph, table, place)
}

/// The tokens of an image within a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ImageRange {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl ImageRange {
    /// `tokens` tokens from `start` on, of which no more than these are to stay, in sequences of `capacity`. The arguments are
    /// those of the range, and of the number to keep.
    pub(super) fn new(arguments: [&'static str; 2], start: u32, tokens: u32, keep: u32, capacity: u32) -> Result<Self, Error> {
        let end = start.saturating_add(tokens);
        if end > capacity {
            let actual = format!("image tokens {start}..{end}");
            return Err(Error::Value { argument: arguments[0], expected: format!("a range within {capacity} tokens"), actual });
        }
        if keep > tokens {
            let expected = format!("at most the {tokens} image tokens");
            return Err(Error::Value { argument: arguments[1], expected, actual: keep.to_string() });
        }
        Ok(Self { start, end })
    }

    /// Marks that keep every other token.
    pub(super) fn others_protected(self, graph: &mut Graph, capacity: u32) -> Tensor {
        let marks = (0..capacity).map(|i| if (self.start..self.end).contains(&i) { mark::CANDIDATE } else { mark::PROTECTED }).collect();
        graph.constant(HostTensor::u32([capacity], marks))
    }

    /// Image tokens among the first `live` of a sequence.
    pub(super) fn live(self, live: u32) -> u32 {
        live.min(self.end).saturating_sub(self.start)
    }

    /// How many tokens stay of `live` if `keep` image tokens do.
    pub(super) fn kept(self, live: u32, keep: u32) -> u32 {
        let image = self.live(live);
        live - image + keep.min(image)
    }
}

/// Marks that keep token 0, the class token, whatever its score.
pub(super) fn class_protected(graph: &mut Graph, capacity: u32) -> Tensor {
    let marks = (0..capacity).map(|i| if i == 0 { mark::PROTECTED } else { mark::CANDIDATE }).collect();
    graph.constant(HostTensor::u32([capacity], marks))
}

/// The tokens listed in `dropped` `[batch, M]` as one: `sum of weight_i x_i`. Rows that drop none have no such token.
///
/// It stands for no token in particular: its representative is the first that it fuses.
pub(super) fn fused(graph: &mut Graph, tokens: &Tokens, dropped: Tensor, weights: Tensor) -> Result<Compressed, Error> {
    let [batch, entries] = dropped.shape().exactly("fused: dropped", "[batch, M]")?;
    let offsets = graph.constant(HostTensor::u32([batch, 2], [0, entries].repeat(batch as usize)));
    let all = Groups { offsets, members: dropped };
    let x = merge_tokens(graph, tokens.x, all, Some(weights), Reduce::WeightedSum)?;
    let size = merge_tokens(graph, tokens.size, all, None, Reduce::Sum)?;
    let zeros = graph.constant(HostTensor::u32([batch, entries], vec![0; (batch * entries) as usize]));
    let place = invert_index(graph, dropped, tokens.capacity())?;
    let parent = gather_rows(graph, zeros, place, None)?;
    let first = graph.constant(HostTensor::u32([1], vec![0]));
    let representative = gather_rows(graph, dropped, first, None)?;
    // One for any position, none for NONE.
    let mut any = vec![1; tokens.capacity() as usize];
    any.push(0);
    let any = graph.constant(HostTensor::u32([tokens.capacity() + 1], any));
    let first = graph.reshape(representative, [batch])?;
    let lengths = lookup(graph, any, first)?;
    Ok(Compressed { tokens: Tokens { x, size, lengths }, map: TokenMap { parent, representative, lengths } })
}
