//! Writes down what is said, by a pretrained Whisper with fewer tokens of sound.
//!
//! ```text
//! scripts/fetch-models whisper
//! cargo run --release --example whisper -- speech.flac
//! cargo run --release --example whisper -- speech.wav --compress atome:ratio=0.2
//! cargo run --release --example whisper -- --evaluate speech/ --compress atome:ratio=0.1 --compress atome:ratio=0.2
//! cargo run --release --example whisper -- --evaluate speech/ --budget 0.5
//! ```
//!
//! The model is two graphs: an encoder with the compression in its layers, between attention and feed-forward, and one step of the
//! decoder, which reads its cache and hands it on. Merged tokens count in the encoder's attention and in the decoder's as often as
//! they have members. The host makes the spectrogram, and looks every 16 steps whether a text has ended.

#[path = "../shared/output.rs"]
#[macro_use]
mod output;
mod adaptive;
mod audio;
#[path = "../shared/budgets.rs"]
mod budgets;
#[path = "../shared/chains.rs"]
mod chains;
#[path = "../shared/chart.rs"]
mod chart;
#[path = "../shared/device.rs"]
mod device;
mod evaluation;
mod methods;
mod model;
#[path = "../shared/progress.rs"]
mod progress;
#[path = "../shared/report.rs"]
mod report;
#[path = "../shared/runner.rs"]
#[allow(dead_code, reason = "one run is enough here")]
mod runner;
#[path = "../shared/stages.rs"]
mod stages;
mod transcriber;
mod vocabulary;
#[path = "../shared/weights.rs"]
mod weights;
mod words;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use device::{Backend, Failure, choose, exit};
use evaluation::File;
use methods::{METHODS, chain};
use model::Model;
use report::Price;
use runner::Place;
use tokenpress::HostTensor;
use transcriber::{Heard, Transcriber};
use vocabulary::Vocabulary;
use weights::{cache, save};

/// Writes down what is said, by a pretrained Whisper with fewer tokens of sound.
///
/// A table says for each layer of the encoder how many tokens there are and what its parts take. Sounds longer than 30 s are cut into
/// windows of 30 s, wherever that is in a word.
#[derive(Parser)]
#[command(after_help = chains::help(METHODS))]
struct Options {
    /// WAV or FLAC file of 16 kHz
    #[arg(required_unless_present = "evaluate", conflicts_with = "evaluate")]
    sound: Option<PathBuf>,
    /// What compresses, at which layers: "atome:ratio=0.2", "pool:k=2+atome:layer=3/4,threshold=0.9"; several to compare them in --evaluate
    #[arg(short, long, value_name = "METHOD[:KEY=NUMBER,..]+..")]
    compress: Vec<String>,
    /// Report word errors over a folder with transcripts.json: a list of {"file", "text"}, files of 15 to 30 s. What is shorter is padded
    /// with silence, which merges first and makes any compression look good
    #[arg(short, long, value_name = "FOLDER")]
    evaluate: Option<PathBuf>,
    /// Only the first so many files of --evaluate
    #[arg(long, value_name = "FILES")]
    files: Option<usize>,
    /// Find a schedule for this share of the operations of the encoder's layers, or for several, from what each layer's compression loses alone,
    /// and compare it with the one that merges the same share in each layer
    #[arg(long, value_name = "SHARE[,SHARE..]", value_delimiter = ',', requires = "evaluate", conflicts_with = "compress")]
    budget: Vec<f64>,
    /// Files of --evaluate that --budget measures losses with, evenly among all; the others are the test
    #[arg(long, value_name = "FILES", default_value_t = 6)]
    samples: usize,
    /// Report how long --evaluate took, too
    #[arg(long)]
    times: bool,
    /// Where the report of --evaluate goes as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the report of --evaluate goes as a picture, in SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Windows that are decoded at once
    #[arg(long, value_name = "WINDOWS", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=64))]
    batch: u16,
    /// Weights that scripts/fetch-models has made [default: whisper-tiny.en.safetensors in tokenpress' cache folder]
    #[arg(short, long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Tokens that scripts/fetch-models has got [default: gpt2.tiktoken beside the weights]
    #[arg(long, value_name = "FILE")]
    vocabulary: Option<PathBuf>,
    /// A part of an adapter's name, or "reference" for the CPU reference
    #[arg(short, long, value_name = "NAME")]
    adapter: Option<String>,
    /// Only adapters of this backend
    #[arg(short, long)]
    backend: Option<Backend>,
    /// Where what the model read and gave for the first window without compression goes, to compare it with another runtime's
    #[arg(long, value_name = "FILE")]
    tensors: Option<PathBuf>,
}

