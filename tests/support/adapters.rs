//! The adapters of this machine, one device each for the whole binary.

use std::sync::Arc;

use libtest_mimic::{Completion, Trial};
use tokenpress::readback::Context;
use tokenpress::wgpu;

use super::modes::short_name;
#[allow(unused_imports, reason = "each user takes a part")]
pub use super::modes::{Adapter, MODES, Mode, staged_shaders};

/// The software adapters that `scripts/test` installs. A machine with `REQUIRE_GPU=1` must have them all.
pub const EXPECTED: [&str; 3] = ["lavapipe", "swiftshader", "llvmpipe-gl"];

/// Whether a missing adapter or feature is a failure, and not an ignored test.
pub fn required() -> bool {
    std::env::var("REQUIRE_GPU").is_ok_and(|v| !v.is_empty() && v != "0")
}

/// Whether the adapters of this run have cooperative matrices, so that to go without them is a failure: the lavapipe of
/// `scripts/newer-mesa` multiplies rightly.
pub fn matrices_required() -> bool {
    std::env::var("REQUIRE_MATRICES").is_ok_and(|v| !v.is_empty() && v != "0")
}

/// Every adapter that is here. A device that cannot be made is a failure.
///
/// Call once in a binary, and drop what it gives before the end: loaders do not like instances that come and go
/// on several threads, nor devices that outlive `main`.
pub fn all() -> Vec<Arc<Adapter>> {
    let mut found: Vec<Arc<Adapter>> = Vec::new();
    for adapter in pollster::block_on(Context::adapters(wgpu::Backends::all())) {
        let name = short_name(&adapter.get_info());
        // One software driver may be listed by two loaders; a machine's two equal cards are both tried.
        if !(EXPECTED.contains(&name.as_str()) && found.iter().any(|a| a.name == name)) {
            let opened = pollster::block_on(Adapter::open(&adapter)).unwrap_or_else(|e| panic!("{name}: {e}"));
            found.push(Arc::new(opened));
        }
    }
    found
}

/// A trial for each expected adapter that is not among these. `OPTIONAL_ADAPTERS` names, with commas, those that
/// this machine need not have.
pub fn missing(found: &[Arc<Adapter>]) -> Vec<Trial> {
    let optional = std::env::var("OPTIONAL_ADAPTERS").unwrap_or_default();
    let missing = EXPECTED.into_iter().filter(|name| !found.iter().any(|a| a.name == *name));
    let trial = |name: &'static str| {
        let reason = format!("no adapter {name}");
        if optional.split(',').any(|o| o == name) { ignored(name, reason) } else { absent(name, reason) }
    };
    missing.map(trial).collect()
}

/// Trials `adapter::..` in an order in which neighbours have different adapters: an adapter runs one at a time, and compiles on one thread.
pub fn interleaved(mut trials: Vec<Trial>) -> Vec<Trial> {
    trials.sort_by_cached_key(|trial| trial.name().split_once("::").map(|(_, rest)| rest.to_owned()));
    trials
}

/// A trial that is ignored with its reason.
pub fn ignored(name: &str, reason: String) -> Trial {
    Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason)))
}

/// A trial for something that should be here: ignored with its reason, a failure under `REQUIRE_GPU=1`.
pub fn absent(name: &str, reason: String) -> Trial {
    Trial::ignorable_test(name, move || if required() { Err(reason.into()) } else { Ok(Completion::ignored_with(reason)) })
}
