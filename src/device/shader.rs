//! A shader: its text, its parameters and bindings, and what varies in it.
//!
//! Four things vary, and each has one mechanism. Sizes are a WGSL `override`. The element type is set by a header, the first text of the
//! module. The form (portable, for subgroups, for GPUs, for cooperative matrices) is the shared text that comes next. Inputs are `read` or
//! `read_write` in the declarations.

use std::fmt;

use super::texture::StorageFormat;
use crate::tensor::Elem;

/// Declares the parameters of a shader once, for both sides: a Rust struct, and the fields of the WGSL struct `Params` after the bases
/// (`NAMES`).
///
/// ```
/// tokenpress::params! {
///     /// What one dispatch is told.
///     struct Params {
///         /// In the output.
///         elements: u32,
///         factor: f32,
///     }
/// }
/// assert_eq!(Params::NAMES, [("elements", "u32"), ("factor", "f32")]);
/// ```
#[macro_export]
macro_rules! params {
    ($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy)]
        struct $name { $($(#[$field_meta])* $field: $type),* }
        impl $name {
            const NAMES: &'static [(&'static str, &'static str)] = &[$((stringify!($field), stringify!($type))),*];
        }
        impl $crate::device::Params for $name {
            fn words(&self) -> Vec<u32> {
                vec![$($crate::device::Word::word(self.$field)),*]
            }
        }
    };
}

pub(crate) use params;

/// What a dispatch is told besides its tensors: [`params!`](crate::params) implements it.
pub trait Params {
    /// The fields as the uniform has them, a word each.
    fn words(&self) -> Vec<u32>;
}

impl<const N: usize> Params for [u32; N] {
    fn words(&self) -> Vec<u32> {
        self.to_vec()
    }
}

/// A type of one field of [`Params`]: `u32`, `i32` or `f32`.
pub trait Word {
    /// Its bits.
    fn word(self) -> u32;
}

impl Word for u32 {
    fn word(self) -> u32 {
        self
    }
}

impl Word for i32 {
    fn word(self) -> u32 {
        self as u32
    }
}

impl Word for f32 {
    fn word(self) -> u32 {
        self.to_bits()
    }
}

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
    /// Two bf16 numbers to a word, which no shader reads one by one: a call that asks for it is made in f32.
    BF16,
}

impl Header {
    /// The header of a float tensor's own element type.
    pub fn of(elem: Elem) -> Self {
        match elem {
            Elem::F32 => Self::F32,
            Elem::F16 => Self::F16,
            Elem::BF16 => Self::BF16,
            Elem::U32 => Self::U32,
        }
    }

    /// Four floats at a time if rows of `channels` at this alignment allow it, and otherwise one. This is for shaders that do the same with
    /// each channel. Shaders that add over channels take [`Lowering::vectors`](super::Lowering::vectors).
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
            Self::F16 | Self::BF16 => 2,
            Self::F32 | Self::U32 => 4,
            Self::F16x4 => 8,
            Self::Words | Self::F32x4 => 16,
        }
    }

    /// Numbers in one `elem`.
    pub const fn width(self) -> u32 {
        match self {
            Self::F32 | Self::F16 | Self::BF16 | Self::U32 => 1,
            Self::Words | Self::F32x4 | Self::F16x4 => 4,
        }
    }

    /// Whether it needs `SHADER_F16`.
    pub const fn is_f16(self) -> bool {
        matches!(self, Self::F16 | Self::F16x4)
    }

    /// For floats the header has more than `elem`, so that one text serves scalars and vectors: a single number of it, f32 and u32 of its
    /// width, an inner product, and a conversion from four numbers.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::F32 => concat!("alias elem = f32;\nalias elem_scalar = f32;\n", scalars!()),
            Self::F16 => concat!("enable f16;\nalias elem = f16;\nalias elem_scalar = f16;\n", scalars!()),
            Self::F32x4 => concat!("alias elem = vec4<f32>;\nalias elem_scalar = f32;\n", vectors!()),
            Self::F16x4 => concat!("enable f16;\nalias elem = vec4<f16>;\nalias elem_scalar = f16;\n", vectors!()),
            Self::U32 | Self::BF16 => "alias elem = u32;\n",
            Self::Words => "alias elem = vec4<u32>;\n",
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::U32 => "u32",
            Self::Words => "words",
            Self::F32x4 => "f32x4",
            Self::F16x4 => "f16x4",
            Self::BF16 => "bf16",
        }
    }
}

