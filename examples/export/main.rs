//! Writes a plan as JSON, for hosts in JavaScript, Python or anything that has WebGPU.
//!
//! ```text
//! cargo run --example export -- --method tome:r=16 --tokens 197 --channels 768 -o tome.json
//! ```
//!
//! `web/runner.js` runs it. `run.mjs` and `run.py` beside this file do so in Node and in Python.
#![allow(missing_docs, reason = "an example")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use tokenpress::kernels::PixelUnshuffle;
use tokenpress::methods::{AToMe, EVit, PairChoice, PruMerge, ToMe};
use tokenpress::{Capabilities, Compressed, Elem, Error, Graph, Policy, Tokens};

/// Writes a plan as JSON: shaders, bindings and sizes, for a host in another language.
#[derive(Parser)]
#[command(after_help = after_help())]
struct Options {
    /// A method, and what its one number is
    #[arg(short, long, value_name = "METHOD[:NAME=NUMBER]", default_value = "tome:r=16")]
    method: String,
    #[arg(short, long, default_value_t = 1)]
    batch: u32,
    /// Tokens, a class token among them where the method has one
    #[arg(short, long, default_value_t = 197)]
    tokens: u32,
    #[arg(short, long, default_value_t = 768)]
    channels: u32,
    /// Heads of the queries and keys
    #[arg(long, default_value_t = 12)]
    heads: u32,
    /// Channels of each head
    #[arg(long, default_value_t = 64)]
    head_channels: u32,
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
    /// The device has the feature `shader-f16`
    #[arg(long)]
    f16: bool,
    /// The device has the feature `subgroups`, of this size or a smaller one
    #[arg(long, value_name = "SIZE")]
    subgroups: Option<u32>,
    /// The device is a CPU, such as lavapipe or SwiftShader
    #[arg(long)]
    software: bool,
    /// Several tensors may lie in one buffer
    #[arg(long)]
    pooled: bool,
    /// Where the JSON goes
    #[arg(short, long, value_name = "FILE", default_value = "plan.json")]
    output: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Dtype {
    F32,
    F16,
    Bf16,
}

impl From<Dtype> for Elem {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::Bf16 => Self::BF16,
        }
    }
}

/// A method with its number.
struct Method {
    name: &'static str,
    number: &'static str,
    default: f64,
    about: &'static str,
    build: fn(&mut Graph, &Options, f64) -> Result<(), Error>,
}

const METHODS: [Method; 5] = [
    Method { name: "tome", number: "r", default: 16.0, about: "merges the r most similar pairs (ToMe)", build: tome },
    Method { name: "evit", number: "keep", default: 0.7, about: "keeps a share by the class token's attention (EViT)", build: evit },
    Method { name: "atome", number: "share", default: 0.3, about: "merges this share of the adjacent pairs (A-ToMe)", build: atome },
    Method {
        name: "prumerge",
        number: "neighbours",
        default: 32.0,
        about: "keeps outliers, merges others into them (PruMerge)",
        build: prumerge,
    },
    Method {
        name: "unshuffle",
        number: "factor",
        default: 2.0,
        about: "joins factor x factor patches of a square into one",
        build: unshuffle,
    },
];

fn after_help() -> String {
    let line = |m: &Method| format!("  {:<26} {}\n", format!("{}:{}={}", m.name, m.number, m.default), m.about);
    format!("Methods, with what they do where no number is given:\n{}", METHODS.iter().map(line).collect::<String>())
}

fn tokens(graph: &mut Graph, options: &Options) -> Result<Tokens, Error> {
    graph.tokens("x", [options.batch, options.tokens, options.channels], options.dtype.into())
}

fn heads(graph: &mut Graph, options: &Options, name: &str, tokens: u32) -> tokenpress::Tensor {
    graph.input(name, [options.batch, options.heads, tokens, options.head_channels], options.dtype.into())
}

fn output(graph: &mut Graph, compressed: &Compressed) -> Result<(), Error> {
    graph.output("tokens", compressed.tokens.x)?;
    graph.output("size", compressed.tokens.size)?;
    graph.output("lengths", compressed.tokens.lengths)?;
    graph.output("parent", compressed.map.parent)
}

