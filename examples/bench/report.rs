//! All that was measured, as a table and as JSON.

use serde::Serialize;

use crate::harness::timer::Timer;
use crate::scaling::Growth;
use crate::stamp::Stamp;
use crate::yardsticks::Yardsticks;

/// As `--json` has it. Times are in microseconds.
#[derive(Serialize)]
pub(crate) struct Report {
    schema: u32,
    #[serde(flatten)]
    pub(crate) stamp: Stamp,
    pub(crate) adapter: String,
    backend: String,
    driver: String,
    device_type: String,
    subgroups: [u32; 2],
    clock: &'static str,
    /// Processes that wanted a CPU in the last minute, where the system says so: a software adapter shares it with them.
    load: Option<f64>,
    pub(crate) yardsticks: Yardsticks,
    pub(crate) rows: Vec<Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) scaling: Vec<Growth>,
}

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

/// How many programs ran on average in the last minute, where Linux says so.
pub(crate) fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
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

impl Report {
    pub(crate) fn new(timer: &Timer, yardsticks: Yardsticks, rows: Vec<Row>, scaling: Vec<Growth>) -> Self {
        let info = &timer.context.info;
        let capabilities = timer.context.gpu.capabilities();
        Self {
            schema: 1,
            stamp: Stamp::now(),
            adapter: info.name.clone(),
            backend: format!("{:?}", info.backend),
            driver: format!("{} {}", info.driver, info.driver_info),
            device_type: format!("{:?}", info.device_type),
            subgroups: [capabilities.subgroup_min, capabilities.subgroup_max],
            clock: timer.clock(),
            load: load(),
            yardsticks,
            rows,
            scaling,
        }
    }

    pub(crate) fn table(&self) -> String {
        let header =
            ["kernel", "case", "median", "p10", "p90", "GB/s", "of copy", "GFLOP/s", "of peak", "dispatches", "workspace", "result"];
        let mut lines = vec![header.map(str::to_owned)];
        lines.extend(self.rows.iter().map(cells));
        let widths: Vec<usize> = (0..header.len()).map(|c| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0)).collect();
        let mut text = String::new();
        for line in &lines {
            let padded: Vec<_> = line
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(c, (cell, &width))| if (2..11).contains(&c) { format!("{cell:>width$}") } else { format!("{cell:width$}") })
                .collect();
            text += &format!("{}\n", padded.join("  ").trim_end());
        }
        text
    }
}

fn cells(row: &Row) -> [String; 12] {
    let part = |part: f64, count: u64| if count == 0 { "-".to_owned() } else { format!("{:.0} %", 100.0 * part) };
    let rate = |rate: f64, count: u64| if count == 0 { "-".to_owned() } else { format!("{rate:.1}") };
    let result = match (row.check, row.repeatable) {
        (Check::Failed, _) => "WRONG",
        (_, false) => "VARIES",
        (Check::Passed, true) => "checked",
        (Check::TooLarge, true) => "repeatable",
    };
    [
        row.kernel.clone(),
        row.case.clone(),
        time(row.median),
        time(row.p10),
        time(row.p90),
        rate(row.gigabytes, row.bytes),
        part(row.of_copy, row.bytes),
        rate(row.gigaflops, row.flops),
        part(row.of_multiply_add, row.flops),
        row.dispatches.to_string(),
        size(row.workspace),
        result.to_owned(),
    ]
}

/// Microseconds, in the unit that fits.
pub(crate) fn time(microseconds: f64) -> String {
    match microseconds {
        m if m < 1e3 => format!("{m:.1} us"),
        m if m < 1e6 => format!("{:.2} ms", m / 1e3),
        m => format!("{:.2} s", m / 1e6),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0 => "-".to_owned(),
        b if b < 1 << 20 => format!("{:.1} KiB", b as f64 / 1024.0),
        b => format!("{:.1} MiB", b as f64 / f64::from(1 << 20)),
    }
}
