use tokenpress::kernels::scaled_deviation;
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph};

use crate::support::{Case, data};

fn case([sets, tokens, channels]: [u32; 3], elem: Elem, what: &str, values: impl Fn(u64, usize) -> Vec<f32>) -> Case {
    let mut graph = Graph::new();
    let [row, set] = [sets * tokens * channels, sets * channels].map(|elements| elements as usize);
    let (a, b) = (values(2, set), values(3, set));
    let low: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a.min(*b)).collect();
    let mut high: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a.max(*b)).collect();
    // Some have no range, and some are turned round.
    high.iter_mut().zip(&low).step_by(5).for_each(|(high, low)| *high = *low);
    high.iter_mut().zip(&low).skip(2).step_by(7).for_each(|(high, low)| *high = low - 1.0);
    let inputs: HostTensors = [
        ("x".to_owned(), data::tensor([sets, tokens, channels], elem, &values(1, row))),
        ("low".to_owned(), data::tensor([sets, channels], elem, &low)),
        ("high".to_owned(), data::tensor([sets, channels], elem, &high)),
    ]
    .into();
    let x = graph.input("x", [sets, tokens, channels], elem);
    let [low, high] = ["low", "high"].map(|name| graph.input(name, [sets, channels], elem));
    let deviation = scaled_deviation(&mut graph, x, low, high).expect("shapes agree");
    graph.output("deviation", deviation).expect("a name");
    let name = format!("{elem} [{sets}, {tokens}, {channels}] {what}");
    Case { subject: "scaled_deviation", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for elem in [Elem::F32, Elem::F16] {
        for shape in [[1, 1, 1], [2, 33, 7], [3, 17, 64], [1, 5, 300], [2, 3, 2], [0, 3, 4], [2, 0, 4], [2, 3, 0]] {
            cases.push(case(shape, elem, "normal", data::normal));
        }
        cases.push(case([3, 20, 4], elem, "ties", data::ties));
        cases.push(case([8, 20, 3], elem, "awkward", data::awkward));
        cases.push(case([8, 20, 3], elem, "extremes", |seed, len| data::extremes(seed, len, elem)));
    }
    cases
}
