//! Compares the outputs of a kernel with those of its reference.

use crate::tensor::{Elem, HostData, HostTensor};

/// How far an output is from its reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Elements compared.
    pub elements: usize,
    /// Elements outside their bound.
    pub failures: usize,
    /// The element furthest outside, or nearest to, its bound.
    pub worst: Option<Worst>,
}

/// One element of a [`Comparison`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worst {
    /// Linear index of the element.
    pub index: usize,
    /// The reference's value.
    pub expected: f64,
    /// The value that came.
    pub actual: f64,
    /// The largest difference that rounding explains.
    pub bound: f64,
}

impl Worst {
    /// Absolute difference.
    pub fn error(&self) -> f64 {
        difference(self.expected, self.actual)
    }

    /// Difference over bound; above 1 is a failure. Infinite where an exact element differs.
    pub fn ratio(&self) -> f64 {
        match (self.error(), self.bound) {
            (0.0, _) => 0.0,
            (error, bound) => error / bound,
        }
    }
}

/// 0 for equal values, infinities and NaNs included. Infinite if only one of them is a number.
fn difference(expected: f64, actual: f64) -> f64 {
    if expected == actual || (expected.is_nan() && actual.is_nan()) {
        0.0
    } else {
        let difference = (expected - actual).abs();
        if difference.is_nan() { f64::INFINITY } else { difference }
    }
}

impl Comparison {
    /// Bit-equal: indices, counts, masks and copies.
    pub fn exact(expected: &HostTensor, actual: &HostTensor) -> Self {
        fn bits(tensor: &HostTensor) -> Vec<(u32, f64)> {
            match tensor.data() {
                HostData::F32(v) => v.iter().map(|x| (x.to_bits(), f64::from(*x))).collect(),
                HostData::F16(v) => v.iter().map(|x| (u32::from(x.to_bits()), x.to_f64())).collect(),
                HostData::BF16(v) => v.iter().map(|x| (u32::from(x.to_bits()), x.to_f64())).collect(),
                HostData::U32(v) => v.iter().map(|x| (*x, f64::from(*x))).collect(),
            }
        }
        let mut comparison = Self::empty(expected, actual);
        for (index, (e, a)) in bits(expected).into_iter().zip(bits(actual)).enumerate() {
            if e.0 != a.0 {
                comparison.failures += 1;
                comparison.worst.get_or_insert(Worst { index, expected: e.1, actual: a.1, bound: 0.0 });
            }
        }
        comparison
    }

    /// Within a bound for each element. NaN agrees only with NaN, and an infinity only with itself.
    pub fn within(expected: &HostTensor, actual: &HostTensor, bounds: &[f64]) -> Self {
        let mut comparison = Self::empty(expected, actual);
        for (index, ((e, a), &bound)) in expected.floats().into_iter().zip(actual.floats()).zip(bounds).enumerate() {
            let worst = Worst { index, expected: f64::from(e), actual: f64::from(a), bound };
            // A NaN bound fails: `<=` is false for it.
            let within = worst.error() == 0.0 || worst.error() <= bound;
            comparison.failures += usize::from(!within);
            if comparison.worst.is_none_or(|old| worst.ratio() > old.ratio()) {
                comparison.worst = Some(worst);
            }
        }
        comparison
    }

