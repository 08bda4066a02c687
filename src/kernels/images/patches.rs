//! An image resized, normalized and cut into patches.

use crate::compare::Comparison;
use crate::device::BindingElem::{Elem as Number, Scalar, Texture};
use crate::device::{Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::ChannelOrder;
use crate::kernels::operands::{flat, image};
use crate::options;
pub use crate::reference::Sampling;
use crate::reference::{self, Cut};
use crate::tensor::{Desc, HostTensor, Shape};

params! {
    struct Params {
        /// Of all patches.
        pixels: u32,
        image_rows: u32,
        image_columns: u32,
        image_channels: u32,
        resized_rows: u32,
        resized_columns: u32,
        top: u32,
        left: u32,
        rows: u32,
        columns: u32,
        patch_rows: u32,
        patch_columns: u32,
        channels: u32,
        channel_first: u32,
        source0: u32,
        source1: u32,
        source2: u32,
        source3: u32,
        mean0: f32,
        mean1: f32,
        mean2: f32,
        mean3: f32,
        deviation0: f32,
        deviation1: f32,
        deviation2: f32,
        deviation3: f32,
        fill0: f32,
        fill1: f32,
        fill2: f32,
        fill3: f32,
    }
}

pub(super) static PATCHES: Shader = Shader {
    name: "patches",
    source: include_str!("../../../shaders/images/patches.wgsl"),
    includes: &[Include::Interpolation, Include::Image],
    headers: &[Header::F32, Header::F16, Header::F32x4, Header::F16x4],
    inputs: &[("image", Number)],
    outputs: &[("patches", Scalar)],
    params: Params::NAMES,
    tunings: &[&[("SAMPLING", 0)], &[("SAMPLING", 1)], &[("SAMPLING", 2)]],
};

pub(super) static OF_TEXTURE: Shader =
    Shader { name: "patches.texture", headers: &[Header::F32, Header::F16], inputs: &[("image", Texture)], ..PATCHES };

/// How an image gets another size before it is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resize {
    /// Rows and columns.
    pub size: [u32; 2],
    /// How it is sampled.
    pub sampling: Sampling,
    /// Whether the image keeps its proportions: it becomes as large as fits, `round(h r)` rows and `round(w r)` columns of
    /// `r = min(size / image)`, halves up, and lies in the middle, half a pixel to the upper left if it cannot. Otherwise it fills the size.
    pub letterbox: bool,
}

/// Cuts an image into the patches that a vision transformer takes: resizes it, normalizes its channels, and puts the pixels of each patch
/// side by side.
///
/// ```text
/// y = (r - mean) / deviation
/// ```
///
/// r is the image's pixel, or the weighted sum of those that [`Sampling`] names. The image may lie in a texture
/// ([`TextureView`](crate::TextureView)): then a rendered frame becomes tokens in one dispatch, without a copy.
///
/// - There are `ceil(H / kh)` x `ceil(W / kw)` patches of an image of H x W pixels. Where there is no image, past its lower and right edge or
///   beside a letterboxed image, stands `fill` in place of r.
/// - A NaN or an infinity makes what it has a weight in NaN or infinite.
/// - Sums are in f32.
///
/// Followed by [`linear`](crate::kernels::linear) this is a patch embedding. The weight of PyTorch's `Conv2d` `[D, C, kh, kw]` takes
/// [`ChannelOrder::ChannelFirst`].
///
/// Cost: one dispatch; one write of each number, and about `4 h w / (H W)` reads of pixels for each pixel of a patch where an image becomes
/// smaller with antialiasing.
///
/// ```
/// use tokenpress::kernels::Patches;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// // A grey image of 2 x 4 pixels, in patches of 2 x 2.
/// let image = graph.constant(HostTensor::f32([1, 8, 1], vec![1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 7.0, 8.0]));
/// let grey = Patches { channels: vec![0], mean: [4.0; 4], deviation: [2.0; 4], ..Patches::new([2, 2]) };
/// let patches = grey.build(&mut graph, image, [2, 4])?;
/// graph.output("patches", patches)?;
/// assert_eq!(graph.run_reference(&[].into())?["patches"].floats(), [-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("patchify", "patch_embed", "image_processor", "letterbox", "normalize", "resize"))]
#[derive(Debug, Clone, PartialEq)]
pub struct Patches {
    /// Rows and columns of a patch.
    pub patch: [u32; 2],
    /// Another size first; the image's own for `None`.
    pub resize: Option<Resize>,
    /// The image's channel for each channel of a patch, 1 to 4 of them: `[0, 1, 2]` of RGB and RGBA, `[2, 1, 0]` to exchange red and blue.
    pub channels: Vec<u32>,
    /// For each channel of a patch: what is subtracted.
    pub mean: [f32; 4],
    /// By what the rest is divided, from 1e-30 to 1e30.
    pub deviation: [f32; 4],
    /// What stands where there is no image, before the mean is subtracted.
    pub fill: [f32; 4],
    /// Order of the numbers of a patch.
    pub order: ChannelOrder,
}

