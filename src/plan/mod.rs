//! A graph on a device: validated, bound, recordable.

mod bindings;
mod constants;
mod cost;
mod data;
mod graph;
pub(crate) mod lower;
mod places;
mod workspace;

pub use bindings::Bindings;
pub use cost::{Cost, Rates, StepCost};
pub use data::{BindingData, BufferData, DispatchData, LimitsData, PipelineData, PlanData, ShaderData, TensorData};

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use self::bindings::{BoundTexture, Externals};
use self::constants::{Constants, constants_buffer, immutable_buffer};
use self::lower::lower_graph;
use self::places::{Bound, Buffers, Places, access, bound_bytes, uniforms};
use self::workspace::{Memory, PLACEMENT, Workspace, placed_elsewhere, workspace_buffer};
use crate::device::{Access, Dispatch, Gpu, Pipeline, Place, checked, present};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::TensorId;

/// A dispatch with its pipeline and its bytes of the uniform buffer.
struct Step {
    dispatch: Dispatch,
    access: Access,
    pipeline: Pipeline,
    uniforms: Range<u64>,
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
    /// Where each bound tensor lies, its address modulo the storage alignment.
    residues: HashMap<TensorId, Place>,
}

/// Dispatches bound to buffers, ready to be recorded any number of times.
///
/// Recording allocates nothing, submits nothing, and cannot fail: [`Graph::plan`] has checked pipelines and bindings. If a buffer is
/// destroyed or mapped later, or the device is lost, wgpu reports it when the commands are submitted. `Send + Sync` on native.
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

    /// Records every dispatch into a new pass of the caller's encoder. The pass has a label, and the caller's timestamps.
    pub fn record_into(&self, encoder: &mut wgpu::CommandEncoder, timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>) {
        let descriptor = wgpu::ComputePassDescriptor { label: Some("tokenpress"), timestamp_writes };
        self.record(&mut encoder.begin_compute_pass(&descriptor));
    }

    /// The names of the kernel calls, in order; [`Plan::record_call`] takes an index into this list. A call that no output needs is here
    /// too, but has no dispatches.
    pub fn calls(&self) -> &[&'static str] {
        &self.shared.kernels
    }

    /// Records the dispatches of a range of kernel calls, so that the caller's own dispatches can run between two parts of a graph.
    ///
    /// Ask [`Graph::calls`] before and after you add a part: the two numbers are its range. The workspace keeps its contents between the
    /// parts. Record all of them, in order: together they do what [`Plan::record`] does. The first part begins at 0.
    pub fn record_calls(&self, calls: Range<usize>, pass: &mut wgpu::ComputePass<'_>) {
        let steps = &self.shared.steps;
        let first = steps.partition_point(|s| s.dispatch.node < calls.start);
        let last = steps.partition_point(|s| s.dispatch.node < calls.end);
        self.record_steps(first..last.max(first), pass);
    }

    /// Records the dispatches of one kernel call. A caller can time each call in a pass of its own.
    pub fn record_call(&self, call: usize, pass: &mut wgpu::ComputePass<'_>) {
        self.record_calls(call..call.saturating_add(1), pass);
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

    /// Bytes of constants that the plan has uploaded: tables, lists of indices, and the constants that the graph was given. Constants that
    /// repeat one number, or count in equal steps, share the longest of them.
    pub fn constants_size(&self) -> u64 {
        self.shared.constants.as_ref().map_or(0, wgpu::Buffer::size)
    }

    /// The same plan over other buffers. The workspace stays, unless `bindings` brings one.
    ///
    /// This makes only bind groups, which is cheap, if two things hold:
    ///
    /// - Each view's offset has the same remainder modulo the storage alignment as before, and the view has the same strides. Each texture
    ///   has the same size, and the same format if it is written.
    /// - Views share a buffer only where they did before. Under [`Policy::POOLED`](crate::Policy::POOLED) they may or may not.
    ///
    /// Otherwise the graph is planned anew, with the pipelines that are there. Uniforms and constants are uploaded again. A kernel may take
    /// another variant, which needs its pipeline. A workspace of the plan's own that is too small is replaced.
    ///
    /// # Errors
    /// [`Error::ForeignDevice`] for another device's `gpu`, and those of [`Graph::plan`].
    pub fn rebind(&self, gpu: &Gpu, bindings: &Bindings) -> Result<Self, Error> {
        let shared = &self.shared;
        if *gpu.device() != shared.device {
            return Err(Error::ForeignDevice { argument: "rebind: gpu" });
        }
        let externals = Externals::resolve(&shared.graph, bindings)?;
        if externals.residues(gpu) == shared.residues {
            let workspace = workspace_buffer(gpu, bindings, shared.layout.bytes, self.workspace.as_ref())?;
            if let Some(groups) = bind_groups(gpu, shared, &externals, &workspace)? {
                return Ok(Self { shared: shared.clone(), groups, workspace });
            }
        }
        make(&shared.graph, gpu, bindings, self.workspace.as_ref())
    }
}

