//! The methods that the example offers, one entry each, and chains of them.

use tokenpress::kernels::{
    AttentionInputs, AttentionScore, HeadReduction, Norm, Order, Partition, PixelUnshuffle, Pool, Queries, RowReduction, Statistic,
    Windows, concat_rows, gather_rows, lookup, reduce,
};
use tokenpress::methods::{
    AToMe, AdjacentPairs, BalancedPrune, CdPruner, Contextual, Dart, DensityClusters, DivPrune, EVit, FastAdaSp, HoloV, IdPruner, Matching,
    PairChoice, Protect, PruMerge, Prune, ToMe, VisPruner, VisionZip, WindowMerge, key_size, spatial_spread, text_similarity,
};
use tokenpress::{Compressed, Error, Graph, HostTensor, Tensor, TokenMap, Tokens};

/// A way to compress.
pub(crate) struct Method {
    /// As `--method` has it.
    pub(crate) name: &'static str,
    /// What becomes of the patches, in a few words.
    pub(crate) about: &'static str,
    /// Whether patches are compared with each other, so that `--width` means something.
    pub(crate) compares: bool,
    /// Whether it leaves the share that is asked for, and not as much as the photo's content makes it.
    pub(crate) shares: bool,
    /// What is left at most when this share is asked for; the reason where it cannot be had.
    pub(crate) left: fn(Layout, f64) -> Result<Layout, String>,
    /// Adds the calls to the graph.
    pub(crate) build: fn(&mut Graph, &Request, &State) -> Result<Stage, Error>,
}

