//! A burn model on a device of burn's own, with ToMe by tokenpress between its two layers: no second device, and no copy.
//!
//! ```text
//! cargo run --release --manifest-path examples/burn-interop/Cargo.toml
//! ```

mod merge;
mod model;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use burn::backend::Cube;
use burn::tensor::{Device, Distribution, Tensor};
use burn_cubecl::CubeBackend;
use clap::Parser;
use merge::Merger;
use model::{Layer, tome};
use serde::Serialize;

/// Runs two layers of a vision transformer in burn, with ToMe between them by tokenpress and in burn's own operations.
#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// The class token is one of them
    #[arg(long, default_value_t = 197)]
    tokens: usize,
    #[arg(long, default_value_t = 384)]
    channels: usize,
    #[arg(long, default_value_t = 6)]
    heads: usize,
    /// Tokens that go into others, at most half of them
    #[arg(long, default_value_t = 96)]
    merge: usize,
    /// Runs of each that are timed
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// Where the figures go, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How far two results are apart, and how large their numbers are.
#[derive(Serialize)]
struct Difference {
    of: &'static str,
    largest: f32,
    largest_number: f32,
}

#[derive(Serialize)]
struct Place {
    tensor: String,
    offset: u64,
    bytes: u64,
    buffer_bytes: u64,
    /// Whether burn says that its tensor lies in this very buffer at this offset.
    in_place: bool,
}

#[derive(Serialize)]
struct Time {
    of: &'static str,
    milliseconds: f64,
}

#[derive(Serialize)]
struct Report {
    adapter: String,
    shape: [usize; 3],
    merge: usize,
    dispatches: usize,
    places: Vec<Place>,
    differences: Vec<Difference>,
    times: Vec<Time>,
}

/// The layers around ToMe.
struct Model {
    first: Layer,
    second: Layer,
    x: Tensor<3>,
    sizes: Tensor<2>,
}

type Merge<'a> = &'a dyn Fn(Tensor<3>, Tensor<2>, Tensor<3>) -> (Tensor<3>, Tensor<2>);

