use tokenpress::kernels::{Statistic, reduce};
use tokenpress::{Elem, Graph, HostTensor, Shape};

use crate::support::{Case, data};

const STATISTICS: [Statistic; 6] =
    [Statistic::Mean, Statistic::Sum, Statistic::Max, Statistic::Min, Statistic::Variance, Statistic::SampleVariance];

/// Every statistic that the element type has.
fn case(what: &str, x: HostTensor, axis: usize, lengths: Option<Vec<u32>>) -> Case {
    let (shape, elem) = (x.shape(), x.desc().elem);
    let mut graph = Graph::new();
    let mut inputs: tokenpress::readback::HostTensors = [("x".to_owned(), x)].into();
    let name = format!("{what} {elem}{shape} axis {axis} lengths {lengths:?}");
    let x = graph.input("x", shape, elem);
    let lengths = lengths.map(|lengths| {
        let rows = lengths.len() as u32;
        inputs.insert("lengths".to_owned(), HostTensor::u32([rows], lengths));
        graph.input("lengths", [rows], Elem::U32)
    });
    let statistics = if elem.is_float() { &STATISTICS[..] } else { &STATISTICS[1..4] };
    for statistic in statistics {
        let reduced = reduce(&mut graph, x, axis, *statistic, lengths).expect("shapes agree");
        graph.output(&format!("{statistic:?}"), reduced).expect("a name");
    }
    Case { subject: "reduce", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let tensor = |shape: Shape, elem, values: fn(u64, usize) -> Vec<f32>| data::tensor(shape, elem, &values(71, shape.elements() as usize));
    let mut cases = Vec::new();
    for (shape, axis, lengths) in [
        (Shape::from([1, 0, 3]), 1, None),
        ([3].into(), 0, None),
        ([5, 1].into(), 1, None),
        ([3, 129].into(), 1, Some(vec![0, 129, 32])),
        ([2, 3, 33, 2].into(), 3, None),
        ([3, 33, 40].into(), 1, Some(vec![33, 1, 99])),
        ([2, 40, 3, 5].into(), 1, Some(vec![31, 7])),
        ([4, 2, 9].into(), 0, Some(vec![3])),
        ([1, 1000, 8].into(), 1, None),
    ] {
        cases.push(case("normal", tensor(shape, Elem::F32, data::normal), axis, lengths));
    }
    let far: Vec<f32> = data::normal(72, 254).into_iter().map(|x| x + 1000.0).collect();
    cases.push(case("far from 0", data::tensor([2, 127], Elem::F32, &far), 1, None));
    cases.push(case("normal", tensor([2, 65, 12].into(), Elem::F16, data::normal), 1, Some(vec![65, 30])));
    for elem in [Elem::F32, Elem::F16] {
        cases.push(case("of every kind", tensor([40, 6].into(), elem, data::awkward), 1, None));
        for (shape, axis) in [([50, 3].into(), 1), ([20, 40].into(), 1), ([2, 4, 33].into(), 1), ([3, 260].into(), 1)] {
            let shape: Shape = shape;
            let len = shape.elements() as usize;
            cases.push(case("extremes", data::tensor(shape, elem, &data::extremes(74, len, elem)), axis, None));
            let largest = if elem == Elem::F16 { 65504.0 } else { f32::MAX };
            cases.push(case("the largest", data::tensor(shape, elem, &vec![largest; len]), axis, None));
            let around = |i: usize| largest.sqrt() * if i.is_multiple_of(2) { 0.9 } else { -0.7 };
            cases.push(case("a variance of the largest", data::tensor(shape, elem, &(0..len).map(around).collect::<Vec<_>>()), axis, None));
        }
        let large = if elem == Elem::F16 { 60000.0 } else { 1e37 };
        cases.push(case("one large value", data::tensor([3, 33], elem, &[large; 99]), 1, None));
    }
    cases.push(case("NaN alone", data::tensor([2, 3], Elem::F32, &[f32::NAN, f32::NAN, f32::NAN, -0.0, f32::NAN, -0.0]), 1, None));
    let integers = HostTensor::u32([3, 40, 7], data::integers(73, 840, u32::MAX));
    cases.push(case("integers", integers.clone(), 1, Some(vec![40, 0, 17])));
    cases.push(case("integers", integers, 0, None));
    let broken: Vec<_> = cases
        .iter()
        .filter(|case| case.is_ragged())
        .map(|case| {
            let [entries, inner] =
                case.name.split("axis ").nth(1).and_then(|rest| rest[..1].parse::<usize>().ok()).map_or([1, 1], |axis| {
                    let dims = case.inputs["x"].shape().dims().to_vec();
                    [dims[axis], dims[axis + 1..].iter().product()]
                });
            case.broken_behind(&[("x", entries, inner)])
        })
        .collect();
    cases.extend(broken);
    cases
}
