//! Which bytes of which buffer a binding of a dispatch gets.

use std::collections::HashMap;
use std::ops::Range;

use super::workspace::{PLACEMENT, Workspace};
use crate::device::{Access, BindingElem, Dispatch, Policy, Resource, Storage};
use crate::graph::{Graph, Source};
use crate::tensor::TensorId;

/// The buffers of a plan: a device's own, or names of buffers that somebody else makes.
pub(super) trait Buffers {
    /// A buffer. Two are equal where one buffer is bound twice.
    type Buffer: PartialEq;

    /// Where a tensor of the caller's lies: its buffer, its first byte, its bytes, and the end of the caller's view. `None` for any other.
    fn view(&self, id: TensorId) -> Option<(Self::Buffer, u64, u64, u64)>;

    /// Whether a tensor is bound as a texture.
    fn is_texture(&self, _id: TensorId) -> bool {
        false
    }

    /// The workspace, and its first byte.
    fn workspace(&self) -> (Self::Buffer, u64);

    /// The constants' buffer.
    fn constants(&self) -> Self::Buffer;
}

/// What a binding of a dispatch gets.
pub(super) enum Bound<B> {
    /// Bytes of a buffer.
    Buffer(B, Range<u64>),
    /// A texture of the caller's.
    Texture(TensorId),
}

impl<B> Bound<B> {
    fn buffer(&self) -> Option<&B> {
        match self {
            Self::Buffer(buffer, _) => Some(buffer),
            Self::Texture(_) => None,
        }
    }
}

/// Where a plan has put its tensors.
pub(super) struct Places<'a> {
    pub(super) graph: &'a Graph,
    pub(super) layout: &'a Workspace,
    pub(super) constant_offsets: &'a HashMap<TensorId, u64>,
}

impl Places<'_> {
    /// What each binding of a dispatch gets, as the shader has them.
    pub(super) fn of<B: Buffers>(&self, dispatch: &Dispatch, buffers: &B) -> Vec<Bound<B::Buffer>> {
        let located = |(slot, ((_, elem), resource)): (usize, (&(&str, BindingElem), &Resource))| match resource.storage {
            Storage::Tensor(id) if elem.is_texture() && buffers.is_texture(id) => Bound::Texture(id),
            _ => {
                let (buffer, range) = self.locate(slot, resource, buffers);
                Bound::Buffer(buffer, range)
            }
        };
        dispatch.shader.bindings().zip(&dispatch.resources).enumerate().map(located).collect()
    }

    fn locate<B: Buffers>(&self, slot: usize, resource: &Resource, buffers: &B) -> (B::Buffer, Range<u64>) {
        let at = |start: u64| start + resource.offset..start + resource.offset + resource.bytes;
        if resource.bytes == 0 {
            let (buffer, offset) = buffers.workspace();
            let start = offset + self.layout.empties + slot as u64 * PLACEMENT;
            // Room for one element of the widest kind.
            return (buffer, start..start + 16);
        }
        if let Storage::Tensor(id) = resource.storage {
            if let Some((buffer, offset, bytes, end)) = buffers.view(id) {
                let mut range = at(offset);
                // Bytes of the view after its tensor are bound together with the tensor's last byte, in whole words.
                if resource.offset + resource.bytes == bytes {
                    range.end = range.end.max(end / 4 * 4);
                }
                return (buffer, range);
            }
            if let Source::Constant(_) | Source::Pattern(..) = self.graph.sources()[id.0 as usize] {
                return (buffers.constants(), at(self.constant_offsets[&id]));
            }
        }
        let (buffer, offset) = buffers.workspace();
        (buffer, at(offset + self.layout.offsets[&resource.storage]))
    }
}

/// A dispatch that reads and writes one buffer needs `read_write` inputs.
pub(super) fn access<B: PartialEq>(policy: Policy, dispatch: &Dispatch, placed: &[Bound<B>]) -> Access {
    let (inputs, outputs) = placed.split_at(dispatch.shader.inputs.len());
    let shares =
        inputs.iter().filter_map(Bound::buffer).any(|input| outputs.iter().filter_map(Bound::buffer).any(|output| input == output));
    if shares || policy.read_write { Access::ReadWrite } else { Access::Read }
}

/// The bytes that a binding covers, from the aligned offset below its tensor to the end in whole words.
pub(super) fn bound_bytes(range: &Range<u64>, alignment: u64, max_binding: u64) -> (u64, u64) {
    let start = range.start - range.start % alignment;
    // Only the bytes after a tensor can exceed the limit.
    (start, (range.end.next_multiple_of(4) - start).min(max_binding / 4 * 4))
}

/// A dispatch's uniforms, in whole vectors of four: where each tensor begins in its binding, in elements, and its parameters.
pub(super) fn uniforms<B>(dispatch: &Dispatch, placed: &[Bound<B>], alignment: u64) -> Vec<u32> {
    let base = |((_, elem), bound): (&(&str, BindingElem), &Bound<B>)| match bound {
        Bound::Buffer(_, range) => (range.start % alignment / elem.size(dispatch.header)) as u32,
        Bound::Texture(_) => 0,
    };
    let mut words: Vec<u32> = dispatch.shader.bindings().zip(placed).map(base).collect();
    words.extend_from_slice(&dispatch.params);
    words.resize(words.len().next_multiple_of(4), 0);
    words
}
