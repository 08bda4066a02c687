//! All that the compilers said, as tables and as JSON, and what of it is worse than before.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::figures::Figures;
use crate::gpus::Chip;
use crate::messages::{Adapter, Outcome};
use crate::parent::{Compilation, Compiled};
use crate::stamp::Stamp;

/// Where a shader is known to spill, and why: GPU, shader, reason. This list is to become shorter.
pub(crate) const KNOWN: &[(&str, &str, &str)] = &[
    (
        "Apple M1",
        "attention",
        "An invocation has 128 registers of 32 bits. Results, products and the numbers fetched ahead take 92 of them. Addresses take the rest \
         and more, because what a workgroup's place decides has no registers of its own there. Without fetching ahead, 8 to 10 still spill.",
    ),
    (
        "Apple M1",
        "pooled_attention.frames",
        "The largest weights of any head take 32 registers beside the 32 of the products. Six to eleven of 32 bits spill.",
    ),
];

fn is_known(gpu: &str, shader: &str) -> bool {
    KNOWN.iter().any(|known| known.0 == gpu && known.1 == shader)
}

/// What a compiled variant means for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    /// It spills, as [`KNOWN`] says.
    Known,
    Spills,
    Failed,
    /// The crate does not run it on this GPU.
    Unused,
}

impl Compiled {
    /// On this GPU.
    pub(crate) fn verdict(&self, gpu: &str) -> Verdict {
        match &self.outcome {
            _ if !self.variant.chosen => Verdict::Unused,
            Outcome::Error(_) => Verdict::Failed,
            Outcome::Figures(figures) if !figures.spill() => Verdict::Fine,
            Outcome::Figures(_) if is_known(gpu, &self.variant.shader) => Verdict::Known,
            Outcome::Figures(_) => Verdict::Spills,
        }
    }

    pub(crate) fn figures(&self) -> Option<&Figures> {
        match &self.outcome {
            Outcome::Figures(figures) => Some(figures),
            Outcome::Error(_) => None,
        }
    }

    pub(crate) fn label(&self) -> String {
        format!("{}.{}", self.variant.shader, self.variant.variant)
    }

    fn remark(&self, gpu: &str) -> String {
        match (self.verdict(gpu), &self.outcome) {
            (Verdict::Unused, Outcome::Error(error)) => format!("not run here, nor compiled: {error}"),
            (_, Outcome::Error(error)) => format!("FAILED: {error}"),
            (Verdict::Known, _) => "KNOWN to spill".to_owned(),
            (Verdict::Spills, _) => "SPILLS".to_owned(),
            (Verdict::Unused, _) => "not run here".to_owned(),
            _ => String::new(),
        }
    }
}

impl Compilation {
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.compiled.iter().filter(|compiled| compiled.verdict(self.chip.name) == verdict).count()
    }

    /// One line about all variants.
    pub(crate) fn summary(&self) -> String {
        let [known, spills, failed, unused] = [Verdict::Known, Verdict::Spills, Verdict::Failed, Verdict::Unused].map(|v| self.count(v));
        let chosen = self.compiled.len() - unused;
        let Adapter { adapter, driver, .. } = &self.adapter;
        format!(
            "{} ({adapter}, {driver}): the crate runs {chosen} variants; {known} are known to spill, {spills} others spill, {failed} fail",
            self.chip.name
        )
    }

    /// A line for each variant, or for those alone that the crate runs and that spill or fail.
    pub(crate) fn table(&self, all: bool) -> String {
        let header = ["shader", "variant", "registers", "spills", "scratch", "occupancy", "instructions", "hot loop", ""];
        let mut lines = vec![header.map(str::to_owned).to_vec()];
        let noteworthy = |c: &&Compiled| all || !matches!(c.verdict(self.chip.name), Verdict::Fine | Verdict::Unused);
        lines.extend(self.compiled.iter().filter(noteworthy).map(|compiled| cells(self.chip.name, compiled)));
        if lines.len() == 1 { String::new() } else { aligned(&lines) }
    }
}

fn cells(gpu: &str, compiled: &Compiled) -> Vec<String> {
    let figures = compiled.figures();
    let number = |of: fn(&Figures) -> u32| figures.map_or("-".to_owned(), |f| of(f).to_string());
    vec![
        compiled.variant.shader.clone(),
        compiled.variant.variant.clone(),
        number(|f| f.registers),
        number(|f| f.spills),
        number(|f| f.scratch),
        number(|f| f.occupancy),
        number(|f| f.instructions),
        figures.and_then(hot_loop).unwrap_or_default(),
        compiled.remark(gpu),
    ]
}

fn hot_loop(figures: &Figures) -> Option<String> {
    let hot = figures.hot_loop?;
    let [buffer, shared] = [hot.buffer_bytes, hot.shared_bytes].map(|bytes| hot.per_multiply_add(bytes));
    Some(match hot.matrices {
        0 => format!(
            "{} of {} ({:.0} %), {buffer:.1} + {shared:.1} B, {} exp",
            hot.multiply_adds,
            hot.vector,
            100.0 * hot.share(),
            hot.exponentials
        ),
        matrices => format!("{matrices} matrices, {} B + {} B, {} exp", hot.buffer_bytes, hot.shared_bytes, hot.exponentials),
    })
}

