use tokenpress::kernels::{Attended, Attention, Heads, QueryKeyValue, merge_attention};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

/// Parts as they come, of which some rows saw nothing and hold NaN, and some lie far from the other part's.
fn case([batch, heads, queries, channels]: [u32; 4], elem: Elem, layout: Heads) -> Case {
    let (mut graph, mut inputs) = (Graph::new(), HostTensors::new());
    let shape = match layout {
        Heads::First => [batch, heads, queries, channels],
        Heads::Last => [batch, queries, heads, channels],
    };
    let mut part = |seed: u64, name: &str| {
        let mut lse: Vec<f32> = data::normal(seed, (batch * heads * queries) as usize);
        lse.iter_mut().skip(seed as usize).step_by(4).for_each(|l| *l = f32::NEG_INFINITY);
        lse.iter_mut().skip(1).step_by(7).for_each(|l| *l *= 50.0);
        let unseen = |i: u32| {
            let row = i / channels.max(1);
            let (outer, inner) = (row / shape[2], row % shape[2]);
            let [b, h, m] = match layout {
                Heads::First => [outer / heads.max(1), outer % heads.max(1), inner],
                Heads::Last => [outer / queries.max(1), inner, outer % queries.max(1)],
            };
            lse[((b * heads + h) * queries + m) as usize] == f32::NEG_INFINITY
        };
        let mut rows = data::normal(seed + 10, shape.iter().product::<u32>() as usize);
        rows.iter_mut().zip(data::awkward(seed + 20, 1 << 12)).step_by(13).for_each(|(x, special)| *x = special);
        rows.iter_mut().enumerate().filter(|(i, _)| unseen(*i as u32)).for_each(|(_, x)| *x = f32::NAN);
        inputs.insert(format!("{name} rows"), data::tensor(shape, elem, &rows));
        inputs.insert(format!("{name} lse"), HostTensor::f32([batch, heads, queries], lse));
        let rows = graph.input(&format!("{name} rows"), shape, elem);
        Attended { rows, lse: Some(graph.input(&format!("{name} lse"), [batch, heads, queries], Elem::F32)) }
    };
    // The second row of the list saw nothing in the one, the third in the other; every fourth behind them in both.
    let (first, second) = (part(1, "first"), part(2, "second"));
    let merged = merge_attention(&mut graph, first, second, layout).expect("parts alike");
    graph.output("rows", merged.rows).expect("a name");
    graph.output("lse", merged.lse.expect("always")).expect("a name");
    let name = format!("{elem}[{batch}, {heads}, {queries}, {channels}] {layout:?}");
    Case { subject: "merge_attention", name, heavy: false, graph, inputs }
}

/// An attention over the two halves of the keys, merged.
fn halves(layout: Heads) -> Case {
    let (mut graph, mut inputs) = (Graph::new(), HostTensors::new());
    let mut input = |name: &str, seed: u64, rows: u32| {
        let shape = match layout {
            Heads::First => [2, 2, rows, 8],
            Heads::Last => [2, rows, 2, 8],
        };
        inputs.insert(name.to_owned(), data::tensor(shape, Elem::F32, &data::normal(seed, 32 * rows as usize)));
        graph.input(name, shape, Elem::F32)
    };
    let queries = input("queries", 1, 9);
    let halves = [("near", 2, 20), ("far", 4, 13)]
        .map(|(name, seed, keys)| (input(&format!("{name} keys"), seed, keys), input(&format!("{name} values"), seed + 1, keys)));
    let attention = Attention { lse: true, heads: layout, ..Attention::default() };
    let [first, second] = halves.map(|(keys, values)| {
        let inputs = QueryKeyValue { queries, keys, values, bias: None, lengths: None, query_lengths: None };
        attention.build(&mut graph, inputs).expect("shapes agree")
    });
    let merged = merge_attention(&mut graph, first, second, layout).expect("parts alike");
    graph.output("rows", merged.rows).expect("a name");
    Case { subject: "merge_attention", name: format!("halves {layout:?}"), heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for layout in [Heads::First, Heads::Last] {
        for elem in [Elem::F32, Elem::F16] {
            for shape in [[2, 3, 17, 8], [1, 2, 5, 3], [1, 1, 1, 1], [2, 1, 40, 64]] {
                cases.push(case(shape, elem, layout));
            }
        }
        for shape in [[0, 2, 4, 4], [2, 0, 4, 4], [2, 2, 0, 4], [2, 2, 4, 0]] {
            cases.push(case(shape, Elem::F32, layout));
        }
        cases.push(halves(layout));
    }
    cases
}
