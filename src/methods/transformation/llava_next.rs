//! LLaVA-NeXT and LLaVA-OneVision: a large image as an overview and the tokens of its tiles, without what was padding.
//!
//! Li et al., "LLaVA-OneVision: Easy Visual Task Transfer" (2024), `https://arxiv.org/abs/2408.03326`; `llava_arch.py` of
//! LLaVA-VL/LLaVA-NeXT.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Pool, concat_rows, gather_rows};
use crate::methods::transformation::newline::behind_rows;
use crate::schedule::{floor_division, truncated_after_rounding};

/// How the rows (or columns) that an image takes of its canvas become a whole number. It matters where their exact number is whole:
/// 396 x 704 pixels take 27 of 48 rows, which in f64 are 26.999999999999996.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Unpadding {
    /// Truncated, `int(x)`: the code that the models were published with, `unpad_image` of haotian-liu/LLaVA and LLaVA-VL/LLaVA-NeXT,
    /// `llava_arch.py`.
    Llava,
    /// Rounded to seven decimals, then truncated, `int(round(x, 7))`: huggingface/transformers from 4.49 on (pull request 35779) and
    /// vLLM since it follows it.
    #[default]
    Transformers,
}

/// The tokens of an image that was fitted into a rectangle of square tiles (`anyres`, `spatial_unpad`).
///
/// ```text
/// canvas   = the tiles' grids beside and below each other
/// unpadded = the canvas without the rows, or columns, that padded the image at both sides
/// shrunk   = bilinear to [h // t, w // t] where t = sqrt(h w / (most_tiles edge^2)) is above 1.1
/// y        = [the overview's tokens, row 0 of shrunk, newline, row 1, newline, ..]
/// ```
///
/// Numbers are computed in f64 as Python computes them: `//` is its division of floats, by the exact remainder. So a square canvas of
/// 135 rows with 9 tiles of 27 x 27 becomes 80 x 80 (`floor(135 / t)` would be 81).
///
/// Cost: two gathers, an interpolation where the image shrinks, two dispatches for the newlines, one to join.
///
/// ```
/// use tokenpress::methods::{LlavaNext, Unpadding};
/// use tokenpress::{Elem, Graph};
/// let mut graph = Graph::new();
/// let x = graph.input("x", [1, 1 + 2 * 3, 729, 8], Elem::F32); // an overview, and 2 x 3 tiles of 27 x 27 tokens
/// let newline = Some(graph.input("newline", [8], Elem::F32));
/// let unpadding = Unpadding::Transformers;
/// let method = LlavaNext { edge: 27, tiles: [2, 3], image: [800, 1600], unpadding, most_tiles: Some(9), newline };
/// assert_eq!(method.unpadded(), [40, 81]);
/// let y = method.build(&mut graph, x)?;
/// assert_eq!(y.shape().dims(), [1, 729 + 40 * (81 + 1), 8]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("anyres", "unpad"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LlavaNext {
    /// Rows and columns of a tile, in tokens.
    pub edge: u32,
    /// Rows and columns of tiles.
    pub tiles: [u32; 2],
    /// Height and width of the image before it was fitted, in any unit; at least 1.
    pub image: [u32; 2],
    /// Whose rounding decides what was padding.
    pub unpadding: Unpadding,
    /// As many tiles' tokens as may be left, or a little more (N of `anyres_max_N`); all stay for `None`.
    pub most_tiles: Option<u32>,
    /// Learned token `[C]` after each row.
    pub newline: Option<Tensor>,
}

impl LlavaNext {
    /// Rows and columns of the canvas.
    fn canvas(&self) -> [u32; 2] {
        self.tiles.map(|tiles| tiles.saturating_mul(self.edge))
    }

