//! The nearest earlier token of the same label.

use std::collections::HashMap;

use crate::tensor::NONE;

/// For each token of a row, the last token before it with the same label. It is [`NONE`] if there is none, if the label is [`NONE`], and
/// for tokens after the first `live`.
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
