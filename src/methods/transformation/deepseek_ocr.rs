//! DeepSeek-OCR: convolutions between its two encoders leave a sixteenth of the tokens.
//!
//! Wei et al., "DeepSeek-OCR: Contexts Optical Compression" (2025), `https://arxiv.org/abs/2510.18234`.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::Convolution;

/// The compressor after DeepSeek-OCR's first encoder: 3 x 3 convolutions of stride 2 without a bias, each of which halves rows
/// and columns. `net_2` and `net_3` of deepseek-ai/DeepSeek-OCR, `deepencoder/sam_vary_sdpa.py`.
///
/// `x` is `[B, h * w, C]`, `grid` `[h, w]`. Each weight is `[O, C, 3, 3]`, and its C is the O of the weight before. The published model
/// has two, of 512 and 1024 channels, and makes 16 x 16 tokens of 64 x 64. Gives `[B, h' * w', O]` and `[h', w']`, halves rounded up.
///
/// Cost: two dispatches a weight, `18 h' w' C O` operations, and `9 / 4` times as much memory as its input for the windows.
///
/// ```
/// use tokenpress::methods::deepseek_ocr_compressor;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [1, 16, 1], Elem::F32);
/// let weight = graph.constant(HostTensor::f32([1, 1, 3, 3], vec![1.0; 9]));
/// let (y, grid) = deepseek_ocr_compressor(&mut graph, x, [4, 4], &[weight, weight])?;
/// assert_eq!(grid, [1, 1]);
/// graph.output("y", y)?;
/// let x = HostTensor::f32([1, 16, 1], vec![1.0; 16]);
/// assert_eq!(graph.run_reference(&[("x".to_owned(), x)].into())?["y"].floats(), [25.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
pub fn deepseek_ocr_compressor(graph: &mut Graph, x: Tensor, grid: [u32; 2], weights: &[Tensor]) -> Result<(Tensor, [u32; 2]), Error> {
    let half = Convolution { stride: [2, 2], padding: [1, 1] };
    let mut image = (x, grid);
    for &weight in weights {
        let (x, grid) = image;
        image = (half.dense(graph, x, grid, weight, None)?, half.places(grid, weight)?);
    }
    Ok(image)
}
