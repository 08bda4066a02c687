use tokenpress::kernels::multiples;
use tokenpress::{Elem, Graph, HostTensor, NONE};

use crate::support::Case;

pub fn cases() -> Vec<Case> {
    let steps = [0, 1, 2, 3, 7, 64, 65, 1000, u32::MAX - 1, NONE];
    let case = |places: u32, steps: &[u32]| {
        let mut graph = Graph::new();
        let rows = steps.len() as u32;
        let of = graph.input("steps", [rows], Elem::U32);
        let marks = multiples(&mut graph, of, places).expect("a shape");
        graph.output("marks", marks).expect("a name");
        let inputs = [("steps".to_owned(), HostTensor::u32([rows], steps.to_vec()))];
        Case { subject: "multiples", name: format!("{rows} rows of {places}"), heavy: false, graph, inputs: inputs.into() }
    };
    vec![case(1, &steps), case(130, &steps), case(1001, &steps), case(0, &steps), case(5, &[])]
}