fn main() -> ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Failure> {
    let written: &[_] = if options.evaluate.is_some() { &[&options.json, &options.plot] } else { &[&options.tensors] };
    output::writable(written.iter().copied().flatten().map(PathBuf::as_path)).map_err(Failure::Request)?;
    let weights = options.weights.clone().unwrap_or_else(|| cache().join("whisper-tiny.en.safetensors"));
    let model = Model::read(&weights).map_err(Failure::Request)?;
    let vocabulary = options.vocabulary.clone().unwrap_or_else(|| weights.with_file_name("gpt2.tiktoken"));
    let vocabulary = Vocabulary::read(&vocabulary, model.vocabulary).map_err(Failure::Request)?;
    let names = [vec!["none".to_owned()], options.compress.clone()].concat();
    if options.evaluate.is_none() && names.len() > 2 {
        return Err(Failure::Request("several --compress need --evaluate; a chain is one, with + between its methods".to_owned()));
    }
    let chains = options.compress.iter().map(|text| chain(text, model.layers)).collect::<Result<Vec<_>, _>>().map_err(Failure::Request)?;
    let place = Place::new(choose(options.adapter.as_deref(), options.backend)?, model.weights());
    println!("adapter  {}", place.describe());
    let new = |steps: &[_], batch| Transcriber::new(&place, &model, &vocabulary, steps, batch);
    let batch = usize::from(options.batch);
    match (&options.evaluate, &options.sound) {
        (Some(folder), _) => {
            let files = evaluation::files(folder, options.files.unwrap_or(usize::MAX)).map_err(Failure::Request)?;
            if !options.budget.is_empty() {
                return within_budgets(options, &place, &model, &vocabulary, files);
            }
            let batch = batch.min(files.len());
            let mut transcribers = vec![new(&[], batch)?];
            for steps in &chains {
                transcribers.push(new(steps, batch)?);
            }
            let report = evaluation::run(options, &names, &place, &model, &vocabulary, &transcribers, &files)?;
            report::write(options.json.as_deref(), options.plot.as_deref(), &report, &report.chart())
        }
        (None, Some(sound)) => {
            let windows = windows(&model, sound).map_err(Failure::Request)?;
            let batch = batch.min(windows.len());
            for (name, steps) in names.iter().zip([&[][..]].into_iter().chain(chains.iter().map(|steps| &steps[..]))) {
                let transcriber = new(steps, batch)?;
                let heard = show(name, &place, &model, &vocabulary, &transcriber, &windows)?;
                if let Some(path) = options.tensors.as_ref().filter(|_| steps.is_empty()) {
                    let (outputs, _) = transcriber.encoder.run(&[("mel", &windows[0])])?;
                    let samples = audio::read(sound).map_err(Failure::Request)?;
                    let samples = HostTensor::f32([samples.len() as u32], samples);
                    let logits = HostTensor::f32([model.vocabulary], heard.logits);
                    let tensors = [("samples", &samples), ("mel", &windows[0]), ("features", &outputs["features"]), ("logits", &logits)];
                    save(path, &tensors).map_err(Failure::Request)?;
                }
            }
            Ok(())
        }
        (None, None) => Err(Failure::Request("there is no sound".to_owned())),
    }
}

