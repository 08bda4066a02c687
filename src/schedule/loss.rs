//! How far a compressed model's output is from the whole model's, on the host.

use crate::error::Error;
use crate::tensor::{Elem, HostTensor};

/// The mean cosine distance of rows, along the last dimension, in f64.
///
/// ```text
/// loss = mean over rows of 1 - a . b / (|a| |b|)
/// ```
///
/// From 0 to 2, and exactly 0 for equal rows. Two rows of zeros have distance 0, a row of zeros and another 1. A row with a NaN or an infinity makes the mean NaN. Without rows
/// it is 0.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ, [`Error::Elem`] if an input is of integers.
///
/// ```
/// use tokenpress::{HostTensor, schedule::cosine_distance};
///
/// let whole = HostTensor::f32([2, 2], vec![1.0, 0.0, 0.0, 3.0]);
/// let compressed = HostTensor::f32([2, 2], vec![0.0, 5.0, 0.0, 1.0]);
/// assert_eq!(cosine_distance(&whole, &compressed)?, 0.5);
/// # Ok::<(), tokenpress::Error>(())
/// ```
pub fn cosine_distance(whole: &HostTensor, compressed: &HostTensor) -> Result<f64, Error> {
    mean("cosine distance", whole, compressed, |a, b| {
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let [squares_a, squares_b] = [product(a, a), product(b, b)];
        match (squares_a == 0.0, squares_b == 0.0) {
            (true, true) => 0.0,
            (true, _) if squares_b.is_finite() => 1.0,
            (_, true) if squares_a.is_finite() => 1.0,
            // One root, so that it is exact for equal rows. Squares of f32 are far from the ends of f64's range.
            _ => 1.0 - product(a, b) / (squares_a * squares_b).sqrt(),
        }
    })
}

/// The mean Kullback-Leibler divergence of rows of logits, along the last dimension, in f64 and in nats.
///
/// ```text
/// p = softmax(whole)     q = softmax(compressed)     loss = mean over rows of sum(p log(p / q))
/// ```
///
/// At least 0, but for rounding. A logit of -infinity is a share of 0: it adds nothing in `whole`; in `compressed` alone it makes the divergence
/// infinite. A row with a NaN or +infinity, or of -infinity alone, makes it NaN. Without rows it is 0.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ, [`Error::Elem`] if an input is of integers.
///
/// ```
/// use tokenpress::{HostTensor, schedule::divergence};
///
/// // Half and half; then a quarter and three quarters.
/// let whole = HostTensor::f32([1, 2], vec![7.0, 7.0]);
/// let compressed = HostTensor::f32([1, 2], vec![0.0, 3f32.ln()]);
/// assert!((divergence(&whole, &compressed)? - (4.0f64 / 3.0).ln() / 2.0).abs() < 1e-7);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("kl", "kullback_leibler"))]
pub fn divergence(whole: &HostTensor, compressed: &HostTensor) -> Result<f64, Error> {
    mean("divergence", whole, compressed, |a, b| {
        let [a, b] = [log_softmax(a), log_softmax(b)];
        // A share of 0 adds nothing, whatever the other is.
        let term = |(a, b): (&f64, &f64)| if a.exp() == 0.0 && !b.is_nan() { 0.0 } else { a.exp() * (a - b) };
        a.iter().zip(&b).map(term).sum()
    })
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum = logits.iter().map(|x| (x - most).exp()).sum::<f64>().ln();
    logits.iter().map(|x| x - most - sum).collect()
}

/// The mean of a number for each pair of rows.
fn mean(argument: &'static str, whole: &HostTensor, compressed: &HostTensor, of: impl Fn(&[f64], &[f64]) -> f64) -> Result<f64, Error> {
    for tensor in [whole, compressed] {
        if tensor.desc().elem == Elem::U32 {
            return Err(Error::Elem { argument, expected: "floats", actual: Elem::U32 });
        }
    }
    if whole.shape() != compressed.shape() {
        return Err(Error::Shape { argument, expected: whole.shape().to_string(), actual: compressed.shape() });
    }
    let width = whole.shape().dims().last().map_or(1, |width| *width as usize);
    let [whole, compressed] = [whole, compressed].map(|tensor| tensor.floats().into_iter().map(f64::from).collect::<Vec<_>>());
    let rows = whole.chunks(width.max(1)).zip(compressed.chunks(width.max(1)));
    let (sum, count) = rows.fold((0.0, 0u32), |(sum, count), (a, b)| (sum + of(a, b), count + 1));
    Ok(sum / f64::from(count.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: [f32; 2]) -> HostTensor {
        HostTensor::f32([1, 2], values.to_vec())
    }

    #[test]
    fn distances_of_odd_rows() {
        let distance = |a, b| cosine_distance(&rows(a), &rows(b)).expect("equal shapes");
        assert_eq!(distance([0.1, 0.7], [0.1, 0.7]), 0.0);
        assert_eq!(distance([3.0, 4.0], [-6.0, -8.0]), 2.0);
        assert_eq!((distance([0.0; 2], [0.0; 2]), distance([0.0; 2], [1.0, 0.0]), distance([1.0, 0.0], [0.0; 2])), (0.0, 1.0, 1.0));
        let odd = [f32::NAN, f32::INFINITY].map(|odd| [[odd, 1.0], [0.0; 2]]);
        for [odd, zero] in odd {
            assert!(distance(odd, zero).is_nan() && distance(zero, odd).is_nan() && distance(odd, [1.0; 2]).is_nan());
        }
    }

    #[test]
    fn divergences_of_odd_rows() {
        let kl = |a, b| divergence(&rows(a), &rows(b)).expect("equal shapes");
        let none = f32::NEG_INFINITY;
        // A shift changes nothing, and large logits do not overflow.
        assert!(kl([1e4, 0.0], [1e4 + 1.0, 1.0]).abs() < 1e-12);
        assert_eq!((kl([0.0, none], [0.0, none]), kl([0.0, none], [0.0, 0.0])), (0.0, 2f64.ln()));
        assert_eq!((kl([0.0, 0.0], [0.0, none]), kl([0.0, -1e4], [0.0, none])), (f64::INFINITY, 0.0));
        for odd in [[f32::NAN, 0.0], [f32::INFINITY, 0.0], [none; 2]] {
            assert!(kl(odd, [0.0; 2]).is_nan() && kl([0.0; 2], odd).is_nan(), "{odd:?}");
        }
    }

    #[test]
    fn tensors_that_do_not_match() {
        for loss in [cosine_distance, divergence] {
            let other = HostTensor::f32([2, 1], vec![0.0; 2]);
            assert!(matches!(loss(&rows([0.0; 2]), &other), Err(Error::Shape { .. })));
            let integers = HostTensor::u32([1, 2], vec![0; 2]);
            assert!(matches!(loss(&rows([0.0; 2]), &integers), Err(Error::Elem { .. })));
            let none = HostTensor::f32([0, 2], Vec::new());
            assert_eq!(loss(&none, &none), Ok(0.0));
        }
    }
}
