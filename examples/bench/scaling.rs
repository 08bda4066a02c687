//! How the time of a kernel grows with its size.

use serde::Serialize;
use tokenpress::{Error, Graph};

use crate::harness::cases::{Family, families};
use crate::harness::timer::Timer;
use crate::report::size;
use crate::row::time;
use crate::run::{Effort, sample};
use crate::yardsticks::Yardsticks;

/// A kernel over a decade of sizes.
#[derive(Serialize)]
pub(crate) struct Growth {
    kernel: &'static str,
    over: &'static str,
    /// Exponents of the power law nearest to the times, and to what the yardsticks allow.
    measured: f64,
    expected: f64,
    sizes: Vec<u32>,
    microseconds: Vec<f64>,
    /// Bytes.
    workspace: Vec<u64>,
}

/// Runs each family over its sizes, and prints the fitted exponent beside the one that its bytes and operations give.
pub(crate) fn run(
    timer: &Timer,
    yardsticks: &Yardsticks,
    effort: &Effort,
    wanted: impl Fn(&str, &str) -> bool,
) -> Result<Vec<Growth>, Error> {
    let mut all = Vec::new();
    println!("{:18} {:34} {:>9} {:>9}  times, workspace", "kernel", "over", "measured", "expected");
    for Family { kernel, over, sizes, build } in families().into_iter().filter(|f| wanted(f.kernel, f.over)) {
        let mut measured = Vec::new();
        let mut expected = Vec::new();
        let mut workspace = Vec::new();
        for &entries in sizes {
            let (seconds, least, bytes) = point(timer, yardsticks, effort, entries, build)?;
            measured.push((f64::from(entries), seconds));
            expected.push((f64::from(entries), least));
            workspace.push(bytes);
        }
        let each = measured.iter().zip(&workspace);
        let times: Vec<_> =
            each.map(|((entries, seconds), bytes)| format!("{entries}: {} {}", time(seconds * 1e6), size(*bytes))).collect();
        let microseconds = measured.iter().map(|(_, seconds)| seconds * 1e6).collect();
        let [measured, expected] = [measured, expected].map(|points| exponent(&points));
        println!("{kernel:18} {over:34} {measured:9.2} {expected:9.2}  {}", times.join(", "));
        all.push(Growth { kernel, over, measured, expected, sizes: sizes.to_vec(), microseconds, workspace });
    }
    Ok(all)
}

/// Seconds, the seconds that the yardsticks allow (bytes at the speed of a copy, operations at the peak, and each dispatch), and the bytes of the
/// workspace.
fn point(
    timer: &Timer,
    yardsticks: &Yardsticks,
    effort: &Effort,
    size: u32,
    build: fn(&mut Graph, u32) -> Result<(), Error>,
) -> Result<(f64, f64, u64), Error> {
    let mut graph = Graph::new();
    build(&mut graph, size)?;
    let cost = graph.cost(timer.context.gpu.capabilities())?;
    let prepared = pollster::block_on(timer.prepare(&graph))?;
    let (times, _) = pollster::block_on(sample(timer, effort, &[&prepared.plan]))?;
    let bytes = cost.bytes() as f64 / (yardsticks.copy_kernel * 1e9);
    let flops = cost.flops() as f64 / (yardsticks.multiply_add * 1e9);
    let least = bytes.max(flops) + f64::from(cost.dispatches()) * yardsticks.dispatch * 1e-6;
    Ok((times.quantile(0.5), least, graph.workspace_size(&timer.context.gpu)?))
}

/// Of the power law nearest to the points: the slope of their logarithms.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let n = logs.len() as f64;
    let (mean_x, mean_y) = (logs.iter().map(|p| p.0).sum::<f64>() / n, logs.iter().map(|p| p.1).sum::<f64>() / n);
    let covariance: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    covariance / logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>()
}
