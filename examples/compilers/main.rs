//! What the shader compilers of GPUs make of every shader: registers, spills, occupancy, instructions. No GPU is needed.
//!
//! ```text
//! scripts/newer-mesa target/mesa
//! cargo run --release --example compilers
//! cargo run --release --example compilers -- --gpu RDNA3 --filter linear
//! cargo run --release --example compilers -- --against benches/results/compilers.json
//! ```
//!
//! Mesa's drivers of AMD, NVIDIA, Apple and Adreno GPUs start without one where a shim stands in for the kernel's driver. This program starts
//! itself under each of them, makes pipelines through wgpu as an application does, and reads what the compilers print of them.

#[path = "../shared/stamp.rs"]
mod stamp;
#[path = "../shared/output.rs"]
#[macro_use]
mod output;
mod child;
mod doc;
mod figures;
mod gpus;
mod hot_loop;
mod messages;
#[path = "../../tests/support/open.rs"]
#[allow(dead_code, unreachable_pub, reason = "only the description of a device is used")]
mod open;
mod parent;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use gpus::{CHIPS, Chip};
use parent::Compilation;
use report::{Earlier, Verdict};

/// What the shader compilers of GPUs make of every shader: registers, spills, occupancy, instructions. No GPU is needed.
///
/// Exit code 1 where a variant that the crate runs on a GPU spills or is not compiled, and 2 where nothing was compiled: a filter that nothing
/// contains, compilers that are not there (`scripts/newer-mesa target/mesa` fetches them).
#[derive(Parser)]
struct Options {
    /// Only variants whose label contains this
    #[arg(long, default_value = "")]
    filter: String,
    /// Only GPUs whose name contains this
    #[arg(long, default_value = "")]
    gpu: String,
    /// One GPU of each vendor, only the variants that the crate runs there, and a line for those alone that spill
    #[arg(long)]
    quick: bool,
    /// Write everything to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Say what is worse than in this file of `--json`
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Write the page of the documents
    #[arg(long, value_name = "FILE.md")]
    doc: Option<PathBuf>,
    /// Where scripts/newer-mesa put the compilers
    #[arg(long, value_name = "FOLDER", default_value = "target/mesa")]
    folder: PathBuf,
    /// Compilers that run at a time; as many as there are CPUs without it
    #[arg(long)]
    jobs: Option<usize>,
    /// Compile for the one GPU of this name: this process runs under its driver, and this file is its standard error
    #[arg(long, value_name = "FILE", hide = true)]
    child: Option<PathBuf>,
    /// Of a child: the first variant
    #[arg(long, default_value_t = 0, hide = true)]
    from: usize,
    /// Of a child: which part of how many
    #[arg(long, num_args = 2, default_values_t = [0, 1], hide = true)]
    part: Vec<usize>,
    /// Of a child: only the variants that the crate runs
    #[arg(long, hide = true)]
    chosen: bool,
}

impl Options {
    fn chosen(&self) -> bool {
        self.quick || self.chosen
    }

    fn jobs(&self) -> usize {
        self.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
    }

    fn chips(&self) -> Result<Vec<&'static Chip>, String> {
        let named = |chip: &&Chip| chip.name.to_lowercase().contains(&self.gpu.to_lowercase()) && (chip.quick || !self.quick);
        let chips: Vec<_> = CHIPS.iter().filter(named).collect();
        let names = || CHIPS.iter().map(|chip| chip.name).collect::<Vec<_>>().join(", ");
        if chips.is_empty() { Err(format!("there is no GPU like {:?}, only {}", self.gpu, names())) } else { Ok(chips) }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.child {
        Some(text) => child(&options, text).map(|()| true),
        None => run(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn child(options: &Options, text: &std::path::Path) -> Result<(), String> {
    let chip = CHIPS.iter().find(|chip| chip.name == options.gpu).ok_or("a child is for one GPU")?;
    let part = <[usize; 2]>::try_from(options.part.as_slice()).map_err(|_| "a part is two numbers")?;
    let Options { filter, from, .. } = options;
    let work = child::Work { compiler: chip.compiler, filter, chosen: options.chosen(), from: *from, part, text };
    child::compile(&work).map_err(|error| error.to_string())
}

/// Whether all is well.
fn run(options: &Options) -> Result<bool, String> {
    output::writable([&options.json, &options.doc].into_iter().flatten().map(PathBuf::as_path))?;
    let earlier = options.against.as_deref().map(Earlier::read).transpose()?;
    let chips = options.chips()?;
    if child::variants(&options.filter).next().is_none() {
        return Err(format!("there is no variant like {:?}: a label is such as linear.f16x4.ACTIVATED=0", options.filter));
    }
    let program = options.folder.join("run-gpu");
    if !program.exists() {
        let folder = options.folder.display();
        return Err(format!("{} is not there: `scripts/newer-mesa {folder}` fetches the compilers", program.display()));
    }
    let stamp = stamp::Stamp::now();
    println!("{stamp}");
    let (compilations, missing) = compile(options, &chips);
    if compilations.iter().all(|compilation| compilation.compiled.is_empty()) {
        return Err(format!("nothing was compiled: none of these GPUs runs a variant like {:?}", options.filter));
    }
    if let Some(path) = &options.json {
        write(path, report::json(&stamp, &compilations).map_err(|error| error.to_string())?)?;
    }
    if let Some(path) = &options.doc {
        write(path, doc::page(&stamp, &compilations))?;
    }
    if let Some(earlier) = earlier {
        let (worse, compared) = earlier.compare(&compilations);
        worse.iter().for_each(|line| println!("WORSE {line}"));
        println!("{} of {compared} variants are worse than before", worse.len());
    }
    if options.filter.is_empty() && options.gpu.is_empty() && !options.quick {
        report::mended(&compilations).iter().for_each(|shader| println!("{shader} spills no longer: take it off the list of known ones"));
    }
    let count = |verdict| compilations.iter().map(|compilation| compilation.count(verdict)).sum::<usize>();
    let failed = count(Verdict::Spills) + count(Verdict::Failed) + missing;
    println!("{} passed, {failed} failed, {} skipped", count(Verdict::Fine), count(Verdict::Known));
    Ok(failed == 0)
}

/// What was compiled, and for how many GPUs nothing could be. Prints the tables.
fn compile(options: &Options, chips: &[&'static Chip]) -> (Vec<Compilation>, usize) {
    let mut compilations = Vec::new();
    let mut missing = 0;
    for (chip, result) in chips.iter().zip(parent::compile(options, chips)) {
        match result {
            Ok(compilation) => {
                println!("\n{}\n{}", compilation.summary(), report::units(chip));
                print!("{}", compilation.table(!options.quick));
                compilations.push(compilation);
            }
            Err(error) => {
                println!("\nFAILED {}: {} does not start: {error}", chip.name, chip.driver()[0]);
                missing += 1;
            }
        }
    }
    (compilations, missing)
}

fn write(path: &std::path::Path, text: String) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
