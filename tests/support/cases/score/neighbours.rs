use tokenpress::kernels::{Among, Neighbours, row_normalize};
use tokenpress::{Elem, Graph, HostTensor, NONE};

use crate::support::{Case, data};

#[derive(Clone)]
struct Setup {
    shape: [u32; 3],
    nearest: u32,
    exclude_self: bool,
    queries: Option<HostTensor>,
    candidates: Option<HostTensor>,
    lengths: Option<Vec<u32>>,
}

/// By cosine and by distance.
fn case(what: &str, setup: &Setup, elem: Elem, values: &[f32]) -> Case {
    let mut graph = Graph::new();
    let mut inputs: tokenpress::readback::HostTensors = [("x".to_owned(), data::tensor(setup.shape, elem, values))].into();
    let x = graph.input("x", setup.shape, elem);
    let mut list = |name: &str, value: Option<HostTensor>| {
        value.map(|value| {
            let tensor = graph.input(name, value.shape(), Elem::U32);
            inputs.insert(name.to_owned(), value);
            tensor
        })
    };
    let among = Among {
        queries: list("queries", setup.queries.clone()),
        candidates: list("candidates", setup.candidates.clone()),
        lengths: list("lengths", setup.lengths.clone().map(|lengths| HostTensor::u32([lengths.len() as u32], lengths))),
    };
    let search = Neighbours { nearest: setup.nearest, exclude_self: setup.exclude_self };
    // All rows are normalised: the search has to find the dead ones by itself.
    let normalized = row_normalize(&mut graph, x, None).expect("rank 3");
    let similar = search.most_similar(&mut graph, normalized, among).expect("shapes agree");
    let close = search.closest(&mut graph, x, among).expect("shapes agree");
    for (name, tensor) in
        [("similar", similar.indices), ("similarity", similar.values), ("close", close.indices), ("distance", close.values)]
    {
        graph.output(name, tensor).expect("a name");
    }
    let name = format!("{what} {elem}{:?} {} nearest, lengths {:?}", setup.shape, setup.nearest, setup.lengths);
    Case { subject: "neighbours", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let setup = |shape, nearest| Setup { shape, nearest, exclude_self: false, queries: None, candidates: None, lengths: None };
    let normal = |setup: &Setup| data::normal(91, setup.shape.iter().product::<u32>() as usize);
    let mut cases = Vec::new();
    for setup in [
        setup([1, 0, 3], 2),
        setup([2, 3, 0], 2),
        setup([1, 5, 3], 0),
        Setup { exclude_self: true, ..setup([2, 1, 3], 3) },
        Setup { exclude_self: true, lengths: Some(vec![33, 0, 2]), ..setup([3, 33, 4], 5) },
        Setup { lengths: Some(vec![129, 70]), ..setup([2, 129, 3], 64) },
        Setup {
            exclude_self: true,
            queries: Some(HostTensor::u32([2, 5], vec![3, 90, 8, NONE, NONE, 0, 99, 50, 4, NONE])),
            lengths: Some(vec![100, 60]),
            ..setup([2, 100, 16], 32)
        },
        Setup {
            queries: Some(HostTensor::u32([3], vec![7, 2, 30])),
            candidates: Some(HostTensor::u32([2, 4], vec![30, 7, 7, NONE, 1, 2, 99, 0])),
            ..setup([2, 40, 8], 3)
        },
        // One invocation has a query: few candidates, and a short list of more, or a long one of few.
        Setup { exclude_self: true, lengths: Some((0..70).map(|b| [2, 1, 0, u32::MAX][b % 4]).collect()), ..setup([70, 2, 16], 1) },
        setup([3, 16, 3], 20),
        setup([3, 17, 3], 16),
        setup([3, 17, 3], 17),
        setup([2, 64, 5], 4),
    ] {
        let case = case("normal", &setup, Elem::F32, &normal(&setup));
        if case.is_ragged() {
            let case = if setup.queries.is_some() { case.clone().broken_indices("queries", setup.shape[1]) } else { case.clone() };
            cases.push(case.broken_behind(&[("x", setup.shape[1], setup.shape[2])]));
        }
        if let (Some(queries), Some(candidates)) = (&setup.queries, &setup.candidates) {
            // Tokens that are neither.
            let tokens = setup.shape[1] as usize;
            let row_of = |list: &HostTensor, b: usize| match *list.shape().dims() {
                [_, width] => list.integers()[b * width as usize..][..width as usize].to_vec(),
                _ => list.integers().to_vec(),
            };
            let listed = |token: usize| {
                let of = |list| row_of(list, token / tokens).contains(&((token % tokens) as u32));
                of(queries) || of(candidates)
            };
            cases.push(case.clone().broken("x", setup.shape[2] as usize, |token| !listed(token)));
        }
        cases.push(case);
    }
    for channels in [5, 8] {
        let setup = setup([1, 40, channels], 4);
        cases.push(case("normal", &setup, Elem::F16, &normal(&setup)));
    }
    let small = setup([2, 40, 3], 7);
    for (shape, elem) in [([3, 12, 5], Elem::F16), ([3, 12, 8], Elem::F16), ([3, 12, 8], Elem::F32)] {
        let setup = setup(shape, 5);
        cases.push(case("short, normal", &setup, elem, &normal(&setup)));
        cases.push(case("short, ties", &setup, elem, &data::ties(97, shape.iter().product::<u32>() as usize)));
    }
    cases.push(case("short rows of every kind", &setup([10, 8, 3], 7), Elem::F32, &data::awkward(98, 240)));
    let many = setup([66_000, 2, 1], 1);
    cases.push(Case { heavy: true, ..case("many", &many, Elem::F32, &normal(&many)) });
    // More tiles of queries than one dispatch makes.
    let queries = Some(HostTensor::u32([1], vec![1]));
    let tiles = Setup { exclude_self: true, queries: queries.clone(), ..setup([70, 1000, 1], 3) };
    cases.push(case("many tiles", &tiles, Elem::F32, &normal(&tiles)));
    // Those nearer than the last of the list are more than a workgroup holds: 63 of 128 invocations have nothing else.
    let crowd = Setup { queries, ..setup([1, 1200, 1], 64) };
    let near: Vec<f32> = normal(&crowd).iter().enumerate().map(|(i, x)| if i % 128 < 63 { *x } else { 100.0 + x }).collect();
    cases.push(case("a crowd", &crowd, Elem::F32, &near));
    let more = setup([2, 80, 3], 7);
    cases.push(case("ties", &more, Elem::F32, &data::ties(92, 480)));
    cases.push(case("all equal", &more, Elem::F32, &[0.3; 480]));
    cases.push(case("rows of every kind", &more, Elem::F32, &data::awkward(93, 480)));
    for channels in [5, 8] {
        let setup = setup([1, 80, channels], 4);
        cases.push(case("normal", &setup, Elem::F16, &normal(&setup)));
    }
    cases.push(case("ties", &small, Elem::F32, &data::ties(92, 240)));
    for channels in [3, 64, 1000] {
        let setup = setup([1, 40, channels], 4);
        let near: Vec<f32> = data::normal(95, channels as usize).repeat(40);
        let near: Vec<f32> = near.iter().zip(data::normal(96, near.len())).map(|(x, noise)| x + 3e-3 * noise).collect();
        cases.push(case("nearly equal", &setup, Elem::F32, &near));
    }
    cases.push(case("all equal", &small, Elem::F32, &[0.3; 240]));
    cases.push(case("rows of every kind", &small, Elem::F32, &data::awkward(93, 240)));
    cases.push(case("large values", &small, Elem::F16, &data::ties(94, 240).iter().map(|x| x * 60000.0).collect::<Vec<_>>()));
    cases
}
