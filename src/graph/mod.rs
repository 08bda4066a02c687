//! Kernel calls over tensor handles: the one description that both the GPU and the CPU run.

mod kernel;

pub use kernel::{Kernel, Work};

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use crate::error::Error;
use crate::pattern::{Known, Pattern};
use crate::tensor::{Desc, Elem, HostTensor, Shape, TensorId};

/// A handle to a tensor of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensor {
    graph: u64,
    id: TensorId,
    desc: Desc,
}

impl Tensor {
    /// Shape and element type.
    pub fn desc(&self) -> Desc {
        self.desc
    }

    /// The dimensions.
    pub fn shape(&self) -> Shape {
        self.desc.shape
    }

    /// The element type.
    pub fn elem(&self) -> Elem {
        self.desc.elem
    }

    pub(crate) fn id(&self) -> TensorId {
        self.id
    }
}

/// Where a tensor's contents come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Input(String),
    Constant(Arc<HostTensor>),
    /// A constant that is not stored. Its value is made if somebody asks for it.
    Pattern(Pattern, OnceLock<Box<HostTensor>>),
    Node,
}

/// Constants that follow a pattern are stored up to this size, so that equal ones are found. Larger ones are not: a method may make one in
/// every round, and with a round for each token they would take memory in proportion to the square of the tokens.
const STORED_BYTES: u64 = 1 << 10;

/// Constants that follow a pattern show their value up to this size.
const SHOWN_BYTES: u64 = 1 << 16;

/// The most entries that the host computes one by one for a constant: 256 MiB of them.
const MOST_LISTED: u64 = 1 << 26;

/// An error for more entries than the host should compute one by one.
pub(crate) fn expect_listed(argument: &'static str, shape: Shape) -> Result<(), Error> {
    if shape.elements() > MOST_LISTED {
        let expected = format!("at most {MOST_LISTED} entries that are listed by the host");
        return Err(Error::Shape { argument, expected, actual: shape });
    }
    Ok(())
}

/// One kernel call.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kernel: Arc<dyn Kernel>,
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) outputs: Vec<Tensor>,
}

/// A straight-line list of kernel calls over tensor handles.
///
/// Calls are pure: equal ones are made once, and those that no output needs are not run.
///
/// Planned for a GPU it becomes dispatches in the caller's compute pass; [`Graph::run_reference`] executes
/// the same calls on the CPU.
#[derive(Debug)]
pub struct Graph {
    id: u64,
    /// The graphs that this one was cloned from, oldest first, each with its number of tensors at that time.
    ancestors: Vec<(u64, usize)>,
    sources: Vec<Source>,
    descs: Vec<Desc>,
    nodes: Vec<Node>,
    outputs: Vec<(String, Tensor)>,
    /// Constants and calls by a hash of their contents. A new one is compared only with those of the same hash.
    constants: HashMap<u64, Vec<TensorId>>,
    calls: HashMap<u64, Vec<usize>>,
}

impl Default for Graph {
    fn default() -> Self {
        Self::new()
    }
}

/// A graph that goes its own way from here on. Handles made before the clone are valid in both graphs, later ones only in their own.
impl Clone for Graph {
    fn clone(&self) -> Self {
        let mut ancestors = self.ancestors.clone();
        // One that made no tensor since it was cloned itself owns none.
        if self.owner(TensorId((self.descs.len() as u32).saturating_sub(1))) == self.id && !self.descs.is_empty() {
            ancestors.push((self.id, self.descs.len()));
        }
        Self {
            id: fresh_id(),
            ancestors,
            sources: self.sources.clone(),
            descs: self.descs.clone(),
            nodes: self.nodes.clone(),
            outputs: self.outputs.clone(),
            constants: self.constants.clone(),
            calls: self.calls.clone(),
        }
    }
}

fn hash_of(hash: impl FnOnce(&mut DefaultHasher)) -> u64 {
    let mut hasher = DefaultHasher::new();
    hash(&mut hasher);
    hasher.finish()
}

