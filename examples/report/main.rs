//! Everything that tokenpress says about a device, in one folder to post or to keep.
//!
//! ```text
//! cargo run --release --example report
//! cargo run --release --example report -- --adapter llvmpipe --folder reports/llvmpipe
//! ```
//!
//! It finds which forms of the shaders are faster (`bench --tune`), verifies every kernel (`verify --quick`), and measures every kernel with
//! those forms beside a copy and multiply-adds (`bench --quick`). The folder gets `report.md`, the three results as JSON, and a plot.
//! `scripts/report-peers FOLDER` adds PyTorch on the same device.
//!
//! It runs the examples `bench` and `verify`. Cargo builds them first. Where there is no cargo, they are programs beside this one: build the
//! three elsewhere, and carry them over in one folder.

#[path = "../shared/output.rs"]
#[macro_use]
mod output;
mod page;
#[path = "../shared/stamp.rs"]
mod stamp;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Parser;
use page::Results;
use serde_json::Value;

/// Verifies and measures a device, and writes a report about it.
#[derive(Parser)]
struct Options {
    /// A part of the adapter's name, driver or backend; the best adapter without it
    #[arg(long)]
    adapter: Option<String>,
    /// Only cases whose kernel or description contains this
    #[arg(long)]
    filter: Option<String>,
    /// Where the report goes
    #[arg(long, value_name = "FOLDER", default_value = "report")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    match report(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything was right.
fn report(options: &Options) -> Result<bool, Box<dyn Error>> {
    let start = Instant::now();
    let programs = Programs::find()?;
    std::fs::create_dir_all(&options.folder).map_err(|error| format!("{}: {error}", options.folder.display()))?;
    let [tuning, verified, measured, plot, page] =
        ["tuning.json", "verify.json", "bench.json", "bench.svg", "report.md"].map(|name| options.folder.join(name));
    output::writable([&tuning, &verified, &measured, &plot, &page].map(PathBuf::as_path))?;
    let say = |step: &str| println!("\n== {step} (after {:.0} s)", start.elapsed().as_secs_f64());

    say("1 of 3: which forms of the shaders are faster here");
    let asked = options.adapter.iter().flat_map(|adapter| ["--adapter", adapter]);
    programs.run("bench", asked.chain(["--tune", text(&tuning)?]))?;
    let found = read(&tuning)?;
    let of_tuning = |key: &str| found[key].as_str().map(str::to_owned).ok_or_else(|| format!("tuning.json says no {key}"));
    let (device, backend) = (of_tuning("device")?, of_tuning("backend")?.to_lowercase());

    say("2 of 3: is every kernel right");
    let filter = || options.filter.iter().flat_map(|filter| ["--filter", filter]);
    let verify = ["--quick", "--adapter", &device, "--backend", &backend, "--json", text(&verified)?];
    let right = programs.run("verify", verify.into_iter().chain(filter()))?;

    say("3 of 3: how fast is every kernel");
    let files = ["--tuning", text(&tuning)?, "--json", text(&measured)?, "--plot", text(&plot)?];
    let repeatable = programs.run("bench", ["--quick", "--adapter", &device].into_iter().chain(files).chain(filter()))?;

    let results = Results { tuning: found, verify: read(&verified)?, bench: read(&measured)?, seconds: start.elapsed().as_secs_f64() };
    std::fs::write(&page, page::page(&results)).map_err(|error| format!("{}: {error}", page.display()))?;
    println!("\nWrote {}. `scripts/report-peers {}` adds PyTorch.", page.display(), options.folder.display());
    Ok(right && repeatable)
}

fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()))
}

fn read(path: &Path) -> Result<Value, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    serde_json::from_str(&text).map_err(|error| failed(&error))
}

/// Where the other examples are.
struct Programs(PathBuf);

impl Programs {
    fn find() -> Result<Self, Box<dyn Error>> {
        let own = std::env::current_exe()?;
        let folder = own.parent().ok_or("this program lies in no folder")?.to_owned();
        // Cargo says where it is to what it runs. What it built before may be of another commit.
        if let Some(cargo) = std::env::var_os("CARGO") {
            let release = folder.components().any(|part| part.as_os_str() == "release");
            let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--example", "bench", "--example", "verify", "--manifest-path"]).arg(manifest);
            if release {
                build.arg("--release");
            }
            if !build.status()?.success() {
                return Err("bench and verify cannot be built".into());
            }
        }
        Ok(Self(folder))
    }

    /// Whether a program found nothing wrong. It shows what it does itself.
    fn run<'a>(&self, name: &str, arguments: impl IntoIterator<Item = &'a str>) -> Result<bool, String> {
        let path = self.0.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        let status = Command::new(&path).args(arguments).status();
        let status = status.map_err(|error| format!("{}: {error}; it must lie beside this program", path.display()))?;
        match status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(format!("{name} ended with {status}")),
        }
    }
}
