//! Feature grids read between their tokens.

use crate::compare::{EPSILON_F32, storage_error};
use crate::tensor::Elem;

/// A call's tensors as slices, and its sizes.
#[derive(Debug, Clone, Copy)]
pub struct DeformableSampling<'a> {
    /// `[B, N, H, D]`
    pub value: &'a [f32],
    /// `[B, Q, H, S, (x, y)]`: locations in units of the grid, or offsets from `reference` in tokens.
    pub points: &'a [f32],
    /// `[B, Q, H, S]`
    pub weights: &'a [f32],
    /// `[Q, 2]` or `[B, Q, 2]`, in units of the grid.
    pub reference: Option<&'a [f32]>,
    /// Height and width of each level.
    pub levels: &'a [[u32; 2]],
    /// Whether the softmax of the weights is taken.
    pub softmax: bool,
    /// B, N, H, D.
    pub dims: [usize; 4],
    /// Q.
    pub queries: usize,
    /// S, the same for every level.
    pub samples: usize,
}

/// One point of one query and head: its place, and the error of that place by rounding.
struct Point {
    level: usize,
    pixel: [f64; 2],
    error: [f64; 2],
    weight: f64,
    weight_error: f64,
}

impl DeformableSampling<'_> {
    /// The points of each batch row, query and head.
    fn points(&self, batch: usize, query: usize, head: usize) -> Vec<Point> {
        let [_, _, heads, _] = self.dims;
        let row = (batch * self.queries + query) * heads + head;
        let given: Vec<f64> = self.weights[row * self.samples..][..self.samples].iter().map(|w| f64::from(*w)).collect();
        let largest = given.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = given.iter().map(|w| (w - largest).exp()).collect();
        let total: f64 = powers.iter().sum();
        // The relative error of each power: one ulp for the difference, `3 + 2 |x|` ulp for `exp`.
        let ulp = 2.0 * EPSILON_F32;
        let power_error = |s: usize| (3.0 + 3.0 * (given[s] - largest).abs()) * ulp;
        // That of their sum, and of the division by it (2.5 ulp).
        let total_error = (0..self.samples).map(|s| powers[s] / total * power_error(s)).sum::<f64>() + (self.samples as f64 + 2.5) * ulp;
        let point = |s: usize| {
            let level = s / (self.samples / self.levels.len()).max(1);
            let [height, width] = self.levels[level].map(f64::from);
            let (mut pixel, mut error) = ([0.0; 2], [0.0; 2]);
            for (axis, extent) in [width, height].into_iter().enumerate() {
                let point = f64::from(self.points[(row * self.samples + s) * 2 + axis]);
                let (anchor, offset) = match self.reference {
                    Some(reference) => {
                        let stride = if reference.len() == self.queries * 2 { 0 } else { self.queries * 2 };
                        (f64::from(reference[batch * stride + query * 2 + axis]) * extent, point)
                    }
                    None => (point * extent, 0.0),
                };
                pixel[axis] = anchor + offset - 0.5;
                // A product, two sums, and the distance to the next token: each within one ulp.
                error[axis] = 4.0 * ulp * (anchor.abs() + offset.abs() + 1.5);
            }
            let (weight, weight_error) = match self.softmax {
                true => {
                    let weight = powers[s] / total;
                    (weight, weight * (power_error(s) + total_error) + f64::from(f32::MIN_POSITIVE))
                }
                false => (given[s], 0.0),
            };
            Point { level, pixel, error, weight, weight_error }
        };
        (0..self.samples).map(point).collect()
    }

    /// A token of a level, 0 beyond the grid.
    fn token(&self, batch: usize, level: usize, [x, y]: [f64; 2], head: usize, channel: usize) -> f64 {
        let [_, tokens, heads, channels] = self.dims;
        let [height, width] = self.levels[level].map(|n| n as usize);
        if !(x >= 0.0 && y >= 0.0 && x < width as f64 && y < height as f64) {
            return 0.0;
        }
        let first: usize = self.levels[..level].iter().map(|[h, w]| *h as usize * *w as usize).sum();
        let token = batch * tokens + first + y as usize * width + x as usize;
        f64::from(self.value[(token * heads + head) * channels + channel])
    }

    /// The value at a point, between its four tokens.
    fn sample(&self, batch: usize, head: usize, channel: usize, point: &Point) -> f64 {
        let [x, y] = point.pixel;
        let [height, width] = self.levels[point.level].map(f64::from);
        if !(x > -1.0 && y > -1.0 && x < width && y < height) {
            return 0.0;
        }
        let (left, top) = (x.floor(), y.floor());
        let token = |dx: f64, dy: f64| self.token(batch, point.level, [left + dx, top + dy], head, channel);
        let row = |dy: f64| token(0.0, dy) * (1.0 - (x - left)) + token(1.0, dy) * (x - left);
        row(0.0) * (1.0 - (y - top)) + row(1.0) * (y - top)
    }

    /// The largest magnitude among all tokens that a point may lie between after rounding; NaN if one of them is.
    fn magnitude(&self, batch: usize, head: usize, channel: usize, point: &Point) -> f64 {
        let [height, width] = self.levels[point.level].map(f64::from);
        let range = |axis: usize, extent: f64| {
            let (low, high) = (point.pixel[axis] - point.error[axis] - 1.0, point.pixel[axis] + point.error[axis] + 1.0);
            // No token is near a place that is NaN or infinite.
            if low.is_finite() && high.is_finite() {
                low.floor().max(0.0) as u64..(high.ceil() + 1.0).clamp(0.0, extent) as u64
            } else {
                0..0
            }
        };
        let columns = range(0, width);
        let tokens = range(1, height).flat_map(|y| columns.clone().map(move |x| [x as f64, y as f64]));
        tokens
            .map(|at| self.token(batch, point.level, at, head, channel).abs())
            .fold(0.0, |a: f64, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) })
    }

    /// One number for each element of the result, from its points.
    fn elements(&self, mut element: impl FnMut(usize, usize, usize, &[Point]) -> f64) -> Vec<f64> {
        let [batches, _, heads, channels] = self.dims;
        let mut all = Vec::new();
        for (batch, query) in (0..batches).flat_map(|b| (0..self.queries).map(move |q| (b, q))) {
            for head in 0..heads {
                let points = self.points(batch, query, head);
                all.extend((0..channels).map(|channel| element(batch, head, channel, &points)));
            }
        }
        all
    }
}

