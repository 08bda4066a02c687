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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use support::Case;
use support::adapters::{self, Adapter, MODES, Mode};
use support::goldens::{self, Side};
use tokenpress::compare::{Comparison, Worst};
use tokenpress::verify::{Reference, StepReport};
use tokenpress::wgpu;

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
    adapters: Vec<AdapterReport>,
    rows: Vec<Row>,
    failures: Vec<Problem>,
    skips: Vec<Problem>,
    passed: usize,
    failed: usize,
    skipped: usize,
}

#[derive(Serialize)]
struct AdapterReport {
    name: String,
    description: String,
    f16: bool,
    subgroups: Option<[u32; 2]>,
}

/// One line of the table: a kernel in one variant on one adapter, over all cases.
#[derive(Serialize)]
struct Row {
    kernel: String,
    variant: String,
    adapter: String,
    cases: usize,
    failed: usize,
    worst: Option<Measure>,
}

/// The element nearest to its bound, or furthest past it.
#[derive(Serialize, Clone, Copy)]
struct Measure {
    error: f64,
    bound: f64,
    expected: f64,
    actual: f64,
}

impl From<Worst> for Measure {
    fn from(worst: Worst) -> Self {
        Self { error: worst.error(), bound: worst.bound, expected: worst.expected, actual: worst.actual }
    }
}

impl Measure {
    fn ratio(&self) -> f64 {
        if self.error == 0.0 { 0.0 } else { self.error / self.bound }
    }
}

/// A failure or a skip, and why.
#[derive(Serialize)]
struct Problem {
    case: String,
    adapter: String,
    reason: String,
}

impl Report {
    fn new() -> Self {
        let (adapters, rows, failures, skips) = Default::default();
        Self { stamp: stamp::Stamp::now(), adapters, rows, failures, skips, passed: 0, failed: 0, skipped: 0 }
    }

    fn fail(&mut self, case: String, adapter: &str, reason: String) {
        self.failed += 1;
        self.failures.push(Problem { case, adapter: adapter.to_owned(), reason });
    }

    fn skip(&mut self, case: String, adapter: &str, reason: &str) {
        self.skipped += 1;
        self.skips.push(Problem { case, adapter: adapter.to_owned(), reason: reason.to_owned() });
    }

    /// Adds a comparison to the line of its kernel, variant and adapter.
    fn note(&mut self, key: [&str; 3], comparisons: &[&Comparison], passed: bool) {
        let [kernel, variant, adapter] = key;
        let row = match self
            .rows
            .iter_mut()
            .find(|r| (r.kernel.as_str(), r.variant.as_str(), r.adapter.as_str()) == (kernel, variant, adapter))
        {
            Some(row) => row,
            None => {
                let [kernel, variant, adapter] = key.map(str::to_owned);
                self.rows.push(Row { kernel, variant, adapter, cases: 0, failed: 0, worst: None });
                self.rows.last_mut().expect("a row was pushed")
            }
        };
        row.cases += 1;
        row.failed += usize::from(!passed);
        let worst = comparisons.iter().filter_map(|c| c.worst).map(Measure::from);
        row.worst = worst.chain(row.worst).max_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    }

