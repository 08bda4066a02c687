//! Compresses the tokens of a photo, and draws what became of them.
//!
//! ```text
//! cargo run --release --example compress
//! cargo run --release --example compress -- photo.jpg --method tome --keep 0.1 -o tokens.png
//! ```
//!
//! The photo is cut into patches, whose pixels are the tokens. A method compresses them on a GPU, or on the CPU
//! reference where there is none. The picture has the photo on the left, with a line around the patches that
//! became one token and dropped patches darkened, and what can be made of the tokens that are left on the right.

#[path = "../shared/output.rs"]
#[macro_use]
mod output;
mod chain;
#[path = "../shared/device.rs"]
mod device;
mod methods;
#[path = "../shared/photo.rs"]
mod photo;
mod picture;
mod report;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use chain::{Chain, Planned, Wish, build, stages};
use clap::Parser;
use device::{Backend, Failure, choose, exit};
use image::ImageFormat;
use methods::{METHODS, Method, Patches};
use picture::{CHANNELS, Photo, mean_squared_error, psnr, side_by_side, tokens};
use tokenpress::readback::{Context, HostTensors};
use tokenpress::{Capabilities, HostTensor};

/// Compresses the tokens of a photo, and draws what became of them.
///
/// The photo is cut into patches, whose pixels are the tokens. A method compresses them on a GPU, or on the CPU reference
/// where there is none. A table says what each kernel took and how far it is from the reference. The picture has the
/// photo on the left, with a line around the patches that became one token and dropped patches darkened, and what can be
/// made of the remaining tokens on the right.
#[derive(Parser)]
#[command(after_help = after_help())]
struct Options {
    /// PNG or JPEG file; without one, the photo that comes with tokenpress
    photo: Option<PathBuf>,
    /// How to compress: a method of those below, or a chain of them, "topk:0.5+tome:0.5", with the share that each keeps
    #[arg(short, long, value_name = "METHOD[:SHARE]+..", default_value = METHODS[0].name)]
    method: String,
    /// Share of the tokens that is left, above 0 and at most 1 [default: 0.25]
    #[arg(short, long, value_name = "SHARE", conflicts_with = "merge")]
    keep: Option<f64>,
    /// Number of tokens to merge away or drop, instead of a share to keep
    #[arg(long, value_name = "TOKENS")]
    merge: Option<u32>,
    /// Side of a patch in pixels
    #[arg(short, long, value_name = "PIXELS", default_value_t = 16)]
    patch: u32,
    /// Layers over which merging is spread
    #[arg(long, default_value_t = 12)]
    layers: u32,
    /// Compare patches after projecting them to this many numbers by a fixed matrix
    #[arg(long, value_name = "NUMBERS")]
    width: Option<u32>,
    /// Longer side of the photo; a larger one is reduced
    #[arg(long, value_name = "PIXELS", default_value_t = 768)]
    size: u32,
    /// A part of an adapter's name, or "reference" for the CPU reference
    #[arg(short, long, value_name = "NAME")]
    adapter: Option<String>,
    /// Only adapters of this backend
    #[arg(short, long)]
    backend: Option<Backend>,
    /// Where the picture goes
    #[arg(short, long, value_name = "FILE", default_value = "compress.png")]
    output: PathBuf,
}

fn after_help() -> String {
    let line = |m: &Method| format!("  {:<10} {}\n", m.name, m.about);
    let lines = METHODS.iter().map(line).collect::<String>();
    format!("Methods:\n{lines}\nMethods of a chain that name no share divide what --keep leaves to them.")
}

