//! Numbers of 16 bits, and casts.

use half::{bf16, f16};
use tokenpress::kernels::{
    Activation, Reduce, Statistic, TopK, TopKInputs, activate, convert, gather_rows, group_tokens, linear, merge_tokens, reduce,
};
use tokenpress::{Elem, Error, Graph, HostTensor, Tensor};

use super::Known;

pub fn all() -> Vec<Known> {
    let brain = |values: &[f32]| HostTensor::bf16([values.len() as u32], values.iter().map(|x| bf16::from_f32(*x)).collect());
    let half = |values: &[f32]| HostTensor::f16([values.len() as u32], values.iter().map(|x| f16::from_f32(*x)).collect());
    let floats = |values: &[f32]| HostTensor::f32([values.len() as u32], values.to_vec());
    let mean = |graph: &mut Graph, x| reduce(graph, x, 0, Statistic::Mean, None);
    let merged = |graph: &mut Graph, x| {
        let x = graph.reshape(x, [1, 3, 1])?;
        let parent = graph.constant(HostTensor::u32([1, 3], vec![0, 1, 0]));
        let groups = group_tokens(graph, parent, 2)?;
        let merged = merge_tokens(graph, x, groups, None, Reduce::Mean)?;
        graph.reshape(merged, [2])
    };
    let product = |graph: &mut Graph, x| {
        let x = graph.reshape(x, [1, 3])?;
        let y = linear(graph, x, x, None)?;
        graph.reshape(y, [1])
    };
    // Rows of 3 numbers begin in the middle of a word.
    let gathered = |graph: &mut Graph, x| {
        let x = graph.reshape(x, [1, 3, 3])?;
        let index = graph.constant(HostTensor::u32([1, 2], vec![2, 1]));
        let rows = gather_rows(graph, x, index, None)?;
        graph.reshape(rows, [6])
    };
    let best = |graph: &mut Graph, x| {
        let scores = graph.reshape(x, [1, 3])?;
        let selected = TopK { k: 2, ..TopK::default() }.build(graph, TopKInputs::new(scores))?;
        graph.reshape(selected.indices, [2])
    };
    let to = |elem| move |graph: &mut Graph, x| convert(graph, x, elem);
    let (nan, infinity) = (f64::NAN, f64::INFINITY);
    vec![
        known("1e5 stays finite in bf16", brain(&[1e5]), mean, &[99_840.0]),
        known("the mean of large bf16 numbers is theirs", brain(&[3e38, 3e38]), mean, &[f64::from(bf16::from_f32(3e38))]),
        known("merged bf16 tokens", brain(&[1.0, 7.0, 2.0]), merged, &[1.5, 7.0]),
        known("a bf16 product is summed in f32", brain(&[256.0, 1.0, 1.0]), product, &[65_536.0]),
        known(
            "gathered bf16 rows of an odd width",
            brain(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1e38, f32::INFINITY]),
            gathered,
            &[7.0, f64::from(bf16::from_f32(1e38)), infinity, 4.0, 5.0, 6.0],
        ),
        known("the best of bf16 scores", brain(&[1e5, 3e5, 2e5]), best, &[1.0, 2.0]),
        known(
            "a bf16 NaN stays NaN",
            brain(&[f32::NAN, 1.0]),
            |graph, x| activate(graph, x, Activation::Gelu),
            &[nan, f64::from(bf16::from_f32(0.841_344_7))],
        ),
        known(
            "1e5 is infinite in f16, and 65504 is its largest number",
            floats(&[1e5, 65519.0, -65520.0]),
            to(Elem::F16),
            &[infinity, 65504.0, -infinity],
        ),
        known(
            "ties go to even in bf16",
            floats(&[1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, f32::MAX]),
            to(Elem::BF16),
            &[1.0, 1.0 + 2.0 / 128.0, infinity],
        ),
        known(
            "small f16 numbers stay",
            half(&[6e-8, -6e-8, 1e-5]),
            to(Elem::F32),
            &[2f64.powi(-24), -(2f64.powi(-24)), f16::from_f32(1e-5).to_f64()],
        ),
        known("casts to whole numbers", floats(&[2.9, -3.0, f32::NAN, 1e20]), to(Elem::U32), &[2.0, 0.0, 0.0, f64::from(u32::MAX)]),
        known("lengths as floats", HostTensor::u32([3], vec![0, 7, u32::MAX]), to(Elem::F32), &[0.0, 7.0, 4_294_967_296.0]),
    ]
}

fn known(name: &'static str, x: HostTensor, of: impl FnOnce(&mut Graph, Tensor) -> Result<Tensor, Error>, expected: &[f64]) -> Known {
    let mut graph = Graph::new();
    let input = graph.input("x", x.shape(), x.desc().elem);
    let y = of(&mut graph, input).expect("shapes agree");
    graph.output("y", y).expect("a name");
    Known { name, graph, inputs: [("x".to_owned(), x)].into(), outputs: vec![("y", expected.to_vec(), 0.0)] }
}
