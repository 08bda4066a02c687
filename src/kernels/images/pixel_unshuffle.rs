//! Space to depth, and back.

use super::texture_copy::{TexelDigit, move_texels};
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, Texels};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::flat;
use crate::reference::{self, BlockLayout};
use crate::tensor::{Desc, Element, HostTensor, Shape, with_element};

/// Fields of `Params` that are all u32.
const fn words<const N: usize>(names: [&'static str; N]) -> [(&'static str, &'static str); N] {
    let mut fields = [("", "u32"); N];
    let mut i = 0;
    while i < N {
        fields[i].0 = names[i];
        i += 1;
    }
    fields
}

/// `Params` of the strided copy: six numbers, then (size, read, write, row, column) for the digit
/// that an invocation repeats and for each of the six others.
#[rustfmt::skip]
const MOVE_PARAMS: &[(&str, &str)] = &words([
    "invocations", "digits", "offset", "rows", "columns", "fill", //
    "repeat", "repeat_read", "repeat_write", "repeat_row", "repeat_column", //
    "size0", "read0", "write0", "row0", "column0", //
    "size1", "read1", "write1", "row1", "column1", //
    "size2", "read2", "write2", "row2", "column2", //
    "size3", "read3", "write3", "row3", "column3", //
    "size4", "read4", "write4", "row4", "column4", //
    "size5", "read5", "write5", "row5", "column5",
]);

/// `Params` of the transposition: six numbers, then (size, read, write) for the digit that an invocation goes through and for each of
/// five others.
#[rustfmt::skip]
const TRANSPOSE_PARAMS: &[(&str, &str)] = &words([
    "tiles", "digits", "offset", "halves", "plane", "plane_pair", //
    "repeat", "repeat_read", "repeat_write", //
    "size0", "read0", "write0", "size1", "read1", "write1", "size2", "read2", "write2", //
    "size3", "read3", "write3", "size4", "read4", "write4",
]);

pub(super) static MOVE: Shader = Shader {
    name: "pixel_unshuffle",
    source: include_str!("../../../shaders/images/pixel_unshuffle.wgsl"),
    includes: &[Include::Ahead],
    headers: &[Header::F16, Header::U32, Header::Words],
    inputs: &[("source", BindingElem::Elem)],
    outputs: &[("moved", BindingElem::Elem)],
    params: MOVE_PARAMS,
    tunings: &[&[]],
};

pub(super) static TRANSPOSE: Shader = Shader {
    name: "pixel_unshuffle.transpose",
    source: include_str!("../../../shaders/images/pixel_unshuffle.transpose.wgsl"),
    includes: &[],
    headers: &[Header::Words],
    params: TRANSPOSE_PARAMS,
    tunings: &[
        &[("PLANES", 2), ("SPLIT", 0)],
        &[("PLANES", 2), ("SPLIT", 1)],
        &[("PLANES", 4), ("SPLIT", 0)],
        &[("PLANES", 4), ("SPLIT", 1)],
    ],
    ..MOVE
};

type Tuning = &'static [(&'static str, u32)];

/// Order of the elements within a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ChannelOrder {
    /// (dy, dx, channel): whole tokens one after the other. InternVL, NVLM, Idefics3, SmolVLM, Llama 4, Qwen2-VL.
    #[default]
    PositionFirst,
    /// (channel, dy, dx): PyTorch's `PixelUnshuffle` and `F.unfold`. Mistral 3, Pixtral, DeepSeek.
    ChannelFirst,
}

/// Order of the blocks of an image of tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum TokenOrder {
    /// Row by row.
    #[default]
    RowMajor,
    /// Column by column: block (i, j) of `rows` x `columns` blocks is token `j * rows + i`. InternVL v1.
    Transposed,
}

