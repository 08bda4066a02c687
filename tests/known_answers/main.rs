//! Inputs that people reported elsewhere as coming out wrong, with the answers that are right: on the reference and on every adapter.
//!
//! A trial is `place::topic::what a user would notice`.
#![allow(missing_docs, unreachable_pub, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod choices;
mod counts;
mod formats;
mod masks;
mod numbers;
mod packing;
mod places;
mod prompts;
mod texts;
mod thresholds;

use std::process::ExitCode;
use std::sync::{Arc, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use support::adapters::{self, MODES};
use tokenpress::readback::HostTensors;
use tokenpress::{Graph, HostData, HostTensor};

/// A graph with inputs, and what its outputs are.
pub struct Known {
    /// What a user would notice.
    pub name: &'static str,
    pub graph: Graph,
    pub inputs: HostTensors,
    /// Each output by name: its numbers, and how far off they may be, absolutely. NaN is NaN, an infinity is itself.
    pub outputs: Vec<(&'static str, Vec<f64>, f64)>,
}

impl Known {
    /// The same, but this output within 1e-6.
    pub fn sharp(mut self, output: &str) -> Self {
        self.outputs.iter_mut().filter(|(name, ..)| *name == output).for_each(|(.., tolerance)| *tolerance = 1e-6);
        self
    }

    fn check(&self, place: &str, values: &HostTensors) -> Result<(), Failed> {
        for (output, expected, tolerance) in &self.outputs {
            let value = values.get(*output).ok_or_else(|| format!("no output {output:?}"))?;
            let actual = numbers_of(value);
            let near = |(e, a): (&f64, &f64)| e == a || (e.is_nan() && a.is_nan()) || (e - a).abs() <= *tolerance;
            if actual.len() != expected.len() || !expected.iter().zip(&actual).all(near) {
                return Err(format!("{place}: {output} is {actual:?}, not {expected:?} within {tolerance:e}").into());
            }
        }
        Ok(())
    }
}

fn numbers_of(tensor: &HostTensor) -> Vec<f64> {
    match tensor.data() {
        HostData::U32(v) => v.iter().map(|&x| f64::from(x)).collect(),
        _ => tensor.floats().into_iter().map(f64::from).collect(),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let adapters = adapters::all();
    let mut trials = adapters::missing(&adapters);
    let topics = [
        ("choices", choices::all()),
        ("counts", counts::all()),
        ("formats", formats::all()),
        ("masks", masks::all()),
        ("numbers", numbers::all()),
        ("places", places::all()),
        ("prompts", prompts::all()),
        ("packing", packing::all()),
        ("texts", texts::all()),
        ("thresholds", thresholds::all()),
    ];
    for (topic, known) in topics {
        for known in known.into_iter().map(Arc::new) {
            let reference = known.clone();
            trials.push(Trial::test(format!("reference::{topic}::{}", known.name), move || {
                let values = reference.graph.run_reference(&reference.inputs).map_err(|error| error.to_string())?;
                reference.check("reference", &values)
            }));
            for adapter in &adapters {
                let name = format!("{}::{topic}::{}", adapter.name, known.name);
                let (adapter, known) = (adapter.clone(), known.clone());
                trials.push(Trial::test(name, move || {
                    let _turn = adapter.turn.lock().unwrap_or_else(PoisonError::into_inner);
                    // Every form that this device can run.
                    for mode in MODES.iter().filter(|mode| !mode.placement.apart && adapter.lacks(mode, topic).is_none()) {
                        let mut context = adapter.context.clone();
                        context.gpu = context.gpu.with_policy(mode.policy);
                        let values = pollster::block_on(context.run(&known.graph, &known.inputs)).map_err(|error| error.to_string())?;
                        known.check(mode.name, &values)?;
                    }
                    Ok(())
                }));
            }
        }
    }
    libtest_mimic::run(&arguments, adapters::interleaved(trials)).exit_code()
}
