//! Softmax attention.

use std::ops::Range;

use crate::compare::storage_error;
use crate::reference::score::attention_score::{Attention, Exponentials, ULP, largest_and_sum, logit_error, saturated};
use crate::tensor::Elem;

/// What the rows of an [`Attention`] take from its keys.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// `[B, Hkv, N, V]`.
    pub values: &'a [f32],
    /// V.
    pub channels: usize,
    /// Added to the scaled logits, with the strides of batch row, head and query row. A stride of 0 repeats it. Negative infinity hides a
    /// key.
    pub bias: Option<(&'a [f32], [usize; 3])>,
    /// What else decides the logits.
    pub limits: Limits,
}

/// Soft caps, and what a row sees.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// `cap tanh(logit / cap)` in the place of a scaled logit, before the bias.
    pub soft_cap: Option<f32>,
    /// A row sees so many keys before the one at which it stands. All for `None`.
    pub before: Option<u32>,
    /// And so many after it. Causal attention has 0.
    pub after: Option<u32>,
    /// Row i stands at key `i + n`. For `None` the last live row stands at the last live key.
    pub first: Option<u32>,
}

/// A key that a row sees: its index, logit and bias.
struct Seen {
    key: usize,
    logit: f64,
    bias: f64,
}

impl Values<'_> {
    fn bias(&self, b: usize, h: usize, row: usize, key: usize) -> f64 {
        self.bias.map_or(0.0, |(bias, strides)| f64::from(bias[b * strides[0] + h * strides[1] + row * strides[2] + key]))
    }

    fn value(&self, attention: &Attention<'_>, b: usize, h: usize, key: usize, channel: usize) -> f64 {
        let head = b * attention.key_heads + h / (attention.heads / attention.key_heads);
        f64::from(self.values[(head * attention.key_count + key) * self.channels + channel])
    }

    /// The keys that a row may see.
    fn range(&self, attention: &Attention<'_>, b: usize, row: usize) -> Range<usize> {
        let (live, queries) = (attention.live_keys(b) as i64, attention.live_queries(b) as i64);
        let Limits { before, after, first, .. } = self.limits;
        let place = row as i64 + first.map_or(live - queries, i64::from);
        let end = after.map_or(live, |after| (place + i64::from(after) + 1).clamp(0, live));
        let begin = before.map_or(0, |before| (place - i64::from(before)).clamp(0, end));
        if row < queries as usize { begin as usize..end as usize } else { 0..0 }
    }

    /// A logit, and its largest error in f32.
    fn logit(&self, attention: &Attention<'_>, [b, h, row, key]: [usize; 4], bias: f64) -> (f64, f64) {
        let Some(cap) = self.limits.soft_cap.map(f64::from) else {
            return (attention.logit(b, h, row, key, bias), logit_error(attention, b, h, row, key, bias).1);
        };
        let below = cap * (attention.logit(b, h, row, key, 0.0) / cap).tanh();
        let logit = saturated(below + bias);
        let error = logit_error(attention, b, h, row, key, 0.0).1;
        (logit, error + 20.0 * ULP * below.abs() + ULP * logit.abs() + f64::from(f32::MIN_POSITIVE) * (2.0 + cap))
    }

    /// The keys that a row sees.
    fn seen(&self, attention: &Attention<'_>, b: usize, h: usize, row: usize) -> Vec<Seen> {
        self.range(attention, b, row)
            .map(|key| (key, self.bias(b, h, row, key)))
            .filter(|(_, bias)| *bias != f64::NEG_INFINITY)
            .map(|(key, bias)| Seen { key, logit: self.logit(attention, [b, h, row, key], bias).0, bias })
            .collect()
    }
}

/// A value times a positive weight. The weight may be 0 because f64 has nothing smaller; an infinite value stays infinite then. NaN if
/// either is NaN.
pub(crate) fn product(weight: f64, value: f64) -> f64 {
    if value.is_finite() || weight.is_nan() { weight * value } else { value }
}

