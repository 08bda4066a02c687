//! Joins shader text, and makes each pipeline once.
//!
//! Four things vary, each by one mechanism: sizes by WGSL `override`, the element type by a header,
//! portable or subgroup by which `common/*.wgsl` is prepended, `read` or `read_write` inputs by one text
//! replacement.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use super::checked::{checked, present};
use super::{Gpu, MatrixSize};
use crate::error::Error;
use crate::tensor::Elem;

/// Declares a shader's parameters once: the Rust struct, and the names that the WGSL `Params` must have.
macro_rules! params {
    ($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
        struct $name { $($(#[$field_meta])* $field: $type),* }
        impl $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];
        }
    };
}
pub(crate) use params;

macro_rules! scalars {
    () => {
        "alias elem_f32 = f32;\nalias elem_u32 = u32;\nfn elem_dot(a: elem_f32, b: elem_f32) -> f32 { return a * b; }\n\
         fn elem_of(v: vec4<f32>) -> elem_f32 { return v.x; }\n\
         const ELEM_WIDTH = 1u;\nfn elem_number(e: elem_f32, i: u32) -> f32 { return e; }\n"
    };
}

macro_rules! vectors {
    () => {
        "alias elem_f32 = vec4<f32>;\nalias elem_u32 = vec4<u32>;\nfn elem_dot(a: elem_f32, b: elem_f32) -> f32 { return dot(a, b); }\n\
         fn elem_of(v: vec4<f32>) -> elem_f32 { return v; }\n\
         const ELEM_WIDTH = 4u;\nfn elem_number(e: elem_f32, i: u32) -> f32 { return e[i]; }\n"
    };
}

/// What `elem` is in a shader: the first text of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Header {
    /// `alias elem = f32`
    F32,
    /// `enable f16; alias elem = f16`
    F16,
    /// `alias elem = u32`: integers, or any 4 bytes in a copy.
    U32,
    /// `alias elem = vec4<u32>`: any 16 bytes in a copy.
    Words,
    /// `alias elem = vec4<f32>`: rows of a multiple of four f32, at a 16-byte alignment.
    F32x4,
    /// `enable f16; alias elem = vec4<f16>`: rows of a multiple of four f16, at an 8-byte alignment.
    F16x4,
}

impl Header {
    /// The header of a float tensor's own element type.
    pub fn of(elem: Elem) -> Self {
        match elem {
            Elem::F32 => Self::F32,
            Elem::F16 => Self::F16,
            Elem::U32 => Self::U32,
        }
    }

    /// Four floats at a time where rows of `channels` at this alignment allow it, and one otherwise: for shaders that do the same with each
    /// channel. Those that add over channels take [`Lowering::vectors`](super::Lowering::vectors).
    pub fn vector(elem: Elem, channels: u64, alignment: u64) -> Self {
        match (Self::of(elem), channels.is_multiple_of(4) && alignment.is_multiple_of(4 * elem.size())) {
            (Self::F32, true) => Self::F32x4,
            (Self::F16, true) => Self::F16x4,
            (scalar, _) => scalar,
        }
    }

    /// The widest header under which rows of `row_bytes` can be copied from and to these alignments.
    pub fn copy(row_bytes: u64, alignment: u64) -> Self {
        match [16, 4].into_iter().find(|w| row_bytes.is_multiple_of(*w) && alignment.is_multiple_of(*w)) {
            Some(16) => Self::Words,
            Some(_) => Self::U32,
            None => Self::F16,
        }
    }

    /// Bytes of one `elem`.
    pub const fn size(self) -> u64 {
        match self {
            Self::F16 => 2,
            Self::F32 | Self::U32 => 4,
            Self::F16x4 => 8,
            Self::Words | Self::F32x4 => 16,
        }
    }

    /// Numbers in one `elem`.
    pub const fn width(self) -> u32 {
        match self {
            Self::F32 | Self::F16 | Self::U32 => 1,
            Self::Words | Self::F32x4 | Self::F16x4 => 4,
        }
    }

    /// Whether it needs `SHADER_F16`.
    pub const fn is_f16(self) -> bool {
        matches!(self, Self::F16 | Self::F16x4)
    }

