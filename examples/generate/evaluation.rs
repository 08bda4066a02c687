//! What a model makes of a text, of whose beginning it has a compressed cache.

use std::collections::BTreeMap;

use serde::Serialize;
use tokenpress::{Error, HostTensor};

use crate::Options;
use crate::chart::{Chart, Point, Series};
use crate::device::Failure;
use crate::machine::{Machine, Ready, Tensors};
use crate::methods::Step;
use crate::model::Reader;
use crate::progress::progress;
use crate::report::{mean, short, write};
use crate::weights::save;

/// Steps of decoding that are timed at once.
const TIMED: u32 = 8;

#[derive(Serialize)]
struct Report {
    adapter: String,
    windows: usize,
    context: u32,
    passage: u32,
    rows: Vec<Row>,
}

/// One compression.
#[derive(Serialize)]
struct Row {
    compression: String,
    /// Of each head's cache, in the mean over heads and layers.
    tokens: f64,
    /// Of the keys and values of all layers that are left.
    bytes: f64,
    next: Loss,
    again: Loss,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_milliseconds: Option<f64>,
}

/// Of the tokens of a passage.
#[derive(Serialize)]
struct Loss {
    /// e to the mean of the tokens' losses.
    perplexity: f64,
    /// How much more loss there is than without compression, in nats a token: the mean over windows, and its standard error.
    added: f64,
    standard_error: f64,
    /// Share of the tokens of which the model finds the same best as without compression.
    same: f64,
}

/// What is left of a cache.
pub(crate) struct Kept {
    pub(crate) tokens: f64,
    pub(crate) bytes: f64,
}

impl Kept {
    pub(crate) fn of(machine: &Machine<'_>, compressed: &Tensors) -> Result<Self, Error> {
        let model = machine.model;
        let mut total = 0;
        for layer in 0..model.layers {
            let lengths = machine.download(compressed, &format!("cache.lengths.{layer}"))?;
            total += lengths.integers().iter().map(|length| u64::from(*length)).sum::<u64>();
        }
        let heads = model.layers as f64 * f64::from(model.key_heads);
        // A key and a value, of four bytes a channel.
        Ok(Self { tokens: total as f64 / heads, bytes: total as f64 * 8.0 * f64::from(model.depth) })
    }
}

/// For each token of a passage its loss, and which was thought best.
type Found = Vec<(f64, usize)>;

/// Tokens whose beginning is compressed, and two passages to go on with: what comes next, and what stands in the beginning already.
struct Window {
    tokens: Vec<u32>,
    passages: [Vec<u32>; 2],
    read: Tensors,
}