/// All of them; the first is the default.
pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "tome",
        about: "merges the most similar patches into one, layer by layer (ToMe)",
        compares: true,
        shares: true,
        // The first patch stays by itself.
        left: |layout, share| Ok(Layout::list(share_of(layout, share).max(layout.count.min(2)))),
        build: tome,
    },
    Method {
        name: "tomesd",
        about: "merges patches into the most similar of a few, one at random in each 2 x 2 (ToMe for Stable Diffusion)",
        compares: true,
        shares: true,
        left: |layout, share| {
            let grid = grid(layout, "tomesd")?;
            Ok(Layout::list(share_of(layout, share).max((grid.rows / 2) * (grid.columns / 2))))
        },
        build: tomesd,
    },
    Method {
        name: "topk",
        about: "keeps the patches that receive the most attention from all patches, and drops the others",
        compares: true,
        shares: true,
        left: any_share,
        build: top_k,
    },
    Method {
        name: "atome",
        about: "merges neighbours in a row that are alike, two into one (A-ToMe); half of them at most",
        compares: true,
        shares: true,
        left: |layout, share| Ok(Layout::list(share_of(layout, share).max(layout.count.div_ceil(2)))),
        build: atome,
    },
    Method {
        name: "fastadasp",
        about: "merges runs of neighbours that are alike, each into one (FastAdaSP)",
        compares: true,
        shares: true,
        left: any_share,
        build: fastadasp,
    },
    Method {
        name: "evit",
        about: "keeps the patches that a class token, the mean of all, attends to most, and fuses the others (EViT)",
        compares: true,
        shares: true,
        left: |layout, share| Ok(Layout::list(share_of(layout, share).max(2))),
        build: evit,
    },
    Method {
        name: "visionzip",
        about: "keeps what the class token attends to most, and merges the others into a few (VisionZip)",
        compares: true,
        shares: true,
        left: |layout, share| Ok(Layout::list(share_of(layout, share).max(2))),
        build: visionzip,
    },
    Method {
        name: "prumerge",
        about: "keeps what stands out in the class token's attention, and adds its surroundings (LLaVA-PruMerge)",
        compares: true,
        shares: false,
        left: |layout, _| Ok(Layout::list(layout.count + 1)),
        build: prumerge,
    },
    Method {
        name: "prumerge-plus",
        about: "the same, and patches at even distances (PruMerge+)",
        compares: true,
        shares: false,
        left: |layout, _| Ok(Layout::list(layout.count + 1)),
        build: prumerge_plus,
    },
    Method {
        name: "mustdrop",
        about: "merges 3 x 3 windows of patches that are alike (MustDrop's first stage)",
        compares: true,
        shares: false,
        left: |layout, _| match grid(layout, "mustdrop")? {
            Patches { rows, columns } if rows % 3 == 0 && columns % 3 == 0 => Ok(Layout::list(layout.count)),
            Patches { rows, columns } => Err(format!("mustdrop needs rows and columns in threes, and there are {columns} x {rows}")),
        },
        build: mustdrop,
    },
    Method {
        name: "vispruner",
        about: "keeps patches of much attention, and of the others those that repeat the least (VisPruner)",
        compares: true,
        shares: true,
        left: any_share,
        build: vispruner,
    },
    Method {
        name: "holov",
        about: "keeps patches of much attention in every part of the photo, more of them where it varies (HoloV)",
        compares: true,
        shares: true,
        left: any_share,
        build: holov,
    },
    Method {
        name: "btp",
        about: "keeps patches by attention, by diversity and by place (a first stage of Balanced Token Pruning)",
        compares: true,
        shares: true,
        left: |layout, share| {
            grid(layout, "btp")?;
            any_share(layout, share)
        },
        build: btp,
    },
    Method {
        name: "divprune",
        about: "keeps the patches that are farthest from each other (DivPrune)",
        compares: true,
        shares: true,
        left: any_share,
        build: divprune,
    },
    Method {
        name: "cdpruner",
        about: "keeps patches that are diverse and like the photo as a whole (CDPruner)",
        compares: true,
        shares: true,
        left: any_share,
        build: cdpruner,
    },
    Method {
        name: "idpruner",
        about: "weighs attention against likeness to the patches kept already (IDPruner)",
        compares: true,
        shares: true,
        left: any_share,
        build: idpruner,
    },
    Method {
        name: "dart",
        about: "keeps the patches that are least like a few large ones (DART)",
        compares: true,
        shares: true,
        left: any_share,
        build: dart,
    },
    Method {
        name: "dpc",
        about: "makes clusters around peaks of density, one token each (as SparseVLM recycles)",
        compares: true,
        shares: true,
        left: any_share,
        build: density_clusters,
    },
    Method {
        name: "pool",
        about: "averages k x k patches (LLaVA-Video, Gemma 3)",
        compares: false,
        shares: true,
        left: |layout, share| {
            let (grid, side) = (grid(layout, "pool")?, side(share, "pool")?);
            match Pool::Average(Windows::cells(side)).outputs([grid.rows, grid.columns]) {
                [rows, columns] if rows * columns > 0 => Ok(Layout::grid(rows, columns)),
                _ => Err(too_few(grid, side, share)),
            }
        },
        build: pool,
    },
    Method {
        name: "unshuffle",
        about: "makes one token of k x k patches, with all their channels (InternVL, Llama 4): nothing is lost",
        compares: false,
        shares: true,
        left: |layout, share| {
            let (grid, side) = (grid(layout, "unshuffle")?, side(share, "unshuffle")?);
            if side > grid.rows.max(grid.columns) {
                return Err(too_few(grid, side, share));
            }
            Ok(Layout::grid(grid.rows.div_ceil(side), grid.columns.div_ceil(side)))
        },
        build: unshuffle,
    },
];

/// Rows and columns of a grid.
#[derive(Clone, Copy)]
pub(crate) struct Patches {
    pub(crate) rows: u32,
    pub(crate) columns: u32,
}

/// How many tokens there are, and their grid where they still are one.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) count: u32,
    pub(crate) grid: Option<Patches>,
}

impl Layout {
    pub(crate) fn grid(rows: u32, columns: u32) -> Self {
        Self { count: rows * columns, grid: Some(Patches { rows, columns }) }
    }

