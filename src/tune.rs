//! Which form of a shader a device runs faster, found by measurement.

use std::time::Duration;

use crate::device::{Capabilities, Form, Gpu, Policy, TensorView, Tuning, buffer, present, submit};
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Affinity, Allocate, Among, Attention, AttentionInputs, AttentionScore, FrameBudget, GreedyInputs, GreedySelect, NearPairs, Neighbours,
    Norm, Objective, PooledAttention, Queries, QueryKeyValue, TopK, TopKInputs, compact, density_peaks, grow_runs, linear, mean_affinity,
    row_normalize,
};
use crate::methods::ToMe;
use crate::plan::{Bindings, Plan};
use crate::random::random_u32;
use crate::readback::done;
use crate::tensor::{Desc, Elem, HostTensor, Shape};

/// A form is chosen if it takes less than this share of the other's time. Smaller differences are noise.
const FASTER: f64 = 0.93;

/// Measures each shader that has several forms, at an ordinary size, and says which are faster in a less capable form.
///
/// This takes a few seconds, submits to the queue, and awaits what was submitted. `clock` says how much time has passed since any moment: a
/// browser has `performance.now()`, and elsewhere there is [`Instant`](std::time::Instant). Outside a browser each await polls the device
/// and blocks the thread. A device with a single form of each shader has nothing to choose. A CPU is not asked about the form for GPUs.
///
/// Sums may have another order in the other form. Results are the same from run to run under one tuning.
///
/// ```no_run
/// # async fn cached(adapter: &tokenpress::wgpu::Adapter, gpu: tokenpress::Gpu, queue: &tokenpress::wgpu::Queue)
/// # -> Result<tokenpress::Gpu, Box<dyn std::error::Error>> {
/// use std::time::Instant;
///
/// use tokenpress::{Policy, Tuning, tune};
///
/// let info = adapter.get_info();
/// let kept = std::fs::read_to_string("tuning.json").ok();
/// let tuning = match kept.and_then(|text| Tuning::from_json(&text, &info).ok()) {
///     Some(tuning) => tuning,
///     None => {
///         let start = Instant::now();
///         tune(&gpu, queue, || start.elapsed()).await?
///     }
/// };
/// std::fs::write("tuning.json", tuning.to_json(&info))?;
/// let gpu = gpu.with_policy(Policy::AUTO.with_tuning(tuning));
/// # Ok(gpu)
/// # }
/// ```
///
/// # Errors
/// [`Error::Device`] if the device is lost or the queue is another's, and the errors of [`Graph::plan`] for a device that is too small.
pub async fn tune(gpu: &Gpu, queue: &wgpu::Queue, clock: impl Fn() -> Duration) -> Result<Tuning, Error> {
    present(gpu.device())?;
    let mut tuning = Tuning::default();
    // Matrices first: what runs without them may be portable, or not.
    for matrices in [true, false] {
        let policy = if matrices { Policy::AUTO } else { Policy::AUTO.with_tuning(Tuning::WITHOUT_MATRICES) };
        let device = gpu.with_policy(policy);
        let mut seen = Vec::new();
        for graph in calls(device.capabilities(), matrices)? {
            for variant in graph.variants(&device)? {
                let name = variant.shader.name;
                if variant.form == Form::Portable || variant.form.is_cooperative() != matrices || seen.contains(&name) {
                    continue;
                }
                seen.push(name);
                let less = |tuning: Tuning| if matrices { tuning.with_no_matrices(name) } else { tuning.with_portable(name) };
                let Some(other) = less(policy.tuning) else { continue };
                let plans = [policy, policy.with_tuning(other)].map(|policy| plan(&gpu.with_policy(policy), &graph));
                let [capable, other] = plans;
                let [capable, other] = compare(&device, queue, &clock, &[capable?, other?]).await?;
                let form = variant.form;
                log::debug!("{name}: {:.1} us as {form:?}, {:.1} us without", capable * 1e6, other * 1e6);
                if other < FASTER * capable {
                    tuning = less(tuning).unwrap_or(tuning);
                }
            }
        }
    }
    Ok(tuning)
}

/// A plan into buffers of its own.
fn plan(gpu: &Gpu, graph: &Graph) -> Result<Plan, Error> {
    let tensors = graph.inputs().chain(graph.outputs());
    let mut bindings = Bindings::new();
    for (name, desc) in tensors {
        let usage = wgpu::BufferUsages::STORAGE;
        let size = desc.bytes().next_multiple_of(4);
        let buffer = buffer(gpu.device(), &wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })?;
        bindings = bindings.bind(name, TensorView::new(&buffer, 0, desc.shape, desc.elem));
    }
    graph.plan(gpu, &bindings)
}

