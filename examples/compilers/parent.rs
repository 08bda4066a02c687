//! Starts the processes that compile, and hears what they say.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::Options;
use crate::gpus::Chip;
use crate::messages::{Adapter, Message, Outcome, Variant};

/// What became of one variant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Compiled {
    #[serde(flatten)]
    pub(crate) variant: Variant,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// What a GPU's compiler made of all variants.
#[derive(Debug, Clone)]
pub(crate) struct Compilation {
    pub(crate) chip: &'static Chip,
    pub(crate) adapter: Adapter,
    pub(crate) compiled: Vec<Compiled>,
}

/// Compiles for these GPUs, as many processes at a time as there are jobs. A GPU whose compiler does not start has an error instead.
pub(crate) fn compile(options: &Options, chips: &[&'static Chip]) -> Vec<Result<Compilation, String>> {
    let parts = |at: usize| (0..chips[at].parts()).map(move |part| (at, [part, chips[at].parts()]));
    let mut units: Vec<(usize, [usize; 2])> = (0..chips.len()).flat_map(parts).collect();
    // What takes longest begins.
    units.sort_by_key(|(at, _)| std::cmp::Reverse(chips[*at].parts()));
    let queue = Mutex::new(units.into_iter());
    let done: Vec<_> = chips.iter().map(|_| Mutex::new(Vec::new())).collect();
    let next = || lock(&queue).next();
    let work = || {
        while let Some((at, part)) = next() {
            let start = Instant::now();
            let result = Lab { options, chip: chips[at], part }.compile();
            eprintln!("{}, part {} of {}: {:.0} s", chips[at].name, part[0] + 1, part[1], start.elapsed().as_secs_f64());
            lock(&done[at]).push(result);
        }
    };
    std::thread::scope(|scope| (0..options.jobs()).for_each(|_| drop(scope.spawn(work))));
    chips.iter().zip(done).map(|(chip, parts)| joined(chip, std::mem::take(&mut *lock(&parts)))).collect()
}

/// The parts of a GPU as one, in the order of the variants.
fn joined(chip: &'static Chip, parts: Vec<Result<Heard, String>>) -> Result<Compilation, String> {
    let mut all = Heard::default();
    for part in parts {
        let part = part?;
        all.adapter = all.adapter.or(part.adapter);
        all.compiled.extend(part.compiled);
    }
    all.compiled.sort_by_key(|(index, _)| *index);
    let adapter = all.adapter.ok_or("the driver named no GPU")?;
    Ok(Compilation { chip, adapter, compiled: all.compiled.into_iter().map(|(_, compiled)| compiled).collect() })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The file behind a child's standard error; it goes when the child is done.
struct Text(PathBuf);

impl Text {
    fn new(folder: &Path, chip: &Chip, part: usize) -> Result<(Self, File), String> {
        let path = folder.join(format!("{} {part}, for process {}.txt", chip.name, std::process::id()));
        // The child empties the file before each variant: what is appended then begins at its start.
        let file = OpenOptions::new().append(true).create(true).open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok((Self(path), file))
    }

    /// The last line that is not empty.
    fn last_words(&self) -> String {
        let text = std::fs::read(&self.0).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        // What cannot be removed is in the build folder.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A part of one GPU's variants.
struct Lab<'a> {
    options: &'a Options,
    chip: &'static Chip,
    part: [usize; 2],
}

impl Lab<'_> {
    fn compile(&self) -> Result<Heard, String> {
        let mut heard = Heard::default();
        // A compiler that crashes is started again after the variant that it does not compile.
        loop {
            let (text, file) = Text::new(&self.options.folder, self.chip, self.part[0])?;
            let mut child = self.start(&text, file, heard.from)?;
            if let Some(out) = child.stdout.take() {
                BufReader::new(out).lines().map_while(Result::ok).for_each(|line| heard.hear(&line));
            }
            let status = child.wait().map_err(|error| error.to_string())?;
            if status.success() {
                return Ok(heard);
            }
            let failure = format!("the compiler ended with {status}: {}", text.last_words());
            // What it had not begun before it ended, it would not begin the next time.
            let (index, variant) = heard.begun.take().ok_or_else(|| failure.clone())?;
            heard.compiled.push((index, Compiled { variant, outcome: Outcome::Error(failure) }));
        }
    }

    fn start(&self, text: &Text, file: File, from: usize) -> Result<Child, String> {
        let program = self.options.folder.join("run-gpu");
        let own = std::env::current_exe().map_err(|error| format!("no path of this program: {error}"))?;
        let mut command = Command::new(&program);
        command.args(self.chip.driver()).arg(own);
        command.args(["--gpu", self.chip.name, "--filter", &self.options.filter, "--from", &from.to_string(), "--child"]).arg(&text.0);
        command.arg("--part").args(self.part.map(|number| number.to_string()));
        if self.options.chosen() {
            command.arg("--chosen");
        }
        command.envs(self.chip.environment()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        command.spawn().map_err(|error| format!("{}: {error}", program.display()))
    }
}

/// What children said so far.
#[derive(Default)]
struct Heard {
    adapter: Option<Adapter>,
    begun: Option<(usize, Variant)>,
    compiled: Vec<(usize, Compiled)>,
    /// Behind the last one that was begun.
    from: usize,
}

impl Heard {
    fn hear(&mut self, line: &str) {
        match serde_json::from_str(line) {
            Ok(Message::Adapter(adapter)) => self.adapter = Some(adapter),
            Ok(Message::Begin(index, variant)) => {
                self.from = index + 1;
                self.begun = Some((index, variant));
            }
            Ok(Message::End(outcome)) => {
                let begun = self.begun.take();
                self.compiled.extend(begun.map(|(index, variant)| (index, Compiled { variant, outcome })));
            }
            // A driver's own words.
            Err(_) => {}
        }
    }
}
