//! Whole budgets in proportion to weights.

/// The largest total and capacity. Larger ones count as this.
const MOST: u32 = i32::MAX as u32;

/// Which segments get the tokens that are left after all whole shares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Leftover {
    /// The largest remainders.
    #[default]
    LargestRemainder,
    /// The largest weights (HoloV).
    LargestWeight,
}

/// A weight's bits; 0 for a NaN and for numbers below 0.
fn bits(weight: f32) -> u32 {
    let bits = weight.to_bits();
    if bits > f32::INFINITY.to_bits() { 0 } else { bits }
}

/// Weights as 16-bit integers, scaled so that the largest has 16 bits.
fn integers(weights: &[f32]) -> Vec<u32> {
    let exponent = |bits: u32| (bits >> 23).max(1);
    let scale = weights.iter().map(|w| exponent(bits(*w))).max().unwrap_or(1);
    let integer = |weight: &f32| {
        let bits = bits(*weight);
        let fraction = (bits & 0x7f_ffff) | if bits < 0x80_0000 { 0 } else { 0x80_0000 };
        fraction >> (8 + scale - exponent(bits)).min(31)
    };
    weights.iter().map(integer).collect()
}

/// Budgets that add up to `total`, or to the sum of all capacities if that is less.
///
/// 1. Each segment gets the minimum, as far as the total goes.
/// 2. Each segment with room gets `floor(rest q_i / sum q)` of the rest. `q` is its weight as an integer, or 1 if all are 0.
/// 3. If a share is larger than the room of its segment, that segment is filled up instead, and step 2 starts again for the others.
/// 4. The tokens that are left go out one by one, as `leftover` says. Of equal segments the lowest index comes first.
///
/// The weight of a segment without capacity does not matter.
pub fn allocate(weights: &[f32], total: u32, capacities: &[u32], minimum: u32, leftover: Leftover) -> Vec<u32> {
    let capacities: Vec<u32> = capacities.iter().map(|c| (*c).min(MOST)).collect();
    let mut rest = total.min(MOST);
    let mut budgets: Vec<u32> = Vec::new();
    for capacity in &capacities {
        budgets.push(minimum.min(rest).min(*capacity));
        rest -= budgets[budgets.len() - 1];
    }
    let weights: Vec<f32> = weights.iter().zip(&capacities).map(|(w, capacity)| if *capacity == 0 { 0.0 } else { *w }).collect();
    let integers = integers(&weights);
    while rest > 0 {
        let open: Vec<usize> = (0..budgets.len()).filter(|&i| budgets[i] < capacities[i]).collect();
        if open.is_empty() {
            break;
        }
        let sum: u32 = open.iter().map(|&i| integers[i]).sum();
        let (q, sum) = if sum > 0 { (integers.clone(), sum) } else { (vec![1; budgets.len()], open.len() as u32) };
        let divided = |left: u32, q: u32| {
            let product = u64::from(left) * u64::from(q);
            ((product / u64::from(sum)) as u32, (product % u64::from(sum)) as u32)
        };
        let crowded: Vec<usize> = open.iter().copied().filter(|&i| divided(rest, q[i]).0 > capacities[i] - budgets[i]).collect();
        let before = rest;
        if crowded.is_empty() {
            for &i in &open {
                budgets[i] += divided(before, q[i]).0;
                rest -= divided(before, q[i]).0;
            }
            let claim = |i: usize| match leftover {
                Leftover::LargestRemainder => divided(before, q[i]).1,
                Leftover::LargestWeight => bits(weights[i]),
            };
            let mut claims: Vec<usize> = open.into_iter().filter(|&i| budgets[i] < capacities[i]).collect();
            claims.sort_by_key(|&i| (std::cmp::Reverse(claim(i)), i));
            for i in claims.into_iter().take(rest as usize) {
                budgets[i] += 1;
                rest -= 1;
            }
        } else {
            for i in crowded {
                rest -= capacities[i] - budgets[i];
                budgets[i] = capacities[i];
            }
        }
    }
    budgets
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: [u32; 3] = [99; 3];

    #[test]
    fn largest_remainders() {
        // Shares of 4.5, 3.375 and 1.125.
        assert_eq!(allocate(&[4.0, 3.0, 1.0], 9, &WIDE, 0, Leftover::LargestRemainder), [5, 3, 1]);
        // Shares of 2.5, 1.875 and 0.625.
        assert_eq!(allocate(&[4.0, 3.0, 1.0], 5, &WIDE, 0, Leftover::LargestRemainder), [2, 2, 1]);
        assert_eq!(allocate(&[4.0, 3.0, 1.0], 5, &WIDE, 0, Leftover::LargestWeight), [3, 2, 0]);
    }

    #[test]
    fn capacities_and_minimum() {
        assert_eq!(allocate(&[8.0, 1.0, 1.0], 10, &[3, 99, 99], 0, Leftover::LargestRemainder), [3, 4, 3]);
        assert_eq!(allocate(&[8.0, 1.0, 1.0], 99, &[3, 4, 5], 0, Leftover::LargestRemainder), [3, 4, 5]);
        assert_eq!(allocate(&[1.0, 0.0, 0.0], 9, &WIDE, 2, Leftover::LargestRemainder), [5, 2, 2]);
        assert_eq!(allocate(&[1.0, 1.0, 1.0], 3, &WIDE, 2, Leftover::LargestRemainder), [2, 1, 0]);
    }

    #[test]
    fn weights_of_any_size_and_none() {
        for scale in [1e-38, 1.0, 1e37] {
            assert_eq!(allocate(&[3.0 * scale, scale, -scale], 8, &WIDE, 0, Leftover::LargestRemainder), [6, 2, 0]);
        }
        assert_eq!(allocate(&[0.0, f32::NAN, -1.0], 7, &WIDE, 0, Leftover::LargestRemainder), [3, 2, 2]);
        // The weight of a segment without capacity does not scale the others, even if it is infinite.
        assert_eq!(allocate(&[3.0, 1.0, f32::INFINITY], 8, &[99, 99, 0], 0, Leftover::LargestRemainder), [6, 2, 0]);
        assert_eq!(allocate(&[], 7, &[], 0, Leftover::LargestRemainder), []);
    }
}