/// Seconds of a run of a plan, of so many.
async fn seconds(gpu: &Gpu, queue: &wgpu::Queue, clock: &impl Fn() -> Duration, plan: &Plan, times: u32) -> Result<f64, Error> {
    let mut start = Duration::ZERO;
    submit(gpu.device(), queue, |encoder| {
        (0..times).for_each(|_| plan.record_into(encoder, None));
        start = clock();
    })?;
    done(gpu.device(), queue).await?;
    Ok(clock().saturating_sub(start).as_secs_f64() / f64::from(times))
}

/// Seconds of each: the least of seven turns, as long as two milliseconds each.
async fn compare(gpu: &Gpu, queue: &wgpu::Queue, clock: &impl Fn() -> Duration, plans: &[Plan; 2]) -> Result<[f64; 2], Error> {
    seconds(gpu, queue, clock, &plans[0], 1).await?;
    let times = (2e-3 / seconds(gpu, queue, clock, &plans[0], 1).await?).clamp(1.0, 256.0) as u32;
    seconds(gpu, queue, clock, &plans[1], times).await?;
    let mut least = [f64::INFINITY; 2];
    for _ in 0..7 {
        for (least, plan) in least.iter_mut().zip(plans) {
            *least = least.min(seconds(gpu, queue, clock, plan, times).await?);
        }
    }
    Ok(least)
}

/// Numbers in -1..1.
fn noise(graph: &mut Graph, elem: Elem, shape: impl Into<Shape>) -> Tensor {
    let shape = shape.into();
    let number = |i: u64| random_u32(shape.elements() as u32, i) as f32 / 2f32.powi(31) - 1.0;
    graph.constant(HostTensor::from_floats(Desc::new(shape, elem), (0..shape.elements()).map(number).collect()))
}

fn noise_f32(graph: &mut Graph, shape: impl Into<Shape>) -> Tensor {
    noise(graph, Elem::F32, shape)
}

type Build = fn(&mut Graph, Elem) -> Result<Tensor, Error>;

/// Calls that make tiles of products.
const PRODUCTS: [Build; 4] = [
    |graph, elem| {
        let (x, weight) = (noise(graph, elem, [577, 512]), noise(graph, elem, [512, 512]));
        linear(graph, x, weight, None)
    },
    |graph, elem| score(graph, elem, [6, 577], Queries::All, Norm::Softmax),
    |graph, elem| score(graph, elem, [6, 577], Queries::All, Norm::Logits),
    |graph, elem| {
        let [queries, keys, values] = [0; 3].map(|_| noise(graph, elem, [1, 6, 577, 64]));
        let inputs = QueryKeyValue { queries, keys, values, bias: None, lengths: None, query_lengths: None };
        Ok(Attention::default().build(graph, inputs)?.rows)
    },
];