/// Schedules for budgets, and what they keep.
fn within_budgets(options: &Options, place: &Place, model: &Model, vocabulary: &Vocabulary, files: Vec<File>) -> Result<(), Failure> {
    if let Some(share) = options.budget.iter().find(|share| !(0.0..=1.0).contains(*share)) {
        return Err(Failure::Request(format!("--budget is a share of the layers' operations, from 0 to 1, not {share}")));
    }
    let (all, samples) = (files.len(), options.samples);
    if samples == 0 || all <= samples {
        return Err(Failure::Request(format!("--budget needs at least one of --samples, and more files than {samples}, not {all}")));
    }
    let (samples, test): (Vec<_>, Vec<_>) = files.into_iter().enumerate().partition(|(index, _)| budgets::is_sample(*index, samples, all));
    let [samples, test] = [samples, test].map(|part| part.into_iter().map(|(_, file)| file).collect::<Vec<_>>());
    let new = |steps: &[_], batch: usize| Transcriber::new(place, model, vocabulary, steps, batch.min(options.batch.into()));
    let space = adaptive::space(model);
    space.check(&options.budget)?;
    let losses = evaluation::layer_losses(model, &space, &samples, &|steps| new(steps, samples.len()))?;
    let plans = adaptive::plans(&space, &losses, &options.budget)?;
    println!("losses   divergences over {} tokens of text in each of {} windows, each layer alone", adaptive::TEXT, samples.len());
    space.print(&losses, &plans);
    let mut transcribers = vec![new(&[], test.len())?];
    for plan in &plans {
        let steps = if plan.compression.is_empty() { Vec::new() } else { chain(&plan.compression, model.layers).map_err(Failure::Run)? };
        transcribers.push(new(&steps, test.len())?);
    }
    let names: Vec<_> = ["none".to_owned()].into_iter().chain(plans.iter().map(|plan| plan.name.clone())).collect();
    let report = evaluation::run(options, &names, place, model, vocabulary, &transcribers, &test)?;
    let chart = budgets::chart(report.title(), "word errors, %", &plans, &report.scores());
    let found = evaluation::Adaptive { report, samples: samples.len(), shares: &space.shares, losses, plans };
    report::write(options.json.as_deref(), options.plot.as_deref(), &found, &chart)
}

/// The spectrograms of a file's windows.
fn windows(model: &Model, path: &Path) -> Result<Vec<HostTensor>, String> {
    let frames = 2 * model.audio as usize;
    let samples = audio::read(path)?;
    if samples.is_empty() {
        return Err(format!("there is no sound in {}", path.display()));
    }
    Ok(samples.chunks(frames * audio::HOP).map(|window| audio::log_mel(window, frames, model.bins as usize)).collect())
}

/// One sound: the table of its first window, what the decoder took, and the text.
fn show(
    name: &str,
    place: &Place,
    model: &Model,
    vocabulary: &Vocabulary,
    transcriber: &Transcriber<'_>,
    windows: &[HostTensor],
) -> Result<Heard, Failure> {
    let heard = transcriber.transcribe(windows, &|| ())?;
    println!("\n{}\n", if name == "none" { "without compression" } else { name });
    let counts = tokens(model, transcriber, &heard.lengths[0]);
    println!("{}", report::table(&transcriber.encoder, &counts, &place.capabilities())?);
    let price = Price::of(&transcriber.decoder, &place.capabilities())?;
    let (dispatches, operations) = (price.dispatches.iter().sum::<f64>(), price.operations.iter().sum::<f64>());
    println!("encoder  {:.0} ms for {} windows of 30 s", heard.encoder * 1e3, windows.len());
    println!("decoder  {:.0} ms for {} steps of {dispatches} dispatches, {operations:.3} GFLOP\n", heard.decoder * 1e3, heard.steps);
    let texts: Vec<_> = heard.tokens.iter().map(|tokens| vocabulary.text(tokens)).collect();
    println!("{}", texts.join("\n"));
    Ok(heard)
}

/// Tokens of sound before the first layer, and after each.
fn tokens(model: &Model, transcriber: &Transcriber<'_>, lengths: &[usize]) -> Vec<usize> {
    let mut counts = vec![model.audio as usize];
    for layer in 0..model.layers {
        let here = transcriber.encoder.built.compressing.iter().position(|compressing| *compressing == layer);
        counts.push(here.map_or(counts[layer], |index| lengths[index]));
    }
    counts
}
