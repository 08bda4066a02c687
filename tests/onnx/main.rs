//! ONNX's node tests of the operators that the crate has, on the reference and on every adapter.
//!
//! A trial is `place::operator::name of the test`. A test that cannot be asked for is in [`LEFT_OUT`] with the reason, and is ignored.
//! One that neither runs nor is there fails. `README.md` says where the data are from.
#![allow(missing_docs, unreachable_pub, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod attention;
mod pool;
mod resize;
mod rows;
mod test;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use support::adapters;
use test::{Asked, Place, Test};
use tokenpress::Error;
use tokenpress::readback::HostTensors;

/// Names of tests that cannot be asked for, and why not. `*` stands for anything.
const LEFT_OUT: &[(&str, &str)] = &[
    ("test_averagepool_3d_default", "its data are 750 kB; others have three dimensions too"),
    ("test_maxpool_3d_default", "its data are 750 kB; others have three dimensions too"),
    ("test_attention_*_bf16", "there is no bf16"),
    ("test_compress_bfloat16", "there is no bf16"),
    ("test_maxpool_with_argmax_*", "a pooled maximum has no index"),
];

fn is_like(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern,
        Some((start, rest)) => {
            let Some(left) = name.strip_prefix(start) else { return false };
            (0..=left.len()).any(|skipped| is_like(&left[skipped..], rest))
        }
    }
}

/// The calls for a test.
fn asked(test: &Test, place: Place) -> Result<Asked, Failed> {
    let mut asked = Asked::new(place);
    let build = match test.operator.as_str() {
        "Attention" => attention::attention,
        "AveragePool" | "MaxPool" => pool::pool,
        "Compress" => rows::compress,
        "DepthToSpace" | "SpaceToDepth" => rows::depth_and_space,
        "Gelu" => rows::gelu,
        "LayerNormalization" | "RMSNormalization" => rows::normalization,
        "Resize" => resize::resize,
        "TopK" => rows::top_k,
        other => return Err(format!("no calls for {other}").into()),
    };
    build(test, &mut asked)?;
    Ok(asked)
}

/// Runs a test somewhere, and compares.
fn check(test: &Test, place: Place, run: impl FnOnce(&Asked) -> Result<HostTensors, Error>) -> Result<(), Failed> {
    let asked = asked(test, place)?;
    asked.check(&run(&asked)?)
}

fn main() -> ExitCode {
    let tests = Test::all(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/onnx/data"))).unwrap_or_else(|e| panic!("{e}"));
    let adapters = adapters::all();
    let mut trials = adapters::missing(&adapters);
    let (mut run, mut left_out) = (0, 0);
    for (pattern, _) in LEFT_OUT {
        assert!(tests.iter().any(|test| is_like(&test.name, pattern)), "no test is like {pattern}");
    }
    for test in tests.into_iter().map(Arc::new) {
        let name = format!("{}::{}", test.operator, test.name);
        if let Some((_, reason)) = LEFT_OUT.iter().find(|(pattern, _)| is_like(&test.name, pattern)) {
            left_out += 1;
            trials.push(adapters::ignored(&format!("left out::{name}"), (*reason).to_owned()));
            continue;
        }
        run += 1;
        let here = test.clone();
        trials.push(Trial::test(format!("reference::{name}"), move || {
            check(&here, Place { f16: true, limited: false }, |asked| asked.graph.run_reference(&asked.inputs))
        }));
        for adapter in &adapters {
            let (test, adapter) = (test.clone(), adapter.clone());
            trials.push(Trial::test(format!("{}::{name}", adapter.name), move || {
                let _turn = adapter.turn.lock().unwrap_or_else(PoisonError::into_inner);
                // SwiftShader compiles each variant of attention for seconds.
                let place = Place { f16: adapter.f16(), limited: adapter.name == "swiftshader" };
                check(&test, place, |asked| pollster::block_on(adapter.context.run(&asked.graph, &asked.inputs)))
            }));
        }
    }
    let arguments = Arguments::from_args();
    if !arguments.list {
        println!("{run} of ONNX's {} tests run, {left_out} are left out with a reason", run + left_out);
    }
    libtest_mimic::run(&arguments, adapters::interleaved(trials)).exit_code()
}
