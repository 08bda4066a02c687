use tokenpress::kernels::FrameBudget;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (batch, frames, base, temperature, spread) in [
        (1, 1, 0.25, 0.01, 1.0),
        (4, 33, 0.25, 0.01, 0.02),
        (2, 150, 0.7, 1.0, 1.0),
        (2, 8, 1.0, 0.01, 0.0),
        (0, 3, 0.5, 1.0, 1.0),
        (2, 0, 0.5, 1.0, 1.0),
    ] {
        let mut graph = Graph::new();
        let elements = (batch * frames) as usize;
        let scores = data::normal(3, elements).iter().map(|v| 2.0 + spread * v).collect();
        let inputs = [
            ("scores".to_owned(), HostTensor::f32([batch, frames], scores)),
            ("sizes".to_owned(), HostTensor::u32([batch, frames], data::integers(4, elements, 200))),
        ];
        let (scores, sizes) = (graph.input("scores", [batch, frames], Elem::F32), graph.input("sizes", [batch, frames], Elem::U32));
        let budgets = FrameBudget { base, temperature }.find(&mut graph, scores, sizes).expect("shapes agree");
        graph.output("budgets", budgets).expect("a name");
        let name = format!("[{batch}, {frames}] base {base}, temperature {temperature}, spread {spread}");
        cases.push(Case { subject: "frame_budget", name, heavy: false, graph, inputs: inputs.into() });
    }
    cases
}
