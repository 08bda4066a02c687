use tokenpress::kernels::{DeformableInputs, DeformableSample, Points};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor, Shape};

use crate::support::{Case, data};

struct Setup {
    levels: &'static [[u32; 2]],
    /// B, H, D.
    dims: [u32; 3],
    queries: u32,
    samples: u32,
    softmax: bool,
    /// Reference points of all batch rows, or of each.
    reference: Option<bool>,
    what: &'static str,
    values: fn(u64, usize) -> Vec<f32>,
    points: fn(u64, usize) -> Vec<f32>,
}

/// Locations on and around the grid: most of them anywhere, some on edges and centres, some far out or nowhere.
fn locations(seed: u64, len: usize) -> Vec<f32> {
    let mut random = data::Random::new(seed);
    let special = [0.0, 1.0, 0.5, 0.25, -0.125, 1.125, -3.0, 1e30, -1e30, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let place = |random: &mut data::Random| match random.below(4) {
        0 => special[random.below(special.len() as u32) as usize],
        _ => 1.5 * random.uniform() - 0.25,
    };
    (0..len).map(|_| place(&mut random)).collect()
}

fn offsets(seed: u64, len: usize) -> Vec<f32> {
    data::normal(seed, len).into_iter().enumerate().map(|(i, v)| if i % 3 == 0 { v.round() } else { 2.0 * v }).collect()
}

fn case(setup: &Setup, elem: Elem) -> Case {
    let Setup { levels, dims: [batch, heads, channels], queries, samples, softmax, reference, what, values, points } = *setup;
    let tokens = levels.iter().map(|[h, w]| h * w).sum();
    let mut graph = Graph::new();
    let mut inputs = HostTensors::new();
    let mut input = |name: &str, seed, shape: Shape, elem, values: fn(u64, usize) -> Vec<f32>| {
        let tensor: HostTensor = data::tensor(shape, elem, &values(seed, shape.elements() as usize));
        inputs.insert(name.to_owned(), tensor);
        graph.input(name, shape, elem)
    };
    let value = input("value", 1, [batch, tokens, heads, channels].into(), elem, values);
    let weights = input("weights", 2, [batch, queries, heads, samples].into(), elem, data::normal);
    let given = input("points", 3, [batch, queries, heads, samples, 2].into(), elem, points);
    let points = match reference {
        None => Points::Locations(given),
        Some(own) => {
            let shape: Shape = if own { [batch, queries, 2].into() } else { [queries, 2].into() };
            Points::Offsets { offsets: given, reference: input("reference", 4, shape, Elem::F32, locations) }
        }
    };
    let sampling = DeformableSample { levels: levels.to_vec(), softmax };
    let y = sampling.build(&mut graph, DeformableInputs { value, points, weights }).expect("shapes agree");
    graph.output("y", y).expect("a name");
    let name = format!("{what}, {elem} {:?} {levels:?} Q{queries} S{samples} softmax {softmax} own {reference:?}", setup.dims);
    Case { subject: "deformable_sample", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let plain = || Setup {
        levels: &[[5, 7]],
        dims: [2, 3, 8],
        queries: 9,
        samples: 4,
        softmax: false,
        reference: None,
        what: "locations",
        values: data::normal,
        points: locations,
    };
    let anchored = || Setup { softmax: true, reference: Some(false), what: "offsets", points: offsets, ..plain() };
    let large = |seed, len| data::normal(seed, len).into_iter().map(|v| if v > 0.0 { 60000.0 } else { -60000.0 }).collect();
    let setups = [
        plain(),
        anchored(),
        Setup { levels: &[[5, 7], [1, 2], [3, 3]], dims: [2, 2, 3], queries: 33, samples: 6, reference: Some(true), ..anchored() },
        Setup { levels: &[[6, 4], [2, 5]], dims: [1, 1, 1], queries: 65, samples: 2, softmax: true, ..plain() },
        Setup { levels: &[[1, 1]], dims: [1, 2, 4], queries: 1, samples: 1, ..anchored() },
        Setup { levels: &[[12, 12]], dims: [1, 4, 16], queries: 16, samples: 4, ..anchored() },
        Setup { what: "large values", values: large, ..anchored() },
        Setup { what: "values of every kind", values: data::awkward, ..plain() },
        Setup { what: "points that are all one", samples: 32, points: |_, len| vec![0.0; len], ..anchored() },
        Setup { what: "no points", samples: 0, ..anchored() },
        Setup { what: "no tokens", levels: &[[0, 3], [2, 0]], ..anchored() },
        Setup { what: "no queries", queries: 0, ..plain() },
        Setup { what: "no batch", dims: [0, 3, 8], ..plain() },
        Setup { what: "no channels", dims: [2, 3, 0], ..plain() },
    ];
    let mut cases: Vec<_> = [Elem::F32, Elem::F16].iter().flat_map(|elem| setups.iter().map(|setup| case(setup, *elem))).collect();
    // Few points on many tokens, most of which no point is near.
    for elem in [Elem::F32, Elem::F16] {
        let few = case(&Setup { levels: &[[12, 17]], queries: 3, samples: 2, what: "few points", ..plain() }, elem);
        let points = few.inputs["points"].floats();
        let far = |entry: usize| {
            let (batch, token, head) = (entry / 3 / 204, entry / 3 % 204, entry % 3);
            let near = |(i, at): (usize, &[f32])| {
                let off = |place: usize, at: f32, extent: f32| (place as f32 - (at * extent - 0.5)).abs() < 1.5;
                i / 18 == batch && i / 2 % 3 == head && off(token % 17, at[0], 17.0) && off(token / 17, at[1], 12.0)
            };
            !points.chunks_exact(2).enumerate().any(near)
        };
        cases.push(few.clone().broken("value", 8, far));
        cases.push(few);
    }
    cases
}
