use tokenpress::kernels::{AttentionInputs, AttentionScore, HeadReduction, Norm, Queries, RowReduction, gather_rows, lookup};
use tokenpress::methods::{BalancedPrune, CdPruner, Dart, DivPrune, HiPrune, HoloV, IdPruner, Pruned, Scope, VisPruner, text_similarity};
use tokenpress::{Error, Graph, HostTensor, Tensor};

use super::{Given, Method};

pub const METHODS: &[Method] = &[
    Method {
        subject: "divprune",
        options: "0.3",
        build: |graph, given| {
            let kept = DivPrune { keep: 0.3, floor: 0 }.build(graph, &given.tokens)?;
            graph.output("order", kept.selected.indices)?;
            pruned(graph, &kept.pruned)
        },
        ragged: true,
    },
    Method {
        subject: "cdpruner",
        options: "6",
        build: |graph, given| {
            // The first tokens stand for words.
            let few = graph.constant(HostTensor::u32([3], vec![0, 1, 2]));
            let text = gather_rows(graph, given.tokens.x, few, None)?;
            let few = graph.constant(HostTensor::u32([4], vec![0, 1, 2, 3]));
            let words = lookup(graph, few, given.tokens.lengths)?;
            let similarity = text_similarity(graph, given.tokens.x, text, Some(given.tokens.lengths), Some(words))?;
            let kept = CdPruner { keep: 6, ..Default::default() }.build(graph, &given.tokens, similarity)?;
            graph.output("order", kept.kept.selected.indices)?;
            pruned(graph, &kept.kept.pruned)
        },
        ragged: true,
    },
    Method {
        subject: "btp",
        options: "12",
        build: |graph, given| {
            let score = score(graph, given)?;
            let spatial = vec![0, 7, 11, 30];
            let method = BalancedPrune { keep: 12, attention: 0.4, diversity: 0.3, oversample: 2.0, spatial };
            let kept = method.build(graph, &given.tokens, score)?;
            pruned(graph, &kept.pruned)
        },
        ragged: true,
    },
    Method {
        subject: "idpruner",
        options: "0.4",
        build: |graph, given| {
            let score = score(graph, given)?;
            let kept = IdPruner { keep: 0.4, relevance: 0.5, floor: 0 }.build(graph, &given.tokens, score)?;
            graph.output("order", kept.selected.indices)?;
            pruned(graph, &kept.pruned)
        },
        ragged: true,
    },
    Method {
        subject: "scope",
        options: "0.3, by the product",
        build: |graph, given| {
            let score = score(graph, given)?;
            let kept = Scope { keep: 0.3, ..Default::default() }.build(graph, &given.tokens, score)?;
            graph.output("order", kept.selected.indices)?;
            pruned(graph, &kept.pruned)
        },
        ragged: true,
    },
    Method {
        subject: "scope",
        options: "0.2, by the sum",
        build: |graph, given| {
            let score = score(graph, given)?;
            let kept = Scope { keep: 0.2, additive: true, floor: 2 }.build(graph, &given.tokens, score)?;
            pruned(graph, &kept.pruned)
        },
        ragged: true,
    },
    Method {
        subject: "hiprune",
        options: "0.4, half of it anchors",
        build: |graph, given| {
            let (middle, deep) = (score_of(graph, given, 0)?, score_of(graph, given, 1)?);
            let kept = HiPrune { keep: 0.4, share: 0.5, width: 6, wrap: false, floor: 0 }.build(graph, &given.tokens, middle, deep)?;
            pruned(graph, &kept)
        },
        ragged: true,
    },
    Method {
        subject: "holov",
        options: "11 of 4 crops",
        build: |graph, given| {
            let score = score(graph, given)?;
            let kept = HoloV { keep: 11, crops: 4 }.build(graph, &given.tokens, score)?;
            graph.output("budgets", kept.budgets)?;
            pruned(graph, &kept.pruned)
        },
        ragged: true,
    },
    Method {
        subject: "dart",
        options: "0.4, 2 and 1 pivots",
        build: |graph, given| {
            let sizes = score(graph, given)?;
            let first = graph.constant(HostTensor::u32([1], vec![0]));
            let text = gather_rows(graph, given.tokens.x, first, None)?;
            let kept = Dart { keep: 0.4, image_pivots: 2, floor: 0 }.build(graph, &given.tokens, sizes, Some(text))?;
            pruned(graph, &kept.pruned)
        },
        ragged: true,
    },
    Method {
        subject: "vispruner",
        options: "9, a third",
        build: |graph, given| {
            let score = score(graph, given)?;
            let kept = VisPruner { keep: 9, important: 0.34 }.build(graph, &given.tokens, score)?;
            pruned(graph, &kept.pruned)
        },
        ragged: true,
    },
];

fn score(graph: &mut Graph, given: Given) -> Result<Tensor, Error> {
    score_of(graph, given, 0)
}

/// A head's attention to the tokens from the first one.
fn score_of(graph: &mut Graph, given: Given, head: u32) -> Result<Tensor, Error> {
    let attention = AttentionScore {
        queries: Queries::Row(0),
        norm: Norm::Softmax,
        rows: RowReduction::Mean,
        heads: HeadReduction::One(head),
        ..Default::default()
    };
    let lengths = Some(given.tokens.lengths);
    let inputs = AttentionInputs { queries: given.queries, keys: given.keys, bias: None, lengths, query_lengths: None };
    Ok(attention.build(graph, inputs)?.score)
}

fn pruned(graph: &mut Graph, kept: &Pruned) -> Result<(), Error> {
    graph.output("x'", kept.compressed.tokens.x)?;
    graph.output("lengths'", kept.compressed.tokens.lengths)?;
    graph.output("parent", kept.compressed.map.parent)?;
    graph.output("indices", kept.selection.indices)
}
