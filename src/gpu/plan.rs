//! Validated, bound, recordable.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

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

/// What does not change when a plan is bound again.
struct Shared {
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

/// Dispatches bound to buffers, ready to be recorded any number of times.
///
/// Recording allocates nothing, submits nothing, and cannot fail. `Send + Sync` on native.
#[derive(Clone)]
pub struct Plan {
    shared: Arc<Shared>,
    groups: Vec<wgpu::BindGroup>,
    workspace: Option<(wgpu::Buffer, u64)>,
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

    /// The same plan over other buffers: makes bind groups, and nothing else.
    ///
    /// Each view must lie at the same residue from the storage alignment as the one it replaces, and may share
    /// buffers only where the first ones did. The workspace stays, unless `bindings` brings one.
    pub fn rebind(&self, gpu: &Gpu, bindings: &Bindings) -> Result<Self, Error> {
        let externals = Externals::resolve(&self.shared.graph, bindings)?;
        for (id, view) in &externals.views {
            let residue = view.offset() % u64::from(gpu.capabilities().storage_alignment);
            let expected = self.shared.residues[id];
            if residue != expected {
                let reason = format!("offset {} is {residue} past the storage alignment, not {expected}", view.offset());
                return Err(Error::Rebind { tensor: externals.name(*id), reason });
            }
        }
        let workspace = match &bindings.workspace {
            Some(_) => workspace_buffer(gpu, bindings, self.shared.layout.bytes)?,
            None => {
                if let Some((buffer, offset)) = &self.workspace {
                    clear_of(buffer, *offset..offset + self.shared.layout.bytes, bindings)?;
                }
                self.workspace.clone()
            }
        };
        let groups = bind_groups(gpu, &self.shared, &externals, &workspace)?;
        Ok(Self { shared: self.shared.clone(), groups, workspace })
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
    let capabilities = gpu.capabilities();
    let externals = Externals::resolve(graph, bindings)?;
    let program = lower_graph(graph, capabilities, gpu.policy(), &|id| externals.address(id))?;
    let layout = Workspace::layout(&program, |id| placed_elsewhere(graph, id));
    if layout.bytes > capabilities.max_buffer {
        return Err(Error::WorkspaceTooLarge { bytes: layout.bytes, limit: capabilities.max_buffer });
    }
    let (constants, constant_offsets) = constants_buffer(graph, gpu, &program)?;
    let workspace = workspace_buffer(gpu, bindings, layout.bytes)?;
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
        let pipeline = gpu.pipelines.get(gpu, &dispatch.variant(access))?;
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
    let shared = Shared { graph: graph.clone(), kernels, steps, layout, uniforms, constants, constant_offsets, residues };
    let groups = bind_groups(gpu, &shared, &externals, &workspace)?;
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
    workspace: &'a Option<(wgpu::Buffer, u64)>,
    constants: &'a Option<wgpu::Buffer>,
    constant_offsets: &'a HashMap<TensorId, u64>,
}

impl<'a> Place<'a> {
    fn locate(&self, slot: usize, resource: &Resource) -> (&'a wgpu::Buffer, Range<u64>) {
        let at = |start: u64| start + resource.offset..start + resource.offset + resource.bytes;
        let workspace =
            || self.workspace.as_ref().map(|(buffer, offset)| (buffer, *offset)).expect("a plan with placed tensors has a workspace");
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

fn bind_groups(
    gpu: &Gpu,
    shared: &Shared,
    externals: &Externals<'_>,
    workspace: &Option<(wgpu::Buffer, u64)>,
) -> Result<Vec<wgpu::BindGroup>, Error> {
    let alignment = u64::from(gpu.capabilities().storage_alignment);
    let place = Place {
        graph: &shared.graph,
        layout: &shared.layout,
        externals,
        workspace,
        constants: &shared.constants,
        constant_offsets: &shared.constant_offsets,
    };
    let mut groups = Vec::with_capacity(shared.steps.len());
    for step in &shared.steps {
        let dispatch = &step.dispatch;
        let placed: Vec<_> = dispatch.resources.iter().enumerate().map(|(slot, r)| place.locate(slot, r)).collect();
        if access(gpu, dispatch, &placed) == Access::ReadWrite && step.access == Access::Read {
            let tensor = dispatch.resources.iter().find_map(|r| match r.storage {
                Storage::Tensor(id) => externals.names.get(&id).cloned(),
                Storage::Scratch(_) => None,
            });
            let reason = format!("{} now reads and writes one buffer", dispatch.shader.name);
            return Err(Error::Rebind { tensor: tensor.unwrap_or_default(), reason });
        }
        let binding = |buffer, offset, size| {
            wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: std::num::NonZeroU64::new(size) })
        };
        let uniforms = shared.uniforms.as_ref().expect("a plan with dispatches has uniforms");
        let words = dispatch.params.len() + dispatch.resources.len();
        let mut entries =
            vec![wgpu::BindGroupEntry { binding: 0, resource: binding(uniforms, step.uniform, (4 * words as u64).next_multiple_of(16)) }];
        for (index, (buffer, range)) in placed.iter().enumerate() {
            let start = range.start - range.start % alignment;
            // Only what lies behind a tensor can exceed the limit.
            let size = (range.end.next_multiple_of(4) - start).min(gpu.capabilities().max_binding / 4 * 4);
            entries.push(wgpu::BindGroupEntry { binding: index as u32 + 1, resource: binding(buffer, start, size) });
        }
        groups.push(gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(dispatch.shader.name),
            layout: &step.pipeline.layout,
            entries: &entries,
        }));
    }
    Ok(groups)
}

/// The caller's workspace, or one of the plan's own; none where nothing is placed.
fn workspace_buffer(gpu: &Gpu, bindings: &Bindings, bytes: u64) -> Result<Option<(wgpu::Buffer, u64)>, Error> {
    if bytes == 0 {
        return Ok(None);
    }
    let Some((buffer, offset, size)) = &bindings.workspace else {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let descriptor = wgpu::BufferDescriptor { label: Some("tokenpress::workspace"), size: bytes, usage, mapped_at_creation: false };
        return Ok(Some((gpu.device().create_buffer(&descriptor), 0)));
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
    Ok(Some((buffer.clone(), *offset)))
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
    let buffer = gpu.device().create_buffer(&descriptor);
    let device_error = |error: wgpu::MapRangeError| Error::Device { message: error.to_string() };
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
