use tokenpress::kernels::LayerNorm;
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, Shape};

use super::row_normalize::rows;
use crate::support::{Case, data};

fn case(norm: LayerNorm, shape: impl Into<Shape>, elem: Elem, [weighted, biased]: [bool; 2], values: &[f32], what: &str) -> Case {
    let shape = shape.into();
    let channels = *shape.dims().last().expect("x has dimensions");
    let name = format!("{elem}{shape} {norm:?} weight {weighted} bias {biased} {what}");
    let mut graph = Graph::new();
    let mut host = HostTensors::new();
    let mut input = |name: &str, shape: Shape, values: &[f32]| {
        host.insert(name.to_owned(), data::tensor(shape, elem, values));
        graph.input(name, shape, elem)
    };
    let x = input("x", shape, values);
    let weight = weighted.then(|| input("weight", [channels].into(), &data::normal(2, channels as usize)));
    let bias = biased.then(|| input("bias", [channels].into(), &data::normal(3, channels as usize)));
    let y = norm.apply(&mut graph, x, weight, bias).expect("shapes agree");
    graph.output("y", y).expect("a name");
    Case { subject: "layer_norm", name, heavy: false, graph, inputs: host }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let (layer, root) = (LayerNorm::default(), LayerNorm::root_mean_square(1e-6));
    for elem in [Elem::F32, Elem::F16] {
        for (tokens, channels) in
            [(1, 1), (5, 3), (2, 31), (3, 32), (33, 33), (4, 127), (5, 128), (3, 129), (2, 768), (2, 2049), (0, 4), (3, 0)]
        {
            for norm in [layer, root] {
                let len = (tokens * channels) as usize;
                cases.push(case(norm, [tokens, channels], elem, [true, true], &data::normal(1, len), "normal"));
            }
        }
        for present in [[true, false], [false, true], [false, false]] {
            cases.push(case(layer, [2, 3, 2, 8], elem, present, &data::normal(1, 96), "normal"));
        }
        // Zero rows, one huge channel, denormals, NaN, infinities; rows far from 0; rows without deviation.
        let far: Vec<f32> = data::normal(4, 480).into_iter().map(|x| x + 1000.0).collect();
        for norm in [layer, root, LayerNorm::new(1e-12)] {
            cases.push(case(norm, [24, 20], elem, [true, true], &rows(5, 24, 20, elem), "rows of every kind"));
            cases.push(case(norm, [24, 20], elem, [true, true], &far, "far"));
            cases.push(case(norm, [24, 20], elem, [true, true], &vec![if elem == Elem::F16 { 60000.0 } else { 0.1 }; 480], "equal"));
        }
    }
    cases
}
