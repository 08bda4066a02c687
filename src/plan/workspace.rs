//! Memory for the tensors that a plan places itself.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::bindings::{Bindings, overlaps};
use super::lower::Program;
use crate::device::{Gpu, Storage, buffer};
use crate::error::Error;
use crate::graph::{Graph, Source};
use crate::tensor::TensorId;

/// Alignment of everything that a plan places in a buffer of its own: the largest that WebGPU asks for.
pub(super) const PLACEMENT: u64 = 256;

/// Where each storage that the plan places lies in the workspace.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    pub(super) offsets: HashMap<Storage, u64>,
    /// First byte of the slots that stand in for empty tensors.
    pub(super) empties: u64,
    pub(super) bytes: u64,
}

impl Workspace {
    /// First fit in order of use: a storage gets its place at the first dispatch that touches it, and gives it up after the last.
    pub(super) fn layout(program: &Program, external: impl Fn(TensorId) -> bool) -> Self {
        let mut lives: HashMap<Storage, (usize, usize, u64)> = HashMap::new();
        let mut has_empty = false;
        for (time, dispatch) in program.dispatches.iter().enumerate() {
            for resource in &dispatch.resources {
                has_empty |= resource.bytes == 0;
                if matches!(resource.storage, Storage::Tensor(id) if external(id)) || resource.bytes == 0 {
                    continue;
                }
                let life = lives.entry(resource.storage).or_insert((time, time, 0));
                life.1 = time;
                life.2 = life.2.max(resource.offset + resource.bytes);
            }
        }
        let mut order: Vec<_> = lives.into_iter().collect();
        order.sort_by_key(|(storage, (first, _, bytes))| (*first, std::cmp::Reverse(*bytes), key(*storage)));
        let mut placed: Vec<(Range<u64>, usize)> = Vec::new();
        let mut workspace = Self::default();
        for (storage, (first, last, bytes)) in order {
            placed.retain(|(_, end)| *end >= first);
            placed.sort_by_key(|(range, _)| range.start);
            let size = bytes.next_multiple_of(PLACEMENT);
            let mut offset = 0;
            for (range, _) in &placed {
                if range.start >= offset + size {
                    break;
                }
                offset = offset.max(range.end);
            }
            placed.push((offset..offset + size, last));
            workspace.offsets.insert(storage, offset);
            workspace.bytes = workspace.bytes.max(offset + size);
        }
        workspace.empties = workspace.bytes;
        if has_empty {
            workspace.bytes += 9 * PLACEMENT;
        }
        workspace
    }
}

/// A total order of storages.
fn key(storage: Storage) -> (u8, usize) {
    match storage {
        Storage::Tensor(id) => (0, id.0 as usize),
        Storage::Scratch(index) => (1, index),
    }
}

/// Memory for what the plan places.
#[derive(Clone)]
pub(super) struct Memory {
    pub(super) buffer: wgpu::Buffer,
    pub(super) offset: u64,
    pub(super) size: u64,
    /// Whether the plan made it.
    pub(super) own: bool,
}

/// Whether a tensor lies in a caller's buffer or among the constants.
pub(super) fn placed_elsewhere(graph: &Graph) -> impl Fn(TensorId) -> bool {
    let outputs: HashSet<_> = graph.output_tensors().iter().map(|(_, tensor)| tensor.id()).collect();
    move |id| !matches!(graph.sources()[id.0 as usize], Source::Node) || outputs.contains(&id)
}

/// The caller's workspace, else the one that was kept, else a new one of the plan's own. `None` if nothing is placed.
pub(super) fn workspace_buffer(gpu: &Gpu, bindings: &Bindings, bytes: u64, kept: Option<&Memory>) -> Result<Option<Memory>, Error> {
    if bytes == 0 {
        return Ok(None);
    }
    let Some((buffer, offset, size)) = &bindings.workspace else {
        if let Some(memory) = kept.filter(|memory| memory.size >= bytes || !memory.own) {
            if memory.size < bytes {
                let (offset, actual) = (memory.offset, memory.size);
                return Err(Error::BufferTooSmall { tensor: "workspace".to_owned(), offset, required: bytes, actual });
            }
            clear_of(&memory.buffer, memory.offset..memory.offset + bytes, bindings)?;
            return Ok(Some(memory.clone()));
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let descriptor = wgpu::BufferDescriptor { label: Some("tokenpress::workspace"), size: bytes, usage, mapped_at_creation: false };
        return Ok(Some(Memory { buffer: buffer(gpu.device(), &descriptor)?, offset: 0, size: bytes, own: true }));
    };
    let tensor = || "workspace".to_owned();
    let alignment = u64::from(gpu.capabilities().storage_alignment);
    if !offset.is_multiple_of(alignment) {
        return Err(Error::Misaligned { tensor: tensor(), offset: *offset, alignment });
    }
    if !buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
        return Err(Error::Usage { tensor: tensor(), required: "STORAGE" });
    }
    let available = (*size).min(buffer.size().saturating_sub(*offset));
    if available < bytes {
        return Err(Error::BufferTooSmall { tensor: tensor(), offset: *offset, required: bytes, actual: available });
    }
    clear_of(buffer, *offset..offset + bytes, bindings)?;
    Ok(Some(Memory { buffer: buffer.clone(), offset: *offset, size: available, own: false }))
}

/// Checks that no tensor is bound to the workspace's own bytes.
pub(super) fn clear_of(workspace: &wgpu::Buffer, range: Range<u64>, bindings: &Bindings) -> Result<(), Error> {
    match bindings.tensors.iter().find(|(_, view)| view.buffer() == workspace && overlaps(&view.range(), &range)) {
        Some((name, view)) => {
            Err(Error::Overlap { first: "workspace".to_owned(), first_range: range, second: name.clone(), second_range: view.range() })
        }
        None => Ok(()),
    }
}
