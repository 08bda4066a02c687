//! Running sums.

use crate::compare::EPSILON_F32;

/// `x[0] + .. + x[j]` for each j.
pub fn cumulative_sum(x: &[f32]) -> Vec<f64> {
    let mut sum = 0.0;
    let next = |number: &f32| {
        sum += f64::from(*number);
        sum
    };
    x.iter().map(next).collect()
}

/// How far [`cumulative_sum`] in f32 may be.
///
/// A number passes through 16 additions of its invocation, 16 of its block, 16 of the blocks, and one for each chunk of 4096 numbers;
/// rows of one chunk have fewer. Each errs by a unit of roundoff of what it adds up, or loses a denormal number. Where the magnitudes leave
/// f32's range, so may a sum on the way, and nothing is promised.
pub fn cumulative_sum_bound(x: &[f32]) -> Vec<f64> {
    let mut size = 0.0;
    let additions = 50.0 + (x.len() / 4096) as f64;
    let next = |(place, number): (usize, &f32)| {
        size += f64::from(number.abs());
        let lost = (place + 1) as f64 * f64::from(f32::MIN_POSITIVE);
        match size.is_finite() && size >= f64::from(f32::MAX) {
            true => f64::INFINITY,
            false => additions * EPSILON_F32 * size + lost,
        }
    };
    x.iter().enumerate().map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_reaches_what_comes_after() {
        let sums = cumulative_sum(&[1.0, f32::INFINITY, 2.0, f32::NEG_INFINITY, 3.0]);
        assert_eq!(sums[..3], [1.0, f64::INFINITY, f64::INFINITY]);
        assert!(sums[3].is_nan() && sums[4].is_nan());
        assert_eq!(cumulative_sum_bound(&[2e38, 2e38, 1.0])[1..], [f64::INFINITY; 2]);
        assert!(cumulative_sum_bound(&[1.0; 9])[8] < 500.0 * EPSILON_F32);
    }
}
