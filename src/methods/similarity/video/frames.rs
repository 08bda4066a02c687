//! Frames of a video, as the methods of this room share them.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Statistic, gather_rows, reduce};
use crate::methods::parts::lists::live_mask;
use crate::options;
use crate::token_map::{Tokens, capped};

/// How tokens are divided into frames, the last of which need not be whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frames {
    /// Tokens of a frame.
    pub size: u32,
    /// Frames that the capacity holds.
    pub count: u32,
}

impl Frames {
    pub(crate) fn of(tokens: &Tokens, size: u32, argument: &'static str) -> Result<Self, Error> {
        let [_, capacity, _] = tokens.checked()?;
        options::within(argument, 1..=u32::MAX, size)?;
        // What is left of a longer frame than there are tokens for is a frame of all of them.
        let size = size.min(capacity.max(1));
        Ok(Self { size, count: capacity.div_ceil(size) })
    }

    /// Live tokens of each row that has room for whole frames, u32 `[batch]`. The last frame may reach beyond the capacity, a length
    /// does not: one that is above the capacity would take the room for tokens.
    pub(crate) fn live_tokens(self, graph: &mut Graph, tokens: &Tokens) -> Result<Tensor, Error> {
        let capacity = tokens.capacity();
        if self.count * self.size == capacity { Ok(tokens.lengths) } else { capped(graph, tokens.lengths, capacity) }
    }

    /// A tensor `[batch, tokens, ..]` with room for whole frames, or cut to `tokens` again.
    pub(crate) fn resized(self, graph: &mut Graph, x: Tensor, tokens: u32) -> Result<Tensor, Error> {
        if x.shape().dims().get(1) == Some(&tokens) {
            return Ok(x);
        }
        let all = graph.counted([tokens], 0, 1);
        gather_rows(graph, x, all, None)
    }

    /// A tensor `[batch, tokens]` by frames, `[batch, frames, size]`.
    pub(crate) fn split(self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        let [batch, _] = x.shape().exactly("frames", "[batch, entries]")?;
        let whole = self.resized(graph, x, self.count * self.size)?;
        graph.reshape(whole, [batch, self.count, self.size])
    }

    /// A tensor by frames as `[batch, tokens]` again.
    pub(crate) fn joined(self, graph: &mut Graph, x: Tensor, tokens: &Tokens) -> Result<Tensor, Error> {
        let flat = graph.reshape(x, [tokens.batch(), self.count * self.size])?;
        self.resized(graph, flat, tokens.capacity())
    }

    /// Live tokens of each frame, `[batch, frames]` u32.
    pub(crate) fn lengths(self, graph: &mut Graph, tokens: &Tokens) -> Result<Tensor, Error> {
        let (batch, whole) = (tokens.batch(), self.count * self.size);
        let lengths = self.live_tokens(graph, tokens)?;
        let live = live_mask(graph, lengths, whole)?;
        let live = graph.reshape(live, [batch, self.count, self.size])?;
        reduce(graph, live, 2, Statistic::Sum, None)
    }
}
