//! A plan as data, for hosts in other languages.

use std::collections::{BTreeMap, HashMap};

use super::constants::Constants;
use super::lower::lower_graph;
use super::places::{Bound, Buffers, Places, access, bound_bytes, uniforms};
use super::workspace::{PLACEMENT, Workspace, placed_elsewhere};
use crate::device::{Access, Capabilities, Place, Policy, Variant};
use crate::error::Error;
use crate::graph::{Graph, Source};
use crate::tensor::{Desc, TensorId};

/// A plan as data: everything that a host in another language needs to run a graph on WebGPU, and nothing of a device.
///
/// [`Graph::plan_data`] makes it. With the feature `serde` it is serialised with camelCase names, which are WebGPU's where WebGPU has the
/// thing. `web/runner.js` runs it in JavaScript, `examples/export/run.py` in Python.
///
/// A host makes one buffer for each tensor, and `constants`, `workspace` and uniforms. For each of `dispatches` it makes a bind group of
/// group 0: binding 0 has the dispatch's uniforms, and binding `i + 1` has `bindings[i]`. The pipelines need an explicit layout, since a
/// shader may not use all its bindings. Then it dispatches them in order, any number of times.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]
pub struct PlanData {
    /// The version of tokenpress that made it.
    pub tokenpress: String,
    /// Features of WebGPU that the device must have: `shader-f16`, `subgroups`.
    pub features: Vec<String>,
    /// Limits that the device must have. All others are WebGPU's defaults.
    pub limits: LimitsData,
    /// The tensors that the host gives.
    pub inputs: Vec<TensorData>,
    /// The tensors that the host gets.
    pub outputs: Vec<TensorData>,
    /// Words of the constants' buffer.
    pub constants: Vec<u32>,
    /// Bytes of the workspace's buffer. Its contents at first do not matter.
    pub workspace: u64,
    /// The texts, each once.
    pub shaders: Vec<ShaderData>,
    /// The pipelines, each once.
    pub pipelines: Vec<PipelineData>,
    /// In order of execution.
    pub dispatches: Vec<DispatchData>,
}

/// The limits of WebGPU that a plan needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]
pub struct LimitsData {
    /// Bytes of the largest binding.
    pub max_storage_buffer_binding_size: u64,
    /// Bytes of the largest buffer. One buffer may hold the uniforms of all dispatches, each at a multiple of 256 bytes.
    pub max_buffer_size: u64,
    /// The most storage buffers of a shader.
    pub max_storage_buffers_per_shader_stage: u32,
    /// The most workgroups of a dispatch in one dimension.
    pub max_compute_workgroups_per_dimension: u32,
    /// Offsets of bindings are multiples of this many bytes.
    pub min_storage_buffer_offset_alignment: u32,
}

/// An input or an output.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]
pub struct TensorData {
    /// Its name in the graph.
    pub name: String,
    /// `f32`, `f16`, `bf16` or `u32`.
    pub elem: String,
    /// Dimensions, outermost first. The elements lie without gaps, the last dimension's side by side.
    pub shape: Vec<u32>,
    /// Bytes of its buffer: those of its elements in whole words. 0 for a tensor without elements, which needs no buffer.
    pub bytes: u64,
}

/// The text of a shader. Its entry point is `main`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]
pub struct ShaderData {
    /// For people.
    pub label: String,
    /// WGSL.
    pub code: String,
    /// Types of its bindings as a bind group layout has them: `uniform`, `read-only-storage` or `storage`.
    pub bindings: Vec<String>,
}

/// A shader with values for its overrides.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]
pub struct PipelineData {
    /// Index of its shader.
    pub shader: usize,
    /// Values of overrides by name.
    pub constants: BTreeMap<String, u32>,
}

/// One dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]
pub struct DispatchData {
    /// The kernel whose call this is a part of, for people.
    pub kernel: String,
    /// Index of its pipeline.
    pub pipeline: usize,
    /// Workgroups in x and y.
    pub workgroups: [u32; 2],
    /// Words of the uniform buffer of binding 0.
    pub uniforms: Vec<u32>,
    /// Bindings 1, 2, and so on.
    pub bindings: Vec<BindingData>,
}

