//! The model of `examples/generate`, with tiny weights drawn here, and the example's refusals.
#![allow(missing_docs, reason = "a test")]

#[path = "../examples/shared/chains.rs"]
#[allow(dead_code, reason = "the help is the example's")]
mod chains;
#[path = "../examples/shared/device.rs"]
#[allow(dead_code, reason = "adapters are the example's")]
mod device;
#[path = "support/example.rs"]
mod example;
#[path = "../examples/generate/machine.rs"]
#[allow(dead_code, reason = "times are the example's")]
mod machine;
#[path = "../examples/generate/methods.rs"]
mod methods;
#[path = "../examples/generate/model.rs"]
#[allow(dead_code, reason = "files are the example's")]
mod model;
#[path = "../examples/shared/runner.rs"]
#[allow(dead_code, reason = "caches need a runner of their own")]
mod runner;
#[path = "../examples/shared/stages.rs"]
#[allow(dead_code, reason = "a table has no parts here")]
mod stages;
#[path = "../examples/generate/vocabulary.rs"]
mod vocabulary;
#[path = "../examples/shared/weights.rs"]
#[allow(dead_code, reason = "files are the example's")]
mod weights;

use machine::{Machine, Ready, Tensors};
use methods::{METHODS, chain};
use model::{About, Model, Reader};
use runner::Place;
use tokenpress::random::random_u32;
use tokenpress::readback::{Context, HostTensors};
use tokenpress::{HostTensor, wgpu};
use vocabulary::Vocabulary;

const CHANNELS: u32 = 16;
const HEADS: u32 = 4;
const KEY_HEADS: u32 = 2;
const DEPTH: u32 = 4;
const WIDE: u32 = 24;
const TOKENS: u32 = 20;
const LAYERS: usize = 2;
const BASE: f64 = 100.0;
const EPSILON: f64 = 1e-5;
/// A token that is never the best.
const END: u32 = u32::MAX;

/// Numbers between -1 and 1.
fn noise(seed: u32, count: u64) -> Vec<f32> {
    (0..count).map(|i| 2.0 * (random_u32(seed, i) as f32 / u32::MAX as f32) - 1.0).collect()
}

/// A model as its file would have it.
fn weights() -> HostTensors {
    let mut shapes: Vec<(String, Vec<u32>)> =
        vec![("token_embd.weight".to_owned(), vec![TOKENS, CHANNELS]), ("output_norm.weight".to_owned(), vec![CHANNELS])];
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("attn_norm", vec![CHANNELS]),
            ("attn_q", vec![HEADS * DEPTH, CHANNELS]),
            ("attn_k", vec![KEY_HEADS * DEPTH, CHANNELS]),
            ("attn_v", vec![KEY_HEADS * DEPTH, CHANNELS]),
            ("attn_output", vec![CHANNELS, HEADS * DEPTH]),
            ("ffn_norm", vec![CHANNELS]),
            ("ffn_gate", vec![WIDE, CHANNELS]),
            ("ffn_up", vec![WIDE, CHANNELS]),
            ("ffn_down", vec![CHANNELS, WIDE]),
        ] {
            shapes.push((format!("blk.{layer}.{name}.weight"), shape));
        }
    }
    let tensor = |(seed, (name, shape)): (usize, (String, Vec<u32>))| {
        let shape = tokenpress::Shape::try_from(&shape[..]).expect("few dimensions");
        (name, HostTensor::f32(shape, noise(seed as u32, shape.elements())))
    };
    shapes.into_iter().enumerate().map(tensor).collect()
}

fn model() -> Model {
    let about = About { heads: HEADS, key_heads: KEY_HEADS, rope_base: BASE, epsilon: EPSILON as f32, context: 64 };
    Model::new(weights(), about).expect("whole")
}

fn text(seed: u32, count: u32) -> Vec<u32> {
    (0..count).map(|i| random_u32(seed, i.into()) % TOKENS).collect()
}

