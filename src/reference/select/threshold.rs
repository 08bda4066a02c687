//! Tokens whose score passes a threshold.

/// How a score must compare with its threshold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Relation {
    /// `score > threshold`.
    #[default]
    Above,
    /// `score >= threshold`.
    AtLeast,
    /// `score < threshold`.
    Below,
    /// `score <= threshold`.
    AtMost,
}

impl Relation {
    /// Whether a score passes. -0 equals +0. If score or threshold is NaN, it does not.
    pub fn holds(self, score: f32, threshold: f32) -> bool {
        match self {
            Self::Above => score > threshold,
            Self::AtLeast => score >= threshold,
            Self::Below => score < threshold,
            Self::AtMost => score <= threshold,
        }
    }
}

/// `mask[i]` of one row. It is 1 for a live token that is protected (mark 1). It is also 1 for a live token that passes, is not excluded
/// (mark 2), and is set in the mask of an earlier criterion.
pub fn threshold(scores: &[f32], relation: Relation, threshold: f32, live: u32, marks: &[u32], among: &[u32]) -> Vec<u32> {
    let passes = |i: usize| match marks[i] {
        1 => true,
        2 => false,
        _ => among[i] != 0 && relation.holds(scores[i], threshold),
    };
    (0..scores.len()).map(|i| u32::from(i < live as usize && passes(i))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations() {
        use Relation::{Above, AtLeast, AtMost, Below};
        let scores = [1.0, 0.5, -0.0, 0.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        let run = |relation, limit| threshold(&scores, relation, limit, 8, &[0; 8], &[1; 8]);
        assert_eq!(run(Above, 0.0), [1, 1, 0, 0, 0, 0, 1, 0]);
        assert_eq!(run(AtLeast, -0.0), [1, 1, 1, 1, 0, 0, 1, 0]);
        assert_eq!(run(Below, 0.5), [0, 0, 1, 1, 1, 0, 0, 1]);
        assert_eq!(run(AtMost, 0.5), [0, 1, 1, 1, 1, 0, 0, 1]);
        assert_eq!(run(AtLeast, f32::NEG_INFINITY), [1, 1, 1, 1, 1, 0, 1, 1]);
        assert_eq!(run(AtMost, f32::NAN), [0; 8]);
    }

    #[test]
    fn marks_and_the_other_choice() {
        let scores = [1.0, 1.0, 0.0, f32::NAN, 1.0, 1.0];
        assert_eq!(threshold(&scores, Relation::Above, 0.5, 5, &[0, 2, 1, 1, 0, 1], &[1, 1, 0, 0, 0, 1]), [1, 0, 1, 1, 0, 0]);
    }
}
