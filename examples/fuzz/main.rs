//! Builds random calls of every kernel and method, and runs them against the CPU reference on every adapter.
//!
//! ```text
//! cargo run --release --example fuzz -- --minutes 5
//! cargo run --profile fuzzing --example fuzz -- --minutes 30            with debug assertions and overflow checks
//! cargo run --release --example fuzz -- --target top_k --seed 71 --cases 1
//! ```
#![allow(missing_docs, reason = "an example")]

#[path = "../whisper/audio.rs"]
#[allow(dead_code, reason = "only what reads files")]
mod audio;
mod case;
mod files;
mod generator;
mod kernels;
mod methods;
mod misuse;
mod ragged;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../whisper/vocabulary.rs"]
#[allow(dead_code, reason = "only what reads files")]
mod vocabulary;
#[path = "../shared/weights.rs"]
#[allow(dead_code, reason = "only what reads files")]
mod weights;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use case::{Outcome, TARGETS};
use clap::Parser;

/// Builds random calls of every kernel and method, and runs them against the CPU reference on every adapter.
///
/// A case is a target and a seed: what it is made of follows from these two alone. One in four may have any dimension and is only built;
/// the others run on the reference, and on an adapter step by step and whole, twice, in poisoned memory with canaries. Cases run in a process of their
/// own, so that an abort or a hang is a finding too. Exit code 1 on any finding, 2 where nothing ran.
#[derive(Parser)]
struct Options {
    /// How long to go on.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// How many cases, however long they take.
    #[arg(long)]
    cases: Option<u64>,
    /// The first case's seed; each further one has the next. The time of day if there is none.
    #[arg(long)]
    seed: Option<u64>,
    /// Only targets whose name contains this, or the one that is named so.
    #[arg(long)]
    target: Option<String>,
    /// Only adapters whose name contains this. Without it, cases take turns on all of them.
    #[arg(long)]
    adapter: Option<String>,
    /// Also numbers near the ends of f32's range.
    #[arg(long)]
    wild: bool,
    /// Run the cases in this process.
    #[arg(long, hide = true)]
    child: bool,
}

impl Options {
    /// The targets that are meant.
    fn targets(&self) -> Vec<&'static case::Target> {
        let all = TARGETS.iter().copied().flatten();
        let Some(name) = &self.target else { return all.collect() };
        let exact: Vec<_> = all.clone().filter(|t| t.0 == name).collect();
        if exact.is_empty() { all.filter(|t| t.0.contains(name.as_str())).collect() } else { exact }
    }

    /// What repeats one case.
    fn repeat(&self, target: &str, seed: u64) -> String {
        let adapter = self.adapter.as_ref().map_or_else(String::new, |a| format!(" --adapter {a}"));
        let wild = if self.wild { " --wild" } else { "" };
        format!("cargo run --release --example fuzz -- --target {target} --seed {seed} --cases 1{adapter}{wild}")
    }
}

