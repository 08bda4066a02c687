//! Which form of a shader a device runs faster, found by measurement.

use std::time::Instant;

use crate::error::Error;
use crate::gpu::{Bindings, Gpu, Plan, Policy, TensorView};
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Attention, AttentionInputs, AttentionScore, FrameBudget, Norm, Queries, QueryKeyValue, TopK, TopKInputs, compact, grow_runs, linear,
    row_normalize,
};
use crate::methods::ToMe;
use crate::random::random_u32;
use crate::tensor::{Elem, HostTensor, Shape};
use crate::tuning::Tuning;

/// A form is chosen where it takes less than this share of the other's time: differences below are noise.
const FASTER: f64 = 0.93;

/// Runs each shader that has two forms in both, at an ordinary size, and says which are faster in the portable one. Takes a few
/// seconds; submits to the queue, and waits. A device without subgroups has nothing to choose. Not on the web, where nothing
/// can wait: load what was measured elsewhere.
///
/// Sums may have another order in the other form. Results are the same from run to run under one tuning.
///
/// ```no_run
/// # fn cached(gpu: tokenpress::Gpu, queue: &tokenpress::wgpu::Queue) -> Result<tokenpress::Gpu, Box<dyn std::error::Error>> {
/// use tokenpress::{Policy, tune};
///
/// let tuning = match std::fs::read_to_string("tuning.json") {
///     Ok(text) => text.parse()?,
///     Err(_) => tune(&gpu, queue)?,
/// };
/// std::fs::write("tuning.json", tuning.to_string())?;
/// let gpu = gpu.with_policy(Policy::AUTO.with_tuning(tuning));
/// # Ok(gpu)
/// # }
/// ```
///
/// # Errors
/// [`Error::Device`] where the device is lost; whatever [`Graph::plan`] says of a device that is too small.
pub fn tune(gpu: &Gpu, queue: &wgpu::Queue) -> Result<Tuning, Error> {
    let device = gpu.with_policy(Policy::AUTO);
    let mut seen = Vec::new();
    let mut tuning = Tuning::default();
    for graph in graphs()? {
        for variant in graph.variants(&device)? {
            let name = variant.shader.name;
            if !variant.subgroups || seen.contains(&name) {
                continue;
            }
            seen.push(name);
            let Some(portable) = Tuning::default().with(name) else { continue };
            let plans = [Policy::AUTO, Policy::AUTO.with_tuning(portable)].map(|policy| plan(&gpu.with_policy(policy), &graph));
            let [subgroups, other] = plans;
            let [subgroups, other] = compare(&device, queue, &[subgroups?, other?])?;
            log::debug!("{name}: {:.1} us with subgroups, {:.1} us without", subgroups * 1e6, other * 1e6);
            if other < FASTER * subgroups {
                tuning = tuning.with(name).unwrap_or(tuning);
            }
        }
    }
    Ok(tuning)
}

/// A plan into buffers of its own.
fn plan(gpu: &Gpu, graph: &Graph) -> Result<Plan, Error> {
    let tensors = graph.inputs().chain(graph.outputs());
    let bindings = tensors.fold(Bindings::new(), |bindings, (name, desc)| {
        let usage = wgpu::BufferUsages::STORAGE;
        let size = desc.bytes().next_multiple_of(4);
        let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
        bindings.bind(name, TensorView::new(&buffer, 0, desc.shape, desc.elem))
    });
    graph.plan(gpu, &bindings)
}

/// Seconds of each: the least of seven turns, as long as two milliseconds each.
fn compare(gpu: &Gpu, queue: &wgpu::Queue, plans: &[Plan; 2]) -> Result<[f64; 2], Error> {
    let run = |plan: &Plan, times: u32| {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        (0..times).for_each(|_| plan.record_into(&mut encoder, None));
        let start = Instant::now();
        queue.submit([encoder.finish()]);
        gpu.device().poll(wgpu::PollType::wait_indefinitely()).map_err(|error| Error::Device { message: error.to_string() })?;
        Ok::<_, Error>(start.elapsed().as_secs_f64() / f64::from(times))
    };
    run(&plans[0], 1)?;
    let times = (2e-3 / run(&plans[0], 1)?).clamp(1.0, 256.0) as u32;
    run(&plans[1], times)?;
    let mut least = [f64::INFINITY; 2];
    for _ in 0..7 {
        for (least, plan) in least.iter_mut().zip(plans) {
            *least = least.min(run(plan, times)?);
        }
    }
    Ok(least)
}

