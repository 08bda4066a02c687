//! The examples as a person runs them.
#![allow(missing_docs, reason = "a test")]

#[path = "../support/example.rs"]
mod example;

mod compress;
mod examples;
mod frame;
mod fuzz;
mod verify;