impl Patches {
    /// Patches of RGB as they are: pixel by pixel, neither resized nor normalized, and 0 where there is no image.
    pub fn new(patch: [u32; 2]) -> Self {
        let (mean, deviation, fill) = ([0.0; 4], [1.0; 4], [0.0; 4]);
        Self { patch, resize: None, channels: vec![0, 1, 2], mean, deviation, fill, order: ChannelOrder::PositionFirst }
    }

    /// Patches of an image.
    ///
    /// `image` is f32, f16 or bf16 `[B, h * w, C]` or `[B, h, w, C]` with C from 1 to 4; `size` is `[h, w]`. Gives
    /// `[B, rows * columns, kh * kw * channels]` in the image's element type, row by row; see [`Patches::grid`].
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for an image that is not as above. [`Error::Value`] for options that are not as above, sizes of
    /// 0, and sizes of which an axis has more than `2^30 / (n + 1)` pixels from n.
    pub fn build(&self, graph: &mut Graph, image: Tensor, size: [u32; 2]) -> Result<Tensor, Error> {
        let image = flat(graph, image, size)?;
        Ok(graph.call(CutImage { options: self.clone(), size }, &[image])?[0])
    }

    /// Rows and columns of the patches of an image of `[h, w]`.
    pub fn grid(&self, size: [u32; 2]) -> [u32; 2] {
        let size = self.resize.map_or(size, |resize| resize.size);
        std::array::from_fn(|i| size[i].div_ceil(self.patch[i].max(1)))
    }

    /// Rows and columns of the resized image, and of what stands before it.
    fn place(&self, size: [u32; 2]) -> ([u32; 2], [u32; 2]) {
        let Some(Resize { size: outer, letterbox, .. }) = self.resize else { return (size, [0, 0]) };
        if !letterbox {
            return (outer, [0, 0]);
        }
        let [h, w] = size.map(|n| u64::from(n.max(1)));
        let [rows, columns] = outer.map(u64::from);
        // round(n numerator / denominator), halves up.
        let scaled = |n: u64, numerator: u64, denominator: u64| ((2 * n * numerator + denominator) / (2 * denominator)).max(1) as u32;
        let inner = if rows * w <= columns * h {
            [outer[0], scaled(w, rows, h).min(outer[1])]
        } else {
            [scaled(h, columns, w).min(outer[0]), outer[1]]
        };
        (inner, std::array::from_fn(|i| (outer[i] - inner[i]) / 2))
    }

    fn sampling(&self) -> Sampling {
        // An image of its own size is copied.
        self.resize.map_or(Sampling::Nearest, |resize| resize.sampling)
    }

    fn check(&self, size: [u32; 2], channels: u32) -> Result<(), Error> {
        options::within("patches: number of channels", 1..=4, self.channels.len() as u32)?;
        for channel in &self.channels {
            options::within("patches: channels", 0..=channels.max(1) - 1, *channel)?;
        }
        for i in 0..self.channels.len() {
            options::finite("patches: mean", self.mean[i])?;
            options::between("patches: deviation", 1e-30, 1e30, self.deviation[i].into())?;
            options::finite("patches: fill", self.fill[i])?;
        }
        for (i, edge) in size.into_iter().enumerate() {
            options::within("patches: patch", 1..=1 << 15, self.patch[i])?;
            options::within("patches: size", 1..=1 << 24, edge)?;
            if let Some(resize) = self.resize {
                options::within("patches: resized size", 1..=((1u32 << 30) / (edge + 1)).max(1), resize.size[i])?;
            }
        }
        Ok(())
    }
}