pub(crate) fn run(options: &Options, names: &[String], chains: &[Vec<Step>], machine: &Machine<'_>, tokens: &[u32]) -> Result<(), Failure> {
    let (context, passage) = (options.context, options.passage);
    let window = (context + passage + 1) as usize;
    if context < passage + 1 {
        return Err(Failure::Request(format!("a context of {context} tokens has no passage of {passage} and one more")));
    }
    if tokens.len() < window {
        return Err(Failure::Request(format!("the text has {} tokens, and a window takes {window}", tokens.len())));
    }
    let parts: Vec<_> = tokens.chunks_exact(window).take(options.windows as usize).collect();
    println!("windows  {} of {context} tokens that are compressed, and {passage} read after them\n", parts.len());
    let bar = progress(parts.len() * (names.len() + 1), "windows");
    let prefill = Ready::new(machine.model.prefill(context)?);
    let mut windows = Vec::new();
    for part in parts {
        let (first, next) = part.split_at(context as usize);
        // What is repeated is from the middle, far from what stays in any case.
        let from = (context - passage - 1) as usize / 2;
        let prompt = machine.upload([("prompt", HostTensor::u32([1, context], first.to_vec()))]);
        let (mut given, _) = machine.run(&[&prefill], &[&prompt])?;
        let passages = [next.to_vec(), first[from..][..passage as usize + 1].to_vec()];
        windows.push(Window { tokens: first.to_vec(), passages, read: given.remove(0) });
        bar.inc(1);
    }
    let last = if options.times { format!("{:>10}", "step, ms") } else { String::new() };
    let head = format!("{:<30}{:>8}{:>8}{:>12}{:>18}{:>10}", "compression", "tokens", "MB", "perplexity", "added loss", "same, %");
    bar.suspend(|| println!("{head}{:>12}{:>18}{:>10}{last}", "again", "added loss", "same, %"));
    // Plans, and the times of a step, by the room that caches have.
    let mut readers: BTreeMap<Vec<u32>, Ready> = BTreeMap::new();
    let mut times: BTreeMap<Vec<u32>, f64> = BTreeMap::new();
    let mut whole: [Vec<Found>; 2] = Default::default();
    let mut tensors = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    for (name, steps) in names.iter().zip(chains) {
        let compression = Ready::new(machine.model.compression(steps, context, passage)?);
        let rooms = compression.rooms();
        if !readers.contains_key(&rooms) {
            readers.insert(rooms.clone(), Ready::new(machine.model.reader(Reader::Passage(passage), &rooms, context)?));
        }
        let reader = &readers[&rooms];
        let mut found: [Vec<Found>; 2] = Default::default();
        let mut kept = Vec::new();
        for (index, window) in windows.iter().enumerate() {
            let (given, _) = machine.run(&[&compression], &[&window.read])?;
            kept.push(Kept::of(machine, &given[0])?);
            for (kind, passage) in window.passages.iter().enumerate() {
                let (logits, found_here) = read(machine, reader, &given[0], passage)?;
                found[kind].push(found_here);
                if index == 0 && kind == 0 && options.tensors.is_some() {
                    tensors.push((format!("{name}.logits"), logits));
                    for layer in 0..machine.model.layers {
                        let positions = format!("positions.{layer}");
                        tensors.push((format!("{name}.{positions}"), machine.download(&given[0], &positions)?));
                    }
                }
            }
            bar.inc(1);
        }
        if rows.is_empty() {
            whole.clone_from(&found);
        }
        let step_milliseconds = match options.times {
            // What was evicted does not matter to a step, only how much is left.
            true => Some(match times.get(&rooms) {
                Some(time) => *time,
                None => step_time(machine, steps, &windows[0], context)?,
            }),
            false => None,
        };
        times.extend(step_milliseconds.map(|time| (rooms, time)));
        let [next, again] = [0, 1].map(|kind| loss(&found[kind], &whole[kind]));
        let of = |value: fn(&Kept) -> f64| mean(&kept.iter().map(value).collect::<Vec<_>>()).0;
        let row = Row { compression: name.clone(), tokens: of(|k| k.tokens), bytes: of(|k| k.bytes), next, again, step_milliseconds };
        bar.suspend(|| println!("{row}"));
        rows.push(row);
    }
    bar.finish_and_clear();
    println!(
        "\nTokens are those that a head's cache has left. The passage is what comes next in the text; `again` is one that stands in the"
    );
    println!(
        "middle of what was compressed already. Added loss is in nats a token, with the standard error over windows; `same` is the share"
    );
    println!("of tokens of which the model finds the same best as without compression.");
    if let Some(path) = &options.tensors {
        let Window { tokens, passages: [next, _], .. } = &windows[0];
        let [context, passage] = [tokens, next].map(|tokens| HostTensor::u32([tokens.len() as u32], tokens.clone()));
        let others = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
        let all: Vec<_> = [("context", &context), ("passage", &passage)].into_iter().chain(others).collect();
        save(path, &all).map_err(Failure::Request)?;
    }
    let report = Report { adapter: machine.place.describe(), windows: windows.len(), context, passage, rows };
    write(options.json.as_deref(), options.plot.as_deref(), &report, &report.chart())
}

