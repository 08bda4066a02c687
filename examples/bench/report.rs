//! All that was measured, as a table and as JSON.

use serde::Serialize;

use crate::harness::timer::Timer;
use crate::row::{Check, Row, time};
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

/// How many programs ran on average in the last minute, where Linux says so.
pub(crate) fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
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

pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0 => "-".to_owned(),
        b if b < 1 << 20 => format!("{:.1} KiB", b as f64 / 1024.0),
        b => format!("{:.1} MiB", b as f64 / f64::from(1 << 20)),
    }
}
