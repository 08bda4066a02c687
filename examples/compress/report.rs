//! Runs a graph on a device, and says what each kernel took.

use std::time::Instant;

use tokenpress::readback::{Context, HostTensors};
use tokenpress::verify::{Placement, Reference};
use tokenpress::{Bindings, Error, Graph, Plan, wgpu};

/// One kernel of a graph, all its calls together.
#[derive(Default)]
pub(crate) struct Line {
    pub(crate) kernel: &'static str,
    pub(crate) calls: usize,
    /// Median time of a run's calls together.
    pub(crate) seconds: Option<f64>,
    /// Compulsory: every input and output once.
    pub(crate) bytes: u64,
    /// The largest difference from the reference, given the same inputs.
    pub(crate) difference: Option<f64>,
    /// Elements that differ by more than rounding explains.
    pub(crate) failures: usize,
}

impl Line {
    fn of<'a>(lines: &'a mut Vec<Self>, kernel: &'static str) -> &'a mut Self {
        let index = lines.iter().position(|l| l.kernel == kernel).unwrap_or_else(|| {
            lines.push(Self { kernel, ..Self::default() });
            lines.len() - 1
        });
        &mut lines[index]
    }
}

/// Calls and bytes of each kernel.
pub(crate) fn price(graph: &Graph, capabilities: &tokenpress::Capabilities) -> Result<Vec<Line>, Error> {
    let mut lines = Vec::new();
    for step in graph.cost(capabilities)?.steps {
        let line = Line::of(&mut lines, step.kernel);
        line.calls += 1;
        line.bytes += step.work.bytes;
    }
    Ok(lines)
}

/// Runs the graph on the device: its outputs, and a line for each kernel.
pub(crate) fn run(context: &Context, graph: &Graph, inputs: &HostTensors) -> Result<(HostTensors, Vec<Line>), Error> {
    let mut lines = price(graph, context.gpu.capabilities())?;
    let mut bindings = Bindings::new();
    for (name, tensor) in inputs {
        bindings = bindings.bind(name, context.upload(tensor));
    }
    let views: Vec<_> = graph.outputs().map(|(name, desc)| (name.to_owned(), context.empty(desc))).collect();
    for (name, view) in &views {
        bindings = bindings.bind(name, view.clone());
    }
    let plan = graph.plan(&context.gpu, &bindings)?;
    for (call, seconds) in time(context, &plan)?.into_iter().enumerate() {
        *Line::of(&mut lines, plan.calls()[call]).seconds.get_or_insert(0.0) += seconds;
    }
    for step in pollster::block_on(Reference::new(graph, inputs)?.steps(context, &context.gpu, Placement::default()))? {
        let line = Line::of(&mut lines, step.kernel);
        for (_, comparison) in &step.outputs {
            let error = comparison.worst.map_or(0.0, |w| w.error());
            line.difference = Some(line.difference.unwrap_or(0.0).max(error));
            line.failures += comparison.failures;
        }
    }
    let mut outputs = HostTensors::new();
    for (name, view) in views {
        outputs.insert(name, pollster::block_on(context.download(&view))?);
    }
    Ok((outputs, lines))
}

/// Whether the device times its own work.
pub(crate) fn has_timestamps(context: &Context) -> bool {
    context.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
}

/// Median seconds of each call over three runs, or as many as a second holds, after a first one that is not
/// counted.
fn time(context: &Context, plan: &Plan) -> Result<Vec<f64>, Error> {
    let run = || if has_timestamps(context) { time_by_timestamps(context, plan) } else { time_by_wall_clock(context, plan) };
    run()?;
    let start = Instant::now();
    let mut runs = vec![run()?];
    while runs.len() < 3 && start.elapsed().as_secs_f64() < 1.0 {
        runs.push(run()?);
    }
    let median = |call: usize| {
        let mut times: Vec<f64> = runs.iter().map(|run| run[call]).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    Ok((0..plan.calls().len()).map(median).collect())
}

/// Each call in a pass of its own, between two timestamps.
fn time_by_timestamps(context: &Context, plan: &Plan) -> Result<Vec<f64>, Error> {
    let mut seconds = Vec::new();
    let calls: Vec<usize> = (0..plan.calls().len()).collect();
    for part in calls.chunks(wgpu::QUERY_SET_MAX_QUERIES as usize / 2) {
        let count = 2 * part.len() as u32;
        let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count };
        let queries = context.device.create_query_set(&descriptor);
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let descriptor = wgpu::BufferDescriptor { label: None, size: u64::from(count) * 8, usage, mapped_at_creation: false };
        let resolved = context.device.create_buffer(&descriptor);
        let mut encoder = context.device.create_command_encoder(&Default::default());
        for (index, call) in part.iter().enumerate() {
            let first = 2 * index as u32;
            let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
                query_set: &queries,
                beginning_of_pass_write_index: Some(first),
                end_of_pass_write_index: Some(first + 1),
            });
            plan.record_call(*call, &mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes }));
        }
        encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
        context.queue.submit([encoder.finish()]);
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&pollster::block_on(context.read(&resolved))?);
        let period = f64::from(context.queue.get_timestamp_period()) * 1e-9;
        seconds.extend(ticks.chunks(2).map(|t| t[1].saturating_sub(t[0]) as f64 * period));
    }
    Ok(seconds)
}

/// Each call from its submission to its end.
fn time_by_wall_clock(context: &Context, plan: &Plan) -> Result<Vec<f64>, Error> {
    let mut seconds = Vec::new();
    for call in 0..plan.calls().len() {
        let mut encoder = context.device.create_command_encoder(&Default::default());
        plan.record_call(call, &mut encoder.begin_compute_pass(&Default::default()));
        let start = Instant::now();
        context.queue.submit([encoder.finish()]);
        context.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| Error::Device { message: e.to_string() })?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(seconds)
}

/// The lines as a table.
pub(crate) fn table(lines: &[Line]) -> String {
    let time = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |s| format!("{:.3} ms", s * 1e3));
    let mebibytes = |bytes: u64| format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20));
    let difference = |line: &Line| match line.difference {
        None => "-".to_owned(),
        Some(_) if line.failures > 0 => format!("{} elements are wrong", line.failures),
        Some(0.0) => "0".to_owned(),
        Some(difference) => format!("{difference:.1e}"),
    };
    let mut rows = vec![["kernel", "calls", "time", "bytes moved", "difference"].map(str::to_owned)];
    for line in lines {
        rows.push([line.kernel.to_owned(), line.calls.to_string(), time(line.seconds), mebibytes(line.bytes), difference(line)]);
    }
    let total = Line {
        kernel: "all",
        calls: lines.iter().map(|l| l.calls).sum(),
        seconds: lines.iter().map(|l| l.seconds).sum(),
        bytes: lines.iter().map(|l| l.bytes).sum(),
        difference: lines.iter().filter_map(|l| l.difference).reduce(f64::max),
        failures: lines.iter().map(|l| l.failures).sum(),
    };
    rows.push([total.kernel.to_owned(), total.calls.to_string(), time(total.seconds), mebibytes(total.bytes), difference(&total)]);
    let widths: Vec<usize> = (0..5).map(|c| rows.iter().map(|r| r[c].len()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        if index == 1 || index == rows.len() - 1 {
            text += &format!("{}\n", "-".repeat(widths.iter().sum::<usize>() + 2 * 4));
        }
        let [kernel, numbers @ ..] = row;
        text += &format!("{kernel:<0$}", widths[0]);
        for (number, width) in numbers.iter().zip(&widths[1..]) {
            text += &format!("  {number:>width$}");
        }
        text += "\n";
    }
    text
}
