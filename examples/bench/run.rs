//! One case, measured.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;

use tokenpress::readback::HostTensors;
use tokenpress::verify::{Placement, Reference};
use tokenpress::{Cost, Error, Graph, Plan};
#[cfg(target_arch = "wasm32")]
use web_time::Instant;

use crate::harness::cases::Case;
use crate::harness::timer::{Prepared, Timer, random};
use crate::row::{Check, Row};
use crate::yardsticks::Yardsticks;

/// How much is spent on each measurement.
pub(crate) struct Effort {
    /// Samples of a measurement, at most.
    pub(crate) samples: usize,
    /// Time for all of them.
    time: Duration,
    /// Work of one sample.
    pub(crate) sample: Duration,
    /// Bytes that the buffers taken in turns have together: more than the caches.
    turns_bytes: u64,
    /// Operations that the CPU reference is asked for, at most.
    checked_flops: u64,
    /// Bytes read and written by the yardstick.
    pub(crate) copy_bytes: u64,
    pub(crate) multiply_add_groups: u32,
}

impl Effort {
    pub(crate) fn new(software: bool, quick: bool) -> Self {
        let (samples, seconds) = if quick { (7, 0.3) } else { (30, 2.0) };
        Self {
            samples,
            time: Duration::from_secs_f64(seconds),
            sample: Duration::from_millis(5),
            turns_bytes: if software { 96 << 20 } else { 256 << 20 },
            checked_flops: if quick { 200_000_000 } else { 2_000_000_000 },
            copy_bytes: if software { 128 << 20 } else { 256 << 20 },
            multiply_add_groups: if software { 64 } else { 8192 },
        }
    }
}

/// Times in ascending order.
pub(crate) struct Times(pub(crate) Vec<f64>);

impl Times {
    /// The time that this part of the samples does not exceed.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * part).round() as usize]
    }
}

/// Seconds of a run of plans taken in turns; runs of a sample.
pub(crate) async fn sample(timer: &Timer, effort: &Effort, plans: &[&Plan]) -> Result<(Times, u64), Error> {
    // These runs make the clocks rise too.
    let runs = timer.filling(plans, effort.sample).await?;
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || (times.len() < effort.samples && start.elapsed() < effort.time) {
        times.push(timer.time(plans, runs).await?.as_secs_f64() / runs as f64);
    }
    times.sort_by(f64::total_cmp);
    Ok((Times(times), runs))
}

pub(crate) async fn case(timer: &Timer, yardsticks: &Yardsticks, effort: &Effort, case: &Case) -> Result<Row, Error> {
    let Case { kernel, name, graph } = case;
    let gpu = &timer.context.gpu;
    let cost = graph.cost(gpu.capabilities())?;
    let footprint: u64 = graph.inputs().chain(graph.outputs()).map(|(_, desc)| desc.bytes()).sum();
    let turns = effort.turns_bytes.div_ceil(footprint.max(1)).clamp(1, 32);
    let mut prepared = Vec::new();
    for _ in 0..turns {
        prepared.push(timer.prepare(graph).await?);
    }
    let check = check(timer, effort, graph, &cost).await?;
    let before = hash(timer, &prepared[0]).await?;
    let plans: Vec<_> = prepared.iter().map(|p| &p.plan).collect();
    let (times, runs) = sample(timer, effort, &plans).await?;
    let mut single = Vec::new();
    for _ in 0..5 {
        single.push(wall(timer, plans[0]).await?);
    }
    single.sort_by(f64::total_cmp);
    let after = hash(timer, &prepared[0]).await?;
    let seconds = times.quantile(0.5);
    let [gigabytes, gigaflops] = [cost.bytes(), cost.flops()].map(|count| count as f64 / 1e9 / seconds);
    let microseconds = |part| times.quantile(part) * 1e6;
    Ok(Row {
        kernel: (*kernel).to_owned(),
        case: name.clone(),
        dispatches: cost.dispatches(),
        workspace: graph.workspace_size(gpu)?,
        bytes: cost.bytes(),
        flops: cost.flops(),
        turns,
        runs,
        samples: times.0.len(),
        median: microseconds(0.5),
        p10: microseconds(0.1),
        p90: microseconds(0.9),
        least: microseconds(0.0),
        wall: single[2] * 1e6,
        gigabytes,
        gigaflops,
        of_copy: gigabytes / yardsticks.copy_kernel,
        of_multiply_add: gigaflops / yardsticks.multiply_add,
        check,
        repeatable: before == after,
    })
}

/// From submission to completion of one run.
async fn wall(timer: &Timer, plan: &Plan) -> Result<f64, Error> {
    let mut encoder = timer.context.device.create_command_encoder(&Default::default());
    plan.record_into(&mut encoder, None);
    Ok(timer.submit(encoder).await?.as_secs_f64())
}

/// Against the CPU reference, on the same inputs.
async fn check(timer: &Timer, effort: &Effort, graph: &Graph, cost: &Cost) -> Result<Check, Error> {
    // A byte costs the reference about as much as an operation.
    if cost.flops().max(cost.bytes()) > effort.checked_flops {
        return Ok(Check::TooLarge);
    }
    let inputs: HostTensors = graph.inputs().map(|(name, desc)| (name.to_owned(), random(name, desc))).collect();
    let context = &timer.context;
    let steps = Reference::new(graph, &inputs)?.steps(context, &context.gpu, Placement::default()).await?;
    Ok(if steps.iter().all(|step| step.passed()) { Check::Passed } else { Check::Failed })
}

/// Of all outputs.
async fn hash(timer: &Timer, prepared: &Prepared) -> Result<u64, Error> {
    let mut hasher = DefaultHasher::new();
    for (_, view) in &prepared.outputs {
        timer.context.download(view).await?.bytes().hash(&mut hasher);
    }
    Ok(hasher.finish())
}
