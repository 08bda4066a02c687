//! From the kernel calls of a graph to dispatches.

use std::collections::{HashMap, HashSet};

use super::bindings::overlaps;
use super::constants::row_of_pattern;
use super::workspace::placed_elsewhere;
use crate::device::{Capabilities, Copied, Dispatch, Lowering, Operand, Place, Policy, Resource, Slot, Storage};
use crate::error::Error;
use crate::graph::{Graph, Node, Tensor};
use crate::kernels::{STRIDED_COPY, TEXTURE_COPY, convert_numbers, copy_bytes, strided_copy, texture_copy};
use crate::tensor::{Desc, Elem, TensorId};

/// The dispatches of a whole graph.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub(crate) dispatches: Vec<Dispatch>,
    /// Bytes of each scratch storage.
    pub(crate) scratch: Vec<u64>,
}

/// Lowers every kernel call of a graph that contributes to an output.
///
/// `place` says where a bound tensor lies in its buffer. The others are dense, at 0.
pub(crate) fn lower_graph(
    graph: &Graph,
    capabilities: &Capabilities,
    policy: Policy,
    place: &dyn Fn(TensorId) -> Place,
) -> Result<Program, Error> {
    let mut lowerer = Lowerer { capabilities, policy, place, program: Program::default(), dense: HashMap::new() };
    let needed = graph.needed();
    let inputs = graph.nodes().iter().zip(&needed).filter(|(_, needed)| **needed).flat_map(|(node, _)| &node.inputs);
    let read_by_calls: HashSet<_> = inputs.map(Tensor::id).collect();
    let named: HashSet<_> = graph.output_tensors().iter().map(|(_, tensor)| tensor.id()).collect();
    for (index, node) in graph.nodes().iter().enumerate().filter(|(index, _)| needed[*index]) {
        let operand = |tensor: &Tensor| Operand {
            resource: Resource { storage: Storage::Tensor(tensor.id()), offset: 0, bytes: tensor.desc().bytes() },
            desc: tensor.desc(),
            texels: place(tensor.id()).texels,
        };
        let (mut inputs, mut outputs): (Vec<_>, Vec<_>) =
            (node.inputs.iter().map(operand).collect(), node.outputs.iter().map(operand).collect());
        // A result that is read again is read from the buffer that it lies in beside its texture.
        for (operand, _) in inputs.iter_mut().zip(&node.inputs).filter(|(_, tensor)| named.contains(&tensor.id())) {
            operand.texels = None;
        }
        // No buffer holds this tensor, even if its binding is split.
        let limit = capabilities.max_buffer;
        if let Some(operand) = inputs.iter().chain(&outputs).find(|o| o.resource.bytes > limit && o.texels.is_none()) {
            let (tensor, bytes) = (operand.desc.to_string(), operand.resource.bytes);
            return Err(Error::BindingTooLarge { kernel: node.kernel.name(), tensor, bytes, limit });
        }
        let read_by_call = |tensor: &Tensor| read_by_calls.contains(&tensor.id());
        let read: Vec<_> = node.outputs.iter().map(|tensor| read_by_call(tensor) || named.contains(&tensor.id())).collect();
        // A texture may round what is written there, so a result that other calls read lies in a buffer too.
        let read_again = node.outputs.iter().zip(&outputs).any(|(tensor, operand)| operand.texels.is_some() && read_by_call(tensor));
        let keeps_textures = !read_again && lowerer.takes_textures(index, node, &inputs, &outputs, &read)?;
        let apart = |operand: &Operand| {
            let Storage::Tensor(id) = operand.resource.storage else { return false };
            let Place { strides, texels, .. } = place(id);
            strides.is_some() || (texels.is_some() && !(keeps_textures && operand.texels.is_some()))
        };
        for operand in inputs.iter_mut().filter(|operand| apart(operand)) {
            lowerer.make_dense(index, operand, true)?;
        }
        let bound: Vec<_> = outputs.clone();
        for operand in outputs.iter_mut().filter(|operand| apart(operand)) {
            lowerer.make_dense(index, operand, false)?;
        }
        lowerer.node(index, node, &inputs, &outputs, &read)?;
        for (bound, dense) in bound.iter().zip(&outputs).filter(|(bound, dense)| bound.resource != dense.resource) {
            lowerer.copy_dense(index, *bound, *dense, true)?;
        }
    }
    if capabilities.backend == wgpu::Backend::BrowserWebGpu {
        lowerer.keep_bindings_apart(graph)?;
    }
    Ok(lowerer.program)
}

