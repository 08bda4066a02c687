//! One case: built, run on the reference, and run on an adapter.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use tokenpress::readback::{Context, HostTensors};
use tokenpress::verify::{Placement, Reference, whole};
use tokenpress::{Capabilities, Elem, Graph, Policy, wgpu};

use crate::generator::{Build, Generator};
use crate::support::adapters::{self, Adapter};

/// What a target makes of random choices.
#[derive(Clone, Copy)]
pub(crate) enum Make {
    /// A graph, that is run against the reference.
    Graph(Build),
    /// A check of its own; an adapter if there is one. What is wrong is its error.
    Check(fn(&mut Generator, Option<&Adapter>) -> Result<(), String>),
}

/// A name, and what it makes.
pub(crate) type Target = (&'static str, Make);

const fn graphs<const N: usize>(builds: &[(&'static str, Build)]) -> [Target; N] {
    let mut targets = [("", Make::Graph(|_, _| Ok(Vec::new()))); N];
    let mut i = 0;
    while i < N {
        targets[i] = (builds[i].0, Make::Graph(builds[i].1));
        i += 1;
    }
    targets
}

/// Every target.
pub(crate) const TARGETS: [&[Target]; 3] = [
    &graphs::<{ crate::kernels::TARGETS.len() }>(crate::kernels::TARGETS),
    &graphs::<{ crate::methods::TARGETS.len() }>(crate::methods::TARGETS),
    &[
        ("ragged_rows", Make::Check(crate::ragged::check)),
        ("bindings", Make::Check(crate::misuse::bindings)),
        ("audio_file", Make::Check(crate::files::audio)),
        ("weights_file", Make::Check(crate::files::weights)),
        ("vocabulary_file", Make::Check(crate::files::vocabulary)),
    ],
];

pub(crate) enum Outcome {
    Passed,
    /// Nothing but its building could be tried here.
    Skipped,
    Failed(String),
}

/// The last panic: where, and what it said.
static PANIC: Mutex<String> = Mutex::new(String::new());
/// What wgpu complained of to nobody.
static COMPLAINTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps panics for the report, in place of writing them to the terminal.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = info.to_string();
    }));
}

fn caught<T>(stage: &str, work: impl FnOnce() -> T) -> Result<T, String> {
    let panicked = |_| format!("{stage}: {}", PANIC.lock().unwrap_or_else(PoisonError::into_inner));
    catch_unwind(AssertUnwindSafe(work)).map_err(panicked)
}

/// Names of the adapters that are meant, and of all.
pub(crate) fn adapter_names(filter: Option<&str>) -> (Vec<String>, Vec<String>) {
    let all: Vec<String> = adapters::all().iter().map(|a| a.name.clone()).collect();
    (all.iter().filter(|name| filter.is_none_or(|f| name.contains(f))).cloned().collect(), all)
}

/// The adapters that are meant.
pub(crate) fn adapters(filter: Option<&str>) -> Vec<Arc<Adapter>> {
    let mut found = adapters::all();
    found.retain(|a| filter.is_none_or(|f| a.name.contains(f)));
    for adapter in &found {
        adapter.context.device.on_uncaptured_error(Arc::new(|error: wgpu::Error| {
            COMPLAINTS.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
        }));
    }
    found
}

/// Runs one case, on one of the adapters if any.
pub(crate) fn run(target: &Target, seed: u64, wild: bool, adapters: &[Arc<Adapter>]) -> Outcome {
    let mut g = Generator::new(target.0, seed, wild);
    // Neighbouring cases of one target take turns on the adapters, whatever the number of targets.
    let turn = (g.next() % adapters.len().max(1) as u64) as usize;
    let adapter = adapters.get(turn).map(AsRef::as_ref);
    let result = match target.1 {
        Make::Check(check) => caught("panic", || check(&mut g, adapter)).and_then(|r| r).map(|()| true),
        Make::Graph(build) => graph(build, &mut g, adapter),
    };
    let mut complaints = std::mem::take(&mut *COMPLAINTS.lock().unwrap_or_else(PoisonError::into_inner));
    let context = || format!("{} ({})", g.notes.join("; "), adapter.map_or("no adapter", |a| a.name.as_str()));
    match (result, complaints.pop()) {
        (Err(what), _) => Outcome::Failed(format!("{what} | {}", context())),
        (Ok(_), Some(complaint)) => Outcome::Failed(format!("wgpu: {complaint} | {}", context())),
        (Ok(true), None) => Outcome::Passed,
        (Ok(false), None) => Outcome::Skipped,
    }
}