/// Pixel unshuffle (space to depth): every block of `factor` tokens becomes one token with all their channels. Pixel shuffle
/// (depth to space) is its inverse. Elements move bit for bit.
///
/// With a factor of kh x kw, block (i, j) holds the tokens `(i * kh + dy, j * kw + dx)`. A token may be a pixel: an image that lies in a
/// texture ([`TextureView`](crate::TextureView)) is read there, or written there, in the same one dispatch.
///
/// Cost: one dispatch; one read and one write of each element. An invocation moves 16 bytes where runs that are contiguous on
/// both sides, or the rows of a transposition by 2 or 4, have multiples of 16 bytes at multiples of 16; otherwise 4 or 2.
///
/// ```
/// use tokenpress::kernels::PixelUnshuffle;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// // Two rows of four tokens of one channel become two tokens of four channels.
/// let x = graph.constant(HostTensor::u32([1, 8, 1], (0..8).collect()));
/// let blocks = PixelUnshuffle::default().unshuffle_tokens(&mut graph, x, [2, 4])?;
/// graph.output("blocks", blocks)?;
/// assert_eq!(blocks.shape().dims(), [1, 2, 4]);
/// assert_eq!(graph.run_reference(&[].into())?["blocks"].integers(), [0, 1, 4, 5, 2, 3, 6, 7]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("space_to_depth", "depth_to_space", "pixel_shuffle", "patch_merging", "texture"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PixelUnshuffle {
    /// Rows and columns of a block, each at least 1.
    pub factor: [u32; 2],
    /// Order within a block.
    pub channels: ChannelOrder,
    /// Order of the blocks.
    pub tokens: TokenOrder,
    /// Sizes that are no multiples of the factor get zeros at the right and at the bottom, and shuffling drops them. Without it
    /// such sizes are an error.
    pub pad: bool,
    /// Tokens before the image's first, which are dropped: class tokens. Shuffling does not bring them back.
    pub skip: u32,
}

impl Default for PixelUnshuffle {
    fn default() -> Self {
        Self { factor: [2, 2], channels: ChannelOrder::default(), tokens: TokenOrder::default(), pad: false, skip: 0 }
    }
}

impl PixelUnshuffle {
    /// Blocks of an image of tokens.
    ///
    /// `x` is `[B, skip + h * w, C]`, or `[B, h, w, C]` where nothing is skipped, of any element type; `grid` is `[h, w]`.
    /// Gives `[B, ceil(h / kh) * ceil(w / kw), kh * kw * C]`.
    pub fn unshuffle_tokens(&self, graph: &mut Graph, x: Tensor, grid: [u32; 2]) -> Result<Tensor, Error> {
        let x = flat(graph, x, grid)?;
        self.call(graph, x, grid, false, Direction::Unshuffle)
    }

    /// The image of these blocks: the inverse of [`PixelUnshuffle::unshuffle_tokens`]. Skipped tokens do not come back.
    ///
    /// `blocks` is `[B, ceil(h / kh) * ceil(w / kw), kh * kw * C]`; `grid` is the image's `[h, w]`. Gives `[B, h * w, C]`.
    pub fn shuffle_tokens(&self, graph: &mut Graph, blocks: Tensor, grid: [u32; 2]) -> Result<Tensor, Error> {
        Self { skip: 0, ..*self }.call(graph, blocks, grid, false, Direction::Shuffle)
    }

    /// Blocks of a planar image: `[B, C, h, w]` to `[B, kh * kw * C, ceil(h / kh), ceil(w / kw)]`.
    ///
    /// PyTorch's `PixelUnshuffle` is [`ChannelOrder::ChannelFirst`]. Planar blocks have no order but rows and columns, and
    /// no tokens before them: [`TokenOrder::Transposed`] and `skip` are errors.
    pub fn unshuffle_planar(&self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        let [_, _, h, w] = x.shape().exactly("pixel_unshuffle: x", "[B, C, h, w]")?;
        self.call(graph, x, [h, w], true, Direction::Unshuffle)
    }

    /// The planar image of these blocks: the inverse of [`PixelUnshuffle::unshuffle_planar`].
    ///
    /// `blocks` is `[B, kh * kw * C, ceil(h / kh), ceil(w / kw)]`; `size` is the image's `[h, w]`. Gives `[B, C, h, w]`.
    pub fn shuffle_planar(&self, graph: &mut Graph, blocks: Tensor, size: [u32; 2]) -> Result<Tensor, Error> {
        self.call(graph, blocks, size, true, Direction::Shuffle)
    }

    fn call(&self, graph: &mut Graph, x: Tensor, size: [u32; 2], planar: bool, direction: Direction) -> Result<Tensor, Error> {
        Ok(graph.call(Rearrange { options: *self, size, planar, direction }, &[x])?[0])
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Unshuffle,
    Shuffle,
}

/// One call: options, the image's size, and which way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rearrange {
    pub(crate) options: PixelUnshuffle,
    pub(crate) size: [u32; 2],
    pub(crate) planar: bool,
    pub(crate) direction: Direction,
}

/// One of the numbers that name an element, and what a step of it adds to everything that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Digit {
    size: u64,
    image: u64,
    blocks: u64,
    row: u64,
    column: u64,
}

