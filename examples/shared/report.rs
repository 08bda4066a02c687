//! What the examples share: what a run took, part by part.

use std::path::Path;

use serde::Serialize;
use tokenpress::{Capabilities, Error};

use crate::chart::Chart;
use crate::device::Failure;
use crate::runner::Runner;
use crate::stages::{Built, Part};

/// Dispatches, and billions of operations, of each call.
pub(crate) struct Price {
    pub(crate) dispatches: Vec<f64>,
    pub(crate) operations: Vec<f64>,
}

impl Price {
    pub(crate) fn of(built: &Built, capabilities: &Capabilities) -> Result<Self, Error> {
        let none = vec![0.0; built.graph.calls()];
        let mut price = Self { dispatches: none.clone(), operations: none };
        for step in built.graph.cost(capabilities)?.steps {
            price.dispatches[step.call] = f64::from(step.dispatches);
            price.operations[step.call] = step.work.flops as f64 / 1e9;
        }
        Ok(price)
    }
}

/// A line for each layer: tokens in and out, of these counts before the first and after each, and what its three parts take.
pub(crate) fn table(runner: &Runner<'_>, counts: &[usize], capabilities: &Capabilities) -> Result<String, Error> {
    let stages = &runner.built.stages;
    let price = Price::of(&runner.built, capabilities)?;
    let times = runner.times()?;
    let sum = |calls: &[f64], within: &dyn Fn(Part) -> bool| stages.sum(calls, within);
    let milliseconds = |within: &dyn Fn(Part) -> bool| match times.as_ref().map(|times| sum(times, within)) {
        Some(seconds) if seconds > 0.0 => format!("{:.2}", seconds * 1e3),
        _ => "-".to_owned(),
    };
    let line = |name: &str, tokens: &str, parts: [&dyn Fn(Part) -> bool; 3], all: &dyn Fn(Part) -> bool| {
        let [attention, compression, feed_forward] = parts.map(milliseconds);
        let (dispatches, operations) = (sum(&price.dispatches, all), sum(&price.operations, all));
        let all = milliseconds(all);
        format!("{name:<9}{tokens:>12}{attention:>12}{compression:>13}{feed_forward:>14}{all:>10}{dispatches:>12}{operations:>8.2}\n")
    };
    let nothing = |_: Part| false;
    let mut text = format!(
        "{:<9}{:>12}{:>12}{:>13}{:>14}{:>10}{:>12}{:>8}\n",
        "part", "tokens", "attention", "compression", "feed-forward", "all, ms", "dispatches", "GFLOP"
    );
    let embed = |part: Part| part == Part::Embed;
    text += &line("embed", &counts[0].to_string(), [&nothing; 3], &embed);
    for layer in 0..counts.len() - 1 {
        let attention = move |part: Part| part == Part::Attention(layer);
        let compression = move |part: Part| part == Part::Compression(layer);
        let feed_forward = move |part: Part| part == Part::FeedForward(layer);
        let all = move |part: Part| attention(part) || compression(part) || feed_forward(part);
        let tokens = format!("{} > {}", counts[layer], counts[layer + 1]);
        text += &line(&format!("layer {}", layer + 1), &tokens, [&attention, &compression, &feed_forward], &all);
    }
    let head = |part: Part| part == Part::Head;
    text += &line("head", "", [&nothing; 3], &head);
    let attention = |part: Part| matches!(part, Part::Attention(_));
    let compression = |part: Part| matches!(part, Part::Compression(_));
    let feed_forward = |part: Part| matches!(part, Part::FeedForward(_));
    text += &line("all", "", [&attention, &compression, &feed_forward], &|_| true);
    Ok(text)
}

/// Mean, and its standard error.
pub(crate) fn mean(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    (mean, (variance / count).sqrt())
}

/// An adapter's name without its driver's.
pub(crate) fn short(adapter: &str) -> &str {
    adapter.split(" (").next().unwrap_or(adapter)
}

/// Writes what was found as JSON, and as a picture.
pub(crate) fn write<T: Serialize>(json: Option<&Path>, plot: Option<&Path>, found: &T, chart: &Chart) -> Result<(), Failure> {
    let write = |path: &Path, text: String| {
        std::fs::write(path, text).map_err(|e| Failure::Request(format!("cannot write {}: {e}", path.display())))
    };
    if let Some(path) = json {
        write(path, serde_json::to_string_pretty(found).map_err(|e| Failure::Run(e.to_string()))? + "\n")?;
    }
    plot.map_or(Ok(()), |path| write(path, chart.svg()))
}
