//! Runs every kernel, shader variant and method against the CPU reference, on every adapter found.
//!
//! ```text
//! cargo run --release --example verify
//! cargo run --release --example verify -- --goldens tests/goldens
//! cargo run --release --example verify -- --step tome --adapter lavapipe
//! ```
#![allow(missing_docs, reason = "an example")]

#[path = "shared/stamp.rs"]
mod stamp;
#[path = "shared/output.rs"]
#[macro_use]
mod output;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "shared/verification.rs"]
mod verification;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use support::Case;
use support::adapters::{self, Adapter, Mode};
use support::goldens::{self, Side};
use tokenpress::compare::Comparison;
use tokenpress::verify::StepReport;
use tokenpress::wgpu;
use verification::{AdapterReport, Extent, Measure, Outcome, Problem, Row};

/// Runs every kernel, shader variant and method against the CPU reference, on every adapter found.
///
/// Each kernel call runs by itself, fed with the reference's inputs, twice, in poisoned memory with canaries around every tensor. Exit code
/// 1 on any failure, and 2 where nothing was compared: a filter that nothing contains, an adapter that is not there.
#[derive(Parser)]
struct Options {
    /// Only adapters whose name contains this.
    #[arg(long)]
    adapter: Option<String>,
    /// Only adapters of this backend.
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// Only cases whose kernel or description contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Leave out the cases that take long on a CPU.
    #[arg(long)]
    quick: bool,
    /// Only the first quick case of each kernel or method and element type.
    #[arg(long)]
    brief: bool,
    /// Only say how many cases there are, and how often they run on an adapter that lacks nothing.
    #[arg(long)]
    count: bool,
    /// Run the golden cases (.safetensors) of this folder instead, on the reference too.
    #[arg(long, value_name = "DIR")]
    goldens: Option<PathBuf>,
    /// Show every step of the cases of this kernel or method.
    #[arg(long, value_name = "METHOD")]
    step: Option<String>,
    /// Write everything to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Backend {
    Vulkan,
    Metal,
    Dx12,
    Gl,
}

impl Backend {
    fn wgpu(self) -> wgpu::Backend {
        match self {
            Self::Vulkan => wgpu::Backend::Vulkan,
            Self::Metal => wgpu::Backend::Metal,
            Self::Dx12 => wgpu::Backend::Dx12,
            Self::Gl => wgpu::Backend::Gl,
        }
    }
}

/// All that is shown, as `--json` has it.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    stamp: stamp::Stamp,
    #[serde(flatten)]
    outcome: Outcome,
}

impl Report {
    fn table(&self) {
        let header = ["kernel", "variant", "adapter", "cases", "worst error", "its bound", "ratio"].map(str::to_owned);
        let mut rows: Vec<_> = self.outcome.rows.iter().collect();
        rows.sort_by_key(|r| (&r.kernel, &r.variant, &r.adapter));
        let cells = |row: &Row| {
            let number = |f: fn(&Measure) -> f64| row.worst.as_ref().map_or("exact".to_owned(), |w| format!("{:.2e}", f(w)));
            let exact = row.worst.as_ref().is_none_or(|w| w.error == 0.0);
            let ratio = if exact { "0".to_owned() } else { row.worst.as_ref().map_or(String::new(), |w| format!("{:.2}", w.ratio())) };
            let failed = if row.failed > 0 { format!(" ({} FAILED)", row.failed) } else { String::new() };
            let [kernel, variant, adapter] = [&row.kernel, &row.variant, &row.adapter].map(Clone::clone);
            [kernel, variant, adapter, format!("{}{failed}", row.cases), number(|w| w.error), number(|w| w.bound), ratio]
        };
        let lines: Vec<[String; 7]> = std::iter::once(header).chain(rows.into_iter().map(cells)).collect();
        let width = |column: usize| lines.iter().map(|l| l[column].len()).max().unwrap_or(0);
        let widths: Vec<_> = (0..7).map(width).collect();
        for line in &lines {
            let padded: Vec<_> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            println!("{}", padded.join("  ").trim_end());
        }
    }
}

