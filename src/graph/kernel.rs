//! What a kernel is to a graph.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::compare::Comparison;
use crate::device::Lowering;
use crate::error::Error;
use crate::tensor::{Desc, Elem, HostTensor};

/// What a kernel call costs at least, whatever the implementation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes that must be read and written: every input once, every output once.
    pub bytes: u64,
    /// Floating-point operations.
    pub flops: u64,
}

/// One kernel: shapes, GPU side, CPU side.
///
/// Implemented by this crate's kernels; an application can add its own. A kernel is pure, and its `Debug` text
/// shows every option: calls with equal text and inputs are made once.
pub trait Kernel: Debug + Send + Sync {
    /// The kernel's name: stem of its shader, its host file and its reference.
    fn name(&self) -> &'static str;

    /// Names of the outputs, for displays and comparisons.
    fn output_names(&self) -> &'static [&'static str];

    /// How many inputs it reads, if a caller can get that wrong: any for a kernel that only a function of its own calls.
    /// [`Graph::call`](super::Graph::call) checks it before it asks for the outputs.
    fn input_count(&self) -> RangeInclusive<usize> {
        0..=usize::MAX
    }

    /// Checks shapes, element types and options, and gives the outputs' descriptions. `inputs` are as many as [`Kernel::input_count`] says.
    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error>;

    /// The same computation on the CPU: plain loops, sums in f64.
    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor>;

    /// Adds the call's dispatches.
    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error>;

    /// The same kernel for a graph whose tensors of type `from` become ones of type `to`, where the kernel itself names a type. `None`: it takes
    /// its types from its inputs.
    fn converted(&self, _from: Elem, _to: Elem) -> Option<Arc<dyn Kernel>> {
        None
    }

    /// Which inputs have the batch as their outermost dimension, if the call may be split over the batch;
    /// all outputs then have it too.
    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        None
    }

    /// Floating-point operations of the definition.
    fn flops(&self, _inputs: &[Desc]) -> u64 {
        0
    }

    /// Compulsory bytes, if they differ from every input and every output once.
    fn bytes(&self, inputs: &[Desc], outputs: &[Desc]) -> u64 {
        inputs.iter().chain(outputs).map(Desc::bytes).sum()
    }

    /// Compares a run's outputs with the reference's on the same inputs, one comparison an output.
    /// Bit-equal unless the kernel rounds.
    fn compare(&self, _inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        expected.iter().zip(actual).map(|(e, a)| Comparison::exact(e, a)).collect()
    }
}
