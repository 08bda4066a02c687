//! Validated, bound, recordable.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::checked::{self, checked, device_error, present};
use super::lower::{Dispatch, Program, Resource, Storage, lower_graph};
use super::module::{Access, Form, Pipeline};
use super::view::TensorView;
use super::{Capabilities, Gpu};
use crate::error::Error;
use crate::graph::{Graph, Source, TensorId};

/// Which buffers a plan reads and writes.
#[derive(Debug, Clone, Default)]
pub struct Bindings {
    tensors: BTreeMap<String, TensorView>,
    workspace: Option<(wgpu::Buffer, u64, u64)>,
}

impl Bindings {
    /// Nothing bound.
    pub fn new() -> Self {
        Self::default()
    }

    /// Binds an input or output of the graph by its name.
    pub fn bind(mut self, name: &str, view: TensorView) -> Self {
        self.tensors.insert(name.to_owned(), view);
        self
    }

    /// Uses the caller's memory for intermediate tensors: [`Graph::workspace_size`] bytes, or [`Graph::workspace_size_of`] where tensors lie at
    /// other than multiples of 16 bytes, at an offset that is a multiple of the device's storage alignment. Without it the plan makes its own
    /// buffer. Two plans may share a workspace if they are recorded one after the other.
    pub fn workspace(mut self, buffer: &wgpu::Buffer, offset: u64, size: u64) -> Self {
        self.workspace = Some((buffer.clone(), offset, size));
        self
    }
}

/// Alignment of everything that a plan places in a buffer of its own: the largest that WebGPU asks for.
const PLACEMENT: u64 = 256;

/// Where each storage that the plan places lies in the workspace.
#[derive(Debug, Default)]
struct Workspace {
    offsets: HashMap<Storage, u64>,
    /// First byte of the slots that stand in for empty tensors.
    empties: u64,
    bytes: u64,
}

impl Workspace {
    /// First fit by order of use: a storage is placed when a dispatch first touches it and freed after its
    /// last.
    fn layout(program: &Program, external: impl Fn(TensorId) -> bool) -> Self {
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
        order.sort_by_key(|(storage, (first, _, bytes))| (*first, std::cmp::Reverse(*bytes), storage.key()));
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

impl Storage {
    fn key(self) -> (u8, usize) {
        match self {
            Self::Tensor(id) => (0, id.0 as usize),
            Self::Scratch(index) => (1, index),
        }
    }
}

/// A dispatch with its pipeline and its place in the uniform buffer.
struct Step {
    dispatch: Dispatch,
    access: Access,
    pipeline: Pipeline,
    uniform: u64,
}

/// What does not change when a plan is bound again to the same places.
struct Shared {
    device: wgpu::Device,
    graph: Graph,
    kernels: Vec<&'static str>,
    steps: Vec<Step>,
    layout: Workspace,
    uniforms: Option<wgpu::Buffer>,
    constants: Option<wgpu::Buffer>,
    constant_offsets: HashMap<TensorId, u64>,
    /// Residue of each external tensor's offset from the storage alignment.
    residues: HashMap<TensorId, u64>,
}

/// Memory for what the plan places.
#[derive(Clone)]
struct Memory {
    buffer: wgpu::Buffer,
    offset: u64,
    size: u64,
    /// Whether the plan made it.
    own: bool,
}

/// Dispatches bound to buffers, ready to be recorded any number of times.
///
/// Recording allocates nothing, submits nothing, and cannot fail: what wgpu would say of pipelines and bindings has been said by
/// [`Graph::plan`]. A buffer that is destroyed or mapped later, or a device that is lost, is wgpu's to tell of when the commands are
/// submitted. `Send + Sync` on native.
#[derive(Clone)]
pub struct Plan {
    shared: Arc<Shared>,
    groups: Vec<wgpu::BindGroup>,
    workspace: Option<Memory>,
}

/// A summary: the kernels, the shader variants of their dispatches, and the bytes of workspace.
impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("kernels", &self.calls())
            .field("dispatches", &self.dispatches())
            .field("variants", &self.variants().collect::<Vec<_>>())
            .field("workspace_size", &self.workspace_size())
            .finish()
    }
}

