use tokenpress::kernels::{Limit, Relation, Threshold, ThresholdInputs};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

/// A case over every kind of float. `lists` are the dimensions of marks and the other mask.
fn case([batch, tokens]: [u32; 2], elem: Elem, relation: Relation, limits: Option<&[f32]>, lists: Option<bool>) -> Case {
    let mut graph = Graph::new();
    let mut inputs = HostTensors::new();
    let elements = (batch * tokens) as usize;
    let values: Vec<f32> =
        data::awkward(5, elements).iter().zip(data::ties(6, elements)).map(|(a, t)| if a.abs() < 1.0 { t } else { *a }).collect();
    let scores = graph.input("scores", [batch, tokens], elem);
    inputs.insert("scores".to_owned(), data::tensor([batch, tokens], elem, &values));
    let threshold = match limits {
        None => Limit::Constant(0.5),
        Some(limits) => {
            let rows = limits.iter().copied().cycle().take(batch as usize).collect();
            inputs.insert("threshold".to_owned(), HostTensor::f32([batch], rows));
            Limit::PerRow(graph.input("threshold", [batch], Elem::F32))
        }
    };
    let mut given = ThresholdInputs::new(scores, threshold);
    if let Some(shared) = lists {
        let rows = if shared { 1 } else { batch };
        let mut list = |name: &str, seed: u64, below: u32| {
            let values = data::integers(seed, (rows * tokens) as usize, below);
            let value = if shared { HostTensor::u32([tokens], values) } else { HostTensor::u32([rows, tokens], values) };
            let tensor = graph.input(name, value.shape(), Elem::U32);
            inputs.insert(name.to_owned(), value);
            Some(tensor)
        };
        (given.marks, given.among) = (list("marks", 7, 5), list("among", 8, 3));
        let lengths = (0..batch).map(|b| [tokens / 2, 0, u32::MAX, 1][b as usize % 4]).collect();
        inputs.insert("lengths".to_owned(), HostTensor::u32([batch], lengths));
        given.lengths = Some(graph.input("lengths", [batch], Elem::U32));
    }
    let mask = Threshold { relation }.build(&mut graph, given).expect("shapes agree");
    graph.output("mask", mask).expect("a name");
    let name = format!("{elem}[{batch}, {tokens}] {relation:?} {limits:?} lists {lists:?}");
    Case { subject: "threshold", name, heavy: false, graph, inputs }
}

/// Behind the lengths, and scores where others decide.
fn broken(case: &Case) -> Case {
    let tokens = case.inputs["scores"].shape().dims()[1];
    let list = |name: &str| case.inputs[name].integers().to_vec();
    let (marks, among) = (list("marks"), list("among"));
    let decided = |i: usize| among[i % among.len()] == 0 || [1, 2].contains(&marks[i % marks.len()]);
    let of_rows = marks.len() > tokens as usize;
    let lists = [("scores", tokens, 1), ("marks", tokens, 1), ("among", tokens, 1)];
    case.clone().broken("scores", 1, decided).broken_behind(if of_rows { &lists } else { &lists[..1] })
}

pub fn cases() -> Vec<Case> {
    use Relation::{Above, AtLeast, AtMost, Below};
    let limits: &[f32] = &[0.5, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0];
    let mut cases = Vec::new();
    for elem in [Elem::F32, Elem::F16] {
        for relation in [Above, AtLeast, Below, AtMost] {
            cases.push(case([7, 129], elem, relation, Some(limits), Some(false)));
        }
        cases.push(case([3, 33], elem, AtLeast, None, Some(true)));
        cases.push(case([2, 500], elem, Above, None, None));
    }
    for shape in [[1, 1], [0, 3], [3, 0]] {
        cases.push(case(shape, Elem::F32, AtMost, Some(limits), Some(false)));
    }
    let broken: Vec<_> = cases.iter().filter(|case| case.is_ragged()).map(broken).collect();
    cases.extend(broken);
    cases
}