/// Element type of one binding of a shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingElem {
    /// The header's `elem`.
    Elem,
    /// One number of the header's `elem`, which may be four numbers: `elem_scalar`.
    Scalar,
    /// As many f32 as the header's `elem` has numbers: `elem_f32`.
    ElemF32,
    /// Always `f32`.
    F32,
    /// Always four f32: `vec4<f32>`.
    F32x4,
    /// Always `u32`.
    U32,
    /// Always four u32: `vec4<u32>`.
    U32x4,
    /// Always `atomic<u32>`.
    AtomicU32,
    /// `u32`, with a base that counts 16 bits at a time: words with two numbers each, or any words.
    Halves,
    /// `atomic<u32>`, with such a base.
    AtomicHalves,
    /// The texels of a texture, to be loaded. Its base is 0.
    Texture,
    /// The texels of a texture, to be stored. Its base is 0.
    StorageTexture(StorageFormat),
}

impl BindingElem {
    /// Whether it is a texture.
    pub const fn is_texture(self) -> bool {
        matches!(self, Self::Texture | Self::StorageTexture(_))
    }

    /// Its name in WGSL.
    pub(super) const fn wgsl(self) -> &'static str {
        match self {
            Self::Elem => "elem",
            Self::Scalar => "elem_scalar",
            Self::ElemF32 => "elem_f32",
            Self::F32 => "f32",
            Self::F32x4 => "vec4<f32>",
            Self::U32 | Self::Halves => "u32",
            Self::U32x4 => "vec4<u32>",
            Self::AtomicU32 | Self::AtomicHalves => "atomic<u32>",
            Self::Texture => "texture_2d<f32>",
            Self::StorageTexture(format) => format.wgsl(),
        }
    }

    pub(crate) const fn size(self, header: Header) -> u64 {
        match self {
            Self::Elem => header.size(),
            Self::Scalar => header.size() / header.width() as u64,
            Self::ElemF32 => 4 * header.width() as u64,
            Self::F32 | Self::U32 | Self::AtomicU32 => 4,
            Self::F32x4 | Self::U32x4 => 16,
            Self::Halves | Self::AtomicHalves => 2,
            Self::Texture | Self::StorageTexture(_) => 1,
        }
    }
}

