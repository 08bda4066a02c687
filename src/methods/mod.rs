//! The published systems, each a short function over the graph.

pub mod attention;
pub mod cache;
pub mod parts;
pub mod query;
pub mod similarity;
#[cfg(test)]
mod tests;
pub mod transformation;

pub use attention::*;
pub use cache::*;
pub use parts::*;
pub use query::*;
pub use similarity::*;
pub use transformation::*;