impl Model {
    fn run(&self, merge: Merge) -> Tensor<3> {
        let (x, metric) = self.first.attend(self.x.clone(), self.sizes.clone());
        let (x, sizes) = merge(x, self.sizes.clone(), metric);
        let x = self.first.feed_forward(x);
        let (x, _) = self.second.attend(x, sizes);
        self.second.feed_forward(x)
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let Options { batch, tokens, channels, heads, merge, .. } = *options;
    if heads == 0 || channels % heads != 0 {
        return Err(format!("{channels} channels cannot be divided among {heads} heads").into());
    }
    let merge = merge.min(tokens.saturating_sub(1) / 2);
    let (device, setup) = Device::wgpu_options().init_with_setup()?;
    device.seed(5);
    let model = Model {
        first: Layer::new(channels, heads, &device),
        second: Layer::new(channels, heads, &device),
        x: Tensor::random([batch, tokens, channels], Distribution::Normal(0.0, 1.0), &device),
        sizes: Tensor::random([batch, tokens], Distribution::Uniform(1.0, 4.0), &device).round(),
    };
    let shape = [batch, tokens, channels];
    let merger = Merger::new(&setup, shape.map(|size| size as u32), (channels / heads) as u32, merge as u32)?;
    let ours: Merge = &|x, sizes, metric| merger.merge(x, sizes, metric);
    let burns: Merge = &|x, sizes, metric| tome(x, sizes, metric, merge);
    let nothing: Merge = &|x, sizes, _| (x, sizes);

    let (x, metric) = model.first.attend(model.x.clone(), model.sizes.clone());
    let (merged, sizes) = ours(x.clone(), model.sizes.clone(), metric.clone());
    let (expected, expected_sizes) = burns(x.clone(), model.sizes.clone(), metric.clone());
    let places = places(&merger, [x.clone(), metric.clone(), merged.clone()], [model.sizes.clone(), sizes.clone()])?;
    let differences = vec![
        difference("merged tokens", &merged, &expected)?,
        difference("their sizes", &sizes.unsqueeze(), &expected_sizes.unsqueeze())?,
        difference("second layer", &model.run(ours), &model.run(burns))?,
    ];

    let step = |merge: Merge| drop(merge(x.clone(), model.sizes.clone(), metric.clone()));
    let times = vec![
        Time { of: "ToMe, tokenpress", milliseconds: median(&device, options.runs, &|| step(ours))? },
        Time { of: "ToMe, burn", milliseconds: median(&device, options.runs, &|| step(burns))? },
        Time { of: "both layers, without ToMe", milliseconds: median(&device, options.runs, &|| drop(model.run(nothing)))? },
        Time { of: "both layers, ToMe by tokenpress", milliseconds: median(&device, options.runs, &|| drop(model.run(ours)))? },
        Time { of: "both layers, ToMe by burn", milliseconds: median(&device, options.runs, &|| drop(model.run(burns)))? },
    ];
    let info = setup.adapter.get_info();
    let adapter = format!("{} ({:?})", info.name, info.backend);
    let report = Report { adapter, shape, merge, dispatches: merger.dispatches(), places, differences, times };
    print(&report);
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(())
}

/// Where the graph's inputs and outputs lay, against where burn has its tensors.
fn places(merger: &Merger, [x, metric, merged]: [Tensor<3>; 3], [sizes, merged_sizes]: [Tensor<2>; 2]) -> Result<Vec<Place>, Failure> {
    let mut own = Vec::new();
    for tensor in [x, sizes.unsqueeze(), metric, merged, merged_sizes.unsqueeze()] {
        let tensor = tensor.try_into_primitive::<Cube>().map_err(|error| format!("{error:?}"))?;
        own.push(tensor.client.clone().resolve_tensor_float::<CubeBackend>(tensor));
    }
    let place = |((tensor, bound), own): ((String, tokenpress::TensorView), _)| {
        let own = merge::view(&own, bound.desc())?;
        let in_place = own.buffer() == bound.buffer() && own.offset() == bound.offset();
        Ok(Place { tensor, offset: bound.offset(), bytes: bound.desc().bytes(), buffer_bytes: bound.buffer().size(), in_place })
    };
    merger.bound().into_iter().zip(own).map(place).collect()
}

fn difference(of: &'static str, a: &Tensor<3>, b: &Tensor<3>) -> Result<Difference, Failure> {
    let numbers = |x: &Tensor<3>| x.clone().into_data().try_to_vec::<f32>().map_err(|error| format!("{error:?}"));
    let (a, b) = (numbers(a)?, numbers(b)?);
    let largest = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    Ok(Difference { of, largest, largest_number: b.iter().map(|b| b.abs()).fold(0.0, f32::max) })
}

/// Median milliseconds of so many runs from an idle device to an idle device, after two that are not counted.
fn median(device: &Device, runs: usize, work: &dyn Fn()) -> Result<f64, Failure> {
    let mut times = Vec::new();
    for _ in 0..runs.max(1) + 2 {
        device.sync()?;
        let start = Instant::now();
        work();
        device.sync()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.drain(..2);
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn print(report: &Report) {
    let Report { adapter, shape: [batch, tokens, channels], merge, dispatches, .. } = report;
    println!("device   burn's own: {adapter}");
    println!(
        "model    two layers in burn, {batch} x {tokens} tokens of {channels} channels, of which {merge} merge ({dispatches} dispatches)\n"
    );
    println!("{:<16}{:>10}{:>12}{:>16}   bound where burn has it", "tensor", "bytes", "offset", "buffer's bytes");
    for Place { tensor, offset, bytes, buffer_bytes, in_place } in &report.places {
        println!("{tensor:<16}{bytes:>10}{offset:>12}{buffer_bytes:>16}   {}", if *in_place { "yes" } else { "no" });
    }
    println!("\n{:<16}{:>22}{:>22}", "numbers", "largest difference", "largest number");
    for Difference { of, largest, largest_number } in &report.differences {
        println!("{of:<16}{largest:>22.2e}{largest_number:>22.2}");
    }
    println!("\n{:<36}{:>12}", "median time", "ms");
    for Time { of, milliseconds } in &report.times {
        println!("{of:<36}{milliseconds:>12.2}");
    }
}
