//! What the examples share: which device they run on, how they fail, and how calls are timed.

use std::process::ExitCode;
use std::time::Instant;

use clap::ValueEnum;
use tokenpress::readback::Context;
use tokenpress::{Error, Plan, wgpu};

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Backend {
    Vulkan,
    Metal,
    Dx12,
    Gl,
}

impl From<Backend> for wgpu::Backends {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Vulkan => Self::VULKAN,
            Backend::Metal => Self::METAL,
            Backend::Dx12 => Self::DX12,
            Backend::Gl => Self::GL,
        }
    }
}

/// What ends the program.
pub(crate) enum Failure {
    /// The request cannot be met: exit code 2.
    Request(String),
    /// The device, the disk or the library failed: exit code 1.
    Run(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Run(error.to_string())
    }
}

/// What the program ends with: its failure is printed.
pub(crate) fn exit(result: Result<(), Failure>) -> ExitCode {
    let (message, code) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Request(message)) => (message, 2),
        Err(Failure::Run(message)) => (message, 1),
    };
    eprintln!("error: {message}");
    ExitCode::from(code)
}

/// The device that was asked for, or the best there is; none for the reference.
pub(crate) fn choose(adapter: Option<&str>, backend: Option<Backend>) -> Result<Option<Context>, Failure> {
    let asked = adapter.map(str::to_lowercase);
    if asked.as_deref() == Some("reference") {
        return Ok(None);
    }
    let backends = backend.map_or(wgpu::Backends::all(), wgpu::Backends::from);
    let adapters = pollster::block_on(Context::adapters(backends));
    let names: Vec<_> = adapters.iter().map(|a| format!("{} ({:?})", a.get_info().name, a.get_info().backend)).collect();
    let fits = |a: &wgpu::Adapter| asked.as_deref().is_none_or(|part| a.get_info().name.to_lowercase().contains(part));
    match (adapters.into_iter().find(fits), &asked, backend) {
        (Some(adapter), ..) => Ok(Some(pollster::block_on(Context::new(&adapter))?)),
        (None, Some(asked), _) if names.is_empty() => Err(Failure::Request(format!("there is no adapter {asked:?}, nor any other"))),
        (None, Some(asked), _) => Err(Failure::Request(format!("there is no adapter {asked:?}, only {}", names.join(", ")))),
        (None, None, Some(_)) => Err(Failure::Request("there is no adapter of this backend".to_owned())),
        (None, None, None) => {
            println!("No GPU was found, so this runs on the CPU reference; `apt-get install mesa-vulkan-drivers` brings a software GPU.");
            Ok(None)
        }
    }
}

/// Whether the device times its own work.
pub(crate) fn has_timestamps(context: &Context) -> bool {
    context.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
}

/// Median seconds of each call over three runs, or as many as a second holds, after a first one that is not
/// counted.
pub(crate) fn time(context: &Context, plan: &Plan) -> Result<Vec<f64>, Error> {
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
