//! A tensor inside somebody's texture.

use wgpu::{TextureAspect, TextureFormat, TextureSampleType, TextureUsages};

use crate::error::Error;
use crate::tensor::Desc;

/// The formats of textures that a plan writes, as WGSL has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageFormat {
    /// Four numbers of 8 bits, from 0 to 1.
    Rgba8Unorm,
    /// The same with red and blue exchanged. It needs `Features::BGRA8UNORM_STORAGE`.
    Bgra8Unorm,
    /// Four f16.
    Rgba16Float,
    /// Four f32.
    Rgba32Float,
    /// One f32.
    R32Float,
}

impl StorageFormat {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rgba8Unorm, Self::Bgra8Unorm, Self::Rgba16Float, Self::Rgba32Float, Self::R32Float];

    /// As wgpu calls it.
    pub const fn format(self) -> TextureFormat {
        match self {
            Self::Rgba8Unorm => TextureFormat::Rgba8Unorm,
            Self::Bgra8Unorm => TextureFormat::Bgra8Unorm,
            Self::Rgba16Float => TextureFormat::Rgba16Float,
            Self::Rgba32Float => TextureFormat::Rgba32Float,
            Self::R32Float => TextureFormat::R32Float,
        }
    }

    /// As WGSL calls it.
    pub(super) const fn wgsl(self) -> &'static str {
        match self {
            Self::Rgba8Unorm => "rgba8unorm",
            Self::Bgra8Unorm => "bgra8unorm",
            Self::Rgba16Float => "rgba16float",
            Self::Rgba32Float => "rgba32float",
            Self::R32Float => "r32float",
        }
    }

    fn of(format: TextureFormat) -> Option<Self> {
        Self::ALL.into_iter().find(|storage| storage.format() == format)
    }
}

/// What a kernel must know of a texture that holds one of its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Texels {
    /// Rows and columns.
    pub(crate) size: [u32; 2],
    /// Numbers of a texel that belong to the tensor.
    pub(crate) channels: u32,
    /// Whether the tensor has a plane for each channel.
    pub(crate) planar: bool,
    /// The format, if a plan can write it.
    pub(crate) storage: Option<StorageFormat>,
}

impl Texels {
    /// Whether they are an image of so many rows and columns and these channels, as a tensor of this layout has them.
    pub(crate) fn are_image(&self, size: [u32; 2], channels: u32, planar: bool) -> bool {
        (self.size, self.channels, self.planar) == (size, channels, planar)
    }
}

/// A tensor in a texture: what the application binds to an input or output of a plan in place of a [`TensorView`](super::TensorView).
///
/// The graph's tensor has h rows of w texels, as the texture, and C numbers a texel: the first 1 to 4 of the format. So RGB without alpha is a
/// tensor of 3 channels. Any shape will do that ends with the channels and has `h w C` elements, such as `[1, h * w, C]` and `[h, w, C]`, or
/// one that ends with `C, h, w`, as PyTorch has images. It is f32, f16 or bf16.
///
/// - Read: every format of floats, normalized integers or depth (`rgba8unorm` and its srgb form, `bgra8unorm`, `rgba16float`,
///   `rgba32float`, `r32float`, `depth32float` ..). The numbers are those of WGSL's `textureLoad`: 0 to 1 of normalized integers, and linear
///   ones of srgb. The texture has the usage `TEXTURE_BINDING`.
/// - Written: `rgba8unorm`, `rgba16float`, `rgba32float`, `r32float`, and `bgra8unorm` with `Features::BGRA8UNORM_STORAGE`. A tensor of fewer
///   than four channels leaves green and blue 0, and alpha 1. Normalized integers are `round(255 clamp(x, 0, 1))`, ties to even, and 0
///   of NaN. f16 is rounded to the nearest, ties to even. So every device writes the same bits. The texture has the usage `STORAGE_BINDING`.
///
/// [`PixelUnshuffle`](crate::kernels::PixelUnshuffle), [`Patches`](crate::kernels::Patches) and
/// [`HeatMap`](crate::kernels::HeatMap) read and write textures themselves, in one dispatch. For other kernels the plan copies the texture
/// into the workspace before the first call that reads it, and writes it after the call that makes it;
/// [`Graph::cost_of`](crate::Graph::cost_of) has the bytes of these copies.
///
/// ```
/// use tokenpress::kernels::PixelUnshuffle;
/// use tokenpress::{Bindings, Elem, Error, Gpu, Graph, Plan, TensorView, TextureView, wgpu};
///
/// /// Blocks of 4 x 4 pixels of a frame, its colours without alpha.
/// fn blocks(gpu: &Gpu, frame: &wgpu::Texture, tokens: &wgpu::Buffer) -> Result<Plan, Error> {
///     let (h, w) = (frame.height(), frame.width());
///     let mut graph = Graph::new();
///     let x = graph.input("frame", [h, w, 3], Elem::F32);
///     let x = graph.reshape(x, [1, h * w, 3])?;
///     let blocks = PixelUnshuffle { factor: [4, 4], pad: true, ..Default::default() }.unshuffle_tokens(&mut graph, x, [h, w])?;
///     graph.output("blocks", blocks)?;
///     let tokens = TensorView::new(tokens, 0, blocks.shape(), Elem::F32);
///     graph.plan(gpu, &Bindings::new().bind_texture("frame", TextureView::new(frame)).bind("blocks", tokens))
/// }
/// ```
#[derive(Debug, Clone)]
pub struct TextureView {
    texture: wgpu::Texture,
    format: TextureFormat,
    level: u32,
    layer: u32,
}

