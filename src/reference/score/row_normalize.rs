//! Unit vectors and norms.

use crate::compare::EPSILON_F32;

/// Rows of `x` `[batch, heads, tokens, channels]` averaged over the heads, and made unit vectors.
///
/// `mean_c = sum_h x_hc / H`, `norm = sqrt(sum_c mean_c^2)`, `unit_c = mean_c / norm`. Gives `unit` `[batch, tokens, channels]` and `norm`
/// `[batch, tokens]`, which saturates at the largest f32.
///
/// A zero row, and a row from `lengths[b]` on, gives 0 for both. A row with a NaN or an infinity gives unit 0 and norm NaN.
pub fn row_normalize(x: &[f32], lengths: &[u32], [heads, tokens, channels]: [usize; 3]) -> (Vec<f32>, Vec<f32>) {
    let (mut units, mut norms) = (Vec::new(), Vec::new());
    for (b, &length) in lengths.iter().enumerate() {
        for n in 0..tokens {
            let at = |h: usize, c: usize| x[((b * heads + h) * tokens + n) * channels + c];
            let finite = (0..heads).all(|h| (0..channels).all(|c| at(h, c).is_finite()));
            let live = n < length as usize;
            let mean: Vec<f64> = (0..channels).map(|c| (0..heads).map(|h| f64::from(at(h, c))).sum::<f64>() / heads as f64).collect();
            let norm = mean.iter().map(|m| m * m).sum::<f64>().sqrt();
            let usable = live && finite && norm > 0.0;
            units.extend(mean.iter().map(|m| if usable { (m / norm) as f32 } else { 0.0 }));
            norms.push(match (live, finite) {
                (false, _) => 0.0,
                (true, false) => f32::NAN,
                (true, true) => norm.min(f64::from(f32::MAX)) as f32,
            });
        }
    }
    (units, norms)
}

/// Relative error of a norm in f32 whose largest component is in [1, 2). The sum of squares in any order errs by `(C + 2) eps`, which the
/// root halves. WGSL defines `sqrt` by a division (2.5 ulp) and `inverseSqrt` (2 ulp): 4.5 ulp, or 9 eps. An ulp is at most 2 eps.
fn norm_error(channels: usize) -> f64 {
    ((channels as f64 + 2.0) / 2.0 + 9.0) * EPSILON_F32
}

/// Relative error of a component of a unit vector, for one head: the norm's, and the division's 2.5 ulp.
pub fn unit_error(channels: usize) -> f64 {
    norm_error(channels) + 5.0 * EPSILON_F32
}

