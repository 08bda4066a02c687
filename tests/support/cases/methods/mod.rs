//! Every method over shapes, ragged lengths and awkward tokens: a file, and a line in [`all`], for each family.

mod abstractor;
mod cache;
mod chain;
mod diversity;
mod image_tokens;
mod prune;
mod runs;
mod spatial;
mod tome;
mod transformer;
mod video;

use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Error, Graph, HostTensor, Tensor, Tokens};

use crate::support::{Case, data};

/// What a method is given: a batch of tokens with queries and keys of two heads.
#[derive(Clone, Copy)]
pub struct Given {
    pub tokens: Tokens,
    pub queries: Tensor,
    pub keys: Tensor,
}

/// A method with its options, as a function over the graph that names the method's outputs.
pub struct Method {
    pub subject: &'static str,
    pub options: &'static str,
    pub build: fn(&mut Graph, Given) -> Result<(), Error>,
    /// Works on rows of different lengths.
    pub ragged: bool,
}

/// Every method that works on tokens of an image, a text or a sound.
pub fn all() -> impl Iterator<Item = &'static Method> {
    let families = [
        abstractor::METHODS,
        chain::METHODS,
        diversity::METHODS,
        image_tokens::METHODS,
        prune::METHODS,
        runs::METHODS,
        spatial::METHODS,
        tome::METHODS,
        transformer::METHODS,
        video::METHODS,
    ];
    families.into_iter().flatten()
}

pub const HEADS: u32 = 2;
pub const HEAD_CHANNELS: u32 = 8;
pub const CHANNELS: u32 = 12;

/// A graph of a method, with `lengths` as an input where the rows are ragged.
pub fn graph(method: &Method, batch: u32, tokens: u32, elem: Elem, ragged: bool) -> Result<Graph, Error> {
    let mut graph = Graph::new();
    let x = graph.input("x", [batch, tokens, CHANNELS], elem);
    let queries = graph.input("queries", [batch, HEADS, tokens, HEAD_CHANNELS], elem);
    let keys = graph.input("keys", [batch, HEADS, tokens, HEAD_CHANNELS], elem);
    let tokens = if ragged {
        let lengths = graph.input("lengths", [batch], Elem::U32);
        Tokens::ragged(&mut graph, x, lengths)?
    } else {
        Tokens::new(&mut graph, x)?
    };
    (method.build)(&mut graph, Given { tokens, queries, keys })?;
    Ok(graph)
}

/// Seeded inputs of such a graph; `values` makes the floats.
pub fn inputs(seed: u64, batch: u32, tokens: u32, elem: Elem, values: fn(u64, usize) -> Vec<f32>) -> HostTensors {
    let make = |name: &str, seed: u64, shape: &[u32]| {
        let len = shape.iter().product::<u32>() as usize;
        let tensor = data::tensor([len as u32], elem, &values(seed, len));
        let tensor = match *shape {
            [a, b, c] => tensor.reshaped([a, b, c]),
            [a, b, c, d] => tensor.reshaped([a, b, c, d]),
            _ => tensor,
        };
        (name.to_owned(), tensor)
    };
    [
        make("x", seed, &[batch, tokens, CHANNELS]),
        make("queries", seed + 1, &[batch, HEADS, tokens, HEAD_CHANNELS]),
        make("keys", seed + 2, &[batch, HEADS, tokens, HEAD_CHANNELS]),
    ]
    .into()
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for method in all() {
        // Their kernels have grids of their own: here each method meets the smallest batch, an awkward one, and every kind of data.
        for (batch, tokens, elem, kind, values) in [
            (1, 1, Elem::F32, "normal", data::normal as fn(u64, usize) -> Vec<f32>),
            (3, 33, Elem::F32, "normal", data::normal),
            (3, 33, Elem::F16, "normal", data::normal),
            (3, 33, Elem::F32, "ties", data::ties),
            (3, 33, Elem::F32, "awkward", data::awkward),
        ] {
            let name = format!("{}, {elem} [{batch},{tokens}] {kind}", method.options);
            let graph = graph(method, batch, tokens, elem, false).expect("valid options");
            cases.push(Case { subject: method.subject, name, heavy: false, graph, inputs: inputs(3, batch, tokens, elem, values) });
        }
        if method.ragged {
            let graph = graph(method, 4, 33, Elem::F32, true).expect("valid options");
            let mut inputs = inputs(5, 4, 33, Elem::F32, data::normal);
            inputs.insert("lengths".into(), HostTensor::u32([4], vec![0, 33, 1, 18]));
            cases.push(Case { subject: method.subject, name: format!("{}, ragged", method.options), heavy: false, graph, inputs });
        }
    }
    cases.extend(cache::cases());
    cases
}
