//! Some tokens stay, all others are dropped.

use std::ops::Range;

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{compact, invert_index, keep_live};
use crate::methods::parts::lists::{choose, first_entries, rows_of};
use crate::token_map::{Compressed, TokenMap, Tokens, count_by_length};

impl Tokens {
    /// The tokens at these positions as they are, and a map that drops all others.
    ///
    /// So some tokens stay apart from a method: keep them, give the method the rest, and put the two together with
    /// [`Compressed::append`].
    ///
    /// ```
    /// use tokenpress::{Elem, Graph, HostTensor, NONE};
    ///
    /// let mut graph = Graph::new();
    /// let tokens = graph.tokens("x", [1, 4, 1], Elem::F32)?;
    /// let (last, first) = (tokens.keep(&mut graph, 2..4)?, tokens.keep(&mut graph, 0..1)?);
    /// let both = last.append(&mut graph, &first)?;
    /// graph.output("x'", both.tokens.x)?;
    /// graph.output("parent", both.map.parent)?;
    /// let x = HostTensor::f32([1, 4, 1], vec![5.0, 6.0, 7.0, 8.0]);
    /// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
    /// assert_eq!(out["x'"].floats(), [7.0, 8.0, 5.0]);
    /// assert_eq!(out["parent"].integers(), [2, NONE, 0, 1]);
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for positions beyond the capacity, and [`Error::Shape`] and [`Error::Elem`] for tensors that are no tokens.
    pub fn keep(&self, graph: &mut Graph, positions: Range<u32>) -> Result<Compressed, Error> {
        let [_, capacity, _] = self.checked()?;
        if positions.start > positions.end || positions.end > capacity {
            let expected = format!("positions within {capacity} tokens");
            return Err(Error::Value { argument: "keep: positions", expected, actual: format!("{positions:?}") });
        }
        keep_range(graph, self, positions)
    }
}

/// The tokens at the positions `indices` `[batch, new]`, of which the first `kept[b]` are live.
pub(crate) fn keep_listed(graph: &mut Graph, tokens: &Tokens, indices: Tensor, kept: Tensor) -> Result<Compressed, Error> {
    TokenMap::selection(graph, indices, kept, tokens.capacity())?.pick(graph, tokens)
}

/// The tokens at the positions of a range.
pub(crate) fn keep_range(graph: &mut Graph, tokens: &Tokens, range: Range<u32>) -> Result<Compressed, Error> {
    let live = |live: u32| live.min(range.end).saturating_sub(range.start);
    let (kept, _) = count_by_length(graph, tokens.lengths, tokens.capacity(), live)?;
    let list = graph.counted([tokens.batch(), range.end.saturating_sub(range.start)], range.start, 1);
    let list = if tokens.is_full(graph) { list } else { keep_live(graph, list, kept)? };
    keep_listed(graph, tokens, list, kept)
}

/// The tokens whose entry of `mask` `[batch, tokens]` is not 0, in order. No row has more than `outputs` of them.
pub(crate) fn keep_marked(graph: &mut Graph, tokens: &Tokens, mask: Tensor, outputs: u32) -> Result<Compressed, Error> {
    let kept = compact(graph, mask, Some(tokens.lengths))?;
    let indices = first_entries(graph, kept.indices, outputs)?;
    keep_listed(graph, tokens, indices, kept.counts)
}

/// The tokens at the positions `listed` `[batch, entries]`, in order. No row has more than `outputs` of them.
pub(crate) fn keep_positions(graph: &mut Graph, tokens: &Tokens, listed: Tensor, outputs: u32) -> Result<Compressed, Error> {
    let [_, entries] = listed.shape().exactly("list", "[batch, entries]")?;
    let place = invert_index(graph, listed, tokens.capacity())?;
    let mask = choose(graph, place, entries, [1, 0])?;
    keep_marked(graph, tokens, mask, outputs)
}

/// The same tokens with room for so many, of which no row has more.
pub(crate) fn with_room(graph: &mut Graph, kept: Compressed, room: u32) -> Result<Compressed, Error> {
    let Compressed { tokens, map } = kept;
    if tokens.capacity() <= room {
        return Ok(kept);
    }
    let [x, size] = [tokens.x, tokens.size].map(|rows| rows_of(graph, rows, 0..room));
    let representative = first_entries(graph, map.representative, room)?;
    Ok(Compressed { tokens: Tokens { x: x?, size: size?, ..tokens }, map: TokenMap { representative, ..map } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Elem, HostTensor, NONE};

    #[test]
    fn ragged_rows_keep_what_they_have() {
        let mut graph = Graph::new();
        let x = graph.input("x", [3, 4, 1], Elem::F32);
        let lengths = graph.input("lengths", [3], Elem::U32);
        let tokens = Tokens::ragged(&mut graph, x, lengths).unwrap();
        let kept = tokens.keep(&mut graph, 1..3).unwrap();
        // The others in front, and then those: a map of every live token.
        let first = tokens.keep(&mut graph, 0..1).unwrap();
        let both = first.append(&mut graph, &kept).unwrap();
        for (name, tensor) in
            [("x'", kept.tokens.x), ("size", kept.tokens.size), ("kept", kept.tokens.lengths), ("parent", both.map.parent)]
        {
            graph.output(name, tensor).unwrap();
        }
        let x = HostTensor::f32([3, 4, 1], (1..13).map(|i| i as f32).collect());
        let lengths = HostTensor::u32([3], vec![4, 2, 0]);
        let out = graph.run_reference(&[("x".to_owned(), x), ("lengths".to_owned(), lengths)].into()).unwrap();
        assert_eq!(out["x'"].floats(), [2.0, 3.0, 6.0, 0.0, 0.0, 0.0]);
        assert_eq!(out["size"].floats(), [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(out["kept"].integers(), [2, 1, 0]);
        assert_eq!(out["parent"].integers(), [0, 1, 2, NONE, 0, 1, NONE, NONE, NONE, NONE, NONE, NONE]);
    }

    #[test]
    fn positions_lie_within_the_capacity() {
        let mut graph = Graph::new();
        let tokens = graph.tokens("x", [2, 3, 1], Elem::F32).unwrap();
        assert_eq!(tokens.keep(&mut graph, 3..3).unwrap().tokens.capacity(), 0);
        for positions in [2..4, Range { start: 2, end: 1 }] {
            assert!(matches!(tokens.keep(&mut graph, positions), Err(Error::Value { argument: "keep: positions", .. })));
        }
    }
}
