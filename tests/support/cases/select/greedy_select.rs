use tokenpress::kernels::{GreedyInputs, GreedySelect, Objective, row_normalize};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor, NONE};

use crate::support::cases::score::row_normalize::rows;
use crate::support::{Case, data};

struct Setup {
    shape: [u32; 3],
    k: u32,
    values: Vec<f32>,
    weights: Option<Vec<f32>>,
    given: Option<HostTensor>,
    lengths: Option<Vec<u32>>,
    counts: Option<Vec<u32>>,
    what: &'static str,
}

impl Setup {
    fn new(what: &'static str, shape: [u32; 3], k: u32) -> Self {
        let values = data::normal(31, shape.iter().product::<u32>() as usize);
        let weights: Vec<f32> = data::normal(32, (shape[0] * shape[1]) as usize).iter().map(|w| 1.0 + 0.2 * w).collect();
        Self { shape, k, values, weights: Some(weights), given: None, lengths: None, counts: None, what }
    }

    fn case(self, objective: Objective) -> Case {
        let Self { shape, k, values, weights, given, lengths, counts, what } = self;
        let [batch, tokens, _] = shape;
        let mut graph = Graph::new();
        let mut inputs = HostTensors::new();
        let mut input = |graph: &mut Graph, name: &str, value: Option<HostTensor>| {
            value.map(|value| {
                let tensor = graph.input(name, value.shape(), value.desc().elem);
                inputs.insert(name.to_owned(), value);
                tensor
            })
        };
        let x = input(&mut graph, "x", Some(HostTensor::f32(shape, values))).expect("given");
        // All rows are normalised: the selection has to find the dead ones by itself.
        let normalized = row_normalize(&mut graph, x, None).expect("a shape");
        let of_rows = |values: Option<Vec<u32>>| values.map(|values| HostTensor::u32([batch], values));
        let inputs_of = GreedyInputs {
            normalized,
            weights: input(&mut graph, "weights", weights.map(|weights| HostTensor::f32([batch, tokens], weights))),
            given: input(&mut graph, "given", given),
            lengths: input(&mut graph, "lengths", of_rows(lengths)),
            counts: input(&mut graph, "counts", of_rows(counts)),
        };
        let selected = GreedySelect { objective, k }.build(&mut graph, inputs_of).expect("shapes agree");
        graph.output("indices", selected.indices).expect("a name");
        graph.output("kept", selected.kept).expect("a name");
        Case { subject: "greedy_select", name: format!("{objective:?} {what} {shape:?} {k}"), heavy: false, graph, inputs }
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let served = [false, true].map(|additive| Objective::FacilityLocation { additive });
    for objective in [Objective::MaxMin, Objective::MarginalRelevance { relevance: 0.4 }, Objective::Determinant].into_iter().chain(served)
    {
        for (batch, tokens, channels, k) in [(2, 1, 4, 1), (1, 33, 20, 7), (1, 129, 7, 33)] {
            cases.push(Setup::new("plain", [batch, tokens, channels], k).case(objective));
        }
        let shape = [5, 40, 12];
        let ragged = |what| Setup {
            lengths: Some(vec![40, 0, 1, 23, u32::MAX]),
            counts: Some(vec![0, 9, 9, 5, u32::MAX]),
            ..Setup::new(what, shape, 9)
        };
        let given = [[3, 3, 39, NONE], [0, 1, 2, 3], [0, 0, 0, 0], [22, 23, 24, 0], [NONE, NONE, NONE, 17]].concat();
        let case = Setup { given: Some(HostTensor::u32([5, 4], given)), ..ragged("ragged, given to rows") }.case(objective);
        cases.push(case.clone().broken_indices("given", 40).broken_behind(&[("x", 40, 12), ("weights", 40, 1)]));
        cases.push(case);
        let awkward = data::awkward(33, 2 * 40).iter().map(|w| w.clamp(-1e9, 1e9)).collect();
        let of_two = |what, k| Setup::new(what, [2, 40, 12], k);
        cases.push(Setup { values: rows(34, 80, 12, Elem::F32), weights: Some(awkward), ..of_two("awkward", 40) }.case(objective));
        cases.push(Setup { values: data::ties(35, 2 * 40 * 12), weights: None, ..of_two("ties", 20) }.case(objective));
        cases.push(Setup { values: vec![0.3; 2 * 40 * 12], weights: None, ..of_two("all equal", 9) }.case(objective));
    }
    let determinant = Objective::Determinant;
    let shared = HostTensor::u32([3], vec![0, 30, NONE]);
    cases.push(Setup { given: Some(shared), weights: None, ..Setup::new("given to all", [2, 40, 12], 9) }.case(determinant));
    // More given entries than are looked at together, most of which are skipped.
    let given = HostTensor::u32([1500], (0..1500).map(|i| if i % 700 == 0 { i / 700 } else { NONE }).collect());
    cases.push(Setup { given: Some(given), ..Setup::new("given many", [2, 40, 12], 9) }.case(determinant));
    // More steps than a dispatch makes.
    cases.push(Setup::new("long", [1, 2000, 8], 1100).case(Objective::MaxMin));
    // So few that all products would take longer than theirs: in one dispatch, and in one for each.
    let given = HostTensor::u32([2], vec![69, 5]);
    for (what, shape) in [("few", [2, 330, 21]), ("few, wide", [2, 330, 1000]), ("few, wide, odd", [2, 330, 999])] {
        let counts = Some(vec![3, 12]);
        let setup =
            || Setup { given: Some(given.clone()), counts: counts.clone(), lengths: Some(vec![330, 290]), ..Setup::new(what, shape, 5) };
        cases.push(setup().case(determinant));
        cases.push(setup().case(Objective::MaxMin));
    }
    // More rows than have their products in memory at a time.
    let lengths = Some((0..14).map(|b| [1100, 1000, 64, 0, 1][b % 5]).collect());
    cases.push(Setup { lengths, ..Setup::new("rows in blocks", [14, 1100, 4], 36) }.case(Objective::MaxMin));
    cases.push(Setup::new("larger", [2, 300, 64], 7).case(served[0]));
    cases.push(Setup::new("nothing", [2, 9, 4], 0).case(served[0]));
    for shape in [[0, 9, 4], [2, 0, 4], [2, 9, 0]] {
        cases.push(Setup::new("empty", shape, shape[1].min(3)).case(served[0]));
    }
    // More columns than workgroup memory holds, and each step a dispatch.
    cases.push(Case { heavy: true, ..Setup::new("many columns", [1, 600, 600], 560).case(determinant) });
    for shape in [[0, 9, 4], [2, 0, 4], [2, 9, 0]] {
        cases.push(Setup::new("empty", shape, shape[1].min(3)).case(determinant));
    }
    // One invocation has a row of few numbers, 64 rows a workgroup: more than one of these, and the first shapes that have one each.
    for objective in [Objective::MaxMin, determinant] {
        let lengths = Some((0..70).map(|b| [2, 1, 0, u32::MAX][b % 4]).collect());
        let case = Setup { lengths, ..Setup::new("short", [70, 2, 16], 2) }.case(objective);
        cases.push(case.broken_behind(&[("x", 2, 16), ("weights", 2, 1)]));
        cases.push(case);
        cases.push(Setup::new("short", [3, 17, 3], 17).case(objective));
        cases.push(Setup::new("short", [2, 4, 100], 3).case(objective));
        cases.push(Setup { values: rows(36, 60, 2, Elem::F32), ..Setup::new("short, awkward", [10, 6, 2], 6) }.case(objective));
        let given = HostTensor::u32([2], vec![5, 2]);
        let values = rows(37, 60, 2, Elem::F32);
        cases.push(Setup { values, given: Some(given), ..Setup::new("short, awkward, given", [10, 6, 2], 6) }.case(objective));
    }
    // More than the channels span, in one dispatch and in one for each.
    cases.push(Setup::new("more than span", [2, 40, 3], 12).case(determinant));
    cases.push(Setup::new("more than span, of a long row", [1, 4200, 3], 9).case(determinant));
    cases.push(Case { heavy: true, ..Setup::new("many", [66_000, 2, 4], 2).case(determinant) });
    cases.push(Setup::new("nothing", [2, 9, 4], 0).case(Objective::MaxMin));
    cases.push(Setup::new("larger", [1, 300, 64], 12).case(determinant));
    cases
}
