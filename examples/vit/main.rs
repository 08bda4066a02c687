//! Runs a pretrained ViT-S/14 with fewer tokens, and shows what that keeps and what it saves.
//!
//! ```text
//! scripts/fetch-models vit
//! cargo run --release --example vit -- --compress tome:r=8
//! cargo run --release --example vit -- photo.jpg --compress topk:layer=3,keep=128+tome:r=4 -o tokens.png
//! cargo run --release --example vit -- photos/ --evaluate saliency --compress tome:r=4 --compress tome:r=8
//! cargo run --release --example vit -- photos/ --budget 0.6
//! ```
//!
//! The whole model is one graph: patches, twelve layers with the compression between attention and feed-forward, and a head that
//! marks what is salient in the photo, pixel by pixel, from tokens that are put back to where they came from. Merged tokens count
//! in attention as often as they have members.

#[path = "../shared/output.rs"]
#[macro_use]
mod output;
mod adaptive;
#[path = "../shared/budgets.rs"]
mod budgets;
#[path = "../shared/chains.rs"]
mod chains;
#[path = "../shared/chart.rs"]
mod chart;
mod cifar10;
#[path = "../shared/device.rs"]
mod device;
mod evaluation;
mod methods;
mod model;
#[path = "../shared/photo.rs"]
mod photo;
mod picture;
#[path = "../shared/progress.rs"]
mod progress;
#[path = "../shared/rates.rs"]
mod rates;
#[path = "../shared/report.rs"]
mod report;
#[path = "../shared/runner.rs"]
#[allow(dead_code, reason = "outputs are all wanted here")]
mod runner;
mod saliency;
#[path = "../shared/stages.rs"]
mod stages;
#[path = "../shared/weights.rs"]
mod weights;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use device::{Backend, Failure, choose, exit};
use evaluation::Chains;
use image::ImageFormat;
use methods::{METHODS, chain};
use model::{Model, Wanted};
use runner::{Place, Runner};
use weights::{cache, save};

