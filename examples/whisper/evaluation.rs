//! Word errors over a folder, and what they cost.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokenpress::{Error, HostTensor};

use crate::adaptive;
use crate::budgets::{Planned, Space};
use crate::chart::{Chart, Point, Series};
use crate::device::Failure;
use crate::methods::{Step, chain};
use crate::model::Model;
use crate::progress::progress;
use crate::report::{Price, mean, short};
use crate::runner::Place;
use crate::transcriber::{Heard, Transcriber};
use crate::vocabulary::Vocabulary;
use crate::words::{errors, words};
use crate::{Options, audio, tokens};

/// A file, and what is said in it.
pub(crate) struct File {
    path: PathBuf,
    text: String,
}

#[derive(Deserialize)]
struct Transcript {
    file: String,
    text: String,
}

#[derive(Serialize)]
pub(crate) struct Report {
    adapter: String,
    files: usize,
    words: usize,
    rows: Vec<Row>,
}

/// One setting.
#[derive(Serialize)]
struct Row {
    compression: String,
    /// Tokens of sound that the decoder reads, on the mean.
    tokens: f64,
    errors: usize,
    word_error_rate: f64,
    standard_error: f64,
    /// Words that differ from those without compression, in shares of these.
    changed: f64,
    encoder_dispatches: f64,
    encoder_gflop: f64,
    step_dispatches: f64,
    step_gflop: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<Times>,
}

/// For each file.
#[derive(Serialize)]
struct Times {
    encoder_milliseconds: f64,
    decoder_milliseconds: f64,
}

impl Report {
    pub(crate) fn title(&self) -> String {
        format!("Whisper tiny.en, {} windows, {}", self.files, short(&self.adapter))
    }

    /// Each row's word errors in percent, and their standard error.
    pub(crate) fn scores(&self) -> Vec<(f64, f64)> {
        self.rows.iter().map(|row| (100.0 * row.word_error_rate, 100.0 * row.standard_error)).collect()
    }

    /// Word errors over tokens.
    pub(crate) fn chart(&self) -> Chart {
        let point = |(row, (y, error)): (&Row, (f64, f64))| Point { label: row.compression.clone(), x: row.tokens, y, error };
        Chart {
            title: self.title(),
            axes: ["tokens behind the last layer".to_owned(), "word errors, %".to_owned()],
            series: Series::by_method(self.rows.iter().zip(self.scores()).map(point).collect(), ""),
        }
    }
}

/// A line of the table.
impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:<34}{:>8.1}{:>9.1} ± {:.1}",
            self.compression,
            self.tokens,
            100.0 * self.word_error_rate,
            100.0 * self.standard_error
        )?;
        write!(f, "{:>11.1}{:>12}{:>8.2}", 100.0 * self.changed, self.encoder_dispatches, self.encoder_gflop)?;
        match &self.times {
            Some(times) => write!(f, "{:>14.0}{:>14.0}", times.encoder_milliseconds, times.decoder_milliseconds),
            None => Ok(()),
        }
    }
}

/// The first files that transcripts.json names.
pub(crate) fn files(folder: &Path, most: usize) -> Result<Vec<File>, String> {
    let list = folder.join("transcripts.json");
    let text = std::fs::read(&list).map_err(|e| format!("cannot read {}: {e}", list.display()))?;
    let transcripts: Vec<Transcript> = serde_json::from_slice(&text).map_err(|e| format!("cannot read {}: {e}", list.display()))?;
    let file = |transcript: Transcript| File { path: folder.join(transcript.file), text: transcript.text };
    let files: Vec<File> = transcripts.into_iter().take(most).map(file).collect();
    if files.is_empty() { Err(format!("{} names no files", list.display())) } else { Ok(files) }
}

/// The spectrogram of a window that sound fills for the most part.
fn window(model: &Model, path: &Path) -> Result<HostTensor, String> {
    let frames = 2 * model.audio as usize;
    let samples = audio::read(path)?;
    let seconds = |samples: usize| samples as f64 / audio::RATE as f64;
    let whole = frames * audio::HOP;
    if samples.len() > whole || samples.len() < whole / 2 {
        let (least, most) = (seconds(whole / 2), seconds(whole));
        return Err(format!("{} has {:.1} s of sound, not {least} to {most}", path.display(), seconds(samples.len())));
    }
    Ok(audio::log_mel(&samples, frames, model.bins as usize))
}

fn windows(model: &Model, files: &[File]) -> Result<Vec<HostTensor>, Failure> {
    files.iter().map(|file| window(model, &file.path)).collect::<Result<_, _>>().map_err(Failure::Request)
}

