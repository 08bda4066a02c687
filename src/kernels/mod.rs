//! The kernels: a file for each, which pairs shaders with a CPU reference.
//!
//! A kernel is a plain struct of options. Its method on a [`Graph`](crate::Graph) checks shapes and adds one
//! call; [`Kernel`] is how the graph runs that call on either side.

pub mod apply;
pub mod images;
pub mod layers;
pub(crate) mod operands;
mod partition;
pub mod score;
pub mod select;

pub use apply::*;
pub use images::*;
pub use layers::*;
pub use score::*;
pub use select::*;

pub use crate::graph::{Kernel, Work};

use crate::device::Shader;

/// Every shader of the crate, for those who test, dump or warm them up.
pub fn shaders() -> Vec<&'static Shader> {
    [score::shaders(), select::shaders(), apply::shaders(), images::shaders(), layers::shaders()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuning_names_every_shader_of_several_forms() {
        let mut several: Vec<_> = shaders().into_iter().filter(|s| s.has_subgroup_form()).map(|s| s.name).collect();
        several.sort_unstable();
        assert_eq!(several, crate::device::CHOICES);
    }
}
