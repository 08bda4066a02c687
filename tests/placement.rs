//! Where a tensor lies is not part of its value: every case at several addresses, same numbers to the last bit, on every adapter.
#![allow(missing_docs, reason = "a test")]

mod support;

use std::process::ExitCode;
use std::sync::{Arc, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use support::Case;
use support::adapters::{self, Adapter};
use tokenpress::readback::HostTensors;
use tokenpress::{Bindings, Elem, Error, Gpu, HostTensor, TensorView, Tuning};

/// Bytes past a multiple of 16 at which each tensor begins, and those of 16 bits besides.
const OFFSETS: [(usize, usize); 6] = [(0, 0), (4, 0), (8, 0), (12, 0), (0, 2), (4, 2)];

/// Runs a case whose tensors all lie in one buffer, each as far past a multiple of 16 bytes.
fn run(adapter: &Adapter, gpu: &Gpu, case: &Case, (all, of_short): (usize, usize)) -> Result<HostTensors, Error> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut places = Vec::new();
    for (index, (name, desc)) in case.graph.inputs().chain(case.graph.outputs()).enumerate() {
        let offset = bytes.len().next_multiple_of(16) + all + if desc.elem.size() == 2 { of_short } else { 0 };
        bytes.resize(offset, 0xa5);
        match case.inputs.get(name) {
            Some(value) if index < case.graph.inputs().count() => bytes.extend_from_slice(value.bytes()),
            _ => bytes.resize(offset + desc.bytes() as usize, 0xa5),
        }
        bytes.resize(bytes.len().next_multiple_of(4), 0xa5);
        places.push((name.to_owned(), desc, offset));
    }
    bytes.resize(bytes.len().next_multiple_of(16) + 16, 0xa5);
    let context = &adapter.context;
    let buffer = context.buffer(&bytes);
    let bind = |bindings: Bindings, (name, desc, offset): &(String, tokenpress::Desc, usize)| {
        bindings.bind(name, TensorView::new(&buffer, *offset as u64, desc.shape, desc.elem))
    };
    let plan = case.graph.plan(gpu, &places.iter().fold(Bindings::new(), bind))?;
    let mut encoder = context.device.create_command_encoder(&Default::default());
    plan.record_into(&mut encoder, None);
    context.queue.submit([encoder.finish()]);
    let after = pollster::block_on(context.read(&buffer))?;
    let outputs = places.iter().skip(case.graph.inputs().count());
    let value = |(name, desc, offset): &(String, tokenpress::Desc, usize)| {
        (name.clone(), HostTensor::from_bytes(*desc, &after[*offset..*offset + desc.bytes() as usize]).expect("as many bytes"))
    };
    Ok(outputs.map(value).collect())
}

/// Whether two tensors have the same bits. Which of its bits a NaN has is the compiler's choice.
fn same(a: &HostTensor, b: &HostTensor) -> bool {
    let nan = |tensor: &HostTensor| -> Vec<bool> { tensor.floats().iter().map(|x| x.is_nan()).collect() };
    a.bytes() == b.bytes()
        || (a.desc().elem != Elem::U32 && nan(a) == nan(b) && {
            let size = a.desc().elem.size() as usize;
            let pairs = a.bytes().chunks(size).zip(b.bytes().chunks(size));
            pairs.zip(nan(a)).all(|((a, b), nan)| nan || a == b)
        })
}

fn check(adapter: &Adapter, tuning: Tuning, cases: &[Case]) -> Result<(), Failed> {
    let _turn = adapter.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let gpu = adapter.context.gpu.with_policy(adapter.context.gpu.policy().with_tuning(tuning));
    let mut failures = Vec::new();
    // Without the feature a call of f16 is one of f32 between conversions, as one of bf16 is everywhere.
    let converted = |c: &&Case| c.needs_f16() && !adapter.f16();
    for case in cases.iter().filter(|c| !converted(c)) {
        let runs: Result<Vec<_>, _> = OFFSETS[..if case.elem().size() == 2 { 6 } else { 4 }]
            .iter()
            .map(|&offsets| Ok::<_, Error>((offsets, run(adapter, &gpu, case, offsets)?)))
            .collect();
        let runs = runs.map_err(|error| format!("{} {}: {error}", case.subject, case.name))?;
        for (offsets, outputs) in &runs[1..] {
            for (name, value) in outputs {
                if !same(value, &runs[0].1[name]) {
                    failures.push(format!("{} {}: {name} at {offsets:?}", case.subject, case.name));
                }
            }
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(format!("{} differ\n{}", failures.len(), failures[..failures.len().min(12)].join("\n")).into())
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let adapters = adapters::all();
    let mut trials = adapters::missing(&adapters);
    let mut by_subject: std::collections::BTreeMap<&str, Vec<Case>> = Default::default();
    // Of the methods one stands for all: they are calls of kernels.
    let others = |subject: &str| support::cases::methods::all().any(|m| m.subject == subject && subject != "tome");
    for case in support::cases::all().into_iter().filter(|c| !c.heavy && !others(c.subject)) {
        // Conversions are the same around every call.
        let in_bf16 = ["copy", "elementwise", "gather_rows", "linear"].contains(&case.subject).then(|| case.in_bf16()).flatten();
        by_subject.entry(case.subject).or_default().extend([Some(case), in_bf16].into_iter().flatten());
    }
    for (subject, cases) in by_subject {
        let cases = Arc::new(cases);
        for adapter in &adapters {
            for (form, tuning) in [("portable", Tuning::PORTABLE), ("subgroup", Tuning::default())] {
                if form == "subgroup" && !adapter.subgroups() {
                    continue;
                }
                let (adapter, cases) = (adapter.clone(), cases.clone());
                trials.push(Trial::test(format!("{}::{subject}::{form}", adapter.name), move || check(&adapter, tuning, &cases)));
            }
        }
    }
    libtest_mimic::run(&arguments, adapters::interleaved(trials)).exit_code()
}
