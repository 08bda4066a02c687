use tokenpress::methods::{AToMe, EVit, PairChoice, Protect, ToMe};
use tokenpress::{Error, Graph};

use super::{Given, Method};

pub const METHODS: &[Method] = &[Method { subject: "chain", options: "evit, tome, atome", build: chain, ragged: true }];

/// Prune, then merge what is alike, then what is alike and adjacent; one map over all three.
fn chain(graph: &mut Graph, given: Given) -> Result<(), Error> {
    let pruned = EVit { keep: 0.8, fuse: false, ..EVit::default() }.build(graph, &given.tokens, given.queries, given.keys)?.compressed;
    let merged = ToMe { merge: 4, protect: Protect::CLASS, ..Default::default() }.build(graph, &pruned.tokens, pruned.tokens.x)?;
    let last = AToMe { choice: PairChoice::Similarity(0.2), ..Default::default() }.build(graph, &merged.tokens, merged.tokens.x)?;
    let map = pruned.map.then(graph, &merged.map)?.then(graph, &last.map)?;
    graph.output("x'", last.tokens.x)?;
    graph.output("lengths'", last.tokens.lengths)?;
    graph.output("parent", map.parent)?;
    let sizes = map.sizes(graph, given.tokens.size)?;
    graph.output("size'", sizes)?;
    let keys = map.gather(graph, given.tokens.x)?;
    graph.output("representatives", keys)?;
    let restored = map.unmerge(graph, last.tokens.x, None)?;
    graph.output("restored", restored)
}