/// Runs a pretrained ViT-S/14 with fewer tokens, and shows what that keeps and what it saves.
///
/// A table says for each layer how many tokens there are and what its parts take. The picture has the photo, what the model
/// finds salient in it with and without compression, and for each layer that compresses the patches that became one token.
#[derive(Parser)]
#[command(after_help = chains::help(METHODS))]
struct Options {
    /// PNG or JPEG file, or a folder of them; without one, the photo that comes with tokenpress
    photo: Option<PathBuf>,
    /// What compresses, at which layers: "tome:r=8", "topk:layer=3,keep=128+tome:r=4"; several to compare them in --evaluate
    #[arg(short, long, value_name = "METHOD[:KEY=NUMBER,..]+..")]
    compress: Vec<String>,
    /// Report over all photos instead of drawing one
    #[arg(short, long)]
    evaluate: Option<Evaluation>,
    /// Find a schedule for this share of the layers' operations, or for several, from what each layer's compression loses alone, and compare it
    /// with the one that merges as many tokens in each layer, and each with thresholds of similarity that merge as many on the mean: saliency over
    /// a folder of photos, cifar10 without one
    #[arg(long, value_name = "SHARE[,SHARE..]", value_delimiter = ',', conflicts_with = "compress")]
    budget: Vec<f64>,
    /// Photos that --budget measures losses with, which are not those that it is tested on
    #[arg(long, value_name = "PHOTOS", default_value_t = 24)]
    samples: usize,
    /// Report times too
    #[arg(long)]
    times: bool,
    /// Where the report goes, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where a picture of the report goes
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Photos that the probe of --evaluate cifar10 is trained on, at most 10000
    #[arg(long, value_name = "PHOTOS", default_value_t = 2000)]
    train: usize,
    /// Photos that it is tested on, at most 10000
    #[arg(long, value_name = "PHOTOS", default_value_t = 500)]
    test: usize,
    /// Weights that scripts/fetch-models has made [default: vit-s-14-saliency.safetensors in tokenpress' cache folder]
    #[arg(short, long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Side of the photo that the model sees, in pixels: a multiple of 14
    #[arg(long, value_name = "PIXELS", default_value_t = 224)]
    size: u32,
    /// A part of an adapter's name, or "reference" for the CPU reference
    #[arg(short, long, value_name = "NAME")]
    adapter: Option<String>,
    /// Only adapters of this backend
    #[arg(short, long)]
    backend: Option<Backend>,
    /// Where the picture goes
    #[arg(short, long, value_name = "FILE", default_value = "vit.png")]
    output: PathBuf,
    /// Where what the model read and gave without compression goes, to compare it with another runtime's
    #[arg(long, value_name = "FILE")]
    tensors: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Evaluation {
    /// How far what is salient overlaps with what the uncompressed model finds
    Saliency,
    /// How often a linear probe, trained on class tokens without compression, names what a photo of CIFAR-10 shows; PHOTO is the
    /// folder of the data set, and scripts/fetch-models cifar10 gets it
    Cifar10,
    /// What `Graph::cost` says that the class token takes, of products, copies and dispatches as fast as they are measured, against the
    /// clock, for one photo
    Cost,
}

impl Evaluation {
    fn wanted(self) -> Wanted {
        match self {
            Self::Cifar10 | Self::Cost => Wanted::ClassToken,
            Self::Saliency => Wanted::Saliency,
        }
    }
}

fn main() -> ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Failure> {
    let weights = options.weights.clone().unwrap_or_else(cached);
    let measure = options.evaluate.or_else(|| match (&options.budget[..], &options.photo) {
        ([], _) => None,
        (_, Some(_)) => Some(Evaluation::Saliency),
        (_, None) => Some(Evaluation::Cifar10),
    });
    let photos = match measure {
        Some(Evaluation::Cifar10) => Vec::new(),
        _ => photos(options.photo.as_deref()).map_err(Failure::Request)?,
    };
    check(options, measure, photos.len()).map_err(Failure::Request)?;
    let model = Model::read(&weights, options.size).map_err(Failure::Request)?;
    let chains = options.compress.iter().map(|text| chain(text, model.layers)).collect::<Result<Vec<_>, _>>().map_err(Failure::Request)?;
    let place = Place::new(choose(options.adapter.as_deref(), options.backend)?, model.weights());
    println!("adapter  {}", place.describe());
    if let Some(measure) = measure.filter(|_| !options.budget.is_empty()) {
        return within_budgets(options, &place, &model, measure, &photos);
    }
    let wanted = options.evaluate.map_or(Wanted::Saliency, Evaluation::wanted);
    let mut runners = vec![("none".to_owned(), Runner::new(&place, model.weights(), model.build(&[], wanted)?)?)];
    for (name, steps) in options.compress.iter().zip(&chains) {
        runners.push((name.clone(), Runner::new(&place, model.weights(), model.build(steps, wanted)?)?));
    }
    let Options { size, times, json, plot, .. } = options;
    let (json, plot) = (json.as_deref(), plot.as_deref());
    let report = match options.evaluate {
        Some(Evaluation::Saliency) => evaluation::saliency(&place, &runners, &photos, *size, *times)?,
        Some(Evaluation::Cifar10) => {
            let folder = options.photo.clone().unwrap_or_else(|| cache().join("cifar10"));
            evaluation::probe(&place, &runners, &folder, [options.train, options.test], *size, *times)?
        }
        Some(Evaluation::Cost) => {
            let found = evaluation::cost(&place, &runners, photos[0].as_deref(), *size, model.product())?;
            found.print();
            return report::write(json, plot, &found, &found.chart());
        }
        None => return show(options, &place, &model, &runners, &photos),
    };
    report.print();
    report::write(json, plot, &report, &report.chart())
}

/// Where scripts/fetch-models puts them.
fn cached() -> PathBuf {
    cache().join("vit-s-14-saliency.safetensors")
}

/// The photos that were asked for; `None` is the shipped one.
fn photos(path: Option<&Path>) -> Result<Vec<Option<PathBuf>>, String> {
    let Some(folder) = path.filter(|path| path.is_dir()) else { return Ok(vec![path.map(Path::to_path_buf)]) };
    let entries = std::fs::read_dir(folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    let is_photo =
        |path: &PathBuf| path.extension().is_some_and(|e| ["jpg", "jpeg", "png"].iter().any(|known| e.eq_ignore_ascii_case(known)));
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_photo).collect();
    files.sort();
    if files.is_empty() {
        Err(format!("there is no PNG or JPEG file in {}", folder.display()))
    } else {
        Ok(files.into_iter().map(Some).collect())
    }
}

/// What can be said of the options before anything is read.
fn check(options: &Options, measure: Option<Evaluation>, photos: usize) -> Result<(), String> {
    if let Some(measure) = measure {
        if !options.budget.is_empty() {
            budget(options, measure, photos)?;
        }
        return output::writable([&options.json, &options.plot].into_iter().flatten().map(PathBuf::as_path));
    }
    if photos > 1 {
        return Err("several photos need --evaluate".to_owned());
    }
    if options.compress.len() > 1 {
        return Err("several --compress need --evaluate; a chain is one, with + between its methods".to_owned());
    }
    let output = options.output.display();
    if !matches!(ImageFormat::from_path(&options.output), Ok(ImageFormat::Png | ImageFormat::Jpeg)) {
        return Err(format!("cannot write {output}: its name must end in .png or .jpg"));
    }
    if options.output.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return Err(format!("cannot write {output}: there is no such folder"));
    }
    output::writable([&options.output].into_iter().chain(&options.tensors).map(PathBuf::as_path))
}

