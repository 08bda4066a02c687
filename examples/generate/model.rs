//! A language model of the Llama family as three graphs: one reads the prompt, one compresses the cache of keys and values that it leaves, and
//! one reads more tokens with that cache. Weights are inputs, named as in their file.
//!
//! Each graph gives what the next one reads, under the same names, so that nothing but tokens leaves the device.

use std::path::Path;

use tokenpress::kernels::{
    Activation, Attention, LayerNorm, Linear, QueryKeyValue, Rope, RotaryPairs, TopK, TopKInputs, add, gather_rows, linear, lookup,
    multiply, scatter_rows,
};
use tokenpress::methods::Cache;
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Error, Graph, HostTensor, Tensor};

use crate::methods::{Layer, Step, compress, dims, with_room};
use crate::vocabulary::Vocabulary;
use crate::weights::{self, weight};

/// What a step hands on to the next: inputs of these names, and outputs with `next.` before them.
pub(crate) const NEXT: &str = "next.";

/// What a layer hands on from a graph to the next.
const CACHE: [&str; 3] = ["cache.keys", "cache.values", "cache.lengths"];

/// The model's weights, and its sizes and options.
pub(crate) struct Model {
    weights: HostTensors,
    pub(crate) layers: usize,
    heads: u32,
    pub(crate) key_heads: u32,
    pub(crate) depth: u32,
    rope: Rope,
    norm: LayerNorm,
    /// Number of tokens there are.
    pub(crate) vocabulary: u32,
    /// Longest text that the model was trained on.
    pub(crate) context: u32,
}

/// What a file of weights says of its model besides.
pub(crate) struct About {
    pub(crate) heads: u32,
    pub(crate) key_heads: u32,
    pub(crate) rope_base: f64,
    pub(crate) epsilon: f32,
    pub(crate) context: u32,
}

/// What reads a cache that was compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reader {
    /// So many tokens that are known: their logits are an output.
    Passage(u32),
    /// One token, which the step before has chosen, of up to so many.
    Steps(u32),
}

/// The rows of a layer by key heads: queries of a group side by side.
struct Rows {
    /// `[1, H, M, D]`, with their rotary embedding, as are the keys.
    queries: Tensor,
    /// `[1, Hkv, M, D]`
    keys: Tensor,
    values: Tensor,
}

impl Model {
    /// Reads a safetensors file, in which the tokens are too, and which of them ends a text.
    pub(crate) fn read(path: &Path) -> Result<(Self, Vocabulary, u32), String> {
        let (weights, about) = weights::read(path)?;
        let entry = |name: &str| about.get(name).ok_or_else(|| format!("{} does not say {name}", path.display()));
        let number = |name: &str| {
            let number = entry(name)?;
            number.parse::<f64>().map_err(|_| format!("{name} in {} is {number:?}, no number", path.display()))
        };
        let whole = |name: &str| number(name).map(|number| number as u32);
        let control: Vec<u32> = entry("control")?.split(' ').filter_map(|token| token.parse().ok()).collect();
        let vocabulary = Vocabulary::new(entry("tokens")?.split('\n'), &control)?;
        let about = About {
            heads: whole("heads")?,
            key_heads: whole("key_heads")?,
            rope_base: number("rope_base")?,
            epsilon: number("epsilon")? as f32,
            context: whole("context")?,
        };
        Ok((Self::new(weights, about)?, vocabulary, whole("end")?))
    }

    /// Of tensors as they are in the file.
    pub(crate) fn new(weights: HostTensors, about: About) -> Result<Self, String> {
        let shape = |name: &str| weights.get(name).map(|tensor| tensor.shape()).ok_or_else(|| format!("the weights have no {name}"));
        let [vocabulary, _] = shape("token_embd.weight")?.dims().try_into().map_err(|_| "token_embd.weight is no matrix".to_owned())?;
        let keys = shape("blk.0.attn_k.weight")?.dims()[0];
        let About { heads, key_heads, rope_base, epsilon, context } = about;
        let depth = keys.checked_div(key_heads).unwrap_or(0);
        if depth == 0 || heads % key_heads != 0 {
            return Err(format!("{keys} channels of keys are no {key_heads} heads that {heads} read"));
        }
        let layers = (0..).take_while(|layer| weights.contains_key(&format!("blk.{layer}.attn_q.weight"))).count();
        // The file's rows of queries and keys are in the order that turns neighbours together.
        let rope = Rope::new(rope_base, depth, RotaryPairs::Interleaved);
        let norm = LayerNorm { subtract_mean: false, epsilon };
        Ok(Self { weights, layers, heads, key_heads, depth, rope, norm, vocabulary, context })
    }

