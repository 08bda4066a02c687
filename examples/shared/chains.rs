//! What the examples share: chains of methods with a schedule, as `--compress` has them.

use tokenpress::{Compressed, Error, Graph};

/// A way to compress within a layer, of which it finds an `L`, and adds a `C` to the graph.
pub(crate) struct Method<L: 'static, C: 'static = Compressed> {
    /// As `--compress` has it.
    pub(crate) name: &'static str,
    /// What becomes of the tokens, in a few words.
    pub(crate) about: &'static str,
    /// Its numbers, and what they are unless given.
    pub(crate) numbers: &'static [(&'static str, f64)],
    /// Layers, counted from 1, where it works unless told; every one for none.
    pub(crate) layers: &'static [usize],
    /// Adds the calls to the graph.
    pub(crate) build: Build<L, C>,
}

/// What a method adds to a graph for its step.
type Build<L, C> = fn(&mut Graph, &L, &Step<L, C>) -> Result<C, Error>;

/// A method of a chain with its numbers.
pub(crate) struct Step<L: 'static, C: 'static = Compressed> {
    pub(crate) method: &'static Method<L, C>,
    /// Counted from 0; every one for none.
    layers: Vec<usize>,
    pub(crate) numbers: Vec<f64>,
}

impl<L, C> Step<L, C> {
    /// Whether it works at a layer, counted from 0.
    pub(crate) fn is_at(&self, layer: usize) -> bool {
        self.layers.is_empty() || self.layers.contains(&layer)
    }
}

/// `NAME[:KEY=NUMBER,..]+..` for a model of so many layers.
pub(crate) fn parse<L, C>(methods: &'static [Method<L, C>], text: &str, layers: usize) -> Result<Vec<Step<L, C>>, String> {
    text.split('+').map(|text| step(methods, text, layers)).collect()
}

fn step<L, C>(methods: &'static [Method<L, C>], text: &str, layers: usize) -> Result<Step<L, C>, String> {
    let (name, pairs) = text.split_once(':').unwrap_or((text, ""));
    let names: Vec<_> = methods.iter().map(|m| m.name).collect();
    let method = methods.iter().find(|m| m.name == name);
    let method = method.ok_or_else(|| format!("there is no method {name:?}, only {}", names.join(", ")))?;
    let mut numbers: Vec<f64> = method.numbers.iter().map(|(_, number)| *number).collect();
    let mut chosen: Vec<usize> = method.layers.to_vec();
    for pair in pairs.split(',').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key == "layer" {
            let layer = |n: &str| n.parse().ok().filter(|n| (1..=layers).contains(n));
            let wrong = || format!("layer={value} is no list of layers from 1 to {layers}, like layer=3 or layer=4/7/10");
            chosen = value.split('/').map(layer).collect::<Option<_>>().ok_or_else(wrong)?;
            continue;
        }
        let known: Vec<_> = method.numbers.iter().map(|(name, _)| *name).collect();
        let index = known.iter().position(|name| *name == key);
        let index = index.ok_or_else(|| format!("{name} has no {key:?}, only {} and layer", known.join(", ")))?;
        // The least similarity is that of opposites.
        let least = if key == "threshold" { -1.0 } else { 0.0 };
        let number = value.parse().ok().filter(|number: &f64| *number >= least);
        numbers[index] = number.ok_or_else(|| format!("{key} of {name} must be a number from {least} on, not {value:?}"))?;
    }
    Ok(Step { method, layers: chosen.iter().map(|layer| layer - 1).filter(|layer| *layer < layers).collect(), numbers })
}

/// The methods for a program's help.
pub(crate) fn help<L, C>(methods: &[Method<L, C>]) -> String {
    let line = |m: &Method<L, C>| {
        let numbers: Vec<_> = m.numbers.iter().map(|(name, _)| *name).collect();
        format!("  {:<8} {} ({})\n", m.name, m.about, numbers.join(", "))
    };
    let lines = methods.iter().map(line).collect::<String>();
    format!("Methods, with their numbers:\n{lines}\nlayer=3 or layer=4/7/10 says at which layers, counted from 1.")
}
