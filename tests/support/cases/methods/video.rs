use tokenpress::kernels::{AttentionInputs, AttentionScore, Distance, Queries, gather_rows};
use tokenpress::methods::{
    DiffFp, DyCoke, DyCokeCache, DyCokeStep, Evs, FastVid, FrameFusion, HoliTom, LlavaScissor, OmniZip, Pact, PixelPrune, Sttm, VidCom2,
};
use tokenpress::{Graph, HostTensor, NONE, Tensor};

use super::runs::name;
use super::{Given, Method};

pub const METHODS: &[Method] = &[
    Method {
        subject: "evs",
        options: "60 % of frames of 8",
        build: |graph, given| {
            let kept = Evs { tokens_per_frame: 8, prune: 0.6, floor: 0 }.build(graph, &given.tokens)?;
            name(graph, kept.pruned.compressed)
        },
        ragged: true,
    },
    Method {
        subject: "difffp",
        options: "a change of one in frames of 8",
        build: |graph, given| {
            // Noise differs by about this.
            let kept = DiffFp { tokens_per_frame: 8, threshold: 255.0, floor: 2 }.build(graph, &given.tokens)?;
            name(graph, kept)
        },
        ragged: true,
    },
    Method {
        subject: "llava_scissor",
        options: "links of 0.4 in frames of 6",
        build: |graph, given| {
            let merged = LlavaScissor { tokens_per_frame: 6, threshold: 0.4 }.build(graph, &given.tokens)?;
            name(graph, merged)
        },
        ragged: true,
    },
    Method {
        subject: "sttm",
        options: "a quadtree of 3 x 4, then along time",
        build: |graph, given| {
            let method = Sttm { height: 3, width: 4, threshold: 0.55, temporal: Some(0.2), root: 0 };
            let merged = method.build(graph, &given.tokens)?;
            name(graph, merged)
        },
        ragged: true,
    },
    Method {
        subject: "fastvid",
        options: "two segments or more, of frames of 12 or a sixth",
        build: |graph, given| {
            let score = Pact::importance(graph, &given.tokens, given.queries, given.keys)?;
            // Its work grows with the frames of a segment: a long row has a few long frames.
            let tokens_per_frame = given.tokens.capacity().div_ceil(6).max(12);
            let method = FastVid { tokens_per_frame, keep: 0.6, segments: 2, threshold: -0.5, context: 0.7, stride: 2, own: 0.4 };
            let merged = method.build(graph, &given.tokens, score, None)?;
            name(graph, merged)
        },
        ragged: true,
    },
    Method {
        subject: "holitom",
        options: "windows of frames of 7",
        build: |graph, given| {
            let score = Pact::importance(graph, &given.tokens, given.queries, given.keys)?;
            let method = HoliTom { tokens_per_frame: 7, keep: 0.5, threshold: -0.3, ..Default::default() };
            let merged = method.build(graph, &given.tokens, score)?;
            name(graph, merged)
        },
        ragged: true,
    },
    Method {
        subject: "omnizip",
        options: "frames of 4, sound of the same tokens",
        build: |graph, given| {
            let score = Pact::importance(graph, &given.tokens, given.queries, given.keys)?;
            let method = OmniZip { tokens_per_frame: 4, audio_per_chunk: 7, audio: 0.6, context: 0.2, video: 0.5, ..Default::default() };
            let kept = method.build(graph, &given.tokens, &given.tokens, score)?;
            graph.output("audio'", kept.audio.tokens.x)?;
            graph.output("audio parent", kept.audio.map.parent)?;
            graph.output("drop", kept.drop)?;
            name(graph, kept.video)
        },
        ragged: true,
    },
    Method {
        subject: "pact",
        options: "within 0.6",
        build: |graph, given| {
            let importance = Pact::importance(graph, &given.tokens, given.queries, given.keys)?;
            let merged = Pact { cutoff: 0.6, ..Default::default() }.build(graph, &given.tokens, importance, given.tokens.x)?;
            name(graph, merged)
        },
        ragged: true,
    },
    Method {
        subject: "pixelprune",
        options: "a grid of width 6, the largest difference 2.5",
        build: |graph, given| {
            let kept = PixelPrune { width: 6, threshold: 2.5, ..Default::default() }.build(graph, &given.tokens)?;
            name(graph, kept)
        },
        ragged: true,
    },
    Method {
        subject: "pixelprune",
        options: "a grid of width 5, the mean difference 1, not anchored",
        build: |graph, given| {
            let method = PixelPrune { width: 5, measure: Distance::MeanAbsolute, threshold: 1.0, anchored: false };
            let kept = method.build(graph, &given.tokens)?;
            name(graph, kept)
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
        subject: "dycoke",
        options: "two steps of decoding",
        build: |graph, given| {
            let (batch, tokens) = (given.tokens.batch(), given.tokens.capacity());
            let keep = tokens * 3 / 10;
            let attention = graph.constant(HostTensor::f32([batch, tokens], vec![0.0; (batch * tokens) as usize]));
            let selected = graph.constant(HostTensor::u32([batch, keep], vec![NONE; (batch * keep) as usize]));
            let mut step = DyCokeStep { attention, selected };
            for (row, name) in [(Queries::Last, "first"), (Queries::Row(0), "second")] {
                let score = AttentionScore { queries: row, ..Default::default() };
                let inputs = AttentionInputs {
                    queries: given.queries,
                    keys: given.keys,
                    bias: None,
                    lengths: Some(given.tokens.lengths),
                    query_lengths: None,
                };
                let attention = score.build(graph, inputs)?.score;
                step = DyCokeCache { keep: 0.3, similarity: 0.9 }.step(graph, attention, Some(given.tokens.lengths), step)?;
                // As many as the longest rows of all have.
                let first = graph.constant(HostTensor::u32([12], (0..12).collect()));
                let selected = gather_rows(graph, step.selected, first, None)?;
                graph.output(name, selected)?;
            }
            Ok(())
        },
        ragged: true,
    },
    Method {
        subject: "framefusion",
        options: "two merges, then half by a score",
        build: |graph, given| {
            let method = FrameFusion { tokens_per_frame: 5, similarity: 0.1, most: 0.3, floor: 0 };
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
