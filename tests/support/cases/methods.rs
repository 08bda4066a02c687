//! Every method over shapes, ragged lengths and awkward tokens.

use tokenpress::kernels::{Partition, Reduce};
use tokenpress::methods::{EVit, FastV, IdleVit, Matching, Protect, ToMe};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Error, Graph, HostTensor, Positions, Tensor, Tokens};

use crate::support::{Case, data};

/// What a method is given: a batch of tokens with queries and keys of two heads.
#[derive(Clone, Copy)]
pub struct Given {
    pub tokens: Tokens,
    pub queries: Tensor,
    pub keys: Tensor,
}

/// A method with its options, as a function over the graph that names the method's outputs.
pub struct Method {
    pub subject: &'static str,
    pub options: &'static str,
    pub build: fn(&mut Graph, Given) -> Result<(), Error>,
    /// Works on rows of different lengths.
    pub ragged: bool,
}

fn tome(graph: &mut Graph, given: Given, method: ToMe) -> Result<(), Error> {
    let merged = method.build(graph, &given.tokens, given.keys)?;
    graph.output("x'", merged.tokens.x)?;
    graph.output("size'", merged.tokens.size)?;
    graph.output("lengths'", merged.tokens.lengths)?;
    graph.output("parent", merged.map.parent)?;
    let restored = merged.map.unmerge(graph, merged.tokens.x, None)?;
    graph.output("restored", restored)
}

