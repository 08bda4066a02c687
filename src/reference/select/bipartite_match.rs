//! The most similar destination of every source.

use crate::compare::EPSILON_F32;
use crate::reference::unit_error;
use crate::tensor::NONE;

/// The tokens of one batch row, and which of them may be matched.
#[derive(Debug, Clone, Copy)]
pub struct Candidates<'a> {
    /// Unit rows, `[tokens, channels]`.
    pub unit: &'a [f32],
    /// Norms, `[tokens]`; NaN for rows with a NaN or an infinity.
    pub norm: &'a [f32],
    /// Channels of a row.
    pub channels: usize,
    /// Positions of the sources.
    pub sources: &'a [u32],
    /// Positions of the destinations.
    pub destinations: &'a [u32],
    /// Live tokens: positions from here on are dead.
    pub live: u32,
    /// Leading sources that may not be matched.
    pub protected_sources: u32,
    /// Leading destinations that may not be matched.
    pub protected_destinations: u32,
}

impl<'a> Candidates<'a> {
    fn token(&self, list: &[u32], protected: u32, index: usize) -> Option<usize> {
        let token = list[index];
        (index >= protected as usize && token < self.live && (token as usize) < self.norm.len()).then_some(token as usize)
    }

    /// Position of a source that may be matched.
    pub fn source(&self, index: usize) -> Option<usize> {
        self.token(self.sources, self.protected_sources, index)
    }

    /// Position of a destination that may be matched.
    pub fn destination(&self, index: usize) -> Option<usize> {
        self.token(self.destinations, self.protected_destinations, index)
    }

    /// A token's unit row.
    pub fn row(&self, token: usize) -> &'a [f32] {
        &self.unit[token * self.channels..][..self.channels]
    }

    /// The cosine of two tokens; NaN if either has a NaN or an infinity.
    pub fn similarity(&self, a: usize, b: usize) -> f64 {
        if self.norm[a].is_nan() || self.norm[b].is_nan() { f64::NAN } else { cosine(self.row(a), self.row(b)) }
    }
}

/// `sum_c a_c b_c`.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
}

/// From this inner product upwards, the cosine of two unit rows is computed from their difference. With fewer than 2^16 channels, rounding
/// cannot bring a row's product with itself below it.
const NEAR: f64 = 1.0 - 1.0 / 64.0;

/// The cosine of two unit rows: their inner product, at least -1. Near 1 it is `1 - |a - b|^2 / 2`. That is exactly 1 for equal rows,
/// however they were rounded, and never more.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    match dot(a, b) {
        product if product < -1.0 => -1.0,
        product if product < NEAR => product,
        // Rounded to f32, so that rows of one direction are equally near, however they were rounded.
        _ => f64::from((1.0 - squared_distance(a, b) / 2.0) as f32),
    }
}

/// How far [`cosine`] in f32 may be from the exact one. It is the bound of the inner product; or near 1 `(C + 3) eps` of the squared
/// difference, and the rounding of the difference from 1. Where the GPU may take either form, both bounds count, and the distance between
/// the two forms. Equal rows have exactly 1.
pub fn cosine_bound(a: &[f32], b: &[f32]) -> f64 {
    let (product, bound) = (dot(a, b), dot_bound(a, b));
    if product + bound < NEAR {
        return bound;
    }
    let (half, n) = (squared_distance(a, b) / 2.0, a.len() as f64);
    let near = match half {
        0.0 => 0.0,
        half if half * (1.0 + (n + 3.0) * EPSILON_F32) > f64::from(f32::MAX) / 2.0 => f64::INFINITY,
        half => (n + 3.0) * EPSILON_F32 * half + n * f64::from(f32::MIN_POSITIVE) + 2.0 * EPSILON_F32 * (1.0 - half).abs(),
    };
    if product - bound >= NEAR { near } else { near + bound + (product - (1.0 - half)).abs() }
}

/// `similarity_i = max_j unit[source_i] . unit[destination_j]` and the lowest j that has it, in one batch row.
///
/// A similarity to or of a row with a NaN or an infinity is NaN, and ranks below every number. Dead and protected entries are skipped.
/// Without a candidate the similarity is -infinity, and the partner is [`NONE`].
pub fn bipartite_match(candidates: &Candidates<'_>) -> (Vec<f32>, Vec<u32>) {
    let (mut similarities, mut partners) = (Vec::new(), Vec::new());
    for i in 0..candidates.sources.len() {
        let mut best: Option<(f64, u32)> = None;
        for j in 0..candidates.destinations.len() {
            if let (Some(source), Some(destination)) = (candidates.source(i), candidates.destination(j)) {
                let similarity = candidates.similarity(source, destination);
                let replaces = best.is_none_or(|(old, _)| similarity > old || (old.is_nan() && !similarity.is_nan()));
                if replaces {
                    best = Some((similarity, j as u32));
                }
            }
        }
        let (similarity, partner) = best.unwrap_or((f64::NEG_INFINITY, NONE));
        similarities.push(similarity as f32);
        partners.push(partner);
    }
    (similarities, partners)
}

/// How far an inner product in f32, in any order and with or without fused steps, may be from the exact one rounded to
/// f32: `(C + 2) eps sum_c |a_c b_c|`, and the smallest normal number for each product that may be flushed to 0.
pub fn dot_bound(a: &[f32], b: &[f32]) -> f64 {
    let magnitude: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a).abs() * f64::from(b).abs()).sum();
    let n = a.len() as f64;
    (n + 2.0) * EPSILON_F32 * magnitude + n * f64::from(f32::MIN_POSITIVE)
}

