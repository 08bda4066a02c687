//! From kernel calls to dispatches.

use std::collections::HashSet;

use super::module::{Form, Header, Shader, Variant};
use super::{Access, Capabilities, Policy};
use crate::error::Error;
use crate::graph::{Graph, Node, Tensor, TensorId};
use crate::kernels::copy_bytes;
use crate::tensor::{Desc, Elem};

/// Where a kernel's dispatch finds a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The kernel call's n-th input.
    Input(usize),
    /// The kernel call's n-th output.
    Output(usize),
    /// Memory from [`Lowering::scratch`].
    Scratch(usize),
}

/// Whose memory a resource lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Storage {
    Tensor(TensorId),
    Scratch(usize),
}

/// Bytes of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) storage: Storage,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// One dispatch, before buffers are known.
#[derive(Debug, Clone)]
pub(crate) struct Dispatch {
    pub(crate) node: usize,
    pub(crate) shader: &'static Shader,
    pub(crate) header: Header,
    pub(crate) form: Form,
    pub(crate) constants: &'static [(&'static str, u32)],
    /// Inputs, then outputs, as the shader has them.
    pub(crate) resources: Vec<Resource>,
    pub(crate) params: Vec<u32>,
    pub(crate) groups: [u32; 2],
}

impl Dispatch {
    pub(crate) fn variant(&self, access: Access) -> Variant {
        Variant { shader: self.shader, header: self.header, form: self.form, access, constants: self.constants }
    }
}

/// The dispatches of a whole graph.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub(crate) dispatches: Vec<Dispatch>,
    /// Bytes of each scratch storage.
    pub(crate) scratch: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Operand {
    resource: Resource,
    desc: Desc,
}

impl Operand {
    /// Rows `first..first + count` of the outermost dimension.
    fn batch_slice(&self, first: u32, count: u32) -> Self {
        let batch = u64::from(self.desc.shape.dims()[0]);
        let row = self.resource.bytes / batch;
        Self {
            resource: Resource { offset: self.resource.offset + u64::from(first) * row, bytes: u64::from(count) * row, ..self.resource },
            desc: Desc { shape: self.desc.shape.with_batch(count), elem: self.desc.elem },
        }
    }
}

/// What [`Kernel::lower`](crate::kernels::Kernel::lower) works with: facts and shapes in, dispatches out.
#[derive(Debug)]
pub struct Lowering<'a> {
    kernel: &'static str,
    node: usize,
    capabilities: &'a Capabilities,
    policy: Policy,
    inputs: &'a [Operand],
    outputs: &'a [Operand],
    /// Whether any call, or the caller, reads each output.
    read: &'a [bool],
    /// Byte alignment of each input and output, at most 16.
    alignments: Vec<u64>,
    scratch_base: usize,
    scratch: Vec<u64>,
    dispatches: Vec<Dispatch>,
    /// Outputs that are written elsewhere first: from where, to where, bytes.
    copied_back: Vec<(Slot, Slot, u64)>,
}

