//! Frames of a video: what DyCoke, EVS and VidCom2 share.

use super::lists::live_mask;
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Statistic, gather_rows, reduce};
use crate::token_map::Tokens;

/// How tokens are divided into frames, the last of which need not be whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frames {
    /// Tokens of a frame.
    pub size: u32,
    /// Frames that the capacity holds.
    pub count: u32,
}

impl Frames {
    pub(super) fn of(tokens: &Tokens, size: u32, argument: &'static str) -> Result<Self, Error> {
        let [_, capacity, _] = tokens.checked()?;
        match size {
            0 => Err(Error::Value { argument, expected: "at least 1".to_owned(), actual: "0".to_owned() }),
            _ => Ok(Self { size, count: capacity.div_ceil(size) }),
        }
    }

    /// A tensor `[batch, tokens, ..]` with room for whole frames, or cut to `tokens` again.
    pub(super) fn resized(self, graph: &mut Graph, x: Tensor, tokens: u32) -> Result<Tensor, Error> {
        if x.shape().dims().get(1) == Some(&tokens) {
            return Ok(x);
        }
        let all = graph.counted([tokens], 0, 1);
        gather_rows(graph, x, all, None)
    }

    /// A tensor `[batch, tokens]` by frames, `[batch, frames, size]`.
    pub(super) fn split(self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        let [batch, _] = x.shape().exactly("frames", "[batch, entries]")?;
        let whole = self.resized(graph, x, self.count * self.size)?;
        graph.reshape(whole, [batch, self.count, self.size])
    }

    /// A tensor by frames as `[batch, tokens]` again.
    pub(super) fn joined(self, graph: &mut Graph, x: Tensor, tokens: &Tokens) -> Result<Tensor, Error> {
        let flat = graph.reshape(x, [tokens.batch(), self.count * self.size])?;
        self.resized(graph, flat, tokens.capacity())
    }

    /// Live tokens of each frame, `[batch, frames]` u32.
    pub(super) fn lengths(self, graph: &mut Graph, tokens: &Tokens) -> Result<Tensor, Error> {
        let (batch, whole) = (tokens.batch(), self.count * self.size);
        let live = live_mask(graph, tokens.lengths, whole)?;
        let live = graph.reshape(live, [batch, self.count, self.size])?;
        reduce(graph, live, 2, Statistic::Sum, None)
    }
}