    /// Within a bound of the exact numbers, which may lie beyond the range of the type.
    ///
    /// - Beyond the range, and nearer to its end than the bound, the infinity of that side agrees too. So does f16's largest number: Vulkan
    ///   leaves f16's rounding direction open.
    /// - NaN agrees only with NaN, and an exact infinity only with itself.
    /// - Zeros whose bound is 0 agree only if their signs do.
    /// - With an infinite bound anything agrees.
    pub fn ranged(expected: &HostTensor, actual: &HostTensor, exact: &[f64], bounds: &[f64]) -> Self {
        let (e, a) = (expected.floats(), actual.floats());
        let half = expected.desc().elem == Elem::F16;
        let largest = match expected.desc().elem {
            Elem::F16 => 65504.0,
            Elem::BF16 => half::bf16::MAX.to_f64(),
            _ => f64::from(f32::MAX),
        };
        Self::judged(expected, actual, |index| {
            let (exact, number, bound) = (exact[index], f64::from(a[index]), bounds[index]);
            let beyond = |sign: f64| exact.is_finite() && sign * exact + bound >= largest;
            let saturated = |sign: f64| sign * number == f64::INFINITY || (half && sign * number == largest);
            if bound == f64::INFINITY || [1.0, -1.0].into_iter().any(|sign| beyond(sign) && saturated(sign)) {
                return Worst { index, expected: number, actual: number, bound };
            }
            if e[index] == 0.0 && a[index] == 0.0 && bound == 0.0 {
                return Worst { index, expected: f64::from(e[index].to_bits()), actual: f64::from(a[index].to_bits()), bound };
            }
            // A rounded number without a bound is a copy.
            Worst { index, expected: if bound == 0.0 { f64::from(e[index]) } else { exact }, actual: number, bound }
        })
    }

    /// A comparison of the caller's own, element by element. `judge` gives how much of its bound an element uses: above 1 is a failure.
    pub fn judged(expected: &HostTensor, actual: &HostTensor, mut judge: impl FnMut(usize) -> Worst) -> Self {
        let mut comparison = Self::empty(expected, actual);
        for index in 0..comparison.elements {
            let worst = judge(index);
            comparison.failures += usize::from(worst.ratio() > 1.0);
            if comparison.worst.is_none_or(|old| worst.ratio() > old.ratio()) {
                comparison.worst = Some(worst);
            }
        }
        comparison
    }

    fn empty(expected: &HostTensor, actual: &HostTensor) -> Self {
        assert_eq!(expected.desc(), actual.desc(), "comparing unlike tensors");
        Self { elements: expected.shape().elements() as usize, failures: 0, worst: None }
    }

    /// Whether every element is within its bound.
    pub fn passed(&self) -> bool {
        self.failures == 0
    }
}

/// What reading a number may lose: all of a denormal number, because a device may flush it to 0.
pub(crate) fn flushed(x: f32) -> f64 {
    if x.is_subnormal() { f64::from(x.abs()) } else { 0.0 }
}

/// A sum in f32 of numbers and products, in any order: the exact sum, and its largest error.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Terms {
    /// Their sum.
    pub(crate) sum: f64,
    /// Sums of the positive and of the negative terms.
    sides: [f64; 2],
    /// The magnitudes that may be flushed to 0.
    lost: f64,
}

impl Terms {
    /// Adds a number.
    pub(crate) fn add(&mut self, x: f64) {
        self.sum += x;
        if x.is_finite() {
            self.sides[usize::from(x < 0.0)] += x.abs();
        }
    }

    /// Adds a product. A denormal factor or product may be flushed to 0.
    pub(crate) fn multiply_add(&mut self, a: f32, b: f32) {
        let product = f64::from(a) * f64::from(b);
        self.add(product);
        self.lost += if a.is_subnormal() || b.is_subnormal() { product.abs() } else { 0.0 } + f64::from(f32::MIN_POSITIVE);
    }

    /// Sum of the magnitudes of the finite terms.
    fn magnitude(&self) -> f64 {
        self.sides[0] + self.sides[1]
    }

    /// Largest error of the sum, if rounding adds up to `relative` of the magnitudes. It is 0 if the sum is not finite. It is infinite if
    /// terms of both signs may pass through infinity, or if a term that may be flushed meets an infinity.
    pub(crate) fn error(&self, relative: f64) -> f64 {
        let error = relative * self.magnitude() + self.lost;
        let most = self.sides[0].max(self.sides[1]) + error;
        let passes = most > f64::from(f32::MAX) && (!self.sum.is_finite() || self.sides[0].min(self.sides[1]) > 0.0);
        match (error.is_finite() && !passes, self.sum.is_finite()) {
            (false, _) => f64::INFINITY,
            (true, true) => error,
            (true, false) => 0.0,
        }
    }
}

