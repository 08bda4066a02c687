//! How large keys are: what DART's pivots are chosen by.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, Elementwise, Operation, Statistic, add, reduce};
use crate::tensor::HostTensor;

/// The sum of the magnitudes of each token's keys `[batch, heads, tokens, channels]`, over all heads: `[batch, tokens]`, of their
/// element type.
///
/// Cost: five dispatches; five reads and three writes of as many numbers as the keys have.
///
/// ```
/// use tokenpress::methods::key_size;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let keys = graph.constant(HostTensor::f32([1, 2, 2, 1], vec![1.0, -2.0, -3.0, 4.0]));
/// let size = key_size(&mut graph, keys)?;
/// graph.output("size", size)?;
/// assert_eq!(graph.run_reference(&[].into())?["size"].floats(), [4.0, 6.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias = "l1_norm")]
pub fn key_size(graph: &mut Graph, keys: Tensor) -> Result<Tensor, Error> {
    let one = graph.constant(HostTensor::f32([1], vec![1.0]));
    // |x| = relu(x) + relu(-x)
    let side = |scale: f32| Elementwise { operation: Operation::Multiply, scale, activation: Activation::Relu };
    let (positive, negative) = (side(1.0).build(graph, keys, one)?, side(-1.0).build(graph, keys, one)?);
    let magnitudes = add(graph, positive, negative)?;
    let of_heads = reduce(graph, magnitudes, 3, Statistic::Sum, None)?;
    reduce(graph, of_heads, 1, Statistic::Sum, None)
}
