//! Norms, means and ranks at the ends of what f32 holds.

use tokenpress::kernels::{
    Allocate, Groups, LayerNorm, Pool, Reduce, Statistic, Windows, fence, merge_with_totals, quantile, reduce, row_normalize,
};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use super::Known;
use super::support::data;

pub fn all() -> Vec<Known> {
    let (big, root) = (1e20, 0.5f64.sqrt());
    let mut late = vec![0.0; 900_000];
    late.resize(1_000_000, 1000.0);
    let infinite = [f32::INFINITY; 5];
    let mut all = vec![
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
        merged("a NaN weight makes its weighted mean NaN", Reduce::WeightedMean, &[1.0, 2.0], &[1.0, f32::NAN], f64::NAN, f64::NAN),
        merged(
            "infinities of both signs make their weighted mean NaN",
            Reduce::WeightedMean,
            &[f32::INFINITY, f32::NEG_INFINITY],
            &[1.0, 2.0],
            f64::NAN,
            3.0,
        ),
        merged("weights that sum to 0 make their weighted mean 0", Reduce::WeightedMean, &[1.0, 2.0], &[1.0, -1.0], 0.0, 0.0),
        budgets("a budget above 65535 is divided", &[1.0, 1.0], 70_000, &[50_000; 2], &[35_000.0; 2]),
        budgets("a budget above 65535 fills the small first", &[3.0, 1.0], 1_000_000, &[600_000, 900_000], &[600_000.0, 400_000.0]),
        budgets("the weight of a crop without room does not matter", &[3.0, 1.0, f32::INFINITY], 8, &[9, 9, 0], &[6.0, 2.0, 0.0]),
        budgets("a budget of two thousand million", &[1.0, 3.0], 2_000_000_000, &[2_000_000_000; 2], &[500_000_000.0, 1_500_000_000.0]),
    ];
    all.extend(means());
    all.extend(pools());
    all
}

const INFINITE: f64 = f64::INFINITY;
const LARGEST: f32 = f32::MAX;

/// Sums leave f32's range only where the answer does.
fn means() -> Vec<Known> {
    let (big, infinity) = (3e38f32, f32::INFINITY);
    let large = f64::from(big);
    let ones = [1.0; 4];
    let all = [big, big, -big, 5.0];
    vec![
        statistics("the mean of large numbers is theirs", Elem::F32, &[big, big], [large, INFINITE, 0.0]),
        statistics("the mean of many of the largest number", Elem::F32, &[LARGEST; 3], [f64::from(LARGEST), INFINITE, f64::NAN]),
        statistics("a sum that leaves the range on the way only", Elem::F32, &[big, big, -big, -1e38], [5e37, 2e38, INFINITE]),
        statistics("the variance of large numbers of both signs is beyond", Elem::F32, &[big, -big], [0.0, 0.0, INFINITE]),
        statistics("a variance whose squares' sum alone is beyond", Elem::F32, &[1.5e19, -1.5e19], [0.0, 0.0, 2.25e38]),
        statistics("a mean with an infinity is infinite", Elem::F32, &[big, big, infinity], [INFINITE, INFINITE, f64::NAN]),
        statistics("a large mean with a negative infinity", Elem::F32, &[big, big, -infinity], [-INFINITE, -INFINITE, f64::NAN]),
        statistics("a mean of both infinities is NaN", Elem::F32, &[infinity, -infinity], [f64::NAN; 3]),
        statistics("a large mean with a NaN is NaN", Elem::F32, &[big, big, f32::NAN], [f64::NAN; 3]),
        statistics("an f16 mean of large numbers", Elem::F16, &[65504.0; 3], [65504.0, f64::NAN, 0.0]),
        merged("merged large rows are theirs", Reduce::Mean, &[big, big], &[1.0, 1.0], large, 2.0),
        merged("merged large rows of both signs", Reduce::Mean, &all, &ones, large / 4.0, 4.0),
        merged("merged rows with an infinity", Reduce::Mean, &[big, big, infinity], &ones[..3], INFINITE, 3.0),
        merged("a sum of rows beyond the range", Reduce::Sum, &[big, big], &[1.0, 1.0], INFINITE, 2.0),
        merged("a sum of rows beyond on the way only", Reduce::Sum, &[big, big, -big], &ones[..3], large, 3.0),
        merged("a weighted mean of large rows", Reduce::WeightedMean, &[big, big], &[3.0, 5.0], large, 8.0),
        merged("a weighted mean by large weights", Reduce::WeightedMean, &[1.0, 3.0], &[big, big], 2.0, INFINITE),
        merged("a weighted mean of large rows by large weights", Reduce::WeightedMean, &[big, 1e38], &[big, big], 2e38, INFINITE),
        merged("a weighted mean by small weights", Reduce::WeightedMean, &[big, 1e38], &[1e-37, 1e-37], 2e38, 2e-37),
        merged("a weighted mean by weights beyond what divides", Reduce::WeightedMean, &[2.0, 4.0], &[8e37, 8e37], 3.0, 1.6e38),
        merged("a small weighted mean by large weights", Reduce::WeightedMean, &[2e-30, 4e-30], &[big, big], 3e-30, INFINITE),
        merged("weights of which all but one are 0", Reduce::WeightedMean, &[big, 1.0, 1.0], &[big, 0.0, 0.0], large, large),
        merged("a weighted mean by an infinite weight", Reduce::WeightedMean, &[1.0, 2.0], &[infinity, 1.0], f64::NAN, INFINITE),
        merged("a weighted sum beyond on the way only", Reduce::WeightedSum, &[big, big, -big], &[1.0, 1.0, 1.5], large / 2.0, 3.5),
        merged("a weighted sum beyond the range", Reduce::WeightedSum, &[big, big], &[0.5, 0.75], INFINITE, 1.25),
    ]
}

