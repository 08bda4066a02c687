use tokenpress::kernels::{Allocate, Leftover};
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (batch, segments, weights) in [
        (6, 0, Vec::new()),
        (6, 1, data::normal(1, 6)),
        // An invocation for a row: more than a workgroup of them, and the longest; the next have a workgroup.
        (70, 2, data::normal(1, 140)),
        (6, 16, data::normal(2, 96)),
        (6, 17, data::awkward(2, 102)),
        (6, 33, data::ties(3, 198)),
        (6, 129, data::awkward(4, 774)),
        (6, 300, data::normal(5, 1800)),
        (6, 1500, data::ties(5, 9000)),
    ] {
        for (minimum, leftover, below) in
            [(0, Leftover::LargestRemainder, u32::MAX), (1, Leftover::LargestWeight, 9), (3, Leftover::LargestRemainder, 40)]
        {
            let mut graph = Graph::new();
            let shape = [batch, segments];
            let given = graph.input("weights", shape, Elem::F32);
            let totals = graph.input("totals", [batch], Elem::U32);
            let capacities = graph.input("capacities", shape, Elem::U32);
            let budgets = Allocate { minimum, leftover }.build(&mut graph, given, totals, capacities).expect("shapes agree");
            graph.output("budgets", budgets).expect("a name");
            let totals = (0..batch).map(|b| [0, 1, segments / 2, 3 * segments, 65535, u32::MAX][b as usize % 6]).collect();
            let inputs = [
                ("weights".to_owned(), HostTensor::f32(shape, weights.clone())),
                ("totals".to_owned(), HostTensor::u32([batch], totals)),
                ("capacities".to_owned(), HostTensor::u32(shape, data::integers(6, (batch * segments) as usize, below))),
            ];
            let name = format!("[{batch}, {segments}] at least {minimum}, {leftover:?}");
            let case = Case { subject: "allocate", name, heavy: false, graph, inputs: inputs.into() };
            let capacities = case.inputs["capacities"].integers().to_vec();
            cases.push(case.clone().broken("weights", 1, |i| capacities[i] == 0));
            cases.push(case);
        }
    }
    cases
}