    fn list(count: u32) -> Self {
        Self { count, grid: None }
    }
}

/// What a method is asked.
pub(crate) struct Request<'a> {
    /// What is compared in place of the tokens: the same, or their projection to `--width`.
    pub(crate) project: &'a dyn Fn(&mut Graph, Tensor) -> Result<Tensor, Error>,
    /// Share of the tokens that is left.
    pub(crate) share: f64,
    /// What was, and what is left.
    pub(crate) before: Layout,
    pub(crate) after: Layout,
    /// Layers over which the reduction is spread, where a method has layers.
    pub(crate) layers: u32,
}

/// The tokens as a method finds them.
pub(crate) struct State {
    pub(crate) tokens: Tokens,
    /// Where every patch of the photo went.
    pub(crate) map: TokenMap,
    /// What brings the patches back, last first.
    undo: Vec<Undo>,
}

/// What a method gives.
pub(crate) struct Stage {
    compressed: Compressed,
    undo: Undo,
}

/// What brings a method's tokens back.
enum Undo {
    /// Every token takes the row that it went to; dropped ones are 0, which is the photo's mean colour.
    Unmerge(TokenMap),
    /// Depth to space, on a grid of this size.
    Shuffle(PixelUnshuffle, Patches),
}

impl State {
    pub(crate) fn new(graph: &mut Graph, pixels: Tensor) -> Result<Self, Error> {
        let tokens = Tokens::new(graph, pixels)?;
        Ok(Self { tokens, map: TokenMap::identity(graph, &tokens)?, undo: Vec::new() })
    }

    /// The state after a stage.
    pub(crate) fn then(mut self, graph: &mut Graph, stage: Stage) -> Result<Self, Error> {
        self.map = self.map.then(graph, &stage.compressed.map)?;
        self.tokens = stage.compressed.tokens;
        self.undo.push(stage.undo);
        Ok(self)
    }

    /// The patches again, `[1, patches, channels]`.
    pub(crate) fn restored(&self, graph: &mut Graph) -> Result<Tensor, Error> {
        self.undo.iter().rev().try_fold(self.tokens.x, |x, undo| match undo {
            Undo::Unmerge(map) => map.unmerge(graph, x, None),
            Undo::Shuffle(options, Patches { rows, columns }) => options.shuffle_tokens(graph, x, [*rows, *columns]),
        })
    }
}

impl From<Compressed> for Stage {
    fn from(compressed: Compressed) -> Self {
        Self { undo: Undo::Unmerge(compressed.map), compressed }
    }
}

fn any_share(layout: Layout, share: f64) -> Result<Layout, String> {
    Ok(Layout::list(share_of(layout, share)))
}

/// The number of tokens nearest to a share, at least one.
fn share_of(layout: Layout, share: f64) -> u32 {
    ((f64::from(layout.count) * share).round() as u32).max(1)
}

fn grid(layout: Layout, method: &str) -> Result<Patches, String> {
    layout.grid.ok_or_else(|| format!("{method} needs patches in rows and columns, and the method before it leaves a list"))
}

/// Side of the blocks for this share.
fn side(share: f64, method: &str) -> Result<u32, String> {
    let side = (1.0 / share).sqrt().round().max(1.0) as u32;
    if (share * f64::from(side * side) - 1.0).abs() > 0.02 {
        return Err(format!("{method} leaves 1, 1/4, 1/9, 1/16 .. of the tokens, not {share}"));
    }
    Ok(side)
}

fn too_few(Patches { rows, columns }: Patches, side: u32, share: f64) -> String {
    format!("to leave {share} of the tokens takes {side} x {side} patches, and there are {columns} x {rows}")
}

