//! Every kernel at the sizes of real models, beside a copy of as many bytes.
//!
//! ```text
//! cargo bench
//! cargo bench -- --quick top_k
//! TOKENPRESS_ADAPTER=lavapipe cargo bench
//! ```
//!
//! Where the adapter has timestamps, a sample is the GPU's own time for one pass of as many runs as criterion asks
//! for, and else the wall clock's from submission to completion: a group's name says which. Runs repeat on the same
//! buffers, so that small ones stay in the caches. Throughput counts the bytes that the definition needs.
//!
//! A software adapter gets smaller shapes. `TOKENPRESS_ADAPTER` is part of an adapter's name, driver or backend; without
//! it a GPU is taken, or any adapter where there is none.
#![allow(missing_docs, reason = "a benchmark")]

#[allow(dead_code, unreachable_pub, reason = "the tests' own")]
#[path = "../tests/support/data.rs"]
mod data;

use std::cell::OnceCell;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use tokenpress::kernels::{
    AssignInputs, AssignTokens, AttentionInputs, AttentionScore, BipartiteMatch, ChannelOrder, Convolution, DeformableInputs,
    DeformableSample, LayerNorm, Limit, Normalized, Partition, PixelUnshuffle, Points, Pool, Queries, Reduce, RowReduction, RunSegments,
    Statistic, Threshold, ThresholdInputs, TopK, TopKInputs, Windows, add, compact, concat_rows, gather_rows, group_tokens, invert_index,
    linear, log_size, lookup, merge_tokens, multiply, pair_similarity, previous_at, reduce, row_normalize,
};
use tokenpress::readback::Context;
use tokenpress::{Bindings, Desc, Elem, Error, Graph, HostTensor, Plan, Tensor, wgpu};

/// Dispatches of one pass at most.
const PASS_DISPATCHES: u64 = 4096;

/// What is measured: a graph whose inputs may hold any numbers. Indices and flags are constants.
struct Case {
    kernel: &'static str,
    name: String,
    graph: Graph,
}

/// The table of all cases.
struct Cases {
    /// Shapes for a CPU.
    small: bool,
    /// Of tokens, queries and keys.
    elem: Elem,
    list: Vec<Case>,
}

impl Cases {
    fn shapes<T>(&self, gpu: Vec<T>, cpu: Vec<T>) -> Vec<T> {
        if self.small { cpu } else { gpu }
    }

    fn add(&mut self, kernel: &'static str, name: String, build: impl FnOnce(&mut Graph) -> Result<Vec<Tensor>, Error>) {
        let mut graph = Graph::new();
        let outputs = build(&mut graph).expect("shapes agree");
        for (index, tensor) in outputs.into_iter().enumerate() {
            graph.output(&format!("output {index}"), tensor).expect("a tensor of this graph");
        }
        self.list.push(Case { kernel, name, graph });
    }

    fn attention_score(&mut self) {
        let class = vec![[64, 16, 577, 577, 64]];
        for [b, h, m, n, d] in self.shapes(class, vec![[2, 16, 577, 577, 64]]) {
            self.attention("class row", Queries::CLASS, RowReduction::Mean, [b, h, m, n, d]);
        }
        let all = vec![[1, 32, 64, 4096, 128], [64, 16, 577, 577, 64], [1, 32, 4096, 4096, 128]];
        for shape in self.shapes(all, vec![[1, 8, 64, 1024, 128], [1, 4, 577, 577, 64]]) {
            self.attention("all rows", Queries::All, RowReduction::Sum, shape);
        }
    }

    fn attention(&mut self, what: &str, queries: Queries, rows: RowReduction, [b, h, m, n, d]: [u32; 5]) {
        let elem = self.elem;
        self.add("attention_score", format!("{what} {elem} B{b} H{h} M{m} N{n} D{d}"), |graph| {
            let score = AttentionScore { queries, rows, ..AttentionScore::default() };
            let queries = graph.input("queries", [b, h, m, d], elem);
            let keys = graph.input("keys", [b, h, n, d], elem);
            let inputs = AttentionInputs { queries, keys, bias: None, lengths: None, query_lengths: None };
            Ok(vec![score.score(graph, inputs)?.score])
        });
    }