/// A digit in the direction of a call, in units of what an invocation moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    size: u64,
    read: u64,
    write: u64,
    row: u64,
    column: u64,
}

impl Rearrange {
    fn argument(&self) -> &'static str {
        match self.direction {
            Direction::Unshuffle => "pixel_unshuffle: x",
            Direction::Shuffle => "pixel_shuffle: blocks",
        }
    }

    /// The image's channels, given what comes in.
    fn channels(&self, input: Shape) -> u32 {
        let channels = input.dims()[if self.planar { 1 } else { 2 }];
        match self.direction {
            Direction::Unshuffle => channels,
            Direction::Shuffle => channels / (self.options.factor[0] * self.options.factor[1]),
        }
    }

    fn layout(&self, input: Shape) -> BlockLayout {
        BlockLayout {
            batch: input.dims()[0] as usize,
            size: self.size.map(|s| s as usize),
            channels: self.channels(input) as usize,
            factor: self.options.factor.map(|f| f as usize),
            skip: self.options.skip as usize,
            planar: self.planar,
            channel_first: self.options.channels == ChannelOrder::ChannelFirst,
            transposed: self.options.tokens == TokenOrder::Transposed,
        }
    }

    /// Batch, block row, block column, dy, dx, channel.
    fn digits(&self, layout: &BlockLayout) -> [Digit; 6] {
        let [h, w] = layout.size.map(|s| s as u64);
        let [kh, kw] = layout.factor.map(|f| f as u64);
        let [rows, columns] = layout.blocks().map(|n| n as u64);
        let (c, tokens) = (layout.channels as u64, layout.skip as u64 + h * w);
        // Distance of a row, a column, a channel of the image; of a block row and column; of a block element.
        let (y, x, channel) = if self.planar { (w, 1, h * w) } else { (w * c, c, 1) };
        let element = if self.planar { rows * columns } else { 1 };
        let block = if self.planar { 1 } else { kh * kw * c };
        let (block_row, block_column) = if layout.transposed { (block, rows * block) } else { (columns * block, block) };
        let (dy, dx, in_block) = if layout.channel_first { (kw, 1, kh * kw) } else { (kw * c, c, 1) };
        let digit = |size, image, blocks, row, column| Digit { size, image, blocks, row, column };
        [
            digit(layout.batch as u64, tokens * c, rows * columns * kh * kw * c, 0, 0),
            digit(rows, kh * y, block_row, kh, 0),
            digit(columns, kw * x, block_column, 0, kw),
            digit(kh, y, dy * element, 1, 0),
            digit(kw, x, dx * element, 0, 1),
            digit(c, channel, in_block * element, 0, 0),
        ]
    }

    /// Digits in this call's direction, without conditions on a row or a column where all of them exist.
    fn steps(&self, digits: &[Digit]) -> Vec<Step> {
        let [partial_row, partial_column] = self.partial();
        let step = |d: &Digit| {
            let (read, write) = if self.direction == Direction::Unshuffle { (d.image, d.blocks) } else { (d.blocks, d.image) };
            Step { size: d.size, read, write, row: if partial_row { d.row } else { 0 }, column: if partial_column { d.column } else { 0 } }
        };
        digits.iter().map(step).collect()
    }

    /// Whether the last blocks reach below, and to the right of, the image.
    fn partial(&self) -> [bool; 2] {
        std::array::from_fn(|i| !self.size[i].is_multiple_of(self.options.factor[i]))
    }

    /// Whether a texture of these texels is the image.
    fn is_image(&self, layout: &BlockLayout, texels: &Texels) -> bool {
        texels.are_image(self.size, layout.channels as u32, self.planar) && (layout.batch, layout.skip) == (1, 0)
    }

    /// Elements of the source before the image's first.
    fn offset(&self, layout: &BlockLayout) -> u64 {
        layout.skip as u64 * layout.channels as u64
    }

    /// The call as a transposition in registers, where it is one by 2 or 4, and sizes and places are multiples of 16
    /// bytes.
    fn transposition(&self, layout: &BlockLayout, elem_size: u64, alignment: u64, software: bool) -> Option<([u32; 24], Tuning)> {
        let [batch, block_row, block_column, dy, dx, channel] = self.digits(layout);
        // Digits of the planes; the digit that runs along a plane; the rest.
        let (planes, along, rest) = if self.planar {
            ([Digit { size: 1, ..dy }, dx], block_column, vec![batch, block_row, dy, channel])
        } else if layout.channel_first {
            ([dy, dx], channel, vec![batch, block_row, block_column])
        } else {
            return None;
        };
        let width = 16 / elem_size;
        let count = planes[0].size * planes[1].size;
        if ![2, 4].contains(&count) || alignment != 16 || self.partial() != [false, false] || !along.size.is_multiple_of(width) {
            return None;
        }
        let mut steps = self.steps(&rest);
        let split = self.planar == (self.direction == Direction::Unshuffle);
        let (interleaved, plane) = (count * width, width);
        let (read, write) = if split { (interleaved, plane) } else { (plane, interleaved) };
        steps.push(Step { size: along.size / width, read, write, row: 0, column: 0 });
        // From a plane to the next, on the side that has planes.
        let distance = |p: u64| {
            let side = |d: Digit| if self.planar { d.blocks } else { d.image };
            p / planes[1].size * side(planes[0]) + p % planes[1].size * side(planes[1])
        };
        let mut numbers = vec![self.offset(layout), distance(1), if count == 4 { distance(2) } else { 0 }];
        for step in &steps {
            numbers.extend([step.read, step.write]);
        }
        if !numbers.iter().all(|n| n.is_multiple_of(width)) {
            return None;
        }
        let mut steps = joined(steps.into_iter().map(|s| Step { read: s.read / width, write: s.write / width, ..s }).collect());
        // Tokens are long runs: there a CPU is faster in one.
        let repeat = if software && self.planar { gone_through(&mut steps) } else { ONCE };
        let mut params = [0; 24];
        let tiles: u64 = steps.iter().map(|s| s.size).product();
        let halves = u64::from(elem_size == 2);
        let head = [tiles, steps.len() as u64, numbers[0] / width, halves, numbers[1] / width, numbers[2] / width];
        let body = std::iter::once(&repeat).chain(steps.iter().rev()).flat_map(|s| [s.size, s.read, s.write]);
        for (param, value) in params.iter_mut().zip(head.into_iter().chain(body)) {
            *param = value as u32;
        }
        let index = usize::from(count == 4) * 2 + usize::from(split);
        Some((params, TRANSPOSE.tunings[index]))
    }
}