impl Lowering<'_> {
    /// Facts about the device.
    pub fn capabilities(&self) -> &Capabilities {
        self.capabilities
    }

    /// The form that a dispatch of this shader gets under this header.
    pub fn form(&self, shader: &Shader, header: Header) -> Form {
        let tuning = self.policy.tuning;
        match self.capabilities.cooperative_form() {
            Some(form) if shader.has_form(form, header) && !tuning.is_without_matrices(shader) => form,
            _ if self.capabilities.runs_subgroup_form(shader) && !tuning.is_portable(shader) => Form::Subgroup,
            _ => Form::Portable,
        }
    }

    /// Number of inputs of the call.
    pub fn inputs(&self) -> usize {
        self.inputs.len()
    }

    /// Shape and element type of an input.
    pub fn input(&self, index: usize) -> Desc {
        self.inputs[index].desc
    }

    /// Shape and element type of an output.
    pub fn output(&self, index: usize) -> Desc {
        self.outputs[index].desc
    }

    /// Whether anything reads an output. What nothing reads need not be written.
    pub fn is_read(&self, output: usize) -> bool {
        self.read[output]
    }

    /// The largest power of two, at most 16, that divides the byte address of all these slots.
    pub fn alignment(&self, slots: &[Slot]) -> u64 {
        let of = |slot: &Slot| match *slot {
            Slot::Input(i) => self.alignments[i],
            Slot::Output(i) => self.alignments[self.inputs.len() + i],
            Slot::Scratch(_) => 16,
        };
        slots.iter().map(of).min().unwrap_or(16)
    }

    /// The header under which a shader that adds over `channels` runs, which they and the element type decide alone, and these tensors where it
    /// can read and write them: one at an address that four numbers cannot be read from is copied first, an output copied back when the call's
    /// dispatches are done. So where a tensor lies does not change the order of a sum.
    pub fn vectors<const N: usize>(&mut self, elem: Elem, channels: u32, slots: [Slot; N]) -> Result<(Header, [Slot; N]), Error> {
        let header = Header::vector(elem, channels.into(), 16);
        let mut reachable = slots;
        if header.width() == 1 {
            return Ok((header, slots));
        }
        for (index, &slot) in slots.iter().enumerate() {
            let desc = match slot {
                Slot::Input(i) => self.inputs[i].desc,
                Slot::Output(i) => self.outputs[i].desc,
                Slot::Scratch(_) => continue,
            };
            if self.alignment(&[slot]).is_multiple_of(4 * desc.elem.size()) {
                continue;
            }
            if let Some(same) = slots[..index].iter().position(|s| *s == slot) {
                reachable[index] = reachable[same];
                continue;
            }
            let aligned = self.scratch(desc.shape.elements(), desc.elem);
            reachable[index] = aligned;
            match slot {
                Slot::Output(_) => self.copied_back.push((aligned, slot, desc.bytes())),
                _ => copy_bytes(self, slot, aligned, desc.bytes())?,
            }
        }
        Ok((header, reachable))
    }

    /// The dispatches that follow the call's own.
    fn finish(&mut self) -> Result<(), Error> {
        for (aligned, output, bytes) in std::mem::take(&mut self.copied_back) {
            copy_bytes(self, aligned, output, bytes)?;
        }
        Ok(())
    }

    /// Memory for the following dispatches of this call; its contents are undefined.
    pub fn scratch(&mut self, elements: u64, elem: Elem) -> Slot {
        self.scratch.push(elements.saturating_mul(elem.size()));
        Slot::Scratch(self.scratch.len() - 1)
    }

    /// Adds a dispatch. One of no workgroups is left out.
    ///
    /// # Errors
    /// [`Error::Shader`] where slots or parameters are not as many as the shader's or a slot is not the call's, and [`Error::TooManyGroups`].
    pub fn dispatch<P: bytemuck::Pod>(&mut self, call: Call<'_, P>) -> Result<(), Error> {
        let Call { shader, header, constants, slots, params, groups } = call;
        let wrong = |reason| Err(Error::Shader { kernel: self.kernel, shader: shader.name.to_owned(), reason });
        let bindings = shader.inputs.len() + shader.outputs.len();
        if slots.len() != bindings {
            return wrong(format!("it has {bindings} bindings, the call {}", slots.len()));
        }
        let (bytes, expected) = (size_of::<P>(), 4 * shader.params.len());
        if bytes != expected {
            return wrong(format!("its params [{}] are {expected} bytes, the call's {bytes}", shader.params.join(", ")));
        }
        let mut resources = Vec::with_capacity(bindings);
        for &slot in slots {
            let Some(resource) = self.resource(slot) else { return wrong(format!("the call has no {slot:?}")) };
            resources.push(resource);
        }
        if groups == 0 {
            return Ok(());
        }
        let dispatch = Dispatch {
            node: self.node,
            shader,
            header,
            form: self.form(shader, header),
            constants,
            resources,
            params: bytemuck::pod_collect_to_vec(bytemuck::bytes_of(&params)),
            groups: super::fold(self.kernel, groups, self.capabilities.max_groups)?,
        };
        self.dispatches.push(dispatch);
        Ok(())
    }

    /// None where the call has no such slot.
    fn resource(&self, slot: Slot) -> Option<Resource> {
        let scratch = |i, bytes| Resource { storage: Storage::Scratch(self.scratch_base + i), offset: 0, bytes };
        match slot {
            Slot::Input(i) => self.inputs.get(i).map(|operand| operand.resource),
            Slot::Output(i) => self.outputs.get(i).map(|operand| operand.resource),
            Slot::Scratch(i) => self.scratch.get(i).map(|&bytes| scratch(i, bytes)),
        }
    }
}

