use tokenpress::kernels::{grow_runs, row_normalize};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

fn case([batch, tokens, channels]: [u32; 3], threshold: f32, values: Vec<f32>, what: &str, ragged: bool) -> Case {
    let mut graph = Graph::new();
    let x = graph.input("x", [batch, tokens, channels], Elem::F32);
    let mut inputs: HostTensors = [("x".to_owned(), HostTensor::f32([batch, tokens, channels], values))].into();
    let lengths = ragged.then(|| {
        let lengths = (0..batch).map(|b| [tokens / 2, 0, u32::MAX, 1][b as usize % 4]).collect();
        inputs.insert("lengths".to_owned(), HostTensor::u32([batch], lengths));
        graph.input("lengths", [batch], Elem::U32)
    });
    // All rows are normalised: the runs have to find the dead ones by themselves.
    let normalized = row_normalize(&mut graph, x, None).expect("shapes agree");
    let joins = grow_runs(&mut graph, normalized, threshold, lengths).expect("shapes agree");
    graph.output("joins", joins).expect("a name");
    let name = format!("[{batch}, {tokens}, {channels}] {threshold} {what}");
    Case { subject: "grow_runs", name, heavy: false, graph, inputs }
}

/// A walk: neighbours are alike, tokens far apart are not.
fn walk(seed: u64, [batch, tokens, channels]: [u32; 3]) -> Vec<f32> {
    let mut values = data::normal(seed, (batch * tokens * channels) as usize);
    for i in channels as usize..values.len() {
        values[i] += 0.9 * values[i - channels as usize];
    }
    values
}

fn broken(case: &Case) -> Case {
    let shape = case.inputs["x"].shape();
    case.broken_behind(&[("x", shape.dims()[1], shape.dims()[2])])
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, threshold, ragged) in [
        ([1, 1, 1], 0.5, false),
        ([4, 33, 7], 0.4, true),
        ([2, 129, 200], 0.5, false),
        ([1, 40, 128], -1.0, false),
        // An invocation for a row: more than a workgroup of them, channels of several parts, and the first that have a workgroup.
        ([70, 2, 16], 0.4, true),
        ([3, 9, 300], 0.4, true),
        ([3, 64, 40], 0.4, false),
        ([3, 64, 50], 0.4, false),
        ([5, 65, 3], 0.4, false),
        // Of several dispatches, the last of which some rows do not reach.
        ([2, 1000, 5], 0.4, true),
        ([0, 3, 4], 0.5, false),
        ([2, 0, 4], 0.5, false),
        ([2, 3, 0], 0.0, false),
    ] {
        cases.push(case(shape, threshold, walk(4, shape), "walk", ragged));
    }
    // Equal tokens join up to rounding, ties and broken rows do as they must.
    cases.push(case([2, 60, 3], 0.9999, vec![2.5; 360], "all equal", false));
    for channels in [3, 128, 1000] {
        let equal = data::normal(4, channels as usize).repeat(120);
        let near: Vec<f32> = equal.iter().zip(data::normal(5, equal.len())).map(|(x, noise)| x + 1e-2 * noise).collect();
        cases.push(case([2, 60, channels], 1.0, equal, "all equal", false));
        cases.push(case([2, 60, channels], 0.9999, near, "all nearly equal", false));
    }
    cases.push(case([4, 70, 2], 0.5, data::ties(4, 560), "ties", true));
    cases.push(case([4, 70, 2], 0.0, data::awkward(4, 560), "awkward", true));
    cases.push(case([4, 50, 2], 0.5, data::ties(4, 400), "ties", true));
    cases.push(case([4, 60, 2], 0.0, data::awkward(4, 480), "awkward", true));
    let broken: Vec<_> = cases.iter().filter(|case| case.is_ragged()).map(broken).collect();
    cases.extend(broken);
    cases
}