/// Sorted by where they write, and joined where two neighbours are one digit on both sides. Never empty.
fn joined(mut steps: Vec<Step>) -> Vec<Step> {
    steps.retain(|s| s.size != 1);
    steps.sort_by_key(|s| std::cmp::Reverse(s.write));
    let mut joined: Vec<Step> = Vec::new();
    for inner in steps {
        match joined.last_mut() {
            Some(outer)
                if [outer.read, outer.write, outer.row, outer.column]
                    == [inner.read, inner.write, inner.row, inner.column].map(|n| n * inner.size) =>
            {
                *outer = Step { size: outer.size * inner.size, ..inner };
            }
            _ => joined.push(inner),
        }
    }
    if joined.is_empty() {
        joined.push(Step { size: 1, read: 1, write: 1, row: 0, column: 0 });
    }
    joined
}

/// A step that is taken once.
const ONCE: Step = Step { size: 1, read: 0, write: 0, row: 0, column: 0 };

/// Up to eight steps that follow each other, out of the innermost digit but one that has them. A CPU's invocation takes them all, since it
/// divides slowly.
fn gone_through(steps: &mut [Step]) -> Step {
    let parts = |size: u64| (2..=8).rev().find(|parts| size.is_multiple_of(*parts));
    let inner = steps.len() - 1;
    for step in steps[..inner].iter_mut().rev() {
        if let Some(parts) = parts(step.size) {
            let repeat = Step { size: parts, ..*step };
            *step = Step { size: step.size / parts, read: step.read * parts, write: step.write * parts, ..*step };
            return repeat;
        }
    }
    ONCE
}

/// The widest elements in which these steps can be taken.
fn header(steps: &[Step], offset: u64, elem_size: u64, alignment: u64) -> Header {
    let fits = |bytes: u64| {
        let per = bytes / elem_size;
        let Some((inner, outer)) = steps.split_last() else { return false };
        let run = inner.read == 1 && inner.write == 1 && inner.row == 0 && inner.column == 0 && inner.size.is_multiple_of(per);
        let others = outer.iter().all(|s| s.read.is_multiple_of(per) && s.write.is_multiple_of(per));
        bytes == elem_size || (run && others && offset.is_multiple_of(per) && alignment.is_multiple_of(bytes))
    };
    match (fits(16), fits(4)) {
        (true, _) => Header::Words,
        (_, true) => Header::U32,
        _ => Header::F16,
    }
}