impl TextureView {
    /// The first layer of the largest level of a texture.
    pub fn new(texture: &wgpu::Texture) -> Self {
        Self { texture: texture.clone(), format: texture.format(), level: 0, layer: 0 }
    }

    /// The same texels in another format of the texture's `view_formats`: `rgba8unorm` for its srgb form, and back.
    pub fn with_format(self, format: TextureFormat) -> Self {
        Self { format, ..self }
    }

    /// Another level of detail. Its size is what the tensor has.
    pub fn with_level(self, level: u32) -> Self {
        Self { level, ..self }
    }

    /// Another layer of an array.
    pub fn with_layer(self, layer: u32) -> Self {
        Self { layer, ..self }
    }

    /// Rows and columns.
    pub fn size(&self) -> [u32; 2] {
        [self.texture.height(), self.texture.width()].map(|edge| edge.checked_shr(self.level).unwrap_or(0).max(1))
    }

    fn aspect(&self) -> TextureAspect {
        if self.format.has_depth_aspect() { TextureAspect::DepthOnly } else { TextureAspect::All }
    }

    /// Channels of a tensor that has the texture's texels, and whether it has a plane for each.
    fn layout(&self, desc: Desc) -> Option<(u32, bool)> {
        let [h, w] = self.size();
        let texels = u64::from(h) * u64::from(w);
        let elements = desc.shape.elements();
        let channels = (1..=4).find(|channels| u64::from(*channels) * texels == elements)?;
        match *desc.shape.dims() {
            [.., last] if last == channels => Some((channels, false)),
            [.., rows, columns] if [rows, columns] == [h, w] => Some((channels, true)),
            _ => None,
        }
    }

    /// Whether both have texels in common.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.texture == other.texture && (self.level, self.layer) == (other.level, other.layer)
    }

    /// Checks everything about the view that does not depend on other views, and gives what a kernel must know of it.
    pub(crate) fn validate(&self, name: &str, desc: Desc, is_output: bool) -> Result<Texels, Error> {
        let tensor = || name.to_owned();
        let wrong = |expected: &str, actual: String| Err(Error::Texture { tensor: tensor(), expected: expected.to_owned(), actual });
        let texture = &self.texture;
        if texture.dimension() != wgpu::TextureDimension::D2 || texture.sample_count() != 1 {
            let actual = format!("{:?} with {} samples", texture.dimension(), texture.sample_count());
            return wrong("two dimensions, and one sample a texel: resolve it first", actual);
        }
        let (levels, layers) = (texture.mip_level_count(), texture.depth_or_array_layers());
        if self.level >= levels || self.layer >= layers {
            return wrong(&format!("one of {levels} levels and {layers} layers"), format!("level {} of layer {}", self.level, self.layer));
        }
        if !desc.elem.is_float() {
            return wrong("a tensor of f32, f16 or bf16", desc.to_string());
        }
        let (usage, required) = match is_output {
            true => (TextureUsages::STORAGE_BINDING, "STORAGE_BINDING"),
            false => (TextureUsages::TEXTURE_BINDING, "TEXTURE_BINDING"),
        };
        if !texture.usage().contains(usage) {
            return Err(Error::Usage { tensor: tensor(), required });
        }
        let is_read =
            matches!(self.format.sample_type(Some(self.aspect()), None), Some(TextureSampleType::Float { .. } | TextureSampleType::Depth));
        match (is_output, StorageFormat::of(self.format)) {
            (true, None) => {
                return wrong("rgba8unorm, bgra8unorm, rgba16float, rgba32float or r32float to write", format!("{:?}", self.format));
            }
            (false, _) if !is_read => return wrong("a format of floats, normalized integers or depth", format!("{:?}", self.format)),
            _ => {}
        }
        let [h, w] = self.size();
        let components = u32::from(self.format.components_with_aspect(self.aspect()));
        match self.layout(desc) {
            Some((channels, planar)) if channels <= components => {
                Ok(Texels { size: self.size(), channels, planar, storage: StorageFormat::of(self.format) })
            }
            _ => {
                let expected = format!("{h} x {w} texels and 1 to {components} channels, in a shape that ends with C, or with C, {h}, {w}");
                wrong(&expected, desc.to_string())
            }
        }
    }

    /// A view of wgpu's, as this use needs it.
    pub(crate) fn create(&self, is_output: bool) -> wgpu::TextureView {
        self.texture.create_view(&wgpu::TextureViewDescriptor {
            label: Some("tokenpress::texture"),
            format: Some(self.format),
            dimension: Some(wgpu::TextureViewDimension::D2),
            usage: Some(if is_output { TextureUsages::STORAGE_BINDING } else { TextureUsages::TEXTURE_BINDING }),
            aspect: self.aspect(),
            base_mip_level: self.level,
            mip_level_count: Some(1),
            base_array_layer: self.layer,
            array_layer_count: Some(1),
        })
    }
}
