use tokenpress::kernels::{gather_rows, lookup};
use tokenpress::methods::{
    Contextual, DualAttention, FastV, Images, KeyTokens, Prefill, Protect, PruMerge, PuMer, PuMerMerge, PyramidDrop, SparseVlm, TextScore,
    VisionZip, WindowMerge,
};
use tokenpress::{Compressed, Error, Graph, HostTensor, Tokens};

use super::tome::every_fourth;
use super::{Given, Method};

pub const METHODS: &[Method] = &[
    Method {
        subject: "visionzip",
        options: "6 and 4",
        build: |graph, given| visionzip(graph, given, VisionZip { dominant: 6, contextual: 4, ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "visionzip",
        options: "3 and 9, averaged",
        build: |graph, given| {
            visionzip(graph, given, VisionZip { dominant: 3, contextual: 9, merge: Contextual::Mean, ..Default::default() })
        },
        ragged: true,
    },
    Method {
        subject: "visionzip",
        options: "3 and 2, every fourth marked",
        build: |graph, given| {
            let protect = every_fourth(graph, given);
            visionzip(graph, given, VisionZip { dominant: 3, contextual: 2, protect, ..Default::default() })
        },
        ragged: true,
    },
    Method {
        subject: "prumerge",
        options: "at least 5, two registers",
        build: |graph, given| {
            prumerge(graph, given, PruMerge { floor: 5, spatial: true, protect: Protect::Leading(2), ..Default::default() })
        },
        ragged: true,
    },
    Method {
        subject: "prumerge",
        options: "5 neighbours",
        build: |graph, given| prumerge(graph, given, PruMerge { neighbours: 5, factor: 0.5, count_from_ratio: true, ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "prumerge",
        options: "plus",
        build: |graph, given| prumerge(graph, given, PruMerge { spatial: true, ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "prumerge",
        options: "plus, of the first five",
        build: |graph, given| prumerge(graph, given, PruMerge { spatial: true, spatial_among: Some(5), factor: 0.5, ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "pyramiddrop",
        options: "second stage",
        build: |graph, given| {
            let (image_start, image_tokens) = image(given);
            // The first of them, whether or not a short row has all four.
            let share = (1.5 / f64::from(image_tokens.max(1))).min(1.0);
            let method = PyramidDrop { images: range(image_start, image_tokens), ratios: vec![1.0, share], ..PyramidDrop::default() };
            let kept = method.build(graph, &given.tokens, 1, given.queries, given.keys)?;
            name(graph, kept.pruned.compressed)?;
            graph.output("score", kept.score)
        },
        ragged: true,
    },
    Method {
        subject: "sparsevlm",
        options: "recycled",
        build: |graph, given| {
            let (image_start, image_tokens) = image(given);
            let method = SparseVlm { images: range(image_start, image_tokens), rank: 1.min(image_tokens), recycle: true, bias: None };
            let raters = method.raters(graph, &given.tokens)?;
            let kept = method.build(graph, &given.tokens, &raters, given.queries, given.keys)?;
            name(graph, kept.compressed)?;
            graph.output("raters", raters.listed.counts)?;
            graph.output("score", kept.score)
        },
        ragged: true,
    },
    Method {
        subject: "fastv",
        options: "images anywhere",
        build: |graph, given| {
            let images = marked(graph, given);
            let kept = FastV { images, rank: 3, bias: None }.build(graph, &given.tokens, given.queries, given.keys)?;
            name(graph, kept.pruned.compressed)
        },
        ragged: true,
    },
    Method {
        subject: "sparsevlm",
        options: "images anywhere",
        build: |graph, given| {
            let method = SparseVlm { images: marked(graph, given), rank: 3, recycle: false, bias: None };
            let raters = method.raters(graph, &given.tokens)?;
            let kept = method.build(graph, &given.tokens, &raters, given.queries, given.keys)?;
            name(graph, kept.compressed)
        },
        ragged: true,
    },
    Method {
        subject: "mustdrop",
        options: "images anywhere, at least 2",
        build: |graph, given| {
            let images = marked(graph, given);
            let key = KeyTokens { share: 0.1, ..KeyTokens::default() }.build(graph, &given.tokens, given.queries, given.keys)?.indices;
            let prompt = Prefill::new(graph, given.tokens, images, key)?;
            let kept = DualAttention { global: 0.3, individual: 0.2, floor: 2 }.build(graph, &prompt, given.queries, given.keys)?;
            name(graph, Compressed { tokens: kept.prompt.tokens, map: kept.map })
        },
        ragged: true,
    },
    Method {
        subject: "pumer",
        options: "images anywhere",
        build: |graph, given| {
            let images = marked(graph, given);
            let reduced = PuMer::default().in_prompt(graph, &given.tokens, images, None, given.queries, given.keys)?;
            name(graph, reduced.compressed)
        },
        ragged: true,
    },
    Method { subject: "mustdrop", options: "windows", build: windows, ragged: true },
    Method {
        subject: "mustdrop",
        options: "two stages of a prompt",
        build: |graph, given| {
            let (image_start, image_tokens) = image(given);
            let key = KeyTokens { share: 0.1, ..KeyTokens::default() }.build(graph, &given.tokens, given.queries, given.keys)?.indices;
            let prompt = Prefill::new(graph, given.tokens, range(image_start, image_tokens), key)?;
            let method = DualAttention { global: 0.3, individual: 0.2, floor: 1 };
            let first = method.build(graph, &prompt, given.queries, given.keys)?;
            let queries = first.map.gather(graph, given.queries)?;
            let keys = first.map.gather(graph, given.keys)?;
            let second = method.build(graph, &first.prompt, queries, keys)?;
            let map = first.map.then(graph, &second.map)?;
            name(graph, Compressed { tokens: second.prompt.tokens, map })
        },
        ragged: true,
    },
    Method { subject: "pumer", options: "average", build: |graph, given| pumer(graph, given, PuMer::default()), ragged: true },
    Method {
        subject: "pumer",
        options: "weighted sum by keys",
        build: |graph, given| pumer(graph, given, PuMer { score: TextScore::Keys, style: PuMerMerge::Sum, ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "pumer",
        options: "least difference, first head",
        build: |graph, given| {
            pumer(graph, given, PuMer { score: TextScore::FirstHead, style: PuMerMerge::ScoreDifference, ..Default::default() })
        },
        ragged: true,
    },
];

/// Tokens 1, 4, 7 .. by marks.
fn marked(graph: &mut Graph, given: Given) -> Images {
    let tokens = given.tokens.capacity();
    let marks = graph.constant(HostTensor::u32([tokens], (0..tokens).map(|i| u32::from(i % 3 == 1)).collect()));
    Images::Marked { marks, others: u32::MAX }
}

fn name(graph: &mut Graph, compressed: Compressed) -> Result<(), Error> {
    graph.output("x'", compressed.tokens.x)?;
    graph.output("size'", compressed.tokens.size)?;
    graph.output("lengths'", compressed.tokens.lengths)?;
    graph.output("parent", compressed.map.parent)
}

fn range(start: u32, tokens: u32) -> Images {
    Images::Range { start, tokens }
}

/// A few image tokens near the start, so few that it does not matter which of them a short row has.
fn image(given: Given) -> (u32, u32) {
    let start = 1.min(given.tokens.capacity());
    (start, 4.min(given.tokens.capacity() - start))
}

fn visionzip(graph: &mut Graph, given: Given, method: VisionZip) -> Result<(), Error> {
    let zipped = method.build(graph, &given.tokens, given.queries, given.keys)?;
    name(graph, zipped.compressed)?;
    graph.output("score", zipped.score)
}

/// Token 0 is the class token, the others patches.
fn prumerge(graph: &mut Graph, given: Given, method: PruMerge) -> Result<(), Error> {
    let capacity = given.tokens.capacity();
    let patches = graph.constant(HostTensor::u32([capacity - 1], (1..capacity).collect()));
    let x = gather_rows(graph, given.tokens.x, patches, None)?;
    let patches = match graph.constant_value(given.tokens.lengths) {
        Some(_) => Tokens::new(graph, x)?,
        None => {
            let one_less = HostTensor::u32([capacity + 1], (0..=capacity).map(|live| live.saturating_sub(1)).collect());
            let one_less = graph.constant(one_less);
            let lengths = lookup(graph, one_less, given.tokens.lengths)?;
            Tokens::ragged(graph, x, lengths)?
        }
    };
    let merged = method.build(graph, &patches, given.queries, given.keys)?;
    graph.output("x'", merged.compressed.tokens.x)?;
    graph.output("size'", merged.compressed.tokens.size)?;
    graph.output("lengths'", merged.compressed.tokens.lengths)?;
    graph.output("parent of patches", merged.compressed.map.parent)?;
    graph.output("fence", merged.fence)
}

/// A class token and patches in windows of 2 x 2, of which a row has as many as it has patches for.
fn windows(graph: &mut Graph, given: Given) -> Result<(), Error> {
    let height = given.tokens.capacity().div_ceil(4).next_multiple_of(2).max(10);
    let merged = WindowMerge { height, width: 4, window: 2, threshold: 0.0, ..WindowMerge::default() }.build(graph, &given.tokens)?;
    name(graph, merged.compressed)
}

fn pumer(graph: &mut Graph, given: Given, method: PuMer) -> Result<(), Error> {
    let (batch, text) = (given.tokens.batch(), 7.min(given.tokens.capacity()));
    let mask = graph.constant(HostTensor::f32([batch, text], vec![1.0; (batch * text) as usize]));
    let all = graph.constant(HostTensor::u32([text + 1], (0..=text).collect()));
    let lengths = lookup(graph, all, given.tokens.lengths)?;
    let reduced = method.build(graph, &given.tokens, (mask, lengths), given.queries, given.keys)?;
    name(graph, reduced.compressed)?;
    graph.output("mask", reduced.mask)
}
