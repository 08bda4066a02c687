//! Compares the GPU with the reference: whole graphs, or call by call. Each call is then fed the reference's inputs, so the first wrong
//! call is named.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::compare::Comparison;
use crate::device::{Gpu, TensorView, checked, submit};
use crate::error::Error;
use crate::graph::{Graph, Node, Tensor};
use crate::plan::Bindings;
use crate::readback::{Context, HostTensors};
use crate::tensor::{Desc, HostTensor, TensorId};

/// The garbage that fills all memory before a run: as a float a NaN, as an integer a huge one.
pub const POISON: u32 = 0x7fc0_dead;

/// Where a guarded run puts its tensors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Placement {
    /// Guard words before each tensor. Its offset is so many words past a multiple of 16 bytes.
    pub gap: u64,
    /// All tensors in one buffer, as the arenas of runtimes have them.
    pub one_buffer: bool,
    /// Rows of tensors have a gap between them, and so have the elements of those that have no rows.
    pub apart: bool,
}

impl Placement {
    /// How far apart the elements of a tensor lie; `None` if it is dense.
    fn strides(&self, desc: Desc) -> Option<Vec<u32>> {
        if desc.shape.elements() == 0 {
            return None;
        }
        let dims = desc.shape.dims();
        let (outer, inner) = dims.split_at(dims.len().saturating_sub(1));
        let row = match (self.apart, outer, inner) {
            (false, ..) => return None,
            (true, [], _) => return Some(vec![2; dims.len()]),
            // Whole numbers of 16 bytes stay so.
            (true, _, inner) => {
                let (row, aligned) = (inner.iter().product::<u32>(), 16 / desc.elem.size() as u32);
                row + if row.is_multiple_of(aligned) { aligned } else { 1 }
            }
        };
        let mut strides = vec![1];
        let mut next = row;
        for dim in outer.iter().rev() {
            strides.push(next);
            next = next.saturating_mul(*dim);
        }
        strides.reverse();
        Some(strides)
    }
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
    strides: Option<Vec<u32>>,
    output: bool,
}

impl Placed {
    /// Byte offset of each element after the first. A dense tensor is one element of all its bytes.
    fn pieces(&self) -> (usize, Vec<usize>) {
        let Some(strides) = &self.strides else { return (self.desc.bytes() as usize, vec![0]) };
        let size = self.desc.elem.size() as usize;
        let mut places = vec![0usize];
        for (dim, stride) in self.desc.shape.dims().iter().zip(strides) {
            let steps = (0..*dim as usize).map(|i| i * *stride as usize * size);
            places = places.iter().flat_map(|place| steps.clone().map(move |step| place + step)).collect();
        }
        (size, places)
    }