fn pools() -> Vec<Known> {
    let big = 3e38f32;
    let large = f64::from(big);
    let cells = |size, stride, partial| Pool::Average(Windows::Strided { size: [1, size], stride: [1, stride], partial });
    vec![
        pooled("an average pool of large numbers", cells(2, 2, false), &[big, big, big, -big], &[large, 0.0]),
        pooled("a cut window of large numbers", cells(3, 3, true), &[big, big, big, big, big], &[large, large]),
        pooled(
            "an adaptive pool of large numbers",
            Pool::Average(Windows::Adaptive { outputs: [1, 1] }),
            &[LARGEST; 5],
            &[f64::from(LARGEST)],
        ),
        pooled("interpolated large numbers", Pool::Bilinear([1, 4]), &[LARGEST; 3], &[f64::from(LARGEST); 4]),
        pooled("an average pool with an infinity", cells(3, 3, false), &[big, big, f32::NEG_INFINITY], &[-INFINITE]),
    ]
}

/// An answer's own tolerance: a few roundings of its largest number.
fn roundings(values: &[f64]) -> f64 {
    1e-6 * values.iter().filter(|v| v.is_finite()).fold(0.0, |most: f64, v| most.max(v.abs()))
}

/// Mean, sum and variance of a row; those that are NaN here are not asked for where the row is of finite numbers.
fn statistics(name: &'static str, elem: Elem, row: &[f32], expected: [f64; 3]) -> Known {
    let mut graph = Graph::new();
    let shape = [1, row.len() as u32];
    let x = graph.input("x", shape, elem);
    let mut outputs = Vec::new();
    for (name, statistic, answer) in
        [("mean", Statistic::Mean, expected[0]), ("sum", Statistic::Sum, expected[1]), ("variance", Statistic::Variance, expected[2])]
    {
        if answer.is_nan() && row.iter().all(|x| x.is_finite()) {
            continue;
        }
        let reduced = reduce(&mut graph, x, 1, statistic, None).expect("a shape");
        graph.output(name, reduced).expect("a name");
        outputs.push((name, vec![answer], roundings(&[answer])));
    }
    Known { name, graph, inputs: [("x".to_owned(), data::tensor(shape, elem, row))].into(), outputs }
}

/// All of the rows of one channel as one, and the sum of the weights.
fn merged(name: &'static str, reduction: Reduce, rows: &[f32], weights: &[f32], row: f64, total: f64) -> Known {
    let mut graph = Graph::new();
    let count = rows.len() as u32;
    let x = graph.input("x", [1, count, 1], Elem::F32);
    let by = graph.input("weights", [1, count], Elem::F32);
    let groups = Groups {
        offsets: graph.constant(HostTensor::u32([1, 2], vec![0, count])),
        members: graph.constant(HostTensor::u32([1, count], (0..count).collect())),
    };
    let [merged, totals] = merge_with_totals(&mut graph, x, groups, by, reduction).expect("shapes agree");
    graph.output("merged", merged).expect("a name");
    graph.output("totals", totals).expect("a name");
    let inputs = [
        ("x".to_owned(), HostTensor::f32([1, count, 1], rows.to_vec())),
        ("weights".to_owned(), HostTensor::f32([1, count], weights.to_vec())),
    ];
    let outputs = vec![("merged", vec![row], roundings(&[row])), ("totals", vec![total], roundings(&[total]))];
    Known { name, graph, inputs: inputs.into(), outputs }
}

fn pooled(name: &'static str, pool: Pool, row: &[f32], expected: &[f64]) -> Known {
    let mut graph = Graph::new();
    let shape = [1, row.len() as u32, 1];
    let x = graph.input("x", shape, Elem::F32);
    let pooled = pool.build(&mut graph, x, [1, shape[1]], None).expect("valid options");
    graph.output("pooled", pooled).expect("a name");
    let inputs = [("x".to_owned(), HostTensor::f32(shape, row.to_vec()))].into();
    Known { name, graph, inputs, outputs: vec![("pooled", expected.to_vec(), roundings(expected))] }
}

fn norm(name: &'static str, norm: LayerNorm, row: &[f32], expected: &[f64]) -> Known {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, row.len() as u32], Elem::F32);
    let y = norm.build(&mut graph, x, None, None).expect("a shape");
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
    let budgets = Allocate::default().build(&mut graph, inputs[0], inputs[1], inputs[2]).expect("shapes agree");
    graph.output("budgets", budgets).expect("a name");
    let inputs = [
        ("weights".to_owned(), HostTensor::f32([1, segments], weights.to_vec())),
        ("totals".to_owned(), HostTensor::u32([1], vec![total])),
        ("capacities".to_owned(), HostTensor::u32([1, segments], capacities.to_vec())),
    ];
    Known { name, graph, inputs: inputs.into(), outputs: vec![("budgets", expected.to_vec(), 0.0)] }
}
