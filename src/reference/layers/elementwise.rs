//! Two tensors number by number.

use crate::compare::EPSILON_F32;
use crate::reference::Activation;
use crate::tensor::Elem;

/// How two numbers become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `a + scale b`.
    Add,
    /// `a (scale b)`.
    Multiply,
}

/// Which number of b belongs to which number of a. `a` is `[outer, middle, inner]`, and b has a stride for each of these dimensions. A
/// stride of 0 repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pairing {
    /// Numbers of the two inner dimensions.
    pub sizes: [usize; 2],
    /// Strides of b, from the outer one.
    pub strides: [usize; 3],
}

impl Pairing {
    /// Index in b of the number that belongs to a's i-th number.
    pub fn of(&self, i: usize) -> usize {
        let [middle, inner] = self.sizes;
        let row = i / inner;
        row / middle * self.strides[0] + row % middle * self.strides[1] + i % inner * self.strides[2]
    }
}

/// Pairs of a number of `a` and its number of `b`.
fn pairs<'a>(a: &'a [f32], b: &'a [f32], pairing: Pairing, scale: f32) -> impl Iterator<Item = (f64, f64)> + 'a {
    a.iter().enumerate().map(move |(i, &a)| (f64::from(a), f64::from(scale) * f64::from(b[pairing.of(i)])))
}

fn combine(operation: Operation, a: f64, scaled: f64) -> f64 {
    match operation {
        Operation::Add => a + scaled,
        Operation::Multiply => a * scaled,
    }
}

/// `activation(a + scale b)` or `activation(a (scale b))`.
pub fn elementwise(a: &[f32], b: &[f32], pairing: Pairing, operation: Operation, scale: f32, activation: Activation) -> Vec<f64> {
    pairs(a, b, pairing, scale).map(|(a, scaled)| activation.apply(combine(operation, a, scaled))).collect()
}

/// Largest error of [`elementwise`] on the GPU, stored as `elem`.
///
/// It is one ulp of the scaled number and one of the result, passed on through the activation, and the rounding to `elem`. Denormals may
/// count as 0. The bound is infinite if the scaled number may be infinite where the result is not, or if a denormal meets an infinity.
/// Any other result that is not finite is exact.
pub fn elementwise_bound(
    a: &[f32],
    b: &[f32],
    pairing: Pairing,
    operation: Operation,
    scale: f32,
    activation: Activation,
    elem: Elem,
) -> Vec<f64> {
    let (ulp, tiny) = (2.0 * EPSILON_F32, f64::from(f32::MIN_POSITIVE));
    let bound = |(i, (of_a, scaled)): (usize, (f64, f64))| {
        let value = combine(operation, of_a, scaled);
        let small = |x: f64| x != 0.0 && x.abs() < tiny;
        let flushed = small(f64::from(b[pairing.of(i)])) || small(f64::from(scale)) || small(scaled);
        let overflows = scaled.is_finite() && scaled.abs() * (1.0 + ulp) > f64::from(f32::MAX);
        let (before, open) = match operation {
            Operation::Add => {
                let lost = if flushed { scaled.abs() } else { 0.0 };
                (ulp * (scaled.abs() + value.abs()) + lost + 2.0 * tiny, overflows && of_a.signum() != scaled.signum())
            }
            Operation::Multiply => {
                let lost = if flushed || small(of_a) { value.abs() } else { 0.0 };
                (2.0 * ulp * value.abs() + lost + tiny, overflows && !(f64::from(f32::MAX)..f64::INFINITY).contains(&value.abs()))
            }
        };
        let meets = !value.is_finite() && (flushed || small(of_a));
        let error = if open || meets {
            f64::INFINITY
        } else if value.is_finite() {
            before
        } else {
            0.0
        };
        activation.bound(value, error, elem)
    };
    pairs(a, b, pairing, scale).enumerate().map(bound).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_repeating() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let run = |strides, b: &[f32], operation, scale| {
            elementwise(&a, b, Pairing { sizes: [2, 2], strides }, operation, scale, Activation::None)
        };
        assert_eq!(run([4, 2, 1], &a, Operation::Add, 1.0), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0]);
        assert_eq!(run([4, 2, 1], &a, Operation::Add, -1.0), [0.0; 8]);
        assert_eq!(run([0, 0, 1], &[1.0, 10.0], Operation::Multiply, 2.0), [2.0, 40.0, 6.0, 80.0, 10.0, 120.0, 14.0, 160.0]);
        assert_eq!(run([2, 0, 1], &[0.0, 1.0, 0.0, 2.0], Operation::Multiply, 1.0), [0.0, 2.0, 0.0, 4.0, 0.0, 12.0, 0.0, 16.0]);
        assert_eq!(run([2, 1, 0], &[0.0, 1.0, 2.0, 3.0], Operation::Multiply, 1.0), [0.0, 0.0, 3.0, 4.0, 10.0, 12.0, 21.0, 24.0]);
        let clipped = elementwise(&a, &[4.5], Pairing { sizes: [2, 2], strides: [0; 3] }, Operation::Add, -1.0, Activation::Relu);
        assert_eq!(clipped, [0.0, 0.0, 0.0, 0.0, 0.5, 1.5, 2.5, 3.5]);
    }
}