    fn top_k(&mut self) {
        let gpu = vec![[64, 577, 64], [64, 65536, 1024], [1, 1 << 20, 1024], [16, 1 << 20, 1024]];
        for [b, n, k] in self.shapes(gpu, vec![[16, 577, 64], [1, 65536, 1024]]) {
            self.add("top_k", format!("f32 B{b} N{n} k{k}"), |graph| {
                let scores = graph.input("scores", [b, n], Elem::F32);
                let selection = TopK { k, ..TopK::default() }.select(graph, TopKInputs::new(scores))?;
                Ok(vec![selection.indices, selection.values])
            });
        }
    }

    fn compact(&mut self) {
        for [b, n] in self.shapes(vec![[64, 577], [64, 65536], [1, 1 << 20]], vec![[16, 577], [1, 65536]]) {
            self.add("compact", format!("B{b} N{n}"), |graph| {
                let flags = graph.constant(HostTensor::u32([b, n], data::integers(1, (b * n) as usize, 2)));
                let compacted = compact(graph, flags, None)?;
                Ok(vec![compacted.indices, compacted.ranks])
            });
        }
    }

    fn row_normalize(&mut self) {
        let elem = self.elem;
        for [b, h, n, c] in self.shapes(vec![[64, 16, 577, 64], [1, 1, 16384, 640]], vec![[2, 16, 577, 64], [1, 1, 1024, 640]]) {
            self.add("row_normalize", format!("{elem} B{b} H{h} N{n} C{c}"), |graph| {
                let x = graph.input("x", [b, h, n, c], elem);
                let normalized = row_normalize(graph, x, None)?;
                Ok(vec![normalized.unit, normalized.norm])
            });
        }
    }

    fn bipartite_match(&mut self) {
        let gpu = vec![[64, 577, 64], [1, 4096, 640], [1, 16384, 640], [32, 4096, 1024]];
        for [b, n, c] in self.shapes(gpu, vec![[2, 577, 64], [1, 1024, 64]]) {
            self.add("bipartite_match", format!("f32 B{b} N{n} C{c}"), |graph| {
                let unit = graph.input("unit", [b, n, c], Elem::F32);
                let norm = graph.input("norm", [b, n], Elem::F32);
                let partition = Partition::even_odd(graph, n);
                let normalized = Normalized { unit, norm };
                let matches = BipartiteMatch::default().find(graph, normalized, partition, None)?;
                Ok(vec![matches.similarity, matches.partner])
            });
        }
    }

    /// A quarter of the tokens merged away.
    fn merge_tokens(&mut self) {
        let elem = self.elem;
        for [b, n, c] in self.shapes(vec![[64, 577, 1024], [1, 16384, 640]], vec![[2, 577, 1024], [1, 4096, 640]]) {
            let outputs = n - n / 4;
            let parent = HostTensor::u32([b, n], data::integers(2, (b * n) as usize, outputs));
            self.add("merge_tokens", format!("group_tokens B{b} N{n} to {outputs}"), |graph| {
                let parent = graph.constant(parent.clone());
                let groups = group_tokens(graph, parent, outputs)?;
                Ok(vec![groups.offsets, groups.members])
            });
            self.add("merge_tokens", format!("group_tokens, merge_tokens {elem} B{b} N{n} to {outputs} C{c}"), |graph| {
                let x = graph.input("x", [b, n, c], elem);
                let size = graph.input("size", [b, n], Elem::F32);
                let parent = graph.constant(parent);
                let groups = group_tokens(graph, parent, outputs)?;
                Ok(vec![merge_tokens(graph, x, groups, Some(size), Reduce::WeightedMean)?])
            });
        }
    }

    /// Half of the tokens, anywhere.
    fn gather_rows(&mut self) {
        let elem = self.elem;
        for [b, n, c] in self.shapes(vec![[64, 577, 1024], [16, 16384, 1024]], vec![[2, 577, 1024], [1, 16384, 256]]) {
            self.add("gather_rows", format!("{elem} B{b} N{n} C{c}, {} of them", n / 2), |graph| {
                let source = graph.input("source", [b, n, c], elem);
                let index = graph.constant(HostTensor::u32([b, n / 2], data::integers(3, (b * (n / 2)) as usize, n)));
                Ok(vec![gather_rows(graph, source, index, None)?])
            });
        }
    }

    fn invert_index(&mut self) {
        for [b, m, n] in self.shapes(vec![[4096, 288, 577]], vec![[64, 288, 577]]) {
            self.add("invert_index", format!("B{b} {m} of N{n}"), |graph| {
                let index = (0..b).flat_map(|_| (0..m).map(|i| 2 * i)).collect();
                let index = graph.constant(HostTensor::u32([b, m], index));
                Ok(vec![invert_index(graph, index, n)?])
            });
        }
    }