/// The adapters that the options ask for, which are some where they ask.
fn chosen(options: &Options) -> Result<Vec<Arc<Adapter>>, String> {
    let mut all = adapters::all();
    let there_are: Vec<_> = all.iter().map(|a| format!("{} ({:?})", a.name, a.context.info.backend)).collect();
    all.retain(|a| {
        let named = |name: &String| [&a.name, &a.context.info.name].iter().any(|n| n.to_lowercase().contains(&name.to_lowercase()));
        options.adapter.as_ref().is_none_or(named) && options.backend.is_none_or(|b| a.context.info.backend == b.wgpu())
    });
    let asked = match (&options.adapter, options.backend) {
        (Some(name), Some(backend)) => format!("{name:?} of {:?}", backend.wgpu()),
        (Some(name), None) => format!("{name:?}"),
        (None, Some(backend)) => format!("of {:?}", backend.wgpu()),
        (None, None) => return Ok(all),
    };
    match (all.is_empty(), there_are.is_empty()) {
        (false, _) => Ok(all),
        (true, false) => Err(format!("there is no adapter {asked}, only {}", there_are.join(", "))),
        (true, true) => Err(format!("there is no adapter {asked}, nor any other")),
    }
}

fn progress(length: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length as u64).with_style(style)
}

fn show(case: &Case, mode: &Mode, adapter: &Adapter, report: &StepReport) {
    println!("{} {} | {} {} | step {}: {}", case.subject, case.name, adapter.name, mode.name, report.call, report.kernel);
    for (name, comparison) in &report.outputs {
        let verdict = if comparison.passed() { "ok" } else { "FAILED" };
        match comparison.worst.map(Measure::from) {
            Some(worst) => println!(
                "    {name}: {} elements, error {:.3e} of {:.3e} allowed ({:.2}) {verdict}",
                comparison.elements,
                worst.error,
                worst.bound,
                worst.ratio()
            ),
            None => println!("    {name}: {} elements, equal {verdict}", comparison.elements),
        }
    }
    if !report.guards.passed() {
        println!("    {:?} FAILED", report.guards);
    }
}

fn asked(options: &Options) -> Vec<Case> {
    let extent = match (options.brief, options.quick) {
        (true, _) => Extent::Brief,
        (false, true) => Extent::Quick,
        (false, false) => Extent::All,
    };
    verification::cases(extent, |subject, name| {
        let text = format!("{subject} {name}");
        let wanted = |part: &Option<String>| part.as_ref().is_none_or(|p| text.contains(p.as_str()));
        wanted(&options.filter) && options.step.as_ref().is_none_or(|s| subject.contains(s.as_str()))
    })
}

