//! Norms, means and ranks at the ends of what f32 holds.

use tokenpress::kernels::{Allocate, LayerNorm, Reduce, fence, group_tokens, merge_tokens, quantile, row_normalize};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use super::Known;

pub fn all() -> Vec<Known> {
    let (big, root) = (1e20, 0.5f64.sqrt());
    let mut late = vec![0.0; 900_000];
    late.resize(1_000_000, 1000.0);
    let infinite = [f32::INFINITY; 5];
    vec![
        norm("a layer norm of large numbers", LayerNorm::new(1e-5), &[big, -big, big, -big], &[1.0, -1.0, 1.0, -1.0]),
        norm("a layer norm of the largest numbers", LayerNorm::new(1e-5), &[3e38, -3e38, 3e38, -3e38], &[1.0, -1.0, 1.0, -1.0]),
        norm("a layer norm of large numbers of one sign", LayerNorm::new(1e-5), &[3e38, 1e38, 3e38, 1e38], &[1.0, -1.0, 1.0, -1.0]),
        norm("a layer norm of equal large numbers", LayerNorm::new(1e-5), &[3e38; 4], &[0.0; 4]),
        norm("a layer norm of small numbers is theirs over epsilon's root", LayerNorm::new(1e-6), &[1e-20, -1e-20], &[1e-17, -1e-17]),
        norm("a layer norm of a NaN is NaN", LayerNorm::new(1e-5), &[1.0, f32::NAN], &[f64::NAN; 2]),
        norm("a layer norm of an infinity is NaN", LayerNorm::new(1e-5), &[1.0, f32::INFINITY], &[f64::NAN; 2]),
        norm("an RMS norm of large numbers", LayerNorm::root_mean_square(1e-5), &[big, -big, big, -big], &[1.0, -1.0, 1.0, -1.0]),
        norm("an RMS norm of the largest numbers", LayerNorm::root_mean_square(1e-5), &[3e38, 0.0], &[1.0 / root, 0.0]),
        norm("an RMS norm of small numbers", LayerNorm::root_mean_square(1e-36), &[1e-25, 1e-25], &[1e-7, 1e-7]),
        quantiles("the .9 quantile of a million lies where it should", &late, &[0.9], &[100.0], 1e-3),
        quantiles("the ends and the middle of a million", &late, &[0.0, 0.5, 1.0], &[0.0, 0.0, 1000.0], 0.0),
        quantiles(
            "tenths of eleven entries are entries",
            &(0..11).map(|i| i as f32).collect::<Vec<_>>(),
            &[0.1, 0.3, 0.7],
            &[1.0, 3.0, 7.0],
            1e-6,
        ),
        fenced("a fence of equal infinities is theirs", &infinite, f64::INFINITY),
        fenced("a fence of numbers", &[1.0, 2.0, 4.0, 8.0], 5.0 + 1.5 * 3.25),
        unit("a row of 1 beside 3e38 has the direction of the latter", &[1.0, 3e38], &[0.0, 1.0], 3e38),
        unit("a row of small numbers has their direction", &[3e-30, 4e-30], &[0.6, 0.8], 5e-30),
        merged("a NaN weight makes its weighted mean NaN", &[1.0, 2.0], &[1.0, f32::NAN], f64::NAN),
        merged("infinities of both signs make their weighted mean NaN", &[f32::INFINITY, f32::NEG_INFINITY], &[1.0, 2.0], f64::NAN),
        merged("weights that sum to 0 make their weighted mean 0", &[1.0, 2.0], &[1.0, -1.0], 0.0),
        budgets("a budget above 65535 is divided", &[1.0, 1.0], 70_000, &[50_000; 2], &[35_000.0; 2]),
        budgets("a budget above 65535 fills the small first", &[3.0, 1.0], 1_000_000, &[600_000, 900_000], &[600_000.0, 400_000.0]),
        budgets("the weight of a crop without room does not matter", &[3.0, 1.0, f32::INFINITY], 8, &[9, 9, 0], &[6.0, 2.0, 0.0]),
        budgets("a budget of two thousand million", &[1.0, 3.0], 2_000_000_000, &[2_000_000_000; 2], &[500_000_000.0, 1_500_000_000.0]),
    ]
}

