//! Judging a kernel's outputs against its reference's.

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
    /// What the reference has.
    pub expected: f64,
    /// What came.
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

/// 0 for equal values, infinities and NaNs included; infinite where only one is a number.
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

    /// Within a bound for each element. NaN agrees with NaN only; infinities agree with themselves.
    pub fn within(expected: &HostTensor, actual: &HostTensor, bounds: &[f64]) -> Self {
        let mut comparison = Self::empty(expected, actual);
        for (index, ((e, a), &bound)) in expected.floats().into_iter().zip(actual.floats()).zip(bounds).enumerate() {
            let worst = Worst { index, expected: f64::from(e), actual: f64::from(a), bound };
            // `<=` is false for a NaN bound, which therefore fails.
            let within = worst.error() == 0.0 || worst.error() <= bound;
            comparison.failures += usize::from(!within);
            if comparison.worst.is_none_or(|old| worst.ratio() > old.ratio()) {
                comparison.worst = Some(worst);
            }
        }
        comparison
    }

    /// As [`Comparison::within`], and where the bound is 0 the sign of a zero counts: maxima, and rows that are copied.
    pub fn within_or_copied(expected: &HostTensor, actual: &HostTensor, bounds: &[f64]) -> Self {
        let (e, a) = (expected.floats(), actual.floats());
        Self::judged(expected, actual, |index| match (e[index], a[index]) {
            (e, a) if e == 0.0 && a == 0.0 && bounds[index] == 0.0 => {
                Worst { index, expected: f64::from(e.to_bits()), actual: f64::from(a.to_bits()), bound: 0.0 }
            }
            (e, a) => Worst { index, expected: f64::from(e), actual: f64::from(a), bound: bounds[index] },
        })
    }

    /// As [`Comparison::within`], without a bound for what is not finite, nor for what may overflow f16: that may be rounded to its
    /// largest number instead.
    pub fn in_range(expected: &HostTensor, actual: &HostTensor, mut bounds: Vec<f64>) -> Self {
        let half = expected.desc().elem == Elem::F16;
        for (bound, value) in bounds.iter_mut().zip(expected.floats()) {
            if !value.is_finite() || (half && f64::from(value.abs()) + *bound > 65504.0) {
                *bound = f64::INFINITY;
            }
        }
        Self::within(expected, actual, &bounds)
    }

    /// An element-wise judgement of the caller's own: `judge` gives the bound's use, above 1 for a failure.
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

/// Unit roundoff of f32.
pub const EPSILON_F32: f64 = 1.0 / (1u64 << 24) as f64;

/// Largest error of storing `value` in the tensor's element type: half a unit in the last place for f32
/// arithmetic's own last step, a whole one for f16, whose rounding direction Vulkan leaves open.
pub fn storage_error(elem: Elem, value: f64) -> f64 {
    match elem {
        Elem::F16 => (value.abs() / 1024.0).max(2f64.powi(-24)),
        _ => value.abs() * EPSILON_F32 + f64::from(f32::MIN_POSITIVE),
    }
}
