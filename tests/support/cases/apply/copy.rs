use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for elements in [1, 2, 31, 32, 33, 127, 4096, 4097] {
        for elem in [Elem::F32, Elem::F16, Elem::U32] {
            let mut graph = Graph::new();
            let x = graph.input("x", [elements], elem);
            graph.output("copied", x).expect("a copy");
            let x = match elem {
                Elem::U32 => HostTensor::u32([elements], data::integers(7, elements as usize, u32::MAX)),
                _ => data::tensor([elements], elem, &data::awkward(7, elements as usize)),
            };
            let inputs = [("x".to_owned(), x)].into();
            cases.push(Case { subject: "copy", name: format!("{elem}[{elements}]"), heavy: false, graph, inputs });
        }
    }
    cases
}