/// Makes a plan. `kept` is its workspace if the bindings bring none.
fn make(graph: &Graph, gpu: &Gpu, bindings: &Bindings, kept: Option<&Memory>) -> Result<Plan, Error> {
    let capabilities = gpu.capabilities();
    let externals = Externals::resolve(graph, bindings)?;
    let program = lower_graph(graph, capabilities, gpu.policy(), &|id| externals.place(id))?;
    let layout = Workspace::layout(&program, placed_elsewhere(graph));
    if layout.bytes > capabilities.max_buffer {
        return Err(Error::WorkspaceTooLarge { bytes: layout.bytes, limit: capabilities.max_buffer });
    }
    let constants_layout = Constants::layout(graph, &program, capabilities.max_buffer)?;
    let constants = constants_buffer(graph, gpu, &constants_layout)?;
    let workspace = workspace_buffer(gpu, bindings, layout.bytes, kept)?;
    let residues = externals.residues(gpu);

    let mut uniform_bytes: Vec<u8> = Vec::new();
    let mut steps = Vec::new();
    let places = Places { graph, layout: &layout, constant_offsets: &constants_layout.offsets };
    let buffers = OnDevice { externals: &externals, workspace: &workspace, constants: &constants };
    for dispatch in program.dispatches {
        let placed = places.of(&dispatch, &buffers);
        let access = access(gpu.policy(), &dispatch, &placed);
        let kernel = graph.nodes()[dispatch.node].kernel.name();
        let pipeline = gpu.pipeline(kernel, &dispatch.variant(access))?;
        let first = uniform_bytes.len().next_multiple_of(PLACEMENT as usize);
        uniform_bytes.resize(first, 0);
        let words = uniforms(&dispatch, &placed, u64::from(capabilities.storage_alignment));
        uniform_bytes.extend_from_slice(bytemuck::cast_slice(&words));
        steps.push(Step { dispatch, access, pipeline, uniforms: first as u64..uniform_bytes.len() as u64 });
    }
    let write = |memory: &mut wgpu::BufferViewMut| memory.copy_from_slice(&uniform_bytes);
    let uniforms = immutable_buffer(gpu, "tokenpress::uniforms", wgpu::BufferUsages::UNIFORM, uniform_bytes.len() as u64, write)?;
    let kernels = graph.nodes().iter().map(|n| n.kernel.name()).collect();
    let device = gpu.device().clone();
    let shared = Shared {
        device,
        graph: graph.clone(),
        kernels,
        steps,
        layout,
        uniforms,
        constants,
        constant_offsets: constants_layout.offsets,
        residues,
    };
    // Each step has the access that its buffers ask for.
    let groups = bind_groups(gpu, &shared, &externals, &workspace)?.unwrap_or_default();
    Ok(Plan { shared: Arc::new(shared), groups, workspace })
}

/// The buffers on the device.
struct OnDevice<'a> {
    externals: &'a Externals<'a>,
    workspace: &'a Option<Memory>,
    constants: &'a Option<wgpu::Buffer>,
}

impl<'a> Buffers for OnDevice<'a> {
    type Buffer = &'a wgpu::Buffer;

    fn view(&self, id: TensorId) -> Option<(&'a wgpu::Buffer, u64, u64, u64)> {
        let view = self.externals.views.get(&id)?;
        Some((view.buffer(), view.offset(), view.bytes(), view.range().end))
    }

