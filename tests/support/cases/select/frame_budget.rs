use tokenpress::kernels::FrameBudget;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (batch, frames, base, temperature, spread) in [
        (1, 1, 0.25, 0.01, 1.0),
        (4, 33, 0.25, 0.01, 0.02),
        (70, 2, 0.25, 0.01, 0.02),
        (3, 64, 0.25, 0.01, 0.02),
        (3, 65, 0.25, 0.01, 0.02),
        (2, 150, 0.7, 1.0, 1.0),
        (2, 8, 1.0, 0.01, 0.0),
        (0, 3, 0.5, 1.0, 1.0),
        (2, 0, 0.5, 1.0, 1.0),
    ] {
        let elements = (batch * frames) as usize;
        let scores = data::normal(3, elements).iter().map(|v| 2.0 + spread * v).collect();
        let name = format!("[{batch}, {frames}] base {base}, temperature {temperature}, spread {spread}");
        let sizes = data::integers(4, elements, 200);
        cases.push(case(name, FrameBudget { base, temperature }, [batch, frames], scores, sizes));
    }
    // Scores that are no numbers, also of frames without tokens; sizes beyond 2^24.
    for temperature in [f32::MIN_POSITIVE, 0.01, 1.0 / f32::MIN_POSITIVE] {
        for (what, below, scores) in [
            ("any score", 200, data::awkward(5, 3 * 70)),
            ("NaN only", 200, vec![f32::NAN; 3 * 70]),
            ("large sizes", u32::MAX, data::normal(6, 3 * 70)),
            ("any score, large sizes", u32::MAX, data::awkward(7, 3 * 70)),
        ] {
            let sizes =
                data::integers(8, 3 * 70, below).into_iter().enumerate().map(|(i, size)| if i % 7 == 0 { 0 } else { size }).collect();
            let name = format!("[3, 70] {what}, temperature {temperature:e}");
            let case = case(name, FrameBudget { base: 0.7, temperature }, [3, 70], scores, sizes);
            let sizes = case.inputs["sizes"].integers().to_vec();
            cases.push(case.clone().broken("scores", 1, |i| sizes[i] == 0));
            cases.push(case);
        }
    }
    // Products of every length and with halves: one frame alone has the base as its share.
    let sizes: Vec<u32> = (0..32).flat_map(|bit| [1 << bit, (1 << bit) + 1, u32::MAX >> bit]).collect();
    for base in
        [0.0, 1e-40, 2f32.powi(-33), 2f32.powi(-32), 2f32.powi(-31), 1.5 / 16777216.0, 0.25, 0.5, 0.75, 1.0 - f32::EPSILON / 2.0, 1.0]
    {
        let scores = data::awkward(9, sizes.len());
        let name = format!("[{}, 1] base {base:e}", sizes.len());
        cases.push(case(name, FrameBudget { base, temperature: 1.0 }, [sizes.len() as u32, 1], scores, sizes.clone()));
    }
    cases
}

fn case(name: String, budget: FrameBudget, shape: [u32; 2], scores: Vec<f32>, sizes: Vec<u32>) -> Case {
    let mut graph = Graph::new();
    let inputs = [("scores".to_owned(), HostTensor::f32(shape, scores)), ("sizes".to_owned(), HostTensor::u32(shape, sizes))];
    let (scores, sizes) = (graph.input("scores", shape, Elem::F32), graph.input("sizes", shape, Elem::U32));
    let budgets = budget.build(&mut graph, scores, sizes).expect("shapes agree");
    graph.output("budgets", budgets).expect("a name");
    Case { subject: "frame_budget", name, heavy: false, graph, inputs: inputs.into() }
}