    /// The graphs' inputs but for tokens and caches.
    pub(crate) fn weights(&self) -> &HostTensors {
        &self.weights
    }

    /// Reads `prompt` `[1, count]`. Gives `token` `[1, 1]`, the best after it, and for each layer `queries.LAYER` `[1, H, count, D]`,
    /// `keys.LAYER` and `values.LAYER` `[1, Hkv, count, D]`.
    pub(crate) fn prefill(&self, count: u32) -> Result<Graph, Error> {
        let mut graph = Graph::new();
        let token = graph.input("prompt", [1, count], Elem::U32);
        let position = graph.constant(HostTensor::u32([1, count], (0..count).collect()));
        let (mut x, table) = self.embed(&mut graph, token)?;
        for layer in 0..self.layers {
            let rows = self.rows(&mut graph, layer, x, position)?;
            for (name, tensor) in [("queries", rows.queries), ("keys", rows.keys), ("values", rows.values)] {
                graph.output(&format!("{name}.{layer}"), tensor)?;
            }
            x = self.attend(&mut graph, layer, x, &rows, None)?;
            x = self.feed_forward(&mut graph, layer, x)?;
        }
        let last = graph.constant(HostTensor::u32([1], vec![count.saturating_sub(1)]));
        let last = gather_rows(&mut graph, x, last, None)?;
        let logits = self.logits(&mut graph, last, table)?;
        let token = self.best(&mut graph, logits)?;
        graph.output("logits", logits)?;
        graph.output("token", token)?;
        Ok(graph)
    }

    /// Reads what [`Model::prefill`] leaves of `count` tokens. Gives the cache that is left of it by these steps, with room for `spare` more
    /// tokens: for each layer `cache.keys.LAYER` and `cache.values.LAYER` `[1, Hkv, room, D]`, and `cache.lengths.LAYER` `[1, Hkv]`; and where the
    /// tokens that are left were, `positions.LAYER` `[1, Hkv, room - spare]`.
    pub(crate) fn compression(&self, steps: &[Step], count: u32, spare: u32) -> Result<Graph, Error> {
        let mut graph = Graph::new();
        for layer in 0..self.layers {
            let input =
                |graph: &mut Graph, name: &str, heads| graph.input(&format!("{name}.{layer}"), [1, heads, count, self.depth], Elem::F32);
            let [keys, values] = ["keys", "values"].map(|name| input(&mut graph, name, self.key_heads));
            let cache = Cache::new(&mut graph, keys, values)?;
            let left = match steps.iter().find(|step| step.is_at(layer)) {
                None => cache,
                Some(step) => {
                    let queries = input(&mut graph, "queries", self.heads);
                    compress(&mut graph, &Layer { cache, queries, rope: self.rope.clone() }, step)?
                }
            };
            let keys = with_room(&mut graph, &left, left.keys, spare)?;
            let values = with_room(&mut graph, &left, left.values, spare)?;
            for (name, tensor) in CACHE.into_iter().zip([keys, values, left.lengths]) {
                graph.output(&format!("{name}.{layer}"), tensor)?;
            }
            graph.output(&format!("positions.{layer}"), left.positions)?;
        }
        Ok(graph)
    }