/// Every layer leaves the same share of its tokens; none can merge more than half of them.
///
/// The first patch stands where a class token would. Tokens that do not merge then keep their order; without one they
/// are sorted by similarity, and rounding that swaps two of them reshuffles every later layer.
fn tome(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    let mut tokens = state.tokens;
    let mut map = TokenMap::identity(graph, &tokens)?;
    let (before, left) = (tokens.capacity(), request.after.count);
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
    Ok(Compressed { tokens, map }.into())
}

fn tomesd(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    let Some(Patches { rows, columns }) = request.before.grid else { return tome(graph, request, state) };
    let partition = Partition::grid2d_random(graph, rows, columns, 2, 2, 0)?;
    let merge = request.before.count - request.after.count;
    let metric = (request.project)(graph, state.tokens.x)?;
    let method = ToMe { merge, matching: Matching::Lists(partition), ..ToMe::default() };
    Ok(method.build(graph, &state.tokens, metric)?.into())
}

fn top_k(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    let score = received(graph, request, &state.tokens)?;
    let left = request.after.count;
    Ok(Prune { order: Order::Index }.build(graph, &state.tokens, score, None, |_| left)?.compressed.into())
}

/// The attention that each token receives from all tokens, `[1, tokens]`.
fn received(graph: &mut Graph, request: &Request, tokens: &Tokens) -> Result<Tensor, Error> {
    let features = (request.project)(graph, tokens.x)?;
    let heads = split_heads(graph, features)?;
    let attention = AttentionScore {
        queries: Queries::All,
        norm: Norm::Softmax,
        rows: RowReduction::Mean,
        heads: HeadReduction::Mean,
        ..Default::default()
    };
    let lengths = Some(tokens.lengths);
    let inputs = AttentionInputs { queries: heads, keys: heads, bias: None, lengths, query_lengths: lengths };
    Ok(attention.build(graph, inputs)?.score)
}

fn atome(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    let metric = (request.project)(graph, state.tokens.x)?;
    let choice = PairChoice::Merge(1.0 - f64::from(request.after.count) / f64::from(request.before.count));
    Ok(AToMe { choice, pairs: AdjacentPairs::Disjoint }.build(graph, &state.tokens, metric)?.into())
}

fn fastadasp(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    let metric = (request.project)(graph, state.tokens.x)?;
    let choice = PairChoice::Merge(1.0 - f64::from(request.after.count) / f64::from(request.before.count));
    Ok(FastAdaSp { choice }.build(graph, &state.tokens, metric, None)?.into())
}

fn evit(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    let (tokens, features) = with_class(graph, request, &state.tokens)?;
    let heads = split_heads(graph, features)?;
    let method = EVit { keep: f64::from(request.after.count - 1) / f64::from(request.before.count), ..EVit::default() };
    let compressed = method.build(graph, &tokens, heads, heads)?.compressed;
    Ok(without_class(graph, &state.tokens, compressed)?.into())
}

/// A tenth of what is left are the merged ones.
fn visionzip(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    let (tokens, features) = with_class(graph, request, &state.tokens)?;
    let heads = split_heads(graph, features)?;
    let contextual = request.after.count.div_ceil(10);
    let method = VisionZip { dominant: request.after.count - contextual, contextual, merge: Contextual::Mean, ..VisionZip::default() };
    let compressed = method.build(graph, &tokens, heads, heads)?.compressed;
    Ok(without_class(graph, &state.tokens, compressed)?.into())
}

fn prumerge(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    pru_merge(graph, request, state, false)
}

fn prumerge_plus(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    pru_merge(graph, request, state, true)
}

fn pru_merge(graph: &mut Graph, request: &Request, state: &State, spatial: bool) -> Result<Stage, Error> {
    let (_, features) = with_class(graph, request, &state.tokens)?;
    let [_, rows, channels] = features.shape().exactly("prumerge: features", "[1, N, C]")?;
    let head = graph.reshape(features, [1, 1, rows, channels])?;
    Ok(PruMerge { spatial, ..PruMerge::default() }.build(graph, &state.tokens, head, head)?.compressed.into())
}

