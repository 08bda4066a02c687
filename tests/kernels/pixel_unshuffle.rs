//! Pixel unshuffle: the published models' orders, what is refused, and that shuffling undoes it.

use proptest::prelude::*;
use tokenpress::kernels::{ChannelOrder, PixelUnshuffle, TokenOrder};
use tokenpress::methods::{mistral3_packed, nvlm_dynamic_resolution, qwen2_vl_patch_order};
use tokenpress::{Elem, Error, Graph, HostTensor, Tensor};

/// What a graph of one input and one output gives on the reference.
fn run(input: &HostTensor, build: impl FnOnce(&mut Graph, Tensor) -> Result<Tensor, Error>) -> HostTensor {
    let mut graph = Graph::new();
    let x = graph.input("x", input.shape(), input.desc().elem);
    let y = build(&mut graph, x).expect("valid");
    graph.output("y", y).expect("a new name");
    graph.run_reference(&[("x".to_owned(), input.clone())].into()).expect("inputs fit").remove("y").expect("an output")
}

#[test]
fn internvl_tables() {
    let tokens = HostTensor::u32([1, 16, 1], (0..16).collect());
    let table = |order: PixelUnshuffle| run(&tokens, |graph, x| order.unshuffle_tokens(graph, x, [4, 4])).integers().to_vec();
    assert_eq!(table(PixelUnshuffle::internvl_v2()), [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]);
    assert_eq!(table(PixelUnshuffle::internvl_v1()), [0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15]);
}

#[test]
fn class_token_is_dropped() {
    let image: Vec<u32> = (0..32).collect();
    let with_class: Vec<u32> = image.chunks(16).flat_map(|tokens| [&[99], tokens].concat()).collect();
    let plain = run(&HostTensor::u32([2, 16, 1], image), |g, x| PixelUnshuffle::llama4().unshuffle_tokens(g, x, [2, 8]));
    let skipping = PixelUnshuffle { skip: 1, ..PixelUnshuffle::llama4() };
    assert_eq!(run(&HostTensor::u32([2, 17, 1], with_class), |g, x| skipping.unshuffle_tokens(g, x, [2, 8])), plain);
}

/// (t, grid_h / 2, 2, grid_w / 2, 2) transposed to (t, grid_h / 2, grid_w / 2, 2, 2), as the image processor does.
#[test]
fn qwen2_vl_patches() {
    let patches = run(&HostTensor::u32([1, 24, 1], (0..24).collect()), |g, x| qwen2_vl_patch_order(g, x, [4, 6], 2));
    let mut expected = Vec::new();
    for (i, j) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
        expected.extend([(0, 0), (0, 1), (1, 0), (1, 1)].map(|(dy, dx)| (2 * i + dy) * 6 + 2 * j + dx));
    }
    assert_eq!(patches, HostTensor::u32([1, 24, 1], expected));
}

/// Each image of a packed sequence by itself.
#[test]
fn packed_images_are_separate() {
    let (sizes, channels) = ([[2u32, 4u32], [6, 2], [2, 2]], 3u32);
    let tokens = 8 + 12 + 4;
    let x: Vec<u32> = (0..tokens * channels).collect();
    let mut expected = Vec::new();
    let mut start = 0;
    for [h, w] in sizes {
        let end = start + h * w * channels;
        let image = HostTensor::u32([1, h * w, channels], x[start as usize..end as usize].to_vec());
        expected.extend(run(&image, |g, x| PixelUnshuffle::mistral3().unshuffle_tokens(g, x, [h, w])).integers());
        start = end;
    }
    let packed = run(&HostTensor::u32([1, tokens, channels], x), |g, x| mistral3_packed(g, x, &sizes, 2));
    assert_eq!(packed, HostTensor::u32([1, tokens / 4, channels * 4], expected));
}

