//! What a kernel call becomes: facts and shapes in, dispatches out.

use super::capabilities::{Capabilities, Policy};
use super::grid::fold;
use super::shader::{Access, Form, Header, Params, Shader};
use super::texture::Texels;
use super::variant::Variant;
use crate::error::Error;
use crate::tensor::{Desc, Elem, TensorId};

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

/// A range of bytes of a storage.
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
    /// Whether it only copies or converts what a call reads or writes.
    pub(crate) around: bool,
}

impl Dispatch {
    pub(crate) fn variant(&self, access: Access) -> Variant {
        Variant { shader: self.shader, header: self.header, form: self.form, access, constants: self.constants }
    }
}

/// An input or an output of a kernel call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand {
    pub(crate) resource: Resource,
    pub(crate) desc: Desc,
    /// If it lies in a texture.
    pub(crate) texels: Option<Texels>,
}

impl Operand {
    /// Rows `first..first + count` of the outermost dimension.
    pub(crate) fn batch_slice(&self, first: u32, count: u32) -> Self {
        let batch = u64::from(self.desc.shape.dims()[0]);
        let row = self.resource.bytes / batch;
        Self {
            resource: Resource { offset: self.resource.offset + u64::from(first) * row, bytes: u64::from(count) * row, ..self.resource },
            desc: Desc { shape: self.desc.shape.with_batch(count), elem: self.desc.elem },
            texels: None,
        }
    }
}

/// A copy that the plan makes before or after a call's own dispatches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copied {
    pub(crate) from: Slot,
    pub(crate) to: Slot,
    pub(crate) bytes: u64,
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
    /// Scratch storages of the calls before.
    scratch_base: usize,
    /// Bytes of each scratch storage of this call.
    pub(crate) scratch: Vec<u64>,
    pub(crate) dispatches: Vec<Dispatch>,
    /// Inputs that are copied first, and read from the copy.
    pub(crate) copied_first: Vec<Copied>,
    /// Outputs that are written to scratch memory, and copied back.
    pub(crate) copied_back: Vec<Copied>,
    /// Whether a dispatch reads or writes numbers of 16 bits as this device cannot.
    pub(crate) needs_wide: bool,
    /// Whether a dispatch asks for a buffer where there is a texture.
    pub(crate) needs_buffers: bool,
}

