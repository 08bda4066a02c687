use tokenpress::kernels::StaticWindows;
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

/// Places of which so many of ten join.
fn case([batch, frames, places]: [u32; 3], of_ten: u32, longest: u32, ragged: bool) -> Case {
    let mut graph = Graph::new();
    let shape = [batch, frames, places];
    let joins =
        data::integers(u64::from(of_ten), (batch * frames * places) as usize, 10).into_iter().map(|v| if v < of_ten { 3 } else { 0 });
    let mut inputs: HostTensors = [("joins".to_owned(), HostTensor::u32(shape, joins.collect()))].into();
    let joins = graph.input("joins", shape, Elem::U32);
    let lengths = ragged.then(|| {
        let lengths = (0..batch).map(|b| [frames / 2, 0, u32::MAX, 1][b as usize % 4]).collect();
        inputs.insert("lengths".to_owned(), HostTensor::u32([batch], lengths));
        graph.input("lengths", [batch], Elem::U32)
    });
    let start = StaticWindows { longest }.build(&mut graph, joins, lengths).expect("shapes agree");
    graph.output("start", start).expect("a name");
    let name = format!("{shape:?} {of_ten} of ten join, at most {longest}{}", if ragged { ", ragged" } else { "" });
    Case { subject: "static_windows", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, longest, ragged) in [
        ([1, 1, 1], 1024, false),
        ([2, 9, 5], 1024, false),
        ([3, 33, 200], 1024, false),
        ([4, 40, 30], 1024, true),
        ([4, 40, 30], 3, true),
        ([2, 20, 7], 1, false),
        ([1, 300, 4], 257, false),
        ([2, 6, 0], 1024, false),
        ([2, 0, 6], 1024, false),
        ([0, 3, 6], 1024, false),
    ] {
        for of_ten in [0, 5, 9, 10] {
            cases.push(case(shape, of_ten, longest, ragged));
        }
    }
    // More frames than one dispatch has.
    cases.push(case([1, 1830, 2], 9, 1024, false));
    let broken = |case: &Case| {
        let shape = case.inputs["joins"].shape();
        case.broken_behind(&[("joins", shape.dims()[1], shape.dims()[2])])
    };
    let broken: Vec<_> = cases.iter().filter(|case| case.is_ragged()).map(broken).collect();
    cases.extend(broken);
    cases
}
