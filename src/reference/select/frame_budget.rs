//! How many tokens each frame may keep.

use crate::compare::EPSILON_F32;

/// What a score counts as, in f32: the largest where it is NaN.
fn counted(score: f32) -> f64 {
    const MOST: f32 = 1.0 / f32::MIN_POSITIVE;
    f64::from(if score.is_nan() { MOST } else { score.clamp(-MOST, MOST) })
}

/// What each of a row's frames may keep before rounding, and how far that may be from it in f32; `None` for frames without tokens.
///
/// `p_f` is the softmax of `-score_f / temperature` over the frames that have tokens, of which there are n, and a frame of `size` tokens
/// may keep `size min(1, base (1 + p_f - 1/n))`. A score that is NaN counts as the largest, and all as from -2^126 to 2^126.
///
/// With x the exponent's magnitude, a term of the softmax has a relative error of
/// `(3 + 2 x)` ulp by WGSL's exp and `2 x` ulp by its argument, and what is lost of scores that are denormal, `2^-125 / temperature`; so has their
/// sum, with an ulp for each of at most n additions, and the division adds 2.5: `6 + 8 x + n + 3` ulp. The division by n and the sums and
/// products that follow add 8 ulp of `1 + p`. The product with the size is exact.
pub fn frame_shares(scores: &[f32], sizes: &[u32], base: f32, temperature: f32) -> Vec<Option<(f64, f64)>> {
    let (ulp, tiny) = (2.0 * EPSILON_F32, f64::from(f32::MIN_POSITIVE));
    let frames: Vec<_> = scores.iter().zip(sizes).filter(|(_, size)| **size > 0).map(|(score, _)| counted(*score)).collect();
    let lowest = frames.iter().copied().fold(f64::INFINITY, f64::min);
    let exponent = |score: f64| (score - lowest) / f64::from(temperature);
    let sum: f64 = frames.iter().map(|score| (-exponent(*score)).exp()).sum();
    let spread: f64 = frames.iter().map(|score| (-exponent(*score)).exp() * exponent(*score)).sum::<f64>() / sum;
    let n = frames.len() as f64;
    // Without a denormal score nothing of one is lost.
    let lost = if frames.iter().any(|score| *score != 0.0 && score.abs() < tiny) { 4.0 * tiny / f64::from(temperature) } else { 0.0 };
    let one = |(score, size): (&f32, &u32)| {
        let (x, size) = (exponent(counted(*score)), f64::from(*size));
        let p = (-x).exp() / sum;
        let share = (f64::from(base) * (1.0 + p - 1.0 / n)).clamp(0.0, 1.0);
        // What has no weight in f64 has none in f32.
        let of_p = if p == 0.0 { tiny } else { p * ((9.0 + 4.0 * x + 4.0 * spread + n) * ulp + lost).exp_m1() + tiny };
        (size > 0.0).then(|| (size * share, size * f64::from(base) * (of_p + 8.0 * ulp * (1.0 + p))))
    };
    scores.iter().zip(sizes).map(one).collect()
}

/// [`frame_shares`], rounded with halves to even: at least 1 token of a frame that has any, 0 of others.
pub fn frame_budget(scores: &[f32], sizes: &[u32], base: f32, temperature: f32) -> Vec<u32> {
    let shares = frame_shares(scores, sizes, base, temperature);
    shares.iter().zip(sizes).map(|(share, size)| share.map_or(0, |(exact, _)| (exact.round_ties_even() as u32).clamp(1, *size))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_stand_out_keep_more() {
        // Equal frames keep the base each; one far below the others takes the whole of p.
        assert_eq!(frame_budget(&[2.0, 2.0, 2.0, 2.0], &[10, 10, 10, 3], 0.5, 0.01), [5, 5, 5, 2]);
        assert_eq!(frame_budget(&[2.0, 1.0, 2.0, 9.0], &[40, 40, 40, 0], 0.25, 0.01), [7, 17, 7, 0]);
        assert_eq!(frame_budget(&[2.0, 2.0], &[10, 1], 0.01, 1.0), [1, 1]);
        assert_eq!(frame_budget(&[1.0, 2.0], &[10, 10], 1.0, 0.01), [10, 5]);
        assert_eq!(frame_budget(&[1.0], &[0], 1.0, 0.01), [0]);
    }

    #[test]
    fn scores_that_are_no_numbers() {
        // NaN stands out least; of two infinities below 0 each takes half of p. All NaN are all equal.
        let (nan, infinity) = (f32::NAN, f32::INFINITY);
        assert_eq!(frame_budget(&[nan, 1.0, infinity, 1.0], &[100; 4], 0.5, 0.01), [38, 62, 38, 62]);
        assert_eq!(frame_budget(&[-infinity, -infinity, 0.0, nan], &[100, 100, 100, 0], 0.6, 0.01), [70, 70, 40, 0]);
        assert_eq!(frame_budget(&[nan; 2], &[100; 2], 0.5, 0.01), [50, 50]);
    }
}