impl Plan {
    /// Records every dispatch into the caller's pass, in order.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        self.record_steps(0..self.shared.steps.len(), pass);
    }

    /// Opens a labelled pass of its own in the caller's encoder, with the caller's timestamps.
    pub fn record_into(&self, encoder: &mut wgpu::CommandEncoder, timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>) {
        let descriptor = wgpu::ComputePassDescriptor { label: Some("tokenpress"), timestamp_writes };
        self.record(&mut encoder.begin_compute_pass(&descriptor));
    }

    /// The kernel calls, in order: what [`Plan::record_call`] takes an index into.
    pub fn calls(&self) -> &[&'static str] {
        &self.shared.kernels
    }

    /// Records one kernel call's dispatches, for a caller that times each in a pass of its own.
    pub fn record_call(&self, call: usize, pass: &mut wgpu::ComputePass<'_>) {
        let steps = &self.shared.steps;
        let first = steps.partition_point(|s| s.dispatch.node < call);
        let last = steps.partition_point(|s| s.dispatch.node <= call);
        self.record_steps(first..last, pass);
    }

    fn record_steps(&self, range: Range<usize>, pass: &mut wgpu::ComputePass<'_>) {
        for index in range {
            let step = &self.shared.steps[index];
            pass.set_pipeline(&step.pipeline.pipeline);
            pass.set_bind_group(0, &self.groups[index], &[]);
            let [x, y] = step.dispatch.groups;
            pass.dispatch_workgroups(x, y, 1);
        }
    }

    /// Number of dispatches.
    pub fn dispatches(&self) -> usize {
        self.shared.steps.len()
    }

    /// Labels of the shader variants that the dispatches run, in order.
    pub fn variants(&self) -> impl Iterator<Item = String> {
        self.shared.steps.iter().map(|s| s.dispatch.variant(s.access).label())
    }

    /// Bytes of workspace.
    pub fn workspace_size(&self) -> u64 {
        self.shared.layout.bytes
    }

    /// The same plan over other buffers. The workspace stays, unless `bindings` brings one.
    ///
    /// Where each view lies at the same residue from the storage alignment as the one that it replaces, and shares buffers only where the
    /// first ones did (under [`Policy::POOLED`](super::Policy::POOLED): or where they did not), this makes bind groups and nothing else.
    /// Otherwise the graph is planned anew: with the pipelines that are there, but uniforms and constants are uploaded again, what a kernel
    /// does may depend on the place, a view that now shares a buffer may need another pipeline, and a workspace of the plan's own that is
    /// too small is replaced.
    ///
    /// # Errors
    /// [`Error::ForeignDevice`] for another device's `gpu`, and those of [`Graph::plan`].
    pub fn rebind(&self, gpu: &Gpu, bindings: &Bindings) -> Result<Self, Error> {
        let shared = &self.shared;
        if *gpu.device() != shared.device {
            return Err(Error::ForeignDevice { argument: "rebind: gpu" });
        }
        let externals = Externals::resolve(&shared.graph, bindings)?;
        let alignment = u64::from(gpu.capabilities().storage_alignment);
        let moved = externals.views.iter().any(|(id, view)| view.offset() % alignment != shared.residues[id]);
        if !moved {
            let workspace = workspace_buffer(gpu, bindings, shared.layout.bytes, self.workspace.as_ref())?;
            if let Some(groups) = bind_groups(gpu, shared, &externals, &workspace)? {
                return Ok(Self { shared: shared.clone(), groups, workspace });
            }
        }
        make(&shared.graph, gpu, bindings, self.workspace.as_ref())
    }
}

/// The caller's views of a graph's inputs and outputs.
struct Externals<'a> {
    views: HashMap<TensorId, &'a TensorView>,
    names: HashMap<TensorId, String>,
}

