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

/// Which tokens of a batch of grids are under no window; none if all are.
pub fn beside(window: Window, [height, width]: [u32; 2]) -> Option<impl Fn(usize) -> bool> {
    let under = |axis: usize, n: u32, place: u32| {
        let (size, stride, padding) = (window.size[axis], window.stride[axis], window.padding[axis]);
        let last = (n + 2 * padding).checked_sub(size).map(|rest| rest / stride);
        last.is_some_and(|last| (0..=last).any(|i| (i * stride..i * stride + size).contains(&(place + padding))))
    };
    let covered: Vec<bool> = (0..height * width).map(|t| under(0, height, t / width) && under(1, width, t % width)).collect();
    covered.contains(&false).then_some(move |token: usize| !covered[token % covered.len()])
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for elem in [Elem::F32, Elem::F16, Elem::U32] {
        for (window, grid) in WINDOWS {
            for (batch, channels) in [(2, 3), (1, 16)] {
                let case = case(window, grid, batch, channels, elem);
                if let Some(beside) = beside(window, grid) {
                    cases.push(case.clone().broken("x", channels as usize, beside));
                }
                cases.push(case);
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
