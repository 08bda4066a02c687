use tokenpress::methods::{DyCoke, Evs, FrameFusion, VidCom2};
use tokenpress::{Graph, HostTensor, NONE, Tensor};

use super::runs::name;
use super::{Given, Method};

pub const METHODS: &[Method] = &[
    Method {
        subject: "evs",
        options: "60 % of frames of 8",
        build: |graph, given| {
            let kept = Evs { tokens_per_frame: 8, prune: 0.6 }.build(graph, &given.tokens)?;
            name(graph, kept.pruned.compressed)
        },
        ragged: true,
    },
    Method {
        subject: "dycoke",
        options: "70 % of frames of 6",
        build: |graph, given| {
            let kept = DyCoke { tokens_per_frame: 6, merge: 0.7 }.build(graph, &given.tokens)?;
            name(graph, kept)
        },
        ragged: true,
    },
    Method {
        subject: "framefusion",
        options: "two merges, then half by a score",
        build: |graph, given| {
            let method = FrameFusion { tokens_per_frame: 5, similarity: 0.1, most: 0.3 };
            let places = places(graph, given);
            let first = method.merge(graph, &given.tokens, places)?;
            let places = first.map.gather(graph, places)?;
            let second = FrameFusion { most: 1.0, ..method }.merge(graph, &first.tokens, places)?;
            let places = second.map.gather(graph, places)?;
            let third = method.prune(graph, &second.tokens, places, second.tokens.size, 0.5)?;
            let map = first.map.then(graph, &second.map)?.then(graph, &third.map)?;
            name(graph, tokenpress::Compressed { map, ..third })
        },
        ragged: true,
    },
    Method {
        subject: "vidcom2",
        options: "a third of frames of 6",
        build: |graph, given| {
            let kept = VidCom2 { tokens_per_frame: 6, base: 0.34 }.build(graph, &given.tokens)?;
            name(graph, kept.compressed)
        },
        ragged: true,
    },
];

/// Two tokens of a text, then frames of five.
fn places(graph: &mut Graph, given: Given) -> Tensor {
    let (batch, tokens) = (given.tokens.batch(), given.tokens.capacity());
    let row = |_| (0..tokens).map(|i| i.checked_sub(2).map_or(NONE, |i| i % 5));
    graph.constant(HostTensor::u32([batch, tokens], (0..batch).flat_map(row).collect()))
}
