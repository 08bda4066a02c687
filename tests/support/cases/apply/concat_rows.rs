use tokenpress::kernels::concat_rows;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::Case;
use crate::support::cases::apply::gather_rows::any;

/// Lengths of every kind: 0, 1, all, more than there are, and some.
fn lengths(batch: u32, rows: u32, turn: usize) -> HostTensor {
    let kinds = [rows / 2, 0, rows, 1, rows + 7, u32::MAX, rows.saturating_sub(1)];
    HostTensor::u32([batch], (0..batch as usize).map(|b| kinds[(b + turn) % kinds.len()]).collect())
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for elem in [Elem::F32, Elem::F16, Elem::U32] {
        for (batch, first_rows, second_rows, width) in [
            (7, 9, 5, 1),
            (7, 2, 33, 3),
            (7, 9, 5, 8),
            (3, 0, 5, 6),
            (3, 5, 0, 4),
            (300, 1, 1, 1),
            (2, 0, 0, 4),
            (2, 3, 3, 0),
            (0, 3, 3, 4),
        ] {
            let mut graph = Graph::new();
            let first = graph.input("first", [batch, first_rows, width], elem);
            let second = graph.input("second", [batch, second_rows, width], elem);
            let (n, m) = (graph.input("n", [batch], Elem::U32), graph.input("m", [batch], Elem::U32));
            let (joined, lengths_out) = concat_rows(&mut graph, (first, Some(n)), (second, Some(m))).expect("shapes agree");
            graph.output("joined", joined).expect("a name");
            graph.output("lengths", lengths_out).expect("a name");
            let inputs = [
                ("first".to_owned(), any(1, [batch, first_rows, width], elem)),
                ("second".to_owned(), any(2, [batch, second_rows, width], elem)),
                ("n".to_owned(), lengths(batch, first_rows, 0)),
                ("m".to_owned(), lengths(batch, second_rows, 2)),
            ];
            let name = format!("{elem}[{batch}, {first_rows} + {second_rows}, {width}]");
            let case = Case { subject: "concat_rows", name, heavy: false, graph, inputs: inputs.into() };
            if width > 0 {
                let live = |name: &str| case.inputs[name].integers().to_vec();
                let behind = |lengths: Vec<u32>, rows: u32| move |row: usize| row % rows as usize >= lengths[row / rows as usize] as usize;
                let broken = case.clone().broken("first", width as usize, behind(live("n"), first_rows));
                cases.push(broken.broken("second", width as usize, behind(live("m"), second_rows)));
            }
            cases.push(case);
        }
        let mut graph = Graph::new();
        let (first, second) = (graph.input("first", [2, 3], elem), graph.input("second", [2, 4], elem));
        let (joined, _) = concat_rows(&mut graph, (first, None), (second, None)).expect("shapes agree");
        graph.output("joined", joined).expect("a name");
        let inputs = [("first".to_owned(), any(1, [2, 3], elem)), ("second".to_owned(), any(2, [2, 4], elem))];
        cases.push(Case { subject: "concat_rows", name: format!("{elem}, all alive"), heavy: false, graph, inputs: inputs.into() });
    }
    cases
}
