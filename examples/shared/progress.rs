//! What the examples share: a bar while something is evaluated.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of so many of these things.
pub(crate) fn progress(count: usize, things: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {things}, {{eta}} left"));
    ProgressBar::new(count as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
