//! The nearest candidates of every query, and density peaks.

use crate::compare::{EPSILON_F32, storage_error};
use crate::reference::{cosine, cosine_bound};
use crate::tensor::Elem;

/// The rows of one batch row, and the measure of nearness.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// `[tokens, channels]`; unit rows for similarities.
    pub rows: &'a [f32],
    /// Norms of the rows before they were made unit rows, `[tokens]`; NaN for a row with a NaN or an infinity. With norms nearness is the
    /// cosine, without them the Euclidean distance.
    pub norm: Option<&'a [f32]>,
    /// Channels of a row.
    pub channels: usize,
    /// Live tokens.
    pub live: usize,
}

impl<'a> Rows<'a> {
    /// A token's row.
    pub fn row(&self, token: usize) -> &'a [f32] {
        &self.rows[token * self.channels..][..self.channels]
    }

    /// Similarity or distance of two tokens; NaN if it is not finite in f32.
    pub fn value(&self, a: usize, b: usize) -> f64 {
        match self.norm {
            Some(norm) if norm[a].is_nan() || norm[b].is_nan() => f64::NAN,
            Some(_) => cosine(self.row(a), self.row(b)),
            None => {
                let square: f64 = self.row(a).iter().zip(self.row(b)).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
                if square <= f64::from(f32::MAX) { square.sqrt() } else { f64::NAN }
            }
        }
    }

    /// How far a similarity or distance in f32 may be from the exact one.
    ///
    /// A squared distance errs by `(C + 3) eps` of itself: one rounding for the difference, which the square doubles, one for the square,
    /// one for each sum. Squares below the smallest normal number may be flushed to 0. The root adds 9 eps.
    pub fn bound(&self, a: usize, b: usize) -> f64 {
        if self.norm.is_some() {
            let bound = cosine_bound(self.row(a), self.row(b));
            return bound + storage_error(Elem::F32, bound);
        }
        let (n, value) = (self.channels as f64, self.value(a, b));
        let flushed = n * f64::from(f32::MIN_POSITIVE);
        let square_error = (n + 3.0) * EPSILON_F32 * value * value + flushed;
        let error = if value > 0.0 { (square_error / value).min(square_error.sqrt()) } else { flushed.sqrt() };
        match a == b || self.row(a) == self.row(b) {
            true => 0.0,
            false => error + 9.0 * EPSILON_F32 * (value + error) + storage_error(Elem::F32, value + error),
        }
    }

    /// Whether the first value is nearer than the second. NaN is nearer than nothing.
    pub fn nearer(&self, first: f64, second: f64) -> bool {
        match (first.is_nan(), second.is_nan()) {
            (true, _) => false,
            (false, true) => true,
            _ if self.norm.is_some() => first > second,
            _ => first < second,
        }
    }
}

/// All live candidates of a live query, each as its index in the list and its value. The nearest comes first. Equally near ones keep the
/// list's order. `excluded` is not a candidate.
pub fn neighbours(rows: &Rows<'_>, query: usize, candidates: &[u32], excluded: Option<usize>) -> Vec<(u32, f64)> {
    let live = |token: usize| query < rows.live && token < rows.live && Some(token) != excluded;
    let listed = candidates.iter().enumerate().filter(|(_, token)| live(**token as usize));
    let mut found: Vec<_> = listed.map(|(index, &token)| (index as u32, rows.value(query, token as usize))).collect();
    found.sort_by(|(_, a), (_, b)| match (rows.nearer(*a, *b), rows.nearer(*b, *a)) {
        (true, _) => std::cmp::Ordering::Less,
        (_, true) => std::cmp::Ordering::Greater,
        _ => std::cmp::Ordering::Equal,
    });
    found
}

/// `exp(-mean_k d_k^2 / C)` of the distances to the nearest tokens; 0 without any.
pub fn density(distances: &[f32], channels: usize) -> f64 {
    if distances.is_empty() {
        return 0.0;
    }
    (-mean_square(distances) / channels.max(1) as f64).exp()
}

fn mean_square(distances: &[f32]) -> f64 {
    distances.iter().map(|d| f64::from(*d).powi(2)).sum::<f64>() / distances.len() as f64
}