/// Adds the copies of misaligned operands: inputs are copied before the call's own dispatches, outputs after them.
fn copy_round(lowering: &mut Lowering<'_>) -> Result<(), Error> {
    let own = std::mem::take(&mut lowering.dispatches);
    for Copied { from, to, bytes } in std::mem::take(&mut lowering.copied_first) {
        copy_bytes(lowering, from, to, bytes)?;
    }
    let before = marked_around(std::mem::take(&mut lowering.dispatches));
    for Copied { from, to, bytes } in std::mem::take(&mut lowering.copied_back) {
        copy_bytes(lowering, from, to, bytes)?;
    }
    let after = marked_around(std::mem::take(&mut lowering.dispatches));
    lowering.dispatches = [before, own, after].concat();
    Ok(())
}

/// Dispatches that a plan puts around a call's own.
fn marked_around(mut dispatches: Vec<Dispatch>) -> Vec<Dispatch> {
    dispatches.iter_mut().for_each(|dispatch| dispatch.around = true);
    dispatches
}

struct Lowerer<'a> {
    capabilities: &'a Capabilities,
    policy: Policy,
    place: &'a dyn Fn(TensorId) -> Place,
    program: Program,
    /// The scratch storage that stands for a tensor that is strided or lies in a texture.
    dense: HashMap<TensorId, usize>,
}