fn main() -> ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Result<(), Failure> {
    let chain = chain::chain(&options.method).map_err(Failure::Request)?;
    check(options, &chain).map_err(Failure::Request)?;
    let photo = Photo::read(options.photo.as_deref(), options.size, options.patch).map_err(Failure::Request)?;
    let (width, height) = photo.image.dimensions();
    let patches = Patches { rows: height / options.patch, columns: width / options.patch };
    let Options { keep, merge, patch, layers, width: projected, .. } = *options;
    let wish = Wish { keep, merge, patch, layers, width: projected };
    let stages = stages(&wish, &chain, patches).map_err(Failure::Request)?;
    let graph = build(&wish, &stages, patches)?;
    let context = choose(options.adapter.as_deref(), options.backend)?;

    let inputs: HostTensors = [("photo".to_owned(), HostTensor::f32([1, height, width, CHANNELS], photo.normalized()))].into();
    let start = Instant::now();
    let expected = graph.run_reference(&inputs)?;
    let reference = start.elapsed();
    let (outputs, lines) = match &context {
        Some(context) => report::run(context, &graph, &inputs)?,
        None => (expected.clone(), report::price(&graph, &Capabilities::portable())?),
    };

    let Patches { rows, columns } = patches;
    let restored = photo.denormalized(&outputs["restored"].floats());
    let parent = outputs["parent"].integers();
    let after = tokens(parent);
    let picture = side_by_side(&photo.image, &restored, columns, parent);
    picture.save(&options.output).map_err(|e| Failure::Request(format!("cannot write {}: {e}", options.output.display())))?;

    let name = options.photo.as_ref().map_or("the shipped photo".to_owned(), |p| p.display().to_string());
    let before = rows * columns;
    let adapter = context.as_ref().map_or("none: the CPU reference".to_owned(), Context::describe);
    println!("adapter  {adapter}");
    println!("photo    {name}, {width} x {height}: {columns} x {rows} patches of {0} x {0}", options.patch);
    for Planned { method, .. } in &stages {
        println!("method   {}: {}", method.name, method.about);
    }
    println!("tokens   {before} before, {after} after ({:.1} %)\n", 100.0 * after as f64 / f64::from(before));
    println!("{}", report::table(&lines));
    if context.is_none() {
        println!("The CPU reference, which is written to be read and not to be fast, took {:.1} s in all.", reference.as_secs_f64());
    }
    if let Some(context) = &context {
        let clock = if device::has_timestamps(context) { "the device's timestamps" } else { "the wall clock, submission included" };
        println!("Times are by {clock}; the difference is the largest from the CPU reference on the same inputs.");
        println!("{}", agreement(&outputs, &expected));
    }
    let error = mean_squared_error(&photo.image, &restored);
    let decibels = psnr(error).map_or("exact".to_owned(), |decibels| format!("PSNR {decibels:.1} dB"));
    println!("After undoing the compression, a colour is off by {:.1} of 255 levels (root mean square; {decibels}).", error.sqrt());
    println!("Wrote {}.", options.output.display());
    match lines.iter().map(|l| l.failures).sum() {
        0 => Ok(()),
        wrong => Err(Failure::Run(format!("{wrong} elements differ from the CPU reference by more than rounding explains"))),
    }
}

/// What can be said of the options before the photo is known.
fn check(options: &Options, chain: &Chain) -> Result<(), String> {
    if let Some(keep) = options.keep.filter(|keep| !(*keep > 0.0 && *keep <= 1.0)) {
        return Err(format!("--keep must be above 0 and at most 1, not {keep}"));
    }
    let numbers = [
        ("--patch", options.patch, 4096),
        ("--layers", options.layers, 1000),
        ("--size", options.size, 16384),
        ("--width", options.width.unwrap_or(1), 4096),
    ];
    for (name, value, most) in numbers {
        if value == 0 || value > most {
            return Err(format!("{name} must be from 1 to {most}, not {value}"));
        }
    }
    let output = options.output.display();
    if !matches!(ImageFormat::from_path(&options.output), Ok(ImageFormat::Png | ImageFormat::Jpeg)) {
        return Err(format!("cannot write {output}: its name must end in .png or .jpg"));
    }
    if options.output.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return Err(format!("cannot write {output}: there is no such folder"));
    }
    if options.width.is_some() && !chain.iter().any(|(method, _)| method.compares) {
        return Err(format!("--width means nothing to {}, which compares no patches", options.method));
    }
    if let Some((method, _)) = chain.iter().find(|(method, share)| !method.shares && share.is_some()) {
        return Err(format!("{} takes no share: the photo's content decides how much is left", method.name));
    }
    if (options.keep.is_some() || options.merge.is_some()) && chain.iter().all(|(method, share)| !method.shares || share.is_some()) {
        return Err(format!("{} says itself what it keeps: --keep and --merge have nothing to say", options.method));
    }
    output::writable([options.output.as_path()])
}

/// How the whole run compares with the reference's: rounding can tip a choice between two that are equally good.
fn agreement(outputs: &HostTensors, expected: &HostTensors) -> String {
    let (parents, expected_parents) = (outputs["parent"].integers(), expected["parent"].integers());
    if parents != expected_parents {
        let (companions, expected) = (companions(parents), companions(expected_parents));
        let other = companions.iter().zip(&expected).filter(|(a, b)| a != b).count();
        let cause = "rounding tipped a choice between nearly equal ones, and later layers build on it";
        return format!(
            "In the whole run {other} of {} patches share their token with others than in the reference's: {cause}.",
            parents.len()
        );
    }
    let tokens = outputs["tokens"].floats().into_iter().zip(expected["tokens"].floats());
    match tokens.map(|(a, b)| (f64::from(a) - f64::from(b)).abs()).fold(0.0, f64::max) {
        0.0 => "The whole run gives what the reference gives, bit for bit.".to_owned(),
        largest => format!("The whole run decides as the reference does everywhere; a number of a token differs by {largest:.1e} at most."),
    }
}

/// For each patch, the patches that have the same token.
fn companions(parents: &[u32]) -> Vec<Vec<usize>> {
    let mut members: HashMap<u32, Vec<usize>> = HashMap::new();
    for (patch, parent) in parents.iter().enumerate() {
        members.entry(*parent).or_default().push(patch);
    }
    parents.iter().map(|parent| members[parent].clone()).collect()
}