/// `y[b,q,h] = sum_s weight sample(value[b,:,h], pixel of s)`, samples bilinear with zeros beyond the grid.
pub fn deformable_sample(sampling: &DeformableSampling<'_>) -> Vec<f64> {
    let sum = |batch, head, channel, points: &[Point]| points.iter().map(|p| p.weight * sampling.sample(batch, head, channel, p)).sum();
    sampling.elements(sum)
}

/// Largest error of [`deformable_sample`] on the GPU, stored as `elem`.
///
/// A sample is continuous in its pixel: if the pixel moves by one token, the sample changes by at most twice the largest magnitude
/// nearby. Each sample adds 9 operations and each result S sums, of one ulp each. To this come the weight's own error and the
/// rounding to `elem`.
pub fn deformable_sample_bound(sampling: &DeformableSampling<'_>, elem: Elem) -> Vec<f64> {
    let (ulp, tiny) = (2.0 * EPSILON_F32, f64::from(f32::MIN_POSITIVE));
    sampling.elements(|batch, head, channel, points| {
        let (mut sum, mut error, mut largest) = (0.0, 0.0, 0.0);
        for point in points {
            let magnitude = sampling.magnitude(batch, head, channel, point);
            let moved = 2.0 * (point.error[0] + point.error[1]) + (9.0 + sampling.samples as f64) * ulp;
            // Denormal numbers may be flushed: the weight, each of the four tokens, and each of the two shares of one.
            let flushed = if point.weight.abs() < tiny { point.weight.abs() * magnitude } else { 0.0 };
            error += (point.weight.abs() * moved + point.weight_error) * magnitude + flushed + (8.0 * point.weight.abs() + 1.0) * tiny;
            largest += (point.weight.abs() + point.weight_error) * magnitude;
            sum += point.weight * sampling.sample(batch, head, channel, point);
        }
        let bound = error + storage_error(elem, sum.abs() + error);
        // The bound is infinite if sums may pass through infinity, or a token nearby is infinite or NaN.
        if bound.is_finite() && largest + error < f64::from(f32::MAX) { bound } else { f64::INFINITY }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nan_beside_a_number_leaves_the_bound_open() {
        let bound = |value: [f32; 4]| {
            let (points, dims) = (&[0.75, 0.5], [1, 4, 1, 1]);
            let levels = &[[1, 4]];
            let sampling = DeformableSampling {
                value: &value,
                points,
                weights: &[1.0],
                reference: None,
                levels,
                softmax: false,
                dims,
                queries: 1,
                samples: 1,
            };
            deformable_sample_bound(&sampling, Elem::F32)[0]
        };
        // The point lies between the last two tokens.
        assert!(bound([0.5, 2.0, 1.0, 3.0]) < 1e-4);
        for value in [[0.5, f32::NAN, 1.0, 3.0], [0.5, 2.0, f32::NAN, 3.0], [0.5, 2.0, 1.0, f32::NAN]] {
            assert_eq!(bound(value), f64::INFINITY, "{value:?}");
        }
    }

    #[test]
    fn a_hand_made_grid() {
        // A level of 2 x 3 tokens, then one of a single token; one head of one channel.
        let value = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 10.0];
        let sample = |points: &[f32], reference: Option<&[f32]>, weights: &[f32], softmax| {
            let (levels, dims) = (&[[2, 3], [1, 1]], [1, 7, 1, 1]);
            let sampling = DeformableSampling { value: &value, points, weights, reference, levels, softmax, dims, queries: 1, samples: 2 };
            deformable_sample(&sampling)[0]
        };
        // The middle of the first level is between tokens 2 and 5, that of the second is its token.
        assert_eq!(sample(&[0.5, 0.5, 0.5, 0.5], None, &[1.0, 0.25], false), 3.5 + 2.5);
        assert_eq!(sample(&[0.5, 0.5, 0.5, 0.5], None, &[7.0, 7.0], true), (3.5 + 10.0) / 2.0);
        // Offsets are in tokens: one to the right and half up; half a token beyond the second level.
        assert_eq!(sample(&[1.0, -0.5, 0.5, 0.0], Some(&[0.5, 0.5]), &[1.0, 1.0], false), 3.0 + 5.0);
        // A corner of the grid is half a token out on both axes; further out, and nowhere, is nothing.
        assert_eq!(sample(&[0.0, 0.0, 9.0, 0.5], None, &[1.0, 1.0], false), 0.25);
        assert_eq!(sample(&[f32::NAN, 0.5, f32::INFINITY, 0.5], None, &[1.0, 1.0], false), 0.0);
    }
}