/// Cases of a process: what drivers do not give back is given back between them.
const BATCH: u64 = 400;
/// Address space of a process, in KiB: drivers reserve a good part of it.
const MEMORY: u64 = 12 << 20;
/// How long one case may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// The lines that a child writes: `case SEED TARGET`, `made OF WHAT` before anything runs, then `passed`, `skipped` or `failed WHAT`.
fn child(options: &Options) -> ExitCode {
    let targets = options.targets();
    let adapters = case::adapters(options.adapter.as_deref());
    case::report_panics();
    let first = options.seed.unwrap_or_default();
    for seed in first..first.saturating_add(options.cases.unwrap_or(BATCH)) {
        let target = targets[(seed % targets.len() as u64) as usize];
        println!("case {seed} {}", target.0);
        match case::run(target, seed, options.wild, &adapters) {
            Outcome::Passed => println!("passed"),
            Outcome::Skipped => println!("skipped"),
            Outcome::Failed(what) => println!("failed {}", what.replace('\n', " | ")),
        }
        if std::io::stdout().flush().is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

fn spawn(options: &Options, seed: u64, cases: u64) -> std::io::Result<Child> {
    let program = std::env::current_exe()?;
    let mut command = if cfg!(unix) {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -v {MEMORY} && exec \"$0\" \"$@\"")]).arg(program);
        shell
    } else {
        Command::new(program)
    };
    command.args(["--child", "--seed", &seed.to_string(), "--cases", &cases.to_string()]);
    for (name, value) in [("--target", &options.target), ("--adapter", &options.adapter)] {
        if let Some(value) = value {
            command.args([name, value]);
        }
    }
    if options.wild {
        command.arg("--wild");
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Runs cases from this seed on in one process, and gives the seed after the last.
fn batch(options: &Options, first: u64, cases: u64, deadline: Option<Instant>, counts: &mut Counts) -> std::io::Result<u64> {
    let mut process = spawn(options, first, cases)?;
    let (sender, lines) = mpsc::channel();
    if let Some(output) = process.stdout.take() {
        std::thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    }
    // What a process says last tells why it ended.
    let (last_words, words) = mpsc::channel();
    if let Some(errors) = process.stderr.take() {
        std::thread::spawn(move || {
            let said: Vec<_> = BufReader::new(errors).lines().map_while(Result::ok).filter(|line| !line.trim().is_empty()).collect();
            last_words.send(said.into_iter().rev().take(3).collect::<Vec<_>>().join(" | "))
        });
    }
    let mut current: Option<(u64, String)> = None;
    let (mut next, mut started, mut made) = (first, Instant::now(), String::new());
    let mut fail = |case: &Option<(u64, String)>, what: &str| {
        counts.failed += 1;
        match case {
            Some((seed, target)) => println!("{target}, seed {seed}: {what}\n    {}", options.repeat(target, *seed)),
            None => println!("before any case: {what}"),
        }
    };
    loop {
        match lines.recv_timeout(PATIENCE.saturating_sub(started.elapsed())) {
            Ok(line) => match line.split_once(' ').unwrap_or((line.as_str(), "")) {
                ("case", case) => {
                    let (seed, target) = case.split_once(' ').unwrap_or((case, ""));
                    next = seed.parse().unwrap_or(next);
                    current = Some((next, target.to_owned()));
                    (started, made) = (Instant::now(), String::new());
                }
                ("made", what) => made = what.to_owned(),
                (outcome @ ("passed" | "skipped" | "failed"), what) => {
                    match outcome {
                        "passed" => counts.passed += 1,
                        "skipped" => counts.skipped += 1,
                        _ => fail(&current, what),
                    }
                    current = None;
                    next += 1;
                    if deadline.is_some_and(|end| Instant::now() > end) {
                        process.kill()?;
                        process.wait()?;
                        return Ok(next);
                    }
                }
                _ => {}
            },
            Err(mpsc::RecvTimeoutError::Timeout) => {
                process.kill()?;
                process.wait()?;
                fail(&current, &format!("more than {} s | {made}", PATIENCE.as_secs()));
                return Ok(next + 1);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = process.wait()?;
                if !status.success() {
                    let said = words.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
                    fail(&current, &format!("the process ended: {status} {said} | {made}"));
                    return Ok(next + 1);
                }
                return Ok(next.max(first + 1));
            }
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let targets = options.targets();
    if targets.is_empty() {
        let names: Vec<_> = TARGETS.iter().copied().flatten().map(|t| t.0).collect();
        eprintln!("error: no target like {:?}; there are {}", options.target.unwrap_or_default(), names.join(", "));
        return ExitCode::from(2);
    }
    if options.child {
        return child(&options);
    }
    let (found, there) = case::adapter_names(options.adapter.as_deref());
    if options.adapter.is_some() && found.is_empty() {
        eprintln!("error: no adapter like {:?}; there are {}", options.adapter.unwrap_or_default(), there.join(", "));
        return ExitCode::from(2);
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let seed = options.seed.unwrap_or(now);
    println!(
        "{} targets from seed {seed} on: {}",
        targets.len(),
        if found.is_empty() { "no adapter".to_owned() } else { found.join(", ") }
    );

    let start = Instant::now();
    let deadline = options.cases.is_none().then(|| start + Duration::from_secs_f64(options.minutes.clamp(0.0, 1e6) * 60.0));
    let end = seed.saturating_add(options.cases.unwrap_or(u64::MAX));
    let mut counts = Counts::default();
    let mut next = seed;
    while next < end && deadline.is_none_or(|end| Instant::now() < end) {
        match batch(&options, next, BATCH.min(end - next), deadline, &mut counts) {
            Ok(after) => next = after,
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::from(2);
            }
        }
    }
    let Counts { passed, failed, skipped } = counts;
    println!("seeds {seed} to {}, {:.0} s", next.saturating_sub(1), start.elapsed().as_secs_f64());
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    match (passed, failed) {
        (0, 0) => ExitCode::from(2),
        (_, 0) => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    }
}