/// How far [`density`] in f32 may be from the exact one. The exponent x errs by `(K + 12) eps |x|`: squares, sum, two divisions of 5 eps
/// each. `exp` errs by `3 + 2 |x|` ulp of at most 2 eps. Squares may be flushed to 0, and the result too.
pub fn density_bound(distances: &[f32], channels: usize) -> f64 {
    let (value, n) = (density(distances, channels), distances.len() as f64);
    let exponent = if distances.is_empty() { 0.0 } else { mean_square(distances) / channels.max(1) as f64 };
    match exponent.is_finite() {
        _ if distances.is_empty() || value.is_nan() => 0.0,
        // The sum of squares may overflow where its mean does not.
        _ if exponent * n * channels as f64 > f64::from(f32::MAX) => f64::INFINITY,
        _ => {
            let relative = (n + 12.0) * EPSILON_F32 * exponent + (6.0 + 4.0 * exponent) * EPSILON_F32 + n * f64::from(f32::MIN_POSITIVE);
            value * relative * 1.01 + f64::from(f32::MIN_POSITIVE) + storage_error(Elem::F32, value)
        }
    }
}

/// The distance of each live token to the nearest one that is strictly denser, divided by `sqrt(C)`, and its largest error in f32. For a
/// token without a denser one it is the largest distance of the batch row.
pub fn separation(rows: &Rows<'_>, density: &[f32]) -> Vec<(f64, f64)> {
    let denser = |a: f32, b: f32| a > b || (b.is_nan() && !a.is_nan());
    let root = (rows.channels.max(1) as f64).sqrt();
    let pairs = |i: usize| (0..rows.live).map(move |j| (j, rows.value(i, j), rows.bound(i, j))).filter(|(_, value, _)| !value.is_nan());
    let (mut farthest, mut farthest_bound) = (0.0f64, 0.0f64);
    for (_, value, bound) in (0..rows.live).flat_map(pairs) {
        (farthest, farthest_bound) = (farthest.max(value), farthest_bound.max(bound));
    }
    let of = |i: usize| {
        let above = pairs(i).filter(|(j, ..)| denser(density[*j], density[i]));
        above.map(|(_, value, bound)| (value, bound)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or((farthest, farthest_bound))
    };
    // The division adds 5 eps, the root of C 9.
    let scaled = |(value, bound): (f64, f64)| (value / root, (bound + 14.0 * EPSILON_F32 * (value + bound)) / root);
    (0..rows.live).map(of).map(scaled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: [f32; 8] = [0.0, 0.0, 3.0, 4.0, 3.0, 3.0, 0.0, 0.0];

    fn rows(x: &[f32], norm: Option<&'static [f32]>) -> Vec<Vec<(u32, f64)>> {
        let rows = Rows { rows: x, norm, channels: 2, live: x.len() / 2 };
        (0..x.len() / 2).map(|i| neighbours(&rows, i, &[0, 1, 2, 3, 9], Some(i))).collect()
    }

    #[test]
    fn by_hand() {
        let found = rows(&X, None);
        assert_eq!(found[0], [(3, 0.0), (2, 18f64.sqrt()), (1, 5.0)]);
        assert_eq!(found[1], [(2, 1.0), (0, 5.0), (3, 5.0)]);
        let found = rows(&[1.0, 0.0, 0.6, 0.8, 0.0, 1.0, 0.0, 0.0], Some(&[1.0, 1.0, 1.0, f32::NAN]));
        assert_eq!(found[0][..2], [(1, f64::from(0.6f32)), (2, 0.0)]);
        assert_eq!((found[0][2].0, found[0][2].1.is_nan()), (3, true));
    }

    #[test]
    fn peaks_by_hand() {
        assert_eq!(density(&[0.0, 2.0], 2), (-1f64).exp());
        assert_eq!((density(&[], 2), density(&[1e30], 2)), (0.0, 0.0));
        let rows = Rows { rows: &X, norm: None, channels: 2, live: 4 };
        let separation: Vec<f64> = separation(&rows, &[0.9, 0.2, 0.5, 0.9]).into_iter().map(|(value, _)| value * 2f64.sqrt()).collect();
        // Tokens 0 and 3 are equally dense: neither has a denser one.
        for (found, expected) in separation.iter().zip([5.0, 1.0, 18f64.sqrt(), 5.0]) {
            assert!((found - expected).abs() < 1e-12, "{separation:?}");
        }
    }

    #[test]
    fn bounds_are_small() {
        let rows = Rows { rows: &X, norm: None, channels: 2, live: 4 };
        assert!(rows.bound(0, 1) > 0.0 && rows.bound(0, 1) < 50.0 * 5.0 * EPSILON_F32);
        assert_eq!(rows.bound(0, 3), 0.0);
        assert!(density_bound(&[0.0, 2.0], 2) < 30.0 * EPSILON_F32);
        assert!(separation(&rows, &[0.9, 0.2, 0.5, 0.9]).iter().all(|(_, bound)| *bound < 500.0 * EPSILON_F32));
    }
}
