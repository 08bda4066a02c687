//! What the tests, `verify` and the benchmarks share: cases, data and adapters.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each user takes a part")]

pub mod adapters;
pub mod cases;
pub mod data;
pub mod double;
pub mod goldens;
pub mod open;
#[macro_use]
pub mod own;
pub mod ragged;

use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph};

/// One graph with inputs, to be run on the reference and on an adapter.
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
    /// Calls that contribute to an output.
    pub fn calls(&self) -> usize {
        self.graph.cost(&tokenpress::Capabilities::portable()).map_or(0, |cost| cost.steps.len())
    }

    /// Whether it runs in this mode. Slow cases, and those of methods, whose kernels have cases of their own, run in two. Cooperative matrices
    /// make products of f16 only.
    pub fn runs_in(&self, mode: &adapters::Mode) -> bool {
        if mode.matrices() && !(self.needs_f16() && ["attention", "attention_score", "linear"].contains(&self.subject)) {
            return false;
        }
        mode.always || !(self.heavy || cases::methods::all().any(|m| m.subject == self.subject))
    }

    /// Whether an input or output is f16.
    pub fn needs_f16(&self) -> bool {
        self.graph.inputs().chain(self.graph.outputs()).any(|(_, desc)| desc.elem == Elem::F16)
    }
}
