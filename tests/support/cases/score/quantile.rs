use tokenpress::kernels::{fence, quantile};
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

/// Quantiles, and the fence.
fn case(what: &str, elem: Elem, [batch, entries]: [u32; 2], values: &[f32], lengths: Option<Vec<u32>>) -> Case {
    let mut graph = Graph::new();
    let mut inputs: tokenpress::readback::HostTensors = [("scores".to_owned(), data::tensor([batch, entries], elem, values))].into();
    let name = format!("{what} {elem}[{batch},{entries}] lengths {lengths:?}");
    let scores = graph.input("scores", [batch, entries], elem);
    let lengths = lengths.map(|lengths| {
        inputs.insert("lengths".to_owned(), HostTensor::u32([batch], lengths));
        graph.input("lengths", [batch], Elem::U32)
    });
    let quantiles = quantile(&mut graph, scores, &[0.0, 0.1, 0.25, 0.5, 0.75, 1.0], lengths).expect("shapes agree");
    graph.output("quantiles", quantiles).expect("a name");
    let fence = fence(&mut graph, scores, 1.5, lengths).expect("shapes agree");
    graph.output("fence", fence).expect("a name");
    Case { subject: "quantile", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (batch, entries, lengths) in
        [(1, 0, None), (2, 1, None), (3, 33, Some(vec![33, 0, 2])), (2, 576, Some(vec![576, 129])), (1, 2500, None)]
    {
        cases.push(case("normal", Elem::F32, [batch, entries], &data::normal(81, (batch * entries) as usize), lengths));
    }
    cases.push(case("normal", Elem::F16, [2, 40], &data::normal(82, 80), None));
    cases.push(case("ties", Elem::F32, [2, 40], &data::ties(83, 80), None));
    cases.push(case("all equal", Elem::F32, [1, 40], &[0.1; 40], None));
    cases.push(case("of every kind", Elem::F32, [6, 40], &data::awkward(84, 240), Some(vec![40, 40, 39, 38, 37, 5])));
    cases.push(case("large values", Elem::F16, [1, 9], &[60000.0, -60000.0, 1.0, 60000.0, 2.0, 0.0, -0.0, 5.0, -60000.0], None));
    let ragged: Vec<_> = cases.iter().filter(|case| case.is_ragged()).collect();
    let broken: Vec<_> = ragged.iter().map(|case| case.broken_behind(&[("scores", case.inputs["scores"].shape().dims()[1], 1)])).collect();
    cases.extend(broken);
    cases
}