    fn log_size(&mut self) {
        for [b, n] in self.shapes(vec![[4096, 577]], vec![[64, 577]]) {
            self.add("log_size", format!("f32 B{b} N{n}"), |graph| {
                let size = graph.input("size", [b, n], Elem::F32);
                Ok(vec![log_size(graph, size, None)?])
            });
        }
    }

    /// Gigabytes on a GPU.
    fn pixel_unshuffle(&mut self) {
        let elem = self.elem;
        for [b, side, c] in self.shapes(vec![[512, 32, 1024]], vec![[4, 32, 1024]]) {
            for channels in [ChannelOrder::PositionFirst, ChannelOrder::ChannelFirst] {
                self.add("pixel_unshuffle", format!("tokens {channels:?} {elem} B{b} {side}x{side} C{c}"), |graph| {
                    let x = graph.input("x", [b, side * side, c], elem);
                    Ok(vec![PixelUnshuffle { channels, ..PixelUnshuffle::default() }.unshuffle_tokens(graph, x, [side, side])?])
                });
            }
        }
        for [b, c, side] in self.shapes(vec![[64, 3, 1024]], vec![[1, 3, 1024]]) {
            for factor in [2, 4] {
                self.add("pixel_unshuffle", format!("planar f32 B{b} C{c} {side}x{side} by {factor}"), |graph| {
                    let x = graph.input("x", [b, c, side, side], Elem::F32);
                    Ok(vec![PixelUnshuffle::pytorch(factor).unshuffle_planar(graph, x)?])
                });
            }
        }
    }

    fn linear(&mut self) {
        let elem = self.elem;
        for [rows, k, o] in self.shapes(vec![[36928, 1024, 64], [4096, 4096, 4096]], vec![[577, 1024, 64], [577, 256, 256]]) {
            self.add("linear", format!("{elem} {rows} rows K{k} O{o}"), |graph| {
                let (x, weight) = (graph.input("x", [rows, k], elem), graph.input("weight", [o, k], elem));
                let bias = graph.input("bias", [o], elem);
                Ok(vec![linear(graph, x, weight, Some(bias))?])
            });
        }
    }

    fn joins(&mut self) {
        let elem = self.elem;
        for [b, n, c] in self.shapes(vec![[64, 577, 1024]], vec![[2, 577, 1024]]) {
            self.add("concat_rows", format!("{elem} B{b} N{n} and 64 more C{c}"), |graph| {
                let (first, second) = (graph.input("first", [b, n, c], elem), graph.input("second", [b, 64, c], elem));
                Ok(vec![concat_rows(graph, (first, None), (second, None))?.0])
            });
            // Random numbers as lengths: all rows are full.
            self.add("lookup", format!("{b} x {n} of a table of {n}"), |graph| {
                let table = graph.constant(HostTensor::u32([n], (0..n).collect()));
                let index = graph.constant(HostTensor::u32([b, n], data::integers(5, (b * n) as usize, n)));
                Ok(vec![lookup(graph, table, index)?])
            });
            self.add("assign_tokens", format!("B{b} N{n}, a quarter merged"), |graph| {
                let (sources, destinations, merged) = (n.div_ceil(2), n / 2, n / 4);
                let mut each = |count: u32, value: &dyn Fn(u32) -> u32| {
                    graph.constant(HostTensor::u32([b, count], (0..b).flat_map(|_| (0..count).map(value)).collect()))
                };
                let partner = each(sources, &|i| i.min(destinations - 1));
                let (selected, unmerged) = (each(merged, &|i| i), each(sources - merged, &|i| merged + i));
                let kept = graph.constant(HostTensor::u32([b], vec![merged; b as usize]));
                let partition = Partition::even_odd(graph, n);
                let inputs = AssignInputs { partition, lengths: None, partner, selected, unmerged, kept };
                let assigned = AssignTokens { tokens: n, outputs: n - merged, interleave: false }.assign(graph, inputs)?;
                Ok(vec![assigned.parent, assigned.representative])
            });
        }
    }

