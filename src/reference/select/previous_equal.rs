//! The nearest earlier token of the same label.

use std::collections::HashMap;

use crate::tensor::NONE;

/// For each of a row's tokens the last one before it that has its label; [`NONE`] where there is none, for tokens labelled [`NONE`]
/// and for those behind the first `live`.
pub fn previous_equal(labels: &[u32], live: u32) -> Vec<u32> {
    let mut last = HashMap::new();
    let one = |(token, &label): (usize, &u32)| {
        let before = last.insert(label, token as u32);
        before.filter(|_| label != NONE && token < live as usize).unwrap_or(NONE)
    };
    labels.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_around_a_text() {
        let labels = [0, 1, 2, NONE, NONE, 0, 2, 2, 0];
        assert_eq!(previous_equal(&labels, 8), [NONE, NONE, NONE, NONE, NONE, 0, 2, 6, NONE]);
        assert_eq!(previous_equal(&[], 4), []);
    }
}
