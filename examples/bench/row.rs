//! What was measured of one case.

use serde::Serialize;

/// One case. Times are in microseconds.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) kernel: String,
    pub(crate) case: String,
    pub(crate) dispatches: u32,
    pub(crate) workspace: u64,
    /// Bytes and operations that the definition needs.
    pub(crate) bytes: u64,
    pub(crate) flops: u64,
    /// Sets of buffers taken in turns.
    pub(crate) turns: u64,
    /// Runs of a sample.
    pub(crate) runs: u64,
    pub(crate) samples: usize,
    pub(crate) median: f64,
    pub(crate) p10: f64,
    pub(crate) p90: f64,
    pub(crate) least: f64,
    /// One run alone, from submission to completion by the wall clock.
    pub(crate) wall: f64,
    pub(crate) gigabytes: f64,
    pub(crate) gigaflops: f64,
    /// Parts of the yardsticks.
    pub(crate) of_copy: f64,
    pub(crate) of_multiply_add: f64,
    pub(crate) check: Check,
    /// Whether the outputs after all runs are those of the first one, bit for bit.
    pub(crate) repeatable: bool,
}

/// How the outputs compare with the CPU reference.
#[derive(Serialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Check {
    Passed,
    Failed,
    /// Too much for the reference; `verify` covers the kernel at other sizes.
    TooLarge,
}

impl Row {
    pub(crate) fn wrong(&self) -> bool {
        self.check == Check::Failed || !self.repeatable
    }
}

/// Microseconds, in the unit that fits.
pub(crate) fn time(microseconds: f64) -> String {
    match microseconds {
        m if m < 1e3 => format!("{m:.1} us"),
        m if m < 1e6 => format!("{:.2} ms", m / 1e3),
        m => format!("{:.2} s", m / 1e6),
    }
}
