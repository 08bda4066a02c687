use tokenpress::kernels::{Activation, Elementwise, Operation, scale};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, Shape};

use super::linear::{ACTIVATIONS, spread};
use crate::support::{Case, data};

fn case(call: Elementwise, [a, b]: [Shape; 2], [elem, second]: [Elem; 2], values: fn(u64, usize) -> Vec<f32>) -> Case {
    let name = format!("{elem}{a} with {second}{b}, {call:?}");
    let mut graph = Graph::new();
    let mut host = HostTensors::new();
    let mut input = |name: &str, seed, shape: Shape, elem| {
        host.insert(name.to_owned(), data::tensor(shape, elem, &values(seed, shape.elements() as usize)));
        graph.input(name, shape, elem)
    };
    let (a, b) = (input("a", 1, a, elem), input("b", 2, b, second));
    let y = call.build(&mut graph, a, b).expect("shapes agree");
    graph.output("y", y).expect("a name");
    Case { subject: "elementwise", name, heavy: false, graph, inputs: host }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let sum = Elementwise { scale: -0.5, ..Elementwise::default() };
    let product = Elementwise { operation: Operation::Multiply, ..Elementwise::default() };
    for elem in [Elem::F32, Elem::F16] {
        for (a, b) in [
            (Shape::from([1]), Shape::from([1])),
            ([511].into(), [511].into()),
            ([3, 33, 5].into(), [3, 33, 5].into()),
            ([3, 33, 5].into(), [5].into()),
            ([3, 33, 5].into(), [1, 33, 5].into()),
            ([3, 33, 5].into(), [3, 1, 5].into()),
            ([3, 33, 5].into(), [3, 33, 1].into()),
            ([2, 3, 7, 129].into(), [2, 1, 7, 129].into()),
            ([2, 31, 64].into(), [1].into()),
            ([2, 3, 2052].into(), [2, 1, 2052].into()),
            ([2, 3, 1028].into(), [3, 1].into()),
            ([0, 5, 4].into(), [5, 4].into()),
            ([2, 0, 4].into(), [4].into()),
            ([2, 3, 0].into(), [2, 3, 1].into()),
        ] {
            cases.extend([sum, product].map(|call| case(call, [a, b], [elem, elem], data::normal)));
            cases.push(case(product, [a, b], [elem, Elem::F32], data::awkward));
        }
        for activation in ACTIVATIONS {
            // Twice of what four numbers at a time can take: every other case lies at multiples of 16 bytes.
            for len in [500, 501, 508, 504] {
                cases.push(case(Elementwise { activation, ..Elementwise::default() }, [[len].into(), [len].into()], [elem, elem], spread));
            }
        }
    }
    let mut graph = Graph::new();
    let a = graph.input("a", [3, 43], Elem::F16);
    let y = scale(&mut graph, a, 2.5).expect("floats");
    graph.output("y", y).expect("a name");
    let inputs = [("a".to_owned(), data::tensor([3, 43], Elem::F16, &data::normal(3, 129)))].into();
    cases.push(Case { subject: "elementwise", name: format!("scale, {:?}", Activation::None), heavy: false, graph, inputs });
    cases
}