    /// Reads more tokens with such a cache, in which there is room for `rooms` tokens in each layer, after a prompt of `count` tokens.
    ///
    /// [`Reader::Passage`] reads `passage` `[1, tokens]` and gives `logits` `[1, tokens, vocabulary]`. [`Reader::Steps`] reads `token` `[1, 1]`,
    /// and hands on the cache, `token`, the best of what comes next, `step` `[1]`, which begins with 0, and `said` `[1, steps]`, all tokens that
    /// it was given.
    pub(crate) fn reader(&self, reader: Reader, rooms: &[u32], count: u32) -> Result<Graph, Error> {
        let mut graph = Graph::new();
        let tokens = if let Reader::Passage(tokens) = reader { tokens } else { 1 };
        let token = graph.input(if let Reader::Passage(_) = reader { "passage" } else { "token" }, [1, tokens], Elem::U32);
        let (step, starts) = match reader {
            Reader::Passage(_) => (graph.constant(HostTensor::u32([1], vec![0])), 1),
            Reader::Steps(steps) => (graph.input("step", [1], Elem::U32), steps),
        };
        let position = counted_from(&mut graph, step, count..count + starts, tokens)?;
        let (mut x, table) = self.embed(&mut graph, token)?;
        for (layer, room) in rooms.iter().enumerate() {
            let rows = self.rows(&mut graph, layer, x, position)?;
            let past = self.append(&mut graph, layer, &rows, *room, tokens)?;
            if let Reader::Steps(_) = reader {
                for (name, tensor) in CACHE.into_iter().zip(past) {
                    graph.output(&format!("{NEXT}{name}.{layer}"), tensor)?;
                }
            }
            x = self.attend(&mut graph, layer, x, &rows, Some(past))?;
            x = self.feed_forward(&mut graph, layer, x)?;
        }
        let logits = self.logits(&mut graph, x, table)?;
        if let Reader::Steps(steps) = reader {
            let best = self.best(&mut graph, logits)?;
            let said = graph.input("said", [1, steps], Elem::U32);
            let place = graph.reshape(step, [1, 1])?;
            let said = scatter_rows(&mut graph, said, token, place)?;
            let next = graph.constant(HostTensor::u32([steps + 1], (1..=steps + 1).collect()));
            let next = lookup(&mut graph, next, step)?;
            for (name, tensor) in [("token", best), ("step", next), ("said", said)] {
                graph.output(&format!("{NEXT}{name}"), tensor)?;
            }
        } else {
            graph.output("logits", logits)?;
        }
        Ok(graph)
    }

    /// A layer's cache with the rows of these tokens behind the live ones: keys, values and lengths.
    fn append(&self, graph: &mut Graph, layer: usize, rows: &Rows, room: u32, tokens: u32) -> Result<[Tensor; 3], Error> {
        let (heads, depth) = (self.key_heads, self.depth);
        let lengths = graph.input(&format!("{}.{layer}", CACHE[2]), [1, heads], Elem::U32);
        // Where the live ones end, and on from there; in a full cache there is no place.
        let live = graph.reshape(lengths, [heads])?;
        let places = counted_from(graph, live, 0..room + 1, tokens)?;
        let longer = graph.constant(HostTensor::u32([room + 1], (0..=room).map(|live| (live + tokens).min(room)).collect()));
        let longer = lookup(graph, longer, lengths)?;
        let mut behind = |name: &str, new: Tensor| {
            let old = graph.input(&format!("{name}.{layer}"), [1, heads, room, depth], Elem::F32);
            let old = graph.reshape(old, [heads, room, depth])?;
            let new = graph.reshape(new, [heads, tokens, depth])?;
            let both = scatter_rows(graph, old, new, places)?;
            graph.reshape(both, [1, heads, room, depth])
        };
        Ok([behind(CACHE[0], rows.keys)?, behind(CACHE[1], rows.values)?, longer])
    }

    /// The tokens' rows, and the table that has them.
    fn embed(&self, graph: &mut Graph, token: Tensor) -> Result<(Tensor, Tensor), Error> {
        let table = weight(&self.weights, graph, "token_embd.weight")?;
        let [rows, channels] = [table.shape().dims()[0], table.shape().dims()[1]];
        let all = graph.reshape(table, [1, rows, channels])?;
        Ok((gather_rows(graph, all, token, None)?, table))
    }

    /// Queries, keys and values of a layer, of tokens at these positions `[1, M]`.
    fn rows(&self, graph: &mut Graph, layer: usize, x: Tensor, position: Tensor) -> Result<Rows, Error> {
        let normal = self.norm(graph, &format!("blk.{layer}.attn_norm.weight"), x)?;
        let mut rows = |name: &str, heads: u32, turned: bool| {
            let weight = weight(&self.weights, graph, &format!("blk.{layer}.{name}.weight"))?;
            let rows = linear(graph, normal, weight, None)?;
            let count = position.shape().dims()[1];
            let mut rows = graph.reshape(rows, [1, count * heads, self.depth])?;
            if turned {
                let of_heads = graph.constant(HostTensor::u32([count * heads], (0..count * heads).map(|row| row / heads).collect()));
                let position = gather_rows(graph, position, of_heads, None)?;
                rows = self.rope.rotate(graph, rows, None, position, None)?;
            }
            let rows = transposed(graph, rows, [count, heads])?;
            graph.reshape(rows, [1, heads, count, self.depth])
        };
        Ok(Rows {
            queries: rows("attn_q", self.heads, true)?,
            keys: rows("attn_k", self.key_heads, true)?,
            values: rows("attn_v", self.key_heads, false)?,
        })
    }

