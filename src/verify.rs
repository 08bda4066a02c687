//! The GPU against the reference: whole graphs, and step by step with each step fed the reference's inputs,
//! so that the first wrong step names itself.

use crate::compare::Comparison;
use crate::error::Error;
use crate::gpu::{Bindings, Gpu, TensorView};
use crate::graph::Graph;
use crate::readback::{Context, HostTensors};
use crate::tensor::{Desc, HostTensor};

/// What every byte that nobody may rely on is filled with before a run: a NaN, and a huge integer.
pub const POISON: u32 = 0x7fc0_dead;

/// Where a guarded run puts its tensors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Placement {
    /// Words of canary before each tensor: its offset is then as many past a multiple of 16 bytes.
    pub gap: u64,
    /// All tensors in one buffer, as the arenas of runtimes have them.
    pub one_buffer: bool,
}

/// What a guarded run found besides its outputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guards {
    /// Bytes outside every output that changed.
    pub trespasses: usize,
    /// Outputs that differ between two runs.
    pub unrepeatable: Vec<String>,
}

impl Guards {
    /// Whether nothing was found.
    pub fn passed(&self) -> bool {
        *self == Self::default()
    }
}

struct Placed {
    name: String,
    desc: Desc,
    buffer: usize,
    offset: usize,
    output: bool,
}

/// What a guarded run gave.
#[derive(Debug, Clone, Default)]
pub struct GuardedRun {
    /// Every output by name.
    pub outputs: HostTensors,
    /// What was found besides them.
    pub guards: Guards,
    /// Labels of the shader variants that ran.
    pub variants: Vec<String>,
}

/// Words of canary behind each tensor. They are bound with it: what writes past the end of a binding writes nothing.
const CANARIES: u64 = 8;

/// Runs a graph twice in poisoned memory with canaries around every tensor.
pub async fn run_guarded(
    context: &Context,
    gpu: &Gpu,
    graph: &Graph,
    inputs: &HostTensors,
    placement: Placement,
) -> Result<GuardedRun, Error> {
    let mut contents: Vec<Vec<u8>> = Vec::new();
    let mut placed: Vec<Placed> = Vec::new();
    let tensors = graph.inputs().map(|t| (t, false)).chain(graph.outputs().map(|t| (t, true)));
    for ((name, desc), output) in tensors {
        if !placement.one_buffer || contents.is_empty() {
            contents.push(Vec::new());
        }
        let buffer = contents.len() - 1;
        let bytes = &mut contents[buffer];
        let poison = |bytes: &mut Vec<u8>, words: u64| bytes.extend((0..words).flat_map(|_| POISON.to_le_bytes()));
        poison(bytes, placement.gap);
        let offset = bytes.len();
        match inputs.get(name) {
            Some(value) if !output => bytes.extend_from_slice(value.bytes()),
            _ => bytes.extend(POISON.to_le_bytes().iter().cycle().take(desc.bytes() as usize)),
        }
        // An odd f16 tensor ends within a word: the rest of it belongs to somebody else.
        while !bytes.len().is_multiple_of(4) {
            bytes.push(0xa5);
        }
        poison(bytes, CANARIES);
        while !bytes.len().is_multiple_of(16) {
            poison(bytes, 1);
        }
        placed.push(Placed { name: name.to_owned(), desc, buffer, offset, output });
    }
    let buffers: Vec<_> = contents.iter().map(|bytes| context.buffer(bytes)).collect();
    let mut bindings = Bindings::new();
    for tensor in &placed {
        let view = TensorView::new(&buffers[tensor.buffer], tensor.offset as u64, tensor.desc.shape, tensor.desc.elem)
            .with_size(tensor.desc.bytes().next_multiple_of(4) + 4 * CANARIES);
        bindings = bindings.bind(&tensor.name, view);
    }
    let workspace_bytes = graph.workspace_size(gpu)?;
    let workspace = context.buffer(&POISON.to_le_bytes().repeat(workspace_bytes as usize / 4));
    bindings = bindings.workspace(&workspace, 0, workspace_bytes);
    let plan = graph.plan(gpu, &bindings)?;

    let mut runs: Vec<HostTensors> = Vec::new();
    let mut guards = Guards::default();
    for _ in 0..2 {
        let mut encoder = context.device.create_command_encoder(&Default::default());
        plan.record_into(&mut encoder, None);
        context.queue.submit([encoder.finish()]);
        let mut after = Vec::new();
        for buffer in &buffers {
            after.push(context.read(buffer).await?);
        }
        let mut outputs = HostTensors::new();
        for tensor in placed.iter().filter(|t| t.output) {
            let range = tensor.offset..tensor.offset + tensor.desc.bytes() as usize;
            outputs.insert(tensor.name.clone(), HostTensor::from_bytes(tensor.desc, &after[tensor.buffer][range.clone()]));
            contents[tensor.buffer][range.clone()].copy_from_slice(&after[tensor.buffer][range]);
        }
        guards.trespasses +=
            contents.iter().zip(&after).map(|(before, after)| before.iter().zip(after).filter(|(b, a)| b != a).count()).sum::<usize>();
        runs.push(outputs);
    }
    let last = runs.swap_remove(1);
    for (name, first) in &runs[0] {
        if first.bytes() != last[name].bytes() {
            guards.unrepeatable.push(name.clone());
        }
    }
    Ok(GuardedRun { outputs: last, guards, variants: plan.variants().collect() })
}

