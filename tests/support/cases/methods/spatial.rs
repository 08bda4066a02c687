//! Methods on grids and sequences of tokens. A token of a row stands for a frame of 3 x 2 tokens of 2 channels.

use tokenpress::kernels::gather_rows;
use tokenpress::methods::{
    Affine, Faster, Join, LlavaNext, LlavaVideo, Newline, PoolMode, Projector, Unpadding, average_frames, nvlm_tile_tags, stack_frames,
};
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
        subject: "llava_next",
        options: "two tiles, shrunk",
        build: |graph, given| {
            // A token is an image of its own: an overview and two tiles below each other, of 2 x 2 tokens of one channel.
            let x = given.tokens.x;
            let [batch, tokens, _] = x.shape().exactly("x", "[B, N, C]")?;
            let x = graph.reshape(x, [batch * tokens, 3, 4, CHANNELS / 12])?;
            let newline = Some(learned_of(graph, given, 1, CHANNELS / 12));
            let method = LlavaNext { edge: 2, tiles: [2, 1], image: [100, 30], unpadding: Unpadding::Llava, most_tiles: Some(1), newline };
            let y = method.build(graph, x)?;
            let [_, left, _] = y.shape().exactly("y", "[B, N, C]")?;
            let y = graph.reshape(y, [batch, tokens, left * (CHANNELS / 12)])?;
            graph.output("x'", y)
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
            graph.output("x'", tagged)
        },
        ragged: false,
    },
    Method {
        subject: "projector",
        options: "Llama 4",
        build: |graph, given| {
            let layers = [(9, 4 * CHANNELS), (7, 9), (6, 7)];
            let mut seed = 0;
            let layers = layers.map(|(outputs, inputs)| {
                seed += 1;
                weight(graph, given, seed, outputs, inputs)
            });
            projected(graph, given, &Projector::llama4(cells(given), layers))
        },
        ragged: false,
    },
    Method {
        subject: "projector",
        options: "InternVL",
        build: |graph, given| {
            let (norm, layers) = norm_and_layers(graph, given, 4 * CHANNELS);
            projected(graph, given, &Projector::internvl(cells(given), norm, layers))
        },
        ragged: false,
    },
    Method {
        subject: "projector",
        options: "Mistral 3",
        build: |graph, given| {
            let (norm, layers) = norm_and_layers(graph, given, CHANNELS);
            let merging = weight(graph, given, 5, CHANNELS, 4 * CHANNELS);
            // What fills no block of these images is dropped.
            let tokens = given.tokens.capacity();
            let images = vec![[tokens / 5, 3], [1, tokens - tokens / 5 * 3]];
            projected(graph, given, &Projector::mistral3(images, 2, norm.weight, 1e-5, merging, layers))
        },
        ragged: false,
    },
    Method {
        subject: "projector",
        options: "Qwen2.5-VL, patches of one token",
        build: |graph, given| {
            let (norm, layers) = norm_and_layers(graph, given, CHANNELS);
            projected(graph, given, &Projector::qwen2_5_vl(1, norm.weight, layers))
        },
        ragged: true,
    },
    Method {
        subject: "projector",
        options: "Gemma 3",
        build: |graph, given| {
            // The square is a frame of the token: 2 x 2 tokens of 3 channels.
            let x = given.tokens.x;
            let [batch, tokens, _] = x.shape().exactly("x", "[B, N, C]")?;
            let x = graph.reshape(x, [batch * tokens, 4, CHANNELS / 4])?;
            let norm = learned_of(graph, given, 1, CHANNELS / 4);
            let layer = weight(graph, given, 2, 5, CHANNELS / 4);
            let projector = Projector::gemma3(graph, 2, 1, norm, layer)?;
            let y = projector.build(graph, x)?.y;
            let y = graph.reshape(y, [batch, tokens, 5])?;
            graph.output("x'", y)
        },
        ragged: true,
    },
];

/// The grid with one row of cells of 2 x 2 tokens, or none: the last column may be in no cell.
fn cells(given: Given) -> [u32; 2] {
    [2, given.tokens.capacity() / 4 * 2]
}

fn projected(graph: &mut Graph, given: Given, projector: &Projector) -> Result<(), Error> {
    // As many tokens as the grid has.
    let used = match &projector.join {
        Join::Blocks(_, [h, w]) => h * w,
        _ => given.tokens.capacity(),
    };
    let index = graph.constant(HostTensor::u32([used], (0..used).collect()));
    let x = gather_rows(graph, given.tokens.x, index, None)?;
    let output = projector.build(graph, x)?;
    graph.output("joined", output.joined)?;
    graph.output("x'", output.y)
}

/// A weight that keeps the size of what goes through it.
fn weight(graph: &mut Graph, given: Given, seed: u64, outputs: u32, inputs: u32) -> Tensor {
    let values: Vec<f32> = data::normal(seed, (outputs * inputs) as usize).into_iter().map(|v| v / (inputs as f32).sqrt()).collect();
    graph.constant(data::tensor([outputs, inputs], given.tokens.x.elem(), &values))
}

/// A norm of so many channels, and two layers behind it.
fn norm_and_layers(graph: &mut Graph, given: Given, channels: u32) -> (Affine, [Affine; 2]) {
    let norm = Affine { weight: learned_of(graph, given, 11, channels), bias: Some(learned_of(graph, given, 12, channels)) };
    let first = Affine { weight: weight(graph, given, 13, 10, channels), bias: Some(learned_of(graph, given, 14, 10)) };
    let second = Affine { weight: weight(graph, given, 15, 7, 10), bias: None };
    (norm, [first, second])
}

/// A learned token of a frame's channels.
fn learned(graph: &mut Graph, given: Given, seed: u64) -> Tensor {
    learned_of(graph, given, seed, CHANNELS / (GRID[0] * GRID[1]))
}

fn learned_of(graph: &mut Graph, given: Given, seed: u64, channels: u32) -> Tensor {
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
