//! What burn takes for the work of our kernels, on the same wgpu adapter.
//!
//! Each case runs in a process of its own, which ends when it takes too long: some of burn's kernels do not come back.

mod cases;
mod device;
mod kernels;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use burn::tensor::Device;
use cases::Report;
use clap::Parser;
use kernels::Run;
use serde::Serialize;

#[derive(Parser)]
struct Options {
    /// What `bench --json` wrote: its cases are measured on its adapter
    #[arg(long)]
    cases: PathBuf,
    /// Where the results go
    #[arg(long, default_value = "burn.json")]
    json: PathBuf,
    /// Only cases whose kernel or name contains this
    #[arg(long, default_value = "")]
    filter: String,
    /// Fewer samples, less patience
    #[arg(long)]
    quick: bool,
    /// Seconds that a case may take, its tuning included; 60 or 240 without it
    #[arg(long)]
    limit: Option<u64>,
    /// What `bench` was told as well: the cases' adapter counts
    #[arg(long)]
    adapter: Option<String>,
    #[arg(long, hide = true)]
    threads: Option<String>,
    /// Only this case, by its number, with its result to the standard output
    #[arg(long, hide = true)]
    only: Option<usize>,
    #[arg(long, hide = true, default_value = "")]
    way: String,
}

/// As all peers write it.
#[derive(Serialize)]
struct Measured {
    peer: String,
    kernel: String,
    case: String,
    median_us: Option<f64>,
    samples: usize,
    note: String,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let options = Options::parse();
    let done = Report::read(&options.cases).and_then(|report| match options.only {
        Some(index) => alone(&options, &report, index),
        None => all(&options, &report),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn all(options: &Options, report: &Report) -> Result<(), Failure> {
    let mut results = Vec::new();
    for (index, case) in report.rows.iter().enumerate() {
        if !format!("{} {}", case.kernel, case.name).contains(&options.filter) {
            continue;
        }
        for way in kernels::ways(&case.kernel) {
            eprintln!("burn: {} {} {way}", case.kernel, case.name);
            let (median_us, samples, note) = match in_time(options, index, way) {
                Ok((median, samples)) => (Some(median), samples, "WGSL, fusion, autotune, wall clock".to_owned()),
                Err(error) => (None, 0, error.to_string()),
            };
            let note = if way.is_empty() { note } else { format!("{way}; {note}") };
            let (peer, kernel, case) = ("burn 0.22 wgpu".to_owned(), case.kernel.clone(), case.name.clone());
            results.push(Measured { peer, kernel, case, median_us, samples, note });
            std::fs::write(&options.json, serde_json::to_string_pretty(&results)? + "\n")?;
        }
    }
    Ok(())
}

/// The median in microseconds and the samples, out of a process that is killed at the limit.
fn in_time(options: &Options, index: usize, way: &str) -> Result<(f64, usize), Failure> {
    let limit = options.limit.unwrap_or(if options.quick { 60 } else { 240 });
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--cases").arg(&options.cases).arg(format!("--only={index}")).arg(format!("--way={way}"));
    command.args(options.quick.then_some("--quick")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > Duration::from_secs(limit) {
            child.kill()?;
            child.wait()?;
            return Err(format!("no answer in {limit} s").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let result = text.lines().find_map(|line| line.strip_prefix("result ")).ok_or("crashed")?;
    match serde_json::from_str::<Result<(f64, usize), String>>(result)? {
        Ok(measured) => Ok(measured),
        Err(error) => Err(error.into()),
    }
}

fn alone(options: &Options, report: &Report, index: usize) -> Result<(), Failure> {
    let case = report.rows.get(index).ok_or("no such case")?;
    let device = device::named(&report.adapter, &report.backend)?;
    let work = || -> Result<(f64, usize), String> {
        let runs = kernels::runs(case, &options.way, &device).ok_or("not a shape of this kernel")?;
        measure(&device, &runs, options.quick).map_err(|error| error.to_string())
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        Err(text.and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_else(|| "panicked".to_owned()))
    });
    println!("result {}", serde_json::to_string(&result)?);
    // Threads that wait for the device keep nobody waiting.
    std::process::exit(0);
}

/// As in `examples/bench/run.rs`.
fn measure(device: &Device, turns: &[Run], quick: bool) -> Result<(f64, usize), Failure> {
    let (most, seconds) = if quick { (7, 0.3) } else { (30, 2.0) };
    let seconds_of = |runs: usize| -> Result<f64, Failure> {
        device.sync()?;
        let start = Instant::now();
        let mut outputs = Vec::new();
        for run in 0..runs {
            outputs.push(turns[run % turns.len()]());
            // What is dropped before it was sent off might never be computed.
            if outputs.len() == 16 {
                device.flush()?;
                outputs.clear();
            }
        }
        device.sync()?;
        Ok(start.elapsed().as_secs_f64())
    };
    seconds_of(turns.len())?;
    let first = seconds_of(turns.len())?.max(1e-9) / turns.len() as f64;
    let runs = (5e-3 / first).ceil().clamp(1.0, 4096.0) as usize;
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || (times.len() < most && start.elapsed().as_secs_f64() < seconds) {
        times.push(seconds_of(runs)? / runs as f64 * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[times.len() / 2], times.len()))
}
