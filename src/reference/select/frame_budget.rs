//! How many tokens each frame may keep.

use crate::compare::EPSILON_F32;

/// The score that counts, in f32. NaN counts as the largest.
fn counted(score: f32) -> f64 {
    const MOST: f32 = 1.0 / f32::MIN_POSITIVE;
    f64::from(if score.is_nan() { MOST } else { score.clamp(-MOST, MOST) })
}

/// The tokens that each of a row's frames may keep, before rounding, and the largest error of that in f32. `None` for a frame without
/// tokens.
///
/// `p_f` is the softmax of `-score_f / temperature` over the n frames that have tokens. A frame of `size` tokens may keep
/// `size min(1, base (1 + p_f - 1/n))`. A NaN score counts as the largest. Scores are clamped to -2^126..=2^126.
///
/// Let x be the magnitude of the exponent. A term of the softmax has a relative error of `3 + 2 x` ulp for WGSL's exp and `2 x` ulp for its
/// argument. A denormal score may be lost, which adds `2^-125 / temperature`. The sum has the same relative error, and one ulp for each of
/// at most n additions. The division adds 2.5 ulp. Together these are `6 + 8 x + n + 3` ulp. The division by n, and the sums and products
/// after it, add 8 ulp of `1 + p`. The product with the size is exact.
pub fn frame_shares(scores: &[f32], sizes: &[u32], base: f32, temperature: f32) -> Vec<Option<(f64, f64)>> {
    let (ulp, tiny) = (2.0 * EPSILON_F32, f64::from(f32::MIN_POSITIVE));
    let frames: Vec<_> = scores.iter().zip(sizes).filter(|(_, size)| **size > 0).map(|(score, _)| counted(*score)).collect();
    let lowest = frames.iter().copied().fold(f64::INFINITY, f64::min);
    let exponent = |score: f64| (score - lowest) / f64::from(temperature);
    let sum: f64 = frames.iter().map(|score| (-exponent(*score)).exp()).sum();
    let spread: f64 = frames.iter().map(|score| (-exponent(*score)).exp() * exponent(*score)).sum::<f64>() / sum;
    let n = frames.len() as f64;
    // Only a denormal score can be lost.
    let lost = if frames.iter().any(|score| *score != 0.0 && score.abs() < tiny) { 4.0 * tiny / f64::from(temperature) } else { 0.0 };
    let one = |(score, size): (&f32, &u32)| {
        let (x, size) = (exponent(counted(*score)), f64::from(*size));
        let p = (-x).exp() / sum;
        let share = (f64::from(base) * (1.0 + p - 1.0 / n)).clamp(0.0, 1.0);
        // A weight that is 0 in f64 is 0 in f32.
        let of_p = if p == 0.0 { tiny } else { p * ((9.0 + 4.0 * x + 4.0 * spread + n) * ulp + lost).exp_m1() + tiny };
        (size > 0.0).then(|| (size * share, size * f64::from(base) * (of_p + 8.0 * ulp * (1.0 + p))))
    };
    scores.iter().zip(sizes).map(one).collect()
}

/// [`frame_shares`], rounded with halves to even. A frame with tokens keeps at least 1, a frame without keeps 0.
pub fn frame_budget(scores: &[f32], sizes: &[u32], base: f32, temperature: f32) -> Vec<u32> {
    let shares = frame_shares(scores, sizes, base, temperature);
    shares.iter().zip(sizes).map(|(share, size)| share.map_or(0, |(exact, _)| (exact.round_ties_even() as u32).clamp(1, *size))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_stand_out_keep_more() {
        // Equal frames each keep the base. A score far below the others takes the whole of p.
        assert_eq!(frame_budget(&[2.0, 2.0, 2.0, 2.0], &[10, 10, 10, 3], 0.5, 0.01), [5, 5, 5, 2]);
        assert_eq!(frame_budget(&[2.0, 1.0, 2.0, 9.0], &[40, 40, 40, 0], 0.25, 0.01), [7, 17, 7, 0]);
        assert_eq!(frame_budget(&[2.0, 2.0], &[10, 1], 0.01, 1.0), [1, 1]);
        assert_eq!(frame_budget(&[1.0, 2.0], &[10, 10], 1.0, 0.01), [10, 5]);
        assert_eq!(frame_budget(&[1.0], &[0], 1.0, 0.01), [0]);
    }

    #[test]
    fn scores_that_are_no_numbers() {
        // NaN stands out least. Two scores of negative infinity each take half of p. If all are NaN, all are equal.
        let (nan, infinity) = (f32::NAN, f32::INFINITY);
        assert_eq!(frame_budget(&[nan, 1.0, infinity, 1.0], &[100; 4], 0.5, 0.01), [38, 62, 38, 62]);
        assert_eq!(frame_budget(&[-infinity, -infinity, 0.0, nan], &[100, 100, 100, 0], 0.6, 0.01), [70, 70, 40, 0]);
        assert_eq!(frame_budget(&[nan; 2], &[100; 2], 0.5, 0.01), [50, 50]);
    }
}
