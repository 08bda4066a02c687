//! A linear layer.

use crate::compare::{EPSILON_F32, Terms, flushed};
use crate::reference::Activation;
use crate::tensor::Elem;

/// The rows of `x`, `[rows, channels]`, through `weight`, `[outputs, channels]`:
/// `y[i,o] = activation(sum_k x[i,k] weight[o,k] + bias[o])`.
pub fn linear(x: &[f32], weight: &[f32], bias: Option<&[f32]>, [rows, channels, outputs]: [usize; 3], activation: Activation) -> Vec<f64> {
    let mut y = Vec::new();
    for i in 0..rows {
        for o in 0..outputs {
            let dot: f64 = (0..channels).map(|k| f64::from(x[i * channels + k]) * f64::from(weight[o * channels + k])).sum();
            y.push(activation.apply(dot + bias.map_or(0.0, |b| f64::from(b[o]))));
        }
    }
    y
}

/// Largest error of [`linear`] on the GPU, stored as `elem`.
///
/// There are K products and K sums in any order, each within one ulp, `2 * 2^-24`, and the sum with the bias:
/// `(K + 2) ulp (sum_k |x weight| + |bias|)`. A denormal number may be flushed to 0. To this come the activation's own error and the
/// rounding to `elem`. If the terms may pass through infinity, the bound is infinite. If the exact sum is not finite, the bound is 0.
pub fn linear_bound(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    [rows, channels, outputs]: [usize; 3],
    activation: Activation,
    elem: Elem,
) -> Vec<f64> {
    let mut bounds = Vec::new();
    for i in 0..rows {
        for o in 0..outputs {
            let mut terms = Terms::default();
            for k in 0..channels {
                terms.multiply_add(x[i * channels + k], weight[o * channels + k]);
            }
            let offset = bias.map_or(0.0, |b| b[o]);
            terms.add(f64::from(offset));
            let error = terms.error((channels as f64 + 2.0) * 2.0 * EPSILON_F32) + flushed(offset);
            bounds.push(activation.bound(terms.sum, error, elem));
        }
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_made_layer() {
        let x = [1.0, 2.0, 3.0, -1.0, 0.0, 0.5];
        let weight = [1.0, 0.0, 0.0, 0.0, 1.0, 2.0];
        assert_eq!(linear(&x, &weight, None, [2, 3, 2], Activation::None), [1.0, 8.0, -1.0, 1.0]);
        assert_eq!(linear(&x, &weight, Some(&[10.0, -8.0]), [2, 3, 2], Activation::None), [11.0, 0.0, 9.0, -7.0]);
        assert_eq!(linear(&x, &weight, Some(&[10.0, -8.0]), [2, 3, 2], Activation::Relu), [11.0, 0.0, 9.0, 0.0]);
        assert_eq!(linear(&[], &[], Some(&[3.0]), [2, 0, 1], Activation::None), [3.0, 3.0]);
        assert_eq!(linear(&[], &weight, None, [0, 3, 2], Activation::None), []);
        assert_eq!(linear(&x, &[], None, [2, 3, 0], Activation::None), []);
    }
}
