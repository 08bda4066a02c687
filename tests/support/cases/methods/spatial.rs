//! Methods on grids and sequences of tokens. A token of a row stands for a frame of 3 x 2 tokens of 2 channels.

use tokenpress::methods::{Faster, LlavaVideo, Newline, PoolMode, average_frames, nvlm_tile_tags, stack_frames};
use tokenpress::{Error, Graph, HostTensor, Tensor};

use super::{CHANNELS, Given, Method};
use crate::support::data;

const GRID: [u32; 2] = [3, 2];

pub const METHODS: &[Method] = &[
    Method {
        subject: "llava_video",
        options: "interpolated, newlines behind rows, faster frames",
        build: |graph, given| {
            let (newline, token) = (Newline::EachRow(learned(graph, given, 1)), learned(graph, given, 2));
            llava_video(graph, given, LlavaVideo { newline, faster: Some(Faster { every: 3, token }), ..LlavaVideo::default() })
        },
        ragged: true,
    },
    Method {
        subject: "llava_video",
        options: "averages, newlines behind frames",
        build: |graph, given| {
            let newline = Newline::EachFrame(learned(graph, given, 1));
            llava_video(graph, given, LlavaVideo { mode: PoolMode::Average, newline, ..LlavaVideo::default() })
        },
        ragged: true,
    },
    Method {
        subject: "llava_video",
        options: "maxima, a newline at the end",
        build: |graph, given| {
            let newline = Newline::End(learned(graph, given, 1));
            llava_video(graph, given, LlavaVideo { mode: PoolMode::Max, newline, ..LlavaVideo::default() })
        },
        ragged: true,
    },
    Method {
        subject: "audio",
        options: "stacks of 5",
        build: |graph, given| {
            let (x, lengths) = stack_frames(graph, given.tokens.x, Some(given.tokens.lengths), 5)?;
            graph.output("x'", x)?;
            graph.output("lengths'", lengths)
        },
        ragged: true,
    },
    Method {
        subject: "audio",
        options: "means of 3 by 2",
        build: |graph, given| {
            let (x, lengths) = average_frames(graph, given.tokens.x, Some(given.tokens.lengths), 3, 2)?;
            graph.output("x'", x)?;
            graph.output("lengths'", lengths)
        },
        ragged: true,
    },
    Method {
        subject: "nvlm",
        options: "tags of thumbnails",
        build: |graph, given| {
            let tiles = given.tokens.batch();
            let elem = given.tokens.x.elem();
            let embedding = graph.constant(data::tensor([9, CHANNELS], elem, &data::normal(1, 9 * CHANNELS as usize)));
            let tag_ids = graph.constant(HostTensor::u32([4, 2], data::integers(2, 8, 10)));
            let tagged = nvlm_tile_tags(graph, given.tokens.x, embedding, tag_ids, &vec![1; tiles as usize])?;
            graph.output("tagged", tagged)
        },
        ragged: false,
    },
];

/// A learned token of a frame's channels.
fn learned(graph: &mut Graph, given: Given, seed: u64) -> Tensor {
    let channels = CHANNELS / (GRID[0] * GRID[1]);
    graph.constant(data::tensor([channels], given.tokens.x.elem(), &data::normal(seed, channels as usize)))
}

fn llava_video(graph: &mut Graph, given: Given, method: LlavaVideo) -> Result<(), Error> {
    let [batch, frames, _] = given.tokens.x.shape().exactly("x", "[B, N, C]")?;
    let tokens = GRID[0] * GRID[1];
    let video = graph.reshape(given.tokens.x, [batch, frames, tokens, CHANNELS / tokens])?;
    let (x, lengths) = method.build(graph, video, GRID, Some(given.tokens.lengths))?;
    graph.output("x'", x)?;
    graph.output("lengths'", lengths)
}
