//! A depthwise convolution of a grid of tokens.

use crate::compare::{EPSILON_F32, storage_error};
use crate::reference::Sliding;
use crate::tensor::Elem;

/// The values that a sum consists of, for every element of the result: a product for each tap on the grid, then the bias.
fn terms(x: &[f32], weight: &[f32], bias: Option<&[f32]>, [batch, channels]: [usize; 2], sliding: &Sliding) -> Vec<Vec<f64>> {
    let mut all = Vec::new();
    for window in sliding.windows(batch) {
        for c in 0..channels {
            let weight = &weight[c * window.len()..][..window.len()];
            let product = |(token, w): (&Option<usize>, &f32)| Some(f64::from(x[(*token)? * channels + c]) * f64::from(*w));
            let bias = bias.map(|b| f64::from(b[c]));
            all.push(window.iter().zip(weight).filter_map(product).chain(bias).collect());
        }
    }
    all
}

/// `y[b, place, c] = sum_tap x[b, token under the tap, c] weight[c, tap] + bias[c]`; padding adds nothing.
pub fn depthwise_convolution(x: &[f32], weight: &[f32], bias: Option<&[f32]>, dims: [usize; 2], sliding: &Sliding) -> Vec<f32> {
    terms(x, weight, bias, dims, sliding).iter().map(|terms| terms.iter().sum::<f64>() as f32).collect()
}

/// Largest error of [`depthwise_convolution`] on the GPU, stored as `elem`.
///
/// As many products and sums as terms, each within one ulp, that is `2 * 2^-24`: `(terms + 1) ulp sum |term|`; then the
/// rounding to `elem`.
pub fn depthwise_convolution_bound(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    dims: [usize; 2],
    sliding: &Sliding,
    elem: Elem,
) -> Vec<f64> {
    let bound = |terms: &Vec<f64>| {
        let sum = (terms.len() as f64 + 1.0) * 2.0 * EPSILON_F32 * terms.iter().map(|t| t.abs()).sum::<f64>();
        let bound = sum + storage_error(elem, terms.iter().sum::<f64>().abs() + sum);
        // Overflow and NaN are the caller's: there is no bound then.
        if bound.is_finite() { bound } else { f64::INFINITY }
    };
    terms(x, weight, bias, dims, sliding).iter().map(bound).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_made_image() {
        let sliding = Sliding { grid: [2, 2], window: [3, 3], stride: [1, 1], padding: [1, 1] };
        // Channel 0 is moved up by one row, channel 1 summed.
        let weight = [0., 0., 0., 0., 0., 0., 0., 1., 0., 1., 1., 1., 1., 1., 1., 1., 1., 1.];
        let x = [1., 10., 2., 20., 3., 30., 4., 40.];
        assert_eq!(depthwise_convolution(&x, &weight, None, [1, 2], &sliding), [3., 100., 4., 100., 0., 100., 0., 100.]);
        let strided = Sliding { stride: [2, 2], ..sliding };
        assert_eq!(depthwise_convolution(&x, &weight, Some(&[0.5, -1.0]), [1, 2], &strided), [3.5, 99.0]);
    }
}