fn row(tokens: &[u32]) -> HostTensor {
    HostTensor::u32([1, tokens.len() as u32], tokens.to_vec())
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// What becomes of a context and a passage after it.
struct Read {
    /// The best token after the context, and the logits behind it.
    token: u32,
    context: Vec<f32>,
    /// Logits behind each token of the passage.
    passage: Vec<f32>,
    /// Which tokens each head of each layer keeps.
    kept: Vec<Vec<Vec<u32>>>,
    /// What is said after the context.
    said: Vec<u32>,
}

/// With so many tokens to be said, or none.
fn read(place: &Place, compress: &str, context: &[u32], passage: &[u32], most: u32) -> Read {
    let model = model();
    let machine = Machine { place, model: &model };
    let steps = if compress.is_empty() { Vec::new() } else { chain(compress, LAYERS).expect("a chain") };
    let (count, spare) = (context.len() as u32, passage.len() as u32);
    let [prefill, compression] = machine.reading(&steps, count, spare).expect("graphs");
    let rooms = compression.rooms();
    let reader = Ready::new(model.reader(Reader::Passage(spare), &rooms, count).expect("a graph"));
    let given = machine.upload([("prompt", row(context)), ("passage", row(passage))]);
    // All in one encoder.
    let (outputs, _) = machine.run(&[&prefill, &compression, &reader], &[&given]).expect("a run");
    let [prefilled, compressed, read] = &outputs[..] else { panic!("three graphs") };
    let get = |tensors: &Tensors, name: &str| machine.download(tensors, name).expect("an output");
    let kept = |layer: usize| {
        let (lengths, positions) = (get(compressed, &format!("cache.lengths.{layer}")), get(compressed, &format!("positions.{layer}")));
        let heads = positions.integers().chunks((rooms[layer] - spare) as usize);
        heads.zip(lengths.integers()).map(|(head, length)| head[..*length as usize].to_vec()).collect()
    };
    let said = match most {
        0 => Vec::new(),
        _ => {
            let [_, compression] = machine.reading(&steps, count, most).expect("graphs");
            let (mut compressed, _) = machine.run(&[&compression], &[prefilled]).expect("a run");
            machine.decode(prefilled, compressed.remove(0), &compression.rooms(), count, most, END).expect("a run").tokens
        }
    };
    Read {
        token: get(prefilled, "token").integers()[0],
        context: get(prefilled, "logits").floats(),
        passage: get(read, "logits").floats(),
        kept: (0..LAYERS).map(kept).collect(),
        said,
    }
}

fn devices() -> Vec<Place> {
    let adapters = pollster::block_on(Context::adapters(wgpu::Backends::all()));
    let place = |adapter| Place::new(Some(pollster::block_on(Context::new(adapter)).expect("a device")), &weights());
    adapters.first().map(place).into_iter().collect()
}

type Rows = Vec<Vec<f64>>;

/// The published model in plain loops, without a cache: which keys a query sees is asked for each layer and key head.
fn plain(tokens: &[u32], sees: &dyn Fn(usize, usize, usize, usize) -> bool) -> Rows {
    let weights = weights();
    let table = |name: &str| -> Rows {
        let tensor = &weights[name];
        let width = *tensor.shape().dims().last().expect("a dimension") as usize;
        tensor.floats().chunks(width).map(|row| row.iter().map(|v| f64::from(*v)).collect()).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let apply = |name: &str, x: &Rows| -> Rows {
        let weight = table(name);
        x.iter().map(|row| weight.iter().map(|weight| dot(row, weight)).collect()).collect()
    };
    let norm = |name: &str, x: &Rows| -> Rows {
        let weight = &table(name)[0];
        let size = |row: &[f64]| (dot(row, row) / row.len() as f64 + EPSILON).sqrt();
        x.iter().map(|row| row.iter().zip(weight).map(|(v, w)| v / size(row) * w).collect()).collect()
    };
    let sum = |a: Rows, b: Rows| -> Rows { a.iter().zip(&b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect()).collect() };
    let turn = |mut rows: Rows| {
        for (position, row) in rows.iter_mut().enumerate() {
            for head in row.chunks_mut(DEPTH as usize) {
                for (pair, channels) in head.chunks_mut(2).enumerate() {
                    let (sin, cos) = (position as f64 * BASE.powf(-2.0 * pair as f64 / f64::from(DEPTH))).sin_cos();
                    let [a, b] = [channels[0], channels[1]];
                    channels.copy_from_slice(&[a * cos - b * sin, b * cos + a * sin]);
                }
            }
        }
        rows
    };
    let embedding = table("token_embd.weight");
    let mut x: Rows = tokens.iter().map(|token| embedding[*token as usize].clone()).collect();
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let normal = norm(&name("attn_norm"), &x);
        let (queries, keys) = (turn(apply(&name("attn_q"), &normal)), turn(apply(&name("attn_k"), &normal)));
        let values = apply(&name("attn_v"), &normal);
        let depth = DEPTH as usize;
        let attended = |i: usize| -> Vec<f64> {
            let channel = |c: usize| {
                let (head, group) = (c / depth, (HEADS / KEY_HEADS) as usize);
                let key_head = head / group;
                let of = |row: &Vec<f64>, head: usize| row[head * depth..(head + 1) * depth].to_vec();
                let seen: Vec<usize> = (0..=i).filter(|j| sees(layer, key_head, i, *j)).collect();
                let share = |j: &usize| (dot(&of(&queries[i], head), &of(&keys[*j], key_head)) / f64::from(DEPTH).sqrt()).exp();
                let shares: Vec<f64> = seen.iter().map(share).collect();
                let value = |j: &usize| values[*j][key_head * depth + c % depth];
                seen.iter().zip(&shares).map(|(j, share)| share * value(j)).sum::<f64>() / shares.iter().sum::<f64>()
            };
            (0..HEADS as usize * depth).map(channel).collect()
        };
        x = sum(x.clone(), apply(&name("attn_output"), &(0..x.len()).map(attended).collect()));
        let normal = norm(&name("ffn_norm"), &x);
        let (gate, up) = (apply(&name("ffn_gate"), &normal), apply(&name("ffn_up"), &normal));
        let both = |(gate, up): (&Vec<f64>, &Vec<f64>)| gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
        x = sum(x, apply(&name("ffn_down"), &gate.iter().zip(&up).map(both).collect()));
    }
    apply("token_embd.weight", &norm("output_norm.weight", &x))
}

fn floats(rows: &[Vec<f64>]) -> Vec<f32> {
    rows.iter().flatten().map(|v| *v as f32).collect()
}

fn best(logits: &[f64]) -> u32 {
    let best = logits.iter().zip(0..).max_by(|a, b| a.0.total_cmp(b.0));
    best.map(|(_, token)| token).expect("tokens")
}

#[test]
fn a_full_cache_is_the_model_without_one() {
    let (context, passage) = (text(1, 23), text(2, 9));
    let whole = plain(&[&context[..], &passage].concat(), &|_, _, _, _| true);
    let found = read(&Place::Reference, "", &context, &passage, 12);
    assert!(largest_difference(&found.context, &floats(&whole[22..23])) < 1e-5);
    assert!(largest_difference(&found.passage, &floats(&whole[23..])) < 1e-5);
    assert_eq!(found.token, best(&whole[22]));
    // Each token that is said is the best after all before it.
    assert_eq!(found.said.len(), 12);
    for (i, token) in found.said.iter().enumerate() {
        let logits = plain(&[&context[..], &found.said[..i]].concat(), &|_, _, _, _| true);
        assert_eq!(*token, best(&logits[22 + i]), "token {i} of {:?}", found.said);
    }
    // A share of all is all, by any score and in any way.
    for method in METHODS {
        for way in ["", ",ada=0.2", ",chunk=5"] {
            let compress = format!("{}:share=1{way}", method.name);
            let same = read(&Place::Reference, &compress, &context, &passage, 0);
            assert_eq!(same.kept, vec![vec![(0..23).collect::<Vec<u32>>(); 2]; 2], "{compress}");
            assert_eq!(same.passage, found.passage, "{compress}");
        }
    }
}

/// How methods are tested: few tokens stay in any case.
const SMALL: &str = "share=0.4,sinks=2,recent=3";

fn every_method() -> Vec<String> {
    let own = |name: &str| match name {
        "snapkv" => ",window=3",
        "lagkv" => ",lag=4",
        _ => "",
    };
    let alone = METHODS.iter().map(|method| format!("{}:{SMALL}{}", method.name, own(method.name)));
    let ways = [
        format!("snapkv:{SMALL},window=3,ada=0.3"),
        format!("h2o:{SMALL},chunk=4"),
        format!("knorm:{SMALL},layer=2+random:tokens=7,recent=1,layer=1"),
    ];
    alone.chain(ways).collect()
}

#[test]
fn what_is_evicted_is_seen_no_more() {
    let (context, passage) = (text(3, 30), text(4, 6));
    let all = [&context[..], &passage].concat();
    let mut different = std::collections::BTreeMap::new();
    for compress in every_method() {
        let found = read(&Place::Reference, &compress, &context, &passage, 0);
        // The context sees itself whole, and the passage what is left of it.
        let sees = |layer: usize, head: usize, i: usize, j: usize| i < 30 || j >= 30 || found.kept[layer][head].contains(&(j as u32));
        let expected = plain(&all, &sees);
        assert!(largest_difference(&found.passage, &floats(&expected[30..])) < 1e-5, "{compress}");
        let total: usize = found.kept.iter().flatten().map(Vec::len).sum();
        let expected = if compress.contains("chunk") || compress.contains('+') { total } else { 2 * 2 * 12 };
        assert_eq!(total, expected, "{compress}");
        for head in found.kept.iter().flatten().filter(|_| compress.contains("sinks=2") && !compress.contains('+')) {
            assert!(head.starts_with(&[0, 1]) && head.ends_with(&[27, 28, 29]), "{compress}: {head:?}");
        }
        let before = different.insert(found.kept, compress.clone());
        assert_eq!(before, None, "{compress}: no two methods keep the same");
    }
    let found = read(&Place::Reference, &format!("streaming:{SMALL}"), &context, &passage, 0);
    assert_eq!(found.kept[1][0], [0, 1, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29]);
    let found = read(&Place::Reference, "knorm:tokens=7,recent=0,sinks=0,layer=2", &context, &passage, 0);
    assert_eq!(found.kept.iter().map(|heads| heads[0].len()).collect::<Vec<_>>(), [30, 7]);
}

#[test]
fn a_device_reads_and_says_the_same() {
    let (context, passage) = (text(5, 30), text(6, 6));
    for device in devices() {
        for compress in [String::new()].into_iter().chain(every_method()) {
            let [expected, found] = [&Place::Reference, &device].map(|place| read(place, &compress, &context, &passage, 20));
            assert_eq!(found.kept, expected.kept, "{compress}");
            assert!(largest_difference(&found.context, &expected.context) < 1e-4, "{compress}");
            assert!(largest_difference(&found.passage, &expected.passage) < 1e-4, "{compress}");
            assert_eq!((found.token, found.said), (expected.token, expected.said), "{compress}");
        }
    }
}

#[test]
fn a_text_ends_with_its_token() {
    let context = text(7, 12);
    for place in devices().into_iter().chain([Place::Reference]) {
        let said = read(&place, "", &context, &[0], 20).said;
        let model = model();
        let machine = Machine { place: &place, model: &model };
        let [prefill, compression] = machine.reading(&[], 12, 20).expect("graphs");
        let prompt = machine.upload([("prompt", row(&context))]);
        let (mut given, _) = machine.run(&[&prefill, &compression], &[&prompt]).expect("a run");
        let compressed = given.remove(1);
        let end = said[5];
        let until = said.iter().position(|token| *token == end).expect("it was said");
        let found = machine.decode(&given[0], compressed, &compression.rooms(), 12, 20, end).expect("a run");
        assert_eq!(found.tokens, said[..until]);
        assert!(found.steps < 20);
    }
}

#[test]
fn words_are_gpt2s_with_digits_alone() {
    // Every byte that can be seen, and the space, as the alphabet has it.
    let letters: Vec<String> = (33u8..127).map(|byte| char::from(byte).to_string()).chain(["Ġ".to_owned(), "Ċ".to_owned()]).collect();
    let pairs = ["th", "the", "Ġthe", "ĠĠ", "12", "Ġ1", "'s", "ab"].map(str::to_owned);
    let all: Vec<String> = ["<end>".to_owned()].into_iter().chain(letters).chain(pairs).collect();
    let vocabulary = Vocabulary::new(all.iter().map(String::as_str), &[0]).expect("an alphabet");
    let pieces = |text: &str| {
        let tokens = vocabulary.encode(text);
        assert_eq!(vocabulary.text(&tokens), text);
        tokens.iter().map(|token| all[*token as usize].as_str()).collect::<Vec<_>>()
    };
    // "Ġthe" is made of "Ġ" and "the" alone, which the lower "th" leads to.
    assert_eq!(pieces("the the"), ["the", "Ġthe"]);
    assert_eq!(pieces("12 1"), ["1", "2", "Ġ", "1"]);
    assert_eq!(pieces("   ab"), ["ĠĠ", "Ġ", "ab"]);
    assert_eq!(pieces("   1"), ["ĠĠ", "Ġ", "1"]);
    assert_eq!(pieces("it's\nab"), ["i", "t", "'s", "Ċ", "ab"]);
    assert_eq!(pieces("a\n\nab  "), ["a", "Ċ", "Ċ", "ab", "ĠĠ"]);
    assert_eq!(pieces("!?ab"), ["!", "?", "ab"]);
    // What stands for no text says nothing, nor does it come of one.
    assert_eq!(vocabulary.text(&[0, 40]), all[40]);
    assert_eq!(pieces("<end>").len(), 5);
    assert!(Vocabulary::new(["\n"], &[]).is_err());
}

#[test]
fn chains_that_are_none() {
    let refusal = |text: &str| chain(text, 2).err().expect("no chain");
    assert!(refusal("tome:r=8").starts_with("there is no method \"tome\", only random, streaming, "));
    assert_eq!(refusal("tova+knorm:layer=2"), "two methods compress layer 2: layer=1/2 gives each its own");
    assert!(refusal("knorm:window=3").starts_with("knorm has no \"window\", only share, tokens, sinks, "));
    let model = model();
    let steps = chain("snapkv:kernel=4", 2).expect("a chain");
    assert!(model.compression(&steps, 9, 1).expect_err("no graph").to_string().contains("odd"));
    assert!(Model::new(HostTensors::new(), About { heads: 1, key_heads: 1, rope_base: 1.0, epsilon: 0.0, context: 1 }).is_err());
    assert!(Model::new(weights(), About { heads: 3, key_heads: 2, rope_base: 1.0, epsilon: 0.0, context: 1 }).is_err());
}

#[test]
fn missing_weights_are_one_sentence() {
    let output = example::run("generate", &["--weights", "/nowhere/weights.safetensors", "--prompt", "Once"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(said, "error: there are no weights at /nowhere/weights.safetensors: scripts/fetch-models gets them\n");
}
