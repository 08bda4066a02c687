//! The attention that pools of frames receive.

use super::attention_score::{Attention, ULP, logit_error};
use crate::compare::storage_error;
use crate::tensor::Elem;

/// What a pool of frames receives, and how far either may be from that on the GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Received {
    /// From all frames: the mean over queries of the largest head's weights, summed over the pool.
    pub all: f64,
    /// From the pool itself: the mean over its queries and the heads, summed over the pool.
    pub own: f64,
    /// Largest error of `all`.
    pub all_error: f64,
    /// Largest error of `own`.
    pub own_error: f64,
}

/// What every pool of `pool` frames receives, `[B, frames / pool]`, given each query row's log-sum-exp `[B, H, frames]`.
///
/// A weight is `exp(s - lse)`. The error of s, the rounded difference (1 ulp of it) and WGSL's exp (`3 + 2 |s - lse|` ulp) make a
/// factor of `e^E`; results below the smallest normal number may become 0. A sum's error is that of its terms, and an ulp of it for
/// each addition a term goes through: those of a lane, of the lanes, and of the heads. The division adds 2.5 ulp.
pub fn pooled_attention(attention: &Attention<'_>, lse: &[f32], pool: usize) -> Vec<Received> {
    let frames = attention.key_count;
    let mut pools = Vec::new();
    for b in 0..attention.lengths.len() {
        let live = frames.min(attention.lengths[b] as usize);
        for t in 0..frames / pool {
            let members = t * pool..((t + 1) * pool).min(live);
            let mut received = Received::default();
            for i in 0..live {
                for j in members.clone() {
                    let weight = |h: usize| {
                        let exponent = f64::from(attention.scale) * attention.dot(b, h, i, j).0
                            - f64::from(lse[(b * attention.heads + h) * frames + i]);
                        let error = logit_error(attention, b, h, i, j).1 + (3.0 + 3.0 * exponent.abs()) * ULP;
                        let error = exponent.exp() * error.exp_m1() + f64::from(f32::MIN_POSITIVE);
                        // NaN must not be lost in a maximum.
                        (exponent.exp(), if error.is_nan() { f64::INFINITY } else { error })
                    };
                    let weights: Vec<_> = (0..attention.heads).map(weight).collect();
                    received.all += weights.iter().map(|w| w.0).fold(0.0, f64::max);
                    received.all_error += weights.iter().map(|w| w.1).fold(0.0, f64::max);
                    if members.contains(&i) {
                        received.own += weights.iter().map(|w| w.0).sum::<f64>();
                        received.own_error += weights.iter().map(|w| w.1).sum::<f64>();
                    }
                }
            }
            let additions = (live.div_ceil(128) * pool + attention.heads + 128) as f64 + 2.5;
            let mean = |sum: f64, error: f64, count: usize| {
                let mean = sum / count.max(1) as f64;
                let stored = if sum == 0.0 && error == 0.0 { 0.0 } else { storage_error(Elem::F32, mean) };
                let error = (error + additions * ULP * sum) / count.max(1) as f64 + stored;
                (mean, if error.is_finite() { error } else { f64::INFINITY })
            };
            (received.all, received.all_error) = mean(received.all, received.all_error, live);
            (received.own, received.own_error) = mean(received.own, received.own_error, attention.heads * members.len());
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
        let pools = pooled_attention(&attention, &[8f64.ln() as f32; 8], 2);
        let all = [(4.0 + 6.0 + 2.0 + 2.0) + (2.0 + 5.0 + 2.0 + 2.0), (2.0 + 1.0 + 5.0 + 2.0) + (2.0 + 1.0 + 2.0 + 5.0)];
        let own = [4.0 + 2.0 + 1.0 + 5.0 + 2.0 + 2.0 + 6.0 + 0.5, 2.0 + 2.0 + 1.0 + 5.0 + 5.0 + 1.0 + 2.0 + 2.0];
        for t in 0..2 {
            assert!((pools[t].all - all[t] / 8.0 / 4.0).abs() < 1e-6, "{pools:?}");
            assert!((pools[t].own - own[t] / 8.0 / 4.0).abs() < 1e-6, "{pools:?}");
            assert!(pools[t].all_error < 1e-4 && pools[t].own_error < 1e-4, "{pools:?}");
        }
    }
}
