//! Each kernel at the shapes of real models, smaller on a CPU adapter, and beside it a copy through the same API of as
//! many bytes as the kernel must move.
//!
//! A time is that of the GPU between two timestamps, around recordings of one plan, where the adapter has them, and
//! wall-clock from submission to completion otherwise; uploads, planning and read-back are not in it. `ADAPTER` chooses
//! one by a part of its name. Throughput is in compulsory bytes: every input and output once.
//!
//! ```text
//! ADAPTER=llvmpipe cargo bench -- top_k
//! ```
#![allow(missing_docs, reason = "a benchmark")]

#[path = "../tests/support/data.rs"]
#[allow(dead_code, unreachable_pub, reason = "each user takes a part")]
mod data;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use tokenpress::kernels::{
    AttentionInputs, AttentionScore, BipartiteMatch, Partition, PixelUnshuffle, Queries, RowReduction, TopK, TopKInputs, compact,
    gather_rows, invert_index, linear, log_size, row_normalize,
};
use tokenpress::readback::{Context, HostTensors};
use tokenpress::{Bindings, Elem, Error, Graph, HostTensor, Plan, Tensor, wgpu};

/// Recordings in one submission: short of what a watchdog would end.
const BATCH: u64 = 16;

/// Two timestamps and where they are read.
struct Timestamps {
    set: wgpu::QuerySet,
    buffer: wgpu::Buffer,
    period: f64,
}

impl Timestamps {
    fn new(context: &Context) -> Option<Self> {
        if !context.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: 2 };
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let buffer = context.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false });
        Some(Self { set: context.device.create_query_set(&descriptor), buffer, period: f64::from(context.queue.get_timestamp_period()) })
    }
}

/// Time of so many recordings of a plan.
fn time(context: &Context, plan: &Plan, timestamps: Option<&Timestamps>, iterations: u64) -> Result<Duration, Error> {
    let mut total = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let count = left.min(BATCH);
        left -= count;
        let mut encoder = context.device.create_command_encoder(&Default::default());
        let writes = timestamps.map(|t| wgpu::ComputePassTimestampWrites {
            query_set: &t.set,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        });
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes: writes });
        (0..count).for_each(|_| plan.record(&mut pass));
        drop(pass);
        if let Some(t) = timestamps {
            encoder.resolve_query_set(&t.set, 0..2, &t.buffer, 0);
        }
        let start = Instant::now();
        context.queue.submit([encoder.finish()]);
        context.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| Error::Device { message: e.to_string() })?;
        total += match timestamps {
            None => start.elapsed(),
            Some(t) => {
                let bytes = pollster::block_on(context.read(&t.buffer))?;
                let ticks: Vec<u64> = bytes.chunks_exact(8).filter_map(|b| b.try_into().ok()).map(u64::from_le_bytes).collect();
                Duration::from_nanos(((ticks[1].saturating_sub(ticks[0])) as f64 * t.period) as u64)
            }
        };
    }
    Ok(total)
}

/// A graph over inputs of random numbers.
#[derive(Default)]
struct Feed {
    graph: Graph,
    inputs: HostTensors,
}

impl Feed {
    fn normal<const N: usize>(&mut self, name: &str, shape: [u32; N], elem: Elem) -> Tensor {
        let values = data::normal(self.inputs.len() as u64 + 1, shape.iter().product::<u32>() as usize);
        self.input(name, data::tensor(shape, elem, &values))
    }

    fn input(&mut self, name: &str, value: HostTensor) -> Tensor {
        let tensor = self.graph.input(name, value.shape(), value.desc().elem);
        self.inputs.insert(name.to_owned(), value);
        tensor
    }

    fn plan(&self, context: &Context) -> Result<Plan, Error> {
        let inputs = self.inputs.iter().fold(Bindings::new(), |bindings, (name, value)| bindings.bind(name, context.upload(value)));
        let outputs = self.graph.outputs();
        self.graph.plan(&context.gpu, &outputs.fold(inputs, |bindings, (name, desc)| bindings.bind(name, context.empty(desc))))
    }
}

/// Builds a benchmark's graph, of a size for a real GPU or for a CPU.
type Build = fn(&mut Feed, large: bool) -> Result<Vec<Tensor>, Error>;

fn attention(feed: &mut Feed, batch: u32, heads: u32, tokens: u32, score: AttentionScore) -> Result<Vec<Tensor>, Error> {
    let queries = feed.normal("q", [batch, heads, tokens, 64], Elem::F32);
    let keys = feed.normal("k", [batch, heads, tokens, 64], Elem::F32);
    let inputs = AttentionInputs { queries, keys, bias: None, lengths: None, query_lengths: None };
    Ok(vec![score.score(&mut feed.graph, inputs)?.score])
}

