//! Videos of frames with many and with few tokens.

use crate::error::Error;
use crate::graph::{Graph, Tensor, expect_listed};
use crate::kernels::{concat_rows, gather_rows};
use crate::methods::parts::lists::product;
use crate::tensor::HostTensor;

/// Most frames with fewer tokens (`add_faster_video`): an option of [`LlavaVideo`](crate::methods::LlavaVideo), where there is
/// its cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faster {
    /// Frames 0, `every`, 2 `every` ... keep all their tokens (`faster_token_stride`); the others are pooled with twice the stride.
    pub every: u32,
    /// A learned token `[C]` after each frame, its newlines included (`faster_token`).
    pub token: Tensor,
}

/// The tokens `[B, N', C]` that `build` makes of the frames of `x` `[B, F, N, C]`, in order, and how many of each frame.
///
/// It is given frames `[F', N, C]` of one kind: 0, `every`, 2 `every` ..; and, with true, all others.
pub(crate) fn by_kind(
    graph: &mut Graph,
    x: Tensor,
    every: u32,
    build: impl Fn(&mut Graph, Tensor, bool) -> Result<Tensor, Error>,
) -> Result<(Tensor, Vec<u32>), Error> {
    let [batch, count, tokens, channels] = x.shape().exactly("llava_video: x", "[B, F, h * w, C]")?;
    expect_listed("llava_video: x", [count, tokens].into())?;
    let wide = product("llava_video: x", x.shape(), tokens, channels)?;
    let whole = graph.reshape(x, [batch, count, wide])?;
    let part = |graph: &mut Graph, list: Vec<u32>, fewer: bool| {
        let these = list.len() as u32;
        let mut part = whole;
        if these != count {
            let list = graph.constant(HostTensor::u32([these], list));
            part = gather_rows(graph, whole, list, None)?;
        }
        let all = product("llava_video: x", x.shape(), batch, these)?;
        let part = graph.reshape(part, [all, tokens, channels])?;
        let part = build(graph, part, fewer)?;
        let [_, size, _] = part.shape().exactly("llava_video: x", "[B * F, N', C]")?;
        let together = product("llava_video: x", part.shape(), these, size)?;
        Ok::<_, Error>((graph.reshape(part, [batch, together, channels])?, size))
    };
    let (full, fewer): (Vec<u32>, Vec<u32>) = (0..count).partition(|frame| frame.is_multiple_of(every));
    let (first, size) = part(graph, full, false)?;
    if fewer.is_empty() {
        return Ok((first, vec![size; count as usize]));
    }
    let (second, smaller) = part(graph, fewer, true)?;
    let (both, _) = concat_rows(graph, (first, None), (second, None))?;
    let sizes: Vec<u32> = (0..count).map(|frame| if frame.is_multiple_of(every) { size } else { smaller }).collect();
    let [_, of_first, _] = first.shape().exactly("llava_video: x", "[B, F * N', C]")?;
    let mut next = [0, of_first];
    let mut order = Vec::new();
    for (frame, size) in (0..).zip(&sizes) {
        let next = &mut next[usize::from(!u32::is_multiple_of(frame, every))];
        order.extend(*next..*next + size);
        *next += size;
    }
    let order = graph.constant(HostTensor::u32([order.len() as u32], order));
    Ok((gather_rows(graph, both, order, None)?, sizes))
}
