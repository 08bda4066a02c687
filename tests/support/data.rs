//! Seeded data. SplitMix64, so that seeds mean the same for ever.

use tokenpress::{Desc, Elem, HostTensor, Shape};

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..below`.
    pub fn below(&mut self, below: u32) -> u32 {
        (((self.next_u64() >> 32) * u64::from(below)) >> 32) as u32
    }

    /// Uniform in `0..1`.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f32 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
    }
}

pub fn normal(seed: u64, len: usize) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..len).map(|_| random.normal()).collect()
}

pub fn integers(seed: u64, len: usize, below: u32) -> Vec<u32> {
    let mut random = Random::new(seed);
    (0..len).map(|_| random.below(below)).collect()
}

/// Few distinct values: most comparisons are ties.
pub fn ties(seed: u64, len: usize) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..len).map(|_| [-1.0, -0.5, 0.0, 0.5][random.below(4) as usize]).collect()
}

/// Every kind of float, many of each: zeros of both signs, denormals, infinities, NaNs, extremes, numbers.
pub fn awkward(seed: u64, len: usize) -> Vec<f32> {
    let mut random = Random::new(seed);
    let special = [0.0, -0.0, 1e-40, -1e-40, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 65504.0, -65504.0, 1e-7, 1.0, -1.0];
    (0..len).map(|_| if random.below(2) == 0 { special[random.below(special.len() as u32) as usize] } else { random.normal() }).collect()
}

/// Finite numbers from one end of the range to the other: sums and products that overflow and that vanish.
pub fn extremes(seed: u64, len: usize, elem: Elem) -> Vec<f32> {
    let mut random = Random::new(seed);
    let largest = if elem == Elem::F16 { 65504.0 } else { f32::MAX };
    let tiny = if elem == Elem::F16 { 6.1e-5 } else { 1.2e-38 };
    let special = [largest, -largest, 0.9 * largest, -0.9 * largest, 0.3 * largest, largest.sqrt(), -largest.sqrt(), 1.0, tiny, -tiny, 0.0];
    (0..len).map(|_| if random.below(4) > 0 { special[random.below(special.len() as u32) as usize] } else { random.normal() }).collect()
}

/// Floats as a tensor of an element type.
pub fn tensor(shape: impl Into<Shape>, elem: Elem, values: &[f32]) -> HostTensor {
    HostTensor::from_floats(Desc::new(shape, elem), values.to_vec())
}