/// One for each kernel, at shapes of ViT-L/14 at 336 pixels and of what is known to be hard.
const BENCHES: [(&str, Build); 11] = [
    ("attention_score, class row", |feed, large| attention(feed, if large { 64 } else { 2 }, 16, 577, AttentionScore::default())),
    ("attention_score, all rows", |feed, large| {
        let score = AttentionScore { queries: Queries::All, rows: RowReduction::Sum, ..AttentionScore::default() };
        attention(feed, if large { 64 } else { 1 }, if large { 16 } else { 2 }, 577, score)
    }),
    ("top_k of one long row", |feed, large| {
        let scores = feed.normal("scores", [1, if large { 1 << 20 } else { 1 << 17 }], Elem::F32);
        let selection = TopK { k: 1024, ..TopK::default() }.select(&mut feed.graph, TopKInputs::new(scores))?;
        Ok(vec![selection.indices])
    }),
    ("top_k of many rows", |feed, large| {
        let scores = feed.normal("scores", [if large { 4096 } else { 64 }, 577], Elem::F32);
        Ok(vec![TopK { k: 288, ..TopK::default() }.select(&mut feed.graph, TopKInputs::new(scores))?.indices])
    }),
    ("bipartite_match", |feed, large| {
        let (batch, tokens, channels) = if large { (1, 4096, 640) } else { (1, 577, 64) };
        let metric = feed.normal("metric", [batch, tokens, channels], Elem::F32);
        let normalized = row_normalize(&mut feed.graph, metric, None)?;
        let partition = Partition::even_odd(&mut feed.graph, tokens);
        let matches = BipartiteMatch::default().find(&mut feed.graph, normalized, partition, None)?;
        Ok(vec![matches.partner, matches.similarity])
    }),
    ("pixel_unshuffle", |feed, large| {
        let x = feed.normal("x", [if large { 64 } else { 1 }, 1024, 1024], Elem::F32);
        Ok(vec![PixelUnshuffle::internvl_v2().unshuffle_tokens(&mut feed.graph, x, [32, 32])?])
    }),
    ("linear", |feed, large| {
        let (tokens, channels, outputs) = if large { (8192, 1024, 1024) } else { (256, 256, 64) };
        let x = feed.normal("x", [tokens, channels], Elem::F32);
        let weight = feed.normal("weight", [outputs, channels], Elem::F32);
        Ok(vec![linear(&mut feed.graph, x, weight, None)?])
    }),
    ("gather_rows", |feed, large| {
        let batch = if large { 64 } else { 2 };
        let x = feed.normal("x", [batch, 577, 1024], Elem::F32);
        let index = feed.input("index", HostTensor::u32([batch, 288], data::integers(3, batch as usize * 288, 577)));
        Ok(vec![gather_rows(&mut feed.graph, x, index, None)?])
    }),
    ("invert_index", |feed, large| {
        let batch = if large { 4096 } else { 64 };
        let index = feed.input("index", HostTensor::u32([batch, 288], (0..batch).flat_map(|_| (0..288).map(|i| 2 * i)).collect()));
        Ok(vec![invert_index(&mut feed.graph, index, 577)?])
    }),
    ("compact", |feed, large| {
        let rows = if large { 4096 } else { 64 };
        let flags = feed.input("flags", HostTensor::u32([rows, 577], data::integers(3, rows as usize * 577, 2)));
        Ok(vec![compact(&mut feed.graph, flags, None)?.indices])
    }),
    ("log_size", |feed, large| {
        let size = feed.normal("size", [if large { 4096 } else { 64 }, 577], Elem::F32);
        Ok(vec![log_size(&mut feed.graph, size, None)?])
    }),
];

fn context() -> Context {
    let wanted = std::env::var("ADAPTER").unwrap_or_default().to_lowercase();
    let mut adapters = pollster::block_on(Context::adapters(wgpu::Backends::all()));
    adapters.retain(|a| a.get_info().name.to_lowercase().contains(&wanted));
    adapters.sort_by_key(|a| a.get_info().device_type == wgpu::DeviceType::Cpu);
    let adapter = adapters.first().unwrap_or_else(|| panic!("no adapter whose name contains {wanted:?}"));
    pollster::block_on(Context::new(adapter)).unwrap_or_else(|e| panic!("{e}"))
}

fn kernels(criterion: &mut Criterion) -> Result<(), Error> {
    let context = context();
    let large = context.info.device_type != wgpu::DeviceType::Cpu;
    let timestamps = Timestamps::new(&context);
    println!("{}; {}", context.describe(), if timestamps.is_some() { "times by timestamps" } else { "wall-clock times" });
    if !large {
        println!("A CPU: small shapes, and figures that say nothing of GPUs.");
    }
    for (name, build) in BENCHES {
        let mut feed = Feed::default();
        for (index, output) in build(&mut feed, large)?.into_iter().enumerate() {
            feed.graph.output(&format!("output {index}"), output)?;
        }
        let bytes = feed.graph.cost(context.gpu.capabilities())?.bytes();
        let mut copied = Feed::default();
        let x = copied.input("x", HostTensor::u32([(bytes / 8).max(1) as u32], vec![1; (bytes / 8).max(1) as usize]));
        copied.graph.output("y", x)?;
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(bytes));
        for (label, feed) in [("kernel", &feed), ("copy", &copied)] {
            let plan = feed.plan(&context)?;
            // A first run compiles, and fails here if it must.
            time(&context, &plan, timestamps.as_ref(), 1)?;
            let run = |iterations| time(&context, &plan, timestamps.as_ref(), iterations).unwrap_or_else(|e| panic!("{e}"));
            group.bench_function(label, |bencher| bencher.iter_custom(run));
        }
        group.finish();
    }
    Ok(())
}

fn main() {
    let mut criterion =
        Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    criterion = criterion.configure_from_args();
    kernels(&mut criterion).unwrap_or_else(|e| panic!("{e}"));
    criterion.final_summary();
}