impl<'a> Externals<'a> {
    fn resolve(graph: &Graph, bindings: &'a Bindings) -> Result<Self, Error> {
        graph.check_names(bindings.tensors.keys())?;
        let mut externals = Self { views: HashMap::new(), names: HashMap::new() };
        let inputs = graph.sources().iter().enumerate().filter_map(|(index, source)| match source {
            Source::Input(name) => Some((name, TensorId(index as u32), graph.descs()[index])),
            _ => None,
        });
        let outputs = graph.output_tensors().iter().map(|(name, tensor)| (name, tensor.id(), tensor.desc()));
        for (name, id, desc) in inputs.chain(outputs) {
            let view = bindings.tensors.get(name).ok_or_else(|| Error::MissingBinding { tensor: name.clone() })?;
            view.validate(name, desc)?;
            externals.views.insert(id, view);
            externals.names.insert(id, name.clone());
        }
        let written: Vec<_> = graph.output_tensors().iter().map(|(_, tensor)| tensor.id()).collect();
        for (index, output) in written.iter().enumerate() {
            let others = externals.views.keys().filter(|id| !written[..=index].contains(id));
            for other in others {
                externals.disjoint(*output, *other)?;
            }
        }
        Ok(externals)
    }

    fn disjoint(&self, first: TensorId, second: TensorId) -> Result<(), Error> {
        let (a, b) = (self.views[&first], self.views[&second]);
        if a.buffer() == b.buffer() && overlaps(&a.range(), &b.range()) {
            let (first, second) = (self.name(first), self.name(second));
            return Err(Error::Overlap { first, first_range: a.range(), second, second_range: b.range() });
        }
        Ok(())
    }

    /// Byte offset of a tensor in its buffer, 0 for those that the plan places.
    fn address(&self, id: TensorId) -> u64 {
        self.views.get(&id).map_or(0, |view| view.offset())
    }

    fn name(&self, id: TensorId) -> String {
        self.names.get(&id).cloned().unwrap_or_default()
    }
}

