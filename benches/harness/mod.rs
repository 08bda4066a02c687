//! What the criterion benchmarks and the `bench` example share: cases, and a clock.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each user takes a part")]

pub mod cases;
#[path = "../../tests/support/data.rs"]
pub mod data;
pub mod timer;