/// Shared text that a shader asks for. Every shader gets the helpers of the grid besides.
///
/// "After" another means that the other must come before it in [`Shader::includes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// `common/activation.wgsl`: the functions that follow a layer.
    Activation,
    /// `common/ahead.wgsl`, or `ahead_staged.wgsl` for GPUs: how many loads are under way before the first is used.
    Ahead,
    /// `common/order/order.wgsl`: floats as integers in the crate's total order.
    Order,
    /// `common/order/elem_order.wgsl`: the same for each channel of an `elem`. After [`Include::Order`].
    ElemOrder,
    /// `score/attention_score/parts/bases.wgsl`: where the queries and keys of `attention_score` begin.
    AttentionBases,
    /// `score/attention_score/parts/sums.wgsl`: the sum of the exponentials of stored logits. After [`Include::Reduce`] and
    /// [`Include::Softmax`].
    AttentionSums,
    /// `score/attention_score/parts/rows.wgsl`: which query rows `attention_score` reads, and what they see.
    AttentionRows,
    /// `score/attention_score/parts/columns.wgsl`: the entry point of its passes over columns.
    AttentionColumns,
    /// `score/attention_score/parts/place.wgsl`: the place of a workgroup of its wide passes. After [`Include::AttentionRows`].
    AttentionPlace,
    /// `score/attention_score/parts/tile.wgsl`: rows and columns of the wide passes. After the bases and the place, before
    /// [`Include::Tile`].
    AttentionTile,
    /// `common/tile/differences.wgsl`: what an [`Include::Tile`] of squared distances adds up. In place of [`Include::Products`].
    Differences,
    /// `common/distance.wgsl`: squared distances of rows.
    Distance,
    /// `score/attention_score/parts/kept_logits.wgsl`: where `attention_score` keeps logits. After the place.
    KeptLogits,
    /// `select/bipartite_match/parts/candidates.wgsl`: the entries of the lists that `bipartite_match` compares. After [`Include::Order`].
    MatchCandidates,
    /// `common/half_bits.wgsl`: f16 by its bits.
    HalfBits,
    /// `common/image/image_buffer.wgsl` or `image_texture.wgsl`: the texels of the binding `image`, whichever it is.
    Image,
    /// `common/interpolation.wgsl`: windows of bilinear and antialiased interpolation.
    Interpolation,
    /// `common/moves.wgsl`: the loop over the elems of a row. After [`Include::Ahead`].
    Moves,
    /// `score/neighbours/parts/lists.wgsl`: the queries and candidates of `neighbours`.
    NeighbourLists,
    /// `score/neighbours/parts/keys.wgsl`: the keys that `neighbours` compares. After [`Include::Order`], [`Include::Distance`] and the lists.
    NeighbourKeys,
    /// `common/pairs.wgsl`: numbers of 16 bits, two to a word.
    Pairs,
    /// `common/tile/products.wgsl`: products of a number with four others, and what an [`Include::Tile`] of dot products adds up.
    Products,
    /// `common/order/reduce.wgsl` or its subgroup twin: sums, maxima and scans over a workgroup.
    Reduce,
    /// `common/tile/row_facts.wgsl`, and its portable form or that for subgroups of eight: facts about the rows of an [`Include::Tile`],
    /// besides their elems.
    RowFacts,
    /// `attention/parts/logits.wgsl`: logits of attention, and what a row sees. After [`Include::Softmax`].
    AttentionLogits,
    /// `attention/parts/walk.wgsl` for CPUs or `walk_staged.wgsl` for GPUs: how the rows of attention walk over the keys. After
    /// [`Include::AttentionLogits`].
    AttentionWalk,
    /// `common/lane_sums.wgsl`, or `lane_sums_staged.wgsl` for GPUs: sums over neighbouring invocations that share a row.
    LaneSums,
    /// `common/tile/lane_numbers.wgsl`: numbers that the invocations of a tile's rows or columns show each other. After
    /// [`Include::TileLanes`].
    LaneNumbers,
    /// `common/softmax.wgsl`: logits that saturate, and the marks for logits that are not numbers.
    Softmax,
    /// `common/image/shown_buffer.wgsl` or `shown_texture.wgsl`: writes the texels of the binding `shown`. After [`Include::Stored`] for a
    /// texture.
    Shown,
    /// `common/image/stored_8.wgsl`, `stored_16.wgsl` or `stored_32.wgsl`: rounds a texel as the format of the binding `shown` asks.
    /// Nothing if it is a buffer. After [`Include::HalfBits`].
    Stored,
    /// `common/image/texel_places.wgsl`: where the texels of a texture lie in a tensor.
    TexelPlaces,
    /// `common/order/sort.wgsl`: a sort in workgroup memory.
    Sort,
    /// `common/strided.wgsl`: where the elements of a strided tensor lie.
    Strided,
    /// `common/tile/tile.wgsl`, and its portable form or that for subgroups of eight: tiles of dot products. After [`Include::TileLanes`], and
    /// [`Include::Products`] or [`Include::Differences`].
    Tile,
    /// `common/tile/tile_lanes.wgsl` or its twin for subgroups of eight: which invocation has which rows and columns of a tile.
    TileLanes,
    /// `common/wide.wgsl`: whole numbers of 64 bits.
    Wide,
    /// `select/top_k/parts/digits.wgsl`: the digits of long rows' keys, found from their counts. After [`Include::Reduce`].
    TopKDigits,
    /// `select/top_k/parts/bins.wgsl`: counts these digits. After [`Include::TopKDigits`].
    TopKBins,
    /// `common/team/team.wgsl`: for a workgroup whose invocations share a row.
    Team,
    /// `common/team/alone.wgsl`: for invocations that each have a row of their own. In place of [`Include::Team`] and [`Include::Reduce`].
    Alone,
    /// `common/window.wgsl`: a window that slides over a grid of tokens.
    Window,
}

