//! Goes on with a text, by a pretrained SmolLM2 of 135 million weights that forgets a part of its cache of keys and values.
//!
//! ```text
//! scripts/fetch-models smollm2
//! cargo run --release --example generate -- --prompt "Once upon a time" --compress snapkv:share=0.5
//! cargo run --release --example generate -- --text assets/alice.txt --compress tova:share=0.1 --compress random:share=0.1
//! cargo run --release --example generate -- --evaluate --compress snapkv:share=0.25 --compress knorm:share=0.25
//! ```
//!
//! The model is three graphs: one reads the prompt, one compresses the cache that it leaves, and one is a step, which reads its cache and
//! hands it on. The first two are recorded into one encoder, and so are 16 steps. The host reads back the tokens that were said, and nothing
//! else.

#[path = "../shared/output.rs"]
#[macro_use]
mod output;
#[path = "../shared/chains.rs"]
mod chains;
#[path = "../shared/chart.rs"]
mod chart;
#[path = "../shared/device.rs"]
#[allow(dead_code, reason = "calls are not timed one by one here")]
mod device;
mod evaluation;
mod machine;
mod methods;
mod model;
#[path = "../shared/progress.rs"]
mod progress;
#[path = "../shared/report.rs"]
#[allow(dead_code, reason = "layers have no table here")]
mod report;
#[path = "../shared/runner.rs"]
#[allow(dead_code, reason = "caches need a runner of their own")]
mod runner;
#[path = "../shared/stages.rs"]
#[allow(dead_code, reason = "a table has no parts here")]
mod stages;
mod vocabulary;
#[path = "../shared/weights.rs"]
#[allow(dead_code, reason = "a language model has no biases")]
mod weights;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use device::{Backend, Failure, choose, exit};
use machine::Machine;
use methods::{METHODS, Step, chain};
use model::Model;
use runner::Place;
use tokenpress::HostTensor;
use vocabulary::Vocabulary;
use weights::cache;

/// Goes on with a text, by a pretrained SmolLM2 that forgets a part of its cache of keys and values.
///
/// Of each layer's cache a share of the tokens stays, by a score; the first four and the last 32 stay in any case.
#[derive(Parser)]
#[command(after_help = chains::help(METHODS))]
struct Options {
    /// What to go on with
    #[arg(short, long, required_unless_present_any = ["text", "evaluate"], conflicts_with_all = ["text", "evaluate"])]
    prompt: Option<String>,
    /// A file of text to go on with, or to evaluate [default of --evaluate: two chapters of "Alice's Adventures in Wonderland"]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// What compresses the cache, at which layers: "snapkv:share=0.5", "tova:tokens=64,layer=1/2+knorm:layer=3"; several to compare them
    #[arg(short, long, value_name = "METHOD[:KEY=NUMBER,..]+..")]
    compress: Vec<String>,
    /// Tokens to say
    #[arg(short = 'n', long, value_name = "TOKENS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    most: u32,
    /// Report what the model makes of a text whose beginning is in a compressed cache
    #[arg(short, long)]
    evaluate: bool,
    /// Tokens of each window of --evaluate that are compressed
    #[arg(long, value_name = "TOKENS", default_value_t = 768, value_parser = clap::value_parser!(u32).range(2..=8192))]
    context: u32,
    /// Tokens of each window of --evaluate that are read with the compressed cache
    #[arg(long, value_name = "TOKENS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    passage: u32,
    /// At most so many windows of --evaluate
    #[arg(long, value_name = "WINDOWS", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    windows: u32,
    /// Report how long a step of decoding took, too
    #[arg(long)]
    times: bool,
    /// Where the report of --evaluate goes as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the report of --evaluate goes as a picture, in SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Weights that scripts/fetch-models has made [default: smollm2-135m.safetensors in tokenpress' cache folder]
    #[arg(short, long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// A part of an adapter's name, or "reference" for the CPU reference
    #[arg(short, long, value_name = "NAME")]
    adapter: Option<String>,
    /// Only adapters of this backend
    #[arg(short, long)]
    backend: Option<Backend>,
    /// Where the tokens and logits of the first window of --evaluate go, with every compression, to compare them with another runtime's
    #[arg(long, value_name = "FILE", requires = "evaluate")]
    tensors: Option<PathBuf>,
}

fn main() -> ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Failure> {
    let written = [&options.json, &options.plot, &options.tensors];
    output::writable(written.into_iter().flatten().map(PathBuf::as_path)).map_err(Failure::Request)?;
    let weights = options.weights.clone().unwrap_or_else(|| cache().join("smollm2-135m.safetensors"));
    let (model, vocabulary, end) = Model::read(&weights).map_err(Failure::Request)?;
    let names = [vec!["none".to_owned()], options.compress.clone()].concat();
    let mut chains = vec![Vec::new()];
    for text in &options.compress {
        chains.push(chain(text, model.layers).map_err(Failure::Request)?);
    }
    let text = match (&options.prompt, &options.text) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(path)) => {
            std::fs::read_to_string(path).map_err(|e| Failure::Request(format!("cannot read {}: {e}", path.display())))?
        }
        (None, None) => include_str!("../../assets/alice.txt").to_owned(),
    };
    let tokens = vocabulary.encode(&text);
    let place = Place::new(choose(options.adapter.as_deref(), options.backend)?, model.weights());
    println!("adapter  {}", place.describe());
    let machine = Machine { place: &place, model: &model };
    if options.evaluate {
        return evaluation::run(options, &names, &chains, &machine, &tokens);
    }
    // Without one there is nothing to be compared with.
    let first = usize::from(!options.compress.is_empty() && options.compress.len() == 1);
    for (name, steps) in names.iter().zip(&chains).skip(first) {
        show(name, steps, &machine, &vocabulary, end, &tokens, options.most)?;
    }
    Ok(())
}

/// One text: what its cache takes, and what is said after it.
fn show(
    name: &str,
    steps: &[Step],
    machine: &Machine<'_>,
    vocabulary: &Vocabulary,
    end: u32,
    tokens: &[u32],
    most: u32,
) -> Result<(), Failure> {
    let count = tokens.len() as u32;
    let longest = machine.model.context.saturating_sub(most);
    if tokens.is_empty() || count > longest {
        return Err(Failure::Request(format!("the prompt has {count} tokens, not 1 to {longest}")));
    }
    let [prefill, compression] = machine.reading(steps, count, most)?;
    let prompt = machine.upload([("prompt", HostTensor::u32([1, count], tokens.to_vec()))]);
    let (mut given, seconds) = machine.run(&[&prefill, &compression], &[&prompt])?;
    let kept = evaluation::Kept::of(machine, &given[1])?;
    let compressed = given.remove(1);
    let said = machine.decode(&given[0], compressed, &compression.rooms(), count, most, end)?;
    println!("\n{}\n", if name == "none" { "without compression" } else { name });
    println!("prompt   {count} tokens in {seconds:.2} s; {:.0} of them stay for each head, {:.1} MB", kept.tokens, kept.bytes / 1e6);
    println!("steps    {} of {:.0} ms\n", said.steps, said.seconds / f64::from(said.steps.max(1)) * 1e3);
    println!("{}", vocabulary.text(&said.tokens));
    Ok(())
}
