use tokenpress::kernels::HeatMap;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

fn case(options: HeatMap, elem: Elem, [b, h, w, c]: [u32; 4], [rows, columns]: [u32; 2], what: &str) -> Case {
    let mut graph = Graph::new();
    let image = graph.input("image", [b, h, w, c], elem);
    let scores = graph.input("scores", [b, rows * columns], Elem::F32);
    let name = format!("{options:?}, {elem}[{b},{h},{w},{c}], {rows} x {columns} scores, {what}");
    let shown = options.build(&mut graph, image, [h, w], scores, [rows, columns]).expect("valid options");
    graph.output("shown", shown).expect("a name");
    let values = |seed, shape: &[u32]| {
        let len = shape.iter().product::<u32>() as usize;
        if what == "awkward" { data::awkward(seed, len) } else { data::normal(seed, len) }
    };
    let image = data::tensor([b, h, w, c], elem, &values(81, &[b, h, w, c]));
    let scores = HostTensor::f32([b, rows * columns], values(82, &[b, rows, columns]));
    Case { subject: "heat_map", name, heavy: false, graph, inputs: [("image".to_owned(), image), ("scores".to_owned(), scores)].into() }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for elem in [Elem::F32, Elem::F16] {
        for smooth in [false, true] {
            let options = HeatMap { range: [-1.0, 1.5], strength: 0.6, smooth };
            for (dims, grid) in [([2, 9, 7, 3], [3, 2]), ([1, 12, 16, 4], [3, 4]), ([1, 5, 6, 1], [7, 9]), ([2, 1, 1, 4], [1, 1])] {
                cases.push(case(options, elem, dims, grid, "normal"));
            }
            cases.push(case(options, elem, [2, 9, 7, 3], [3, 2], "awkward"));
            cases.push(case(HeatMap { strength: 1.0, ..options }, elem, [1, 12, 16, 4], [3, 4], "awkward"));
            cases.push(case(HeatMap { strength: 0.0, range: [0.0, 1e-30], smooth }, elem, [1, 70, 33, 4], [5, 3], "normal"));
        }
    }
    cases
}
