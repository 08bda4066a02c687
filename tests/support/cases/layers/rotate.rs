use tokenpress::kernels::{Rope, RotaryPairs};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

fn case([batch, tokens, channels]: [u32; 3], rotated: u32, elem: Elem, pairs: RotaryPairs, values: &[f32], ragged: bool) -> Case {
    let mut graph = Graph::new();
    let x = graph.input("x", [batch, tokens, channels], elem);
    let [from, to] = ["from", "to"].map(|name| graph.input(name, [batch, tokens], Elem::U32));
    // Near and far, forward and back, and where they are.
    let places = (batch * tokens) as usize;
    let positions = |seed: u64, below: &[u32]| {
        let near = data::integers(seed, places, 300);
        let all = near.into_iter().enumerate().map(|(i, p)| p.wrapping_mul(below[i % below.len()])).collect();
        HostTensor::u32([batch, tokens], all)
    };
    let mut inputs: HostTensors = [
        ("x".to_owned(), data::tensor([batch, tokens, channels], elem, values)),
        ("from".to_owned(), positions(1, &[1, 0, 1, 70_000, 1])),
        ("to".to_owned(), positions(1, &[1, 1, 0, 3, 14_000_000])),
    ]
    .into();
    let lengths = ragged.then(|| {
        let lengths = (0..batch).map(|b| [tokens / 2, 0, u32::MAX, 1][b as usize % 4]).collect();
        inputs.insert("lengths".to_owned(), HostTensor::u32([batch], lengths));
        graph.input("lengths", [batch], Elem::U32)
    });
    let rope = Rope::new(10_000.0, rotated, pairs);
    let y = rope.rotate(&mut graph, x, Some(from), to, lengths).expect("shapes agree");
    graph.output("y", y).expect("a name");
    let name = format!("{elem} [{batch}, {tokens}, {channels}] {rotated} channels {pairs:?}{}", if ragged { " ragged" } else { "" });
    Case { subject: "rotate", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for pairs in [RotaryPairs::Half, RotaryPairs::Interleaved] {
        for elem in [Elem::F32, Elem::F16] {
            for (shape, rotated, ragged) in [
                ([1, 1, 2], 2, false),
                ([2, 33, 64], 64, false),
                ([4, 17, 10], 6, true),
                ([4, 9, 128], 128, true),
                ([1, 5, 3], 0, false),
                ([0, 3, 4], 4, false),
                ([2, 0, 4], 4, false),
                ([2, 3, 0], 0, false),
            ] {
                let elements = shape.iter().product::<u32>() as usize;
                cases.push(case(shape, rotated, elem, pairs, &data::normal(3, elements), ragged));
            }
            let mut extremes = case([2, 40, 6], 4, elem, pairs, &data::extremes(5, 480, elem), false);
            extremes.name += " extremes";
            cases.push(extremes);
        }
        let mut awkward = case([4, 30, 4], 4, Elem::F32, pairs, &data::awkward(4, 480), true);
        awkward.name += " awkward";
        cases.push(awkward);
    }
    let broken: Vec<_> = cases
        .iter()
        .filter(|case| case.is_ragged())
        .map(|case| {
            let shape = case.inputs["x"].shape();
            let (tokens, channels) = (shape.dims()[1], shape.dims()[2]);
            case.broken_behind(&[("x", tokens, channels), ("from", tokens, 1), ("to", tokens, 1)])
        })
        .collect();
    cases.extend(broken);
    cases
}
