//! What follows a layer: a function of each number.

use std::f64::consts::{PI, SQRT_2};

use crate::compare::{EPSILON_F32, storage_error};
use crate::tensor::Elem;

/// A function of each number, applied where a result is written.
///
/// ReLU of a NaN is 0; PyTorch's is NaN, and the difference is on purpose. Every other function of a NaN is NaN, as in PyTorch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x`.
    #[default]
    None,
    /// `max(x, 0)`; 0 of a NaN.
    Relu,
    /// `x Phi(x) = x (1 + erf(x / sqrt 2)) / 2`, the exact GELU of `https://arxiv.org/abs/1606.08415`.
    Gelu,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`, an approximation of GELU.
    GeluTanh,
    /// `x sigmoid(1.702 x)`, CLIP's approximation of GELU.
    QuickGelu,
    /// `x sigmoid(x)`, also known as Swish.
    Silu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
}

impl Activation {
    /// Its number in the shaders.
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Relu => 1,
            Self::Gelu => 2,
            Self::GeluTanh => 3,
            Self::QuickGelu => 4,
            Self::Silu => 5,
            Self::Sigmoid => 6,
        }
    }

    /// The function.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::None => x,
            Self::Relu => x.max(0.0),
            Self::Gelu => x * normal_share(x),
            Self::GeluTanh | Self::QuickGelu | Self::Silu => x * sigmoid(self.exponent(x)),
            Self::Sigmoid => sigmoid(x),
        }
    }

    /// The sigmoid's argument.
    fn exponent(self, x: f64) -> f64 {
        match self {
            Self::GeluTanh => 2.0 * (2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3)),
            Self::QuickGelu => 1.702 * x,
            _ => x,
        }
    }

    /// How far the function of a number in f32 on the GPU may be from that of `x`, if the number is within `error` of `x`.
    ///
    /// The slope of a function is at most 1.13, that of the sigmoid at most 1/4: so much of `error` passes on. The function adds errors of
    /// its own, here in ulp, relative to its parts.
    ///
    /// A tail of the normal distribution, `t Q(t) exp(-z^2 / 2)`, errs by `48 + 2 z^2` in all, and its complement by 1 more:
    ///
    /// - half an ulp for Q's own error, and 20 for its eight steps, whose terms add up to less than twice Q;
    /// - 2 + 2.5 for t, to which the product is less than three times as sensitive;
    /// - 3 for WGSL's exp, `2 z^2 / 2` by the definition of its accuracy, and as much again by its rounded argument;
    /// - 2 for the products.
    ///
    /// The sigmoid is `s = e / (1 + e)` or `1 / (1 + e)` with `e = exp(-|v|)`:
    ///
    /// - e errs by `3 + 2 |v|`, and by `4 |v|` for the four roundings of v; of these the share `1 - s` reaches the result;
    /// - 1 for the sum, and 2.5 for the division.
    ///
    /// The product with x adds 1. An exponential below the smallest normal number may be 0.
    pub fn error(self, x: f64, error: f64) -> f64 {
        let (ulp, tiny) = (2.0 * EPSILON_F32, f64::from(f32::MIN_POSITIVE));
        let of_sigmoid = |v: f64| sigmoid(v) * ((1.0 - sigmoid(v)) * (3.0 + 6.0 * v.abs().min(1e3)) + 4.0) * ulp + tiny;
        let of_share = |x: f64| {
            let z = x.abs().min(20.0);
            normal_share(-z) * (48.0 + 2.0 * z * z) * ulp + ulp + tiny
        };
        let of_product = |of_factor: f64| x.abs() * of_factor + ulp * self.apply(x).abs();
        match self {
            Self::None | Self::Relu => error,
            Self::Gelu => 1.13 * error + of_product(of_share(x)),
            Self::GeluTanh | Self::QuickGelu | Self::Silu => 1.13 * error + of_product(of_sigmoid(self.exponent(x))),
            Self::Sigmoid => 0.25 * error + of_sigmoid(x),
        }
    }

    /// The same, stored as `elem`. A result that is not finite has a bound of 0. If `x` may become negative infinity on its way, the
    /// bound is infinite: its product with a share of 0 is NaN.
    pub(crate) fn bound(self, x: f64, error: f64, elem: Elem) -> f64 {
        let multiplies = matches!(self, Self::Gelu | Self::GeluTanh | Self::QuickGelu | Self::Silu);
        match x.is_finite() {
            _ if !error.is_finite() || (multiplies && x.is_finite() && x - error <= -f64::from(f32::MAX)) => f64::INFINITY,
            false => 0.0,
            true => {
                let error = self.error(x, error);
                error + storage_error(elem, self.apply(x).abs() + error)
            }
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `Phi(x)`, the normal distribution's share below x.
fn normal_share(x: f64) -> f64 {
    if x > -3.0 { (1.0 + erf(x / SQRT_2)) / 2.0 } else { erf_complement(-x / SQRT_2) / 2.0 }
}

/// The error function, to the precision of f64: by its series about 0, and by the continued fraction of its complement.
fn erf(x: f64) -> f64 {
    if x.abs() >= 2.5 {
        return x.signum() * (1.0 - erf_complement(x.abs()));
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..80 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    2.0 / PI.sqrt() * sum
}

/// `1 - erf(z)` for z of 2 and above.
fn erf_complement(z: f64) -> f64 {
    let fraction = (1..=120).rev().fold(z, |tail, n| z + f64::from(n) / 2.0 / tail);
    (-z * z).exp() / (fraction * PI.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_has_its_known_values() {
        for (x, expected) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (-2.0, -0.995_322_265_018_952_7),
            (2.49, 0.999_570_712_132_266_1),
            (2.51, 0.999_614_294_518_275_8),
            (6.0, 1.0),
        ] {
            assert!((erf(x) - expected).abs() < 1e-15, "erf({x}) = {}", erf(x));
        }
        assert!((erf_complement(3.0) / 2.209_049_699_858_544e-5 - 1.0).abs() < 1e-13);
    }

    #[test]
    fn activations_have_their_known_values() {
        for (activation, expected) in [
            (Activation::None, -1.0),
            (Activation::Relu, 0.0),
            (Activation::Gelu, -0.158_655_253_931_457),
            (Activation::GeluTanh, -0.158_808_009_391_723),
            (Activation::QuickGelu, -0.154_204_234_067_2),
            (Activation::Silu, -0.268_941_421_369_995),
            (Activation::Sigmoid, 0.268_941_421_369_995),
        ] {
            let value = activation.apply(-1.0);
            assert!((value - expected).abs() < 1e-9, "{activation:?} of -1 is {value}");
            // The sigmoid's is 1 less its other side; the others, but for ReLU, which is max(x, 0), differ from it by x.
            let mirrored = if activation == Activation::Sigmoid { 1.0 - value } else { value + 1.0 };
            assert!(activation == Activation::None || (activation.apply(1.0) - mirrored).abs() < 1e-12, "{activation:?}");
        }
    }

    #[test]
    fn what_overflows_below_is_open_where_it_is_multiplied() {
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu, Activation::Silu] {
            assert_eq!(activation.bound(-4e38, 1e30, Elem::F32), f64::INFINITY, "{activation:?}");
            assert!(activation.bound(-3e38, 1e30, Elem::F32).is_finite(), "{activation:?}");
            assert!(activation.bound(4e38, 1e30, Elem::F32).is_finite(), "{activation:?}");
            assert_eq!(activation.bound(f64::NEG_INFINITY, 0.0, Elem::F32), 0.0, "{activation:?}");
        }
        for activation in [Activation::None, Activation::Relu, Activation::Sigmoid] {
            assert!(activation.bound(-4e38, 1e30, Elem::F32).is_finite(), "{activation:?}");
        }
    }
}
