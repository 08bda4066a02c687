//! What single kernels refuse, and what they hold for any input.
#![allow(missing_docs, unreachable_pub, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod attention_score;
mod batch_invariance;
mod greedy_select;
mod linear;
mod merging;
mod pixel_unshuffle;
mod properties;
mod top_k;
mod transformer;