/// Work that a case may take on the reference.
const MOST_FLOPS: u64 = 30_000_000;
const MOST_BYTES: u64 = 4_000_000;

/// Whether the graph was tried as far as it could be.
fn graph(build: Build, g: &mut Generator, adapter: Option<&Adapter>) -> Result<bool, String> {
    let mut graph = Graph::new();
    // A refusal is a right answer to most random options.
    let Ok(tensors) = caught("panic in build", || build(g, &mut graph))? else { return Ok(true) };
    let finish = |graph: &mut Graph| {
        for (i, tensor) in tensors.iter().enumerate() {
            graph.output(&format!("o{i}"), *tensor)?;
        }
        graph.cost(&Capabilities::portable()).map(|cost| (cost.flops(), cost.bytes()))
    };
    let Ok((flops, bytes)) = caught("panic in cost", || finish(&mut graph))? else { return Ok(true) };
    let inputs: Vec<_> = graph.inputs().map(|(name, desc)| (name.to_owned(), desc)).collect();
    g.note(inputs.iter().map(|(name, desc)| format!("{name} {desc}")).collect::<Vec<_>>());
    println!("made {}", g.notes.join("; ").replace('\n', " "));
    let stored: u64 = inputs.iter().map(|(_, desc)| desc.bytes()).fold(0, u64::saturating_add);
    if g.huge || flops > MOST_FLOPS || bytes > MOST_BYTES || stored > MOST_BYTES {
        return Ok(true);
    }
    let inputs: HostTensors = inputs.into_iter().map(|(name, desc)| (name, g.data(desc))).collect();
    let reference =
        caught("panic in the reference", || Reference::new(&graph, &inputs))?.map_err(|e| format!("the reference refuses: {e}"))?;
    let Some(adapter) = adapter else { return Ok(false) };
    let context = &adapter.context;
    let gpu = match g.chance(0.3) {
        true => context.gpu.with_policy(Policy::forced(g.coin(), g.coin())),
        false => context.gpu.clone(),
    };
    let placement = Placement { gap: u64::from(g.below(5)), one_buffer: g.coin(), apart: g.chance(0.2) };
    caught("panic on the adapter", || on_gpu(context, &gpu, &graph, &inputs, &reference, placement))?.map(|()| true)
}

fn on_gpu(
    context: &Context,
    gpu: &tokenpress::Gpu,
    graph: &Graph,
    inputs: &HostTensors,
    reference: &Reference,
    placement: Placement,
) -> Result<(), String> {
    let refused = |e: tokenpress::Error| format!("refused on the adapter: {e}");
    for step in pollster::block_on(reference.steps(context, gpu, placement)).map_err(refused)? {
        let wrong: Vec<_> = step.outputs.iter().filter(|(_, c)| !c.passed()).collect();
        if let Some((name, comparison)) = wrong.first() {
            let (failures, worst) = (comparison.failures, &comparison.worst);
            return Err(format!("step {} ({}): {name}: {failures} of {} wrong, {worst:?}", step.call, step.kernel, comparison.elements));
        }
        if !step.passed() {
            return Err(format!("step {} ({}): {:?}", step.call, step.kernel, step.guards));
        }
    }
    let report = pollster::block_on(whole(context, gpu, graph, inputs)).map_err(refused)?;
    if report.passed() { Ok(()) } else { Err(format!("whole against step by step: {report:?}")) }
}

/// Elements that are floats on the GPU.
pub(crate) const FLOATS: [Elem; 3] = [Elem::F32, Elem::F16, Elem::BF16];
