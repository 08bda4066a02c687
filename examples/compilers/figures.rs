//! What a compiler says of a shader, read from the text that it prints.

use serde::{Deserialize, Serialize};

use crate::hot_loop::HotLoop;

/// A compiler of Mesa's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// Of AMD's GPUs, in RADV.
    Aco,
    /// Of NVIDIA's, in NVK.
    Nak,
    /// Of Apple's, in Honeykrisp.
    Agx,
    /// Of Qualcomm's, in Turnip.
    Ir3,
}

/// What a shader needs of a GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Registers of an invocation, as the GPU counts them.
    pub(crate) registers: u32,
    /// Registers written to memory, for want of others.
    pub(crate) spills: u32,
    /// Bytes of memory that an invocation has for them, and for arrays that are indexed; not said for Adreno.
    pub(crate) scratch: u32,
    /// How many waves, warps or threads fit at once.
    pub(crate) occupancy: u32,
    pub(crate) instructions: u32,
    /// Of AMD's only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hot_loop: Option<HotLoop>,
}

impl Figures {
    /// Of the last shader in a compiler's text; none where it says nothing.
    pub(crate) fn read(compiler: Compiler, text: &str) -> Option<Self> {
        match compiler {
            Compiler::Aco => Self::aco(text),
            Compiler::Nak => Self::nak(text),
            Compiler::Agx => Self::agx(text),
            Compiler::Ir3 => Self::ir3(text),
        }
    }

    /// Whether an invocation has to use memory as registers.
    pub(crate) fn spill(&self) -> bool {
        self.spills > 0 || self.scratch > 0
    }

    fn aco(text: &str) -> Option<Self> {
        let (before, stats) = text.rsplit_once("*** SHADER STATS ***")?;
        Some(Self {
            registers: named(stats, "VGPRs")?,
            spills: named(stats, "Spilled VGPRs")?,
            scratch: named(stats, "Scratch size")?,
            occupancy: named(stats, "Subgroups per SIMD")?,
            instructions: named(stats, "Instructions")?,
            hot_loop: before.rsplit_once("disasm:\n").and_then(|(_, code)| HotLoop::find(code)),
        })
    }

    fn nak(text: &str) -> Option<Self> {
        let stats = &text[text.rfind("Instruction count:")?..];
        Some(Self {
            registers: named(stats, "Num GPRs")?,
            spills: named(stats, "Spills to mem")?,
            scratch: named(stats, "SLM size")?,
            occupancy: named(stats, "Max warps/SM")?,
            instructions: named(stats, "Instruction count")?,
            hot_loop: None,
        })
    }

    fn agx(text: &str) -> Option<Self> {
        let (_, stats) = text.rsplit_once("CS shader:")?;
        let stats = stats.lines().next()?;
        Some(Self {
            registers: before(stats, "gprs")?,
            spills: before(stats, "spills:fills")?,
            scratch: before(stats, "scratch")?,
            occupancy: before(stats, "threads")?,
            instructions: before(stats, "instrs")?,
            hot_loop: None,
        })
    }

    fn ir3(text: &str) -> Option<Self> {
        let stats = &text[text.rfind("; CL: outputs")?..];
        // Flags stand before an instruction in brackets.
        let is_store = |word: &str| word.rsplit(')').next().is_some_and(|name| name.starts_with("stp."));
        let stores = text.lines().filter(|line| line.split_whitespace().any(is_store)).count();
        Some(Self {
            registers: before(stats, "full")?,
            spills: u32::try_from(stores).ok()?,
            scratch: 0,
            occupancy: before(stats, "max_waves")?,
            instructions: before(stats, "instr")?,
            hot_loop: None,
        })
    }
}

/// The number after `NAME:` at the beginning of a line.
fn named(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
}

/// The number before a word: 27 for `gprs` in `13 fscib, 27 gprs, 266:428 spills:fills`; the first where it is two with a colon.
fn before(text: &str, word: &str) -> Option<u32> {
    text.split([',', '\n']).find_map(|part| {
        let mut words = part.split_whitespace().rev().skip_while(|w| *w != word);
        words.next()?;
        words.next()?.split(':').next()?.parse().ok()
    })
}
