//! What lengths, marks and lists hide does not matter: a case with NaN, infinities and any indices there gives the very bits that it gives without.
//!
//! A trial is `place::kernel`; the cases are the pairs of `tests/support/cases` of which one is said to be broken where hidden.
#![allow(missing_docs, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use support::adapters::{self, MODES};
use support::{BROKEN, Case};
use tokenpress::readback::HostTensors;

type Pair = (Case, Case);

fn pairs() -> BTreeMap<&'static str, Vec<Pair>> {
    let (broken, whole): (Vec<_>, Vec<_>) =
        support::cases::all().into_iter().filter(|case| !case.heavy).partition(|case| case.name.ends_with(BROKEN));
    let mut pairs = BTreeMap::<_, Vec<_>>::new();
    for case in broken {
        let name = case.name.trim_end_matches(BROKEN);
        let twin = whole.iter().find(|other| other.subject == case.subject && other.name == name);
        let twin = twin.unwrap_or_else(|| panic!("{} {name} is not there", case.subject)).clone();
        pairs.entry(case.subject).or_default().push((twin, case));
    }
    pairs
}

fn check(pairs: &[Pair], place: &str, run: impl Fn(&Case) -> Result<HostTensors, tokenpress::Error>) -> Result<(), Failed> {
    let mut failures = Vec::new();
    for (whole, broken) in pairs {
        let [expected, actual] = [whole, broken].map(|case| run(case).map_err(|error| format!("{}: {error}", case.name)));
        let (expected, actual) = (expected?, actual?);
        // Which NaN a NaN is may differ.
        let same = |name: &String| {
            let (e, a) = (&expected[name], &actual[name]);
            e.bytes() == a.bytes()
                || (e.desc().elem != tokenpress::Elem::U32
                    && e.floats().iter().zip(a.floats()).all(|(e, a)| e.to_bits() == a.to_bits() || (e.is_nan() && a.is_nan())))
        };
        failures.extend(expected.keys().filter(|name| !same(name)).map(|name| format!("{place} {}: {name}", broken.name)));
    }
    match failures.len() {
        0 => Ok(()),
        count => Err(format!("{count} outputs of {} cases\n{}", pairs.len(), failures[..count.min(8)].join("\n")).into()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let adapters = adapters::all();
    let mut trials = adapters::missing(&adapters);
    for (subject, pairs) in pairs() {
        let pairs = Arc::new(pairs);
        let of_reference = pairs.clone();
        trials.push(Trial::test(format!("reference::{subject}"), move || {
            check(&of_reference, "reference", |case| case.graph.run_reference(&case.inputs))
        }));
        for adapter in &adapters {
            let (adapter, pairs) = (adapter.clone(), pairs.clone());
            trials.push(Trial::test(format!("{}::{subject}", adapter.name), move || {
                let _turn = adapter.turn.lock().unwrap_or_else(PoisonError::into_inner);
                let possible: Vec<_> = pairs.iter().filter(|(case, _)| adapter.f16() || !case.needs_f16()).cloned().collect();
                for mode in MODES.iter().filter(|mode| mode.always && adapter.lacks(mode, subject).is_none()) {
                    let mut context = adapter.context.clone();
                    context.gpu = context.gpu.with_policy(mode.policy);
                    check(&possible, mode.name, |case| pollster::block_on(context.run(&case.graph, &case.inputs)))?;
                }
                Ok(())
            }));
        }
    }
    libtest_mimic::run(&arguments, adapters::interleaved(trials)).exit_code()
}