/// One dispatch of a kernel call.
#[derive(Debug)]
pub struct Call<'a, P> {
    /// The shader.
    pub shader: &'static Shader,
    /// What `elem` is.
    pub header: Header,
    /// Values of its `override`s: one of the shader's tunings.
    pub constants: &'static [(&'static str, u32)],
    /// Its inputs, then its outputs, in the shader's order.
    pub slots: &'a [Slot],
    /// The fields of `Params` behind the bases.
    pub params: P,
    /// Workgroups, folded into a 2-D grid.
    pub groups: u64,
}

/// Lowers every kernel call of a graph that contributes to an output.
///
/// `address` gives the byte offset of a tensor in its buffer, 0 for those that the plan places itself.
pub(crate) fn lower_graph(
    graph: &Graph,
    capabilities: &Capabilities,
    policy: Policy,
    address: &dyn Fn(TensorId) -> u64,
) -> Result<Program, Error> {
    let mut lowerer = Lowerer { capabilities, policy, address, program: Program::default() };
    let needed = graph.needed();
    let inputs = graph.nodes().iter().zip(&needed).filter(|(_, needed)| **needed).flat_map(|(node, _)| &node.inputs);
    let read: HashSet<_> = inputs.chain(graph.output_tensors().iter().map(|(_, tensor)| tensor)).map(Tensor::id).collect();
    for (index, node) in graph.nodes().iter().enumerate().filter(|(index, _)| needed[*index]) {
        let operand = |tensor: &Tensor| Operand {
            resource: Resource { storage: Storage::Tensor(tensor.id()), offset: 0, bytes: tensor.desc().bytes() },
            desc: tensor.desc(),
        };
        let (inputs, outputs): (Vec<_>, Vec<_>) = (node.inputs.iter().map(operand).collect(), node.outputs.iter().map(operand).collect());
        // No buffer holds such a tensor, whatever its binding is split into.
        let limit = capabilities.max_buffer;
        if let Some(operand) = inputs.iter().chain(&outputs).find(|o| o.resource.bytes > limit) {
            let (tensor, bytes) = (operand.desc.to_string(), operand.resource.bytes);
            return Err(Error::BindingTooLarge { kernel: node.kernel.name(), tensor, bytes, limit });
        }
        let read: Vec<_> = node.outputs.iter().map(|tensor| read.contains(&tensor.id())).collect();
        lowerer.node(index, node, &inputs, &outputs, &read)?;
    }
    Ok(lowerer.program)
}

struct Lowerer<'a> {
    capabilities: &'a Capabilities,
    policy: Policy,
    address: &'a dyn Fn(TensorId) -> u64,
    program: Program,
}

impl Lowerer<'_> {
    fn address(&self, resource: &Resource) -> u64 {
        let base = match resource.storage {
            Storage::Tensor(id) => (self.address)(id),
            Storage::Scratch(_) => 0,
        };
        base + resource.offset
    }

    /// Lowers a call whole where every binding is within the device's limit, and otherwise over parts of
    /// its batch.
    fn node(&mut self, index: usize, node: &Node, inputs: &[Operand], outputs: &[Operand], read: &[bool]) -> Result<(), Error> {
        let limit = self.capabilities.max_binding;
        let kernel = node.kernel.name();
        let largest = inputs.iter().chain(outputs).max_by_key(|o| self.bound_bytes(o)).map(|o| (self.bound_bytes(o), o.desc.to_string()));
        let mut too_large = largest.filter(|(bytes, _)| *bytes > limit);
        if too_large.is_none() {
            let alignments = inputs.iter().chain(outputs).map(|o| 1 << self.address(&o.resource).trailing_zeros().min(4)).collect();
            let mut lowering = Lowering {
                kernel,
                node: index,
                capabilities: self.capabilities,
                policy: self.policy,
                inputs,
                outputs,
                read,
                alignments,
                scratch_base: self.program.scratch.len(),
                scratch: Vec::new(),
                dispatches: Vec::new(),
                copied_back: Vec::new(),
            };
            node.kernel.lower(&mut lowering)?;
            lowering.finish()?;
            let Lowering { scratch, dispatches, .. } = lowering;
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

    /// Bytes of an operand's binding: from the aligned offset below it, to the end in multiples of 4.
    fn bound_bytes(&self, operand: &Operand) -> u64 {
        let residue = self.address(&operand.resource) % u64::from(self.capabilities.storage_alignment);
        (residue + operand.resource.bytes).next_multiple_of(4)
    }
}