/// What can be said of --budget.
fn budget(options: &Options, measure: Evaluation, photos: usize) -> Result<(), String> {
    if let Some(share) = options.budget.iter().find(|share| !(0.0..=1.0).contains(*share)) {
        return Err(format!("--budget is a share of the layers' operations, from 0 to 1, not {share}"));
    }
    match measure {
        _ if options.samples == 0 => Err("--budget needs at least one of --samples".to_owned()),
        Evaluation::Cost => Err("--budget compares saliency or cifar10, not cost".to_owned()),
        Evaluation::Saliency if photos <= options.samples => {
            Err(format!("--budget needs a folder with more photos than --samples {}, not {photos}", options.samples))
        }
        _ => Ok(()),
    }
}

/// Schedules for budgets, and what they keep.
fn within_budgets(options: &Options, place: &Place, model: &Model, measure: Evaluation, photos: &[Option<PathBuf>]) -> Result<(), Failure> {
    let wanted = measure.wanted();
    let is_sample = |index: usize| budgets::is_sample(index, options.samples, photos.len());
    let part = |sample: bool| -> Vec<_> { (0..photos.len()).filter(|i| is_sample(*i) == sample).map(|i| photos[i].clone()).collect() };
    let folder = options.photo.clone().unwrap_or_else(|| cache().join("cifar10"));
    let samples = match measure {
        Evaluation::Cifar10 => evaluation::train(&folder, options.samples, options.size)?,
        _ => part(true)
            .iter()
            .map(|photo| picture::read(photo.as_deref(), options.size))
            .collect::<Result<_, _>>()
            .map_err(Failure::Request)?,
    };
    let space = adaptive::space(model);
    space.check(&options.budget)?;
    let losses = evaluation::layer_losses(place, model, &space, &samples, wanted)?;
    let plans = adaptive::plans(&space, &losses, &options.budget)?;
    let mut plans = evaluation::with_thresholds(place, model, &space, &samples, plans)?;
    println!("losses   cosine distances of features over {} photos, each layer alone", samples.len());
    space.print(&losses, &plans);
    let mut runners = vec![("none".to_owned(), Runner::new(place, model.weights(), model.build(&[], wanted)?)?)];
    for plan in &plans {
        let steps = evaluation::steps(&plan.compression, model)?;
        runners.push((plan.name.clone(), Runner::new(place, model.weights(), model.build(&steps, wanted)?)?));
    }
    let report = match measure {
        Evaluation::Cifar10 => evaluation::probe(place, &runners, &folder, [options.train, options.test], options.size, options.times)?,
        _ => evaluation::saliency(place, &runners, &part(false), options.size, options.times)?,
    };
    report.print();
    for (plan, share) in plans.iter_mut().zip(report.shares(&space, &runners).into_iter().skip(1)) {
        plan.cost = share;
    }
    println!("\n{:<40}{:>8}", "schedule", "cost");
    plans.iter().for_each(|plan| println!("{:<40}{:>8.3}", plan.name, plan.cost));
    let chart = budgets::chart(report.title(), report.score, &plans, &report.scores());
    let found = evaluation::Adaptive { report, samples: samples.len(), shares: &space.shares, losses, plans };
    report::write(options.json.as_deref(), options.plot.as_deref(), &found, &chart)
}

/// One photo: the tables, and the picture.
fn show(options: &Options, place: &Place, model: &Model, runners: &Chains<'_>, photos: &[Option<PathBuf>]) -> Result<(), Failure> {
    let image = picture::read(photos[0].as_deref(), options.size).map_err(Failure::Request)?;
    let input = picture::normalized(&image);
    let mut results = Vec::new();
    for (index, (_, runner)) in runners.iter().enumerate() {
        let (outputs, seconds) = runner.run(&[("photo", &input)])?;
        let counts = saliency::tokens(model.layers, &outputs);
        println!("\n{}\n", if index == 0 { "without compression" } else { &options.compress[0] });
        println!("{}", report::table(runner, &counts, &place.capabilities())?);
        results.push((outputs, runner.median(&[("photo", &input)], seconds)?));
    }
    if let Some(path) = &options.tensors {
        save(path, &[("photo", &input), ("features", &results[0].0["features"]), ("logits", &results[0].0["logits"])])
            .map_err(Failure::Request)?;
    }
    let saliency: Vec<_> = results.iter().map(|(outputs, _)| outputs["saliency"].floats()).collect();
    let (first, last) = (&saliency[0], &saliency[saliency.len() - 1]);
    let parents: Vec<_> = match (runners.last(), results.last()) {
        (Some((_, runner)), Some((outputs, _))) => {
            runner.built.compressing.iter().map(|layer| outputs[&format!("parent.{layer}")].integers().to_vec()).collect()
        }
        _ => Vec::new(),
    };
    if !parents.is_empty() {
        println!(
            "What is salient overlaps by {:.3} with what is without compression (intersection over union).",
            saliency::overlap(first, last)
        );
    }
    let drawn = picture::draw(&image, model.grid, [first, last], &parents);
    drawn.save(&options.output).map_err(|e| Failure::Request(format!("cannot write {}: {e}", options.output.display())))?;
    println!("Wrote {}.", options.output.display());
    Ok(())
}
