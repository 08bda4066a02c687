//! What a graph costs, before it runs.

use super::bindings::{Bindings, Externals};
use super::lower::lower_graph;
use crate::device::{Capabilities, Place, Policy};
use crate::error::Error;
use crate::graph::{Graph, Node, Tensor, Work};
use crate::tensor::{Desc, TensorId};

/// One kernel call's price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepCost {
    /// The kernel.
    pub kernel: &'static str,
    /// Which call it is: an index into [`Plan::calls`](super::Plan::calls).
    pub call: usize,
    /// Dispatches on the device asked for.
    pub dispatches: u32,
    /// Bytes and operations that the definition needs, and the bytes of copies and conversions around the call: of tensors that are strided or
    /// misaligned, or of 16 bits that the device does not read as they are.
    pub work: Work,
}

/// A graph's price, call by call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// In order of execution.
    pub steps: Vec<StepCost>,
}

impl Cost {
    /// Dispatches of all steps.
    pub fn dispatches(&self) -> u32 {
        self.steps.iter().map(|s| s.dispatches).sum()
    }

    /// Compulsory bytes of all steps.
    pub fn bytes(&self) -> u64 {
        self.steps.iter().fold(0, |all, s| all.saturating_add(s.work.bytes))
    }

    /// Floating-point operations of all steps.
    pub fn flops(&self) -> u64 {
        self.steps.iter().fold(0, |all, s| all.saturating_add(s.work.flops))
    }
}

/// What a device does in a second, to turn a [`Cost`] into time.
///
/// Measure it on the device with this crate's own calls: a matrix product of the model's size, a large copy, and a small call many times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Floating-point operations; a multiplication and an addition are two.
    pub flops: f64,
    /// Bytes, those read and those written.
    pub bytes: f64,
    /// Dispatches that each wait for the one before.
    pub dispatches: f64,
}

impl StepCost {
    /// Seconds on a device of these rates: for its operations or its bytes, whichever take longer, plus those for its dispatches.
    pub fn seconds(&self, rates: &Rates) -> f64 {
        let work = (self.work.flops as f64 / rates.flops).max(self.work.bytes as f64 / rates.bytes);
        work + f64::from(self.dispatches) / rates.dispatches
    }
}

impl Cost {
    /// Seconds on a device of these rates: the sum over the steps. Ask it of a model with a method and without: the method pays if
    /// later layers save more than it takes itself.
    ///
    /// ```
    /// use tokenpress::{Capabilities, Elem, Graph, Rates, kernels::linear};
    ///
    /// let mut graph = Graph::new();
    /// let x = graph.input("x", [1, 256, 384], Elem::F32);
    /// let weight = graph.input("weight", [1536, 384], Elem::F32);
    /// let y = linear(&mut graph, x, weight, None)?;
    /// graph.output("y", y)?;
    /// let rates = Rates { flops: 1e12, bytes: 1e11, dispatches: 1e5 };
    /// let seconds = graph.cost(&Capabilities::portable())?.seconds(&rates);
    /// assert_eq!(seconds, 2.0 * 256.0 * 384.0 * 1536.0 / 1e12 + 1e-5);
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    pub fn seconds(&self, rates: &Rates) -> f64 {
        self.steps.iter().map(|step| step.seconds(rates)).sum()
    }
}

impl Graph {
    /// Price of each call that contributes to an output, on a device with these capabilities.
    pub fn cost(&self, capabilities: &Capabilities) -> Result<Cost, Error> {
        self.priced(capabilities, &|_| Place::default())
    }

    /// The same for tensors that lie where these bindings say. Copies count with the call that needs them.
    pub fn cost_of(&self, capabilities: &Capabilities, bindings: &Bindings) -> Result<Cost, Error> {
        let externals = Externals::resolve(self, bindings)?;
        self.priced(capabilities, &|id| externals.place(id))
    }

    fn priced(&self, capabilities: &Capabilities, place: &dyn Fn(TensorId) -> Place) -> Result<Cost, Error> {
        let program = lower_graph(self, capabilities, Policy::AUTO, place)?;
        let mut dispatches = vec![0; self.nodes().len()];
        let mut around = vec![0; self.nodes().len()];
        for dispatch in &program.dispatches {
            dispatches[dispatch.node] += 1;
            if dispatch.around {
                around[dispatch.node] += dispatch.resources.iter().map(|resource| resource.bytes).sum::<u64>();
            }
        }
        let step = |(index, node): (usize, &Node)| {
            let descs = |tensors: &[Tensor]| tensors.iter().map(Tensor::desc).collect::<Vec<Desc>>();
            let (inputs, outputs) = (descs(&node.inputs), descs(&node.outputs));
            StepCost {
                kernel: node.kernel.name(),
                call: index,
                dispatches: dispatches[index],
                work: Work { bytes: node.kernel.bytes(&inputs, &outputs) + around[index], flops: node.kernel.flops(&inputs) },
            }
        };
        let needed = self.needed();
        Ok(Cost { steps: self.nodes().iter().enumerate().filter(|(index, _)| needed[*index]).map(step).collect() })
    }
}
