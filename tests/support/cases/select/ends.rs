use tokenpress::kernels::Ends;
use tokenpress::{Elem, Graph, HostTensor, NONE};

use crate::support::Case;

pub fn cases() -> Vec<Case> {
    let lengths = [0, 1, 2, 3, 4, 5, 6, 7, 63, 64, 65, 1000, 1001, NONE];
    let case = |first: u32, last: u32, lengths: &[u32]| {
        let mut graph = Graph::new();
        let rows = lengths.len() as u32;
        let of = graph.input("lengths", [rows], Elem::U32);
        let ends = Ends { first, last, capacity: 1000 }.build(&mut graph, of).expect("a shape");
        graph.output("indices", ends.indices).expect("a name");
        graph.output("kept", ends.kept).expect("a name");
        let inputs = [("lengths".to_owned(), HostTensor::u32([rows], lengths.to_vec()))];
        Case { subject: "ends", name: format!("{first} and {last} of {rows} rows"), heavy: false, graph, inputs: inputs.into() }
    };
    vec![case(4, 64, &lengths), case(0, 3, &lengths), case(3, 0, &lengths), case(1, 1, &lengths), case(700, 700, &lengths), case(2, 2, &[])]
}
