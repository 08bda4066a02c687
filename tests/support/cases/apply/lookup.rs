use tokenpress::kernels::lookup;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::cases::apply::gather_rows::indices;
use crate::support::{Case, data};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (entries, elements) in [(1, 1), (1, 33), (198, 8), (33, 1025), (5, 0)] {
        let mut graph = Graph::new();
        let (table, index) = (graph.input("table", [entries], Elem::U32), graph.input("index", [1, elements], Elem::U32));
        let found = lookup(&mut graph, table, index).expect("shapes agree");
        graph.output("found", found).expect("a name");
        let inputs = [
            ("table".to_owned(), HostTensor::u32([entries], data::integers(1, entries as usize, u32::MAX))),
            ("index".to_owned(), HostTensor::u32([1, elements], indices(2, elements as usize, entries))),
        ];
        let name = format!("{elements} of {entries} entries");
        let case = Case { subject: "lookup", name, heavy: false, graph, inputs: inputs.into() };
        // What is beyond the table reads the last entry.
        let named: Vec<_> = case.inputs["index"].integers().iter().map(|&i| i.min(entries - 1)).collect();
        cases.push(case.clone().broken_indices("index", entries).broken("table", 1, |entry| !named.contains(&(entry as u32))));
        cases.push(case);
    }
    cases
}