/// Bytes of a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]
pub struct BindingData {
    /// Which buffer.
    pub buffer: BufferData,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// Which buffer a binding is of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]
pub enum BufferData {
    /// An input or output, by its name.
    Tensor(String),
    /// The constants.
    Constants,
    /// The workspace.
    Workspace,
}

/// Buffers that the host will make: one for each tensor.
struct ByName<'a> {
    tensors: HashMap<TensorId, (&'a str, Desc)>,
}

impl<'a> Buffers for ByName<'a> {
    type Buffer = BufferName<'a>;

    fn view(&self, id: TensorId) -> Option<(BufferName<'a>, u64, u64, u64)> {
        let (name, desc) = *self.tensors.get(&id)?;
        Some((BufferName::Tensor(name), 0, desc.bytes(), desc.bytes().next_multiple_of(4)))
    }

    fn workspace(&self) -> (BufferName<'a>, u64) {
        (BufferName::Workspace, 0)
    }

    fn constants(&self) -> BufferName<'a> {
        BufferName::Constants
    }
}

/// The name of a buffer, not yet owned.
#[derive(PartialEq)]
enum BufferName<'a> {
    Tensor(&'a str),
    Constants,
    Workspace,
}

impl From<&BufferName<'_>> for BufferData {
    fn from(name: &BufferName<'_>) -> Self {
        match name {
            BufferName::Tensor(name) => Self::Tensor((*name).to_owned()),
            BufferName::Constants => Self::Constants,
            BufferName::Workspace => Self::Workspace,
        }
    }
}

/// The shaders and pipelines, each once.
#[derive(Default)]
struct Pipelines {
    shaders: Vec<ShaderData>,
    pipelines: Vec<PipelineData>,
    by_text: HashMap<String, usize>,
    by_variant: HashMap<Variant, usize>,
    subgroups: bool,
    f16: bool,
}

impl Pipelines {
    fn of(&mut self, variant: Variant) -> usize {
        if let Some(&pipeline) = self.by_variant.get(&variant) {
            return pipeline;
        }
        self.subgroups |= variant.form.uses_subgroups();
        self.f16 |= variant.header.is_f16();
        // naga knows no such line, browsers demand it.
        let enable = if variant.form.uses_subgroups() { "enable subgroups;\n" } else { "" };
        let code = format!("{enable}{}", variant.source());
        let shader = *self.by_text.entry(code).or_insert_with_key(|code| {
            let input = if variant.access == Access::Read { "read-only-storage" } else { "storage" };
            let inputs = variant.shader.inputs.iter().map(|_| input);
            let bindings = ["uniform"].into_iter().chain(inputs).chain(variant.shader.outputs.iter().map(|_| "storage"));
            let label = Variant { constants: &[], ..variant }.label();
            self.shaders.push(ShaderData { label, code: code.clone(), bindings: bindings.map(str::to_owned).collect() });
            self.shaders.len() - 1
        });
        let constants = variant.constants.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
        self.pipelines.push(PipelineData { shader, constants });
        self.by_variant.insert(variant, self.pipelines.len() - 1);
        self.pipelines.len() - 1
    }
}

