use tokenpress::methods::{AToMe, AdjacentPairs, FastAdaSp, PairChoice, Samp};
use tokenpress::{Compressed, Error, Graph};

use super::{Given, Method};

pub const METHODS: &[Method] = &[
    Method {
        subject: "atome",
        options: "a third of the tokens, disjoint",
        build: |graph, given| atome(graph, given, AToMe { choice: PairChoice::Merge(0.34), pairs: AdjacentPairs::Disjoint }),
        ragged: true,
    },
    Method {
        subject: "atome",
        options: "threshold, overlapping",
        build: |graph, given| atome(graph, given, AToMe { choice: PairChoice::Similarity(0.1), pairs: AdjacentPairs::Overlapping }),
        ragged: true,
    },
    Method {
        subject: "fastadasp",
        options: "keep half, by size",
        build: |graph, given| {
            let method = FastAdaSp { choice: PairChoice::Keep(0.5) };
            let merged = method.build(graph, &given.tokens, given.keys, None)?;
            name(graph, merged)
        },
        ragged: true,
    },
    Method {
        subject: "samp",
        options: "runs, then 60 %",
        build: |graph, given| {
            let pools = Samp::attention(graph, given.queries, given.keys, Some(given.tokens.lengths), 1)?;
            let left = Samp { threshold: 0.1, keep: 0.6, floor: 2 }.build(graph, &given.tokens, pools.received, pools.own)?;
            graph.output("merged", left.merged.tokens.x)?;
            name(graph, left.compressed)
        },
        ragged: true,
    },
];

fn atome(graph: &mut Graph, given: Given, method: AToMe) -> Result<(), Error> {
    let merged = method.build(graph, &given.tokens, given.keys)?;
    name(graph, merged)
}

pub fn name(graph: &mut Graph, merged: Compressed) -> Result<(), Error> {
    graph.output("x'", merged.tokens.x)?;
    graph.output("size'", merged.tokens.size)?;
    graph.output("lengths'", merged.tokens.lengths)?;
    graph.output("parent", merged.map.parent)
}
