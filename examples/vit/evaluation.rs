//! What chains of methods keep, over many photos; and what `Graph::cost` says that they take, against the clock.

use std::path::{Path, PathBuf};

use image::RgbImage;
use serde::Serialize;
use tokenpress::readback::HostTensors;
use tokenpress::schedule::cosine_distance;
use tokenpress::{Error, HostTensor, Rates};

use crate::adaptive;
use crate::budgets::{Planned, Space};
use crate::chart::{Chart, Point, Series};
use crate::cifar10::{self, Labelled, Probe};
use crate::device::Failure;
use crate::methods::{Step, chain};
use crate::model::{Model, Wanted};
use crate::picture;
use crate::progress::progress;
use crate::rates;
use crate::report::{self, Price};
use crate::runner::{Place, Runner};
use crate::saliency::overlap;

/// Chains by their names, the first of them without compression.
pub(crate) type Chains<'a> = [(String, Runner<'a>)];

/// What is written to files.
#[derive(Serialize)]
pub(crate) struct Report {
    adapter: String,
    /// What `score` is of each photo, or over all of them.
    pub(crate) score: &'static str,
    photos: usize,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    compression: String,
    /// At the end, on average.
    tokens: f64,
    /// The fewest and the most of a photo, where it decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_between: Option<[f64; 2]>,
    /// After each layer that compresses, of each photo.
    #[serde(skip)]
    counts: Vec<Vec<u32>>,
    score: f64,
    standard_error: f64,
    /// Mean cosine distance of the features from those of the whole model.
    loss: f64,
    dispatches: f64,
    gflop: f64,
    /// Median of a photo's.
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<f64>,
}

impl Report {
    pub(crate) fn print(&self) {
        let times = self.rows.iter().any(|row| row.milliseconds.is_some());
        print!("{:<40}{:>8}{:>18}{:>10}{:>12}{:>8}", "compression", "tokens", self.score, "loss", "dispatches", "GFLOP");
        println!("{}", if times { format!("{:>12}", "median, ms") } else { String::new() });
        for Row { compression, tokens, score, standard_error, loss, dispatches, gflop, milliseconds, .. } in &self.rows {
            print!("{compression:<40}{tokens:>8.1}{score:>10.3} ± {standard_error:.3}{loss:>10.5}{dispatches:>12}{gflop:>8.2}");
            println!("{}", milliseconds.map_or_else(String::new, |time| format!("{time:>12.1}")));
        }
    }

    pub(crate) fn title(&self) -> String {
        format!("ViT-S/14, {} photos, {}", self.photos, report::short(&self.adapter))
    }

    /// Each row's score, and its standard error.
    pub(crate) fn scores(&self) -> Vec<(f64, f64)> {
        self.rows.iter().map(|row| (row.score, row.standard_error)).collect()
    }

    /// For each row the share of the layers' operations that a photo has taken on the mean.
    pub(crate) fn shares(&self, space: &Space, chains: &Chains<'_>) -> Vec<f64> {
        let share = |(row, (_, runner)): (&Row, &(String, Runner<'_>))| {
            let shares: Vec<f64> = row.counts.iter().map(|counts| adaptive::share(space, &runner.built.compressing, counts)).collect();
            report::mean(&shares).0
        };
        self.rows.iter().zip(chains).map(share).collect()
    }

    /// Scores over tokens.
    pub(crate) fn chart(&self) -> Chart {
        let point = |row: &Row| Point { label: row.compression.clone(), x: row.tokens, y: row.score, error: row.standard_error };
        let series = Series::by_method(self.rows.iter().map(point).collect(), "");
        Chart { title: self.title(), axes: ["tokens behind the last layer".to_owned(), self.score.to_owned()], series }
    }
}

/// How a chain did on each photo.
#[derive(Default)]
struct Runs {
    tokens: Vec<f64>,
    losses: Vec<f64>,
    seconds: Vec<f64>,
    counts: Vec<Vec<u32>>,
}

impl Runs {
    fn push(&mut self, runner: &Runner<'_>, outputs: &HostTensors, seconds: f64) {
        self.seconds.push(seconds);
        self.tokens.extend(outputs["tokens"].integers().iter().map(|count| f64::from(*count)));
        // Behind the last layer that compresses they are those at the end.
        let count = |layer: &usize| outputs.get(&format!("lengths.{layer}")).unwrap_or(&outputs["tokens"]).integers()[0];
        self.counts.push(runner.built.compressing.iter().map(count).collect());
    }