fn overlaps(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Bytes of workspace of a graph whose tensors lie at these offsets.
pub(crate) fn workspace_size(graph: &Graph, gpu: &Gpu, address: &dyn Fn(TensorId) -> u64) -> Result<u64, Error> {
    let program = lower_graph(graph, gpu.capabilities(), gpu.policy(), address)?;
    Ok(Workspace::layout(&program, |id| placed_elsewhere(graph, id)).bytes)
}

/// Bytes of workspace of a plan of these bindings.
pub(crate) fn workspace_size_of(graph: &Graph, gpu: &Gpu, bindings: &Bindings) -> Result<u64, Error> {
    let externals = Externals::resolve(graph, bindings)?;
    workspace_size(graph, gpu, &|id| externals.address(id))
}

/// Whether a tensor lies in a caller's buffer or among the constants.
fn placed_elsewhere(graph: &Graph, id: TensorId) -> bool {
    !matches!(graph.sources()[id.0 as usize], Source::Node) || graph.output_tensors().iter().any(|(_, t)| t.id() == id)
}

/// Validates bindings, lowers the graph, and makes every object.
pub(crate) fn plan(graph: &Graph, gpu: &Gpu, bindings: &Bindings) -> Result<Plan, Error> {
    make(graph, gpu, bindings, None)
}

/// A plan, in memory that was kept where the bindings bring none.
fn make(graph: &Graph, gpu: &Gpu, bindings: &Bindings, kept: Option<&Memory>) -> Result<Plan, Error> {
    let capabilities = gpu.capabilities();
    let externals = Externals::resolve(graph, bindings)?;
    let program = lower_graph(graph, capabilities, gpu.policy(), &|id| externals.address(id))?;
    let layout = Workspace::layout(&program, |id| placed_elsewhere(graph, id));
    if layout.bytes > capabilities.max_buffer {
        return Err(Error::WorkspaceTooLarge { bytes: layout.bytes, limit: capabilities.max_buffer });
    }
    let (constants, constant_offsets) = constants_buffer(graph, gpu, &program)?;
    let workspace = workspace_buffer(gpu, bindings, layout.bytes, kept)?;
    let residues: HashMap<_, _> =
        externals.views.iter().map(|(id, view)| (*id, view.offset() % u64::from(capabilities.storage_alignment))).collect();

    let mut uniform_bytes: Vec<u8> = Vec::new();
    let mut steps = Vec::new();
    let place = Place {
        graph,
        layout: &layout,
        externals: &externals,
        workspace: &workspace,
        constants: &constants,
        constant_offsets: &constant_offsets,
    };
    for dispatch in program.dispatches {
        let placed: Vec<_> = dispatch.resources.iter().enumerate().map(|(slot, r)| place.locate(slot, r)).collect();
        let access = access(gpu, &dispatch, &placed);
        let kernel = graph.nodes()[dispatch.node].kernel.name();
        let pipeline = gpu.pipelines.get(gpu, kernel, &dispatch.variant(access))?;
        uniform_bytes.resize(uniform_bytes.len().next_multiple_of(PLACEMENT as usize), 0);
        let uniform = uniform_bytes.len() as u64;
        for ((_, elem), (_, range)) in dispatch.shader.bindings().zip(&placed) {
            let residue = range.start % u64::from(capabilities.storage_alignment);
            let base = (residue / elem.size(dispatch.header)) as u32;
            uniform_bytes.extend_from_slice(&base.to_le_bytes());
        }
        uniform_bytes.extend_from_slice(bytemuck::cast_slice(&dispatch.params));
        steps.push(Step { dispatch, access, pipeline, uniform });
    }
    uniform_bytes.resize(uniform_bytes.len().next_multiple_of(PLACEMENT as usize), 0);
    let write = |memory: &mut wgpu::BufferViewMut| memory.copy_from_slice(&uniform_bytes);
    let uniforms = immutable_buffer(gpu, "tokenpress::uniforms", wgpu::BufferUsages::UNIFORM, uniform_bytes.len() as u64, write)?;
    let kernels = graph.nodes().iter().map(|n| n.kernel.name()).collect();
    let device = gpu.device().clone();
    let shared = Shared { device, graph: graph.clone(), kernels, steps, layout, uniforms, constants, constant_offsets, residues };
    // Each step has the access that its buffers ask for.
    let groups = bind_groups(gpu, &shared, &externals, &workspace)?.unwrap_or_default();
    Ok(Plan { shared: Arc::new(shared), groups, workspace })
}

/// A dispatch that reads and writes one buffer needs `read_write` inputs.
fn access(gpu: &Gpu, dispatch: &Dispatch, placed: &[(&wgpu::Buffer, Range<u64>)]) -> Access {
    let (inputs, outputs) = placed.split_at(dispatch.shader.inputs.len());
    let shares = inputs.iter().any(|(input, _)| outputs.iter().any(|(output, _)| input == output));
    if shares || gpu.policy().read_write { Access::ReadWrite } else { Access::Read }
}

/// Finds the buffer and the bytes of each resource.
struct Place<'a> {
    graph: &'a Graph,
    layout: &'a Workspace,
    externals: &'a Externals<'a>,
    workspace: &'a Option<Memory>,
    constants: &'a Option<wgpu::Buffer>,
    constant_offsets: &'a HashMap<TensorId, u64>,
}

impl<'a> Place<'a> {
    fn locate(&self, slot: usize, resource: &Resource) -> (&'a wgpu::Buffer, Range<u64>) {
        let at = |start: u64| start + resource.offset..start + resource.offset + resource.bytes;
        let workspace =
            || self.workspace.as_ref().map(|memory| (&memory.buffer, memory.offset)).expect("a plan with placed tensors has a workspace");
        if resource.bytes == 0 {
            let (buffer, offset) = workspace();
            let start = offset + self.layout.empties + slot as u64 * PLACEMENT;
            // Room for one element of the widest kind.
            return (buffer, start..start + 16);
        }
        if let Storage::Tensor(id) = resource.storage {
            if let Some(view) = self.externals.views.get(&id) {
                let mut range = at(view.offset());
                // What the view has behind its tensor is bound with the tensor's last byte, in whole words.
                if resource.offset + resource.bytes == view.desc().bytes() {
                    range.end = range.end.max(view.range().end / 4 * 4);
                }
                return (view.buffer(), range);
            }
            if let Source::Constant(_) | Source::Pattern(_) = self.graph.sources()[id.0 as usize] {
                return (self.constants.as_ref().expect("a plan with constants has their buffer"), at(self.constant_offsets[&id]));
            }
        }
        let (buffer, offset) = workspace();
        (buffer, at(offset + self.layout.offsets[&resource.storage]))
    }
}