pub const METHODS: &[Method] = &[
    Method {
        subject: "tome",
        options: "plain",
        build: |graph, given| tome(graph, given, ToMe { merge: 5, ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "class",
        build: |graph, given| tome(graph, given, ToMe { merge: 4, protect: Protect::CLASS, ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "class and distillation, all",
        build: |graph, given| tome(graph, given, ToMe { merge: u32::MAX, protect: Protect::CLASS_AND_DISTILLATION, ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "none",
        build: |graph, given| tome(graph, given, ToMe { merge: 0, ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "every 3rd",
        build: |graph, given| tome(graph, given, ToMe { matching: Matching::Kth(3), ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "random",
        build: |graph, given| {
            let (batch, tokens) = (given.tokens.batch(), given.tokens.capacity());
            let partition = Partition::random(graph, batch, tokens, tokens.div_ceil(2), 7)?;
            tome(graph, given, ToMe { merge: u32::MAX, matching: Matching::Lists(partition), ..Default::default() })
        },
        ragged: false,
    },
    Method {
        subject: "tome",
        options: "two layers",
        build: |graph, given| {
            let method = ToMe { merge: 6, protect: Protect::CLASS, ..Default::default() };
            let first = method.build(graph, &given.tokens, given.keys)?;
            let second = method.build(graph, &first.tokens, first.tokens.x)?;
            let map = first.map.then(graph, &second.map)?;
            graph.output("x'", second.tokens.x)?;
            graph.output("size'", second.tokens.size)?;
            graph.output("lengths'", second.tokens.lengths)?;
            graph.output("parent", map.parent)?;
            let sizes = map.sizes(graph, given.tokens.size)?;
            graph.output("sizes of both", sizes)?;
            let largest = map.merge(graph, given.tokens.x, None, Reduce::Max)?;
            graph.output("largest of both", largest)?;
            let kept = map.positions(graph, None, Positions::Keep)?;
            graph.output("kept positions", kept)?;
            let compact = map.positions(graph, None, Positions::Compact)?;
            graph.output("compact positions", compact)
        },
        ragged: true,
    },
    Method {
        subject: "evit",
        options: "0.7, fused",
        build: |graph, given| evit(graph, given, EVit { keep: 0.7, fuse: true }),
        ragged: true,
    },
    Method { subject: "evit", options: "0.4", build: |graph, given| evit(graph, given, EVit { keep: 0.4, fuse: false }), ragged: true },
    Method { subject: "evit", options: "1, fused", build: |graph, given| evit(graph, given, EVit { keep: 1.0, fuse: true }), ragged: true },
    Method {
        subject: "evit",
        options: "0.95, fused",
        build: |graph, given| evit(graph, given, EVit { keep: 0.95, fuse: true }),
        ragged: true,
    },
    Method {
        subject: "fastv",
        options: "third of the image",
        build: |graph, given| {
            let image_tokens = given.tokens.capacity() / 2;
            let method = FastV { image_start: 2.min(given.tokens.capacity() - image_tokens), image_tokens, rank: image_tokens / 3 };
            let kept = method.build(graph, &given.tokens, given.queries, given.keys)?;
            graph.output("x'", kept.pruned.compressed.tokens.x)?;
            graph.output("indices", kept.pruned.selection.indices)?;
            graph.output("lengths'", kept.pruned.compressed.tokens.lengths)?;
            graph.output("score", kept.score)
        },
        // Where the image lies depends on the capacity here.
        ragged: false,
    },
    Method {
        subject: "idlevit",
        options: "7",
        build: |graph, given| {
            let selected = IdleVit { keep: 7 }.build(graph, &given.tokens, given.queries, given.keys)?;
            graph.output("indices", selected.pruned.selection.indices)?;
            graph.output("lengths'", selected.pruned.compressed.tokens.lengths)?;
            let rows = selected.pruned.compressed.tokens.x;
            graph.output("selected", rows)?;
            let back = selected.scatter(graph, rows, given.tokens.x)?;
            graph.output("scattered", back)
        },
        ragged: true,
    },
];

fn evit(graph: &mut Graph, given: Given, method: EVit) -> Result<(), Error> {
    let kept = method.build(graph, &given.tokens, given.queries, given.keys)?;
    graph.output("x'", kept.compressed.tokens.x)?;
    graph.output("size'", kept.compressed.tokens.size)?;
    graph.output("lengths'", kept.compressed.tokens.lengths)?;
    graph.output("parent", kept.compressed.map.parent)?;
    graph.output("score", kept.score)
}

pub const HEADS: u32 = 2;
pub const HEAD_CHANNELS: u32 = 8;
pub const CHANNELS: u32 = 12;

/// A graph of a method, with `lengths` as an input where the rows are ragged.
pub fn graph(method: &Method, batch: u32, tokens: u32, elem: Elem, ragged: bool) -> Result<Graph, Error> {
    let mut graph = Graph::new();
    let x = graph.input("x", [batch, tokens, CHANNELS], elem);
    let queries = graph.input("queries", [batch, HEADS, tokens, HEAD_CHANNELS], elem);
    let keys = graph.input("keys", [batch, HEADS, tokens, HEAD_CHANNELS], elem);
    let tokens = if ragged {
        let lengths = graph.input("lengths", [batch], Elem::U32);
        Tokens::ragged(&mut graph, x, lengths)?
    } else {
        Tokens::new(&mut graph, x)?
    };
    (method.build)(&mut graph, Given { tokens, queries, keys })?;
    Ok(graph)
}

/// Seeded inputs of such a graph; `values` makes the floats.
pub fn inputs(seed: u64, batch: u32, tokens: u32, elem: Elem, values: fn(u64, usize) -> Vec<f32>) -> HostTensors {
    let make = |name: &str, seed: u64, shape: &[u32]| {
        let len = shape.iter().product::<u32>() as usize;
        let tensor = data::tensor([len as u32], elem, &values(seed, len));
        let tensor = match *shape {
            [a, b, c] => tensor.reshaped([a, b, c]),
            [a, b, c, d] => tensor.reshaped([a, b, c, d]),
            _ => tensor,
        };
        (name.to_owned(), tensor)
    };
    [
        make("x", seed, &[batch, tokens, CHANNELS]),
        make("queries", seed + 1, &[batch, HEADS, tokens, HEAD_CHANNELS]),
        make("keys", seed + 2, &[batch, HEADS, tokens, HEAD_CHANNELS]),
    ]
    .into()
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for method in METHODS {
        for (batch, tokens) in [(1, 1), (2, 2), (1, 3), (3, 33), (1, 130)] {
            for (elem, kind, values) in [
                (Elem::F32, "normal", data::normal as fn(u64, usize) -> Vec<f32>),
                (Elem::F16, "normal", data::normal),
                (Elem::F32, "ties", data::ties),
                (Elem::F32, "awkward", data::awkward),
            ] {
                if kind != "normal" && tokens != 33 {
                    continue;
                }
                let name = format!("{}, {elem} [{batch},{tokens}] {kind}", method.options);
                let graph = graph(method, batch, tokens, elem, false).expect("valid options");
                cases.push(Case { subject: method.subject, name, heavy: false, graph, inputs: inputs(3, batch, tokens, elem, values) });
            }
        }
        if method.ragged {
            let graph = graph(method, 4, 33, Elem::F32, true).expect("valid options");
            let mut inputs = inputs(5, 4, 33, Elem::F32, data::normal);
            inputs.insert("lengths".into(), HostTensor::u32([4], vec![0, 33, 1, 18]));
            cases.push(Case { subject: method.subject, name: format!("{}, ragged", method.options), heavy: false, graph, inputs });
        }
    }
    cases
}