/// Whether a module's inputs are declared `read` or `read_write`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`: for a dispatch that reads one range of a buffer and writes another. wgpu tracks usage by buffer, not by
    /// range.
    ReadWrite,
}

/// Rows, columns and depth of a cooperative matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatrixSize {
    /// 8 x 8 x 8
    Eight,
    /// 16 x 16 x 16
    Sixteen,
}

/// Which of the texts of `common/*.wgsl` a shader gets where there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Runs everywhere.
    Portable,
    /// Operations of subgroups; of exactly eight invocations where tiles of products are made.
    Subgroup,
    /// For GPUs: tiles of products whose rows and columns pass through workgroup memory, and moves with several loads under way.
    Staged,
    /// Tiles of products by cooperative matrices of 8 x 8.
    Cooperative8,
    /// Tiles of products by cooperative matrices of 16 x 16, for subgroups of up to 32.
    Cooperative16,
    /// The same for subgroups of up to 64.
    Cooperative16Wide,
}

impl Form {
    /// The form with cooperative matrices of a size, for subgroups of at most this size.
    pub(crate) const fn cooperative(size: MatrixSize, subgroup_max: u32) -> Self {
        match size {
            MatrixSize::Eight => Self::Cooperative8,
            MatrixSize::Sixteen if subgroup_max > 32 => Self::Cooperative16Wide,
            MatrixSize::Sixteen => Self::Cooperative16,
        }
    }

    /// The size of its cooperative matrices, if it uses any.
    pub const fn matrices(self) -> Option<MatrixSize> {
        match self {
            Self::Cooperative8 => Some(MatrixSize::Eight),
            Self::Cooperative16 | Self::Cooperative16Wide => Some(MatrixSize::Sixteen),
            Self::Portable | Self::Subgroup | Self::Staged => None,
        }
    }

    /// Whether it uses cooperative matrices.
    pub const fn is_cooperative(self) -> bool {
        self.matrices().is_some()
    }

    /// Whether it asks which subgroup an invocation is in.
    pub const fn uses_subgroups(self) -> bool {
        !matches!(self, Self::Portable | Self::Staged)
    }

    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Portable => "",
            Self::Subgroup => ".subgroup",
            Self::Staged => ".staged",
            Self::Cooperative8 => ".cooperative_8",
            Self::Cooperative16 => ".cooperative_16",
            Self::Cooperative16Wide => ".cooperative_16_wide",
        }
    }
}

/// One WGSL file, of the crate or of an application, and what the host must know of it.
///
/// The file has no declarations of parameters and bindings. The host writes these from the fields here. This is what stands before the
/// file's own text ([`Variant::source`](super::Variant::source) shows the whole):
///
/// - `elem`, the element type ([`Header`]);
/// - `Grid` and `Lane`, what an entry point gets: every one is `fn main(grid: Grid, lane: Lane)`. `linear_group(grid)` is the number of the
///   workgroup, and `lane.index` that of the invocation within it. Forms for subgroups have more in `Lane`;
/// - `params`, the uniform at binding 0. It begins with a `u32` for each binding, `<name>_base`: the index of the tensor's first element in
///   the binding. Always add it. Then come the fields of `params`;
/// - an array for each binding, by its name: first the inputs, then the outputs.
pub struct Shader {
    /// `kernel` or `kernel.pass`, the file's stem. After it comes `.alone`, `.distances` or `.integers` for a file's second use, with
    /// [`Include::Alone`], [`Include::Differences`], or other headers; or `.texture` if the image that it reads is a texture, and the format of
    /// the texture that it writes.
    pub name: &'static str,
    /// The file.
    pub source: &'static str,
    /// Shared text besides the grid helpers.
    pub includes: &'static [Include],
    /// The headers under which it is used.
    pub headers: &'static [Header],
    /// Storage bindings that are only read. Scratch memory that a dispatch reads stands among the outputs if the dispatch also writes
    /// scratch memory: both lie in the workspace, which then needs `read_write`.
    pub inputs: &'static [(&'static str, BindingElem)],
    /// Storage bindings that are written.
    pub outputs: &'static [(&'static str, BindingElem)],
    /// Names and WGSL types of the fields of `Params` after the bases: `NAMES` of a struct made by [`params!`](crate::params).
    pub params: &'static [(&'static str, &'static str)],
    /// Sets of `override` values under which it is used; `&[&[]]` if it has no `override`.
    pub tunings: &'static [&'static [(&'static str, u32)]],
}

/// Its name: the text is in `source`.
impl fmt::Debug for Shader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shader({})", self.name)
    }
}

