//! What the tests, `verify` and the benchmarks share: cases, data and adapters.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each user takes a part")]
#![cfg_attr(target_arch = "wasm32", allow(unused_imports, reason = "parts are not for browsers"))]

#[cfg(not(target_arch = "wasm32"))]
pub mod adapters;
pub mod cases;
pub mod data;
pub mod double;
#[cfg(not(target_arch = "wasm32"))]
pub mod goldens;
pub mod modes;
pub mod open;
#[macro_use]
pub mod own;
pub mod ragged;
#[cfg(not(target_arch = "wasm32"))]
pub mod textures;

use tokenpress::readback::HostTensors;
use tokenpress::{Desc, Elem, Graph, HostTensor, NONE};

/// Behind the name of a case that is another one with broken numbers where nothing may come of them: `tests/hidden.rs` compares the two.
pub const BROKEN: &str = ", broken where hidden";

/// One graph with inputs, to be run on the reference and on an adapter.
#[derive(Clone)]
pub struct Case {
    /// Kernel or method that the case is about.
    pub subject: &'static str,
    /// What is special about it: shape, data, options.
    pub name: String,
    /// Too slow for the test suite on two cores; `verify` runs it.
    pub heavy: bool,
    pub graph: Graph,
    pub inputs: HostTensors,
}

impl Case {
    /// The same with NaN, infinities, the largest numbers, or any integers, in those entries of an input, of `width` elements each, that are hidden.
    pub fn broken(mut self, input: &str, width: usize, hidden: impl Fn(usize) -> bool) -> Self {
        let floats = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -f32::MAX, -f32::NAN, 0.0];
        let integers = [NONE, 1, NONE - 1, 0x7fc0_0000, 0, 2, 7];
        let tensor = &self.inputs[input];
        let is_hidden = |i: &usize| hidden(i / width);
        let broken = if tensor.desc().elem == Elem::U32 {
            let mut values = tensor.integers().to_vec();
            (0..values.len()).filter(is_hidden).for_each(|i| values[i] = integers[i % 7]);
            HostTensor::u32(tensor.shape(), values)
        } else {
            let mut values = tensor.floats();
            (0..values.len()).filter(is_hidden).for_each(|i| values[i] = floats[i % 7]);
            HostTensor::from_floats(tensor.desc(), values)
        };
        self.inputs.insert(input.to_owned(), broken);
        self.named_broken()
    }

    /// The same with other indices in place of those beyond the `count` that there are.
    pub fn broken_indices(mut self, input: &str, count: u32) -> Self {
        let tensor = &self.inputs[input];
        let mut values = tensor.integers().to_vec();
        values.iter_mut().enumerate().filter(|(_, v)| **v >= count).for_each(|(i, v)| *v = (NONE - i as u32 % 3).max(count));
        let broken = HostTensor::u32(tensor.shape(), values);
        self.inputs.insert(input.to_owned(), broken);
        self.named_broken()
    }

    /// [`Case::broken`] behind the live tokens of inputs, each with its tokens a row and the width of one.
    pub fn broken_behind(&self, inputs: &[(&str, u32, u32)]) -> Self {
        let lengths = self.inputs["lengths"].integers().to_vec();
        let mut case = self.clone();
        for &(input, tokens, width) in inputs {
            let entries = self.inputs[input].shape().elements() as usize / width.max(1) as usize;
            let of_length = (entries / lengths.len().max(1)).max(1);
            let (tokens, lengths) = (tokens as usize, &lengths);
            case = case.broken(input, width.max(1) as usize, |entry| entry % tokens >= lengths[entry / of_length] as usize);
        }
        case
    }

    /// Whether there are lengths.
    pub fn is_ragged(&self) -> bool {
        self.inputs.contains_key("lengths")
    }

    fn named_broken(mut self) -> Self {
        self.name = format!("{}{BROKEN}", self.name.trim_end_matches(BROKEN));
        self
    }
    /// Calls that contribute to an output.
    pub fn calls(&self) -> usize {
        self.graph.cost(&tokenpress::Capabilities::portable()).map_or(0, |cost| cost.steps.len())
    }

    /// Whether it runs in this mode. Slow cases, and those of methods, whose kernels have cases of their own, run in two. Cooperative matrices
    /// make products of f16 only.
    pub fn runs_in(&self, mode: &modes::Mode) -> bool {
        if mode.matrices() && !(self.needs_f16() && ["attention_score", "linear"].contains(&self.subject)) {
            return false;
        }
        if mode.staged() && self.subject != "top_k" && modes::staged_shaders(self.subject).next().is_none() {
            return false;
        }
        // What a call is in bf16, it is in f32 between two conversions.
        if self.elem() == Elem::BF16 {
            return mode.stands_for_all();
        }
        mode.always || !(self.heavy || cases::methods::all().any(|m| m.subject == self.subject))
    }

    /// Whether an input or output is f16.
    pub fn needs_f16(&self) -> bool {
        self.elem() == Elem::F16
    }

    /// The element type that the case is about: that of its inputs and outputs of 16 bits, if there are any.
    pub fn elem(&self) -> Elem {
        let elems = self.graph.inputs().chain(self.graph.outputs()).map(|(_, desc)| desc.elem);
        elems.into_iter().find(|elem| elem.size() == 2).unwrap_or(Elem::F32)
    }

    /// The same case of f16 in bf16.
    pub fn in_bf16(&self) -> Option<Self> {
        if !self.needs_f16() {
            return None;
        }
        let graph = self.graph.converted(Elem::F16, Elem::BF16).unwrap_or_else(|e| panic!("{} {}: {e}", self.subject, self.name));
        let convert = |tensor: &HostTensor| match tensor.desc().elem {
            Elem::F16 => HostTensor::from_floats(Desc::new(tensor.shape(), Elem::BF16), tensor.floats()),
            _ => tensor.clone(),
        };
        let inputs = self.inputs.iter().map(|(name, tensor)| (name.clone(), convert(tensor))).collect();
        Some(Self { graph, inputs, ..self.clone() })
    }
}
