//! The methods that the example offers: one entry each.

use tokenpress::kernels::{
    AttentionInputs, AttentionScore, HeadReduction, Norm, Order, PixelUnshuffle, Queries, RowReduction, gather_rows,
};
use tokenpress::methods::{Protect, Prune, ToMe};
use tokenpress::{Error, Graph, HostTensor, Tensor, TokenMap, Tokens};

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
pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "tome",
        about: "merges the most similar patches into one, layer by layer (ToMe)",
        compares: true,
        // The first patch stays by itself.
        left: |patches, share| Ok(share_of(patches, share).max(patches.count().min(2))),
        build: tome,
    },
    Method {
        name: "topk",
        about: "keeps the patches that receive the most attention from all patches, and drops the others",
        compares: true,
        left: |patches, share| Ok(share_of(patches, share)),
        build: top_k,
    },
    Method {
        name: "unshuffle",
        about: "makes one token of k x k patches, with all their channels (InternVL, Llama 4): nothing is lost",
        compares: false,
        left: |patches, share| Ok(blocks(patches, share)?.1),
        build: unshuffle,
    },
];

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

/// The number of tokens nearest to a share, at least one.
fn share_of(patches: &Patches, share: f64) -> u32 {
    ((f64::from(patches.count()) * share).round() as u32).max(1)
}

/// Every layer leaves the same share of its tokens; none can merge more than half of them.
///
/// The first patch stands where a class token would. Tokens that do not merge then keep their order; without one they
/// are sorted by similarity, and rounding that swaps two of them reshuffles every later layer.
fn tome(graph: &mut Graph, request: &Request) -> Result<Outcome, Error> {
    let mut tokens = Tokens::new(graph, request.pixels)?;
    let mut map = TokenMap::identity(graph, &tokens)?;
    let (before, left) = (tokens.capacity(), request.left);
    let mut layer = 0;
    while tokens.capacity() > left {
        layer += 1;
        let done = f64::from(layer) / f64::from(request.layers);
        let target = f64::from(before) * (f64::from(left) / f64::from(before)).powf(done.min(1.0));
        let merge = tokens.capacity() - (target.round() as u32).clamp(left, tokens.capacity());
        if merge == 0 {
            continue;
        }
        let metric = (request.project)(graph, tokens.x)?;
        let merged = ToMe { merge, protect: Protect::CLASS, ..ToMe::default() }.build(graph, &tokens, metric)?;
        map = map.then(graph, &merged.map)?;
        tokens = merged.tokens;
    }
    let restored = map.unmerge(graph, tokens.x, None)?;
    Ok(Outcome { tokens: tokens.x, parent: map.parent, restored })
}

fn top_k(graph: &mut Graph, request: &Request) -> Result<Outcome, Error> {
    let tokens = Tokens::new(graph, request.pixels)?;
    let features = (request.project)(graph, request.pixels)?;
    let heads = split_heads(graph, features)?;
    let attention = AttentionScore {
        queries: Queries::All,
        norm: Norm::Softmax,
        rows: RowReduction::Mean,
        heads: HeadReduction::Mean,
        ..Default::default()
    };
    let inputs = AttentionInputs { queries: heads, keys: heads, bias: None, lengths: None, query_lengths: None };
    let score = attention.score(graph, inputs)?.score;
    let left = request.left;
    let pruned = Prune { order: Order::Index }.build(graph, &tokens, score, None, |_| left)?.compressed;
    let restored = pruned.map.unmerge(graph, pruned.tokens.x, None)?;
    Ok(Outcome { tokens: pruned.tokens.x, parent: pruned.map.parent, restored })
}

/// `[1, N, C]` as heads `[1, H, N, C / H]` of at most 64 channels each, or as near to that as C divides.
fn split_heads(graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
    let [_, tokens, channels] = x.shape().exactly("heads: x", "[1, N, C]")?;
    let heads = (channels.div_ceil(64)..=channels).find(|heads| channels.is_multiple_of(*heads)).unwrap_or(1);
    let width = channels / heads;
    // Token n of head h is row n * H + h of the flat list of pieces.
    let index = (0..heads).flat_map(|h| (0..tokens).map(move |n| n * heads + h)).collect();
    let index = graph.constant(HostTensor::u32([tokens * heads], index));
    let pieces = graph.reshape(x, [1, tokens * heads, width])?;
    let gathered = gather_rows(graph, pieces, index, None)?;
    graph.reshape(gathered, [1, heads, tokens, width])
}

/// Side of the blocks for this share, and how many blocks there are.
fn blocks(patches: &Patches, share: f64) -> Result<(u32, u32), String> {
    let side = (1.0 / share).sqrt().round().max(1.0) as u32;
    if (share * f64::from(side * side) - 1.0).abs() > 0.02 {
        return Err(format!("unshuffle leaves 1, 1/4, 1/9, 1/16 .. of the tokens, not {share}"));
    }
    let Patches { rows, columns } = *patches;
    if side > rows.max(columns) {
        return Err(format!("to leave {share} of the tokens takes {side} x {side} patches, and there are {columns} x {rows}"));
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