/// Lines whose columns stand below each other; numbers to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines[0].len();
    let widths: Vec<usize> = (0..columns).map(|c| lines.iter().map(|line| line[c].len()).max().unwrap_or(0)).collect();
    let cell = |(c, text): (usize, &String)| {
        let width = widths[c];
        if (2..7).contains(&c) { format!("{text:>width$}") } else { format!("{text:width$}") }
    };
    lines.iter().map(|line| format!("{}\n", line.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end())).collect()
}

/// A file that `--json` wrote.
#[derive(Deserialize)]
pub(crate) struct Earlier {
    gpus: Vec<EarlierGpu>,
}

#[derive(Deserialize)]
struct EarlierGpu {
    name: String,
    variants: Vec<Compiled>,
}

impl Earlier {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{} is no file of --json: {error}", path.display()))
    }

    /// What became worse, and how many variants there were and are to compare.
    pub(crate) fn compare(&self, now: &[Compilation]) -> (Vec<String>, usize) {
        let key = |gpu: &str, c: &Compiled| (gpu.to_owned(), c.label());
        let earlier: BTreeMap<_, _> = self.gpus.iter().flat_map(|gpu| gpu.variants.iter().map(|c| (key(&gpu.name, c), c))).collect();
        let all = now.iter().flat_map(|gpu| gpu.compiled.iter().map(|c| (gpu.chip.name, c)));
        let pairs: Vec<_> = all.filter_map(|(gpu, c)| Some((gpu, *earlier.get(&key(gpu, c))?, c))).collect();
        let said = |&(gpu, before, now): &(&str, &Compiled, &Compiled)| {
            let worse = worse(gpu, before, now);
            (!worse.is_empty()).then(|| format!("{gpu}, {}: {}", now.label(), worse.join(", ")))
        };
        (pairs.iter().filter_map(said).collect(), pairs.len())
    }
}

/// In what a variant is worse than before.
fn worse(gpu: &str, before: &Compiled, now: &Compiled) -> Vec<String> {
    let (old, new) = match (before.figures(), now.figures()) {
        (Some(old), Some(new)) => (old, new),
        (Some(_), None) => return vec![now.remark(gpu)],
        (None, _) => return Vec::new(),
    };
    let mut worse = Vec::new();
    let mut unless = |fine: bool, name: &str, old: u32, new: u32| {
        if !fine {
            worse.push(format!("{name} {old} -> {new}"));
        }
    };
    unless(new.spills <= old.spills, "spills", old.spills, new.spills);
    unless(new.scratch <= old.scratch, "scratch", old.scratch, new.scratch);
    unless(new.occupancy >= old.occupancy, "occupancy", old.occupancy, new.occupancy);
    // A tenth more is worth a look; less is how a compiler happens to order things.
    unless(10 * new.instructions <= 11 * old.instructions, "instructions", old.instructions, new.instructions);
    if let (Some(old), Some(new)) = (old.hot_loop, new.hot_loop) {
        let percent = |share: f64| (100.0 * share).round() as u32;
        let (old, new) = (percent(old.share()), percent(new.share()));
        unless(new + 5 >= old, "% of multiply-adds in the hot loop", old, new);
    }
    worse
}

/// As JSON, with a line for each variant.
pub(crate) fn json(stamp: &Stamp, compilations: &[Compilation]) -> Result<String, serde_json::Error> {
    let head = serde_json::to_string_pretty(stamp)?;
    let gpus = compilations.iter().map(gpu_json).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("{},\n  \"schema\": 1,\n  \"gpus\": [\n{}\n  ]\n}}\n", head.trim_end_matches(['}', '\n']), gpus.join(",\n")))
}

fn gpu_json(compilation: &Compilation) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct Head<'a> {
        name: &'a str,
        #[serde(flatten)]
        adapter: &'a Adapter,
    }
    let head = serde_json::to_string(&Head { name: compilation.chip.name, adapter: &compilation.adapter })?;
    let variants = compilation.compiled.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    let variants: Vec<_> = variants.iter().map(|line| format!("      {line}")).collect();
    Ok(format!("    {}, \"variants\": [\n{}\n    ]}}", head.trim_end_matches('}'), variants.join(",\n")))
}

/// What is known to spill and no longer does, GPU and shader, of a run over every GPU and variant.
pub(crate) fn mended(compilations: &[Compilation]) -> Vec<String> {
    let spills = |gpu: &str, shader: &str| {
        let known = |c: &Compiled| c.variant.shader == shader && c.verdict(gpu) == Verdict::Known;
        compilations.iter().any(|compilation| compilation.chip.name == gpu && compilation.compiled.iter().any(known))
    };
    KNOWN.iter().filter(|known| !spills(known.0, known.1)).map(|known| format!("{} on {}", known.1, known.0)).collect()
}

/// What stands in every row of a GPU.
pub(crate) fn units(chip: &Chip) -> String {
    format!("registers {}; occupancy in {}", chip.registers(), chip.occupancy())
}