    /// The tokens after a layer's attention: to each other, or to a cache in which they are the last.
    fn attend(&self, graph: &mut Graph, layer: usize, x: Tensor, rows: &Rows, past: Option<[Tensor; 3]>) -> Result<Tensor, Error> {
        let (heads, key_heads, depth) = (self.heads, self.key_heads, self.depth);
        let [keys, values] = past.map_or([rows.keys, rows.values], |[keys, values, _]| [keys, values]);
        let [_, _, count, _] = dims(rows.queries)?;
        let [_, _, room, _] = dims(keys)?;
        // Each key head is a row of a batch, with a length of its own.
        let lengths = past.map(|[_, _, lengths]| graph.reshape(lengths, [key_heads])).transpose()?;
        let inputs = QueryKeyValue {
            queries: graph.reshape(rows.queries, [key_heads, heads / key_heads, count, depth])?,
            keys: graph.reshape(keys, [key_heads, 1, room, depth])?,
            values: graph.reshape(values, [key_heads, 1, room, depth])?,
            bias: None,
            lengths,
            query_lengths: Some(graph.constant(HostTensor::u32([key_heads], vec![count; key_heads as usize]))),
        };
        let attended = Attention { causal: true, ..Attention::default() }.build(graph, inputs)?.rows;
        let attended = graph.reshape(attended, [1, heads * count, depth])?;
        let attended = transposed(graph, attended, [heads, count])?;
        let attended = graph.reshape(attended, [1, count, heads * depth])?;
        let output = weight(&self.weights, graph, &format!("blk.{layer}.attn_output.weight"))?;
        let attended = linear(graph, attended, output, None)?;
        add(graph, x, attended)
    }

    fn feed_forward(&self, graph: &mut Graph, layer: usize, x: Tensor) -> Result<Tensor, Error> {
        let normal = self.norm(graph, &format!("blk.{layer}.ffn_norm.weight"), x)?;
        let mut matrix = |name: &str| weight(&self.weights, graph, &format!("blk.{layer}.{name}.weight"));
        let (gate, up, down) = (matrix("ffn_gate")?, matrix("ffn_up")?, matrix("ffn_down")?);
        let gate = Linear { activation: Activation::Silu }.build(graph, normal, gate, None)?;
        let up = linear(graph, normal, up, None)?;
        let both = multiply(graph, gate, up)?;
        let fed = linear(graph, both, down, None)?;
        add(graph, x, fed)
    }

    /// The table that reads tokens writes them, too.
    fn logits(&self, graph: &mut Graph, x: Tensor, table: Tensor) -> Result<Tensor, Error> {
        let x = self.norm(graph, "output_norm.weight", x)?;
        linear(graph, x, table, None)
    }

    fn best(&self, graph: &mut Graph, logits: Tensor) -> Result<Tensor, Error> {
        let scores = graph.reshape(logits, [1, self.vocabulary])?;
        Ok(TopK::default().build(graph, TopKInputs::new(scores))?.indices)
    }

    fn norm(&self, graph: &mut Graph, name: &str, x: Tensor) -> Result<Tensor, Error> {
        let weight = weight(&self.weights, graph, name)?;
        self.norm.build(graph, x, Some(weight), None)
    }
}

/// For each `index` of `[rows]` the entry of `table` there and those after it, counted on: u32 `[rows, count]`.
fn counted_from(graph: &mut Graph, index: Tensor, table: impl Iterator<Item = u32>, count: u32) -> Result<Tensor, Error> {
    let rows = index.shape().dims()[0];
    let table: Vec<u32> = table.flat_map(|first| first..first + count).collect();
    let entries = table.len() as u32 / count;
    let table = graph.constant(HostTensor::u32([1, entries, count], table));
    let index = graph.reshape(index, [1, rows])?;
    let found = gather_rows(graph, table, index, None)?;
    graph.reshape(found, [rows, count])
}

/// Rows `[1, A * B, D]` as `[1, B * A, D]`.
fn transposed(graph: &mut Graph, x: Tensor, [outer, inner]: [u32; 2]) -> Result<Tensor, Error> {
    if outer == 1 || inner == 1 {
        return Ok(x);
    }
    let order = (0..inner).flat_map(|i| (0..outer).map(move |o| o * inner + i)).collect();
    let order = graph.constant(HostTensor::u32([outer * inner], order));
    gather_rows(graph, x, order, None)
}
