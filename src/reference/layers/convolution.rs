//! A depthwise convolution of a grid of tokens.

use crate::compare::{EPSILON_F32, Terms};
use crate::reference::{Activation, Sliding};
use crate::tensor::Elem;

/// The terms that each element of the result adds up, and their number: a product for each tap on the grid, then the bias.
fn terms<'a>(
    x: &'a [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    [batch, channels]: [usize; 2],
    sliding: &'a Sliding,
) -> impl Iterator<Item = (Terms, f64)> + 'a {
    let taps = sliding.window[0] * sliding.window[1];
    sliding.windows(batch).flat_map(move |window| {
        (0..channels).map(move |c| {
            let (mut terms, mut count) = (Terms::default(), 0.0);
            for (token, w) in window.clone().zip(&weight[c * taps..]) {
                if let Some(token) = token {
                    terms.multiply_add(x[token * channels + c], *w);
                    count += 1.0;
                }
            }
            if let Some(bias) = bias {
                terms.add(f64::from(bias[c]));
                count += 1.0;
            }
            (terms, count)
        })
    })
}

/// `y[b, place, c] = sum_tap x[b, token under the tap, c] weight[c, tap] + bias[c]`; padding adds nothing.
pub fn depthwise_convolution(x: &[f32], weight: &[f32], bias: Option<&[f32]>, dims: [usize; 2], sliding: &Sliding) -> Vec<f64> {
    terms(x, weight, bias, dims, sliding).map(|(terms, _)| terms.sum).collect()
}

/// Largest error of [`depthwise_convolution`] on the GPU, stored as `elem`.
///
/// There are as many products and sums as terms, each within one ulp, `2 * 2^-24`: `(terms + 1) ulp sum |term|`. A denormal number may be
/// flushed to 0. Then comes the rounding to `elem`. If the terms may pass through infinity, the bound is infinite. If the exact sum is
/// not finite, the bound is 0.
pub fn depthwise_convolution_bound(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    dims: [usize; 2],
    sliding: &Sliding,
    elem: Elem,
) -> Vec<f64> {
    let bound = |(terms, count): (Terms, f64)| {
        let error = terms.error((count + 1.0) * 2.0 * EPSILON_F32) + f64::from(f32::MIN_POSITIVE);
        Activation::None.bound(terms.sum, error, elem)
    };
    terms(x, weight, bias, dims, sliding).map(bound).collect()
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
