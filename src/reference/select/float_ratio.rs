//! Counts that are made of a ratio of two counts.

use crate::tensor::NONE;

/// `floor(m (n / m))` and `floor(1 / (n / m))` in f64, with n and m of at most `most`. The second is [`NONE`] if n is 0.
pub fn float_ratio(n: u32, m: u32, most: u32) -> (u32, u32) {
    let m = m.min(most);
    let n = n.min(m);
    if n == 0 {
        return (0, NONE);
    }
    let ratio = f64::from(n) / f64::from(m);
    ((f64::from(m) * ratio) as u32, (1.0 / ratio) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_python_has_it() {
        // int(49 * (1 / 49)), int(1 / (1 / 49)); int(98 * (1 / 98)) ...
        for (n, m, expected) in [(1, 49, (0, 49)), (2, 49, (1, 24)), (1, 98, (0, 98)), (3, 10, (3, 3)), (10, 3, (3, 1)), (7, 7, (7, 1))] {
            assert_eq!(float_ratio(n, m, 1000), expected, "{n} of {m}");
        }
        assert_eq!([float_ratio(0, 5, 9), float_ratio(5, 0, 9), float_ratio(5, 50, 0)], [(0, NONE); 3]);
    }
}
