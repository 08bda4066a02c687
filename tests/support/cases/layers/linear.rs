use tokenpress::kernels::{Activation, Linear};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor, Shape};

use crate::support::{Case, data};

/// `bias` is its element type.
fn case(x: impl Into<Shape>, outputs: u32, elem: Elem, bias: Option<Elem>, values: fn(u64, usize) -> Vec<f32>) -> Case {
    activated(Activation::None, x, outputs, elem, bias, values)
}

fn activated(
    activation: Activation,
    x: impl Into<Shape>,
    outputs: u32,
    elem: Elem,
    bias: Option<Elem>,
    values: fn(u64, usize) -> Vec<f32>,
) -> Case {
    let x = x.into();
    let channels = *x.dims().last().expect("x has dimensions");
    let name = format!("{elem}{x} to {outputs}, bias {bias:?}, {activation:?}");
    let mut graph = Graph::new();
    let mut host = HostTensors::new();
    let mut input = |name: &str, seed, shape: Shape, elem| {
        let tensor: HostTensor = data::tensor(shape, elem, &values(seed, shape.elements() as usize));
        host.insert(name.to_owned(), tensor);
        graph.input(name, shape, elem)
    };
    let tensor = input("x", 1, x, elem);
    let weight = input("weight", 2, [outputs, channels].into(), elem);
    let bias = bias.map(|elem| input("bias", 3, [outputs].into(), elem));
    let y = Linear { activation }.build(&mut graph, tensor, weight, bias).expect("shapes agree");
    graph.output("y", y).expect("a name");
    Case { subject: "linear", name, heavy: false, graph, inputs: host }
}

pub const ACTIVATIONS: [Activation; 6] =
    [Activation::Relu, Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu, Activation::Silu, Activation::Sigmoid];

/// Numbers from -30 to 30 where there are many, and few that are small.
pub fn spread(seed: u64, len: usize) -> Vec<f32> {
    let scale = if len == 500 { 30.0 } else { 1e-3 };
    data::normal(seed, len).into_iter().enumerate().map(|(i, x)| scale * ((i as f32 / 250.0 - 1.0) + 1e-3 * x)).collect()
}

/// Sums and products that overflow and that vanish.
pub fn ends(elem: Elem) -> fn(u64, usize) -> Vec<f32> {
    match elem {
        Elem::F16 => |seed, len| data::extremes(seed, len, Elem::F16),
        _ => |seed, len| data::extremes(seed, len, Elem::F32),
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for elem in [Elem::F32, Elem::F16] {
        for (rows, channels, outputs) in [
            (1, 1, 1),
            (2, 3, 5),
            (31, 4, 33),
            (32, 32, 32),
            (33, 7, 31),
            (65, 20, 2),
            (129, 5, 66),
            (5, 129, 65),
            (3, 768, 6),
            (1, 6, 130),
            (4, 40, 67),
            (7, 260, 18),
            (2, 512, 100),
            (16, 36, 35),
            (1, 64, 5),
        ] {
            for bias in [None, Some(elem), Some(Elem::F32)] {
                cases.push(case([rows, channels], outputs, elem, bias, data::normal));
            }
        }
        cases.push(case([2, 17, 12], 9, elem, None, data::normal));
        cases.push(case([11, 1, 132], 33, elem, Some(elem), data::normal));
        cases.push(activated(Activation::Gelu, [1, 1, 33], 19, elem, None, data::awkward));
        cases.push(case([2, 17, 12], 9, elem, Some(elem), data::awkward));
        for activation in ACTIVATIONS {
            // With a weight of nearly 0 the sum is the bias: every number from where a tail is 0 to where it is all.
            cases.push(activated(activation, [3, 5], 500, elem, Some(Elem::F32), spread));
            cases.push(activated(activation, [2, 9, 12], 13, elem, Some(elem), data::awkward));
            cases.push(activated(activation, [17, 3], 19, elem, Some(elem), ends(elem)));
        }
        for channels in [1, 2, 5] {
            cases.push(case([23, channels], 21, elem, Some(elem), ends(elem)));
        }
        // Nothing to sum: the bias. Nothing to write.
        cases.push(case([3, 0], 5, elem, Some(elem), data::normal));
        cases.push(case([3, 0], 5, elem, None, data::normal));
        for (x, outputs) in [([0, 5, 4], 3), ([2, 0, 4], 3), ([2, 3, 4], 0)] {
            cases.push(case(x, outputs, elem, Some(Elem::F32), data::normal));
        }
    }
    cases
}
