//! How long a device takes: its own timestamps where it has any, and the wall clock.

use std::time::Duration;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;

use tokenpress::readback::Context;
use tokenpress::{Bindings, Desc, Elem, Error, Graph, HostTensor, Plan, TensorView, wgpu};
#[cfg(target_arch = "wasm32")]
use web_time::Instant;

use super::data;

/// Dispatches of one pass at most.
const PASS_DISPATCHES: u64 = 4096;

/// Reads the GPU's clock before and after a pass.
struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    period: f64,
}

impl Timestamps {
    fn new(context: &Context) -> Option<Self> {
        if !context.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: 2 };
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        Some(Self {
            queries: context.device.create_query_set(&descriptor),
            resolved: context.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false }),
            period: f64::from(context.queue.get_timestamp_period()),
        })
    }

    fn writes(&self) -> wgpu::ComputePassTimestampWrites<'_> {
        let (beginning_of_pass_write_index, end_of_pass_write_index) = (Some(0), Some(1));
        wgpu::ComputePassTimestampWrites { query_set: &self.queries, beginning_of_pass_write_index, end_of_pass_write_index }
    }

    /// Time between the two, once all work is done.
    async fn elapsed(&self, context: &Context) -> Result<Duration, Error> {
        let bytes = context.read(&self.resolved).await?;
        let [start, end] = [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i])));
        Ok(Duration::from_nanos((end.saturating_sub(start) as f64 * self.period) as u64))
    }
}

/// A device and its clocks.
pub struct Timer {
    pub context: Context,
    timestamps: Option<Timestamps>,
}

/// A plan, with the buffers of its outputs.
pub struct Prepared {
    pub plan: Plan,
    pub outputs: Vec<(String, TensorView)>,
}

impl Timer {
    pub fn new(context: Context) -> Self {
        Self { timestamps: Timestamps::new(&context), context }
    }

    /// Which clock it is, and how coarse a browser makes it.
    pub fn clock(&self) -> &'static str {
        match (self.timestamps.is_some(), cfg!(target_arch = "wasm32")) {
            (true, false) => "timestamps",
            (true, true) => "timestamps, which browsers round (Chrome to 0.1 ms)",
            (false, false) => "wall clock",
            (false, true) => "wall clock, which browsers round (to 0.1 ms or 1 ms)",
        }
    }

    /// A plan over random inputs that has run once: its pipelines are made and its memory is there.
    pub async fn prepare(&self, graph: &Graph) -> Result<Prepared, Error> {
        let mut bindings = Bindings::new();
        for (name, desc) in graph.inputs() {
            bindings = bindings.bind(name, self.context.upload(&random(name, desc)));
        }
        let outputs: Vec<_> = graph.outputs().map(|(name, desc)| (name.to_owned(), self.context.empty(desc))).collect();
        for (name, view) in &outputs {
            bindings = bindings.bind(name, view.clone());
        }
        let prepared = Prepared { plan: graph.plan(&self.context.gpu, &bindings)?, outputs };
        self.pass(1, |pass| prepared.plan.record(pass)).await?;
        Ok(prepared)
    }

    /// The time of so many runs, one plan after the other.
    pub async fn time(&self, plans: &[&Plan], runs: u64) -> Result<Duration, Error> {
        let dispatches = plans.iter().map(|plan| plan.dispatches()).max().unwrap_or(1).max(1) as u64;
        let most = (PASS_DISPATCHES / dispatches).max(1);
        let mut time = Duration::ZERO;
        let mut turn = plans.iter().cycle();
        for first in (0..runs).step_by(most as usize) {
            let record = |pass: &mut wgpu::ComputePass<'_>| {
                if let Some(plan) = turn.next() {
                    plan.record(pass);
                }
            };
            time += self.pass(most.min(runs - first), record).await?;
        }
        // Some clocks are coarse, and the time is divided by.
        Ok(time.max(Duration::from_nanos(1)))
    }

    /// How many runs of plans taken in turns fill a sample.
    pub async fn filling(&self, plans: &[&Plan], sample: Duration) -> Result<u64, Error> {
        let turns = plans.len().max(1) as u64;
        filling(turns, sample, |runs| self.time(plans, runs)).await
    }

    /// The time of one pass of so many recordings.
    pub async fn pass(&self, runs: u64, mut record: impl FnMut(&mut wgpu::ComputePass<'_>)) -> Result<Duration, Error> {
        let mut encoder = self.context.device.create_command_encoder(&Default::default());
        let timestamp_writes = self.timestamps.as_ref().map(Timestamps::writes);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
        for _ in 0..runs {
            record(&mut pass);
        }
        drop(pass);
        if let Some(timestamps) = &self.timestamps {
            encoder.resolve_query_set(&timestamps.queries, 0..2, &timestamps.resolved, 0);
        }
        let wall = self.submit(encoder).await?;
        match &self.timestamps {
            Some(timestamps) => timestamps.elapsed(&self.context).await,
            None => Ok(wall),
        }
    }

    /// From submission to completion.
    pub async fn submit(&self, encoder: wgpu::CommandEncoder) -> Result<Duration, Error> {
        let commands = encoder.finish();
        let start = Instant::now();
        self.context.queue.submit([commands]);
        self.context.wait().await?;
        Ok(start.elapsed())
    }
}

/// How many runs fill a sample. They grow step by step from the first count: a coarse clock may read 0 for a few runs, which says nothing of many.
pub async fn filling<F: Future<Output = Result<Duration, Error>>>(
    first: u64,
    sample: Duration,
    time: impl Fn(u64) -> F,
) -> Result<u64, Error> {
    let mut runs = first.max(1);
    loop {
        let wanted = sample.as_secs_f64() / time(runs).await?.as_secs_f64().max(1e-9);
        if wanted <= 1.0 || runs >= PASS_DISPATCHES {
            return Ok(((runs as f64 * wanted).ceil() as u64).clamp(1, PASS_DISPATCHES));
        }
        runs = ((runs as f64 * wanted.clamp(1.1, 8.0)).ceil() as u64).min(PASS_DISPATCHES);
    }
}

/// A graph that reads and writes this many bytes together.
pub fn copy_of(bytes: u64) -> Graph {
    let mut graph = Graph::new();
    let source = graph.input("source", [(bytes / 8) as u32], Elem::U32);
    graph.output("copy", source).expect("a tensor of this graph");
    graph
}

/// Seeded numbers for an input of this name: words of any value, or floats from -1 to 1. The rows of `unit` have length 1.
pub fn random(name: &str, tensor: Desc) -> HostTensor {
    let mut random = data::Random::new(4);
    let elements = tensor.shape.elements();
    if tensor.elem == Elem::U32 {
        return HostTensor::u32(tensor.shape, (0..elements).map(|_| random.next_u64() as u32).collect());
    }
    let mut floats: Vec<f32> = (0..elements).map(|_| 2.0 * random.uniform() - 1.0).collect();
    if let (true, Some(channels)) = (name == "unit", tensor.shape.dims().last()) {
        for row in floats.chunks_mut(*channels as usize) {
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter_mut().for_each(|x| *x /= length);
        }
    }
    HostTensor::from_floats(tensor, floats)
}
