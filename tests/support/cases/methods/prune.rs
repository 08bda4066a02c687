use tokenpress::methods::{EVit, FastV, IdleVit, Images, Protect};
use tokenpress::{Error, Graph};

use super::tome::every_fourth;
use super::{Given, Method};

pub const METHODS: &[Method] = &[
    Method {
        subject: "evit",
        options: "0.7, fused",
        build: |graph, given| evit(graph, given, EVit { keep: 0.7, fuse: true, ..EVit::default() }),
        ragged: true,
    },
    Method {
        subject: "evit",
        options: "0.4",
        build: |graph, given| evit(graph, given, EVit { keep: 0.4, fuse: false, ..EVit::default() }),
        ragged: true,
    },
    Method {
        subject: "evit",
        options: "1, fused",
        build: |graph, given| evit(graph, given, EVit { keep: 1.0, fuse: true, ..EVit::default() }),
        ragged: true,
    },
    Method {
        subject: "evit",
        options: "0.95, fused",
        build: |graph, given| evit(graph, given, EVit { keep: 0.95, fuse: true, ..EVit::default() }),
        ragged: true,
    },
    Method {
        subject: "evit",
        options: "0.6, every fourth marked",
        build: |graph, given| {
            let protect = every_fourth(graph, given);
            evit(graph, given, EVit { keep: 0.6, protect, ..EVit::default() })
        },
        ragged: true,
    },
    Method {
        subject: "evit",
        options: "0.1, at least 3, without a class token",
        build: |graph, given| evit(graph, given, EVit { keep: 0.1, floor: 3, protect: Protect::NONE, ..EVit::default() }),
        ragged: true,
    },
    Method {
        subject: "fastv",
        options: "third of the image",
        build: |graph, given| {
            let image_start = 2.min(given.tokens.capacity());
            let image_tokens = 12.min(given.tokens.capacity() - image_start);
            let method =
                FastV { images: Images::Range { start: image_start, tokens: image_tokens }, rank: 4.min(image_tokens), bias: None };
            let kept = method.build(graph, &given.tokens, given.queries, given.keys)?;
            graph.output("x'", kept.pruned.compressed.tokens.x)?;
            graph.output("indices", kept.pruned.selection.indices)?;
            graph.output("lengths'", kept.pruned.compressed.tokens.lengths)?;
            graph.output("score", kept.score)
        },
        ragged: true,
    },
    Method {
        subject: "idlevit",
        options: "7",
        build: |graph, given| {
            let selected = IdleVit { keep: 7, ..IdleVit::default() }.build(graph, &given.tokens, given.queries, given.keys)?;
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
