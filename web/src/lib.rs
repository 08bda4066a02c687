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
mod beside;
mod compress;
mod device;
mod verify;
mod video;

use wasm_bindgen::prelude::*;

#[wasm_bindgen(start)]
fn start() {
    // A panic is a mistake of ours. Nothing here can be used after it: the worker ends by it, and the page makes another.
    std::panic::set_hook(Box::new(|panic| wasm_bindgen::throw_str(&panic.to_string())));
}

/// Panics, for the test of what the page does then.
#[wasm_bindgen]
pub fn panic() {
    panic!("the page's test asked for it");
}

/// What the page reads as an object.
fn json(value: &impl serde::Serialize) -> Result<String, JsError> {
    serde_json::to_string(value).map_err(|error| JsError::new(&error.to_string()))
}