impl<'a> Lowering<'a> {
    /// A call of `kernel`, the `node`-th of its graph, on these operands. `alignments` are those of the inputs' and outputs' addresses.
    #[expect(clippy::too_many_arguments, reason = "one caller, which has them all apart")]
    pub(crate) fn new(
        kernel: &'static str,
        node: usize,
        capabilities: &'a Capabilities,
        policy: Policy,
        [inputs, outputs]: [&'a [Operand]; 2],
        read: &'a [bool],
        alignments: Vec<u64>,
        scratch_base: usize,
    ) -> Self {
        let (scratch, dispatches, copied_first, copied_back) = Default::default();
        Self {
            kernel,
            node,
            capabilities,
            policy,
            inputs,
            outputs,
            read,
            alignments,
            scratch_base,
            scratch,
            dispatches,
            copied_first,
            copied_back,
            needs_wide: false,
            needs_buffers: false,
        }
    }

    /// Facts about the device.
    pub fn capabilities(&self) -> &Capabilities {
        self.capabilities
    }

    /// The form in which this shader runs under this header.
    pub fn form(&self, shader: &Shader, header: Header) -> Form {
        self.capabilities.form(self.policy, shader, header)
    }

    /// Whether this shader is to run as on a GPU, whatever the device is.
    pub(crate) fn runs_as_gpus(&self, shader: &Shader) -> bool {
        self.policy.tuning.is_staged(shader.name)
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

    /// The texture in which this tensor lies, if it lies in one. A dispatch that does not bind it as a texture gets a buffer in its place.
    pub(crate) fn texels(&self, slot: Slot) -> Option<Texels> {
        match slot {
            Slot::Input(i) => self.inputs[i].texels,
            Slot::Output(i) => self.outputs[i].texels,
            Slot::Scratch(_) => None,
        }
    }

    /// Whether anything reads an output. Otherwise it need not be written.
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

    /// The header for a shader that adds over `channels`, and the slots where it reads and writes these tensors.
    ///
    /// The channels and the element type alone decide the header. If the shader reads four numbers at a time and a tensor's address
    /// does not allow that, an aligned copy takes the tensor's place. Inputs are copied before the call's dispatches, and outputs
    /// are copied back after them. So the place of a tensor does not change the order of a sum.
    pub fn vectors<const N: usize>(&mut self, elem: Elem, channels: u32, slots: [Slot; N]) -> (Header, [Slot; N]) {
        let header = Header::vector(elem, channels.into(), 16);
        let mut reachable = slots;
        if header.width() == 1 {
            return (header, slots);
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
                Slot::Output(_) => self.copied_back.push(Copied { from: aligned, to: slot, bytes: desc.bytes() }),
                _ => self.copied_first.push(Copied { from: slot, to: aligned, bytes: desc.bytes() }),
            }
        }
        (header, reachable)
    }

    /// Memory for the following dispatches of this call. Its contents are undefined.
    pub fn scratch(&mut self, elements: u64, elem: Elem) -> Slot {
        self.scratch.push(elements.saturating_mul(elem.size()));
        Slot::Scratch(self.scratch.len() - 1)
    }

    /// Adds the scratch memory of a call that is made in f32: for the operands of 16 bits.
    pub(crate) fn with_scratch(self, scratch: Vec<u64>) -> Self {
        Self { scratch, ..self }
    }

    /// Adds a dispatch, unless it has no workgroups.
    ///
    /// # Errors
    /// [`Error::Shader`] if the shader has another number of bindings or parameters, or the call does not have one of the slots.
    /// [`Error::TooManyGroups`].
    pub fn dispatch<P: Params>(&mut self, call: Call<'_, P>) -> Result<(), Error> {
        let Call { shader, header, constants, slots, params, groups } = call;
        let wrong = |reason| Err(Error::Shader { kernel: self.kernel, shader: shader.name.to_owned(), reason });
        let bindings = shader.inputs.len() + shader.outputs.len();
        if slots.len() != bindings {
            return wrong(format!("it has {bindings} bindings, the call {}", slots.len()));
        }
        let (words, expected) = (params.words(), shader.params.len());
        if words.len() != expected {
            let names: Vec<_> = shader.params.iter().map(|(name, _)| *name).collect();
            return wrong(format!("it has {expected} params [{}], the call {}", names.join(", "), words.len()));
        }
        if let Some((name, kind)) = shader.params.iter().find(|(_, kind)| !["u32", "i32", "f32"].contains(kind)) {
            return wrong(format!("its param {name} is {kind}, and must be u32, i32 or f32"));
        }
        let mut resources = Vec::with_capacity(bindings);
        for (&slot, (_, elem)) in slots.iter().zip(shader.bindings()) {
            let Some(resource) = self.resource(slot) else { return wrong(format!("the call has no {slot:?}")) };
            resources.push(resource);
            self.needs_buffers |= self.texels(slot).is_some() != elem.is_texture();
        }
        if groups == 0 {
            return Ok(());
        }
        // Half a word of bf16 may not pass through a register of f16.
        let short = |operand: &Operand| operand.desc.elem == Elem::BF16;
        let packed = !self.capabilities.f16 || self.inputs.iter().chain(self.outputs).any(short);
        self.needs_wide |= header == Header::BF16 || (header.is_f16() && packed);
        let dispatch = Dispatch {
            node: self.node,
            shader,
            header,
            form: self.form(shader, header),
            constants,
            resources,
            params: words,
            groups: fold(self.kernel, groups, self.capabilities.max_groups)?,
            around: false,
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
    /// The fields of `Params` after the bases.
    pub params: P,
    /// Workgroups, folded into a 2-D grid.
    pub groups: u64,
}
