//! The page of the documents: `docs/gpu-compilers.md`.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::figures::Figures;
use crate::hot_loop::HotLoop;
use crate::parent::{Compilation, Compiled};
use crate::report::{KNOWN, Verdict};
use crate::stamp::Stamp;

const HEAD: &str = "\
# What GPU compilers make of the shaders

Mesa has the shader compilers of AMD, NVIDIA, Apple and Adreno GPUs. Its drivers start without a GPU where a shim stands
in for the kernel's driver. So every variant of every shader is compiled to machine code through wgpu, in the SPIR-V that
an application gets, and the compilers say what it needs. Nothing runs, and no time is measured: a variant that spills is
slow, but one that does not spill may be slow as well. Mesa's NVIDIA compiler is not NVIDIA's own, and Apple's is not
Metal's. What spills on one of them is a warning, and what spills on several is a fault of the shader. Intel's GPUs are
missing: Debian has no shim for them.

A program writes this page:

```sh
scripts/newer-mesa target/mesa # once: 150 MB, from Debian's own archive
cargo run --release --example compilers -- --doc docs/gpu-compilers.md --json benches/results/compilers.json
cargo run --release --example compilers -- --gpu RDNA3 --filter linear           # while you change a shader
cargo run --release --example compilers -- --against benches/results/compilers.json # what became worse
```

It exits with 1 where a variant that the crate runs on a GPU spills or is not compiled. `scripts/test` runs it with
`--quick`: one GPU of each vendor. What is known to spill stands in a list in `examples/compilers/report.rs`, with the
reason.

- **registers**: of one invocation. AMD's VGPRs (at most 256) and NVIDIA's GPRs (at most 255) have 32 bits, Apple's (at
  most 256) have 16, and Adreno's have four times 32.
- **spills**: instructions that write a register to memory, because there are too few of them; on AMD, such registers.
- **scratch**: bytes of that memory. It also holds arrays that are indexed by a variable. AMD's number is for a whole
  wave, the others' for an invocation; Adreno's compiler does not say it.
- **occupancy**: waves of a SIMD (AMD), warps of an SM (NVIDIA), threads of a core (Apple), waves of a core (Adreno) that
  fit at once. It hides what loads take.
- **hot loop**: the innermost loop with most multiply-adds, of AMD's machine code. *share* is the part of its vector
  instructions that multiply and add. *bytes* are those that it loads for each multiply-add from buffers, and from
  workgroup memory; what a whole wave shares comes by scalar loads and is not in it.

Variants of f16 need a GPU that offers f16 to wgpu; Polaris and Adreno do not. Variants that the crate does not run on a
GPU are compiled, but stand only in `benches/results/compilers.json`: where a GPU has subgroups, a shader's form with
subgroup operations runs.
";

pub(crate) fn page(stamp: &Stamp, compilations: &[Compilation]) -> String {
    let mesa = compilations.first().map_or("", |compilation| compilation.adapter.driver.as_str());
    let mut text = format!("{HEAD}\nMade by {stamp}, {mesa}.\n\n## GPUs\n\n");
    text += &gpus(compilations);
    text += "\n## What spills\n\n";
    text += &spilling(compilations);
    for (gpu, shader, why) in KNOWN {
        let _ = write!(text, "\n**{shader} on {gpu}.** {why}\n");
    }
    text += "\n## Every variant that runs, on one GPU of each vendor\n\nRegisters / spills / occupancy.\n\n";
    let quick: Vec<_> = compilations.iter().filter(|compilation| compilation.chip.quick).collect();
    text += &all(&quick);
    for compilation in quick {
        let loops: Vec<_> = running(compilation).filter_map(|c| Some((c.label(), c.figures()?.hot_loop?))).collect();
        if !loops.is_empty() {
            let _ = write!(text, "\n## Hot loops on {}\n\n{}", compilation.chip.name, hot_loops(&loops));
        }
    }
    text
}