    /// Floats also have one of their numbers, their own width in f32 and u32, an inner product, and a way back from four numbers, so that
    /// one text serves scalars and vectors.
    const fn text(self) -> &'static str {
        match self {
            Self::F32 => concat!("alias elem = f32;\nalias elem_scalar = f32;\n", scalars!()),
            Self::F16 => concat!("enable f16;\nalias elem = f16;\nalias elem_scalar = f16;\n", scalars!()),
            Self::F32x4 => concat!("alias elem = vec4<f32>;\nalias elem_scalar = f32;\n", vectors!()),
            Self::F16x4 => concat!("enable f16;\nalias elem = vec4<f16>;\nalias elem_scalar = f16;\n", vectors!()),
            Self::U32 => "alias elem = u32;\n",
            Self::Words => "alias elem = vec4<u32>;\n",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::U32 => "u32",
            Self::Words => "words",
            Self::F32x4 => "f32x4",
            Self::F16x4 => "f16x4",
        }
    }
}

/// Element type of one binding of a shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingElem {
    /// The header's `elem`.
    Elem,
    /// One number of the header's `elem`, which several are read at a time of elsewhere: `elem_scalar`.
    Scalar,
    /// f32, as many as the header's `elem` has numbers: `elem_f32`.
    ElemF32,
    /// Always `f32`.
    F32,
    /// Always four f32: `vec4<f32>`.
    F32x4,
    /// Always `u32`.
    U32,
    /// Always `atomic<u32>`.
    AtomicU32,
}

impl BindingElem {
    pub(crate) const fn size(self, header: Header) -> u64 {
        match self {
            Self::Elem => header.size(),
            Self::Scalar => header.size() / header.width() as u64,
            Self::ElemF32 => 4 * header.width() as u64,
            Self::F32 | Self::U32 | Self::AtomicU32 => 4,
            Self::F32x4 => 16,
        }
    }
}

/// Shared text that a shader asks for besides the grid helpers, which all get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// `common/activation.wgsl`: what follows a layer.
    Activation,
    /// `common/order.wgsl`: floats as integers in the crate's total order.
    Order,
    /// `common/elem_order.wgsl`: the same of each channel of an `elem`, behind [`Include::Order`].
    ElemOrder,
    /// `common/attention_bases.wgsl`: where the queries and keys of `attention_score` begin.
    AttentionBases,
    /// `common/attention_sums.wgsl`: the sum of the exponentials of stored logits, behind [`Include::Reduce`] and [`Include::Softmax`].
    AttentionSums,
    /// `common/attention_rows.wgsl`: which query rows `attention_score` reads, and what they see.
    AttentionRows,
    /// `common/attention_columns.wgsl`: the entry point of its passes over columns.
    AttentionColumns,
    /// `common/attention_place.wgsl`: where a workgroup of its wide passes is, behind [`Include::AttentionRows`].
    AttentionPlace,
    /// `common/attention_tile.wgsl`: rows and columns of the wide passes, behind the bases, the place and before [`Include::Tile`].
    AttentionTile,
    /// `common/distance.wgsl`: squared distances of rows.
    Distance,
    /// `common/kept_logits.wgsl`: where `attention_score` keeps logits, behind the place.
    KeptLogits,
    /// `common/reduce.wgsl` or its subgroup twin: sums, maxima and scans over a workgroup.
    Reduce,
    /// `common/row_facts.wgsl`, and its portable form or that for subgroups of eight: what is known of an [`Include::Tile`]'s rows besides their elems.
    RowFacts,
    /// `common/shared_rows.wgsl` or its twin for subgroups of eight: what the invocations of one [`Include::Tile`]'s rows tell each other.
    SharedRows,
    /// `common/softmax.wgsl`: logits that saturate, and what stands for those that are no numbers.
    Softmax,
    /// `common/sort.wgsl`: a sort in workgroup memory.
    Sort,
    /// `common/tile.wgsl`, and its portable form or that for subgroups of eight: tiles of dot products, behind [`Include::TileLanes`].
    Tile,
    /// `common/tile_lanes.wgsl` or its twin for subgroups of eight: which rows and columns of a tile are whose.
    TileLanes,
    /// `common/wide.wgsl`: whole numbers of 64 bits.
    Wide,
    /// `common/window.wgsl`: a window that slides over a grid of tokens.
    Window,
}

/// Whether a module's inputs are declared `read` or `read_write`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`: for a dispatch that reads and writes ranges of one buffer, because wgpu
    /// tracks usage by buffer and not by range.
    ReadWrite,
}

/// Which of the texts of `common/*.wgsl` a shader gets where there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Runs everywhere.
    Portable,
    /// Operations of subgroups; of exactly eight invocations where tiles of products are made.
    Subgroup,
    /// Tiles of products by cooperative matrices of 8 x 8.
    Cooperative8,
    /// Tiles of products by cooperative matrices of 16 x 16.
    Cooperative16,
}

impl Form {
    /// The form with cooperative matrices of a size.
    pub(crate) const fn cooperative(size: MatrixSize) -> Self {
        match size {
            MatrixSize::Eight => Self::Cooperative8,
            MatrixSize::Sixteen => Self::Cooperative16,
        }
    }

