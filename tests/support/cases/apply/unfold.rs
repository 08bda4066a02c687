use tokenpress::kernels::Window;
use tokenpress::{Elem, Graph};

use crate::support::Case;
use crate::support::cases::apply::gather_rows::any;

/// Windows of every kind: of one token, larger than the grid, with gaps, mostly over padding.
pub const WINDOWS: [(Window, [u32; 2]); 7] = [
    (Window { size: [3, 3], stride: [1, 1], padding: [1, 1] }, [5, 7]),
    (Window { size: [3, 3], stride: [2, 2], padding: [1, 1] }, [8, 9]),
    (Window { size: [2, 3], stride: [3, 1], padding: [0, 4] }, [7, 2]),
    (Window { size: [1, 1], stride: [2, 3], padding: [0, 0] }, [4, 5]),
    (Window { size: [1, 5], stride: [1, 2], padding: [0, 2] }, [1, 33]),
    (Window { size: [4, 4], stride: [1, 1], padding: [1, 1] }, [1, 2]),
    (Window { size: [2, 2], stride: [1, 1], padding: [3, 3] }, [0, 3]),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for elem in [Elem::F32, Elem::F16, Elem::U32] {
        for (window, grid) in WINDOWS {
            for (batch, channels) in [(2, 3), (1, 16)] {
                cases.push(case(window, grid, batch, channels, elem));
            }
        }
        cases.push(case(WINDOWS[0].0, [5, 7], 0, 4, elem));
        cases.push(case(WINDOWS[0].0, [5, 7], 2, 0, elem));
    }
    cases
}

fn case(window: Window, grid: [u32; 2], batch: u32, channels: u32, elem: Elem) -> Case {
    let mut graph = Graph::new();
    let shape = [batch, grid[0], grid[1], channels];
    let x = graph.input("x", shape, elem);
    let y = window.build(&mut graph, x, grid).expect("shapes agree");
    graph.output("y", y).expect("a name");
    let name = format!("{elem} {shape:?} under {window:?}");
    Case { subject: "unfold", name, heavy: false, graph, inputs: [("x".to_owned(), any(7, shape, elem))].into() }
}
