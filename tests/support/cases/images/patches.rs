use tokenpress::kernels::{ChannelOrder, Patches, Resize, Sampling};
use tokenpress::{Elem, Graph};

use crate::support::{Case, data};

/// Red and blue exchanged, normalized as CLIP does.
fn normalized() -> Patches {
    let (mean, deviation) = ([0.481_454_66, 0.457_827_5, 0.408_210_73, 0.0], [0.268_629_54, 0.261_302_6, 0.275_777_1, 1.0]);
    Patches { channels: vec![2, 1, 0], mean, deviation, fill: [0.45, 0.44, 0.43, 0.0], ..Patches::new([3, 2]) }
}

fn resized(size: [u32; 2], sampling: Sampling, letterbox: bool) -> Patches {
    Patches { resize: Some(Resize { size, sampling, letterbox }), ..normalized() }
}

fn case(options: &Patches, elem: Elem, [b, h, w, c]: [u32; 4], values: &[f32], what: &str) -> Case {
    let mut graph = Graph::new();
    let image = graph.input("image", [b, h, w, c], elem);
    let name = format!("{options:?}, {elem}[{b},{h},{w},{c}] {what}");
    let patches = options.build(&mut graph, image, [h, w]).expect("valid options");
    graph.output("patches", patches).expect("a name");
    Case { subject: "patches", name, heavy: false, graph, inputs: [("image".to_owned(), data::tensor([b, h, w, c], elem, values))].into() }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut push = |options: &Patches, elem, dims: [u32; 4], what: &str| {
        let len = dims.iter().product::<u32>() as usize;
        let values = match what {
            "awkward" => data::awkward(71, len),
            "the largest" => vec![if elem == Elem::F16 { 65504.0 } else { f32::MAX }; len],
            _ => data::normal(72, len),
        };
        cases.push(case(options, elem, dims, &values, what));
    };
    let grey = Patches { channels: vec![0], mean: [0.0; 4], deviation: [1.0; 4], ..normalized() };
    for elem in [Elem::F32, Elem::F16] {
        for dims in [[2, 7, 9, 3], [1, 12, 8, 4]] {
            push(&normalized(), elem, dims, "normal");
            push(&Patches { order: ChannelOrder::ChannelFirst, ..normalized() }, elem, dims, "normal");
            for sampling in [Sampling::Nearest, Sampling::Bilinear, Sampling::Antialiased] {
                for size in [[4, 5], [13, 10], [1, 1]] {
                    push(&resized(size, sampling, false), elem, dims, "normal");
                    push(&resized(size, sampling, true), elem, dims, "normal");
                }
                push(&resized([5, 5], sampling, false), elem, dims, "awkward");
            }
        }
        let four = Patches { channels: vec![3, 0, 1, 1], ..resized([6, 20], Sampling::Bilinear, true) };
        push(&four, elem, [1, 12, 8, 4], "normal");
        push(&grey, elem, [3, 5, 5, 1], "awkward");
        push(&grey, elem, [1, 4, 6, 2], "the largest");
        push(&Patches { patch: [16, 16], ..grey.clone() }, elem, [0, 4, 6, 2], "empty");
    }
    push(&resized([37, 50], Sampling::Antialiased, true), Elem::F32, [1, 130, 97, 3], "normal");
    // A spectrogram's length: the square of it is no u32.
    push(&Patches { patch: [1, 8], ..grey.clone() }, Elem::F32, [1, 1, 70_000, 1], "normal");
    cases
}
