//! Examples as a person runs them.
#![allow(unreachable_pub, reason = "a part of tests that stands alone")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// Runs an example with these arguments, built as this test is.
pub fn run(name: &'static str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    command(name).args(arguments).envs(environment.iter().copied()).output().expect("it runs")
}

/// To run an example in the crate's folder, built as this test is.
pub fn command(name: &'static str) -> Command {
    let mut command = Command::new(program(name));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// The path of an example, which is built once.
fn program(name: &'static str) -> PathBuf {
    static BUILT: Mutex<Option<HashMap<&'static str, PathBuf>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let build = || {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", name]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo runs").success());
        let test = std::env::current_exe().expect("a path");
        test.ancestors().nth(2).expect("target/debug/deps/test").join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    };
    built.get_or_insert_default().entry(name).or_insert_with(build).clone()
}