fn mustdrop(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    let (tokens, _) = with_class(graph, request, &state.tokens)?;
    let (Patches { rows: height, columns: width }, _) = grids(request);
    let method = WindowMerge { height, width, window: 3, threshold: 0.8, ..WindowMerge::default() };
    let compressed = method.build(graph, &tokens)?.compressed;
    Ok(without_class(graph, &state.tokens, compressed)?.into())
}

fn vispruner(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    let score = received(graph, request, &state.tokens)?;
    let method = VisPruner { keep: request.after.count, important: 0.5 };
    Ok(method.build(graph, &state.tokens, score)?.pruned.compressed.into())
}

fn holov(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    let score = received(graph, request, &state.tokens)?;
    let method = HoloV { keep: request.after.count, crops: 16.min(request.before.count) };
    Ok(method.build(graph, &state.tokens, score)?.pruned.compressed.into())
}

fn btp(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    let score = received(graph, request, &state.tokens)?;
    let (Patches { rows, columns }, _) = grids(request);
    let keep = request.after.count;
    let method = BalancedPrune::first(keep, spatial_spread(rows, columns, keep / 4)?);
    Ok(method.build(graph, &state.tokens, score)?.pruned.compressed.into())
}

fn divprune(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    Ok(DivPrune { keep: part(request), floor: 0 }.build(graph, &state.tokens)?.pruned.compressed.into())
}

fn cdpruner(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    let features = (request.project)(graph, state.tokens.x)?;
    let mean = mean(graph, features, state.tokens.lengths)?;
    let similarity = text_similarity(graph, features, mean, Some(state.tokens.lengths), None)?;
    let method = CdPruner { keep: request.after.count, negated: false, over_batch: false };
    Ok(method.build(graph, &state.tokens, similarity)?.kept.pruned.compressed.into())
}

fn idpruner(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    let score = received(graph, request, &state.tokens)?;
    Ok(IdPruner { keep: part(request), relevance: 0.5, floor: 0 }.build(graph, &state.tokens, score)?.pruned.compressed.into())
}

fn dart(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    let features = (request.project)(graph, state.tokens.x)?;
    let heads = split_heads(graph, features)?;
    let sizes = key_size(graph, heads)?;
    let method = Dart { keep: part(request), image_pivots: 4.min(request.after.count), floor: 0 };
    Ok(method.build(graph, &state.tokens, sizes, None)?.pruned.compressed.into())
}

fn density_clusters(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    let method = DensityClusters { clusters: request.after.count, nearest: 8.min(request.before.count) };
    Ok(method.build(graph, &state.tokens)?.compressed.into())
}

/// The part of the tokens that is left, as their numbers have it.
fn part(request: &Request) -> f64 {
    f64::from(request.after.count) / f64::from(request.before.count)
}

/// `[1, 1, C]` of the live tokens.
fn mean(graph: &mut Graph, x: Tensor, lengths: Tensor) -> Result<Tensor, Error> {
    let [batch, _, channels] = x.shape().exactly("mean: x", "[1, N, C]")?;
    let mean = reduce(graph, x, 1, Statistic::Mean, Some(lengths))?;
    graph.reshape(mean, [batch, 1, channels])
}

/// The tokens after a class token, their mean, and what is compared in their place.
fn with_class(graph: &mut Graph, request: &Request, tokens: &Tokens) -> Result<(Tokens, Tensor), Error> {
    let class = mean(graph, tokens.x, tokens.lengths)?;
    let one = graph.constant(HostTensor::f32([1, 1], vec![1.0]));
    let (x, lengths) = concat_rows(graph, (class, None), (tokens.x, Some(tokens.lengths)))?;
    let (size, _) = concat_rows(graph, (one, None), (tokens.size, Some(tokens.lengths)))?;
    // Of a whole grid the number of tokens is known, which some methods ask for.
    let lengths = match request.before.grid {
        Some(_) => graph.constant(HostTensor::u32([1], vec![request.before.count + 1])),
        None => lengths,
    };
    let features = (request.project)(graph, x)?;
    Ok((Tokens { x, size, lengths }, features))
}