/// No two graphs of a process have one id.
fn fresh_id() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self {
            id: fresh_id(),
            ancestors: Vec::new(),
            sources: Vec::new(),
            descs: Vec::new(),
            nodes: Vec::new(),
            outputs: Vec::new(),
            constants: HashMap::new(),
            calls: HashMap::new(),
        }
    }

    /// The graph that made a tensor: this one, or the one that this one was cloned from after that.
    fn owner(&self, id: TensorId) -> u64 {
        self.ancestors.iter().find(|(_, tensors)| (id.0 as usize) < *tensors).map_or(self.id, |(owner, _)| *owner)
    }

    fn tensor(&mut self, desc: Desc, source: Source) -> Tensor {
        let id = TensorId(self.descs.len() as u32);
        self.descs.push(desc);
        self.sources.push(source);
        Tensor { graph: self.id, id, desc }
    }

    /// An input, bound to a buffer by `name` when the graph is planned. A second input of the same name is
    /// refused then.
    pub fn input(&mut self, name: &str, shape: impl Into<Shape>, elem: Elem) -> Tensor {
        self.tensor(Desc::new(shape, elem), Source::Input(name.to_owned()))
    }

    /// A tensor whose contents are known now. A plan uploads it once.
    pub fn constant(&mut self, value: HostTensor) -> Tensor {
        // By their bits: -0 is not 0 here, and a NaN is itself.
        let hash = hash_of(|hasher| (value.desc(), value.bytes()).hash(hasher));
        let same = |source: &Source| matches!(source, Source::Constant(c) if c.desc() == value.desc() && c.bytes() == value.bytes());
        match self.existing(hash, |source, _| same(source)) {
            Some(there) => there,
            None => self.new_constant(hash, value.desc(), Source::Constant(Arc::new(value))),
        }
    }

    fn new_constant(&mut self, hash: u64, desc: Desc, source: Source) -> Tensor {
        let tensor = self.tensor(desc, source);
        self.constants.entry(hash).or_default().push(tensor.id);
        tensor
    }

    /// A constant of one number.
    pub(crate) fn filled(&mut self, shape: impl Into<Shape>, value: u32) -> Tensor {
        self.pattern(Desc::new(shape, Elem::U32), Pattern::filled(value))
    }

    /// A constant of one number.
    pub(crate) fn filled_f32(&mut self, shape: impl Into<Shape>, value: f32) -> Tensor {
        self.pattern(Desc::new(shape, Elem::F32), Pattern::filled(value.to_bits()))
    }

    /// A constant whose rows each count from `first` in steps.
    pub(crate) fn counted(&mut self, shape: impl Into<Shape>, first: u32, step: u32) -> Tensor {
        self.pattern(Desc::new(shape, Elem::U32), Pattern::counted(first, step))
    }

    /// A constant whose entries follow from their places. A large one is not stored.
    pub(crate) fn pattern(&mut self, desc: Desc, pattern: Pattern) -> Tensor {
        if desc.bytes() <= STORED_BYTES {
            return self.constant(pattern.tensor(desc));
        }
        let hash = hash_of(|hasher| (desc, pattern).hash(hasher));
        let same = |source: &Source, of: Desc| of == desc && matches!(source, Source::Pattern(p, _) if *p == pattern);
        match self.existing(hash, same) {
            Some(there) => there,
            None => self.new_constant(hash, desc, Source::Pattern(pattern, OnceLock::new())),
        }
    }

    /// A constant of integers that the host computes one by one, once their number is known to be one that a host computes.
    pub(crate) fn listed(
        &mut self,
        argument: &'static str,
        shape: impl Into<Shape>,
        list: impl FnOnce() -> Vec<u32>,
    ) -> Result<Tensor, Error> {
        let shape = shape.into();
        expect_listed(argument, shape)?;
        Ok(self.constant(HostTensor::u32(shape, list())))
    }

    /// The integers of a constant, however it is held.
    pub(crate) fn known(&self, tensor: Tensor) -> Option<Known<'_>> {
        match self.sources.get(tensor.id.0 as usize)? {
            _ if !self.owns(tensor) || tensor.elem() != Elem::U32 => None,
            Source::Constant(value) => value.as_integers().map(Known::Listed),
            // A row of another length has other entries.
            Source::Pattern(pattern, _) => Some(Known::Pattern(*pattern, self.descs[tensor.id.0 as usize].shape)),
            Source::Input(_) | Source::Node => None,
        }
    }

    /// The handle of a constant of this hash that is there.
    fn existing(&self, hash: u64, same: impl Fn(&Source, Desc) -> bool) -> Option<Tensor> {
        let at = |id: &TensorId| id.0 as usize;
        let id = *self.constants.get(&hash)?.iter().find(|id| same(&self.sources[at(id)], self.descs[at(id)]))?;
        Some(Tensor { graph: self.owner(id), id, desc: self.descs[at(&id)] })
    }

    /// The contents of a constant of this graph, or of a graph that it was cloned from.
    pub fn constant_value(&self, tensor: Tensor) -> Option<&HostTensor> {
        match self.sources.get(tensor.id.0 as usize) {
            Some(Source::Constant(value)) if self.owns(tensor) => Some(value),
            Some(Source::Pattern(pattern, value)) if self.owns(tensor) => {
                let desc = self.descs[tensor.id.0 as usize];
                (desc.bytes() <= SHOWN_BYTES).then(|| &**value.get_or_init(|| Box::new(pattern.tensor(desc))))
            }
            _ => None,
        }
    }

    /// The same elements under another shape; nothing moves.
    pub fn reshape(&self, tensor: Tensor, shape: impl Into<Shape>) -> Result<Tensor, Error> {
        self.check(tensor, "reshape: tensor")?;
        let shape = shape.into();
        if shape.elements() != tensor.shape().elements() {
            let expected = format!("{} elements", tensor.shape().elements());
            return Err(Error::Shape { argument: "reshape: shape", expected, actual: shape });
        }
        Ok(Tensor { desc: Desc { shape, elem: tensor.elem() }, ..tensor })
    }

    /// Whether a call computes this tensor, and it is not an output yet. Then it can be an output without a copy.
    pub(crate) fn is_free(&self, tensor: Tensor) -> Result<bool, Error> {
        self.check(tensor, "output: tensor")?;
        let taken = self.outputs.iter().any(|(_, t)| t.id == tensor.id);
        Ok(!taken && matches!(self.sources[tensor.id.0 as usize], Source::Node))
    }

    /// Names a tensor that [is free](Graph::is_free).
    pub(crate) fn name_output(&mut self, name: &str, tensor: Tensor) {
        self.outputs.push((name.to_owned(), tensor));
    }

    /// Adds a kernel call; gives its outputs. A call with the same options and inputs as an earlier one gives
    /// the earlier one's outputs.
    pub fn call(&mut self, kernel: impl Kernel + 'static, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        self.call_shared(Arc::new(kernel), inputs)
    }

    pub(crate) fn call_shared(&mut self, kernel: Arc<dyn Kernel>, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        for input in inputs {
            self.check(*input, kernel.name())?;
        }
        let options = format!("{kernel:?}");
        let ids = inputs.iter().map(|input| (input.id, input.desc));
        let hash = hash_of(|hasher| (&options, ids.collect::<Vec<_>>()).hash(hasher));
        let same = |node: &&Node| node.inputs == inputs && format!("{:?}", node.kernel) == options;
        if let Some(node) = self.calls.get(&hash).and_then(|calls| calls.iter().map(|call| &self.nodes[*call]).find(same)) {
            return Ok(node.outputs.clone());
        }
        let count = kernel.input_count();
        if !count.contains(&inputs.len()) {
            let expected =
                if count.start() == count.end() { count.start().to_string() } else { format!("{} to {}", count.start(), count.end()) };
            return Err(Error::Inputs { kernel: kernel.name(), expected, actual: inputs.len() });
        }
        let descs: Vec<_> = inputs.iter().map(Tensor::desc).collect();
        let outputs: Vec<_> = kernel.outputs(&descs)?.into_iter().map(|desc| self.tensor(desc, Source::Node)).collect();
        self.calls.entry(hash).or_default().push(self.nodes.len());
        self.nodes.push(Node { kernel, inputs: inputs.to_vec(), outputs: outputs.clone() });
        Ok(outputs)
    }

    /// Whether this is a handle of this graph's.
    fn owns(&self, tensor: Tensor) -> bool {
        (tensor.id.0 as usize) < self.descs.len() && tensor.graph == self.owner(tensor.id)
    }

    fn check(&self, tensor: Tensor, argument: &'static str) -> Result<(), Error> {
        if self.owns(tensor) { Ok(()) } else { Err(Error::ForeignTensor { argument }) }
    }

    /// Names, shapes and element types of the inputs, in order of definition. A plan needs a view for each.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, Desc)> {
        self.sources.iter().zip(&self.descs).filter_map(|(source, desc)| match source {
            Source::Input(name) => Some((name.as_str(), *desc)),
            _ => None,
        })
    }

    /// Names, shapes and element types of the outputs.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, Desc)> {
        self.outputs.iter().map(|(name, tensor)| (name.as_str(), tensor.desc))
    }

    /// Number of kernel calls so far, which is the index of the next one in [`Plan::calls`](crate::Plan::calls).
    ///
    /// Ask before and after a part of a model is added: [`Plan::record_calls`](crate::Plan::record_calls) records the range between.
    pub fn calls(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Whether each call contributes to an output. The others cost nothing: no plan runs them.
    pub(crate) fn needed(&self) -> Vec<bool> {
        let mut wanted = vec![false; self.descs.len()];
        self.outputs.iter().for_each(|(_, tensor)| wanted[tensor.id.0 as usize] = true);
        let mut needed = vec![false; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if node.outputs.iter().any(|t| wanted[t.id.0 as usize]) {
                needed[index] = true;
                node.inputs.iter().for_each(|t| wanted[t.id.0 as usize] = true);
            }
        }
        needed
    }

    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }

    pub(crate) fn descs(&self) -> &[Desc] {
        &self.descs
    }

    pub(crate) fn output_tensors(&self) -> &[(String, Tensor)] {
        &self.outputs
    }

    /// Executes the graph on the CPU reference: every output by name. A tensor of more than 2 GiB is
    /// [`Error::BindingTooLarge`].
    pub fn run_reference(&self, inputs: &BTreeMap<String, HostTensor>) -> Result<BTreeMap<String, HostTensor>, Error> {
        let mut outputs = BTreeMap::new();
        let values = self.reference_values(inputs, &self.needed(), &self.needed())?;
        for (name, tensor) in &self.outputs {
            let value = values[&tensor.id].clone().reshaped(tensor.shape());
            outputs.insert(name.clone(), value);
        }
        Ok(outputs)
    }

    /// The value of every tensor of these calls on the CPU reference, and of the constants that `readers` read.
    pub(crate) fn reference_values(
        &self,
        inputs: &BTreeMap<String, HostTensor>,
        calls: &[bool],
        readers: &[bool],
    ) -> Result<HashMap<TensorId, HostTensor>, Error> {
        self.check_names(inputs.keys())?;
        let reads = |&(index, _): &(usize, &Node)| readers[index];
        let read: HashSet<_> = self.nodes.iter().enumerate().filter(reads).flat_map(|(_, node)| node.inputs.iter().map(|t| t.id)).collect();
        let mut values = HashMap::new();
        for (index, source) in self.sources.iter().enumerate() {
            match source {
                Source::Input(name) => {
                    let value = inputs.get(name).ok_or_else(|| Error::MissingBinding { tensor: name.clone() })?;
                    if value.desc() != self.descs[index] {
                        return Err(Error::BindingMismatch {
                            tensor: name.clone(),
                            expected: self.descs[index].to_string(),
                            actual: value.desc().to_string(),
                        });
                    }
                    values.insert(TensorId(index as u32), value.clone());
                }
                Source::Constant(value) => {
                    values.insert(TensorId(index as u32), HostTensor::clone(value));
                }
                Source::Pattern(pattern, _) if read.contains(&TensorId(index as u32)) => {
                    on_the_host("constant", self.descs[index])?;
                    values.insert(TensorId(index as u32), pattern.tensor(self.descs[index]));
                }
                Source::Pattern(..) | Source::Node => {}
            }
        }
        for (node, _) in self.nodes.iter().zip(calls).filter(|(_, run)| **run) {
            for output in &node.outputs {
                on_the_host(node.kernel.name(), output.desc)?;
            }
            // An empty tensor needs no computation, however large its other dimensions are.
            if node.outputs.iter().all(|output| output.shape().elements() == 0) {
                values.extend(node.outputs.iter().map(|output| (output.id, HostTensor::empty(output.desc))));
                continue;
            }
            let inputs = self.reference_inputs(node, &values);
            let results = node.kernel.reference(&inputs.iter().collect::<Vec<_>>());
            for (tensor, result) in node.outputs.iter().zip(results) {
                debug_assert_eq!(tensor.desc, result.desc(), "{}", node.kernel.name());
                values.insert(tensor.id, result);
            }
        }
        Ok(values)
    }

    /// A call's inputs under the shapes that it sees.
    pub(crate) fn reference_inputs(&self, node: &Node, values: &HashMap<TensorId, HostTensor>) -> Vec<HostTensor> {
        node.inputs.iter().map(|t| values[&t.id].clone().reshaped(t.shape())).collect()
    }

    /// Every name must be the graph's, and the graph's own must differ.
    pub(crate) fn check_names<'a>(&self, names: impl Iterator<Item = &'a String>) -> Result<(), Error> {
        let mut known: HashSet<&str> = HashSet::new();
        for name in self.inputs().map(|(name, _)| name).chain(self.outputs.iter().map(|(name, _)| name.as_str())) {
            if !known.insert(name) {
                return Err(Error::DuplicateName { name: name.to_owned() });
            }
        }
        for name in names {
            if !known.contains(name.as_str()) {
                return Err(Error::UnknownBinding { tensor: name.clone() });
            }
        }
        Ok(())
    }
}

