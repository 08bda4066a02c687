//! Every case of `tests/goldens` on the reference and on every adapter; one trial for each pair.
//!
//! `GOLDENS` names another folder. Kinds of cases whose method is not here yet are ignored by name.
#![allow(missing_docs, reason = "a test")]

mod support;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};

use libtest_mimic::{Arguments, Trial};
use support::adapters;
use support::goldens::{self, Side};

fn main() -> ExitCode {
    let folder = std::env::var_os("GOLDENS").map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens").into(), PathBuf::from);
    let goldens = goldens::folder(&folder).unwrap_or_else(|e| panic!("{e}"));
    let adapters = adapters::all();
    let mut trials = adapters::missing(&adapters);
    for golden in goldens.into_iter().map(Arc::new) {
        if !golden.is_known() {
            trials.push(adapters::ignored(&golden.name, format!("no method for {} {}", golden.system, golden.case)));
            continue;
        }
        let case = golden.clone();
        trials.push(Trial::test(format!("reference::{}", golden.name), move || Ok(case.check(Side::Reference)?)));
        for adapter in &adapters {
            let (case, adapter) = (golden.clone(), adapter.clone());
            trials.push(Trial::test(format!("{}::{}", adapter.name, golden.name), move || {
                let _turn = adapter.turn.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(case.check(Side::Gpu(&adapter.context))?)
            }));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