/// How far a similarity may be from the cosine of the original rows: the bound of the inner product for vectors of norm 1, and twice the
/// error of the unit rows ([`unit_error`]), to first order.
///
/// This is for matches of a whole graph, where the reference has unit rows of its own.
pub fn cosine_error(channels: usize) -> f64 {
    (channels as f64 + 2.0) * EPSILON_F32 + 2.0 * unit_error(channels) + channels as f64 * f64::from(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::row_normalize;

    /// `x[i][c] = (((5 i^2 + 7 i + 3 c + i c) mod 23) - 11) / 8`: small enough to check by hand.
    fn hand(tokens: usize, channels: usize) -> Vec<f32> {
        (0..tokens * channels)
            .map(|at| {
                let (i, c) = (at / channels, at % channels);
                (((5 * i * i + 7 * i + 3 * c + i * c) % 23) as f32 - 11.0) / 8.0
            })
            .collect()
    }

    fn find(x: &[f32], channels: usize, sources: &[u32], destinations: &[u32], live: u32, protected: [u32; 2]) -> (Vec<f32>, Vec<u32>) {
        let (unit, norm) = row_normalize(x, &[live], [1, x.len() / channels.max(1), channels]);
        let [protected_sources, protected_destinations] = protected;
        bipartite_match(&Candidates {
            unit: &unit,
            norm: &norm,
            channels,
            sources,
            destinations,
            live,
            protected_sources,
            protected_destinations,
        })
    }

    const EVEN: [u32; 5] = [0, 2, 4, 6, 8];
    const ODD: [u32; 4] = [1, 3, 5, 7];

    #[test]
    fn hand_checked() {
        let (similarity, partner) = find(&hand(9, 4), 4, &EVEN, &ODD, 9, [0, 0]);
        // Tokens 2, 4 and 6 are the three most similar: to tokens 1, 3 and 3.
        let mut order: Vec<usize> = (0..5).collect();
        order.sort_by(|&a, &b| similarity[b].total_cmp(&similarity[a]));
        let best: Vec<_> = order.iter().map(|&i| (EVEN[i], ODD[partner[i] as usize])).collect();
        assert_eq!(best[..3], [(2, 1), (4, 3), (6, 3)]);
        for (i, expected) in [(1, 0.985867), (2, 0.910860), (3, 0.867981)] {
            assert!((similarity[i] - expected).abs() < 1e-6, "{similarity:?}");
        }
    }

    #[test]
    fn hand_checked_with_protected_tokens() {
        // Token 1 is no destination: token 2 now goes to 5.
        let (similarity, partner) = find(&hand(9, 4), 4, &EVEN, &ODD, 9, [1, 1]);
        assert_eq!((similarity[0], partner[0]), (f32::NEG_INFINITY, NONE));
        assert_eq!((partner[1], partner[2], partner[3]), (2, 1, 1));
        assert!((similarity[1] - 0.474589).abs() < 1e-6);
    }

    #[test]
    fn a_second_formulation() {
        // cos = 1 - |u / |u| - v / |v||^2 / 2, and a sort of all candidates.
        let x = hand(19, 5);
        let (sources, destinations) = ([3, 18, 0, 7, 12], [1, 16, 2, 9, 4, 11]);
        let (_, partner) = find(&x, 5, &sources, &destinations, 17, [0, 1]);
        let row = |i: u32| {
            let row: Vec<f64> = x[i as usize * 5..][..5].iter().map(|v| f64::from(*v)).collect();
            let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
            row.into_iter().map(move |v| v / norm).collect::<Vec<_>>()
        };
        for (i, &source) in sources.iter().enumerate() {
            let mut all: Vec<(f64, u32)> = destinations
                .iter()
                .enumerate()
                .filter(|(j, t)| *j >= 1 && **t < 17)
                .map(|(j, &t)| (row(source).iter().zip(row(t)).map(|(a, b)| (a - b) * (a - b)).sum::<f64>(), j as u32))
                .collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            assert_eq!(partner[i], if source < 17 { all[0].1 } else { NONE });
        }
    }

    #[test]
    fn ties_go_to_the_lowest() {
        let (similarity, partner) = find(&[2.0; 27], 3, &EVEN, &ODD, 9, [0, 0]);
        assert_eq!(partner, [0; 5]);
        assert!(similarity.iter().all(|s| (s - 1.0).abs() < 1e-6));
    }

    #[test]
    fn zero_and_broken_rows() {
        // Token 0 is zero, token 3 has a NaN, token 4 an infinity; the rest point up, token 5 down.
        let x = [0.0, 0.0, 0.0, 1.0, 0.0, 2.0, f32::NAN, 1.0, f32::INFINITY, 0.0, 0.0, -1.0];
        let (similarity, partner) = find(&x, 2, &[0, 2, 4], &[3, 5, 1], 6, [0, 0]);
        assert_eq!((similarity[0], partner[0]), (0.0, 1));
        assert_eq!((similarity[1], partner[1]), (1.0, 2));
        assert_eq!((similarity[2].is_nan(), partner[2]), (true, 0));
        // Only the broken one is left.
        let (similarity, partner) = find(&x, 2, &[2], &[3, 9], 6, [0, 0]);
        assert_eq!((similarity[0].is_nan(), partner[0]), (true, 0));
        // Nothing at all.
        assert_eq!(find(&x, 2, &[2], &[9], 6, [0, 0]), (vec![f32::NEG_INFINITY], vec![NONE]));
        assert_eq!(find(&x, 2, &[], &[1], 6, [0, 0]), (vec![], vec![]));
    }
}
