//! Where an image lies in a prompt.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::mark;
use crate::pattern::{Pattern, Piece};
use crate::tensor::{Desc, Elem, Shape};

/// The tokens of an image within a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ImageRange {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl ImageRange {
    /// `tokens` tokens from `start` on, of which no more than these are to stay, in sequences of `capacity`. The arguments are
    /// those of the range, and of the number to keep.
    pub(crate) fn new(arguments: [&'static str; 2], start: u32, tokens: u32, keep: u32, capacity: u32) -> Result<Self, Error> {
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
    pub(crate) fn others_protected(self, graph: &mut Graph, capacity: u32) -> Tensor {
        self.pattern(graph, [capacity].into(), [mark::CANDIDATE, mark::PROTECTED])
    }

    /// 1 for its tokens.
    pub(crate) fn marks(self, graph: &mut Graph, shape: [u32; 2]) -> Tensor {
        self.pattern(graph, shape.into(), [1, 0])
    }

    /// One number for its tokens, and another for all others.
    fn pattern(self, graph: &mut Graph, shape: Shape, [inside, outside]: [u32; 2]) -> Tensor {
        let piece = |end, first| Piece { end, first, step: 0 };
        let pieces = [piece(self.start, outside), piece(self.end, inside), piece(u32::MAX, outside)];
        graph.pattern(Desc::new(shape, Elem::U32), Pattern::Pieces(pieces))
    }

    /// Positions of all other tokens, in each row.
    pub(crate) fn others(self, graph: &mut Graph, [batch, capacity]: [u32; 2]) -> Tensor {
        let piece = |end, first| Piece { end, first, step: 1 };
        let behind = piece(u32::MAX, self.end);
        let others = Pattern::Pieces([piece(self.start, 0), behind, behind]);
        graph.pattern(Desc::new([batch, capacity - (self.end - self.start)], Elem::U32), others)
    }

    /// Image tokens among the first `live` of a sequence.
    pub(crate) fn live(self, live: u32) -> u32 {
        live.min(self.end).saturating_sub(self.start)
    }
}
