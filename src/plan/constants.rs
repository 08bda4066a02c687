//! A plan's constants, which are uploaded once.

use std::collections::HashMap;

use super::lower::Program;
use super::workspace::PLACEMENT;
use crate::device::{Gpu, Storage, buffer, device_error, present};
use crate::error::Error;
use crate::graph::{Graph, Source};
use crate::pattern::Pattern;
use crate::tensor::{Elem, TensorId};

/// The pattern of a constant that is a row of one. Such constants share the longest row.
pub(super) fn row_of_pattern(graph: &Graph, id: TensorId) -> Option<(Pattern, Elem)> {
    let desc = graph.descs()[id.0 as usize];
    match &graph.sources()[id.0 as usize] {
        Source::Pattern(pattern, _) if pattern.is_prefix(desc.shape) => Some((*pattern, desc.elem)),
        _ => None,
    }
}

/// Where the constants that the dispatches read lie in one buffer.
pub(super) struct Constants {
    order: Vec<(TensorId, u64)>,
    /// Of each constant.
    pub(super) offsets: HashMap<TensorId, u64>,
    /// A multiple of 4.
    pub(super) bytes: u64,
}

impl Constants {
    pub(super) fn layout(graph: &Graph, program: &Program, limit: u64) -> Result<Self, Error> {
        let mut places: HashMap<TensorId, usize> = HashMap::new();
        let mut stored: Vec<TensorId> = Vec::new();
        // A row of a pattern is the start of every longer row of it. If a method makes a list of indices in each round, all of them lie in
        // the longest.
        let mut rows: HashMap<(Pattern, Elem), usize> = HashMap::new();
        let size = |id: TensorId| graph.descs()[id.0 as usize].bytes();
        for resource in program.dispatches.iter().flat_map(|d| &d.resources) {
            let Storage::Tensor(id) = resource.storage else { continue };
            if places.contains_key(&id) {
                continue;
            }
            let place = match (row_of_pattern(graph, id), &graph.sources()[id.0 as usize]) {
                (Some(row), _) => *rows.entry(row).or_insert(stored.len()),
                (None, Source::Constant(_) | Source::Pattern(..)) => stored.len(),
                (None, Source::Input(_) | Source::Node) => continue,
            };
            match stored.get_mut(place) {
                Some(longest) => *longest = if size(id) > size(*longest) { id } else { *longest },
                None => stored.push(id),
            }
            places.insert(id, place);
        }
        let mut end = 0u64;
        let mut order = Vec::with_capacity(stored.len());
        for id in stored {
            let offset = end.next_multiple_of(PLACEMENT);
            order.push((id, offset));
            // This does not overflow: lowering has checked the size of every tensor of a dispatch.
            end = offset + size(id);
        }
        let offsets = places.into_iter().map(|(id, place)| (id, order[place].1)).collect();
        let bytes = end.next_multiple_of(4);
        if bytes > limit {
            return Err(Error::BindingTooLarge { kernel: "plan", tensor: "the constants' buffer".to_owned(), bytes, limit });
        }
        Ok(Self { order, offsets, bytes })
    }

    /// Gives every constant's bytes in pieces, each with its place.
    pub(super) fn write(&self, graph: &Graph, mut write: impl FnMut(usize, &[u8])) {
        for (id, offset) in &self.order {
            let (source, desc) = (&graph.sources()[id.0 as usize], graph.descs()[id.0 as usize]);
            let mut place = *offset as usize;
            let mut append = |bytes: &[u8]| {
                write(place, bytes);
                place += bytes.len();
            };
            match source {
                Source::Constant(value) => append(value.bytes()),
                Source::Pattern(pattern, _) => pattern.write(desc, append),
                Source::Input(_) | Source::Node => {}
            }
        }
    }
}

/// The constants in one buffer.
pub(super) fn constants_buffer(graph: &Graph, gpu: &Gpu, constants: &Constants) -> Result<Option<wgpu::Buffer>, Error> {
    let write = |memory: &mut wgpu::BufferViewMut| {
        constants.write(graph, |place, bytes| memory.slice(place..place + bytes.len()).copy_from_slice(bytes));
    };
    immutable_buffer(gpu, "tokenpress::constants", wgpu::BufferUsages::STORAGE, constants.bytes, write)
}

/// A buffer that is written once, while it is made. That needs no queue.
pub(super) fn immutable_buffer(
    gpu: &Gpu,
    label: &str,
    usage: wgpu::BufferUsages,
    size: u64,
    write: impl FnOnce(&mut wgpu::BufferViewMut),
) -> Result<Option<wgpu::Buffer>, Error> {
    if size == 0 {
        return Ok(None);
    }
    let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: true };
    let buffer = buffer(gpu.device(), &descriptor)?;
    // A buffer of a lost device has no memory.
    present(gpu.device())?;
    write(&mut buffer.slice(..).get_mapped_range_mut().map_err(device_error)?);
    buffer.unmap();
    Ok(Some(buffer))
}
