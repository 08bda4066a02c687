use tokenpress::kernels::{ChannelOrder, PixelUnshuffle, TokenOrder};
use tokenpress::methods::{Sequences, mistral3_packed, nvlm_dynamic_resolution, pack_sequences, qwen2_vl_patch_order};
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::Case;
use crate::support::cases::apply::gather_rows::any;

/// Blocks of an image of tokens or planes, and the image again.
fn case(options: PixelUnshuffle, planar: bool, batch: u32, size: [u32; 2], channels: u32, elem: Elem) -> Case {
    let mut graph = Graph::new();
    let [h, w] = size;
    let shape = if planar { [batch, channels, h, w] } else { [batch, options.skip + h * w, channels, 1] };
    let input = graph.input("x", shape, elem);
    let image = if planar {
        let blocks = options.unshuffle_planar(&mut graph, input).expect("shapes agree");
        graph.output("blocks", blocks).expect("a name");
        options.shuffle_planar(&mut graph, blocks, size).expect("shapes agree")
    } else {
        let x = graph.reshape(input, [batch, options.skip + h * w, channels]).expect("as many elements");
        let blocks = options.unshuffle_tokens(&mut graph, x, size).expect("shapes agree");
        graph.output("blocks", blocks).expect("a name");
        options.shuffle_tokens(&mut graph, blocks, size).expect("shapes agree")
    };
    graph.output("image", image).expect("a name");
    let kind = if planar { "planar" } else { "tokens" };
    let PixelUnshuffle { factor, channels: order, tokens, pad, skip } = options;
    let name = format!("{elem} {kind} {size:?} x {channels} by {factor:?} {order:?} {tokens:?} pad {pad} skip {skip}");
    Case { subject: "pixel_unshuffle", name, heavy: false, graph, inputs: [("x".to_owned(), any(5, shape, elem))].into() }
}

/// Images of different sizes, one after the other.
fn packed(elem: Elem) -> Case {
    let mut graph = Graph::new();
    let x = graph.input("x", [2, 24, 6], elem);
    let images = [[2, 4], [6, 2], [2, 2]];
    let shuffled = nvlm_dynamic_resolution(&mut graph, x, &images, 2).expect("shapes agree");
    let merged = mistral3_packed(&mut graph, x, &images, 2).expect("shapes agree");
    let ordered = qwen2_vl_patch_order(&mut graph, x, [4, 6], 2).expect("shapes agree");
    for (name, tensor) in [("shuffled", shuffled), ("merged", merged), ("ordered", ordered)] {
        graph.output(name, tensor).expect("a name");
    }
    let inputs = [("x".to_owned(), any(6, [2, 24, 6], elem))];
    Case { subject: "pixel_unshuffle", name: format!("{elem} packed images"), heavy: false, graph, inputs: inputs.into() }
}

/// Sequences of different lengths, in rows of their own and, shorter, packed again.
fn sequences(elem: Elem) -> Case {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 97, 6], elem);
    let lengths = graph.input("lengths", [4], Elem::U32);
    let sequences = Sequences::of_counts(&mut graph, &[13, 0, 64, 20]).expect("few tokens");
    let rows = sequences.rows(&mut graph, x).expect("shapes agree");
    let (packed, total) = pack_sequences(&mut graph, rows, lengths).expect("shapes agree");
    for (name, tensor) in [("rows", rows), ("packed", packed), ("total", total)] {
        graph.output(name, tensor).expect("a name");
    }
    // More than there is room for counts as full.
    let lengths = HostTensor::u32([4], vec![5, 0, 100, 20]);
    let inputs = [("x".to_owned(), any(7, [1, 97, 6], elem)), ("lengths".to_owned(), lengths)];
    Case { subject: "pixel_unshuffle", name: format!("{elem} packed sequences"), heavy: false, graph, inputs: inputs.into() }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for elem in [Elem::F32, Elem::F16, Elem::U32] {
        for channels in [ChannelOrder::PositionFirst, ChannelOrder::ChannelFirst] {
            for tokens in [TokenOrder::RowMajor, TokenOrder::Transposed] {
                let order = PixelUnshuffle { channels, tokens, ..Default::default() };
                // Channels that move as 16, 4 and 2 bytes; transpositions by 2, 3 and 4; parts of blocks.
                for c in [1, 3, 6, 8, 16] {
                    cases.push(case(order, false, 2, [4, 6], c, elem));
                    cases.push(case(PixelUnshuffle { factor: [2, 3], pad: true, skip: 1, ..order }, false, 2, [5, 7], c, elem));
                    cases.push(case(PixelUnshuffle { factor: [1, 2], skip: 3, ..order }, false, 1, [3, 6], c, elem));
                }
                cases.push(case(PixelUnshuffle { factor: [4, 1], ..order }, false, 2, [8, 3], 16, elem));
                cases.push(case(PixelUnshuffle { factor: [1, 4], ..order }, false, 2, [3, 8], 16, elem));
                cases.push(case(PixelUnshuffle { factor: [1, 1], ..order }, false, 1, [3, 5], 4, elem));
                cases.push(case(PixelUnshuffle { factor: [3, 3], ..order }, false, 2, [6, 9], 3, elem));
                cases.push(case(PixelUnshuffle { factor: [4, 4], ..order }, false, 1, [8, 4], 4, elem));
                // Blocks larger than the image; no image.
                cases.push(case(PixelUnshuffle { factor: [4, 4], pad: true, ..order }, false, 1, [1, 3], 4, elem));
                cases.push(case(order, false, 2, [0, 4], 4, elem));
                cases.push(case(order, false, 2, [4, 4], 0, elem));
                cases.push(case(order, false, 0, [4, 4], 4, elem));
            }
            let order = PixelUnshuffle { channels, ..Default::default() };
            for (factor, size) in [([2, 2], [4, 6]), ([2, 2], [6, 32]), ([1, 4], [3, 64]), ([4, 4], [8, 33 * 4]), ([3, 3], [6, 9])] {
                cases.push(case(PixelUnshuffle { factor, ..order }, true, 2, size, 3, elem));
            }
            cases.push(case(PixelUnshuffle { pad: true, ..order }, true, 2, [5, 7], 3, elem));
            cases.push(case(PixelUnshuffle { pad: true, ..order }, true, 1, [5, 32], 1, elem));
            cases.push(case(order, true, 2, [4, 0], 3, elem));
        }
        cases.push(packed(elem));
        cases.push(sequences(elem));
    }
    let broken: Vec<_> = cases
        .iter()
        .filter_map(|case| {
            let skip = case.name.split("skip ").nth(1)?.parse::<usize>().ok().filter(|skip| *skip > 0)?;
            let shape = case.inputs["x"].shape();
            let [_, tokens, channels, _] = *shape.dims() else { panic!("tokens of an image") };
            Some(case.clone().broken("x", channels as usize, |token| token % (tokens as usize) < skip))
        })
        .collect();
    cases.extend(broken);
    cases
}