/// Numbers in -1..1.
fn noise(graph: &mut Graph, shape: impl Into<Shape>) -> Tensor {
    let shape = shape.into();
    let number = |i: u64| random_u32(shape.elements() as u32, i) as f32 / 2f32.powi(31) - 1.0;
    graph.constant(HostTensor::f32(shape, (0..shape.elements()).map(number).collect()))
}

/// Calls that run every shader of two forms at an ordinary size, in one graph each.
fn graphs() -> Result<Vec<Graph>, Error> {
    type Build = fn(&mut Graph) -> Result<Tensor, Error>;
    let builds: [Build; 11] = [
        |graph| {
            let (x, weight) = (noise(graph, [577, 512]), noise(graph, [512, 512]));
            linear(graph, x, weight, None)
        },
        |graph| {
            let tokens = graph.tokens("x", [4, 577, 256], Elem::F32)?;
            let metric = noise(graph, [4, 577, 64]);
            Ok(ToMe { merge: 144, ..Default::default() }.build(graph, &tokens, metric)?.tokens.x)
        },
        |graph| score(graph, [6, 577], Queries::CLASS, Norm::Softmax),
        |graph| score(graph, [6, 577], Queries::All, Norm::Softmax),
        |graph| score(graph, [6, 577], Queries::All, Norm::Logits),
        |graph| score(graph, [2, 8192], Queries::CLASS, Norm::Softmax),
        |graph| {
            let [queries, keys, values] = [0; 3].map(|_| noise(graph, [1, 6, 577, 64]));
            let inputs = QueryKeyValue { queries, keys, values, bias: None, lengths: None, query_lengths: None };
            Ok(Attention::default().attend(graph, inputs)?.rows)
        },
        |graph| {
            let scores = noise(graph, [32, 577]);
            Ok(TopK { k: 64, ..Default::default() }.select(graph, TopKInputs::new(scores))?.indices)
        },
        |graph| {
            let scores = noise(graph, [32, 577]);
            Ok(TopK { k: 577, ..Default::default() }.select(graph, TopKInputs::new(scores))?.indices)
        },
        |graph| {
            let scores = noise(graph, [1, 65536]);
            let selected = TopK { k: 1024, mask: true, ..Default::default() }.select(graph, TopKInputs::new(scores))?;
            Ok(compact(graph, selected.mask.unwrap_or(selected.places), None)?.indices)
        },
        |graph| {
            let x = noise(graph, [4, 256, 64]);
            let normalized = row_normalize(graph, x, None)?;
            let joins = grow_runs(graph, normalized, 0.1, None)?;
            let sizes = graph.constant(HostTensor::u32([4, 256], vec![196; 1024]));
            let scores = noise(graph, [4, 256]);
            let budgets = FrameBudget { base: 0.25, temperature: 0.01 }.find(graph, scores, sizes)?;
            graph.output("joins", joins)?;
            Ok(budgets)
        },
    ];
    let build = |build: Build| {
        let mut graph = Graph::new();
        let output = build(&mut graph)?;
        graph.output("output", output)?;
        Ok(graph)
    };
    builds.into_iter().map(build).collect()
}

fn score(graph: &mut Graph, [heads, tokens]: [u32; 2], queries: Queries, norm: Norm) -> Result<Tensor, Error> {
    let (q, k) = (noise(graph, [1, heads, tokens, 64]), noise(graph, [1, heads, tokens, 64]));
    let inputs = AttentionInputs { queries: q, keys: k, bias: None, lengths: None, query_lengths: None };
    Ok(AttentionScore { queries, norm, ..Default::default() }.score(graph, inputs)?.score)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Capabilities, lower_graph};
    use crate::tuning::choices;

    #[test]
    fn every_choice_is_measured() {
        let capabilities = Capabilities { subgroups: true, subgroup_min: 8, subgroup_max: 8, ..Capabilities::portable() };
        let mut run = Vec::new();
        for graph in graphs().unwrap() {
            let program = lower_graph(&graph, &capabilities, Policy::AUTO, &|_| 0).unwrap();
            run.extend(program.dispatches.iter().filter(|dispatch| dispatch.subgroups).map(|dispatch| dispatch.shader.name));
        }
        for name in choices() {
            assert!(run.contains(&name), "{name} is in no graph");
        }
        assert!(choices().count() < 32);
    }
}
