use tokenpress::kernels::{Groups, Reduce, group_tokens, merge_tokens, merge_with_totals};
use tokenpress::{Elem, Graph, HostTensor, NONE, Shape};

use super::group_tokens::parents;
use crate::support::{Case, data};

const REDUCTIONS: [Reduce; 5] = [Reduce::Mean, Reduce::Sum, Reduce::Max, Reduce::WeightedMean, Reduce::WeightedSum];

struct Setup {
    shape: Shape,
    outputs: u32,
    parent: Vec<u32>,
    values: Vec<f32>,
    weights: Vec<f32>,
    what: &'static str,
}

fn case(setup: &Setup, elem: Elem, reduce: Reduce) -> Case {
    let Setup { shape, outputs, parent, values, weights, what } = setup;
    let [batch, tokens] = [shape.dims()[0], shape.dims()[1]];
    let mut graph = Graph::new();
    let x = graph.input("x", *shape, elem);
    let mut inputs: tokenpress::readback::HostTensors =
        [("x".to_owned(), data::tensor(*shape, elem, values)), ("parent".to_owned(), HostTensor::u32([batch, tokens], parent.clone()))]
            .into();
    // One reduction of each kind has the totals too.
    let with_totals = matches!(reduce, Reduce::Mean | Reduce::WeightedMean);
    let weights = (with_totals || reduce.is_weighted()).then(|| {
        inputs.insert("weights".to_owned(), HostTensor::f32([batch, tokens], weights.clone()));
        graph.input("weights", [batch, tokens], Elem::F32)
    });
    let parent = graph.input("parent", [batch, tokens], Elem::U32);
    let groups = group_tokens(&mut graph, parent, *outputs).expect("a shape");
    let merged = match weights.filter(|_| with_totals) {
        Some(weights) => {
            let [merged, totals] = merge_with_totals(&mut graph, x, groups, weights, reduce).expect("shapes agree");
            graph.output("totals", totals).expect("a name");
            merged
        }
        None => merge_tokens(&mut graph, x, groups, weights, reduce).expect("shapes agree"),
    };
    graph.output("merged", merged).expect("a name");
    let name = format!("{what} {reduce:?} {elem}{shape} to {outputs}");
    Case { subject: "merge_tokens", name, heavy: false, graph, inputs }
}

/// Sizes of tokens; some 0.
fn sizes(seed: u64, len: usize) -> Vec<f32> {
    data::integers(seed, len, 9).into_iter().map(|s| s as f32).collect()
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for elem in [Elem::F32, Elem::F16] {
        for (batch, tokens, channels, outputs) in [
            (2, 33, 3, 9),
            (1, 129, 4, 100),
            (3, 17, 20, 1),
            (1, 1, 1, 1),
            (2, 9, 64, 12),
            (0, 3, 4, 2),
            (2, 0, 4, 3),
            (2, 3, 0, 2),
            (2, 3, 4, 0),
        ] {
            let rows = (batch * tokens) as usize;
            let setup = Setup {
                shape: [batch, tokens, channels].into(),
                outputs,
                parent: parents(41, rows, outputs),
                values: data::normal(42, rows * channels as usize),
                weights: sizes(43, rows),
                what: "normal",
            };
            cases.extend(REDUCTIONS.map(|reduce| case(&setup, elem, reduce)));
        }
        let setup = |what, values: Vec<f32>| Setup {
            shape: [2, 50, 8].into(),
            outputs: 20,
            parent: parents(44, 100, 20),
            values,
            weights: sizes(45, 100),
            what,
        };
        let large = if elem == Elem::F16 { 60000.0 } else { 1e37 };
        for setup in [
            setup("rows of every kind", data::awkward(46, 800)),
            setup("ties", data::ties(47, 800)),
            setup("one large value", vec![large; 800]),
            setup("the largest of one sign", vec![if elem == Elem::F16 { 65504.0 } else { f32::MAX }; 800]),
            setup("extremes", data::extremes(54, 800, elem)),
            Setup { weights: data::extremes(55, 100, Elem::F32), ..setup("extremes by extremes", data::extremes(54, 800, elem)) },
            Setup { weights: data::extremes(55, 100, Elem::F32), ..setup("weights of every size", data::normal(48, 800)) },
            Setup {
                weights: data::extremes(55, 100, Elem::F32).into_iter().map(f32::abs).collect(),
                ..setup("extremes by extremes of one sign", data::extremes(54, 800, elem))
            },
            setup("zeros of both signs", (0..800).map(|i| if i % 3 == 0 { -0.0 } else { 0.0 }).collect()),
            Setup { weights: vec![0.0; 100], ..setup("weights of 0", data::normal(48, 800)) },
            Setup { weights: data::normal(49, 100), ..setup("weights of both signs", data::normal(48, 800)) },
            Setup { parent: (0..100).map(|i| (i * 7) % 50).collect(), outputs: 50, ..setup("single members", data::awkward(46, 800)) },
        ] {
            cases.extend(REDUCTIONS.map(|reduce| case(&setup, elem, reduce)));
        }
        let sizes_alone = Setup {
            shape: [3, 197].into(),
            outputs: 181,
            parent: parents(50, 3 * 197, 181),
            values: sizes(51, 3 * 197),
            weights: sizes(52, 3 * 197),
            what: "sizes",
        };
        cases.extend(REDUCTIONS.map(|reduce| case(&sizes_alone, elem, reduce)));
    }
    let broken: Vec<_> = cases.iter().filter_map(broken).collect();
    cases.extend(broken);
    let lists = lists();
    cases.push(lists.clone().broken_indices("members", 3));
    cases.push(lists);
    cases
}

/// With anything in the rows and weights of tokens that are in no output.
fn broken(case: &Case) -> Option<Case> {
    let outputs = case.name.rsplit("to ").next()?.parse().ok()?;
    let (parent, width) = (case.inputs["parent"].integers().to_vec(), *case.inputs["x"].shape().dims().get(2).unwrap_or(&1));
    if width == 0 || parent.iter().all(|p| *p < outputs) {
        return None;
    }
    let left_out = |token: usize| parent[token] >= outputs;
    let case = case.clone().broken("x", width as usize, left_out);
    Some(if case.inputs.contains_key("weights") { case.broken("weights", 1, left_out) } else { case })
}

/// Lists that no grouping made: more entries than tokens, a token in two outputs, entries and offsets out of range.
fn lists() -> Case {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 3, 4], Elem::F32);
    let offsets = HostTensor::u32([1, 6], vec![0, 2, 5, 4, 7, 900]);
    let members = HostTensor::u32([1, 8], vec![2, 0, NONE, 2, 2, 1, 3, 0]);
    let groups = Groups { offsets: graph.constant(offsets), members: graph.input("members", [1, 8], Elem::U32) };
    let merged = merge_tokens(&mut graph, x, groups, None, Reduce::Mean).expect("shapes agree");
    graph.output("merged", merged).expect("a name");
    let inputs = [("x".to_owned(), data::tensor([1, 3, 4], Elem::F32, &data::normal(53, 12))), ("members".to_owned(), members)].into();
    Case { subject: "merge_tokens", name: "lists of the caller".to_owned(), heavy: false, graph, inputs }
}
