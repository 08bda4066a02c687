//! The line that says what made an output, so that it can be posted.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// Crate, commit, wgpu and time; what a report has besides its adapters.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Stamp {
    pub(crate) version: &'static str,
    pub(crate) commit: Option<String>,
    pub(crate) wgpu: &'static str,
    /// Seconds since 1970.
    pub(crate) time: u64,
}

impl Stamp {
    pub(crate) fn now() -> Self {
        let git = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output().ok();
        let commit = git.filter(|o| o.status.success()).map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
        Self::of(commit, SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs()))
    }

    /// Of this commit, at so many seconds since 1970: a browser can tell neither here.
    pub(crate) fn of(commit: Option<String>, time: u64) -> Self {
        Self { version: env!("CARGO_PKG_VERSION"), commit, wgpu: locked("wgpu"), time }
    }
}

/// The version of a package in Cargo.lock.
fn locked(package: &str) -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{package}\"\n")));
    entry.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next()).unwrap_or("unknown")
}

/// Year, month and day of so many days since 1970-01-01, by the Gregorian calendar's eras of 400 years.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (year + era * 400 + u64::from(month <= 2), month, day)
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.time / 86_400);
        let commit = self.commit.as_deref().unwrap_or("no commit");
        write!(f, "tokenpress {} ({commit}), wgpu {}, {year}-{month:02}-{day:02}", self.version, self.wgpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!([0, 59, 60, 11_016, 20_785].map(date), [(1970, 1, 1), (1970, 3, 1), (1970, 3, 2), (2000, 2, 29), (2026, 11, 28)]);
    }

    #[test]
    fn the_lock_has_wgpu() {
        assert!(locked("wgpu").starts_with("30."));
    }
}