impl Graph {
    /// A plan as data for devices with these capabilities, made without one. [`Capabilities::portable`] is what WebGPU promises
    /// everywhere. [`PlanData`] says what a host does with it.
    ///
    /// Each input and output lies alone in a buffer, from its first byte. Under [`Policy::POOLED`](crate::Policy::POOLED) the host may put
    /// several into one, each at a multiple of 256 bytes: it adds the tensor's place to `offset` of each of its bindings. Forms with
    /// cooperative matrices and textures are left out: WebGPU has none of the first, and the second are objects of a device.
    ///
    /// ```
    /// use tokenpress::{Capabilities, Elem, Graph, Policy};
    /// use tokenpress::kernels::{TopK, TopKInputs};
    ///
    /// let mut graph = Graph::new();
    /// let scores = graph.input("scores", [1, 197], Elem::F32);
    /// let kept = TopK { k: 64, ..TopK::default() }.build(&mut graph, TopKInputs::new(scores))?;
    /// graph.output("kept", kept.indices)?;
    /// let plan = graph.plan_data(&Capabilities::portable(), Policy::AUTO)?;
    /// assert_eq!(plan.outputs[0].shape, [1, 64]);
    /// assert!(plan.features.is_empty() && plan.limits.max_buffer_size < 1 << 20);
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::DuplicateName`] if two tensors have one name.
    /// - [`Error::BindingTooLarge`], [`Error::WorkspaceTooLarge`] and [`Error::TooManyGroups`] for what exceeds the capabilities.
    pub fn plan_data(&self, capabilities: &Capabilities, policy: Policy) -> Result<PlanData, Error> {
        self.check_names(std::iter::empty())?;
        let capabilities = &Capabilities { cooperative_matrix: None, backend: wgpu::Backend::BrowserWebGpu, ..capabilities.clone() };
        let program = lower_graph(self, capabilities, policy, &|_| Place::default())?;
        let layout = Workspace::layout(&program, placed_elsewhere(self));
        if layout.bytes > capabilities.max_buffer {
            return Err(Error::WorkspaceTooLarge { bytes: layout.bytes, limit: capabilities.max_buffer });
        }
        let constants_layout = Constants::layout(self, &program, capabilities.max_buffer)?;
        let mut constants = vec![0u32; (constants_layout.bytes / 4) as usize];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut constants);
        constants_layout.write(self, |place, piece| bytes[place..place + piece.len()].copy_from_slice(piece));

        let inputs = self.sources().iter().enumerate().filter_map(|(index, source)| match source {
            Source::Input(name) => Some((TensorId(index as u32), (name.as_str(), self.descs()[index]))),
            _ => None,
        });
        let outputs = self.output_tensors().iter().map(|(name, tensor)| (tensor.id(), (name.as_str(), tensor.desc())));
        let buffers = ByName { tensors: inputs.chain(outputs).collect() };
        let places = Places { graph: self, layout: &layout, constant_offsets: &constants_layout.offsets };
        let alignment = u64::from(capabilities.storage_alignment);
        let mut pipelines = Pipelines::default();
        let mut dispatches = Vec::with_capacity(program.dispatches.len());
        for dispatch in &program.dispatches {
            let placed = places.of(dispatch, &buffers);
            let binding = |bound: &Bound<BufferName<'_>>| match bound {
                Bound::Buffer(buffer, range) => {
                    let (offset, size) = bound_bytes(range, alignment, capabilities.max_binding);
                    Some(BindingData { buffer: buffer.into(), offset, size })
                }
                Bound::Texture(_) => None,
            };
            dispatches.push(DispatchData {
                kernel: self.nodes()[dispatch.node].kernel.name().to_owned(),
                pipeline: pipelines.of(dispatch.variant(access(policy, dispatch, &placed))),
                workgroups: dispatch.groups,
                uniforms: uniforms(dispatch, &placed, alignment),
                bindings: placed.iter().filter_map(binding).collect(),
            });
        }

        let tensor = |(name, desc): (&str, Desc)| TensorData {
            name: name.to_owned(),
            elem: desc.elem.to_string(),
            shape: desc.shape.dims().to_vec(),
            bytes: desc.bytes().next_multiple_of(4),
        };
        let (inputs, outputs): (Vec<_>, Vec<_>) = (self.inputs().map(tensor).collect(), self.outputs().map(tensor).collect());
        let bindings = || dispatches.iter().flat_map(|dispatch| &dispatch.bindings);
        let uniforms = dispatches.iter().map(|d| (4 * d.uniforms.len() as u64).next_multiple_of(PLACEMENT)).sum();
        let buffers = inputs.iter().chain(&outputs).map(|tensor| tensor.bytes).chain([layout.bytes, constants_layout.bytes, uniforms]);
        let limits = LimitsData {
            max_storage_buffer_binding_size: bindings().map(|binding| binding.size).max().unwrap_or(0),
            max_buffer_size: buffers.max().unwrap_or(0),
            max_storage_buffers_per_shader_stage: dispatches.iter().map(|d| d.bindings.len()).max().unwrap_or(0) as u32,
            max_compute_workgroups_per_dimension: dispatches.iter().flat_map(|d| d.workgroups).max().unwrap_or(0),
            min_storage_buffer_offset_alignment: capabilities.storage_alignment,
        };
        let features = [(pipelines.f16, "shader-f16"), (pipelines.subgroups, "subgroups")];
        Ok(PlanData {
            tokenpress: env!("CARGO_PKG_VERSION").to_owned(),
            features: features.into_iter().filter(|(needed, _)| *needed).map(|(_, name)| name.to_owned()).collect(),
            limits,
            inputs,
            outputs,
            constants,
            workspace: layout.bytes,
            shaders: pipelines.shaders,
            pipelines: pipelines.pipelines,
            dispatches,
        })
    }
}