    /// Whether it uses cooperative matrices.
    pub const fn is_cooperative(self) -> bool {
        matches!(self, Self::Cooperative8 | Self::Cooperative16)
    }

    /// Whether it asks which subgroup an invocation is in.
    pub const fn uses_subgroups(self) -> bool {
        !matches!(self, Self::Portable)
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Portable => "",
            Self::Subgroup => ".subgroup",
            Self::Cooperative8 => ".cooperative_8",
            Self::Cooperative16 => ".cooperative_16",
        }
    }
}

/// One WGSL file of the crate and what the host must know of it.
///
/// Binding 0 is the uniform `params`; inputs follow, then outputs, in this order. `Params` starts with one
/// `u32` for each binding, `<name>_base`: the index of the tensor's first element in the binding.
pub struct Shader {
    /// `kernel` or `kernel.pass`, the file's stem.
    pub name: &'static str,
    /// The file.
    pub source: &'static str,
    /// Shared text besides the grid helpers.
    pub includes: &'static [Include],
    /// The headers under which it is used.
    pub headers: &'static [Header],
    /// Storage bindings that are only read; declared `read` in the file, unless none of its dispatches can have them so.
    pub inputs: &'static [(&'static str, BindingElem)],
    /// Storage bindings that are written.
    pub outputs: &'static [(&'static str, BindingElem)],
    /// Fields of `Params` behind the bases.
    pub params: &'static [&'static str],
    /// Sets of `override` values under which it is used; `&[&[]]` where it has none.
    pub tunings: &'static [&'static [(&'static str, u32)]],
}

/// Its name: the text is in `source`.
impl fmt::Debug for Shader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shader({})", self.name)
    }
}

impl Shader {
    /// Every variant under which the crate may use this shader.
    pub fn variants(&'static self) -> Vec<Variant> {
        let mut all = Vec::new();
        for &header in self.headers {
            for form in [Form::Portable, Form::Subgroup, Form::Cooperative8, Form::Cooperative16] {
                for access in [Access::Read, Access::ReadWrite] {
                    for &constants in self.tunings {
                        if self.has_form(form, header) && self.has_access(access) {
                            all.push(Variant { shader: self, header, form, access, constants });
                        }
                    }
                }
            }
        }
        all
    }

    /// Whether there is this form of it under this header. Matrices are of f16, which loses nothing only where the tensors are.
    pub(crate) fn has_form(&self, form: Form, header: Header) -> bool {
        match form {
            Form::Portable => true,
            Form::Subgroup => self.has_subgroup_form(),
            Form::Cooperative8 | Form::Cooperative16 => self.makes_tiles() && header.is_f16(),
        }
    }

    /// Whether its inputs may be declared so. What only ever passes from memory of the plan to memory of the plan is `read_write` in the text.
    pub(crate) fn has_access(&self, access: Access) -> bool {
        access == Access::ReadWrite || self.inputs.is_empty() || self.source.contains(READ)
    }

    pub(crate) fn has_subgroup_form(&self) -> bool {
        self.includes.contains(&Include::Reduce) || self.needs_subgroups_of_eight()
    }

    /// Whether it makes tiles of products.
    pub(crate) fn makes_tiles(&self) -> bool {
        self.includes.contains(&Include::Tile)
    }

    /// Whether its subgroup form is for subgroups of exactly eight invocations.
    pub(crate) fn needs_subgroups_of_eight(&self) -> bool {
        self.includes.contains(&Include::TileLanes)
    }

    /// Whether it makes the same pipelines: shaders of an application's own may have one name.
    fn is(&self, other: &Self) -> bool {
        let module = |s: &Self| (s.name, s.source, s.includes, s.inputs, s.outputs, s.params);
        std::ptr::eq(self, other) || module(self) == module(other)
    }

    pub(crate) fn bindings(&self) -> impl Iterator<Item = &(&'static str, BindingElem)> {
        self.inputs.iter().chain(self.outputs)
    }
}

/// One text of a shader and the values of its overrides: what a pipeline is made from.
#[derive(Clone, Copy)]
pub struct Variant {
    /// The file.
    pub shader: &'static Shader,
    /// What `elem` is.
    pub header: Header,
    /// Which shared text it gets.
    pub form: Form,
    /// How inputs are declared.
    pub access: Access,
    /// Values of `override`s that differ from the file's defaults.
    pub constants: &'static [(&'static str, u32)],
}

/// Its label.
impl fmt::Debug for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variant({})", self.label())
    }
}