/// A bind group for each step; none where one now reads and writes one buffer, which its pipeline does not allow.
fn bind_groups(
    gpu: &Gpu,
    shared: &Shared,
    externals: &Externals<'_>,
    workspace: &Option<Memory>,
) -> Result<Option<Vec<wgpu::BindGroup>>, Error> {
    let alignment = u64::from(gpu.capabilities().storage_alignment);
    let place = Place {
        graph: &shared.graph,
        layout: &shared.layout,
        externals,
        workspace,
        constants: &shared.constants,
        constant_offsets: &shared.constant_offsets,
    };
    let make = || {
        let mut groups = Vec::with_capacity(shared.steps.len());
        for step in &shared.steps {
            let dispatch = &step.dispatch;
            let placed: Vec<_> = dispatch.resources.iter().enumerate().map(|(slot, r)| place.locate(slot, r)).collect();
            if access(gpu, dispatch, &placed) == Access::ReadWrite && step.access == Access::Read {
                return Ok(None);
            }
            let uniforms = shared.uniforms.as_ref().expect("a plan with dispatches has uniforms");
            let words = dispatch.params.len() + dispatch.resources.len();
            let mut entries = vec![entry(0, uniforms, step.uniform, (4 * words as u64).next_multiple_of(16))];
            for (index, ((name, elem), (buffer, range))) in dispatch.shader.bindings().zip(&placed).enumerate() {
                let start = range.start - range.start % alignment;
                // Only what lies behind a tensor can exceed the limit.
                let size = (range.end.next_multiple_of(4) - start).min(gpu.capabilities().max_binding / 4 * 4);
                let least = elem.size(dispatch.header);
                if size < least {
                    let (kernel, shader) = (shared.kernels[dispatch.node], dispatch.variant(step.access).label());
                    return Err(Error::Shader {
                        kernel,
                        shader,
                        reason: format!("{name} is bound to {size} bytes, one element has {least}"),
                    });
                }
                entries.push(entry(index as u32 + 1, buffer, start, size));
            }
            groups.push(gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(dispatch.shader.name),
                layout: &step.pipeline.layout,
                entries: &entries,
            }));
        }
        Ok(Some(groups))
    };
    let groups = checked(gpu.device(), || "bind groups".to_owned(), make);
    present(gpu.device())?;
    match groups {
        Err(error @ Error::Device { .. }) => {
            Err(unusable(gpu, externals, workspace).map_or(error, |tensor| Error::UnusableBuffer { tensor }))
        }
        groups => groups,
    }
}

fn entry(binding: u32, buffer: &wgpu::Buffer, offset: u64, size: u64) -> wgpu::BindGroupEntry<'_> {
    let size = std::num::NonZeroU64::new(size);
    wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size }) }
}

/// The first of the caller's buffers, by the tensors' names, that the device does not bind.
fn unusable(gpu: &Gpu, externals: &Externals<'_>, workspace: &Option<Memory>) -> Option<String> {
    let storage = wgpu::BindGroupLayoutEntry {
        binding: 0,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only: true },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    };
    let layout = gpu.device().create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &[storage] });
    let tensors: BTreeMap<_, _> = externals.views.iter().map(|(id, view)| (externals.name(*id), view.buffer())).collect();
    let workspace = workspace.iter().map(|memory| ("workspace".to_owned(), &memory.buffer));
    let binds = |buffer: &wgpu::Buffer| {
        let entries = [entry(0, buffer, 0, 4)];
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries };
        checked(gpu.device(), String::new, || Ok(gpu.device().create_bind_group(&descriptor))).is_ok()
    };
    tensors.into_iter().chain(workspace).find(|(_, buffer)| buffer.size() >= 4 && !binds(buffer)).map(|(name, _)| name)
}