/// What the crate runs on this GPU.
fn running(compilation: &Compilation) -> impl Iterator<Item = &Compiled> {
    compilation.compiled.iter().filter(|compiled| compiled.verdict(compilation.chip.name) != Verdict::Unused)
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |\n", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

/// The first lines of a table whose columns but the first are numbers.
fn header(names: &[&str]) -> String {
    let names = names.iter().map(|name| (*name).to_owned());
    let line = format!("|---|{}\n", "---:|".repeat(names.len() - 1));
    row(names) + &line
}

fn gpus(compilations: &[Compilation]) -> String {
    let mut text = header(&["GPU", "subgroups", "f16", "variants that run", "spill", "fail", "waves, warps or threads, median"]);
    for compilation in compilations {
        let [least, most] = compilation.adapter.subgroups;
        let mut occupancies: Vec<_> = running(compilation).filter_map(|c| Some(c.figures()?.occupancy)).collect();
        occupancies.sort_unstable();
        let median = occupancies.get(occupancies.len() / 2).map_or("-".to_owned(), u32::to_string);
        text += &row([
            compilation.chip.name.to_owned(),
            if least == most { least.to_string() } else { format!("{least} to {most}") },
            if compilation.adapter.f16 { "yes" } else { "no" }.to_owned(),
            running(compilation).count().to_string(),
            running(compilation).filter(|c| c.figures().is_some_and(Figures::spill)).count().to_string(),
            compilation.count(Verdict::Failed).to_string(),
            median,
        ]);
    }
    text
}

/// Labels for which something holds on any GPU, in the order of the variants.
fn labels<'a>(compilations: impl IntoIterator<Item = &'a Compilation>, holds: impl Fn(&Compiled) -> bool) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let all = compilations.into_iter().flat_map(running).filter(|c| holds(c)).map(Compiled::label);
    all.filter(|label| seen.insert(label.clone())).collect()
}

fn find<'a>(compilation: &'a Compilation, label: &str) -> Option<&'a Compiled> {
    running(compilation).find(|compiled| compiled.label() == label)
}

/// A name without its vendor where the column is narrow.
fn short(compilation: &Compilation) -> &str {
    compilation.chip.name.rsplit(' ').next().unwrap_or_default()
}

fn spilling(compilations: &[Compilation]) -> String {
    let spills = |compiled: &Compiled| compiled.figures().is_some_and(Figures::spill);
    let labels = labels(compilations, spills);
    if labels.is_empty() {
        return "Nothing.\n".to_owned();
    }
    let any = |compilation: &&Compilation| running(compilation).any(spills);
    let columns: Vec<_> = compilations.iter().filter(any).collect();
    let names: Vec<_> = ["variant"].into_iter().chain(columns.iter().map(|c| short(c))).collect();
    let clean: Vec<_> = compilations.iter().filter(|c| !any(c)).map(|c| c.chip.name).collect();
    let mut text = "Spills / scratch; a dot where the variant does not spill, nothing where it does not run.".to_owned();
    text += &if clean.is_empty() { String::new() } else { format!(" Nothing spills on {}.", clean.join(", ")) };
    text = format!("{text}\n\n{}", header(&names));
    for label in labels {
        let cell = |compilation: &&Compilation| match find(compilation, &label).and_then(Compiled::figures) {
            None => String::new(),
            Some(figures) if figures.spill() => format!("{} / {}", figures.spills, figures.scratch),
            Some(_) => "·".to_owned(),
        };
        text += &row([label.clone()].into_iter().chain(columns.iter().map(cell)));
    }
    text
}

fn all(compilations: &[&Compilation]) -> String {
    let names: Vec<_> = ["variant"].into_iter().chain(compilations.iter().map(|c| c.chip.name)).collect();
    let mut text = header(&names);
    for label in labels(compilations.iter().copied(), |_| true) {
        let cell = |compilation: &&Compilation| match find(compilation, &label) {
            None => String::new(),
            Some(compiled) => match compiled.figures() {
                Some(Figures { registers, spills, occupancy, .. }) => format!("{registers} / {spills} / {occupancy}"),
                None => "fails".to_owned(),
            },
        };
        text += &row([label.clone()].into_iter().chain(compilations.iter().map(cell)));
    }
    text
}

fn hot_loops(loops: &[(String, HotLoop)]) -> String {
    let mut text = header(&[
        "variant",
        "multiply-adds",
        "vector instructions",
        "share",
        "bytes of buffers",
        "bytes of workgroup memory",
        "exponentials",
    ]);
    for (label, hot) in loops {
        let bytes = |bytes| format!("{:.2}", hot.per_multiply_add(bytes));
        text += &row([
            label.clone(),
            hot.multiply_adds.to_string(),
            hot.vector.to_string(),
            format!("{:.0} %", 100.0 * hot.share()),
            bytes(hot.buffer_bytes),
            bytes(hot.shared_bytes),
            hot.exponentials.to_string(),
        ]);
    }
    text
}
