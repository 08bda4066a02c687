//! Cosines against thresholds.

use super::Known;

pub fn all() -> Vec<Known> {
    Vec::new()
}
