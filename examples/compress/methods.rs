//! The methods that the example offers: one entry each.

use tokenpress::kernels::PixelUnshuffle;
use tokenpress::{Error, Graph, HostTensor, Tensor};

/// A way to compress.
pub(crate) struct Method {
    /// As `--method` has it.
    pub(crate) name: &'static str,
    /// What becomes of the patches, in a few words.
    pub(crate) about: &'static str,
    /// Whether patches are compared with each other, so that `--width` means something.
    pub(crate) compares: bool,
    /// How many of so many tokens are left when this share is asked for; the reason where it cannot be had.
    pub(crate) left: fn(&Patches, f64) -> Result<u32, String>,
    /// Adds the calls to the graph.
    pub(crate) build: fn(&mut Graph, &Request) -> Result<Outcome, Error>,
}

/// All of them; the first is the default.
pub(crate) const METHODS: &[Method] = &[Method {
    name: "unshuffle",
    about: "blocks of k x k patches become one token with all their channels (InternVL, Llama 4); nothing is lost",
    compares: false,
    left: |patches, share| Ok(blocks(patches, share)?.1),
    build: unshuffle,
}];

/// The photo's patches: rows and columns of them.
#[derive(Clone, Copy)]
pub(crate) struct Patches {
    pub(crate) rows: u32,
    pub(crate) columns: u32,
}

impl Patches {
    pub(crate) fn count(&self) -> u32 {
        self.rows * self.columns
    }
}

/// What a method is asked.
#[allow(dead_code, reason = "asked of methods that compare patches")]
pub(crate) struct Request<'a> {
    pub(crate) patches: Patches,
    /// The patches' pixels, `[1, patches, channels]`.
    pub(crate) pixels: Tensor,
    /// What is compared in their place: the same, or its projection to `--width`.
    pub(crate) project: &'a dyn Fn(&mut Graph, Tensor) -> Result<Tensor, Error>,
    /// Share of the tokens that is left.
    pub(crate) share: f64,
    /// Number of the tokens that are left.
    pub(crate) left: u32,
    /// Layers over which the reduction is spread, where a method has layers.
    pub(crate) layers: u32,
}

/// What a method gives.
pub(crate) struct Outcome {
    /// The tokens that are left.
    pub(crate) tokens: Tensor,
    /// The token of each patch, `[1, patches]`, or `NONE`.
    pub(crate) parent: Tensor,
    /// The patches again, `[1, patches, channels]`; 0, which is the photo's mean colour, where they were dropped.
    pub(crate) restored: Tensor,
}

/// Side of the blocks for this share, and how many blocks there are.
fn blocks(patches: &Patches, share: f64) -> Result<(u32, u32), String> {
    let side = (1.0 / share).sqrt().round().max(1.0) as u32;
    if (share * f64::from(side * side) - 1.0).abs() > 0.02 {
        return Err(format!("unshuffle leaves 1, 1/4, 1/9, 1/16 .. of the tokens, not {share}"));
    }
    Ok((side, patches.rows.div_ceil(side) * patches.columns.div_ceil(side)))
}

fn unshuffle(graph: &mut Graph, request: &Request) -> Result<Outcome, Error> {
    let Patches { rows, columns } = request.patches;
    let side = (1.0 / request.share).sqrt().round() as u32;
    let options = PixelUnshuffle { factor: [side, side], pad: true, ..PixelUnshuffle::internvl_v2() };
    let tokens = options.unshuffle_tokens(graph, request.pixels, [rows, columns])?;
    let restored = options.shuffle_tokens(graph, tokens, [rows, columns])?;
    let parent = (0..rows * columns).map(|i| i / columns / side * columns.div_ceil(side) + i % columns / side).collect();
    let parent = graph.constant(HostTensor::u32([1, rows * columns], parent));
    Ok(Outcome { tokens, parent, restored })
}