/// The same steps in units of `per` elements, of which the innermost counts so many fewer.
fn in_units(mut steps: Vec<Step>, per: u64) -> Vec<Step> {
    let inner = steps.len() - 1;
    for (index, step) in steps.iter_mut().enumerate() {
        if index == inner {
            step.size /= per;
        } else {
            step.read /= per;
            step.write /= per;
        }
    }
    steps
}

/// The part of a digit that an invocation repeats its move for, and what is left: several moves share the arithmetic of one
/// address.
///
/// A part of a long run, if there is one, and otherwise of a digit outside of the run: neighbours then still write
/// neighbouring elements.
fn repeated(mut steps: Vec<Step>, header: Header, software: bool) -> (Step, Vec<Step>) {
    // A CPU has few invocations side by side, and divides slowly.
    let (neighbours, most) = if software { (8, 32) } else { (32, 8) };
    let parts = |size: u64| (2..=most).rev().find(|parts| size.is_multiple_of(*parts)).unwrap_or(1);
    let inner = steps.len() - 1;
    let run = steps[inner].size;
    let long = header == Header::Words && run / parts(run) >= neighbours;
    let chosen = if long { Some(inner) } else { (0..inner).max_by_key(|&i| (parts(steps[i].size), i)) };
    let Some(digit) = chosen.map(|index| &mut steps[index]) else { return (ONCE, steps) };
    let count = parts(digit.size);
    digit.size /= count;
    let [read, write, row, column] = [digit.read, digit.write, digit.row, digit.column].map(|distance| distance * digit.size);
    (Step { size: count, read, write, row, column }, steps)
}

