//! A counter-based generator: the same numbers on every device, in any order, from a seed and a counter.

/// Philox-2x32-10 of Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011): the first word of ten rounds
/// on the counter, keyed by the seed.
///
/// Each round takes `(l, r)` to `(high(M l) ^ key ^ r, low(M l))` with `M = 0xd256d193`, and adds `0x9e3779b9` to the
/// key.
pub fn random_u32(seed: u32, counter: u64) -> u32 {
    let (mut left, mut right, mut key) = (counter as u32, (counter >> 32) as u32, seed);
    for _ in 0..10 {
        let product = 0xd256_d193 * u64::from(left);
        (left, right) = ((product >> 32) as u32 ^ key ^ right, product as u32);
        key = key.wrapping_add(0x9e37_79b9);
    }
    left
}

/// An integer in `0..n`, as `floor(random n / 2^32)`: its bias is below `n / 2^32`. 0 for n = 0.
pub fn random_below(seed: u32, counter: u64, n: u32) -> u32 {
    ((u64::from(random_u32(seed, counter)) * u64::from(n)) >> 32) as u32
}

/// A permutation of `0..n`: sorted by the random number of each, then by index. The counters are
/// `stream * 2^32 ..+ n`.
pub fn random_permutation(seed: u32, stream: u32, n: u32) -> Vec<u32> {
    let mut permutation: Vec<u32> = (0..n).collect();
    permutation.sort_by_cached_key(|&i| (random_u32(seed, u64::from(stream) << 32 | u64::from(i)), i));
    permutation
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the authors' `kat_vectors`.
    #[test]
    fn known_answers() {
        assert_eq!(random_u32(0, 0), 0xff1d_ae59);
        assert_eq!(random_u32(0xffff_ffff, 0xffff_ffff_ffff_ffff), 0x2c3f_628b);
        assert_eq!(random_u32(0x1319_8a2e, 0x85a3_08d3_243f_6a88), 0xdd7c_e038);
    }

    #[test]
    fn every_value_about_as_often() {
        let mut counts = [0u32; 6];
        for counter in 0..60_000 {
            counts[random_below(7, counter, 6) as usize] += 1;
        }
        // Ten standard deviations of a binomial of 60000 and 1/6.
        assert!(counts.iter().all(|c| c.abs_diff(10_000) < 913), "{counts:?}");
        assert_eq!(random_below(7, 0, 0), 0);
        assert_eq!(random_below(7, 1, 1), 0);
    }

    #[test]
    fn permutations() {
        for n in [0, 1, 2, 100] {
            let mut sorted = random_permutation(3, 1, n);
            sorted.sort_unstable();
            assert_eq!(sorted, (0..n).collect::<Vec<_>>());
        }
        assert_ne!(random_permutation(3, 0, 100), random_permutation(3, 1, 100));
        assert_ne!(random_permutation(3, 0, 100), random_permutation(4, 0, 100));
    }
}
