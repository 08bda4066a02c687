//! What building a graph refuses, methods on inputs worked out by hand, and a plan in parts.
#![allow(missing_docs, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod building;
mod methods;
mod options;
mod parts;
mod strides;
mod textures;