    fn statistics(&mut self) {
        let elem = self.elem;
        for [b, n, c] in self.shapes(vec![[64, 577, 1024]], vec![[2, 577, 1024]]) {
            for statistic in [Statistic::Mean, Statistic::Variance, Statistic::Max] {
                for axis in [1, 2] {
                    self.add("reduce", format!("{statistic:?} over axis {axis} {elem} B{b} N{n} C{c}"), |graph| {
                        let x = graph.input("x", [b, n, c], elem);
                        Ok(vec![reduce(graph, x, axis, statistic, None)?])
                    });
                }
            }
        }
        for [b, n] in self.shapes(vec![[4096, 577]], vec![[64, 577]]) {
            self.add("threshold", format!("f32 B{b} N{n}"), |graph| {
                let scores = graph.input("scores", [b, n], Elem::F32);
                Ok(vec![Threshold::default().mask(graph, ThresholdInputs::new(scores, Limit::Constant(0.0)))?])
            });
        }
    }

    fn neighbours(&mut self) {
        let elem = self.elem;
        for [b, n, c] in self.shapes(vec![[16, 1500, 1280]], vec![[1, 1500, 384]]) {
            self.add("pair_similarity", format!("f32 B{b} N{n} C{c}"), |graph| {
                let (unit, norm) = (graph.input("unit", [b, n, c], elem), graph.input("norm", [b, n], Elem::F32));
                let previous = previous_at(graph, n, 1);
                Ok(vec![pair_similarity(graph, Normalized { unit, norm }, previous, None)?])
            });
            self.add("run_segments", format!("B{b} N{n}"), |graph| {
                let joins = graph.constant(HostTensor::u32([b, n], data::integers(6, (b * n) as usize, 2)));
                let previous = previous_at(graph, n, 1);
                let segments = RunSegments { pairs: false }.find(graph, joins, previous, None)?;
                Ok(vec![segments.start, segments.starts])
            });
        }
    }

    fn grids(&mut self) {
        let elem = self.elem;
        for [b, side, c] in self.shapes(vec![[64, 27, 1152]], vec![[2, 27, 1152]]) {
            let pools = [
                ("average 2 x 2", Pool::Average(Windows::cells(2))),
                ("maximum 2 x 2", Pool::Max(Windows::cells(2))),
                ("bilinear to 14 x 14", Pool::Bilinear([14, 14])),
                ("adaptive to 12 x 12", Pool::Average(Windows::Adaptive { outputs: [12, 12] })),
            ];
            for (what, pool) in pools {
                self.add("pool", format!("{what} {elem} B{b} {side}x{side} C{c}"), |graph| {
                    let x = graph.input("x", [b, side * side, c], elem);
                    Ok(vec![pool.build(graph, x, [side, side], None)?])
                });
            }
        }
        for [b, side, c] in self.shapes(vec![[64, 24, 1024]], vec![[1, 24, 256]]) {
            let same = Convolution { padding: [1, 1], ..Convolution::default() };
            self.add("convolution", format!("depthwise 3 x 3 {elem} B{b} {side}x{side} C{c}"), |graph| {
                let (x, weight) = (graph.input("x", [b, side * side, c], elem), graph.input("weight", [c, 1, 3, 3], elem));
                Ok(vec![same.depthwise(graph, x, [side, side], weight, None)?])
            });
            self.add("convolution", format!("dense 3 x 3, stride 2 {elem} B{b} {side}x{side} C{c}"), |graph| {
                let (x, weight) = (graph.input("x", [b, side * side, c], elem), graph.input("weight", [c, c, 3, 3], elem));
                Ok(vec![Convolution { stride: [2, 2], ..same }.dense(graph, x, [side, side], weight, None)?])
            });
            let (queries, heads) = (144, 8);
            self.add("deformable_sample", format!("4 points {elem} B{b} {side}x{side} Q{queries} H{heads} C{c}"), |graph| {
                let value = graph.input("value", [b, side * side, heads, c / heads], elem);
                let points = Points::Locations(graph.input("locations", [b, queries, heads, 4, 2], elem));
                let weights = graph.input("weights", [b, queries, heads, 4], elem);
                let sample = DeformableSample { levels: vec![[side, side]], softmax: true };
                Ok(vec![sample.sample(graph, DeformableInputs { value, points, weights })?])
            });
        }
    }

