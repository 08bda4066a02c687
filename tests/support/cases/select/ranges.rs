use tokenpress::kernels::ranges;
use tokenpress::{Elem, Graph, HostTensor, NONE};

use crate::support::Case;

pub fn cases() -> Vec<Case> {
    let case = |name: &str, longest: u32, offsets: &[u32]| {
        let mut graph = Graph::new();
        let entries = offsets.len() as u32;
        let of = graph.input("offsets", [entries], Elem::U32);
        let ranges = ranges(&mut graph, of, longest).expect("a shape");
        graph.output("indices", ranges.indices).expect("a name");
        graph.output("lengths", ranges.lengths).expect("a name");
        let inputs = [("offsets".to_owned(), HostTensor::u32([entries], offsets.to_vec()))];
        Case { subject: "ranges", name: format!("{name}, {longest} places"), heavy: false, graph, inputs: inputs.into() }
    };
    let many: Vec<u32> = (0..300).map(|i| i * i / 7).collect();
    vec![
        case("many", 17, &many),
        case("cut off", 1, &many),
        case("no order", 5, &[9, 3, 4, NONE, 2, 2, 8]),
        case("the largest", 3, &[NONE - 2, NONE]),
        case("none", 3, &[5]),
    ]
}