/// Unit roundoff of f32.
pub const EPSILON_F32: f64 = 1.0 / (1u64 << 24) as f64;

/// Largest error of storing `value` in the tensor's element type. It is half a unit in the last place for f32, the last step of f32
/// arithmetic. It is a whole unit for f16: Vulkan leaves its rounding direction open. So it is
/// for bf16: some comparisons hold two rounded numbers against each other.
pub fn storage_error(elem: Elem, value: f64) -> f64 {
    match elem {
        Elem::F16 => (value.abs() / 1024.0).max(2f64.powi(-24)),
        Elem::BF16 => value.abs() / 128.0 + f64::from(f32::MIN_POSITIVE),
        _ => value.abs() * EPSILON_F32 + f64::from(f32::MIN_POSITIVE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(elem: Elem, exact: f64, bound: f64, actual: f32) -> usize {
        let tensor = |value: f32| HostTensor::from_floats(crate::tensor::Desc::new([1], elem), vec![value]);
        Comparison::ranged(&tensor(exact as f32), &tensor(actual), &[exact], &[bound]).failures
    }

    #[test]
    fn what_lies_beyond_the_range_is_infinite() {
        for (exact, bound, actual, wrong) in [
            (6e38, 1e30, f32::INFINITY, 0),
            (6e38, 1e30, f32::MAX, 1),
            (6e38, 1e30, f32::NAN, 1),
            (-6e38, 1e30, f32::INFINITY, 1),
            (3e38, 1e30, f32::INFINITY, 1),
            // At the brink it is either.
            (3.4e38, 1e36, f32::INFINITY, 0),
            (3.4e38, 1e36, 3.4e38, 0),
            (3.4e38, 1e36, f32::NEG_INFINITY, 1),
            (f64::INFINITY, 0.0, f32::MAX, 1),
            (f64::NAN, 0.0, f32::NAN, 0),
            (0.0, 0.0, -0.0, 1),
            (0.0, 1e-30, -0.0, 0),
            (1.0, f64::INFINITY, f32::NAN, 0),
        ] {
            assert_eq!(failures(Elem::F32, exact, bound, actual), wrong, "{exact:e} {bound:e} {actual:e}");
        }
        for (exact, actual, wrong) in [(7e4, f32::INFINITY, 0), (7e4, 65504.0, 0), (7e4, 60000.0, 1), (6e4, f32::INFINITY, 1)] {
            assert_eq!(failures(Elem::F16, exact, 64.0, actual), wrong, "{exact:e} {actual:e}");
        }
    }
    #[test]
    fn a_sum_is_open_only_where_it_may_pass_through_infinity() {
        let error = |numbers: &[f64]| {
            let mut terms = Terms::default();
            numbers.iter().for_each(|x| terms.add(*x));
            terms.error(1e-6)
        };
        assert_eq!(error(&[3.0, -4.0]), 7e-6);
        // Terms of one sign beyond the range give an infinity in any order. Terms of both signs may give NaN, or anything.
        assert_eq!(error(&[3e38, 3e38]), 6e38 * 1e-6);
        assert_eq!(error(&[3e38, 3e38, -3e38]), f64::INFINITY);
        assert_eq!(error(&[f64::INFINITY, 1.0]), 0.0);
        assert_eq!(error(&[f64::INFINITY, -3e38, -3e38]), f64::INFINITY);
        assert_eq!(error(&[f64::NAN, 1.0]), 0.0);
        // A denormal factor may be flushed to 0. With an infinity that gives NaN. With a large number it loses the product.
        let product = |a: f32, b: f32| {
            let mut terms = Terms::default();
            terms.multiply_add(a, b);
            terms.error(0.0)
        };
        assert_eq!(product(1e-40, f32::INFINITY), f64::INFINITY);
        assert_eq!(product(1.0, f32::INFINITY), 0.0);
        assert!(product(1e-40, 1e38) > 1e-3);
        assert_eq!(product(0.5, 0.5), f64::from(f32::MIN_POSITIVE));
    }
}
