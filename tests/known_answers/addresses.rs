//! The same numbers at other addresses.

use super::Known;

pub fn all() -> Vec<Known> {
    Vec::new()
}
