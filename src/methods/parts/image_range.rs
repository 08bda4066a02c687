//! Where an image lies in a prompt.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::mark;
use crate::pattern::{Pattern, Piece};
use crate::tensor::{Desc, Elem};

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
        let piece = |end, first| Piece { end, first, step: 0 };
        let others = [piece(self.start, mark::PROTECTED), piece(self.end, mark::CANDIDATE), piece(u32::MAX, mark::PROTECTED)];
        graph.pattern(Desc::new([capacity], Elem::U32), Pattern::Pieces(others))
    }

    /// Image tokens among the first `live` of a sequence.
    pub(crate) fn live(self, live: u32) -> u32 {
        live.min(self.end).saturating_sub(self.start)
    }

    /// How many tokens stay of `live` if `keep` image tokens do.
    pub(crate) fn kept(self, live: u32, keep: u32) -> u32 {
        let image = self.live(live);
        live - image + keep.min(image)
    }
}