/// The logits behind each token of a passage but the last, and the losses of those after the first.
fn read(machine: &Machine<'_>, reader: &Ready, compressed: &Tensors, passage: &[u32]) -> Result<(HostTensor, Found), Error> {
    let given = &passage[..passage.len() - 1];
    let given = machine.upload([("passage", HostTensor::u32([1, given.len() as u32], given.to_vec()))]);
    let (outputs, _) = machine.run(&[reader], &[&given, compressed])?;
    let logits = machine.download(&outputs[0], "logits")?;
    let all = logits.floats();
    let rows = all.chunks(machine.model.vocabulary as usize).zip(&passage[1..]);
    let found = rows.map(|(row, token)| {
        let (best, largest) = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or((0, 0.0), |(best, value)| (best, *value));
        let sum: f64 = row.iter().map(|logit| f64::from(logit - largest).exp()).sum();
        (sum.ln() + f64::from(largest - row[*token as usize]), best)
    });
    Ok((logits.clone(), found.collect()))
}

fn loss(found: &[Found], whole: &[Found]) -> Loss {
    let mean_of = |found: &Found| found.iter().map(|(loss, _)| loss).sum::<f64>() / found.len() as f64;
    let losses: Vec<_> = found.iter().map(mean_of).collect();
    let added: Vec<_> = losses.iter().zip(whole).map(|(loss, whole)| loss - mean_of(whole)).collect();
    let pairs = || found.iter().flatten().zip(whole.iter().flatten());
    let same = pairs().filter(|(a, b)| a.1 == b.1).count() as f64 / pairs().count().max(1) as f64;
    let (added, standard_error) = mean(&added);
    Loss { perplexity: mean(&losses).0.exp(), added, standard_error, same }
}

/// Milliseconds of a step of decoding after a window: the least of three times, of which the first has compiled.
fn step_time(machine: &Machine<'_>, steps: &[Step], window: &Window, context: u32) -> Result<f64, Error> {
    let compression = Ready::new(machine.model.compression(steps, context, TIMED)?);
    let mut least = f64::INFINITY;
    for _ in 0..3 {
        let (mut given, _) = machine.run(&[&compression], &[&window.read])?;
        // No token has this number, so that none ends the text.
        let said = machine.decode(&window.read, given.remove(0), &compression.rooms(), context, TIMED, u32::MAX)?;
        least = least.min(said.seconds / f64::from(said.steps.max(1)) * 1e3);
    }
    Ok(least)
}

impl Report {
    /// Added loss over tokens.
    fn chart(&self) -> Chart {
        // What is asked for besides a share makes a line of its own.
        let line = |name: &str| {
            let (method, numbers) = name.split_once(':').unwrap_or((name, ""));
            let others = numbers.split(',').filter(|number| !number.is_empty() && !number.starts_with("share="));
            [method].into_iter().chain(others).collect::<Vec<_>>().join(" ")
        };
        let point = |row: &Row| Point { label: line(&row.compression), x: row.tokens, y: row.again.added, error: row.again.standard_error };
        let mut series = Series::by_method(self.rows.iter().map(point).collect(), "");
        // So many labels would hide the lines.
        series.iter_mut().flat_map(|series| &mut series.points).for_each(|point| point.label.clear());
        Chart {
            title: format!("SmolLM2 135M, {} windows of {} tokens, {}", self.windows, self.context, short(&self.adapter)),
            axes: ["tokens left in a head's cache".to_owned(), "added loss of a passage that was read before, nats a token".to_owned()],
            series,
        }
    }
}

/// A line of the table.
impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<30}{:>8.1}{:>8.2}", self.compression, self.tokens, self.bytes / 1e6)?;
        for loss in [&self.next, &self.again] {
            let added = format!("{:.3} ± {:.3}", loss.added, loss.standard_error);
            write!(f, "{:>12.2}{added:>18}{:>10.1}", loss.perplexity, 100.0 * loss.same)?;
        }
        self.step_milliseconds.map_or(Ok(()), |milliseconds| write!(f, "{milliseconds:>10.0}"))
    }
}