/// Takes the class token off again: it came before the tokens, and is row 0 of what became of them.
fn without_class(graph: &mut Graph, before: &Tokens, compressed: Compressed) -> Result<Compressed, Error> {
    let (old, new) = (before.capacity(), compressed.tokens.capacity());
    let mut list = |values: Vec<u32>| graph.constant(HostTensor::u32([1, values.len() as u32], values));
    let shifted = |count: u32| std::iter::once(tokenpress::NONE).chain(0..count - 1).collect();
    let (in_parent, in_representative) = (list((1..=old).collect()), list(shifted(old + 1)));
    let (out_parent, out_representative) = (list(shifted(new)), list((1..new).collect()));
    let less_one = graph.constant(HostTensor::u32([new + 1], (0..=new).map(|n: u32| n.saturating_sub(1)).collect()));
    let lengths = lookup(graph, less_one, compressed.map.lengths)?;
    let entered = TokenMap { parent: in_parent, representative: in_representative, lengths: compressed.map.lengths };
    let left = TokenMap { parent: out_parent, representative: out_representative, lengths };
    let (x, size) = (left.gather(graph, compressed.tokens.x)?, left.gather(graph, compressed.tokens.size)?);
    let map = entered.then(graph, &compressed.map)?.then(graph, &left)?;
    Ok(Compressed { tokens: Tokens { x, size, lengths }, map })
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

fn pool(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    let (before, after) = grids(request);
    let side = (1.0 / request.share).sqrt().round() as u32;
    let cells = Pool::Average(Windows::cells(side));
    let x = cells.build(graph, state.tokens.x, [before.rows, before.columns], None)?;
    let map = blocks(graph, before, after, side)?;
    let size = map.sizes(graph, state.tokens.size)?;
    Ok(Compressed { tokens: Tokens { x, size, lengths: map.lengths }, map }.into())
}

fn unshuffle(graph: &mut Graph, request: &Request, state: &State) -> Result<Stage, Error> {
    let (before, after) = grids(request);
    let side = (1.0 / request.share).sqrt().round() as u32;
    let options = PixelUnshuffle { factor: [side, side], pad: true, ..PixelUnshuffle::internvl_v2() };
    let x = options.unshuffle_tokens(graph, state.tokens.x, [before.rows, before.columns])?;
    let map = blocks(graph, before, after, side)?;
    let size = map.sizes(graph, state.tokens.size)?;
    let compressed = Compressed { tokens: Tokens { x, size, lengths: map.lengths }, map };
    Ok(Stage { compressed, undo: Undo::Shuffle(options, before) })
}

/// The grids before and after a method that was found to have them.
fn grids(request: &Request) -> (Patches, Patches) {
    let grid = |layout: Layout| layout.grid.unwrap_or(Patches { rows: 1, columns: layout.count });
    (grid(request.before), grid(request.after))
}

/// Every block of `side` x `side` patches becomes a token; patches in no block are dropped.
fn blocks(graph: &mut Graph, before: Patches, after: Patches, side: u32) -> Result<TokenMap, Error> {
    let block = |i: u32| {
        let (row, column) = (i / before.columns / side, i % before.columns / side);
        if row < after.rows && column < after.columns { row * after.columns + column } else { tokenpress::NONE }
    };
    let first = |i: u32| i / after.columns * side * before.columns + i % after.columns * side;
    let (old, new) = (before.rows * before.columns, after.rows * after.columns);
    let parent = graph.constant(HostTensor::u32([1, old], (0..old).map(block).collect()));
    let representative = graph.constant(HostTensor::u32([1, new], (0..new).map(first).collect()));
    let lengths = graph.constant(HostTensor::u32([1], vec![new]));
    Ok(TokenMap { parent, representative, lengths })
}