impl Lowerer<'_> {
    fn address(&self, resource: &Resource) -> u64 {
        let base = match resource.storage {
            Storage::Tensor(id) => (self.place)(id).address,
            Storage::Scratch(_) => 0,
        };
        base + resource.offset
    }

    /// Whether a call reads and writes the textures among its operands itself.
    fn takes_textures(&self, index: usize, node: &Node, inputs: &[Operand], outputs: &[Operand], read: &[bool]) -> Result<bool, Error> {
        if inputs.iter().chain(outputs).all(|operand| operand.texels.is_none()) {
            return Ok(true);
        }
        let mut lowering = self.lowering(node.kernel.name(), index, [inputs, outputs], read);
        node.kernel.lower(&mut lowering)?;
        Ok(!lowering.needs_buffers)
    }

    /// Puts dense scratch memory in an operand's place. An input is copied there before its first reader.
    fn make_dense(&mut self, index: usize, operand: &mut Operand, is_input: bool) -> Result<(), Error> {
        let Storage::Tensor(id) = operand.resource.storage else { return Ok(()) };
        let bytes = operand.desc.bytes();
        let there = self.dense.get(&id).copied();
        let storage = there.unwrap_or(self.program.scratch.len());
        let resource = Resource { storage: Storage::Scratch(storage), offset: 0, bytes };
        let dense = Operand { resource, desc: operand.desc, texels: None };
        if there.is_none() {
            self.program.scratch.push(bytes);
            self.dense.insert(id, storage);
            if is_input {
                self.copy_dense(index, *operand, dense, false)?;
            }
        }
        *operand = dense;
        Ok(())
    }

    /// Copies a tensor that is strided or lies in a texture into a dense one, or back.
    fn copy_dense(&mut self, index: usize, bound: Operand, dense: Operand, back: bool) -> Result<(), Error> {
        if bound.texels.is_some() { self.copy_texture(index, bound, dense, back) } else { self.copy_strided(index, bound, dense, back) }
    }

    /// Copies an input where a dispatch has it twice, and both bindings could write. A dispatch that reads and writes the workspace may write
    /// to all its bindings, and browsers refuse two such bindings of the same bytes.
    fn keep_bindings_apart(&mut self, graph: &Graph) -> Result<(), Error> {
        let elsewhere = placed_elsewhere(graph);
        let in_workspace = |resource: &Resource| match resource.storage {
            Storage::Scratch(_) => true,
            Storage::Tensor(id) => resource.bytes == 0 || !elsewhere(id),
        };
        let row = |id| row_of_pattern(graph, id);
        let one_memory = |a: Storage, b: Storage| match (a, b) {
            (Storage::Tensor(a), Storage::Tensor(b)) => a == b || (row(a).is_some() && row(a) == row(b)),
            (a, b) => a == b,
        };
        let alignment = u64::from(self.capabilities.storage_alignment);
        let bound = |lowerer: &Self, r: &Resource| {
            let start = lowerer.address(r);
            start - start % alignment..start + r.bytes.next_multiple_of(4)
        };
        let overlap = |lowerer: &Self, a: &Resource, b: &Resource| {
            one_memory(a.storage, b.storage) && a.bytes > 0 && b.bytes > 0 && overlaps(&bound(lowerer, a), &bound(lowerer, b))
        };
        for mut dispatch in std::mem::take(&mut self.program.dispatches) {
            let (inputs, outputs) = dispatch.resources.split_at(dispatch.shader.inputs.len());
            // A shader that declares no inputs has them among its outputs.
            let all_written = inputs.is_empty();
            let may_write = self.policy.read_write || (inputs.iter().any(in_workspace) && outputs.iter().any(in_workspace));
            let places = if all_written {
                outputs.len()
            } else if may_write {
                inputs.len()
            } else {
                0
            };
            for place in 1..places {
                let resource = dispatch.resources[place];
                let is_texture = dispatch.shader.bindings().nth(place).is_some_and(|(_, elem)| elem.is_texture());
                if is_texture || !dispatch.resources[..place].iter().any(|earlier| overlap(self, earlier, &resource)) {
                    continue;
                }
                let copy = Resource { storage: Storage::Scratch(self.program.scratch.len()), offset: 0, bytes: resource.bytes };
                self.program.scratch.push(resource.bytes);
                let operand = |resource| [Operand { resource, desc: Desc { shape: [1].into(), elem: Elem::U32 }, texels: None }];
                let (from, to) = (operand(resource), operand(copy));
                let mut lowering = self.lowering("copy", dispatch.node, [&from, &to], &[true]);
                copy_bytes(&mut lowering, Slot::Input(0), Slot::Output(0), resource.bytes)?;
                let copies = marked_around(lowering.dispatches);
                self.program.dispatches.extend(copies);
                dispatch.resources[place] = copy;
            }
            self.program.dispatches.push(dispatch);
        }
        Ok(())
    }

    fn copy_texture(&mut self, index: usize, texture: Operand, dense: Operand, back: bool) -> Result<(), Error> {
        let (bytes, limit) = (dense.resource.bytes, self.capabilities.max_binding);
        if bytes > limit {
            return Err(Error::BindingTooLarge { kernel: TEXTURE_COPY, tensor: dense.desc.to_string(), bytes, limit });
        }
        let (from, to) = if back { (dense, texture) } else { (texture, dense) };
        let (from, to) = ([from], [to]);
        let mut lowering = self.lowering(TEXTURE_COPY, index, [&from, &to], &[true]);
        texture_copy(&mut lowering, back)?;
        let (scratch, dispatches) = (std::mem::take(&mut lowering.scratch), std::mem::take(&mut lowering.dispatches));
        self.program.scratch.extend(scratch);
        self.program.dispatches.extend(marked_around(dispatches));
        Ok(())
    }

    fn copy_strided(&mut self, index: usize, strided: Operand, dense: Operand, back: bool) -> Result<(), Error> {
        let Storage::Tensor(id) = strided.resource.storage else { return Ok(()) };
        let Some(strides) = (self.place)(id).strides else { return Ok(()) };
        let elem = strided.desc.elem;
        let desc = Desc { shape: strides.shape, elem };
        let bytes = strides.span().saturating_mul(elem.size());
        let limit = self.capabilities.max_binding;
        let strided = Operand { resource: Resource { bytes, ..strided.resource }, desc, texels: None };
        let dense = Operand { desc, ..dense };
        for operand in [&strided, &dense] {
            let bytes = self.bound_bytes(operand);
            if bytes > limit {
                return Err(Error::BindingTooLarge { kernel: STRIDED_COPY, tensor: desc.to_string(), bytes, limit });
            }
        }
        let (from, to) = if back { (dense, strided) } else { (strided, dense) };
        let (from, to) = ([from], [to]);
        let mut lowering = self.lowering(STRIDED_COPY, index, [&from, &to], &[true]);
        strided_copy(&mut lowering, elem, strides, back)?;
        let dispatches = marked_around(lowering.dispatches);
        self.program.dispatches.extend(dispatches);
        Ok(())
    }

    /// Lowers a call as a whole if every binding is within the device's limit. Otherwise lowers each half of its batch. A call whose results
    /// are empty has no dispatch.
    fn node(&mut self, index: usize, node: &Node, inputs: &[Operand], outputs: &[Operand], read: &[bool]) -> Result<(), Error> {
        // Of no channels there may be any number of heads and rows, and workgroups for them.
        if outputs.iter().zip(read).all(|(output, read)| !read || output.desc.shape.elements() == 0) {
            return Ok(());
        }
        let limit = self.capabilities.max_binding;
        let kernel = node.kernel.name();
        let largest = inputs.iter().chain(outputs).max_by_key(|o| self.bound_bytes(o)).map(|o| (self.bound_bytes(o), o.desc.to_string()));
        let mut too_large = largest.filter(|(bytes, _)| *bytes > limit);
        if too_large.is_none() {
            let mut lowering = self.lowering(kernel, index, [inputs, outputs], read);
            node.kernel.lower(&mut lowering)?;
            let (scratch, dispatches) = if lowering.needs_wide {
                self.in_f32(index, node, [inputs, outputs], read)?
            } else {
                copy_round(&mut lowering)?;
                (lowering.scratch, lowering.dispatches)
            };
            match scratch.iter().max().filter(|bytes| **bytes > limit) {
                Some(bytes) => too_large = Some((*bytes, "scratch".to_owned())),
                None => {
                    self.program.scratch.extend(scratch);
                    self.program.dispatches.extend(dispatches);
                    return Ok(());
                }
            }
        }
        let (bytes, tensor) = too_large.unwrap_or_default();
        let error = Error::BindingTooLarge { kernel, tensor, bytes, limit };
        let descs: Vec<_> = inputs.iter().map(|o| o.desc).collect();
        if inputs.iter().chain(outputs).any(|operand| operand.texels.is_some()) {
            return Err(error);
        }
        let batched = node.kernel.batched_inputs(&descs).ok_or_else(|| error.clone())?;
        let batch = outputs.first().and_then(|o| o.desc.shape.dims().first().copied()).unwrap_or(0);
        if batch < 2 {
            return Err(error);
        }
        let half = batch.div_ceil(2);
        for (first, count) in [(0, half), (half, batch - half)] {
            let part = |(o, split): (&Operand, bool)| if split { o.batch_slice(first, count) } else { *o };
            let inputs: Vec<_> = inputs.iter().zip(batched.iter().copied()).map(part).collect();
            let outputs: Vec<_> = outputs.iter().map(|o| part((o, true))).collect();
            self.node(index, node, &inputs, &outputs, read)?;
        }
        Ok(())
    }

    fn lowering<'a>(&'a self, kernel: &'static str, index: usize, operands: [&'a [Operand]; 2], read: &'a [bool]) -> Lowering<'a> {
        let addresses = operands.iter().copied().flatten().map(|o| self.address(&o.resource));
        let alignments = addresses.map(|address| 1 << address.trailing_zeros().min(4)).collect();
        Lowering::new(kernel, index, self.capabilities, self.policy, operands, read, alignments, self.program.scratch.len())
    }

    /// Lowers a call with f32 scratch memory in place of its operands of 16 bits: inputs are converted before it, and results after it.
    fn in_f32(&self, index: usize, node: &Node, operands: [&[Operand]; 2], read: &[bool]) -> Result<(Vec<u64>, Vec<Dispatch>), Error> {
        let kernel = node.kernel.name();
        let mut around = self.lowering(kernel, index, operands, read);
        let [inputs, outputs] = operands;
        let mut wide: Vec<Operand> = Vec::new();
        let mut converted_back = Vec::new();
        for (place, operand) in inputs.iter().chain(outputs).enumerate() {
            let Desc { shape, elem } = operand.desc;
            if elem.size() != 2 || operand.texels.is_some() {
                wide.push(*operand);
                continue;
            }
            // Queries and keys may be one tensor.
            if let Some(same) = inputs[..place.min(inputs.len())].iter().position(|o| o.resource == operand.resource) {
                wide.push(wide[same]);
                continue;
            }
            let storage = Storage::Scratch(self.program.scratch.len() + around.scratch.len());
            let slot = around.scratch(shape.elements(), Elem::F32);
            let desc = Desc { shape, elem: Elem::F32 };
            wide.push(Operand { resource: Resource { storage, offset: 0, bytes: desc.bytes() }, desc, texels: None });
            let own = match place.checked_sub(inputs.len()) {
                None => Slot::Input(place),
                Some(output) => Slot::Output(output),
            };
            match own {
                Slot::Input(_) => convert_numbers(&mut around, (own, elem), (slot, Elem::F32), shape.elements())?,
                _ => converted_back.push((slot, own, elem, shape.elements())),
            }
        }
        let wide = wide.split_at(inputs.len());
        let mut lowering = self.lowering(kernel, index, [wide.0, wide.1], read).with_scratch(around.scratch.clone());
        node.kernel.lower(&mut lowering)?;
        copy_round(&mut lowering)?;
        let before = marked_around(std::mem::take(&mut around.dispatches));
        for (slot, own, elem, elements) in converted_back {
            convert_numbers(&mut around, (slot, Elem::F32), (own, elem), elements)?;
        }
        Ok((lowering.scratch, [before, lowering.dispatches, marked_around(around.dispatches)].concat()))
    }

    /// Bytes of an operand's binding, none of a texture: from the aligned offset below it, to the end in multiples of 4.
    fn bound_bytes(&self, operand: &Operand) -> u64 {
        if operand.texels.is_some() {
            return 0;
        }
        let residue = self.address(&operand.resource) % u64::from(self.capabilities.storage_alignment);
        (residue + operand.resource.bytes).next_multiple_of(4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{AttentionInputs, AttentionScore, Queries, RowReduction, add};

    #[test]
    fn browsers_get_a_copy_of_what_is_bound_twice() {
        let copies = |backend, doubled: bool| {
            let mut graph = Graph::new();
            let given = graph.input("x", [1, 2, 864, 64], Elem::F32); // more than one tile
            let computed = add(&mut graph, given, given).unwrap();
            let other = add(&mut graph, computed, given).unwrap();
            let keys = if doubled { computed } else { other };
            let score = AttentionScore { queries: Queries::All, rows: RowReduction::Mean, ..Default::default() };
            let score = score.build(&mut graph, AttentionInputs::new(computed, keys)).unwrap().score;
            graph.output("score", score).unwrap();
            let capabilities = Capabilities { backend, ..Capabilities::portable() };
            let program = lower_graph(&graph, &capabilities, Policy::AUTO, &|_| Place::default()).unwrap();
            let within = |dispatch: &Dispatch| {
                let all = &dispatch.resources;
                (0..all.len()).any(|i| all[i].bytes > 0 && all[..i].contains(&all[i]))
            };
            let doubled = program.dispatches.iter().skip(1).filter(|dispatch| within(dispatch)).count();
            (doubled > 0, program.dispatches.iter().filter(|dispatch| dispatch.shader.name == "copy").count())
        };
        let (refused, copied) = copies(wgpu::Backend::Vulkan, true);
        assert!(refused, "nothing is bound twice: the test says nothing");
        assert_eq!(copied, 0);
        let (refused, copied) = copies(wgpu::Backend::BrowserWebGpu, true);
        assert!(!refused && copied > 0);
        // The lengths of queries and keys are one constant.
        let (refused, with_others) = copies(wgpu::Backend::BrowserWebGpu, false);
        assert!(!refused && with_others < copied);
    }
}