    fn is_texture(&self, id: TensorId) -> bool {
        self.externals.textures.contains_key(&id)
    }

    fn workspace(&self) -> (&'a wgpu::Buffer, u64) {
        self.workspace.as_ref().map(|memory| (&memory.buffer, memory.offset)).expect("a plan with placed tensors has a workspace")
    }

    fn constants(&self) -> &'a wgpu::Buffer {
        self.constants.as_ref().expect("a plan with constants has their buffer")
    }
}

/// A bind group for each step. `None` if a step now reads and writes one buffer, and its pipeline does not allow that.
fn bind_groups(
    gpu: &Gpu,
    shared: &Shared,
    externals: &Externals<'_>,
    workspace: &Option<Memory>,
) -> Result<Option<Vec<wgpu::BindGroup>>, Error> {
    let alignment = u64::from(gpu.capabilities().storage_alignment);
    let places = Places { graph: &shared.graph, layout: &shared.layout, constant_offsets: &shared.constant_offsets };
    let buffers = OnDevice { externals, workspace, constants: &shared.constants };
    let make = || {
        let mut groups = Vec::with_capacity(shared.steps.len());
        for step in &shared.steps {
            let dispatch = &step.dispatch;
            let placed = places.of(dispatch, &buffers);
            if access(gpu.policy(), dispatch, &placed) == Access::ReadWrite && step.access == Access::Read {
                return Ok(None);
            }
            let uniforms = shared.uniforms.as_ref().expect("a plan with dispatches has uniforms");
            let texture = |bound: &Bound<_>| match bound {
                Bound::Buffer(..) => None,
                Bound::Texture(id) => externals.textures.get(id).map(BoundTexture::create),
            };
            let textures: Vec<_> = placed.iter().map(texture).collect();
            let mut entries = vec![entry(0, uniforms, step.uniforms.start, step.uniforms.end - step.uniforms.start)];
            let mut bound_ranges: Vec<(&str, &wgpu::Buffer, Range<u64>, bool)> = Vec::new();
            for (index, ((name, elem), bound)) in dispatch.shader.bindings().zip(&placed).enumerate() {
                if let Some(view) = &textures[index] {
                    let resource = wgpu::BindingResource::TextureView(view);
                    entries.push(wgpu::BindGroupEntry { binding: index as u32 + 1, resource });
                }
                let Bound::Buffer(buffer, range) = bound else { continue };
                let (start, size) = bound_bytes(range, alignment, gpu.capabilities().max_binding);
                let least = elem.size(dispatch.header);
                if size < least {
                    let (kernel, shader) = (shared.kernels[dispatch.node], dispatch.variant(step.access).label());
                    return Err(Error::Shader {
                        kernel,
                        shader,
                        reason: format!("{name} is bound to {size} bytes, one element has {least}"),
                    });
                }
                let written = index >= dispatch.shader.inputs.len() || step.access == Access::ReadWrite;
                if gpu.capabilities().backend == wgpu::Backend::BrowserWebGpu {
                    let range = start..start + size;
                    let clash = bound_ranges.iter().find(|(_, other, others, or_written)| {
                        *other == *buffer && (written || *or_written) && bindings::overlaps(others, &range)
                    });
                    if let Some((first, _, first_range, _)) = clash {
                        let kernel = shared.kernels[dispatch.node];
                        let named = |name: &str| format!("{kernel}: {name}");
                        return Err(Error::Aliasing {
                            first: named(first),
                            first_range: first_range.clone(),
                            second: named(name),
                            second_range: range,
                        });
                    }
                    bound_ranges.push((name, buffer, range, written));
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

/// The first tensor, by name, whose buffer or texture the device does not bind; the workspace comes last.
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
    let views = |texture: &BoundTexture<'_>| checked(gpu.device(), String::new, || Ok(texture.create())).is_ok();
    let texture = externals.textures.iter().filter(|(_, texture)| !views(texture)).map(|(id, _)| externals.name(*id)).min();
    let buffer = tensors.into_iter().chain(workspace).find(|(_, buffer)| buffer.size() >= 4 && !binds(buffer)).map(|(name, _)| name);
    texture.or(buffer)
}