fn tome(graph: &mut Graph, options: &Options, r: f64) -> Result<(), Error> {
    let x = tokens(graph, options)?;
    let keys = heads(graph, options, "keys", options.tokens);
    let merged = ToMe { merge: r as u32, ..ToMe::default() }.build(graph, &x, keys)?;
    output(graph, &merged)
}

fn evit(graph: &mut Graph, options: &Options, keep: f64) -> Result<(), Error> {
    let x = tokens(graph, options)?;
    let [queries, keys] = ["queries", "keys"].map(|name| heads(graph, options, name, options.tokens));
    let kept = EVit { keep, ..EVit::default() }.build(graph, &x, queries, keys)?;
    output(graph, &kept.compressed)
}

fn atome(graph: &mut Graph, options: &Options, share: f64) -> Result<(), Error> {
    let x = tokens(graph, options)?;
    let keys = heads(graph, options, "keys", options.tokens);
    let merged = AToMe { choice: PairChoice::Merge(share), ..AToMe::default() }.build(graph, &x, keys)?;
    output(graph, &merged)
}

fn prumerge(graph: &mut Graph, options: &Options, neighbours: f64) -> Result<(), Error> {
    let x = tokens(graph, options)?;
    let shape = [options.batch, 1, 1 + options.tokens, options.heads * options.head_channels];
    let [queries, keys] = ["queries", "keys"].map(|name| graph.input(name, shape, options.dtype.into()));
    let merged = PruMerge { neighbours: neighbours as u32, ..PruMerge::default() }.build(graph, &x, queries, keys)?;
    output(graph, &merged.compressed)
}

fn unshuffle(graph: &mut Graph, options: &Options, factor: f64) -> Result<(), Error> {
    let side = f64::from(options.tokens).sqrt() as u32;
    let x = graph.input("x", [options.batch, options.tokens, options.channels], options.dtype.into());
    let joined = PixelUnshuffle { factor: [factor as u32; 2], ..PixelUnshuffle::default() }.unshuffle_tokens(graph, x, [side; 2])?;
    graph.output("tokens", joined)
}

/// The method that was asked for, with its number.
fn method(text: &str) -> Result<(&'static Method, f64), String> {
    let (name, rest) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
    let names = || METHODS.map(|m| m.name).join(", ");
    let method = METHODS.iter().find(|m| m.name == name).ok_or_else(|| format!("there is no method {name:?}, there are {}", names()))?;
    let Some(rest) = rest else { return Ok((method, method.default)) };
    let number = rest.strip_prefix(method.number).and_then(|rest| rest.strip_prefix('=')).and_then(|number| number.parse().ok());
    number.map(|number| (method, number)).ok_or_else(|| format!("{name} takes {}=NUMBER, got {rest:?}", method.number))
}

fn run(options: &Options) -> Result<(), String> {
    let (method, number) = method(&options.method)?;
    let mut graph = Graph::new();
    (method.build)(&mut graph, options, number).map_err(|e| e.to_string())?;
    let capabilities = Capabilities {
        f16: options.f16,
        subgroups: options.subgroups.is_some(),
        subgroup_min: options.subgroups.unwrap_or(0).min(8),
        subgroup_max: options.subgroups.unwrap_or(0),
        software: options.software,
        ..Capabilities::portable()
    };
    let policy = if options.pooled { Policy::POOLED } else { Policy::AUTO };
    let plan = graph.plan_data(&capabilities, policy).map_err(|e| e.to_string())?;
    let json = serde_json::to_string(&plan).map_err(|e| e.to_string())?;
    std::fs::write(&options.output, &json).map_err(|e| format!("cannot write {}: {e}", options.output.display()))?;
    let names = |tensors: &[tokenpress::TensorData]| {
        tensors.iter().map(|t| format!("{} {} {:?}", t.name, t.elem, t.shape)).collect::<Vec<_>>().join(", ")
    };
    println!("inputs     {}", names(&plan.inputs));
    println!("outputs    {}", names(&plan.outputs));
    println!("dispatches {}, of {} shaders", plan.dispatches.len(), plan.shaders.len());
    println!("memory     {} bytes of workspace, {} of constants", plan.workspace, 4 * plan.constants.len());
    println!("wrote      {}, {} bytes", options.output.display(), json.len());
    Ok(())
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}