impl Shader {
    /// Whether it has this form under this header. Matrices are of f16, which loses nothing only if the tensors are f16 too.
    pub(crate) fn has_form(&self, form: Form, header: Header) -> bool {
        match form {
            Form::Portable => true,
            Form::Subgroup => self.has_subgroup_form(),
            Form::Staged => self.needs_subgroups_of_eight() || self.includes.contains(&Include::Ahead),
            Form::Cooperative8 | Form::Cooperative16 | Form::Cooperative16Wide => self.has_matrices() && header.is_f16(),
        }
    }

    /// Its tuning of these values, which is there.
    pub(crate) fn tuning(&self, values: &[(&str, u32)]) -> &'static [(&'static str, u32)] {
        self.tunings.iter().find(|tuning| **tuning == values).expect("every combination that a kernel asks for is listed")
    }

    /// `Params` and the bindings, in WGSL.
    pub(super) fn declarations(&self, access: Access) -> String {
        let mut text = String::from("struct Params {\n");
        for (name, _) in self.bindings() {
            text += &format!("  {name}_base: u32,\n");
        }
        for (name, kind) in self.params {
            text += &format!("  {name}: {kind},\n");
        }
        text += "}\n@group(0) @binding(0) var<uniform> params: Params;\n";
        for (index, (name, elem)) in self.bindings().enumerate() {
            let read_only = index < self.inputs.len() && access == Access::Read;
            let access = if read_only { "read" } else { "read_write" };
            let (number, kind) = (index + 1, elem.wgsl());
            text += &match elem {
                BindingElem::Texture => format!("@group(0) @binding({number}) var {name}: {kind};\n"),
                BindingElem::StorageTexture(_) => format!("@group(0) @binding({number}) var {name}: texture_storage_2d<{kind}, write>;\n"),
                _ => format!("@group(0) @binding({number}) var<storage, {access}> {name}: array<{kind}>;\n"),
            };
        }
        text
    }

    pub(crate) fn has_subgroup_form(&self) -> bool {
        self.includes.contains(&Include::Reduce) || self.needs_subgroups_of_eight()
    }

    /// Whether it has forms with cooperative matrices: `linear` and `attention_score`. Others with tiles of f16 would spill, or keep few
    /// waves.
    fn has_matrices(&self) -> bool {
        let for_matrices = [Include::Activation, Include::AttentionTile];
        self.includes.contains(&Include::Tile) && for_matrices.iter().any(|include| self.includes.contains(include))
    }

    /// Whether it reads or writes a texture.
    pub fn binds_textures(&self) -> bool {
        self.bindings().any(|(_, elem)| elem.is_texture())
    }

    /// Whether it reads a texture.
    pub(super) fn reads_texture(&self) -> bool {
        self.inputs.iter().any(|(_, elem)| elem.is_texture())
    }

    /// The format of the texture that it writes.
    pub(super) fn storage(&self) -> Option<StorageFormat> {
        self.outputs.iter().find_map(|(_, elem)| match elem {
            BindingElem::StorageTexture(format) => Some(*format),
            _ => None,
        })
    }

    /// Whether it stores texels that not every device stores.
    pub(crate) fn stores_bgra(&self) -> bool {
        self.storage() == Some(StorageFormat::Bgra8Unorm)
    }

    /// Whether its subgroup form is for subgroups of exactly eight invocations.
    pub(crate) fn needs_subgroups_of_eight(&self) -> bool {
        self.includes.contains(&Include::TileLanes)
    }

    /// Whether it makes the same pipelines: shaders of an application's own may have one name.
    pub(super) fn is(&self, other: &Self) -> bool {
        let module = |s: &Self| (s.name, s.source, s.includes, s.inputs, s.outputs, s.params);
        std::ptr::eq(self, other) || module(self) == module(other)
    }

    pub(crate) fn bindings(&self) -> impl Iterator<Item = &(&'static str, BindingElem)> {
        self.inputs.iter().chain(self.outputs)
    }
}