#[test]
fn refuses() {
    let mut graph = Graph::new();
    let tokens = graph.input("tokens", [1, 35, 3], Elem::F32);
    let planar = graph.input("planar", [1, 3, 5, 7], Elem::F32);
    let square = PixelUnshuffle::default();
    let mut message = |build: &dyn Fn(&mut Graph) -> Result<Tensor, Error>| build(&mut graph).expect_err("an error").to_string();

    let said = message(&|g| square.unshuffle_tokens(g, tokens, [5, 7]));
    assert_eq!(said, "pixel_unshuffle: x: expected shape a grid of multiples of [2, 2] (or `pad`), not [5, 7], got [1, 35, 3]");
    assert!(message(&|g| square.unshuffle_planar(g, planar)).contains("multiples of [2, 2]"));
    assert!(message(&|g| square.unshuffle_tokens(g, tokens, [4, 8])).contains("[B, 32, C] or [B, 4, 8, C]"));
    assert!(message(&|g| PixelUnshuffle { skip: 2, ..square }.unshuffle_tokens(g, tokens, [4, 8])).contains("[B, 34, C]"));
    assert!(message(&|g| square.unshuffle_planar(g, tokens)).contains("[B, C, h, w]"));
    assert!(message(&|g| PixelUnshuffle { factor: [0, 2], ..square }.unshuffle_tokens(g, tokens, [5, 7])).contains("at least 1"));
    assert!(message(&|g| PixelUnshuffle { skip: 1, ..square }.unshuffle_planar(g, planar)).contains("skip"));
    assert!(message(&|g| PixelUnshuffle { tokens: TokenOrder::Transposed, ..square }.unshuffle_planar(g, planar)).contains("RowMajor"));
    assert!(message(&|g| square.shuffle_tokens(g, tokens, [10, 14])).contains("C a multiple of 4"));
    assert!(message(&|g| square.shuffle_tokens(g, tokens, [10, 12])).contains("[B, 30, C]"));
    assert!(message(&|g| square.shuffle_planar(g, planar, [10, 14])).contains("C a multiple of 4"));
    let huge = PixelUnshuffle { factor: [1 << 16, 1 << 16], pad: true, ..square };
    assert!(message(&|g| huge.unshuffle_tokens(g, tokens, [5, 7])).contains("2^32"));
    assert!(message(&|g| nvlm_dynamic_resolution(g, tokens, &[[4, 8]], 2)).contains("32 tokens"));
    assert!(message(&|g| nvlm_dynamic_resolution(g, tokens, &[[5, 7]], 2)).contains("multiples of 2"));
    assert!(message(&|g| mistral3_packed(g, tokens, &[[5, 7]], 0)).contains("from 1"));
    assert!(message(&|g| qwen2_vl_patch_order(g, tokens, [5, 7], 2)).contains("multiples of [2, 2]"));
}

proptest! {
    #[test]
    fn shuffle_undoes_unshuffle(
        factor in [1u32..5, 1u32..5],
        size in [0u32..9, 0u32..9],
        channels in 0u32..5,
        planar: bool,
        channel_first: bool,
        transposed: bool,
    ) {
        let options = PixelUnshuffle {
            factor,
            channels: if channel_first { ChannelOrder::ChannelFirst } else { ChannelOrder::PositionFirst },
            tokens: if transposed && !planar { TokenOrder::Transposed } else { TokenOrder::RowMajor },
            pad: true,
            skip: 0,
        };
        let [h, w] = size;
        let elements = (2 * channels * h * w) as usize;
        let data: Vec<u32> = (1..=elements as u32).collect();
        let image = if planar { HostTensor::u32([2, channels, h, w], data) } else { HostTensor::u32([2, h * w, channels], data) };
        let back = run(&image, |graph, x| {
            if planar {
                let blocks = options.unshuffle_planar(graph, x)?;
                options.shuffle_planar(graph, blocks, size)
            } else {
                let blocks = options.unshuffle_tokens(graph, x, size)?;
                options.shuffle_tokens(graph, blocks, size)
            }
        });
        prop_assert_eq!(back, image);
    }
}
