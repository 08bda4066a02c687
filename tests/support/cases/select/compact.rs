use tokenpress::kernels::compact;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let shapes = [
        (0, 3),
        (3, 0),
        (1, 1),
        (2, 2),
        (3, 31),
        (1, 33),
        (2, 129),
        (3, 257),
        (300, 2), // many rows of a workgroup
        (41, 63),
        (5, 64), // the longest of them
        (5, 65),
        (200, 0),
        (1, 577),
        (2, 1025),
        (1, 4096),
        (3, 4097),
        (2, 9000),
        (1, 65537),
        (1, 1 << 20),
        (70_000, 2),
    ];
    for (batch, tokens) in shapes {
        for ragged in [false, true] {
            let mut graph = Graph::new();
            let flags = graph.input("flags", [batch, tokens], Elem::U32);
            let lengths = ragged.then(|| graph.input("lengths", [batch], Elem::U32));
            let compacted = compact(&mut graph, flags, lengths).expect("shapes agree");
            graph.output("indices", compacted.indices).expect("a name");
            graph.output("counts", compacted.counts).expect("a name");
            graph.output("ranks", compacted.ranks).expect("a name");
            let elements = (batch * tokens) as usize;
            let mut values = data::integers(3, elements, 3);
            if batch > 1 && tokens > 2 {
                values[..tokens as usize].fill(7); // a row of which everything is kept, and one of which nothing is
                values[tokens as usize..2 * tokens as usize].fill(0);
            }
            let mut inputs =
                [("flags".to_owned(), HostTensor::u32([batch, tokens], values))].into_iter().collect::<tokenpress::readback::HostTensors>();
            if ragged {
                let lengths = (0..batch).map(|b| [tokens / 2, 0, u32::MAX, 1][b as usize % 4]).collect();
                inputs.insert("lengths".to_owned(), HostTensor::u32([batch], lengths));
            }
            let heavy = elements > 20_000;
            let name = format!("[{batch}, {tokens}]{}", if ragged { " ragged" } else { "" });
            let case = Case { subject: "compact", name, heavy, graph, inputs };
            if ragged && !heavy {
                cases.push(case.broken_behind(&[("flags", tokens, 1)]));
            }
            cases.push(case);
        }
    }
    cases
}