impl PartialEq for Variant {
    fn eq(&self, other: &Self) -> bool {
        self.shader.is(other.shader)
            && (self.header, self.form, self.access, self.constants) == (other.header, other.form, other.access, other.constants)
    }
}

impl Eq for Variant {}

impl Hash for Variant {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.shader.name, self.header, self.form, self.access, self.constants).hash(state);
    }
}

/// The one spelling of a read-only storage binding in the shaders.
const READ: &str = "var<storage, read>";

impl Variant {
    /// The complete WGSL text, with an entry point named `main`.
    pub fn source(&self) -> String {
        let mut text = String::new();
        if self.form.is_cooperative() {
            text += "enable wgpu_cooperative_matrix;\n";
        }
        if self.form == Form::Subgroup && self.shader.needs_subgroups_of_eight() {
            // What depends on the number of a subgroup is the same for all of it, which Tint does not see through the struct `Lane`.
            text += "diagnostic(off, subgroup_uniformity);\n";
        }
        text += self.header.text();
        text += if self.form.uses_subgroups() {
            include_str!("../../shaders/common/grid_subgroup.wgsl")
        } else {
            include_str!("../../shaders/common/grid.wgsl")
        };
        for include in self.shader.includes {
            text += match (include, self.form) {
                (Include::Activation, _) => include_str!("../../shaders/common/activation.wgsl"),
                (Include::AttentionBases, _) => include_str!("../../shaders/common/attention_bases.wgsl"),
                (Include::AttentionSums, _) => include_str!("../../shaders/common/attention_sums.wgsl"),
                (Include::AttentionRows, _) => include_str!("../../shaders/common/attention_rows.wgsl"),
                (Include::AttentionColumns, _) => include_str!("../../shaders/common/attention_columns.wgsl"),
                (Include::AttentionPlace, _) => include_str!("../../shaders/common/attention_place.wgsl"),
                (Include::AttentionTile, _) => include_str!("../../shaders/common/attention_tile.wgsl"),
                (Include::ElemOrder, _) => include_str!("../../shaders/common/elem_order.wgsl"),
                (Include::Distance, _) => include_str!("../../shaders/common/distance.wgsl"),
                (Include::KeptLogits, _) => include_str!("../../shaders/common/kept_logits.wgsl"),
                (Include::Order, _) => include_str!("../../shaders/common/order.wgsl"),
                (Include::Reduce, Form::Subgroup) => include_str!("../../shaders/common/reduce_subgroup.wgsl"),
                (Include::Reduce, _) => include_str!("../../shaders/common/reduce.wgsl"),
                (Include::RowFacts, Form::Subgroup) => {
                    concat!(
                        include_str!("../../shaders/common/row_facts.wgsl"),
                        include_str!("../../shaders/common/row_facts_subgroup.wgsl")
                    )
                }
                (Include::RowFacts, _) => {
                    concat!(
                        include_str!("../../shaders/common/row_facts.wgsl"),
                        include_str!("../../shaders/common/row_facts_portable.wgsl")
                    )
                }
                (Include::SharedRows, Form::Subgroup) => include_str!("../../shaders/common/shared_rows_subgroup.wgsl"),
                (Include::SharedRows, _) => include_str!("../../shaders/common/shared_rows.wgsl"),
                (Include::Softmax, _) => include_str!("../../shaders/common/softmax.wgsl"),
                (Include::Sort, _) => include_str!("../../shaders/common/sort.wgsl"),
                (Include::Tile, Form::Portable) => {
                    concat!(include_str!("../../shaders/common/tile.wgsl"), include_str!("../../shaders/common/tile_portable.wgsl"))
                }
                (Include::Tile, Form::Subgroup) => {
                    concat!(include_str!("../../shaders/common/tile.wgsl"), include_str!("../../shaders/common/tile_subgroup.wgsl"))
                }
                (Include::Tile, Form::Cooperative8) => concat!(
                    include_str!("../../shaders/common/tile.wgsl"),
                    include_str!("../../shaders/common/tile_cooperative.wgsl"),
                    include_str!("../../shaders/common/tile_cooperative_8.wgsl"),
                ),
                (Include::Tile, Form::Cooperative16) => concat!(
                    include_str!("../../shaders/common/tile.wgsl"),
                    include_str!("../../shaders/common/tile_cooperative.wgsl"),
                    include_str!("../../shaders/common/tile_cooperative_16.wgsl"),
                ),
                (Include::TileLanes, Form::Subgroup) => include_str!("../../shaders/common/tile_lanes_subgroup.wgsl"),
                (Include::TileLanes, _) => include_str!("../../shaders/common/tile_lanes.wgsl"),
                (Include::Wide, _) => include_str!("../../shaders/common/wide.wgsl"),
                (Include::Window, _) => include_str!("../../shaders/common/window.wgsl"),
            };
        }
        match self.access {
            Access::Read => text += self.shader.source,
            Access::ReadWrite => text += &self.shader.source.replace(READ, "var<storage, read_write>"),
        }
        text
    }