    /// Bytes from the first element to the end of the last.
    fn bytes(&self) -> usize {
        let (size, places) = self.pieces();
        places.last().map_or(0, |last| last + size)
    }
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

/// Guard words after each tensor. They are bound with it, because a write past the end of a binding has no effect.
const CANARIES: u64 = 8;

/// Runs a graph twice in memory filled with garbage, with guard words around every tensor.
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
        // Browsers refuse bindings that overlap, and a binding begins at such a multiple.
        while gpu.capabilities().backend == wgpu::Backend::BrowserWebGpu
            && !bytes.len().is_multiple_of(gpu.capabilities().storage_alignment as usize)
        {
            poison(bytes, 1);
        }
        poison(bytes, placement.gap);
        let tensor = Placed { name: name.to_owned(), desc, buffer, offset: bytes.len(), strides: placement.strides(desc), output };
        bytes.extend(POISON.to_le_bytes().iter().cycle().take(tensor.bytes()));
        if let Some(value) = inputs.get(name).filter(|_| !output) {
            let (size, places) = tensor.pieces();
            for (piece, place) in value.bytes().chunks(size.max(1)).zip(places) {
                bytes[tensor.offset + place..][..piece.len()].copy_from_slice(piece);
            }
        }
        // An odd f16 tensor ends within a word: the rest of it belongs to somebody else.
        while !bytes.len().is_multiple_of(4) {
            bytes.push(0xa5);
        }
        poison(bytes, CANARIES);
        while !bytes.len().is_multiple_of(16) {
            poison(bytes, 1);
        }
        placed.push(tensor);
    }
    let made = || Ok(contents.iter().map(|bytes| context.buffer(bytes)).collect::<Vec<_>>());
    let buffers = checked(&context.device, || "the tensors of a guarded run".to_owned(), made)?;
    let mut bindings = Bindings::new();
    for tensor in &placed {
        let view = TensorView::new(&buffers[tensor.buffer], tensor.offset as u64, tensor.desc.shape, tensor.desc.elem)
            .with_size((tensor.bytes() as u64).next_multiple_of(4) + 4 * CANARIES);
        let view = match &tensor.strides {
            Some(strides) => view.with_strides(strides),
            None => view,
        };
        bindings = bindings.bind(&tensor.name, view);
    }
    let workspace_bytes = graph.workspace_size_of(gpu, &bindings)?;
    let made = || Ok(context.buffer(&POISON.to_le_bytes().repeat(workspace_bytes as usize / 4)));
    let workspace = checked(&context.device, || format!("a workspace of {workspace_bytes} bytes"), made)?;
    bindings = bindings.workspace(&workspace, 0, workspace_bytes);
    let plan = graph.plan(gpu, &bindings)?;

    let mut runs: Vec<HostTensors> = Vec::new();
    let mut guards = Guards::default();
    for _ in 0..2 {
        submit(&context.device, &context.queue, |encoder| plan.record_into(encoder, None))?;
        let mut after = Vec::new();
        for buffer in &buffers {
            after.push(context.read(buffer).await?);
        }
        let mut outputs = HostTensors::new();
        for tensor in placed.iter().filter(|t| t.output) {
            let (size, places) = tensor.pieces();
            let mut value = Vec::with_capacity(tensor.desc.bytes() as usize);
            for place in places {
                let range = tensor.offset + place..tensor.offset + place + size;
                value.extend_from_slice(&after[tensor.buffer][range.clone()]);
                contents[tensor.buffer][range.clone()].copy_from_slice(&after[tensor.buffer][range]);
            }
            outputs.insert(tensor.name.clone(), HostTensor::from_bytes(tensor.desc, &value)?);
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

/// One kernel call of a graph: the GPU compared with the reference, on the reference's inputs.
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

/// Name of a call's output in the graph of [`Graph::single_call`].
fn output_name(index: usize) -> String {
    format!("output {index}")
}

impl Graph {
    /// A graph of one call of this graph, and its inputs in the shapes that the call sees.
    fn single_call(&self, node: &Node, values: &HashMap<TensorId, HostTensor>) -> Result<(Self, HostTensors), Error> {
        let mut single = Self::new();
        let mut feed = HostTensors::new();
        let mut handles = Vec::new();
        for (index, value) in self.reference_inputs(node, values).into_iter().enumerate() {
            let name = format!("input {index}");
            handles.push(single.input(&name, value.shape(), value.desc().elem));
            feed.insert(name, value);
        }
        for (index, tensor) in single.call_shared(node.kernel.clone(), &handles)?.into_iter().enumerate() {
            single.output(&output_name(index), tensor)?;
        }
        Ok((single, feed))
    }
}

/// A graph, and the reference's value of each of its tensors. Compare several devices or variants with it.
#[derive(Debug, Clone)]
pub struct Reference {
    graph: Graph,
    values: HashMap<TensorId, HostTensor>,
    /// Comparisons so far, by a call's results. Many variants and devices give the same bits, and a bound may cost more than its kernel.
    verdicts: Arc<Mutex<HashMap<Answer, Vec<Comparison>>>>,
}

/// A call's position, and the bytes of its results.
type Answer = (usize, Vec<Vec<u8>>);

impl Reference {
    /// Executes every call on the CPU.
    pub fn new(graph: &Graph, inputs: &HostTensors) -> Result<Self, Error> {
        let all = vec![true; graph.nodes().len()];
        let values = graph.reference_values(inputs, &all, &all)?;
        Ok(Self { graph: graph.clone(), values, verdicts: Arc::default() })
    }

    /// Compares the results of a call with the reference's.
    fn compare(&self, call: usize, fed: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let node = &self.graph.nodes()[call];
        let answer = (call, actual.iter().map(|t| t.bytes().to_vec()).collect());
        let verdicts = || self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = verdicts().get(&answer) {
            return known.clone();
        }
        let expected: Vec<_> = node.outputs.iter().map(|t| self.values[&t.id()].clone()).collect();
        // Bounds of empty results would take as long as the reference, however large the other dimensions are.
        let comparisons = if expected.iter().all(|tensor| tensor.shape().elements() == 0) {
            expected.iter().zip(actual).map(|(expected, actual)| Comparison::exact(expected, actual)).collect()
        } else {
            node.kernel.compare(&fed.iter().collect::<Vec<_>>(), &expected, actual)
        };
        verdicts().insert(answer, comparisons.clone());
        comparisons
    }

    /// Runs every call of the graph by itself, fed with the reference's inputs.
    pub async fn steps(&self, context: &Context, gpu: &Gpu, placement: Placement) -> Result<Vec<StepReport>, Error> {
        let mut reports = Vec::new();
        for (call, node) in self.graph.nodes().iter().enumerate() {
            let fed = self.graph.reference_inputs(node, &self.values);
            let (single, feed) = self.graph.single_call(node, &self.values)?;
            let GuardedRun { outputs: results, guards, variants } = run_guarded(context, gpu, &single, &feed, placement).await?;
            let actual: Vec<_> = (0..node.outputs.len()).map(|i| results[&output_name(i)].clone()).collect();
            let comparisons = self.compare(call, &fed, &actual);
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
}

/// A graph run as one plan, compared with its calls run one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WholeReport {
    /// Outputs whose bits differ.
    pub differing: Vec<String>,
    /// What the guards of the whole run found.
    pub guards: Guards,
}

impl WholeReport {
    /// Whether the outputs are bit-equal and nothing else changed.
    pub fn passed(&self) -> bool {
        *self == Self::default()
    }
}

/// Runs a graph as one plan, whose calls share a workspace full of garbage. Runs it again call by call, each in memory of its own. The
/// results differ if two tensors of the workspace overlap, or if a dispatch comes too early.
pub async fn whole(context: &Context, gpu: &Gpu, graph: &Graph, inputs: &HostTensors) -> Result<WholeReport, Error> {
    let placement = Placement::default();
    let GuardedRun { outputs: together, guards, .. } = run_guarded(context, gpu, graph, inputs, placement).await?;
    let mut values = graph.reference_values(inputs, &vec![false; graph.nodes().len()], &graph.needed())?;
    for (node, _) in graph.nodes().iter().zip(graph.needed()).filter(|(_, needed)| *needed) {
        let (single, feed) = graph.single_call(node, &values)?;
        let mut results = run_guarded(context, gpu, &single, &feed, placement).await?.outputs;
        for (index, tensor) in node.outputs.iter().enumerate() {
            if let Some(result) = results.remove(&output_name(index)) {
                values.insert(tensor.id(), result);
            }
        }
    }
    let differs = |(name, tensor): &&(String, Tensor)| together[name].bytes() != values[&tensor.id()].bytes();
    let differing = graph.output_tensors().iter().filter(differs).map(|(name, _)| name.clone()).collect();
    Ok(WholeReport { differing, guards })
}