/// For each layer, what each share of [`Space`] that merges there alone loses, on the mean over files.
pub(crate) fn layer_losses<'a>(
    model: &Model,
    space: &Space,
    files: &[File],
    new: &dyn Fn(&[Step]) -> Result<Transcriber<'a>, Error>,
) -> Result<Vec<Vec<f64>>, Failure> {
    let alone = space.alone();
    let chains = alone.iter().map(|name| chain(name, model.layers)).collect::<Result<Vec<_>, _>>().map_err(Failure::Run)?;
    let windows = windows(model, files)?;
    let bar = progress(chains.len(), "settings");
    let losses = adaptive::losses(new, &chains, &windows, &|| bar.inc(1))?;
    bar.finish_and_clear();
    Ok(space.table(&losses))
}

/// What schedules within budgets keep, and how they were found.
#[derive(Serialize)]
pub(crate) struct Adaptive<'a> {
    #[serde(flatten)]
    pub(crate) report: Report,
    /// Files that the losses are means over.
    pub(crate) samples: usize,
    pub(crate) shares: &'a [f64],
    pub(crate) losses: Vec<Vec<f64>>,
    /// In the order of the rows but the first.
    pub(crate) plans: Vec<Planned>,
}

pub(crate) fn run(
    options: &Options,
    names: &[String],
    place: &Place,
    model: &Model,
    vocabulary: &Vocabulary,
    transcribers: &[Transcriber<'_>],
    files: &[File],
) -> Result<Report, Failure> {
    let windows = windows(model, files)?;
    let said: Vec<_> = files.iter().map(|file| words(&file.text)).collect();
    println!("files    {} with {} words\n", files.len(), said.iter().map(Vec::len).sum::<usize>());
    print!("{:<34}{:>8}{:>16}{:>10}{:>12}{:>8}", "compression", "tokens", "word errors, %", "changed", "dispatches", "GFLOP");
    println!("{}", if options.times { format!("{:>14}{:>14}", "encoder, ms", "decoder, ms") } else { String::new() });
    let bar = progress(transcribers.len() * windows.len(), "windows");
    let mut whole = Vec::new();
    let mut rows = Vec::new();
    for (name, transcriber) in names.iter().zip(transcribers) {
        let heard = transcriber.transcribe(&windows, &|| bar.inc(1))?;
        let texts: Vec<_> = heard.tokens.iter().map(|tokens| words(&vocabulary.text(tokens))).collect();
        if whole.is_empty() {
            whole.clone_from(&texts);
        }
        let row = row(name, place, model, transcriber, &heard, [&said, &whole, &texts], options.times)?;
        bar.suspend(|| println!("{row}"));
        rows.push(row);
    }
    bar.finish_and_clear();
    println!(
        "\nTokens are those that the decoder reads, dispatches and operations those of the encoder. Words are compared in lower case and"
    );
    println!(
        "without punctuation; a hyphen parts them. The standard error is that of the ratio over files; `changed` is the share of the words"
    );
    println!("without compression that are not the same with it.");
    Ok(Report { adapter: place.describe(), files: files.len(), words: said.iter().map(Vec::len).sum(), rows })
}

fn row(
    name: &str,
    place: &Place,
    model: &Model,
    transcriber: &Transcriber<'_>,
    heard: &Heard,
    [said, whole, texts]: [&[Vec<String>]; 3],
    times: bool,
) -> Result<Row, Failure> {
    let total = |lists: &[Vec<String>]| lists.iter().map(Vec::len).sum::<usize>() as f64;
    let wrong = |right: &[Vec<String>]| right.iter().zip(texts).map(|(right, text)| errors(right, text)).collect::<Vec<_>>();
    let errors = wrong(said);
    let rate = errors.iter().sum::<usize>() as f64 / total(said);
    let deviation = |(errors, said): (&usize, &Vec<String>)| (*errors as f64 - rate * said.len() as f64).powi(2);
    let files = heard.tokens.len() as f64;
    let variance = errors.iter().zip(said).map(deviation).sum::<f64>() * files / (files - 1.0).max(1.0);
    let left: Vec<_> = heard.lengths.iter().map(|lengths| tokens(model, transcriber, lengths)[model.layers] as f64).collect();
    let price = |built| -> Result<[f64; 2], Failure> {
        let price = Price::of(built, &place.capabilities())?;
        Ok([price.dispatches.iter().sum(), price.operations.iter().sum()])
    };
    let ([encoder_dispatches, encoder_gflop], [step_dispatches, step_gflop]) =
        (price(&transcriber.encoder.built)?, price(&transcriber.decoder)?);
    let milliseconds = |seconds: f64| seconds / files * 1e3;
    let taken = Times { encoder_milliseconds: milliseconds(heard.encoder), decoder_milliseconds: milliseconds(heard.decoder) };
    Ok(Row {
        compression: name.to_owned(),
        tokens: mean(&left).0,
        errors: errors.iter().sum(),
        word_error_rate: rate,
        standard_error: variance.sqrt() / total(said),
        changed: wrong(whole).iter().sum::<usize>() as f64 / total(whole),
        encoder_dispatches,
        encoder_gflop,
        step_dispatches,
        step_gflop,
        times: times.then_some(taken),
    })
}
