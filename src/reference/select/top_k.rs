//! The first of each row in the crate's order.

use std::cmp::Ordering;

/// The values of [`TopKInputs::marks`](crate::kernels::TopKInputs::marks). Every other number counts as [`CANDIDATE`](mark::CANDIDATE).
pub mod mark {
    /// Selected if its score is among the first.
    pub const CANDIDATE: u32 = 0;
    /// Ranks before all candidates, whatever its score. Protected tokens rank by index.
    pub const PROTECTED: u32 = 1;
    /// Never selected.
    pub const EXCLUDED: u32 = 2;
}

/// A row of tokens in the crate's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranking {
    /// All live tokens: protected ones by index, then candidates by score, then excluded ones by index.
    pub order: Vec<u32>,
    /// How many of them may be selected: all but the excluded.
    pub candidates: usize,
}

/// Ranks the live tokens of a row: `scores` and `marks` hold just those.
///
/// Scores go from the largest down, or from the smallest up. -0 equals +0, and NaN comes last either way. Equal scores go by ascending
/// index, which a stable sort keeps.
pub fn rank(scores: &[f32], marks: &[u32], largest: bool) -> Ranking {
    let class = |i: u32| match marks[i as usize] {
        mark::PROTECTED => 0,
        mark::EXCLUDED => 3,
        _ if scores[i as usize].is_nan() => 2,
        _ => 1,
    };
    let by_score = |a: u32, b: u32| {
        let (a, b) = (scores[a as usize], scores[b as usize]);
        let (first, second) = if largest { (b, a) } else { (a, b) };
        first.partial_cmp(&second).unwrap_or(Ordering::Equal)
    };
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_by(|&a, &b| class(a).cmp(&class(b)).then_with(|| if class(a) == 1 { by_score(a, b) } else { Ordering::Equal }));
    let candidates = order.iter().filter(|&&i| class(i) < 3).count();
    Ranking { order, candidates }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition by repeated maximum: which of the tokens left goes first, compared pair by pair.
    fn repeated_maximum(scores: &[f32], marks: &[u32], largest: bool) -> Vec<u32> {
        let goes_before = |a: u32, b: u32| {
            let (mark_a, mark_b) = (marks[a as usize], marks[b as usize]);
            if mark_a != mark_b {
                return mark_a == mark::PROTECTED || mark_b == mark::EXCLUDED;
            }
            let (x, y) = (scores[a as usize], scores[b as usize]);
            if mark_a == mark::CANDIDATE && x.is_nan() != y.is_nan() {
                return y.is_nan();
            }
            if mark_a == mark::CANDIDATE && !x.is_nan() && x != y {
                return (x > y) == largest;
            }
            a < b
        };
        let mut left: Vec<u32> = (0..scores.len() as u32).rev().collect();
        let mut order = Vec::new();
        while !left.is_empty() {
            let mut first = 0;
            for other in 1..left.len() {
                if goes_before(left[other], left[first]) {
                    first = other;
                }
            }
            order.push(left.swap_remove(first));
        }
        order
    }

    #[test]
    fn zeros_infinities_and_nan() {
        let scores = [f32::NAN, -0.0, 1.0, 0.0, f32::NEG_INFINITY, f32::INFINITY, -1e-40, 1e-40];
        assert_eq!(rank(&scores, &[0; 8], true).order, [5, 2, 7, 1, 3, 6, 4, 0]);
        assert_eq!(rank(&scores, &[0; 8], false).order, [4, 6, 1, 3, 7, 2, 5, 0]);
    }

    #[test]
    fn marks_come_before_scores() {
        let marks = [mark::EXCLUDED, 0, mark::PROTECTED, 0, mark::EXCLUDED, mark::PROTECTED];
        let ranking = rank(&[9.0, 1.0, f32::NAN, 2.0, 8.0, 0.0], &marks, true);
        assert_eq!(ranking, Ranking { order: vec![2, 5, 3, 1, 0, 4], candidates: 4 });
        assert_eq!(rank(&[], &[], true), Ranking { order: vec![], candidates: 0 });
    }

    #[test]
    fn is_the_repeated_maximum() {
        let special = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0, -1.0, 1e-40];
        for len in [1, 2, 3, 17, 100] {
            for seed in 0..20u32 {
                let digit = |i: u32| (i.wrapping_mul(2_654_435_761) ^ seed.wrapping_mul(40_503)).wrapping_mul(2_246_822_519) >> 20;
                let scores: Vec<f32> = (0..len).map(|i| special[digit(i) as usize % special.len()]).collect();
                let marks: Vec<u32> = (0..len).map(|i| [0, 0, 0, 1, 2][digit(i + 1000) as usize % 5]).collect();
                for largest in [false, true] {
                    assert_eq!(rank(&scores, &marks, largest).order, repeated_maximum(&scores, &marks, largest), "{scores:?} {marks:?}");
                }
            }
        }
    }
}
