//! A tensor in a texture, from or to a dense one or its blocks.

use crate::device::BindingElem::{self, Elem as Number, StorageTexture, Texture};
use crate::device::{Call, Header, Include, Lowering, Shader, Slot, StorageFormat, Texels, params};
use crate::error::Error;
use crate::kernels::convert_numbers;
use crate::tensor::Elem;

params! {
    struct Params {
        texels: u32,
        rows: u32,
        columns: u32,
        channels: u32,
        /// From a channel to the next, in numbers.
        channel_step: u32,
        size1: u32,
        size2: u32,
        size3: u32,
        row0: u32,
        row1: u32,
        row2: u32,
        row3: u32,
        column0: u32,
        column1: u32,
        column2: u32,
        column3: u32,
        /// In elems.
        number0: u32,
        number1: u32,
        number2: u32,
        number3: u32,
    }
}

/// What errors call it.
pub(crate) const TEXTURE_COPY: &str = "texture_copy";

pub(super) static READ: Shader = Shader {
    name: "texture_copy.read",
    source: include_str!("../../../shaders/images/texture_copy.read.wgsl"),
    includes: &[Include::TexelPlaces],
    headers: &[Header::F32, Header::F16, Header::F32x4, Header::F16x4],
    inputs: &[("image", Texture)],
    outputs: &[("numbers", Number)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// The binding `shown` that a shader stores texels of a format to, in the order of [`StorageFormat::ALL`].
pub(super) const SHOWN: [&[(&str, BindingElem)]; 5] = [
    &[("shown", StorageTexture(StorageFormat::Rgba8Unorm))],
    &[("shown", StorageTexture(StorageFormat::Bgra8Unorm))],
    &[("shown", StorageTexture(StorageFormat::Rgba16Float))],
    &[("shown", StorageTexture(StorageFormat::Rgba32Float))],
    &[("shown", StorageTexture(StorageFormat::R32Float))],
];

/// Headers of a shader that stores texels of one number.
pub(super) const ONE_NUMBER: &[Header] = &[Header::F32, Header::F16];

const fn write(name: &'static str, outputs: &'static [(&'static str, BindingElem)]) -> Shader {
    Shader {
        name,
        source: include_str!("../../../shaders/images/texture_copy.write.wgsl"),
        includes: &[Include::TexelPlaces, Include::HalfBits, Include::Stored],
        inputs: &[("numbers", Number)],
        outputs,
        ..READ
    }
}

/// One for each format, in the order of [`StorageFormat::ALL`].
pub(super) static WRITE: [Shader; 5] = [
    write("texture_copy.write.rgba8unorm", SHOWN[0]),
    write("texture_copy.write.bgra8unorm", SHOWN[1]),
    write("texture_copy.write.rgba16float", SHOWN[2]),
    write("texture_copy.write.rgba32float", SHOWN[3]),
    Shader { headers: ONE_NUMBER, ..write("texture_copy.write.r32float", SHOWN[4]) },
];

/// One of the numbers that name a texel in a tensor, and what a step of it adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TexelDigit {
    pub(super) size: u64,
    pub(super) row: u64,
    pub(super) column: u64,
    /// Numbers of the tensor.
    pub(super) number: u64,
}

/// Reads a texture into numbers that lie as these digits say, the outermost first, or writes it.
pub(super) fn move_texels(
    lowering: &mut Lowering<'_>,
    texels: Texels,
    (texture, numbers, elem): (Slot, Slot, Elem),
    mut digits: [TexelDigit; 4],
    channel_step: u64,
    back: bool,
) -> Result<(), Error> {
    let channels = u64::from(texels.channels);
    let together = channels == 4 && channel_step == 1;
    let header = Header::vector(elem, if together { 4 } else { 1 }, lowering.alignment(&[numbers]));
    digits.iter_mut().for_each(|digit| digit.number /= u64::from(header.width()));
    let count: u64 = digits.iter().map(|digit| digit.size).product();
    let [[_, size1, size2, size3], rows, columns, places] =
        [digits.map(|d| d.size), digits.map(|d| d.row), digits.map(|d| d.column), digits.map(|d| d.number)].map(|of| of.map(|n| n as u32));
    let params = Params {
        texels: count as u32,
        rows: texels.size[0],
        columns: texels.size[1],
        channels: texels.channels,
        channel_step: channel_step as u32,
        size1,
        size2,
        size3,
        row0: rows[0],
        row1: rows[1],
        row2: rows[2],
        row3: rows[3],
        column0: columns[0],
        column1: columns[1],
        column2: columns[2],
        column3: columns[3],
        number0: places[0],
        number1: places[1],
        number2: places[2],
        number3: places[3],
    };
    let (shader, slots) = match (back, texels.storage) {
        (true, Some(format)) => (&WRITE[format as usize], [numbers, texture]),
        _ => (&READ, [texture, numbers]),
    };
    lowering.dispatch(Call { shader, header, constants: &[], slots: &slots, params, groups: count.div_ceil(128) })
}

/// Copies input 0, which lies in a texture, into output 0, which is dense, or the other way round.
pub(crate) fn texture_copy(lowering: &mut Lowering<'_>, back: bool) -> Result<(), Error> {
    let (texture, numbers) = if back { (Slot::Output(0), Slot::Input(0)) } else { (Slot::Input(0), Slot::Output(0)) };
    let Some(texels) = lowering.texels(texture) else { return Ok(()) };
    let desc = lowering.input(0);
    let [h, w] = texels.size.map(u64::from);
    let channels = u64::from(texels.channels);
    let (step, channel_step) = if texels.planar { (1, h * w) } else { (channels, 1) };
    let digit = |size, row, column, number| TexelDigit { size, row, column, number };
    let digits = [digit(1, 0, 0, 0), digit(1, 0, 0, 0), digit(h, 1, 0, w * step), digit(w, 0, 1, step)];
    let elements = desc.shape.elements();
    if desc.elem == Elem::F32 || (desc.elem == Elem::F16 && lowering.capabilities().f16) {
        return move_texels(lowering, texels, (texture, numbers, desc.elem), digits, channel_step, back);
    }
    let wide = lowering.scratch(elements, Elem::F32);
    if back {
        convert_numbers(lowering, (numbers, desc.elem), (wide, Elem::F32), elements)?;
    }
    move_texels(lowering, texels, (texture, wide, Elem::F32), digits, channel_step, back)?;
    if !back {
        convert_numbers(lowering, (wide, Elem::F32), (numbers, desc.elem), elements)?;
    }
    Ok(())
}
