//! What the examples share: a model's graph, and which kernel calls are which part of it.

use std::ops::Range;

use tokenpress::Graph;

/// A graph of a model.
pub(crate) struct Built {
    pub(crate) graph: Graph,
    /// Which calls are which part.
    pub(crate) stages: Stages,
    /// Layers, counted from 0, that compress.
    pub(crate) compressing: Vec<usize>,
}

/// A part of the model; layers are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Embed,
    Attention(usize),
    Compression(usize),
    FeedForward(usize),
    Head,
}

/// Parts in the order of their calls.
#[derive(Default)]
pub(crate) struct Stages(Vec<(Part, Range<usize>)>);

impl Stages {
    /// The calls since the last part are this one.
    pub(crate) fn end(&mut self, graph: &Graph, part: Part) {
        let start = self.0.last().map_or(0, |(_, calls)| calls.end);
        self.0.push((part, start..graph.calls()));
    }

    /// What the parts' calls come to together, given what each call has.
    pub(crate) fn sum(&self, of_calls: &[f64], within: impl Fn(Part) -> bool) -> f64 {
        let parts = self.0.iter().filter(|(part, _)| within(*part));
        parts.flat_map(|(_, calls)| &of_calls[calls.clone()]).sum()
    }
}
