//! Every kernel at the sizes of real models, beside a copy of as many bytes, for criterion: it keeps each run's times, and says
//! what has changed since the last one. The `bench` example makes the tables that are published.
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
//! it the best there is is taken.
#![allow(missing_docs, reason = "a benchmark")]

mod harness;

use std::cell::OnceCell;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use harness::cases::{Case, Cases};
use harness::timer::{Timer, copy_of};
use tokenpress::readback::Context;
use tokenpress::{Elem, Graph, wgpu};

/// Samples a graph for criterion, where criterion asks for this one.
fn measure(timer: &Timer, criterion: &mut Criterion, group: &str, id: BenchmarkId, graph: &Graph, bytes: u64) {
    let prepared = OnceCell::new();
    let mut group = criterion.benchmark_group(group);
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::BytesDecimal(bytes));
    group.bench_function(id, |bencher| {
        let prepared = prepared.get_or_init(|| pollster::block_on(timer.prepare(graph)).expect("it fits the device"));
        bencher.iter_custom(|runs| pollster::block_on(timer.time(&[&prepared.plan], runs)).expect("the device is there"));
    });
    group.finish();
}

fn main() {
    let adapter = harness::adapter(std::env::var("TOKENPRESS_ADAPTER").ok().as_deref()).unwrap_or_else(|error| panic!("{error}"));
    let context = pollster::block_on(Context::new(&adapter)).expect("a device");
    eprintln!("{}", context.describe());
    let small = context.info.device_type == wgpu::DeviceType::Cpu;
    if small {
        eprintln!("A software adapter: small shapes, and times that say nothing about a GPU.");
    }
    let capabilities = context.gpu.capabilities().clone();
    let elem = if capabilities.f16 && !small { Elem::F16 } else { Elem::F32 };
    let timer = Timer::new(context);

    let (warm_up, measurement) = (Duration::from_millis(200), Duration::from_millis(600));
    let criterion = Criterion::default().sample_size(10).warm_up_time(warm_up).measurement_time(measurement);
    let mut criterion = criterion.without_plots().configure_from_args();
    for Case { kernel, name, graph } in Cases::all(small, elem) {
        // Of the case and of the copy: an error says what does not fit this device.
        let price = |graph: &Graph| graph.cost(&capabilities).map(|cost| cost.bytes());
        let priced = price(&graph).and_then(|bytes| {
            let copy = copy_of(bytes);
            price(&copy).map(|_| (bytes, copy))
        });
        let (bytes, copied) = match priced {
            Ok(priced) => priced,
            Err(error) => {
                eprintln!("{kernel}, {name}: left out: {error}");
                continue;
            }
        };
        let group = format!("{kernel} by {}", timer.clock());
        measure(&timer, &mut criterion, &group, BenchmarkId::new("copy beside", &name), &copied, bytes);
        measure(&timer, &mut criterion, &group, BenchmarkId::from_parameter(&name), &graph, bytes);
    }
    criterion.final_summary();
}