    fn blocks(&mut self) {
        let elem = self.elem;
        for [b, n, c] in self.shapes(vec![[64, 577, 1024]], vec![[2, 577, 1024]]) {
            for (what, norm) in [("LayerNorm", LayerNorm::default()), ("RMSNorm", LayerNorm::root_mean_square(1e-6))] {
                self.add("layer_norm", format!("{what} {elem} B{b} N{n} C{c}"), |graph| {
                    let (x, weight) = (graph.input("x", [b, n, c], elem), graph.input("weight", [c], elem));
                    Ok(vec![norm.apply(graph, x, Some(weight), None)?])
                });
            }
            self.add("elementwise", format!("sum {elem} B{b} N{n} C{c}"), |graph| {
                let (x, y) = (graph.input("x", [b, n, c], elem), graph.input("y", [b, n, c], elem));
                Ok(vec![add(graph, x, y)?])
            });
            self.add("elementwise", format!("gated channels {elem} B{b} N{n} C{c}"), |graph| {
                let (x, gate) = (graph.input("x", [b, n, c], elem), graph.input("gate", [b, 1, c], elem));
                Ok(vec![multiply(graph, x, gate)?])
            });
        }
    }

    fn all(small: bool, elem: Elem) -> Vec<Case> {
        let mut cases = Self { small, elem, list: Vec::new() };
        cases.attention_score();
        cases.top_k();
        cases.compact();
        cases.row_normalize();
        cases.bipartite_match();
        cases.merge_tokens();
        cases.gather_rows();
        cases.invert_index();
        cases.log_size();
        cases.pixel_unshuffle();
        cases.linear();
        cases.joins();
        cases.statistics();
        cases.neighbours();
        cases.grids();
        cases.blocks();
        cases.list
    }
}

/// A graph that reads and writes this many bytes together.
fn copy_of(bytes: u64) -> Graph {
    let mut graph = Graph::new();
    let source = graph.input("source", [(bytes / 8) as u32], Elem::U32);
    graph.output("copy", source).expect("a tensor of this graph");
    graph
}

fn random(tensor: Desc) -> HostTensor {
    let mut random = data::Random::new(4);
    let elements = tensor.shape.elements();
    match tensor.elem {
        Elem::U32 => HostTensor::u32(tensor.shape, (0..elements).map(|_| random.next_u64() as u32).collect()),
        _ => HostTensor::from_floats(tensor, (0..elements).map(|_| 2.0 * random.uniform() - 1.0).collect()),
    }
}

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
    fn elapsed(&self, context: &Context) -> Duration {
        let bytes = pollster::block_on(context.read(&self.resolved)).expect("timestamps are read");
        let [start, end] = [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i])));
        Duration::from_nanos((end.saturating_sub(start) as f64 * self.period) as u64)
    }
}

struct Bench {
    context: Context,
    timestamps: Option<Timestamps>,
}

impl Bench {
    /// A plan over random inputs that has run once: its pipelines are made and its memory is there.
    fn prepare(&self, graph: &Graph) -> Result<Plan, Error> {
        let mut bindings = Bindings::new();
        for (name, desc) in graph.inputs() {
            bindings = bindings.bind(name, self.context.upload(&random(desc)));
        }
        for (name, desc) in graph.outputs() {
            bindings = bindings.bind(name, self.context.empty(desc));
        }
        let plan = graph.plan(&self.context.gpu, &bindings)?;
        self.pass(&plan, 1);
        Ok(plan)
    }

    fn time(&self, plan: &Plan, runs: u64) -> Duration {
        let most = (PASS_DISPATCHES / plan.dispatches().max(1) as u64).max(1);
        let mut time = Duration::ZERO;
        for first in (0..runs).step_by(most as usize) {
            time += self.pass(plan, most.min(runs - first));
        }
        // Some clocks are coarse, and criterion divides by the time.
        time.max(Duration::from_nanos(1))
    }

    fn pass(&self, plan: &Plan, runs: u64) -> Duration {
        let mut encoder = self.context.device.create_command_encoder(&Default::default());
        let timestamp_writes = self.timestamps.as_ref().map(Timestamps::writes);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
        for _ in 0..runs {
            plan.record(&mut pass);
        }
        drop(pass);
        if let Some(timestamps) = &self.timestamps {
            encoder.resolve_query_set(&timestamps.queries, 0..2, &timestamps.resolved, 0);
        }
        let commands = encoder.finish();
        let start = Instant::now();
        self.context.queue.submit([commands]);
        self.context.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device is there");
        let wall = start.elapsed();
        self.timestamps.as_ref().map_or(wall, |t| t.elapsed(&self.context))
    }