    fn table(&self) {
        let header = ["kernel", "variant", "adapter", "cases", "worst error", "its bound", "ratio"].map(str::to_owned);
        let mut rows: Vec<_> = self.rows.iter().collect();
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

/// Why a case cannot run in a mode on an adapter.
fn lacking(case: &Case, mode: &Mode, adapter: &Adapter) -> Option<String> {
    // Without the feature a call is converted, as one of bf16 is everywhere.
    let f16 = (case.needs_f16() && !adapter.f16() && !mode.stands_for_all()).then_some("SHADER_F16");
    // Modes that stand for all run everywhere, in the forms that there are.
    let everywhere = mode.stands_for_all() && (case.elem().size() == 2 || mode.placement.apart);
    f16.or(adapter.lacks(mode, case.subject).filter(|_| !everywhere)).map(|feature| format!("no {feature}"))
}

/// What a step really ran: a kernel without reductions has no subgroup form, a dispatch on one buffer no read-only one.
fn variant(case: &Case, step: &StepReport) -> String {
    if step.variants.is_empty() {
        return "no dispatch".to_owned();
    }
    let elem = case.elem();
    let runs = |form: &str| step.variants.iter().any(|v| v.contains(form));
    let form = if runs(".cooperative") {
        "matrices"
    } else if runs(".subgroup") {
        "subgroup"
    } else if runs(".staged") {
        "staged"
    } else {
        "portable"
    };
    let access = if step.variants.iter().all(|v| v.contains(".read_write")) { "read_write" } else { "read" };
    format!("{elem} {form} {access}")
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

fn run_cases(options: &Options, adapters: &[Arc<Adapter>], report: &mut Report) -> Result<(), String> {
    let asked = |case: &&Case| {
        let text = format!("{} {}", case.subject, case.name);
        let wanted = |part: &Option<String>| part.as_ref().is_none_or(|p| text.contains(p.as_str()));
        !(options.quick && case.heavy) && wanted(&options.filter) && options.step.as_ref().is_none_or(|s| case.subject.contains(s.as_str()))
    };
    let cases = support::cases::with_bf16();
    let cases: Vec<_> = cases.iter().filter(asked).collect();
    if cases.is_empty() {
        return Err("there is no such case: --filter and --step are parts of a kernel's or method's name, --filter also of a description"
            .to_owned());
    }
    let bar = progress(cases.len() * adapters.len());
    let start = Instant::now();
    let mut subject = "";
    for (i, case) in cases.into_iter().enumerate() {
        // Where no bar is drawn, a log says how far it is.
        if bar.is_hidden() && subject != case.subject {
            eprintln!("{:>6.0} s {}", start.elapsed().as_secs_f64(), case.subject);
        }
        subject = case.subject;
        let label = format!("{} {}", case.subject, case.name);
        bar.set_message(label.clone());
        if adapters.is_empty() {
            report.skip(label.clone(), "none", "no adapter");
        }
        let reference = match Reference::new(&case.graph, &case.inputs) {
            Ok(reference) => reference,
            Err(error) => {
                report.fail(label, "reference", error.to_string());
                continue;
            }
        };
        for adapter in adapters {
            for mode in MODES.iter().filter(|m| case.runs_in(m)) {
                if let Some(reason) = lacking(case, mode, adapter) {
                    report.skip(format!("{label} {}", mode.name), &adapter.name, &reason);
                    continue;
                }
                let gpu = adapter.context.gpu.with_policy(mode.policy);
                let reports = match pollster::block_on(reference.steps(&adapter.context, &gpu, mode.placement_of(i))) {
                    Ok(reports) => reports,
                    Err(error) => {
                        report.fail(format!("{label} {}", mode.name), &adapter.name, error.to_string());
                        continue;
                    }
                };
                for step in &reports {
                    let variant = variant(case, step);
                    let comparisons: Vec<_> = step.outputs.iter().map(|(_, c)| c).collect();
                    report.note([step.kernel, &variant, &adapter.name], &comparisons, step.passed());
                    if options.step.is_some() {
                        bar.suspend(|| show(case, mode, adapter, step));
                    }
                }
                match reports.iter().find(|r| !r.passed()) {
                    None => report.passed += 1,
                    Some(step) => report.fail(format!("{label} {}", mode.name), &adapter.name, format!("step {step:?}")),
                }
            }
            bar.inc(1);
        }
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
            report.skip(case.name.clone(), "all", &format!("no method for {kind}"));
            continue;
        }
        let sides =
            std::iter::once(("reference", Side::Reference)).chain(adapters.iter().map(|a| (a.name.as_str(), Side::Gpu(&a.context))));
        for (name, side) in sides {
            match case.run(side) {
                Ok(outputs) => {
                    let passed = outputs.values().all(Comparison::passed);
                    report.note([&kind, "golden", name], &outputs.values().collect::<Vec<_>>(), passed);
                    if passed {
                        report.passed += 1;
                    } else {
                        let wrong: Vec<_> = outputs.iter().filter(|(_, c)| !c.passed()).map(|(name, c)| format!("{name}: {c:?}")).collect();
                        report.fail(case.name.clone(), name, wrong.join(", "));
                    }
                }
                Err(error) => report.fail(case.name.clone(), name, error.to_string()),
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
    match run(&Options::parse()) {
        Ok(report) if report.failed > 0 => ExitCode::FAILURE,
        Ok(report) if report.passed > 0 => ExitCode::SUCCESS,
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
    let mut report = Report::new();
    println!("{}", report.stamp);
    for adapter in &adapters {
        let capabilities = adapter.context.gpu.capabilities();
        let subgroups = adapter.subgroups().then_some([capabilities.subgroup_min, capabilities.subgroup_max]);
        println!("{}: {}", adapter.name, adapter.context.describe());
        let (name, description) = (adapter.name.clone(), adapter.context.describe());
        report.adapters.push(AdapterReport { name, description, f16: adapter.f16(), subgroups });
    }
    if adapters.is_empty() {
        println!("No adapter: only the reference runs. On Debian, `apt install mesa-vulkan-drivers` brings a software one.");
    }
    match &options.goldens {
        None => run_cases(options, &adapters, &mut report)?,
        Some(folder) => run_goldens(folder, options, &adapters, &mut report).map_err(|error| error.to_string())?,
    }
    report.table();
    for Problem { case, adapter, reason } in &report.failures {
        println!("FAILED {case} on {adapter}: {reason}");
    }
    let mut reasons: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for skip in report.skips.iter().filter(|s| s.adapter != "all") {
        *reasons.entry((&skip.adapter, &skip.reason)).or_default() += 1;
    }
    for ((adapter, reason), count) in reasons {
        println!("skipped on {adapter}: {count} ({reason})");
    }
    if let Some(path) = &options.json {
        let written = serde_json::to_string_pretty(&report).map_err(std::io::Error::from).and_then(|text| std::fs::write(path, text));
        written.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    println!("{} passed, {} failed, {} skipped", report.passed, report.failed, report.skipped);
    Ok(report)
}
