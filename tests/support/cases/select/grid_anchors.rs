use tokenpress::kernels::{Distance, GridAnchors};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

fn case(shape: [u32; 3], elem: Elem, options: GridAnchors, values: &[f32], what: &str, ragged: bool) -> Case {
    let [batch, tokens, _] = shape;
    let mut graph = Graph::new();
    let x = graph.input("x", shape, elem);
    let mut inputs: HostTensors = [("x".to_owned(), data::tensor(shape, elem, values))].into();
    let lengths = ragged.then(|| {
        let lengths = (0..batch).map(|b| [tokens / 2, 0, u32::MAX, 1][b as usize % 4]).collect();
        inputs.insert("lengths".to_owned(), HostTensor::u32([batch], lengths));
        graph.input("lengths", [batch], Elem::U32)
    });
    let anchors = options.build(&mut graph, x, lengths).expect("shapes agree");
    graph.output("anchor", anchors).expect("a name");
    let GridAnchors { width, measure, threshold } = options;
    let name = format!("{measure:?} {elem} {shape:?} width {width} at most {threshold} {what}");
    Case { subject: "grid_anchors", name, heavy: false, graph, inputs }
}

/// Flat areas with edges, and little noise.
fn areas(seed: u64, [batch, tokens, channels]: [u32; 3], width: u32, noise: f32) -> Vec<f32> {
    let noises = data::normal(seed, (batch * tokens * channels) as usize);
    let level = |i: u32| {
        let token = i / channels % tokens;
        ((token / width / 3) % 2 + 2 * ((token % width / 4) % 3) + i % channels % 2) as f32
    };
    noises.into_iter().enumerate().map(|(i, z)| level(i as u32) + noise * z).collect()
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for measure in [Distance::Largest, Distance::MeanAbsolute, Distance::RootMeanSquare] {
        for (shape, width, elem, ragged) in [
            ([1, 1, 1], 1, Elem::F32, false),
            ([4, 35, 7], 7, Elem::F32, true),
            ([4, 33, 12], 6, Elem::F16, true),
            ([2, 40, 600], 8, Elem::F32, false),
            ([2, 20, 5], 1, Elem::F16, true),
            ([2, 20, 5], 64, Elem::F32, true),
            ([0, 3, 4], 2, Elem::F32, false),
            ([2, 0, 4], 2, Elem::F32, false),
            ([2, 3, 0], 2, Elem::F32, false),
        ] {
            for (threshold, noise) in [(0.0, 0.0), (0.25, 0.08), (-1.0, 0.0)] {
                let values = areas(3, shape, width, noise);
                cases.push(case(shape, elem, GridAnchors { width, measure, threshold }, &values, "areas", ragged));
            }
        }
        let options = GridAnchors { width: 9, measure, threshold: 0.6 };
        cases.push(case([4, 50, 2], Elem::F32, options, &data::ties(4, 400), "ties", true));
        cases.push(case([4, 50, 2], Elem::F32, options, &data::awkward(4, 400), "awkward", true));
        cases.push(case([4, 50, 4], Elem::F16, options, &data::awkward(4, 800), "awkward", true));
    }
    // Of several dispatches.
    let options = GridAnchors { width: 60, measure: Distance::MeanAbsolute, threshold: 0.3 };
    cases.push(case([2, 3000, 5], Elem::F32, options, &areas(5, [2, 3000, 5], 60, 0.1), "areas", true));
    let broken = |case: &Case| {
        let shape = case.inputs["x"].shape();
        case.broken_behind(&[("x", shape.dims()[1], shape.dims()[2])])
    };
    let broken: Vec<_> = cases.iter().filter(|case| case.is_ragged()).map(broken).collect();
    cases.extend(broken);
    cases
}
