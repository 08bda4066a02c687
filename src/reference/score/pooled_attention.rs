//! The attention that each pool of frames receives.

use crate::compare::storage_error;
use crate::reference::Norm;
use crate::reference::score::attention_score::{Attention, ULP, maximum, weight_errors};
use crate::tensor::Elem;

/// What a pool of frames receives, and the largest errors on the GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Received {
    /// From all frames: the largest weight of any head, as the mean over queries, summed over the pool.
    pub all: f64,
    /// From the pool itself: the weight as the mean over its own queries and the heads, summed over the pool.
    pub own: f64,
    /// Largest error of `all`.
    pub all_error: f64,
    /// Largest error of `own`.
    pub own_error: f64,
}

/// What every pool of `pool` frames receives, `[B, frames / pool]`.
///
/// A sum's error is the sum of its terms' errors, and one ulp of the sum for each addition that a term passes through: a quarter of the
/// queries within an invocation, the pool's own ones head by head, then at most 24 parts and the pool; for few frames one after the other.
/// The division adds 2.5 ulp.
pub fn pooled_attention(attention: &Attention<'_>, pool: usize) -> Vec<Received> {
    let frames = attention.key_count;
    let mut pools = Vec::new();
    for b in 0..attention.lengths.len() {
        let live = frames.min(attention.lengths[b] as usize);
        let mut rows = vec![Received::default(); frames / pool];
        for i in 0..live {
            let heads: Vec<(Vec<f64>, Vec<f64>)> = (0..attention.heads)
                .map(|h| (attention.weights(b, h, i, Norm::Softmax), weight_errors(attention, b, h, i, Norm::Softmax)))
                .collect();
            for j in 0..live {
                let received = &mut rows[j / pool];
                let errors = || heads.iter().map(|h| h.1[j]);
                received.all += heads.iter().map(|h| h.0[j]).fold(0.0, maximum);
                received.all_error += errors().fold(0.0, f64::max);
                if i / pool == j / pool {
                    received.own += heads.iter().map(|h| h.0[j]).sum::<f64>();
                    received.own_error += errors().sum::<f64>();
                }
            }
        }
        for (t, mut received) in rows.into_iter().enumerate() {
            let members = ((t + 1) * pool).min(live).saturating_sub(t * pool);
            let additions = (live.div_ceil(4) + (attention.heads + live.min(16) + 2) * pool + 64) as f64 + 2.5;
            let mean = |sum: f64, error: f64, count: usize| {
                let mean = sum / count.max(1) as f64;
                let stored = if sum == 0.0 && error == 0.0 { 0.0 } else { storage_error(Elem::F32, mean) };
                let error = (error + additions * ULP * sum) / count.max(1) as f64 + stored;
                // NaN is NaN on every device.
                let open = if error.is_finite() { error } else { f64::INFINITY };
                (mean, if sum.is_nan() { 0.0 } else { open })
            };
            (received.all, received.all_error) = mean(received.all, received.all_error, live);
            (received.own, received.own_error) = mean(received.own, received.own_error, attention.heads * members);
            pools.push(received);
        }
    }
    pools
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_softmax_by_hand() {
        // Two heads of four frames whose logits are the logarithms of whole numbers.
        let weights = [
            [[4.0, 2.0, 1.0, 1.0], [1.0, 5.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0, 5.0]],
            [[2.0, 2.0, 2.0, 2.0], [6.0, 0.5, 0.5, 1.0], [1.0, 1.0, 5.0, 1.0], [2.0, 2.0, 2.0, 2.0]],
        ];
        // One-hot queries: the logit of row i and key j is the key's channel i.
        let queries: Vec<f32> = (0..32).map(|i| f32::from(i % 16 / 4 == i % 4)).collect();
        let keys: Vec<f32> = (0..32).map(|i| f64::ln(weights[i / 16][i % 4][i % 16 / 4]) as f32).collect();
        let attention = Attention {
            queries: &queries,
            keys: &keys,
            bias: None,
            lengths: &[9],
            query_lengths: &[9],
            heads: 2,
            key_heads: 2,
            query_count: 4,
            key_count: 4,
            channels: 4,
            scale: 1.0,
            causal: false,
        };
        let pools = pooled_attention(&attention, 2);
        let all = [(4.0 + 6.0 + 2.0 + 2.0) + (2.0 + 5.0 + 2.0 + 2.0), (2.0 + 1.0 + 5.0 + 2.0) + (2.0 + 1.0 + 2.0 + 5.0)];
        let own = [4.0 + 2.0 + 1.0 + 5.0 + 2.0 + 2.0 + 6.0 + 0.5, 2.0 + 2.0 + 1.0 + 5.0 + 5.0 + 1.0 + 2.0 + 2.0];
        for t in 0..2 {
            assert!((pools[t].all - all[t] / 8.0 / 4.0).abs() < 1e-6, "{pools:?}");
            assert!((pools[t].own - own[t] / 8.0 / 4.0).abs() < 1e-6, "{pools:?}");
            assert!(pools[t].all_error < 1e-4 && pools[t].own_error < 1e-4, "{pools:?}");
        }
    }
}