fn rows(attention: &Attention<'_>) -> impl Iterator<Item = [usize; 3]> + use<> {
    let (batch, heads, count) = (attention.lengths.len(), attention.heads, attention.query_count);
    (0..batch).flat_map(move |b| (0..heads).flat_map(move |h| (0..count).map(move |row| [b, h, row])))
}

/// `sum_j softmax_j(scale q_i . k_j + bias_ij) v_j`, `[B, H, M, V]`, and the log-sum-exp of the logits, `[B, H, M]`.
///
/// A row that is dead or sees nothing is 0, and its log-sum-exp is negative infinity. If a logit that the row sees is NaN, both are NaN.
/// Every weight is positive, however small, so an infinite or NaN value that the row sees is in its result.
pub fn attention(attention: &Attention<'_>, values: &Values<'_>) -> (Vec<f32>, Vec<f32>) {
    let (mut out, mut sums) = (Vec::new(), Vec::new());
    for [b, h, row] in rows(attention) {
        let seen = values.seen(attention, b, h, row);
        let (largest, sum) = largest_and_sum(&seen.iter().map(|s| s.logit).collect::<Vec<_>>());
        let weighted = |s: &Seen, c: usize| product((s.logit - largest).exp() / sum, values.value(attention, b, h, s.key, c));
        let channel = |c: usize| seen.iter().map(|s| weighted(s, c)).sum::<f64>() as f32;
        out.extend((0..values.channels).map(channel));
        sums.push((largest + sum.ln()) as f32);
    }
    (out, sums)
}

