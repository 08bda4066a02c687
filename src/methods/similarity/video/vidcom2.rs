//! VidCom2: tokens that stand out from their frame and from the video, more of them of frames that do.
//!
//! Liu et al., "Video Compression Commander: Plug-and-Play Inference Acceleration for Video Large Language Models" (EMNLP 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{FrameBudget, Order, Statistic, TopK, TopKInputs, add, gather_rows, gaussian_similarity, reduce, row_normalize};
use crate::methods::parts::keep::keep_marked;
use crate::methods::parts::lists::{product, select_mask};
use crate::methods::similarity::video::frames::Frames;
use crate::options;
use crate::token_map::{Compressed, Tokens};

/// Keeps of every frame the tokens that are least like the frame's mean and the video's.
///
/// ```text
/// u_i = the half of x_i's channels that vary least over the video, int(C / 2) of them, as a unit vector
/// g(u, c) = sum_k exp(-|u - c|^2 / (2 2^k)), k = -3 .. 1          c: mean of u over the video, or over the frame
/// budget of a frame of n tokens: round(n min(1, base (1 + p - mean p))), at least 1,
///                                p = softmax over frames of -mean g(u, video) / 0.01
/// keep each frame's budget of tokens of the lowest g(u, video) + g(u, frame), in order
/// ```
///
/// As published the number kept is near `base` of all tokens, and not exactly that; it stays on the GPU. Ties go to the
/// lowest position; rows with a NaN or an infinity count as zeros. Variances of f16 tokens are f16.
///
/// Cost: about six reads of the tokens or of half of their channels, a selection, one copy of what is kept.
///
/// ```
/// use tokenpress::methods::VidCom2;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 2], Elem::F32)?;
/// let kept = VidCom2 { tokens_per_frame: 2, base: 0.6 }.build(&mut graph, &tokens)?;
/// graph.output("budgets", kept.budgets)?;
/// graph.output("x'", kept.compressed.tokens.x)?;
/// let x = HostTensor::f32([1, 4, 2], vec![1.0, 9.0, 1.0, 5.0, 1.0, 2.0, -1.0, 7.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["budgets"].integers(), [1, 2]);
/// assert_eq!(out["x'"].floats()[..6], [1.0, 9.0, 1.0, 2.0, -1.0, 7.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VidCom2 {
    /// Tokens of a frame.
    pub tokens_per_frame: u32,
    /// Share of the tokens that an ordinary frame keeps, 0 to 1.
    pub base: f32,
}

/// Tokens after VidCom2, and what chose them.
#[derive(Debug, Clone, Copy)]
pub struct VidCom2Output {
    /// The tokens left, in order, and where the others went.
    pub compressed: Compressed,
    /// Nearness of each token to the video's and its frame's mean, `[batch, tokens]` f32.
    pub score: Tensor,
    /// Tokens that each frame keeps, `[batch, frames]` u32.
    pub budgets: Tensor,
}

impl VidCom2 {
    /// Prunes `tokens`, frame after frame.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens) -> Result<VidCom2Output, Error> {
        let frames = Frames::of(tokens, self.tokens_per_frame, "vidcom2: tokens_per_frame")?;
        options::share("vidcom2: base", f64::from(self.base))?;
        let [batch, capacity, _] = tokens.checked()?;
        let lengths = Some(tokens.lengths);
        let unit = steady_channels(graph, tokens)?;
        let unit = row_normalize(graph, unit, lengths)?.unit;
        let [_, _, channels] = unit.shape().exactly("vidcom2: unit", "[B, N, C]")?;

        let center = reduce(graph, unit, 1, Statistic::Mean, lengths)?;
        let near_video = gaussian_similarity(graph, unit, center, lengths)?;
        // Every frame as a batch row.
        let rows = product("vidcom2: x", tokens.x.shape(), batch, frames.count)?;
        let frame_lengths = frames.lengths(graph, tokens)?;
        let lengths = Some(graph.reshape(frame_lengths, [rows])?);
        let unit = frames.resized(graph, unit, frames.count * frames.size)?;
        let unit = graph.reshape(unit, [rows, frames.size, channels])?;
        let centers = reduce(graph, unit, 1, Statistic::Mean, lengths)?;
        let near_frame = gaussian_similarity(graph, unit, centers, lengths)?;
        let near_video = frames.split(graph, near_video)?;
        let near_video = graph.reshape(near_video, [rows, frames.size])?;
        let of_frame = reduce(graph, near_video, 1, Statistic::Mean, lengths)?;
        let of_frame = graph.reshape(of_frame, [batch, frames.count])?;
        let budgets = FrameBudget { base: self.base, temperature: 0.01 }.build(graph, of_frame, frame_lengths)?;

        let score = add(graph, near_video, near_frame)?;
        let by_frame = graph.reshape(score, [batch, frames.count, frames.size])?;
        let select = TopK { k: frames.size, largest: false, ..Default::default() };
        let inputs = TopKInputs { lengths: Some(frame_lengths), counts: Some(budgets), ..TopKInputs::new(by_frame) };
        let mask = select_mask(graph, select, inputs)?;
        let mask = frames.joined(graph, mask, tokens)?;
        let compressed = keep_marked(graph, tokens, mask, capacity)?;
        let score = frames.joined(graph, score, tokens)?;
        Ok(VidCom2Output { compressed, score, budgets })
    }
}

/// The half of the tokens' channels that vary least over each row, `[batch, tokens, channels / 2]`.
fn steady_channels(graph: &mut Graph, tokens: &Tokens) -> Result<Tensor, Error> {
    let [batch, capacity, channels] = tokens.x.shape().exactly("vidcom2: x", "[B, N, C]")?;
    let variance = reduce(graph, tokens.x, 1, Statistic::Variance, Some(tokens.lengths))?;
    let k = channels / 2;
    let select = TopK { k, order: Order::Index, largest: false, complement: None, mask: false };
    let indices = select.build(graph, TopKInputs::new(variance))?.indices;
    // Channels take the place of tokens.
    let x = graph.reshape(tokens.x, [batch, capacity, channels, 1])?;
    let steady = gather_rows(graph, x, indices, None)?;
    graph.reshape(steady, [batch, capacity, k])
}
