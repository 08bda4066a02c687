//! A score shown over an image.

use super::texture_copy::{ONE_NUMBER, SHOWN};
use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::BindingElem::{self, Elem as Number, F32, Texture};
use crate::device::{Call, Header, Include, Lowering, Shader, Slot, Texels, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::{flat, image};
use crate::options;
use crate::reference::{self, Heat};
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        pixels: u32,
        image_rows: u32,
        image_columns: u32,
        image_channels: u32,
        /// Of the scores.
        rows: u32,
        columns: u32,
        low: f32,
        high: f32,
        range: f32,
        strength: f32,
    }
}

const fn shader(
    name: &'static str,
    inputs: &'static [(&'static str, BindingElem)],
    outputs: &'static [(&'static str, BindingElem)],
) -> Shader {
    Shader {
        name,
        source: include_str!("../../../shaders/images/heat_map.wgsl"),
        includes: &[Include::Interpolation, Include::HalfBits, Include::Image, Include::Stored, Include::Shown],
        headers: &[Header::F32, Header::F16, Header::F32x4, Header::F16x4],
        inputs,
        outputs,
        params: Params::NAMES,
        tunings: &[&[("SMOOTH", 0)], &[("SMOOTH", 1)]],
    }
}

const BUFFERS: &[(&str, BindingElem)] = &[("image", Number), ("scores", F32)];
const TEXTURES: &[(&str, BindingElem)] = &[("image", Texture), ("scores", F32)];
const IN_BUFFER: &[(&str, BindingElem)] = &[("shown", Number)];

/// From a buffer: into one, and into a texture of each format, in the order of [`StorageFormat::ALL`](crate::device::StorageFormat::ALL).
pub(super) static OF_BUFFER: [Shader; 6] = [
    shader("heat_map", BUFFERS, IN_BUFFER),
    shader("heat_map.rgba8unorm", BUFFERS, SHOWN[0]),
    shader("heat_map.bgra8unorm", BUFFERS, SHOWN[1]),
    shader("heat_map.rgba16float", BUFFERS, SHOWN[2]),
    shader("heat_map.rgba32float", BUFFERS, SHOWN[3]),
    Shader { headers: ONE_NUMBER, ..shader("heat_map.r32float", BUFFERS, SHOWN[4]) },
];

