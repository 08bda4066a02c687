use tokenpress::kernels::{Convolution, Window};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, Shape};

use crate::support::cases::apply::unfold::{WINDOWS, beside};
use crate::support::cases::layers::linear::ends;
use crate::support::{Case, data};

/// Values of a seed, so many.
type Values = fn(u64, usize) -> Vec<f32>;

/// Depthwise where `outputs` is `None`.
fn case(outputs: Option<u32>, (window, grid): (Window, [u32; 2]), dims: [u32; 2], elem: Elem, biased: bool, values: Values) -> Case {
    let [batch, channels] = dims;
    let Window { size: [height, width], stride, padding } = window;
    let mut graph = Graph::new();
    let mut inputs = HostTensors::new();
    let mut input = |name: &str, seed, shape: Shape| {
        inputs.insert(name.to_owned(), data::tensor(shape, elem, &values(seed, shape.elements() as usize)));
        graph.input(name, shape, elem)
    };
    let x = input("x", 1, [batch, grid[0] * grid[1], channels].into());
    let kernel = outputs.map_or([channels, 1, height, width], |outputs| [outputs, channels, height, width]);
    let weight = input("weight", 2, kernel.into());
    let bias = biased.then(|| input("bias", 3, [kernel[0]].into()));
    let convolution = Convolution { stride, padding };
    let y = match outputs {
        None => convolution.depthwise(&mut graph, x, grid, weight, bias),
        Some(_) => convolution.dense(&mut graph, x, grid, weight, bias),
    };
    graph.output("y", y.expect("shapes agree")).expect("a name");
    let name = format!("{elem} [{batch}, {grid:?}, {channels}] to {outputs:?} by {window:?} bias {biased}");
    Case { subject: "convolution", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let large = |seed, len| data::normal(seed, len).into_iter().map(|v| v * 20000.0).collect();
    let mut cases = Vec::new();
    for elem in [Elem::F32, Elem::F16] {
        for (i, window) in WINDOWS.into_iter().enumerate() {
            let plain = case(None, window, [2, 3], elem, i % 2 == 0, data::normal);
            if let Some(beside) = beside(window.0, window.1) {
                cases.push(plain.clone().broken("x", 3, beside));
            }
            cases.push(plain);
            cases.push(case(None, window, [1, 33], elem, i % 2 == 1, data::awkward));
            cases.push(case(None, window, [2, 7], elem, i % 2 == 0, ends(elem)));
            cases.push(case(Some(5), window, [2, 4], elem, i % 2 == 0, data::normal));
        }
        let (window, grid) = WINDOWS[0];
        cases.push(case(None, (window, [12, 12]), [1, 129], elem, false, data::normal));
        cases.push(case(None, (window, grid), [2, 4], elem, true, large));
        for dims in [[0, 4], [2, 0]] {
            cases.push(case(None, (window, grid), dims, elem, true, data::normal));
            cases.push(case(Some(3), (window, grid), dims, elem, true, data::normal));
        }
        // Nothing to lay out: a linear layer.
        let single = Window { size: [1, 1], stride: [1, 1], padding: [0, 0] };
        cases.push(case(Some(7), (single, grid), [2, 6], elem, true, data::normal));
    }
    cases
}