    fn row(self, name: &str, runner: &Runner<'_>, place: &Place, (score, standard_error): (f64, f64), times: bool) -> Result<Row, Error> {
        let price = Price::of(&runner.built, &place.capabilities())?;
        let [least, most] = [f64::min, f64::max].map(|of| self.tokens.iter().copied().reduce(of).unwrap_or(f64::NAN));
        Ok(Row {
            compression: name.to_owned(),
            tokens: report::mean(&self.tokens).0,
            tokens_between: Some([least, most]).filter(|[least, most]| least < most),
            counts: self.counts,
            score,
            standard_error,
            loss: report::mean(&self.losses).0,
            dispatches: price.dispatches.iter().sum(),
            gflop: price.operations.iter().sum(),
            milliseconds: times.then(|| 1e3 * median(self.seconds)),
        })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// All photos: how far what each chain finds salient overlaps with what the whole model does.
pub(crate) fn saliency(place: &Place, chains: &Chains<'_>, photos: &[Option<PathBuf>], size: u32, times: bool) -> Result<Report, Failure> {
    let bar = progress(photos.len(), "photos");
    let mut found: Vec<(Runs, Vec<f64>)> = chains.iter().map(|_| Default::default()).collect();
    for photo in photos {
        let input = picture::normalized(&picture::read(photo.as_deref(), size).map_err(Failure::Request)?);
        let (mut whole, mut features) = (Vec::new(), None);
        for (index, ((_, runner), (runs, overlaps))) in chains.iter().zip(&mut found).enumerate() {
            let (outputs, seconds) = runner.run(&[("photo", &input)])?;
            let saliency = outputs["saliency"].floats();
            if index == 0 {
                whole.clone_from(&saliency);
            }
            overlaps.push(overlap(&whole, &saliency));
            let features = features.get_or_insert_with(|| outputs["features"].clone());
            runs.losses.push(cosine_distance(features, &outputs["features"])?);
            runs.push(runner, &outputs, seconds);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let row = |((name, runner), (runs, overlaps)): (&(String, Runner<'_>), (Runs, Vec<f64>))| {
        runs.row(name, runner, place, report::mean(&overlaps), times)
    };
    let rows = chains.iter().zip(found).map(row).collect::<Result<_, _>>()?;
    Ok(Report { adapter: place.describe(), score: "saliency IoU", photos: photos.len(), rows })
}

fn labelled(folder: &Path, [batch, labels]: [&str; 2], count: usize, size: u32) -> Result<Labelled, Failure> {
    cifar10::read(folder, batch, labels, count, size).map_err(Failure::Request)
}

/// The first photos that CIFAR-10's probe is trained on.
pub(crate) fn train(folder: &Path, count: usize, size: u32) -> Result<Vec<RgbImage>, Failure> {
    Ok(labelled(folder, ["data_batch_1.png", "train_lables.json"], count, size)?.photos)
}

/// For each layer, what each share of [`Space`] that merges there alone loses, on the mean over photos.
pub(crate) fn layer_losses(
    place: &Place,
    model: &Model,
    space: &Space,
    photos: &[RgbImage],
    wanted: Wanted,
) -> Result<Vec<Vec<f64>>, Failure> {
    let names = space.alone();
    let alone = names.iter().map(|name| chain(name, model.layers)).collect::<Result<Vec<_>, _>>().map_err(Failure::Run)?;
    let chains: Vec<_> = [Vec::new()].into_iter().chain(alone).collect();
    let runner = Runner::new(place, model.weights(), model.build_all(&chains, wanted)?)?;
    let bar = progress(photos.len(), "samples");
    let mut sums = vec![0.0; names.len()];
    for photo in photos {
        let (outputs, _) = runner.run(&[("photo", &picture::normalized(photo))])?;
        sums.iter_mut().zip(adaptive::losses(&outputs, names.len())?).for_each(|(sum, loss)| *sum += loss);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let means: Vec<f64> = sums.iter().map(|sum| sum / photos.len() as f64).collect();
    Ok(space.table(&means))
}

/// How a plan compresses.
pub(crate) fn steps(compression: &str, model: &Model) -> Result<Vec<Step>, Failure> {
    if compression.is_empty() { Ok(Vec::new()) } else { chain(compression, model.layers).map_err(Failure::Run) }
}

/// Each plan, and behind it the same with thresholds in place of its counts, which are measured on photos, layer by layer.
pub(crate) fn with_thresholds(
    place: &Place,
    model: &Model,
    space: &Space,
    photos: &[RgbImage],
    plans: Vec<Planned>,
) -> Result<Vec<Planned>, Failure> {
    let bar = progress(plans.len(), "schedules");
    let photos: Vec<_> = photos.iter().map(picture::normalized).collect();
    let similarities = |before: &str, layer: usize| {
        let runner = Runner::new(place, model.weights(), model.similarities(&steps(before, model)?, layer)?)?;
        let similarities = |photo| Ok(adaptive::similarities(&runner.run(&[("photo", photo)])?.0));
        photos.iter().map(similarities).collect::<Result<Vec<_>, Failure>>()
    };
    let mut all = Vec::new();
    for plan in plans {
        let calibrated = adaptive::calibrated(space, &plan, similarities)?;
        all.extend([plan, calibrated]);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(all)
}

/// CIFAR-10: a probe on class tokens without compression, and how often it is right after each chain.
pub(crate) fn probe(
    place: &Place,
    chains: &Chains<'_>,
    folder: &Path,
    [train, test]: [usize; 2],
    size: u32,
    times: bool,
) -> Result<Report, Failure> {
    let train = labelled(folder, ["data_batch_1.png", "train_lables.json"], train, size)?;
    let test = labelled(folder, ["test_batch.png", "test_lables.json"], test, size)?;
    let bar = progress(train.photos.len() + chains.len() * test.photos.len(), "photos");
    let class_tokens = |runner: &Runner<'_>, photos: &[RgbImage]| {
        let (mut runs, mut features) = (Runs::default(), Vec::new());
        for photo in photos {
            let (outputs, seconds) = runner.run(&[("photo", &picture::normalized(photo))])?;
            features.push(outputs["features"].clone());
            runs.push(runner, &outputs, seconds);
            bar.inc(1);
        }
        Ok::<_, Error>((runs, features))
    };
    let floats = |features: &[HostTensor]| features.iter().map(HostTensor::floats).collect::<Vec<_>>();
    let probe = Probe::new(&floats(&class_tokens(&chains[0].1, &train.photos)?.1), &train.labels);
    let (mut rows, mut whole) = (Vec::new(), Vec::new());
    for (name, runner) in chains {
        let (mut runs, features) = class_tokens(runner, &test.photos)?;
        if whole.is_empty() {
            whole.clone_from(&features);
        }
        let distances = whole.iter().zip(&features).map(|(whole, features)| cosine_distance(whole, features));
        runs.losses = distances.collect::<Result<_, _>>()?;
        let count = test.photos.len().max(1) as f64;
        let share = probe.right(&floats(&features), &test.labels) as f64 / count;
        rows.push(runs.row(name, runner, place, (share, (share * (1.0 - share) / count).sqrt()), times)?);
    }
    bar.finish_and_clear();
    println!("probe    trained on {} photos of CIFAR-10", train.photos.len());
    Ok(Report { adapter: place.describe(), score: "right", photos: test.photos.len(), rows })
}

/// What schedules within budgets keep, and how they were found.
#[derive(Serialize)]
pub(crate) struct Adaptive<'a> {
    #[serde(flatten)]
    pub(crate) report: Report,
    /// Photos that the losses are means over.
    pub(crate) samples: usize,
    pub(crate) shares: &'a [f64],
    pub(crate) losses: Vec<Vec<f64>>,
    /// In the order of the rows but the first.
    pub(crate) plans: Vec<Planned>,
}

/// What `Graph::cost` says of each chain, and what it takes.
#[derive(Serialize)]
pub(crate) struct Prediction {
    adapter: String,
    gflop_a_second: f64,
    gigabytes_a_second: f64,
    dispatch_microseconds: f64,
    rows: Vec<Predicted>,
    /// Of the chains together.
    kernels: Vec<OfKernel>,
}

#[derive(Serialize)]
struct Predicted {
    compression: String,
    tokens: f64,
    dispatches: u32,
    gflop: f64,
    megabytes: f64,
    predicted_milliseconds: f64,
    milliseconds: f64,
}

#[derive(Serialize, Default)]
struct OfKernel {
    compression: String,
    kernel: String,
    calls: usize,
    gflop: f64,
    megabytes: f64,
    predicted_milliseconds: f64,
    milliseconds: f64,
}

/// Runs of each chain, in turns, so that what else a machine does touches all alike.
const ROUNDS: usize = 7;

pub(crate) fn cost(place: &Place, chains: &Chains<'_>, photo: Option<&Path>, size: u32, product: [u32; 3]) -> Result<Prediction, Failure> {
    let Place::Device(context, _) = place else {
        return Err(Failure::Request("--evaluate cost needs a device: the CPU reference is not made to be fast".to_owned()));
    };
    let rates = rates::measure(context, product)?;
    let input = picture::normalized(&picture::read(photo, size).map_err(Failure::Request)?);
    let mut seconds = vec![Vec::new(); chains.len()];
    let mut tokens = vec![0.0; chains.len()];
    for round in 0..=ROUNDS {
        for (index, (_, runner)) in chains.iter().enumerate() {
            let (outputs, taken) = runner.run(&[("photo", &input)])?;
            tokens[index] = f64::from(outputs["tokens"].integers()[0]);
            // The first one makes what is made once.
            if round > 0 {
                seconds[index].push(taken);
            }
        }
    }
    let (mut rows, mut kernels) = (Vec::new(), Vec::new());
    for (((name, runner), seconds), tokens) in chains.iter().zip(seconds).zip(tokens) {
        let cost = runner.built.graph.cost(&place.capabilities())?;
        rows.push(Predicted {
            compression: name.clone(),
            tokens,
            dispatches: cost.dispatches(),
            gflop: cost.flops() as f64 / 1e9,
            megabytes: cost.bytes() as f64 / 1e6,
            predicted_milliseconds: 1e3 * cost.seconds(&rates),
            milliseconds: 1e3 * median(seconds),
        });
        kernels.extend(of_kernels(name, runner, &cost, &rates)?);
    }
    Ok(Prediction {
        adapter: place.describe(),
        gflop_a_second: rates.flops / 1e9,
        gigabytes_a_second: rates.bytes / 1e9,
        dispatch_microseconds: 1e6 / rates.dispatches,
        rows,
        kernels,
    })
}

/// The kernels' shares of a chain, the longest first.
fn of_kernels(name: &str, runner: &Runner<'_>, cost: &tokenpress::Cost, rates: &Rates) -> Result<Vec<OfKernel>, Error> {
    let times = runner.times()?.unwrap_or_default();
    let mut kernels: Vec<OfKernel> = Vec::new();
    for step in &cost.steps {
        let index = kernels.iter().position(|k| k.kernel == step.kernel).unwrap_or_else(|| {
            kernels.push(OfKernel { compression: name.to_owned(), kernel: step.kernel.to_owned(), ..OfKernel::default() });
            kernels.len() - 1
        });
        let kernel = &mut kernels[index];
        kernel.calls += 1;
        kernel.gflop += step.work.flops as f64 / 1e9;
        kernel.megabytes += step.work.bytes as f64 / 1e6;
        kernel.predicted_milliseconds += 1e3 * step.seconds(rates);
        kernel.milliseconds += 1e3 * times.get(step.call).copied().unwrap_or_default();
    }
    kernels.sort_by(|a, b| b.milliseconds.total_cmp(&a.milliseconds));
    Ok(kernels)
}

impl Prediction {
    pub(crate) fn print(&self) {
        let Self { gflop_a_second, gigabytes_a_second, dispatch_microseconds, rows, .. } = self;
        println!(
            "rates    products {gflop_a_second:.1} GFLOP/s, copies {gigabytes_a_second:.1} GB/s, a dispatch {dispatch_microseconds:.1} µs\n"
        );
        let head = ["tokens", "dispatches", "GFLOP", "MB", "predicted, ms", "measured, ms", "predicted", "measured"];
        let cells = |name: &str, cells: [String; 8]| {
            let [a, b, c, d, e, f, g, h] = cells;
            println!("{name:<30}{a:>8}{b:>12}{c:>8}{d:>8}{e:>15}{f:>14}{g:>12}{h:>10}");
        };
        cells("compression", head.map(str::to_owned));
        for row in rows {
            let [predicted, measured] = rows.first().map_or([1.0; 2], |whole| row.speedup(whole));
            let numbers = [row.gflop, row.megabytes, row.predicted_milliseconds, row.milliseconds].map(|number| format!("{number:.1}"));
            let [gflop, megabytes, expected, taken] = numbers;
            let speedups = [predicted, measured].map(|speedup| format!("{speedup:.2} x"));
            let [predicted, measured] = speedups;
            cells(
                &row.compression,
                [format!("{:.0}", row.tokens), row.dispatches.to_string(), gflop, megabytes, expected, taken, predicted, measured],
            );
        }
        println!(
            "\n{:<30}{:<18}{:>6}{:>10}{:>10}{:>15}{:>14}{:>10}",
            "compression", "kernel", "calls", "GFLOP", "MB", head[4], head[5], "GFLOP/s"
        );
        for k in &self.kernels {
            let rate = k.gflop / k.milliseconds * 1e3;
            print!("{:<30}{:<18}{:>6}{:>10.3}{:>10.1}", k.compression, k.kernel, k.calls, k.gflop, k.megabytes);
            println!("{:>15.2}{:>14.2}{rate:>10.1}", k.predicted_milliseconds, k.milliseconds);
        }
    }

    /// How often each chain is as fast as the whole model, predicted and measured.
    pub(crate) fn chart(&self) -> Chart {
        let series = |kind: &str, which: usize| {
            let point = |row: &Predicted| {
                let y = self.rows.first().map_or([1.0; 2], |whole| row.speedup(whole))[which];
                Point { label: row.compression.clone(), x: row.tokens, y, error: 0.0 }
            };
            Series::by_method(self.rows.iter().map(point).collect(), kind)
        };
        Chart {
            title: format!("ViT-S/14, {}", report::short(&self.adapter)),
            axes: ["tokens behind the last layer".to_owned(), "times as fast as the whole model".to_owned()],
            series: series(", predicted", 0).into_iter().chain(series(", measured", 1)).collect(),
        }
    }
}

impl Predicted {
    /// As predicted, and as measured.
    fn speedup(&self, whole: &Self) -> [f64; 2] {
        [whole.predicted_milliseconds / self.predicted_milliseconds, whole.milliseconds / self.milliseconds]
    }
}