    /// The variant's name, as labels and tests show it: `top_k.select.f16.subgroup.read_write`.
    pub fn label(&self) -> String {
        let mut label = format!("{}.{}", self.shader.name, self.header.name());
        label += self.form.suffix();
        if self.access == Access::ReadWrite {
            label += ".read_write";
        }
        for (name, value) in self.constants {
            label += &format!(".{name}={value}");
        }
        label
    }
}

/// A compiled variant.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

/// Pipelines of one device, by variant.
pub(crate) struct Pipelines {
    made: Mutex<HashMap<Variant, Pipeline>>,
    cache: Option<wgpu::PipelineCache>,
}

/// How many there are.
impl fmt::Debug for Pipelines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pipelines").field(&self.made.lock().unwrap_or_else(PoisonError::into_inner).len()).finish()
    }
}

impl Pipelines {
    pub(crate) fn new(cache: Option<wgpu::PipelineCache>) -> Self {
        Self { made: Mutex::default(), cache }
    }

    /// The pipeline of a variant, compiled on first use; `kernel` is who needs it.
    pub(crate) fn get(&self, gpu: &Gpu, kernel: &'static str, variant: &Variant) -> Result<Pipeline, Error> {
        if variant.header.is_f16() && !gpu.capabilities().f16 {
            return Err(Error::MissingFeature { kernel, feature: "SHADER_F16" });
        }
        if variant.form.is_cooperative() && gpu.capabilities().cooperative_form() != Some(variant.form) {
            return Err(Error::MissingFeature { kernel, feature: "EXPERIMENTAL_COOPERATIVE_MATRIX" });
        }
        if variant.form.uses_subgroups() && !gpu.capabilities().subgroups {
            return Err(Error::MissingFeature { kernel, feature: "SUBGROUP" });
        }
        if let Some(made) = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(variant) {
            return Ok(made.clone());
        }
        // The lock is not held here, so that threads compile in parallel; a variant made twice is the same.
        let made = compile(gpu.device(), kernel, variant, self.cache.as_ref())?;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(*variant, made.clone());
        Ok(made)
    }
}

fn compile(device: &wgpu::Device, kernel: &'static str, variant: &Variant, cache: Option<&wgpu::PipelineCache>) -> Result<Pipeline, Error> {
    let name = variant.label();
    log::debug!("compiling {name}");
    let wrong = |reason| Error::Shader { kernel, shader: name.clone(), reason };
    // What the device says of a shader is about the shader, unless it has no memory for it.
    let of_shader = |error| match error {
        Error::Device { message } => wrong(message),
        error => error,
    };
    let source = variant.source();
    // Only where wgpu brings its reader of WGSL: a browser has its own, and says nothing before it is awaited.
    #[cfg(not(target_arch = "wasm32"))]
    super::reflect::check(variant, &source).map_err(wrong)?;
    let made = checked(device, || format!("the pipeline {name}"), || Ok(make(device, variant, &name, source, cache)));
    // A device that is lost makes what is no pipeline, without a word.
    present(device)?;
    made.map_err(of_shader)
}

fn make(device: &wgpu::Device, variant: &Variant, name: &str, source: String, cache: Option<&wgpu::PipelineCache>) -> Pipeline {
    let label = format!("tokenpress::{name}");
    let label = Some(label.as_str());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label, source: wgpu::ShaderSource::Wgsl(source.into()) });
    let buffer = |binding: usize, ty| wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    let inputs = variant.shader.inputs.len();
    let mut entries = vec![buffer(0, wgpu::BufferBindingType::Uniform)];
    entries.extend((1..=inputs + variant.shader.outputs.len()).map(|binding| {
        let read_only = binding <= inputs && variant.access == Access::Read;
        buffer(binding, wgpu::BufferBindingType::Storage { read_only })
    }));
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
    let pipeline_layout =
        device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor { label, bind_group_layouts: &[Some(&layout)], immediate_size: 0 });
    let constants: Vec<_> = variant.constants.iter().map(|&(name, value)| (name, f64::from(value))).collect();
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label,
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &constants,
            // Every kernel writes each word of workgroup memory before it reads it; the tests poison it.
            zero_initialize_workgroup_memory: false,
        },
        cache,
    });
    Pipeline { pipeline, layout }
}