fn norm(name: &'static str, norm: LayerNorm, row: &[f32], expected: &[f64]) -> Known {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, row.len() as u32], Elem::F32);
    let y = norm.apply(&mut graph, x, None, None).expect("a shape");
    graph.output("y", y).expect("a name");
    let tolerance = 4e-6 * expected.iter().fold(0.0, |most: f64, e| most.max(e.abs()));
    let inputs = [("x".to_owned(), HostTensor::f32([1, row.len() as u32], row.to_vec()))].into();
    Known { name, graph, inputs, outputs: vec![("y", expected.to_vec(), tolerance)] }
}

/// A unit row within 1e-6, and its norm.
fn unit(name: &'static str, row: &[f32], expected: &[f64], norm: f64) -> Known {
    let mut graph = Graph::new();
    let shape = [1, 1, row.len() as u32];
    let x = graph.input("x", shape, Elem::F32);
    let normalized = row_normalize(&mut graph, x, None).expect("a shape");
    graph.output("unit", normalized.unit).expect("a name");
    graph.output("norm", normalized.norm).expect("a name");
    let inputs = [("x".to_owned(), HostTensor::f32(shape, row.to_vec()))].into();
    Known { name, graph, inputs, outputs: vec![("unit", expected.to_vec(), 1e-6), ("norm", vec![norm], 1e-6 * norm)] }
}

/// The weighted mean of two tokens of one number.
fn merged(name: &'static str, x: &[f32; 2], weights: &[f32; 2], expected: f64) -> Known {
    let mut graph = Graph::new();
    let (rows, given) = (graph.input("x", [1, 2, 1], Elem::F32), graph.input("weights", [1, 2], Elem::F32));
    let parent = graph.constant(HostTensor::u32([1, 2], vec![0; 2]));
    let groups = group_tokens(&mut graph, parent, 1).expect("a shape");
    let mean = merge_tokens(&mut graph, rows, groups, Some(given), Reduce::WeightedMean).expect("shapes agree");
    graph.output("mean", mean).expect("a name");
    let inputs =
        [("x".to_owned(), HostTensor::f32([1, 2, 1], x.to_vec())), ("weights".to_owned(), HostTensor::f32([1, 2], weights.to_vec()))];
    Known { name, graph, inputs: inputs.into(), outputs: vec![("mean", vec![expected], 0.0)] }
}

fn scores(row: &[f32]) -> (Graph, tokenpress::Tensor, HostTensors) {
    let mut graph = Graph::new();
    let scores = graph.input("scores", [1, row.len() as u32], Elem::F32);
    (graph, scores, [("scores".to_owned(), HostTensor::f32([1, row.len() as u32], row.to_vec()))].into())
}

fn quantiles(name: &'static str, row: &[f32], probabilities: &[f32], expected: &[f64], tolerance: f64) -> Known {
    let (mut graph, scores, inputs) = scores(row);
    let quantiles = quantile(&mut graph, scores, probabilities, None).expect("probabilities");
    graph.output("quantiles", quantiles).expect("a name");
    Known { name, graph, inputs, outputs: vec![("quantiles", expected.to_vec(), tolerance)] }
}

fn fenced(name: &'static str, row: &[f32], expected: f64) -> Known {
    let (mut graph, scores, inputs) = scores(row);
    let above = fence(&mut graph, scores, 1.5, None).expect("a factor");
    graph.output("fence", above).expect("a name");
    Known { name, graph, inputs, outputs: vec![("fence", vec![expected], 1e-5)] }
}

fn budgets(name: &'static str, weights: &[f32], total: u32, capacities: &[u32], expected: &[f64]) -> Known {
    let mut graph = Graph::new();
    let segments = weights.len() as u32;
    let inputs = [
        graph.input("weights", [1, segments], Elem::F32),
        graph.input("totals", [1], Elem::U32),
        graph.input("capacities", [1, segments], Elem::U32),
    ];
    let budgets = Allocate::default().budgets(&mut graph, inputs[0], inputs[1], inputs[2]).expect("shapes agree");
    graph.output("budgets", budgets).expect("a name");
    let inputs = [
        ("weights".to_owned(), HostTensor::f32([1, segments], weights.to_vec())),
        ("totals".to_owned(), HostTensor::u32([1], vec![total])),
        ("capacities".to_owned(), HostTensor::u32([1, segments], capacities.to_vec())),
    ];
    Known { name, graph, inputs: inputs.into(), outputs: vec![("budgets", expected.to_vec(), 0.0)] }
}
