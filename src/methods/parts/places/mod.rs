//! Which tokens of a row are of a kind: those that a method must not touch.

mod protect;
mod protected;

pub use protect::Protect;
pub(crate) use protected::{Protected, of_two_counts};