/// Between textures no buffer has a number type: one text will do.
const fn between_textures(name: &'static str, outputs: &'static [(&'static str, BindingElem)]) -> Shader {
    Shader { headers: &[Header::F32], ..shader(name, TEXTURES, outputs) }
}

/// The same from a texture.
pub(super) static OF_TEXTURE: [Shader; 6] = [
    shader("heat_map.texture", TEXTURES, IN_BUFFER),
    between_textures("heat_map.texture.rgba8unorm", SHOWN[0]),
    between_textures("heat_map.texture.bgra8unorm", SHOWN[1]),
    between_textures("heat_map.texture.rgba16float", SHOWN[2]),
    between_textures("heat_map.texture.rgba32float", SHOWN[3]),
    between_textures("heat_map.texture.r32float", SHOWN[4]),
];

/// Shows a score over an image, such as the importance of each token over the frame that the tokens were cut from.
///
/// ```text
/// y      = x + strength (colour - x)
/// t      = (score - low) / (high - low), from 0 to 1
/// colour = (3 t, 3 t - 1, 3 t - 2), each from 0 to 1: black, red, yellow, white
/// ```
///
/// - A grey image takes t itself in place of a colour. Alpha stays.
/// - A score of NaN is as low as `low`.
/// - Image and result may lie in textures ([`TextureView`](crate::TextureView)); no copy is made.
///
/// For an image of the scores alone, show them with a strength of 1.
///
/// Cost: one dispatch; one read and one write of each pixel.
///
/// ```
/// use tokenpress::kernels::HeatMap;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// // Two tokens over a grey image of 1 x 4 pixels.
/// let image = graph.constant(HostTensor::f32([1, 4, 1], vec![0.5; 4]));
/// let scores = graph.constant(HostTensor::f32([1, 2], vec![2.0, 6.0]));
/// let shown = HeatMap { range: [2.0, 6.0], ..HeatMap::default() }.build(&mut graph, image, [1, 4], scores, [1, 2])?;
/// graph.output("shown", shown)?;
/// assert_eq!(graph.run_reference(&[].into())?["shown"].floats(), [0.25, 0.25, 0.75, 0.75]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("overlay", "saliency", "importance", "attention_map"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeatMap {
    /// The scores that are black and white: finite, the first below the second.
    pub range: [f32; 2],
    /// Part of the colour, from 0 to 1.
    pub strength: f32,
    /// Whether scores are interpolated between the middles of their cells. Otherwise pixel (i, j) has the score of its cell,
    /// `(floor(i rows / h), floor(j columns / w))`.
    pub smooth: bool,
}

impl Default for HeatMap {
    /// Scores from 0 to 1, half of the colour, cells with edges.
    fn default() -> Self {
        Self { range: [0.0, 1.0], strength: 0.5, smooth: false }
    }
}

impl HeatMap {
    /// The image with the scores over it.
    ///
    /// `image` is f32, f16 or bf16 `[B, h * w, C]` or `[B, h, w, C]` with 1, 3 or 4 channels; `size` is `[h, w]`. `scores` are f32
    /// `[B, rows * columns]` of a grid of `[rows, columns]`, row by row. Gives `[B, h * w, C]` in the image's element type.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for tensors that are not as above. [`Error::Value`] for options that are not as above, an empty
    /// grid, and more than `2^30 / (n + 1)` pixels over n cells of an axis.
    pub fn build(&self, graph: &mut Graph, image: Tensor, size: [u32; 2], scores: Tensor, grid: [u32; 2]) -> Result<Tensor, Error> {
        let image = flat(graph, image, size)?;
        Ok(graph.call(Show { options: *self, size, grid }, &[image, scores])?[0])
    }
}

/// A call: options, and the sizes of the image and of the grid of scores.
#[derive(Debug, Clone, Copy)]
struct Show {
    options: HeatMap,
    size: [u32; 2],
    grid: [u32; 2],
}

impl Show {
    fn heat<'a>(&self, image: &'a [f32], inputs: &[&HostTensor], scores: &'a [f32]) -> Heat<'a> {
        let [batch, _, channels] = inputs[0].dims();
        let HeatMap { range, strength, smooth } = self.options;
        Heat { image, scores, batch, size: self.size, channels, grid: self.grid, range, strength, smooth }
    }
}

impl Kernel for Show {
    fn name(&self) -> &'static str {
        "heat_map"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["shown"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, _] = image("heat_map: image", inputs[0], self.size, &[1, 3, 4])?;
        let ([h, w], [rows, columns]) = (self.size, self.grid);
        for (pixels, cells) in [(h, rows), (w, columns)] {
            options::within("heat_map: grid", 1..=((1u32 << 30) / pixels.saturating_add(1)).max(1), cells)?;
        }
        expect("heat_map: scores", inputs[1], Desc::new([batch, rows * columns], Elem::F32))?;
        let HeatMap { range: [low, high], strength, .. } = self.options;
        options::finite("heat_map: range", low)?;
        options::finite("heat_map: range", high)?;
        options::at_least("heat_map: high - low", f32::MIN_POSITIVE.into(), (high - low).into())?;
        options::share("heat_map: strength", strength.into())?;
        Ok(vec![inputs[0]])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let (image, scores) = (inputs[0].floats(), inputs[1].floats());
        let shown = reference::heat_map(&self.heat(&image, inputs, &scores));
        vec![HostTensor::from_floats(inputs[0].desc(), shown.into_iter().map(|v| v as f32).collect())]
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let (image, scores) = (inputs[0].floats(), inputs[1].floats());
        let heat = self.heat(&image, inputs, &scores);
        let bounds = reference::heat_map_bound(&heat, inputs[0].desc().elem);
        vec![Comparison::ranged(&expected[0], &actual[0], &reference::heat_map(&heat), &bounds)]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, true])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        3 * inputs[0].shape.elements()
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let desc = lowering.input(0);
        let [batch, _, image_channels] = desc.shape.exactly("heat_map: image", "[B, h * w, C]")?;
        let slots = [Slot::Input(0), Slot::Input(1), Slot::Output(0)];
        let is_image = |texels: &Texels| texels.are_image(self.size, image_channels, false);
        let (from, to) = (lowering.texels(slots[0]).filter(is_image), lowering.texels(slots[2]).filter(is_image));
        let buffers: Vec<_> =
            [(slots[0], from), (slots[2], to)].into_iter().filter(|(_, texels)| texels.is_none()).map(|(slot, _)| slot).collect();
        let shader = &if from.is_some() { &OF_TEXTURE } else { &OF_BUFFER }
            [to.and_then(|texels| texels.storage).map_or(0, |format| 1 + format as usize)];
        // The type of a buffer among them.
        let header = match buffers[..] {
            [] => Header::F32,
            [Slot::Output(_)] => Header::vector(lowering.output(0).elem, image_channels.into(), lowering.alignment(&buffers)),
            _ => Header::vector(desc.elem, image_channels.into(), lowering.alignment(&buffers)),
        };
        let ([image_rows, image_columns], [rows, columns]) = (self.size, self.grid);
        let pixels = u64::from(batch) * u64::from(image_rows) * u64::from(image_columns);
        let HeatMap { range: [low, high], strength, smooth } = self.options;
        let params = Params {
            pixels: pixels as u32,
            image_rows,
            image_columns,
            image_channels,
            rows,
            columns,
            low,
            high,
            range: high - low,
            strength,
        };
        let constants = shader.tuning(&[("SMOOTH", u32::from(smooth))]);
        lowering.dispatch(Call { shader, header, constants, slots: &slots, params, groups: pixels.div_ceil(128) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused() {
        let mut graph = Graph::new();
        let image = graph.input("image", [2, 12, 3], Elem::F32);
        let scores = graph.input("scores", [2, 2], Elem::F32);
        assert_eq!(HeatMap::default().build(&mut graph, image, [3, 4], scores, [1, 2]).map(|y| y.shape()), Ok(image.shape()));
        for options in [
            HeatMap { range: [1.0, 1.0], ..HeatMap::default() },
            HeatMap { range: [f32::MIN, f32::MAX], ..HeatMap::default() },
            HeatMap { range: [0.0, f32::NAN], ..HeatMap::default() },
            HeatMap { strength: 1.5, ..HeatMap::default() },
        ] {
            assert!(matches!(options.build(&mut graph, image, [3, 4], scores, [1, 2]), Err(Error::Value { .. })), "{options:?}");
        }
        assert!(matches!(HeatMap::default().build(&mut graph, image, [3, 4], scores, [0, 2]), Err(Error::Value { .. })));
        assert!(matches!(HeatMap::default().build(&mut graph, image, [3, 4], scores, [2, 2]), Err(Error::Shape { .. })));
        assert!(matches!(HeatMap::default().build(&mut graph, image, [4, 4], scores, [1, 2]), Err(Error::Shape { .. })));
        let two = graph.input("two", [2, 12, 2], Elem::F32);
        assert!(matches!(HeatMap::default().build(&mut graph, two, [3, 4], scores, [1, 2]), Err(Error::Shape { .. })));
    }
}