    /// Rows and columns of the canvas without the padding, in the published code's f64 arithmetic.
    pub fn unpadded(&self) -> [u32; 2] {
        let canvas = self.canvas();
        let [height, width] = self.image.map(f64::from);
        let [rows, columns] = canvas.map(f64::from);
        let is_wider = width / height > columns / rows;
        let (axis, inner) = if is_wider { (0, height * (columns / width)) } else { (1, width * (rows / height)) };
        let inner = match self.unpadding {
            Unpadding::Llava => inner.trunc(),
            Unpadding::Transformers => truncated_after_rounding(inner),
        };
        let mut left = canvas;
        // As many go at one side as at the other: of an odd number one stays.
        left[axis] -= canvas[axis].saturating_sub(inner as u32) / 2 * 2;
        left
    }

    /// Rows and columns that stay.
    pub fn outputs(&self) -> [u32; 2] {
        let [rows, columns] = self.unpadded().map(f64::from);
        let most = self.most_tiles.map_or(f64::INFINITY, f64::from) * f64::from(self.edge) * f64::from(self.edge);
        let times = (rows * columns / most).sqrt();
        if times > 1.1 { [rows, columns].map(|n| floor_division(n, times) as u32) } else { self.unpadded() }
    }

    /// Tokens `[B, N', C]` of images `x` `[B, 1 + tiles, edge * edge, C]`, the overview first; f32, f16 or bf16.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for tensors that are not as above; [`Error::Value`] for an image without pixels, a canvas
    /// without tokens, `most_tiles` of 0, or so few tiles that a side of the image would shrink to nothing.
    pub fn build(&self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        let [batch, tiles, tokens, channels] = x.shape().exactly("llava_next: x", "[B, 1 + tiles, edge * edge, C]")?;
        let [rows, columns] = self.canvas();
        let empty = self.image.contains(&0) || rows == 0 || columns == 0 || self.most_tiles == Some(0);
        // With room for the overview, which is a tile, and a newline after each row.
        let outer = [rows, batch, channels].map(|d| u128::from(d.max(1))).iter().product::<u128>();
        if empty || outer.saturating_mul(2 * u128::from(columns) + 1) > u128::from(u32::MAX) {
            let expected = "images, tiles and a limit of at least 1, and fewer than 2^32 numbers".to_owned();
            return Err(Error::Value { argument: "llava_next: image", expected, actual: format!("{self:?}") });
        }
        let edge = self.edge;
        let expected = [batch, 1 + self.tiles[0] * self.tiles[1], edge * edge, channels];
        if [batch, tiles, tokens, channels] != expected {
            return Err(Error::Shape { argument: "llava_next: x", expected: format!("{expected:?}"), actual: x.shape() });
        }
        let x = graph.reshape(x, [batch, tiles * tokens, channels])?;
        let overview = graph.counted([tokens], 0, 1);
        let overview = gather_rows(graph, x, overview, None)?;

        let [h, w] = self.unpadded();
        let (top, left) = ((rows - h) / 2, (columns - w) / 2);
        let token = |(row, column): (u32, u32)| {
            let tile = 1 + row / edge * self.tiles[1] + column / edge;
            tile * tokens + row % edge * edge + column % edge
        };
        let places = (top..top + h).flat_map(|row| (left..left + w).map(move |column| (row, column)));
        let places = graph.listed("llava_next: image", [h * w], || places.map(token).collect())?;
        let mut image = gather_rows(graph, x, places, None)?;
        let [h_left, w_left] = self.outputs();
        if h * w > 0 && h_left * w_left == 0 {
            let expected = format!("enough tiles to leave a row and a column of {h} x {w}");
            return Err(Error::Value { argument: "llava_next: most_tiles", expected, actual: format!("{:?}", self.most_tiles) });
        }
        if [h_left, w_left] != [h, w] {
            image = Pool::Bilinear([h_left, w_left]).build(graph, image, [h, w], None)?;
        }
        if let Some(newline) = self.newline {
            image = behind_rows(graph, image, [h_left, w_left], newline)?;
        }
        Ok(concat_rows(graph, (overview, None), (image, None))?.0)
    }
}