/// How far [`row_normalize`] in f32 may be from the reference: bounds of `unit` and of `norm`.
///
/// A mean over H heads in f32 errs by `d_c = (H eps sum_h |x_hc| + H 2^-126 max|x|) / H` in channel c, and by nothing for one head. A
/// denormal channel may count as 0 if another is 2^66 times as large.
///
/// With `d = |(d_c)|` the norm of the mean is within d, and a component within `(d_c + |unit_c| d) / (norm - d)`. The rest is relative
/// ([`unit_error`]). If d is not below half the norm, cancellation has left nothing of the direction. Then any unit vector is right, and so
/// is zero.
pub fn row_normalize_bounds(x: &[f32], lengths: &[u32], dims: [usize; 3]) -> (Vec<f64>, Vec<f64>) {
    let [heads, tokens, channels] = dims;
    let (units, norms) = row_normalize(x, lengths, dims);
    let (mut unit_bounds, mut norm_bounds) = (Vec::new(), Vec::new());
    for row in 0..lengths.len() * tokens {
        let (b, n) = (row / tokens, row % tokens);
        let at = |h: usize, c: usize| f64::from(x[((b * heads + h) * tokens + n) * channels + c].abs());
        let largest = (0..heads).flat_map(|h| (0..channels).map(move |c| at(h, c))).fold(0.0, f64::max);
        let rounds = f64::from(u8::from(heads > 1));
        let flushed = if largest >= 2f64.powi(-60) { f64::from(f32::MIN_POSITIVE) } else { 0.0 };
        let errors: Vec<f64> = (0..channels)
            .map(|c| rounds * ((0..heads).map(|h| at(h, c)).sum::<f64>() * EPSILON_F32 + largest * f64::from(f32::MIN_POSITIVE)) + flushed)
            .collect();
        let error = errors.iter().map(|e| e * e).sum::<f64>().sqrt();
        // Exact if the row is dead, not finite, or certainly zero.
        let decided = n >= lengths[b] as usize || norms[row].is_nan() || largest == 0.0;
        // The norm in f64: the f32 one saturates, and may be a denormal.
        let mean = |c: usize| (0..heads).map(|h| f64::from(x[((b * heads + h) * tokens + n) * channels + c])).sum::<f64>() / heads as f64;
        let norm = (0..channels).map(|c| mean(c) * mean(c)).sum::<f64>().sqrt();
        let lost = error >= norm / 2.0;
        let division_by_heads = if heads > 1 { 5.0 * EPSILON_F32 } else { 0.0 };
        norm_bounds.push(match (decided, lost) {
            (true, _) => 0.0,
            _ => error + (norm_error(channels) + division_by_heads + EPSILON_F32) * (norm + error) + 2.0 * f64::from(f32::from_bits(1)),
        });
        for c in 0..channels {
            let unit = f64::from(units[row * channels + c]).abs();
            let moved = (errors[c] + unit * error) / (norm - error);
            unit_bounds.push(match (decided, lost) {
                (true, _) => 0.0,
                (_, true) => 2.0,
                _ => moved + unit_error(channels) * (unit + moved) + f64::from(f32::MIN_POSITIVE),
            });
        }
    }
    (unit_bounds, norm_bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_triangle_of_any_size() {
        for scale in [1.0, 2f32.powi(-140), 2f32.powi(120)] {
            let (unit, norm) = row_normalize(&[3.0 * scale, -4.0 * scale], &[1], [1, 1, 2]);
            assert_eq!(unit, [0.6, -0.8]);
            assert_eq!(norm, [5.0 * scale]);
        }
    }

    #[test]
    fn zero_dead_and_broken_rows() {
        let x = [0.0, -0.0, 1.0, f32::NAN, f32::INFINITY, 2.0, 1.0, 1.0];
        let (unit, norm) = row_normalize(&x, &[3], [1, 4, 2]);
        assert_eq!(unit, [0.0; 8]);
        assert_eq!(norm[0], 0.0);
        assert!(norm[1].is_nan() && norm[2].is_nan());
        assert_eq!(norm[3], 0.0);
    }

    #[test]
    fn heads_are_averaged_and_may_cancel() {
        // Two heads of two tokens of two channels.
        let x = [1.0, 2.0, 5.0, 1e-30, 1.0, 4.0, -5.0, 1e-30];
        let (unit, norm) = row_normalize(&x, &[2], [2, 2, 2]);
        assert_eq!(norm, [10f32.sqrt(), 1e-30]);
        assert_eq!(unit, [(0.1f64).sqrt() as f32, (0.9f64).sqrt() as f32, 0.0, 1.0]);
    }

    #[test]
    fn the_norm_saturates() {
        let (unit, norm) = row_normalize(&[f32::MAX; 4], &[1], [1, 1, 4]);
        assert_eq!((unit, norm), (vec![0.5; 4], vec![f32::MAX]));
    }

    #[test]
    fn bounds_are_a_few_units_and_grow_with_cancellation() {
        let (unit, norm) = row_normalize_bounds(&[3.0, 4.0], &[1], [1, 1, 2]);
        assert!(unit.iter().all(|b| *b < 20.0 * EPSILON_F32) && norm[0] < 100.0 * EPSILON_F32, "{unit:?} {norm:?}");
        let (unit, _) = row_normalize_bounds(&[1.0, 1.0, -1.0, 1.0], &[1], [2, 1, 2]);
        assert!(unit[0] < 50.0 * EPSILON_F32);
        let (unit, _) = row_normalize_bounds(&[1.0, 0.0, -1.0 + 1e-7, 0.0], &[1], [2, 1, 2]);
        assert_eq!(unit, [2.0, 2.0]);
    }
}