/// An error for a tensor of more than 2 GiB. The reference does not make it, and few GPUs would bind it.
fn on_the_host(kernel: &'static str, desc: Desc) -> Result<(), Error> {
    let (bytes, limit) = (desc.bytes(), 1 << 31);
    if bytes > limit { Err(Error::BindingTooLarge { kernel, tensor: desc.to_string(), bytes, limit }) } else { Ok(()) }
}

impl std::fmt::Display for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |tensors: &[Tensor]| tensors.iter().map(|t| format!("%{}: {}", t.id.0, t.desc)).collect::<Vec<_>>().join(", ");
        for (index, (source, desc)) in self.sources.iter().zip(&self.descs).enumerate() {
            match source {
                Source::Input(name) => writeln!(f, "%{index}: {desc} = input {name:?}")?,
                Source::Constant(_) | Source::Pattern(..) => writeln!(f, "%{index}: {desc} = constant")?,
                Source::Node => {}
            }
        }
        for node in &self.nodes {
            writeln!(f, "{} = {:?}({})", show(&node.outputs), node.kernel, show(&node.inputs))?;
        }
        for (name, tensor) in &self.outputs {
            writeln!(f, "output {name:?} = %{}: {}", tensor.id.0, tensor.desc)?;
        }
        Ok(())
    }
}