/// One kernel call of a graph, GPU against reference on the reference's inputs.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// Position in the graph.
    pub call: usize,
    /// The kernel.
    pub kernel: &'static str,
    /// Name of each output, and its comparison.
    pub outputs: Vec<(&'static str, Comparison)>,
    /// What the guards found.
    pub guards: Guards,
    /// Labels of the shader variants that ran.
    pub variants: Vec<String>,
}

impl StepReport {
    /// Whether every output is within its bound and nothing else changed.
    pub fn passed(&self) -> bool {
        self.guards.passed() && self.outputs.iter().all(|(_, c)| c.passed())
    }
}

/// Runs every call of a graph by itself, fed with the reference's inputs.
pub async fn steps(
    context: &Context,
    gpu: &Gpu,
    graph: &Graph,
    inputs: &HostTensors,
    placement: Placement,
) -> Result<Vec<StepReport>, Error> {
    let values = graph.reference_values(inputs, &vec![true; graph.nodes().len()])?;
    let mut reports = Vec::new();
    for (call, node) in graph.nodes().iter().enumerate() {
        let fed = graph.reference_inputs(node, &values);
        let mut single = Graph::new();
        let handles: Vec<_> = fed.iter().enumerate().map(|(i, t)| single.input(&format!("input {i}"), t.shape(), t.desc().elem)).collect();
        let outputs = single.call_shared(node.kernel.clone(), &handles)?;
        for (index, tensor) in outputs.iter().enumerate() {
            single.output(&format!("output {index}"), *tensor)?;
        }
        let feed: HostTensors = fed.iter().enumerate().map(|(i, t)| (format!("input {i}"), t.clone())).collect();
        let GuardedRun { outputs: results, guards, variants } = run_guarded(context, gpu, &single, &feed, placement).await?;
        let actual: Vec<_> = (0..outputs.len()).map(|i| results[&format!("output {i}")].clone()).collect();
        let expected: Vec<_> = node.outputs.iter().map(|t| values[&t.id()].clone()).collect();
        let comparisons = node.kernel.compare(&fed.iter().collect::<Vec<_>>(), &expected, &actual);
        reports.push(StepReport {
            call,
            kernel: node.kernel.name(),
            outputs: node.kernel.output_names().iter().copied().zip(comparisons).collect(),
            guards,
            variants,
        });
    }
    Ok(reports)
}