impl Kernel for Rearrange {
    fn name(&self) -> &'static str {
        match self.direction {
            Direction::Unshuffle => "pixel_unshuffle",
            Direction::Shuffle => "pixel_shuffle",
        }
    }

    fn output_names(&self) -> &'static [&'static str] {
        match self.direction {
            Direction::Unshuffle => &["blocks"],
            Direction::Shuffle => &["image"],
        }
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let (argument, actual) = (self.argument(), inputs[0].shape);
        let (PixelUnshuffle { factor, pad, skip, .. }, [h, w]) = (self.options, self.size);
        let value = |argument, expected: &str, actual: String| Err(Error::Value { argument, expected: expected.to_owned(), actual });
        if factor.contains(&0) {
            return value("pixel_unshuffle: factor", "at least 1", format!("{factor:?}"));
        }
        if self.planar && self.options.tokens == TokenOrder::Transposed {
            return value("pixel_unshuffle: tokens", "RowMajor for a planar image", "Transposed".to_owned());
        }
        if self.planar && skip != 0 {
            return value("pixel_unshuffle: skip", "0 for a planar image", skip.to_string());
        }
        let wrong = |expected: String| Error::Shape { argument, expected, actual };
        if self.partial() != [false, false] && !pad {
            return Err(wrong(format!("a grid of multiples of {factor:?} (or `pad`), not {:?}", self.size)));
        }
        let [rows, columns] = [h.div_ceil(factor[0]), w.div_ceil(factor[1])];
        let product = |dims: &[u32]| {
            let product = dims.iter().try_fold(1u64, |p, &d| p.checked_mul(u64::from(d)));
            product.and_then(|p| u32::try_from(p).ok()).ok_or_else(|| wrong("dimensions whose products stay below 2^32".to_owned()))
        };
        let per_block = product(&factor)?;
        let tokens = u64::from(skip) + u64::from(product(&[h, w])?);
        let blocks = product(&[rows, columns])?;
        let desc = |shape: Shape| Ok(vec![Desc { shape, elem: inputs[0].elem }]);
        match (self.direction, self.planar) {
            (Direction::Unshuffle, false) => match *actual.dims() {
                [b, n, c] if u64::from(n) == tokens => desc([b, blocks, product(&[c, per_block])?].into()),
                _ => Err(wrong(format!("[B, {tokens}, C]{}", if skip == 0 { format!(" or [B, {h}, {w}, C]") } else { String::new() }))),
            },
            (Direction::Shuffle, false) => match *actual.dims() {
                [b, n, c] if n == blocks && c.is_multiple_of(per_block) => desc([b, h * w, c / per_block].into()),
                _ => Err(wrong(format!("[B, {blocks}, C] with C a multiple of {per_block}"))),
            },
            (Direction::Unshuffle, true) => match *actual.dims() {
                [b, c, ..] => desc([b, product(&[c, per_block])?, rows, columns].into()),
                _ => Err(wrong("[B, C, h, w]".to_owned())),
            },
            (Direction::Shuffle, true) => match *actual.dims() {
                [b, c, i, j] if [i, j] == [rows, columns] && c.is_multiple_of(per_block) => desc([b, c / per_block, h, w].into()),
                _ => Err(wrong(format!("[B, C, {rows}, {columns}] with C a multiple of {per_block}"))),
            },
        }
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        fn run<T: Element>(rearrange: &Rearrange, input: &HostTensor) -> HostTensor {
            let shape = input.shape();
            let (layout, [h, w]) = (rearrange.layout(shape), rearrange.size);
            let [rows, columns] = layout.blocks().map(|n| n as u32);
            let (batch, channels) = (shape.dims()[0], layout.channels as u32);
            let wide = channels * rearrange.options.factor[0] * rearrange.options.factor[1];
            match rearrange.direction {
                Direction::Unshuffle => {
                    let blocks = reference::pixel_unshuffle(T::slice(input), layout, T::ZERO);
                    let planar = rearrange.planar;
                    T::tensor(if planar { [batch, wide, rows, columns].into() } else { [batch, rows * columns, wide].into() }, blocks)
                }
                Direction::Shuffle => {
                    let image = reference::pixel_shuffle(T::slice(input), layout, T::ZERO);
                    T::tensor(if rearrange.planar { [batch, channels, h, w].into() } else { [batch, h * w, channels].into() }, image)
                }
            }
        }
        vec![with_element!(inputs[0].desc().elem, T => run::<T>(self, inputs[0]))]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let input = lowering.input(0);
        if lowering.output(0).shape.elements() == 0 {
            return Ok(());
        }
        let layout = self.layout(input.shape);
        let slots = [Slot::Input(0), Slot::Output(0)];
        let back = self.direction == Direction::Shuffle;
        let (texture, numbers) = if back { (slots[1], slots[0]) } else { (slots[0], slots[1]) };
        if let Some(texels) = lowering.texels(texture).filter(|texels| self.is_image(&layout, texels)) {
            let [_, block_row, block_column, dy, dx, channel] = self.digits(&layout);
            let digit = |d: Digit| TexelDigit { size: d.size, row: d.row, column: d.column, number: d.blocks };
            let mut digits = [block_row, block_column, dy, dx].map(digit);
            // Neighbouring invocations have neighbouring numbers.
            digits.sort_by_key(|digit| std::cmp::Reverse(digit.number));
            let elem = if back { input.elem } else { lowering.output(0).elem };
            return move_texels(lowering, texels, (texture, numbers, elem), digits, channel.blocks, back);
        }
        let (elem_size, alignment) = (input.elem.size(), lowering.alignment(&slots));
        if let Some((params, constants)) = self.transposition(&layout, elem_size, alignment, lowering.capabilities().software) {
            let groups = u64::from(params[0]).div_ceil(128);
            return lowering.dispatch(Call { shader: &TRANSPOSE, header: Header::Words, constants, slots: &slots, params, groups });
        }
        let (steps, offset) = (joined(self.steps(&self.digits(&layout))), self.offset(&layout));
        let header = header(&steps, offset, elem_size, alignment);
        let per = header.size() / elem_size;
        let mut params = [0; 41];
        let [partial_row, partial_column] = self.partial();
        // Without a part of a block, rows and columns count to 0: all are below 1.
        let [rows, columns] = [if partial_row { self.size[0] } else { 1 }, if partial_column { self.size[1] } else { 1 }];
        let steps = in_units(steps, per);
        let (repeat, steps) = repeated(steps, header, lowering.capabilities().software);
        let invocations = steps.iter().map(|s| s.size).product::<u64>();
        let fill = u64::from(self.direction == Direction::Unshuffle);
        let head = [invocations, steps.len() as u64, offset / per, u64::from(rows), u64::from(columns), fill];
        let body = std::iter::once(&repeat).chain(steps.iter().rev()).flat_map(|s| [s.size, s.read, s.write, s.row, s.column]);
        for (param, value) in params.iter_mut().zip(head.into_iter().chain(body)) {
            *param = value as u32;
        }
        lowering.dispatch(Call { shader: &MOVE, header, constants: &[], slots: &slots, params, groups: invocations.div_ceil(128) })
    }
}