/// Largest errors of [`attention`] on the GPU, the rows stored as `elem`.
///
/// There are n keys in `T = ceil(n / 32)` tiles, and `x_j` is the largest logit less that of key j. A term `exp(s_j - largest)` is wrong
/// by a factor `e^E_j`. `E_j` has these parts:
///
/// - the logit's error;
/// - `3 + 3 x_j` ulp for WGSL's exp of a rounded difference;
/// - for each tile, when the sums are scaled, at most 4 ulp and 3 ulp times the growth of the maximum, which adds up to `x_j`;
/// - 1 ulp for the product.
///
/// Numerator and denominator have the same terms. Relative to the denominator, the errors of the terms add up to A and B. Each addition
/// is one ulp more. In the numerator these are one for every four keys and two within them, at most `n / 4 + 3`. In the denominator
/// they are one for each tile, two within four keys and 15 over the invocations: `T + 17`.
///
/// A soft cap errs by 20 ulp of what it gives: a division of 2.5 ulp, then the series with 4, or `exp(-2 x)` with `3 + 4 x` and a quotient with
/// 3, where the exponential's error has a weight of at most `2 e / (1 + e)^2`, and a product. It makes an error of the logit no larger.
///
/// The quotient is within `(A + |out| B) / (1 - B)`; its reciprocal and product add 4 ulp. The log-sum-exp is within `-ln(1 - B)`, the
/// logarithm's 2^-21 or 3 ulp, and 1 ulp. No weight, and no factor of a growing maximum, is below the smallest normal number.
///
/// With few queries and more than 256 keys, parts of 256 keys are merged at the end. Parts are fewer than the tiles above, and each is
/// scaled once. Within a part the denominator has 5 additions in an invocation and 15 over them, and then one for each part; the numerator
/// has one for every four keys, as above. A part's weights are divided by 256, so that least weights are 256 times as large beside the others.
///
/// A NaN logit makes the row NaN. An infinite or NaN value makes its channel infinite or NaN. For these the bound is 0. It is infinite
/// where a logit may overflow on the way, or where the values weighted by `exp(s_j - largest)` add up to more than a float holds.
pub fn attention_bound(attention: &Attention<'_>, values: &Values<'_>, elem: Elem) -> (Vec<f64>, Vec<f64>) {
    let (mut out, mut sums) = (Vec::new(), Vec::new());
    let n = attention.key_count as f64;
    // Weights of parts are divided by 256.
    let tiny = f64::from(f32::MIN_POSITIVE) * if attention.key_count > 256 { 256.0 } else { 1.0 };
    let tiles = (n / 32.0).ceil();
    let finite = |bound: f64| if bound.is_finite() { bound } else { f64::INFINITY };
    for [b, h, row] in rows(attention) {
        let seen = values.seen(attention, b, h, row);
        let logits: Vec<f64> = seen.iter().map(|s| s.logit).collect();
        let of_logits = seen.iter().map(|s| values.logit(attention, [b, h, row, s.key], s.bias).1).collect();
        if seen.is_empty() || logits.iter().any(|s| s.is_nan()) {
            out.resize(out.len() + values.channels, 0.0);
            sums.push(0.0);
            continue;
        }
        let exponentials = Exponentials::new(&logits, of_logits);
        if exponentials.is_open() {
            out.resize(out.len() + values.channels, f64::INFINITY);
            sums.push(f64::INFINITY);
            continue;
        }
        let errors: Vec<f64> = exponentials.terms(4.0 + 5.0 * tiles, 6.0).into_iter().map(|error| error + tiny).collect();
        let below = errors.iter().sum::<f64>() + (tiles + 17.0) * ULP;
        let left = (1.0 - below).max(0.0);
        for c in 0..values.channels {
            let terms = || seen.iter().map(|s| values.value(attention, b, h, s.key, c));
            let weighted = || terms().zip(&exponentials.weights).filter(|(v, _)| v.is_finite());
            let magnitude: f64 = weighted().map(|(v, w)| v.abs() * w).sum();
            // The sum of the weights divides at the end. Before that, values may add up to more than a float holds, and to NaN with an
            // infinite one.
            if magnitude * exponentials.sum() > f64::from(f32::MAX) {
                out.push(f64::INFINITY);
                continue;
            }
            if terms().any(|v| !v.is_finite()) {
                out.push(0.0);
                continue;
            }
            let value: f64 = weighted().map(|(v, w)| v * w).sum();
            // Whatever the weights are, the result is a mean of the values.
            let spread = 2.0 * terms().map(f64::abs).fold(0.0, f64::max);
            let above = terms().zip(&errors).map(|(v, e)| v.abs() * e).sum::<f64>() + (n / 4.0 + 3.0) * ULP * magnitude + n * tiny;
            let quotient = ((above + value.abs() * below) / left).min(spread * (1.0 + (n + 8.0) * ULP));
            let error = quotient + 4.0 * ULP * (value.abs() + quotient);
            out.push(finite(error + storage_error(elem, value.abs() + error)));
        }
        let lse = exponentials.of_log(below);
        sums.push(finite(lse + ULP * lse + ULP * exponentials.largest.abs() + tiny));
    }
    (out, sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two query heads over one of keys; logits 0, ln 2, ln 5 and twice these.
    fn hand_made<'a>(keys: &'a [f32], lengths: &'a [u32]) -> Attention<'a> {
        Attention {
            queries: &[1.0, 1.0, 2.0, 2.0],
            keys,
            bias: None,
            lengths,
            query_lengths: &[2],
            heads: 2,
            key_heads: 1,
            query_count: 2,
            key_count: 3,
            channels: 1,
            scale: 1.0,
            causal: false,
        }
    }

    fn close(actual: &[f32], expected: &[f32]) {
        assert!(
            actual.iter().zip(expected).all(|(a, e)| (a - e).abs() < 1e-6 * (1.0 + e.abs())) && actual.len() == expected.len(),
            "{actual:?}"
        );
    }

    #[test]
    fn a_hand_made_attention() {
        let keys = [0.0, 2f32.ln(), 5f32.ln()];
        let plain = Values { values: &[1.0, 10.0, 2.0, 20.0, 0.0, 40.0], channels: 2, bias: None, limits: Limits::default() };
        let (out, lse) = attention(&hand_made(&keys, &[3]), &plain);
        close(&out, &[0.625, 31.25, 0.625, 31.25, 0.3, 36.333_332, 0.3, 36.333_332]);
        close(&lse, &[8f32.ln(), 8f32.ln(), 30f32.ln(), 30f32.ln()]);
        let causal = Values { limits: Limits { after: Some(0), ..Limits::default() }, ..plain };
        let (out, lse) = attention(&hand_made(&keys, &[2]), &causal);
        close(&out[..4], &[1.0, 10.0, 5.0 / 3.0, 50.0 / 3.0]);
        close(&lse[..2], &[0.0, 3f32.ln()]);
        // The same, aligned at the start: the first row sees one key. And a window that lets each row see one.
        let from = |first, before| Limits { after: Some(0), first: Some(first), before, ..Limits::default() };
        let (out, _) = attention(&hand_made(&keys, &[3]), &Values { limits: from(0, None), ..plain });
        close(&out[..4], &[1.0, 10.0, 5.0 / 3.0, 50.0 / 3.0]);
        let (out, _) = attention(&hand_made(&keys, &[3]), &Values { limits: from(1, Some(0)), ..plain });
        close(&out[..4], &[2.0, 20.0, 0.0, 40.0]);
        let (out, lse) = attention(&hand_made(&keys, &[3]), &Values { limits: from(2, Some(0)), ..plain });
        close(&out[..4], &[0.0, 40.0, 0.0, 0.0]);
        assert_eq!(lse[1], f32::NEG_INFINITY);
        // A cap makes infinite logits equal to the cap: keys of 0 and infinity have weights of 1 and e^2.
        let cap = Values { limits: Limits { soft_cap: Some(2.0), ..Limits::default() }, ..plain };
        let (out, lse) = attention(&hand_made(&[0.0, f32::INFINITY, 0.0], &[2]), &cap);
        let high = 2f32.exp();
        close(&out[..2], &[(1.0 + 2.0 * high) / (1.0 + high), (10.0 + 20.0 * high) / (1.0 + high)]);
        close(&lse[..1], &[(1.0 + high).ln()]);
        // One row sees the last key only, one nothing.
        let hide = f32::NEG_INFINITY;
        let hidden = Values { bias: Some((&[hide, hide, 3.0, hide, hide, hide], [0, 0, 3])), ..plain };
        let (out, lse) = attention(&hand_made(&keys, &[3]), &hidden);
        close(&out[..4], &[0.0, 40.0, 0.0, 0.0]);
        close(&lse[..1], &[5f32.ln() + 3.0]);
        assert_eq!(lse[1], f32::NEG_INFINITY);
        let (bound, lse) = attention_bound(&hand_made(&keys, &[3]), &hidden, Elem::F32);
        assert!(bound[..2].iter().all(|b| *b < 1e-3) && bound[2..4] == [0.0; 2] && lse[1] == 0.0, "{bound:?}");
        // A weight of e^-1000 is a weight: an infinite value is in its row, and no other answer passes.
        let (infinity, nan) = (f32::INFINITY, f32::NAN);
        let far = Values { values: &[1.0, 2.0, infinity, 3.0, 4.0, nan], bias: Some((&[0.0, -1000.0, -1000.0], [0, 0, 0])), ..plain };
        let (out, _) = attention(&hand_made(&[0.0; 3], &[3]), &far);
        assert!(out[0] == infinity && out[1].is_nan());
        assert_eq!(attention_bound(&hand_made(&[0.0; 3], &[3]), &far, Elem::F32).0, [0.0; 8]);
        // One NaN logit makes the whole row NaN.
        let (out, lse) = attention(&hand_made(&[0.0, nan, 0.0], &[3]), &far);
        assert!(out.iter().chain(&lse).all(|x| x.is_nan()));
        let bound = attention_bound(&hand_made(&[0.0, nan, 0.0], &[3]), &far, Elem::F32);
        assert_eq!((bound.0, bound.1), (vec![0.0; 8], vec![0.0; 4]));
        let (bound, _) = attention_bound(&hand_made(&keys, &[3]), &plain, Elem::F32);
        assert!(bound.iter().all(|b| *b > 0.0 && *b < 1e-3), "{bound:?}");
    }
}