/// The other calls that run shaders of several forms.
const OTHERS: [Build; 14] = [
    |graph, _| {
        let tokens = graph.tokens("x", [4, 577, 256], Elem::F32)?;
        let metric = noise_f32(graph, [4, 577, 64]);
        Ok(ToMe { merge: 144, ..Default::default() }.build(graph, &tokens, metric)?.tokens.x)
    },
    |graph, elem| score(graph, elem, [6, 577], Queries::CLASS, Norm::Softmax),
    |graph, elem| score(graph, elem, [2, 8192], Queries::CLASS, Norm::Softmax),
    |graph, _| {
        let scores = noise_f32(graph, [32, 577]);
        Ok(TopK { k: 64, ..Default::default() }.build(graph, TopKInputs::new(scores))?.indices)
    },
    |graph, _| {
        let scores = noise_f32(graph, [32, 577]);
        Ok(TopK { k: 577, ..Default::default() }.build(graph, TopKInputs::new(scores))?.indices)
    },
    |graph, _| {
        let scores = noise_f32(graph, [1, 65536]);
        let selected = TopK { k: 1024, mask: true, ..Default::default() }.build(graph, TopKInputs::new(scores))?;
        Ok(compact(graph, selected.mask.unwrap_or(selected.places), None)?.indices)
    },
    |graph, _| {
        let x = noise_f32(graph, [4, 256, 64]);
        let normalized = row_normalize(graph, x, None)?;
        let joins = grow_runs(graph, normalized, 0.1, None)?;
        let sizes = graph.constant(HostTensor::u32([4, 256], vec![196; 1024]));
        let scores = noise_f32(graph, [4, 256]);
        let budgets = FrameBudget { base: 0.25, temperature: 0.01 }.build(graph, scores, sizes)?;
        graph.output("joins", joins)?;
        Ok(budgets)
    },
    |graph, _| {
        let weights = noise_f32(graph, [4, 256]);
        let totals = graph.filled([4], 4096);
        let capacities = graph.filled([4, 256], 196);
        Allocate::default().build(graph, weights, totals, capacities)
    },
    |graph, _| {
        let x = noise_f32(graph, [1, 577, 64]);
        Ok(density_peaks(graph, x, 8, None)?.score)
    },
    |graph, _| {
        let x = noise_f32(graph, [1, 577, 64]);
        let normalized = row_normalize(graph, x, None)?;
        mean_affinity(graph, normalized, Affinity::Elu { margin: 0.5 }, None)
    },
    |graph, _| {
        let x = noise_f32(graph, [1, 577, 64]);
        let normalized = row_normalize(graph, x, None)?;
        Ok(NearPairs { threshold: 0.1, or_equal: false }.build(graph, normalized, None)?.pairs)
    },
    |graph, _| {
        let x = noise_f32(graph, [1, 577, 64]);
        let normalized = row_normalize(graph, x, None)?;
        Ok(Neighbours { nearest: 8, exclude_self: true }.most_similar(graph, normalized, Among::default())?.indices)
    },
    |graph, _| {
        let x = noise_f32(graph, [1, 577, 64]);
        let inputs = GreedyInputs::new(row_normalize(graph, x, None)?);
        Ok(GreedySelect { objective: Objective::MaxMin, k: 32 }.build(graph, inputs)?.indices)
    },
    |graph, elem| {
        let [queries, keys] = [0; 2].map(|_| noise(graph, elem, [1, 6, 256, 64]));
        Ok(PooledAttention { pool: 2, scale: None }.build(graph, queries, keys, None)?.received)
    },
];

fn score(graph: &mut Graph, elem: Elem, [heads, tokens]: [u32; 2], queries: Queries, norm: Norm) -> Result<Tensor, Error> {
    let (q, k) = (noise(graph, elem, [1, heads, tokens, 64]), noise(graph, elem, [1, heads, tokens, 64]));
    let inputs = AttentionInputs { queries: q, keys: k, bias: None, lengths: None, query_lengths: None };
    Ok(AttentionScore { queries, norm, ..Default::default() }.build(graph, inputs)?.score)
}

/// A graph of each call, at an ordinary size.
fn graphs(builds: &[Build], elem: Elem) -> Result<Vec<Graph>, Error> {
    let build = |build: &Build| {
        let mut graph = Graph::new();
        let output = build(&mut graph, elem)?;
        graph.output("output", output)?;
        Ok(graph)
    };
    builds.iter().map(build).collect()
}

/// Calls that run every shader in the forms that are measured: those with matrices are for f16, the others are measured on f32.
fn calls(capabilities: &Capabilities, matrices: bool) -> Result<Vec<Graph>, Error> {
    match (matrices, capabilities.cooperative_matrix) {
        (true, Some(_)) => graphs(&PRODUCTS, Elem::F16),
        (true, None) => Ok(Vec::new()),
        (false, _) => Ok([graphs(&PRODUCTS, Elem::F32)?, graphs(&OTHERS, Elem::F32)?].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::CHOICES;
    use crate::device::MatrixSize;
    use crate::kernels::shaders;
    use crate::plan::lower::lower_graph;

    #[test]
    fn every_choice_is_measured() {
        let capabilities = Capabilities {
            subgroups: true,
            f16: true,
            subgroup_min: 8,
            subgroup_max: 8,
            software: true,
            cooperative_matrix: Some(MatrixSize::Eight),
            ..Capabilities::portable()
        };
        let run = |matrices: bool| -> Vec<_> {
            let graphs = calls(&capabilities, matrices).unwrap();
            let programs = graphs.iter().map(|graph| lower_graph(graph, &capabilities, Policy::AUTO, &|_| Default::default()).unwrap());
            let dispatches = programs.flat_map(|program| program.dispatches);
            dispatches.filter(|d| d.form != Form::Portable && d.form.is_cooperative() == matrices).map(|d| d.shader.name).collect()
        };
        let measured = run(false);
        for name in CHOICES {
            assert!(measured.contains(name), "{name} is in no graph");
        }
        let measured = run(true);
        let f16 = crate::device::Header::F16;
        for shader in shaders().into_iter().filter(|s| s.headers.contains(&f16) && s.has_form(Form::Cooperative8, f16)) {
            assert!(measured.contains(&shader.name), "{} is in no graph of f16", shader.name);
        }
        assert!(CHOICES.len() <= 32);
    }
}