/// A call: options, and the image's size.
#[derive(Debug, Clone)]
struct CutImage {
    options: Patches,
    size: [u32; 2],
}

impl CutImage {
    fn channels(&self) -> Vec<(u32, f32, f32, f32)> {
        let Patches { channels, mean, deviation, fill, .. } = &self.options;
        channels.iter().enumerate().map(|(i, source)| (*source, mean[i], deviation[i], fill[i])).collect()
    }

    fn cut<'a>(&self, image: &'a [f32], shape: Shape, outputs: &'a [(u32, f32, f32, f32)]) -> Cut<'a> {
        let (resized, offset) = self.options.place(self.size);
        Cut {
            image,
            batch: shape.dims()[0] as usize,
            size: self.size,
            channels: shape.dims()[2] as usize,
            resized,
            sampling: self.options.sampling(),
            offset,
            grid: self.options.grid(self.size),
            patch: self.options.patch,
            outputs,
            channel_first: self.options.order == ChannelOrder::ChannelFirst,
        }
    }
}

impl Kernel for CutImage {
    fn name(&self) -> &'static str {
        "patches"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["patches"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, channels] = image("patches: image", inputs[0], self.size, &[1, 2, 3, 4])?;
        self.options.check(self.size, channels)?;
        let ([rows, columns], [kh, kw]) = (self.options.grid(self.size), self.options.patch);
        let numbers = [u64::from(rows) * u64::from(columns), u64::from(kh) * u64::from(kw) * self.options.channels.len() as u64];
        match numbers.map(u32::try_from) {
            [Ok(tokens), Ok(width)] => Ok(vec![Desc::new([batch, tokens, width], inputs[0].elem)]),
            _ => Err(Error::Value {
                argument: "patches: size",
                expected: "fewer than 2^32 patches and numbers of one".to_owned(),
                actual: format!("{numbers:?}"),
            }),
        }
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let (image, outputs) = (inputs[0].floats(), self.channels());
        let values = reference::patches(&self.cut(&image, inputs[0].shape(), &outputs));
        let [rows, columns] = self.options.grid(self.size);
        let [kh, kw] = self.options.patch;
        let desc = Desc::new([inputs[0].shape().dims()[0], rows * columns, kh * kw * outputs.len() as u32], inputs[0].desc().elem);
        vec![HostTensor::from_floats(desc, values.into_iter().map(|v| v as f32).collect())]
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let (image, outputs) = (inputs[0].floats(), self.channels());
        let cut = self.cut(&image, inputs[0].shape(), &outputs);
        let bounds = reference::patches_bound(&cut, inputs[0].desc().elem);
        vec![Comparison::ranged(&expected[0], &actual[0], &reference::patches(&cut), &bounds)]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        // A mean and a deviation for each number; four pixels and their weights, or each pixel of a larger image in four windows.
        let ([rows, columns], [kh, kw]) = (self.options.grid(self.size), self.options.patch);
        let batch = u64::from(inputs[0].shape.dims()[0]);
        let numbers = [rows, columns, kh, kw]
            .into_iter()
            .fold(batch, |n, d| n.saturating_mul(d.into()))
            .saturating_mul(self.options.channels.len() as u64);
        let samples =
            if self.options.sampling() == Sampling::Nearest { 0 } else { numbers.max(inputs[0].shape.elements()).saturating_mul(8) };
        numbers.saturating_mul(2).saturating_add(samples)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let shape = lowering.input(0).shape;
        let [batch, _, image_channels] = shape.exactly("patches: image", "[B, h * w, C]")?;
        let slots = [Slot::Input(0), Slot::Output(0)];
        let elem = lowering.output(0).elem;
        let (shader, header) = match lowering.texels(slots[0]).filter(|texels| texels.are_image(self.size, image_channels, false)) {
            Some(_) => (&OF_TEXTURE, Header::of(elem)),
            None => (&PATCHES, Header::vector(elem, image_channels.into(), lowering.alignment(&slots[..1]))),
        };
        let ([resized_rows, resized_columns], [top, left]) = self.options.place(self.size);
        let ([rows, columns], [patch_rows, patch_columns]) = (self.options.grid(self.size), self.options.patch);
        let pixels = [rows, columns, patch_rows, patch_columns].into_iter().fold(u64::from(batch), |n, d| n * u64::from(d));
        let channel = |i: usize| self.options.channels.get(i).copied().unwrap_or(0);
        let Patches { mean, deviation, fill, .. } = self.options;
        let sampling = match self.options.sampling() {
            Sampling::Nearest => 0,
            Sampling::Bilinear => 1,
            Sampling::Antialiased => 2,
        };
        let params = Params {
            pixels: pixels as u32,
            image_rows: self.size[0],
            image_columns: self.size[1],
            image_channels,
            resized_rows,
            resized_columns,
            top,
            left,
            rows,
            columns,
            patch_rows,
            patch_columns,
            channels: self.options.channels.len() as u32,
            channel_first: u32::from(self.options.order == ChannelOrder::ChannelFirst),
            source0: channel(0),
            source1: channel(1),
            source2: channel(2),
            source3: channel(3),
            mean0: mean[0],
            mean1: mean[1],
            mean2: mean[2],
            mean3: mean[3],
            deviation0: deviation[0],
            deviation1: deviation[1],
            deviation2: deviation[2],
            deviation3: deviation[3],
            fill0: fill[0],
            fill1: fill[1],
            fill2: fill[2],
            fill3: fill[3],
        };
        let constants = shader.tuning(&[("SAMPLING", sampling)]);
        lowering.dispatch(Call { shader, header, constants, slots: &slots, params, groups: pixels.div_ceil(128) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Elem;

    #[test]
    fn letterboxes() {
        let place = |size, outer| {
            let resize = Some(Resize { size: outer, sampling: Sampling::Bilinear, letterbox: true });
            Patches { resize, ..Patches::new([16, 16]) }.place(size)
        };
        // 1080 x 1920 into 640 x 640: 360 rows, as YOLO has it.
        assert_eq!(place([1080, 1920], [640, 640]), ([360, 640], [140, 0]));
        assert_eq!(place([1920, 1080], [640, 640]), ([640, 360], [0, 140]));
        assert_eq!(place([3, 2], [5, 5]), ([5, 3], [0, 1]));
        assert_eq!(place([1, 1000], [16, 16]), ([1, 16], [7, 0]));
        assert_eq!(place([7, 7], [7, 7]), ([7, 7], [0, 0]));
    }

    #[test]
    fn what_is_refused() {
        let mut graph = Graph::new();
        let x = graph.input("x", [2, 12, 3], Elem::F32);
        assert_eq!(Patches::new([2, 3]).build(&mut graph, x, [3, 4]).map(|y| y.shape()), Ok(Shape::from([2, 4, 18])));
        let resize = |size| Some(Resize { size, sampling: Sampling::Bilinear, letterbox: false });
        for options in [
            Patches::new([0, 2]),
            Patches { channels: vec![], ..Patches::new([2, 2]) },
            Patches { channels: vec![3], ..Patches::new([2, 2]) },
            Patches { deviation: [0.0; 4], ..Patches::new([2, 2]) },
            Patches { mean: [f32::NAN; 4], ..Patches::new([2, 2]) },
            Patches { resize: resize([0, 4]), ..Patches::new([2, 2]) },
            Patches { resize: resize([1 << 30, 4]), ..Patches::new([2, 2]) },
        ] {
            assert!(matches!(options.build(&mut graph, x, [3, 4]), Err(Error::Value { .. })), "{options:?}");
        }
        assert!(matches!(Patches::new([2, 2]).build(&mut graph, x, [4, 4]), Err(Error::Shape { .. })));
        let five = graph.input("five", [1, 12, 5], Elem::F32);
        assert!(matches!(Patches::new([2, 2]).build(&mut graph, five, [3, 4]), Err(Error::Shape { .. })));
        let integers = graph.input("integers", [1, 12, 3], Elem::U32);
        assert!(matches!(Patches::new([2, 2]).build(&mut graph, integers, [3, 4]), Err(Error::Elem { .. })));
    }
}
