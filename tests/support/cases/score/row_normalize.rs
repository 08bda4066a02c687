use tokenpress::kernels::row_normalize;
use tokenpress::{Elem, Graph, HostTensor, Shape};

use crate::support::{Case, data};

/// Rows of every kind, turn by turn: normal, zero, one huge, one tiny, denormal, a NaN, an infinity, all extreme, mixed.
pub fn rows(seed: u64, rows: usize, channels: usize, elem: Elem) -> Vec<f32> {
    let mut random = data::Random::new(seed);
    let (huge, tiny) = if elem == Elem::F16 { (60000.0, 6e-5) } else { (3.0e38, 1e-37) };
    let denormal = if elem == Elem::F16 { 6e-8 } else { 1e-42 };
    let mut values = Vec::with_capacity(rows * channels);
    for row in 0..rows {
        let odd = random.below(channels.max(1) as u32) as usize;
        for c in 0..channels {
            let normal = random.normal();
            values.push(match (row % 12, c == odd) {
                (1, _) => 0.0,
                (2, true) => huge,
                (3, true) => tiny,
                (3, false) => 0.0,
                (4, _) => denormal * (normal * 8.0).round(),
                (5, true) => f32::NAN,
                (6, true) => f32::NEG_INFINITY,
                (7, _) => huge.copysign(normal),
                (8, _) => normal * tiny,
                (9, true) => -0.0,
                (10, _) => 0.5,
                _ => normal,
            });
        }
    }
    values
}

fn case(shape: impl Into<Shape>, elem: Elem, lengths: Option<&[u32]>, values: &[f32], what: &str) -> Case {
    let shape = shape.into();
    let mut graph = Graph::new();
    let x = graph.input("x", shape, elem);
    let mut inputs: tokenpress::readback::HostTensors = [("x".to_owned(), data::tensor(shape, elem, values))].into();
    let live = lengths.map(|live| {
        inputs.insert("lengths".to_owned(), HostTensor::u32([live.len() as u32], live.to_vec()));
        graph.input("lengths", [live.len() as u32], Elem::U32)
    });
    let normalized = row_normalize(&mut graph, x, live).expect("shapes agree");
    graph.output("unit", normalized.unit).expect("a name");
    graph.output("norm", normalized.norm).expect("a name");
    let name = format!("{elem}{shape}{what}{}", lengths.map(|l| format!(" lengths {l:?}")).unwrap_or_default());
    Case { subject: "row_normalize", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for elem in [Elem::F32, Elem::F16] {
        for (batch, tokens, channels) in
            [(1, 1, 1), (2, 13, 3), (1, 33, 4), (3, 12, 20), (2, 37, 64), (1, 14, 129), (1, 3, 1025), (0, 3, 4), (2, 0, 4), (2, 3, 0)]
        {
            let values = rows(11, (batch * tokens) as usize, channels as usize, elem);
            cases.push(case([batch, tokens, channels], elem, None, &values, ""));
        }
        let values = rows(12, 4 * 25, 6, elem);
        cases.push(case([4, 25, 6], elem, Some(&[0, 1, 25, 1000]), &values, ""));
        for (heads, tokens, channels) in [(1, 13, 8), (2, 25, 5), (3, 12, 16), (12, 7, 64)] {
            let values = rows(13, (2 * heads * tokens) as usize, channels as usize, elem);
            cases.push(case([2, heads, tokens, channels], elem, Some(&[tokens, tokens - 2]), &values, " keys"));
        }
        // Denormals beside the largest numbers.
        let (huge, denormal) = if elem == Elem::F16 { (60000.0, 6e-8) } else { (3e38, 1e-40) };
        for channels in [3, 4] {
            let values: Vec<f32> = (0..12 * channels).map(|i| [huge, denormal, -denormal, 0.0, -1.0][i as usize % 5]).collect();
            cases.push(case([1, 12, channels], elem, None, &values, " denormals beside the largest"));
        }
        // Heads that cancel: exactly, and up to rounding.
        let near: Vec<f32> = (0..2 * 3 * 4).map(|i| [1.0, 0.1, 7.0, 1e-3][i % 4] * if i < 12 { 1.0 } else { -0.9999 }).collect();
        cases.push(case([1, 2, 3, 4], elem, None, &near, " keys that nearly cancel"));
        // What is left in one channel is too small to be squared at the heads' own scale.
        let left = if elem == Elem::F16 { 1e-7 } else { 1e-30 };
        let head = [3.0, 3.0, left, 3.0].repeat(3);
        let opposite: Vec<f32> = head.iter().copied().chain(head.iter().map(|v| if *v == left { left } else { -v })).collect();
        cases.push(case([1, 2, 3, 4], elem, None, &opposite, " keys that cancel"));
    }
    let broken: Vec<_> = cases
        .iter()
        .filter(|case| case.is_ragged())
        .map(|case| {
            let shape = case.inputs["x"].shape();
            let [.., tokens, channels] = *shape.dims() else { panic!("rows of channels") };
            case.broken_behind(&[("x", tokens, channels)])
        })
        .collect();
    cases.extend(broken);
    cases
}