fn run_cases(options: &Options, adapters: &[Arc<Adapter>], report: &mut Report) -> Result<(), String> {
    let cases = asked(options);
    if cases.is_empty() {
        return Err("there is no such case: --filter and --step are parts of a kernel's or method's name, --filter also of a description"
            .to_owned());
    }
    let bar = progress(cases.len() * adapters.len());
    let start = Instant::now();
    let mut subject = "";
    for (i, case) in cases.iter().enumerate() {
        // Where no bar is drawn, a log says how far it is.
        if bar.is_hidden() && subject != case.subject {
            eprintln!("{:>6.0} s {}", start.elapsed().as_secs_f64(), case.subject);
        }
        subject = case.subject;
        bar.set_message(format!("{} {}", case.subject, case.name));
        let shown = |mode: &Mode, adapter: &Adapter, step: &StepReport| {
            if options.step.is_some() {
                bar.suspend(|| show(case, mode, adapter, step));
            }
        };
        pollster::block_on(report.outcome.run(i, case, adapters, shown));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

fn run_goldens(folder: &Path, options: &Options, adapters: &[Arc<Adapter>], report: &mut Report) -> Result<(), goldens::Failure> {
    let mut cases = goldens::folder(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    cases.retain(|c| options.filter.as_ref().is_none_or(|f| format!("{} {} {}", c.name, c.system, c.case).contains(f.as_str())));
    if cases.is_empty() {
        return Err(format!("{}: no golden case to run", folder.display()).into());
    }
    let bar = progress(cases.len());
    let mut unknown: BTreeMap<String, usize> = BTreeMap::new();
    for case in &cases {
        bar.set_message(case.name.clone());
        bar.inc(1);
        let kind = format!("{} {}", case.system, case.case);
        if !case.is_known() {
            *unknown.entry(kind.clone()).or_default() += 1;
            report.outcome.skip(case.name.clone(), "all", &format!("no method for {kind}"));
            continue;
        }
        let sides =
            std::iter::once(("reference", Side::Reference)).chain(adapters.iter().map(|a| (a.name.as_str(), Side::Gpu(&a.context))));
        for (name, side) in sides {
            match case.run(side) {
                Ok(outputs) => {
                    let passed = outputs.values().all(Comparison::passed);
                    report.outcome.note([&kind, "golden", name], &outputs.values().collect::<Vec<_>>(), passed);
                    if passed {
                        report.outcome.passed += 1;
                    } else {
                        let wrong: Vec<_> = outputs.iter().filter(|(_, c)| !c.passed()).map(|(name, c)| format!("{name}: {c:?}")).collect();
                        report.outcome.fail(case.name.clone(), name, wrong.join(", "));
                    }
                }
                Err(error) => report.outcome.fail(case.name.clone(), name, error.to_string()),
            }
        }
    }
    bar.finish_and_clear();
    for (kind, count) in unknown {
        println!("skipped: {kind} ({count} cases): its method is not here yet");
    }
    Ok(())
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.count {
        let cases = asked(&options);
        println!("{} cases, {} runs", cases.len(), verification::runs(&cases));
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(report) if report.outcome.failed > 0 => ExitCode::FAILURE,
        Ok(report) if report.outcome.passed > 0 => ExitCode::SUCCESS,
        Ok(_) => refuse("nothing was compared"),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &str) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(2)
}

fn run(options: &Options) -> Result<Report, String> {
    output::writable(options.json.as_deref())?;
    let adapters = chosen(options)?;
    let mut report = Report { stamp: stamp::Stamp::now(), outcome: Outcome::default() };
    println!("{}", report.stamp);
    for adapter in &adapters {
        println!("{}: {}", adapter.name, adapter.context.describe());
        report.outcome.adapters.push(AdapterReport::of(adapter));
    }
    if adapters.is_empty() {
        println!("No adapter: only the reference runs. On Debian, `apt install mesa-vulkan-drivers` brings a software one.");
    }
    match &options.goldens {
        None => run_cases(options, &adapters, &mut report)?,
        Some(folder) => run_goldens(folder, options, &adapters, &mut report).map_err(|error| error.to_string())?,
    }
    report.table();
    for Problem { case, adapter, reason } in &report.outcome.failures {
        println!("FAILED {case} on {adapter}: {reason}");
    }
    let mut reasons: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for skip in report.outcome.skips.iter().filter(|s| s.adapter != "all") {
        *reasons.entry((&skip.adapter, &skip.reason)).or_default() += 1;
    }
    for ((adapter, reason), count) in reasons {
        println!("skipped on {adapter}: {count} ({reason})");
    }
    if let Some(path) = &options.json {
        let written = serde_json::to_string_pretty(&report).map_err(std::io::Error::from).and_then(|text| std::fs::write(path, text));
        written.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    println!("{} passed, {} failed, {} skipped", report.outcome.passed, report.outcome.failed, report.outcome.skipped);
    Ok(report)
}