    /// The median over criterion's samples of a run's time; none where criterion was not asked for this one.
    fn measure(&self, criterion: &mut Criterion, group: &str, id: BenchmarkId, graph: &Graph, bytes: u64) -> Option<Duration> {
        let plan = OnceCell::new();
        let mut samples = Vec::new();
        let mut group = criterion.benchmark_group(group);
        group.sampling_mode(SamplingMode::Flat).throughput(Throughput::BytesDecimal(bytes));
        group.bench_function(id, |bencher| {
            let plan = plan.get_or_init(|| self.prepare(graph).expect("it fits the device"));
            bencher.iter_custom(|runs| {
                let time = self.time(plan, runs);
                samples.push(time.div_f64(runs as f64));
                time
            });
        });
        group.finish();
        samples.sort_unstable();
        samples.get(samples.len() / 2).copied()
    }
}

/// The adapter that the environment names, or a GPU, or any; of several the first that has f16, as few OpenGL drivers do.
fn choose(mut adapters: Vec<wgpu::Adapter>) -> Option<wgpu::Adapter> {
    use wgpu::DeviceType::{DiscreteGpu, IntegratedGpu, VirtualGpu};
    if let Ok(wanted) = std::env::var("TOKENPRESS_ADAPTER") {
        adapters.retain(|adapter| {
            let wgpu::AdapterInfo { name, driver, driver_info, backend, .. } = adapter.get_info();
            format!("{name} {driver} {driver_info} {backend:?}").to_lowercase().contains(&wanted.to_lowercase())
        });
    }
    let is_gpu = |adapter: &wgpu::Adapter| matches!(adapter.get_info().device_type, DiscreteGpu | IntegratedGpu | VirtualGpu);
    let has_f16 = |adapter: &wgpu::Adapter| adapter.features().contains(wgpu::Features::SHADER_F16);
    adapters.into_iter().min_by_key(|adapter| (!is_gpu(adapter), !has_f16(adapter)))
}

fn main() {
    let adapter = choose(pollster::block_on(Context::adapters(wgpu::Backends::all()))).expect("no adapter of this name, or none at all");
    let context = pollster::block_on(Context::new(&adapter)).expect("a device");
    let capabilities = context.gpu.capabilities().clone();
    eprintln!("{}", context.describe());
    let small = context.info.device_type == wgpu::DeviceType::Cpu;
    if small {
        eprintln!("A software adapter: small shapes, and times that say nothing about a GPU.");
    }
    let timestamps = Timestamps::new(&context);
    let clock = if timestamps.is_some() { "timestamps" } else { "wall clock" };
    let elem = if capabilities.f16 && !small { Elem::F16 } else { Elem::F32 };
    let bench = Bench { context, timestamps };

    let (warm_up, measurement) = (Duration::from_millis(200), Duration::from_millis(600));
    let criterion = Criterion::default().sample_size(10).warm_up_time(warm_up).measurement_time(measurement);
    let mut criterion = criterion.without_plots().configure_from_args();
    let mut lines = Vec::new();
    for Case { kernel, name, graph } in Cases::all(small, elem) {
        // Of the case and of the copy: an error says what does not fit this device.
        let price = |graph: &Graph| graph.cost(&capabilities);
        let priced = price(&graph).and_then(|cost| {
            let copy = copy_of(cost.bytes());
            price(&copy).map(|_| (cost, copy))
        });
        let (cost, copied) = match priced {
            Ok(priced) => priced,
            Err(error) => {
                eprintln!("{kernel}, {name}: left out: {error}");
                continue;
            }
        };
        let group = format!("{kernel} by {clock}");
        let copy = bench.measure(&mut criterion, &group, BenchmarkId::new("copy beside", &name), &copied, cost.bytes());
        let time = bench.measure(&mut criterion, &group, BenchmarkId::from_parameter(&name), &graph, cost.bytes());
        let (Some(time), Some(copy)) = (time, copy) else { continue };
        let per_second = |count: u64| count as f64 / 1e9 / time.as_secs_f64();
        lines.push(format!(
            "{kernel:16} {name:64} {:10.1} {:8.2} {:8.1}% {:8.1} {:5}",
            time.as_secs_f64() * 1e6,
            per_second(cost.bytes()),
            100.0 * copy.as_secs_f64() / time.as_secs_f64(),
            per_second(cost.flops()),
            cost.dispatches(),
        ));
    }
    // As a test, cargo runs each case once.
    if !lines.is_empty() && std::env::args().any(|argument| argument == "--bench") {
        eprintln!("{:16} {:64} {:>10} {:>8} {:>9} {:>8} {:>5}", "kernel", "case", "us", "GB/s", "of copy", "GFLOP/s", "calls");
        eprintln!("{}", lines.join("\n"));
    }
    criterion.final_summary();
}
