//! What every kernel reaches of what the device can do.
//!
//! ```text
//! cargo run --release --example bench
//! cargo run --release --example bench -- --filter top_k --json results.json --plot results.svg
//! cargo run --release --example bench -- --scaling
//! ```
//!
//! Yardsticks are measured in the same process: copies through the same API, multiply-adds, and what one more dispatch costs. A kernel's
//! bytes and operations are those that its definition needs, never what it happens to move. Buffers are taken in turns, so that
//! no run finds its data in a cache that a whole model would have emptied; inputs are seeded random numbers.

#[path = "../../benches/harness/mod.rs"]
mod harness;
#[path = "../shared/stamp.rs"]
mod stamp;
#[path = "../shared/output.rs"]
#[macro_use]
mod output;
mod plot;
mod report;
mod row;
mod run;
mod scaling;
mod yardsticks;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use harness::cases::{Cases, families};
use harness::open::open;
use harness::timer::Timer;
use indicatif::{ProgressBar, ProgressStyle};
use report::Report;
use row::Row;
use run::Effort;
use tokenpress::{Elem, Policy, Tuning, wgpu};
use yardsticks::Yardsticks;

/// What every kernel reaches of what the device can do.
#[derive(Parser)]
struct Options {
    /// Only cases whose kernel or description contains this
    #[arg(long)]
    filter: Option<String>,
    /// A part of the adapter's name, driver or backend; the best adapter without it
    #[arg(long)]
    adapter: Option<String>,
    /// Fewer samples
    #[arg(long)]
    quick: bool,
    /// Only say which cases there are
    #[arg(long)]
    list: bool,
    /// How the time of each kernel grows with its size, in place of the table
    #[arg(long)]
    scaling: bool,
    /// Only find which form of each shader is faster here, and write that to this file
    #[arg(long, value_name = "FILE")]
    tune: Option<PathBuf>,
    /// Run the forms that `--tune` found and wrote to this file
    #[arg(long, value_name = "FILE")]
    tuning: Option<PathBuf>,
    /// Write everything to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw roofline and parts of a copy to this file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

fn main() -> ExitCode {
    match bench(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn bench(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    output::writable([&options.tune, &options.json, &options.plot].into_iter().flatten().map(PathBuf::as_path))?;
    let adapter = harness::adapter(options.adapter.as_deref())?;
    let mut context = pollster::block_on(open(&adapter))?;
    if let Some(path) = &options.tuning {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let tuning = Tuning::from_json(&text, &context.info)?;
        context.gpu = context.gpu.with_policy(Policy::AUTO.with_tuning(tuning));
    }
    let software = context.info.device_type == wgpu::DeviceType::Cpu;
    let elem = if context.gpu.capabilities().f16 && !software { Elem::F16 } else { Elem::F32 };
    let effort = Effort::new(software, options.quick);
    let wanted = |kernel: &str, name: &str| options.filter.as_ref().is_none_or(|f| format!("{kernel} {name}").contains(f.as_str()));
    let mut cases = Cases::all(software, elem);
    cases.retain(|case| wanted(case.kernel, &case.name));
    let some = if options.scaling && !options.list { families().iter().any(|f| wanted(f.kernel, f.over)) } else { !cases.is_empty() };
    if !some && options.tune.is_none() {
        return Err(
            "there is no such case: --filter is a part of a kernel's name or of a description, and --list says which there are".into()
        );
    }
    if options.list {
        cases.iter().for_each(|case| println!("{:20} {}", case.kernel, case.name));
        return Ok(());
    }
    let kind = if software { ", a software adapter: its times say nothing about a GPU" } else { "" };
    println!("{}", stamp::Stamp::now());
    println!("{}{kind}", context.describe());
    if let Some(load) = report::load().filter(|load| *load >= 1.0) {
        println!("Other programs ran in the last minute (load {load:.1}): times may be longer than on an idle machine.");
    }
    if let Some(path) = &options.tune {
        let start = std::time::Instant::now();
        let tuning = pollster::block_on(tokenpress::tune(&context.gpu, &context.queue, || start.elapsed()))?;
        let text = tuning.to_json(&context.info);
        print!("{text}");
        return Ok(write(path, text)?);
    }
    let timer = Timer::new(context);
    let yardsticks = pollster::block_on(Yardsticks::measure(&timer, &effort))?;
    println!("{yardsticks}\n");
    if options.scaling {
        let growth = scaling::run(&timer, &yardsticks, &effort, wanted)?;
        return save(options, &Report::new(&timer, yardsticks, Vec::new(), growth));
    }
    let bar = progress(cases.len());
    let mut rows: Vec<Row> = Vec::new();
    for case in &cases {
        bar.set_message(format!("{} {}", case.kernel, case.name));
        match pollster::block_on(run::case(&timer, &yardsticks, &effort, case)) {
            Ok(row) => rows.push(row),
            // What does not fit this device.
            Err(error) => bar.suspend(|| println!("{}, {}: left out: {error}", case.kernel, case.name)),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let report = Report::new(&timer, yardsticks, rows, Vec::new());
    println!("{}", report.table());
    save(options, &report)?;
    if let Some(path) = &options.plot {
        write(path, plot::svg(&report))?;
    }
    let wrong = report.rows.iter().filter(|row| row.wrong()).count();
    if wrong > 0 { Err(format!("{wrong} cases gave wrong or varying results").into()) } else { Ok(()) }
}

fn save(options: &Options, report: &Report) -> Result<(), Box<dyn std::error::Error>> {
    match &options.json {
        Some(path) => Ok(write(path, serde_json::to_string_pretty(report)? + "\n")?),
        None => Ok(()),
    }
}

fn write(path: &Path, text: String) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn progress(length: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length as u64).with_style(style)
}