/// The caller's workspace, that which was kept, or a new one of the plan's own; none where nothing is placed.
fn workspace_buffer(gpu: &Gpu, bindings: &Bindings, bytes: u64, kept: Option<&Memory>) -> Result<Option<Memory>, Error> {
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
        return Ok(Some(Memory { buffer: checked::buffer(gpu.device(), &descriptor)?, offset: 0, size: bytes, own: true }));
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

/// Nothing may be bound to the workspace's own bytes.
fn clear_of(workspace: &wgpu::Buffer, range: Range<u64>, bindings: &Bindings) -> Result<(), Error> {
    match bindings.tensors.iter().find(|(_, view)| view.buffer() == workspace && overlaps(&view.range(), &range)) {
        Some((name, view)) => {
            Err(Error::Overlap { first: "workspace".to_owned(), first_range: range, second: name.clone(), second_range: view.range() })
        }
        None => Ok(()),
    }
}

/// The constants that the dispatches read, in one buffer.
fn constants_buffer(graph: &Graph, gpu: &Gpu, program: &Program) -> Result<(Option<wgpu::Buffer>, HashMap<TensorId, u64>), Error> {
    let (mut offsets, mut order, mut end) = (HashMap::new(), Vec::new(), 0u64);
    for resource in program.dispatches.iter().flat_map(|d| &d.resources) {
        let Storage::Tensor(id) = resource.storage else { continue };
        if !matches!(graph.sources()[id.0 as usize], Source::Constant(_) | Source::Pattern(_)) || offsets.contains_key(&id) {
            continue;
        }
        let offset = end.next_multiple_of(PLACEMENT);
        offsets.insert(id, offset);
        order.push((id, offset));
        // Each is a tensor of a dispatch, which lowering has found small enough for such sums.
        end = offset + graph.descs()[id.0 as usize].bytes();
    }
    let (bytes, limit) = (end.next_multiple_of(4), gpu.capabilities().max_buffer);
    if bytes > limit {
        return Err(Error::BindingTooLarge { kernel: "plan", tensor: "the constants' buffer".to_owned(), bytes, limit });
    }
    let write = |memory: &mut wgpu::BufferViewMut| {
        for (id, offset) in order {
            let (source, desc) = (&graph.sources()[id.0 as usize], graph.descs()[id.0 as usize]);
            let mut place = offset as usize;
            let mut append = |bytes: &[u8]| {
                memory.slice(place..place + bytes.len()).copy_from_slice(bytes);
                place += bytes.len();
            };
            match source {
                Source::Constant(value) => append(value.bytes()),
                Source::Pattern(pattern) => pattern.write(desc, append),
                Source::Input(_) | Source::Node => {}
            }
        }
    };
    Ok((immutable_buffer(gpu, "tokenpress::constants", wgpu::BufferUsages::STORAGE, bytes, write)?, offsets))
}

/// A buffer that is written once, while it is made: no queue is needed.
fn immutable_buffer(
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
    let buffer = checked::buffer(gpu.device(), &descriptor)?;
    // One of a device that is lost has no memory.
    present(gpu.device())?;
    write(&mut buffer.slice(..).get_mapped_range_mut().map_err(device_error)?);
    buffer.unmap();
    Ok(Some(buffer))
}

impl Gpu {
    /// Whether this device runs a variant: it has the features that the variant needs.
    pub fn supports(&self, variant: &super::Variant) -> bool {
        supports(self.capabilities(), variant)
    }
}

fn supports(capabilities: &Capabilities, variant: &super::Variant) -> bool {
    (capabilities.f16 || !variant.header.is_f16())
        && match variant.form {
            Form::Portable => true,
            Form::Subgroup => capabilities.runs_subgroup_form(variant.shader),
            form => capabilities.cooperative_form() == Some(form),
        }
}
