//! What the page asks of tokenpress. Cases, methods and comparisons are those of the examples and tests.

#![allow(clippy::duplicate_mod, reason = "what is included shares files by their paths too")]

#[allow(dead_code, reason = "the page takes a part")]
#[path = "../../examples/compress/chain.rs"]
mod chain;
#[path = "../../benches/harness/mod.rs"]
mod harness;
#[allow(dead_code, reason = "the page takes a part")]
#[path = "../../examples/compress/methods.rs"]
mod methods;
#[allow(dead_code, reason = "the page takes a part")]
#[path = "../../examples/shared/photo.rs"]
mod photo;
#[allow(dead_code, reason = "the page takes a part")]
#[path = "../../examples/compress/picture.rs"]
mod picture;
#[allow(dead_code, reason = "the page takes a part")]
#[path = "../../examples/bench/row.rs"]
mod row;
#[allow(dead_code, reason = "the page takes a part")]
#[path = "../../examples/bench/run.rs"]
mod run;
#[allow(dead_code, reason = "the page takes a part")]
#[path = "../../examples/shared/stamp.rs"]
mod stamp;
#[path = "../../tests/support/mod.rs"]
mod support;
#[allow(dead_code, reason = "the page takes a part")]
#[path = "../../examples/shared/verification.rs"]
mod verification;
#[allow(dead_code, reason = "the page takes a part")]
#[path = "../../examples/bench/yardsticks.rs"]
mod yardsticks;

mod bench;
mod compress;
mod device;
mod verify;

use wasm_bindgen::prelude::*;

#[wasm_bindgen(start)]
fn start() {
    // A panic is a mistake of ours: it is said where the page's own errors are.
    std::panic::set_hook(Box::new(|panic| wasm_bindgen::throw_str(&panic.to_string())));
}

/// What a report of this page begins with: the crate's version, its commit, wgpu's version, and the time.
fn stamp(time: f64) -> stamp::Stamp {
    stamp::Stamp::of(option_env!("TOKENPRESS_COMMIT").map(str::to_owned), time as u64)
}

/// What the page reads as an object.
fn json(value: &impl serde::Serialize) -> Result<String, JsError> {
    serde_json::to_string(value).map_err(|error| JsError::new(&error.to_string()))
}
