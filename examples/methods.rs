//! One table over all methods: what each leaves of the same tokens, what it costs, and how far it is from the reference.
//!
//! ```text
//! cargo run --release --example methods
//! cargo run --release --example methods -- --tokens 576 --filter tome
//! ```
#![allow(missing_docs, reason = "an example")]

#[path = "shared/output.rs"]
#[macro_use]
mod output;
#[path = "../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use support::adapters::{self, Adapter};
use support::cases::methods::{self, Method};
use support::data;
use tokenpress::readback::HostTensors;
use tokenpress::verify::{Placement, Reference};
use tokenpress::{Capabilities, Elem, Error, Graph};

/// One table over all methods: what each leaves of the same tokens, what it costs, and how far it is from the reference.
///
/// Tokens are seeded random numbers. Dispatches and bytes are those of the method alone, bytes being each tensor of a step read or
/// written once. The worst error is that of the step nearest to its bound, as a part of that bound; "exact" where every step is bit-equal.
#[derive(Parser)]
struct Options {
    /// Tokens of each of the two batch rows
    #[arg(long, default_value_t = 196, value_parser = clap::value_parser!(u32).range(MOST_TOKENS))]
    tokens: u32,
    /// Only methods whose name or options contain this
    #[arg(long)]
    filter: Option<String>,
    /// Only the adapter whose name contains this
    #[arg(long)]
    adapter: Option<String>,
}

const BATCH: u32 = 2;
/// So many are tokens: the smallest grids, and what the reference compares in reasonable time.
const MOST_TOKENS: std::ops::RangeInclusive<i64> = 1..=16384;

/// The cells of one method's line.
fn line(method: &Method, options: &Options, adapter: Option<&Adapter>) -> Result<([String; 7], bool), Error> {
    let graph = methods::graph(method, BATCH, options.tokens, Elem::F32, false)?;
    let inputs = methods::inputs(1, BATCH, options.tokens, Elem::F32, data::normal);
    let capabilities = adapter.map_or_else(Capabilities::portable, |a| a.context.gpu.capabilities().clone());
    let cost = graph.cost(&capabilities)?;
    let (error, passed) = worst(&graph, &inputs, adapter)?;
    let cells = [
        method.subject.to_owned(),
        method.options.to_owned(),
        (BATCH * options.tokens).to_string(),
        left(&graph, &graph.run_reference(&inputs)?),
        cost.dispatches().to_string(),
        format!("{:.0} KiB", cost.bytes() as f64 / 1024.0),
        error,
    ];
    Ok((cells, passed))
}

/// Tokens that are left of the whole batch: as the method says, or the rows of what it gives first.
fn left(graph: &Graph, outputs: &HostTensors) -> String {
    let rows = |desc: tokenpress::Desc| desc.shape.dims().iter().take(2).product::<u32>().to_string();
    match (outputs.get("lengths'"), graph.outputs().next()) {
        (Some(lengths), _) => lengths.integers().iter().sum::<u32>().to_string(),
        (None, first) => first.map_or(String::new(), |(_, desc)| rows(desc)),
    }
}

/// The largest part of its bound that any step's error reaches, and whether every step is within.
fn worst(graph: &Graph, inputs: &HostTensors, adapter: Option<&Adapter>) -> Result<(String, bool), Error> {
    let Some(Adapter { context, .. }) = adapter else { return Ok(("-".to_owned(), true)) };
    let steps = pollster::block_on(Reference::new(graph, inputs)?.steps(context, &context.gpu, Placement::default()))?;
    let ratio = |error: f64, bound: f64| if error == 0.0 { 0.0 } else { error / bound };
    let comparisons = steps.iter().flat_map(|step| &step.outputs);
    let worst = comparisons.filter_map(|(_, c)| c.worst).map(|w| ratio(w.error(), w.bound)).fold(0.0, f64::max);
    let error = match steps.iter().find(|step| !step.passed()) {
        Some(step) => format!("FAILED at {}", step.kernel),
        None if worst == 0.0 => "exact".to_owned(),
        None => format!("{worst:.2} of its bound"),
    };
    Ok((error, steps.iter().all(|step| step.passed())))
}

fn print(lines: &[[String; 7]]) {
    let widths: [usize; 7] = std::array::from_fn(|c| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0));
    for line in lines {
        let cells = line.iter().zip(widths).enumerate();
        let padded: Vec<_> =
            cells.map(|(c, (cell, w))| if (2..6).contains(&c) { format!("{cell:>w$}") } else { format!("{cell:w$}") }).collect();
        println!("{}", padded.join("  ").trim_end());
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let name = options.adapter.as_ref().map(|name| name.to_lowercase());
    let fits =
        |a: &Arc<Adapter>| name.as_ref().is_none_or(|n| [&a.name, &a.context.info.name].iter().any(|x| x.to_lowercase().contains(n)));
    let wanted = |m: &&Method| options.filter.as_ref().is_none_or(|f| format!("{} {}", m.subject, m.options).contains(f.as_str()));
    let wanted: Vec<_> = methods::all().filter(wanted).collect();
    if wanted.is_empty() {
        eprintln!("error: there is no such method: --filter is a part of a method's name or options");
        return ExitCode::from(2);
    }
    let adapters = adapters::all();
    let there_are: Vec<_> = adapters.iter().map(|a| a.name.clone()).collect();
    let adapter = adapters.into_iter().find(fits);
    match &adapter {
        Some(adapter) => println!("{}: {}", adapter.name, adapter.context.describe()),
        None if name.is_some() => {
            let only = if there_are.is_empty() { "nor any other".to_owned() } else { format!("only {}", there_are.join(", ")) };
            eprintln!("error: there is no such adapter, {only}");
            return ExitCode::from(2);
        }
        None => println!("No adapter: only the reference runs. On Debian, `apt install mesa-vulkan-drivers` brings a software one."),
    }
    let (channels, heads, width) = (methods::CHANNELS, methods::HEADS, methods::HEAD_CHANNELS);
    println!("{BATCH} x {} tokens of {channels} channels; queries and keys of {heads} heads of {width}\n", options.tokens);
    let mut lines = vec![["method", "options", "tokens in", "out", "dispatches", "bytes", "worst error"].map(str::to_owned)];
    let mut failed = 0;
    for method in &wanted {
        match line(method, &options, adapter.as_deref()) {
            Ok((cells, passed)) => {
                lines.push(cells);
                failed += usize::from(!passed);
            }
            Err(error) => {
                failed += 1;
                println!("FAILED {} {}: {error}", method.subject, method.options);
            }
        }
    }
    print(&lines);
    println!("\n{} methods and options, {failed} failed", lines.len() - 1);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
