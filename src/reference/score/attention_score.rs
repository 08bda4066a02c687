//! The attention that keys receive.

use std::ops::Range;

use crate::compare::{EPSILON_F32, storage_error};
use crate::tensor::Elem;

/// The query rows whose attention counts.
///
/// The default of [`AttentionScore`](crate::kernels::AttentionScore) is row 0, the class token's ([`Queries::CLASS`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queries {
    /// One row; row 0 is the class token.
    Row(u32),
    /// The last live row of each batch row.
    Last,
    /// These rows, in this order. One listed twice counts twice.
    List(Vec<u32>),
    /// Every row.
    All,
}

impl Queries {
    /// The row of the class token.
    pub const CLASS: Self = Self::Row(0);

    /// How many rows are asked for, where there are `queries`.
    pub fn count(&self, queries: usize) -> usize {
        match self {
            Self::Row(_) | Self::Last => 1,
            Self::List(rows) => rows.len(),
            Self::All => queries,
        }
    }

    /// The r-th row asked for, if it is one of the first `live`.
    pub fn row(&self, r: usize, live: usize) -> Option<usize> {
        let row = match self {
            Self::Row(row) => *row as usize,
            Self::Last => live.wrapping_sub(1),
            Self::List(rows) => rows[r] as usize,
            Self::All => r,
        };
        (row < live).then_some(row)
    }
}

/// What a query row gives to a key that it sees: a logit or its softmax. An option of [`AttentionScore`](crate::kernels::AttentionScore).
///
/// A projector's norm over the channels, with learned weights, is another type: [`methods::LearnedNorm`](crate::methods::LearnedNorm).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// `q · k`: no scale, no bias.
    Logits,
    /// `|q · k|`.
    Magnitude,
    /// `scale · (q · k) + bias`.
    ScaledLogits,
    /// Softmax of the scaled logits over all visible live keys.
    Softmax,
}

/// How the rows' weights for one key become one number. Rows that are dead or do not see the key add nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowReduction {
    /// Sum over the number of live rows asked for.
    Mean,
    /// Sum over the number of rows that see the key.
    MeanVisible,
    /// Sum.
    Sum,
    /// Maximum over the rows that see the key.
    Max,
    /// Each row by itself: the score has a dimension of rows. Dead rows, and keys that a row does not see, give 0.
    None,
}

/// How the heads' numbers for one key become one, once each head's rows are reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadReduction {
    /// Mean.
    Mean,
    /// Sum.
    Sum,
    /// Maximum.
    Max,
    /// This head alone.
    One(u32),
    /// Each head by itself: the score has a dimension of heads.
    None,
}

impl HeadReduction {
    /// The heads that count, where there are `heads`.
    pub fn picked(self, heads: usize) -> Range<usize> {
        match self {
            Self::One(head) => head as usize..head as usize + 1,
            _ => 0..heads,
        }
    }
}

/// Queries `[B, H, M, D]`, keys `[B, Hkv, N, D]`, and everything else that decides their attention.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// `[B, H, M, D]`.
    pub queries: &'a [f32],
    /// `[B, Hkv, N, D]`; head h attends to the keys of head `h / (H / Hkv)`.
    pub keys: &'a [f32],
    /// `[B, N]`, added to the scaled logits.
    pub bias: Option<&'a [f32]>,
    /// `[B]`, live keys.
    pub lengths: &'a [u32],
    /// `[B]`, live query rows.
    pub query_lengths: &'a [u32],
    /// H.
    pub heads: usize,
    /// Hkv.
    pub key_heads: usize,
    /// M.
    pub query_count: usize,
    /// N.
    pub key_count: usize,
    /// D.
    pub channels: usize,
    /// Factor of the dot products.
    pub scale: f32,
    /// Query i sees key j iff `j <= i + live keys - live queries`.
    pub causal: bool,
}

impl Attention<'_> {
    pub(crate) fn live_queries(&self, b: usize) -> usize {
        self.query_count.min(self.query_lengths[b] as usize)
    }

    pub(crate) fn live_keys(&self, b: usize) -> usize {
        self.key_count.min(self.lengths[b] as usize)
    }

    /// A live query row sees so many keys, the first ones.
    pub(crate) fn visible(&self, b: usize, row: usize) -> usize {
        match self.causal {
            true => (row + 1 + self.live_keys(b)).saturating_sub(self.live_queries(b)),
            false => self.live_keys(b),
        }
    }

    fn factors(&self, b: usize, h: usize, row: usize, key: usize) -> impl Iterator<Item = (f32, f32)> {
        let group = self.heads / self.key_heads;
        let q = &self.queries[((b * self.heads + h) * self.query_count + row) * self.channels..];
        let k = &self.keys[((b * self.key_heads + h / group) * self.key_count + key) * self.channels..];
        q.iter().copied().zip(k.iter().copied()).take(self.channels)
    }

    fn products(&self, b: usize, h: usize, row: usize, key: usize) -> impl Iterator<Item = f64> {
        self.factors(b, h, row, key).map(|(q, k)| f64::from(q) * f64::from(k))
    }

    /// `sum_c q_c k_c`, saturated at the largest float.
    pub(crate) fn dot(&self, b: usize, h: usize, row: usize, key: usize) -> f64 {
        self.products(b, h, row, key).sum()
    }

    /// The logit of a key: scaled, with this bias, saturated.
    pub(crate) fn logit(&self, b: usize, h: usize, row: usize, key: usize, bias: f64) -> f64 {
        saturated(f64::from(self.scale) * self.dot(b, h, row, key) + bias)
    }

    fn bias(&self, b: usize, key: usize) -> f64 {
        self.bias.map_or(0.0, |bias| f64::from(bias[b * self.key_count + key]))
    }

    /// Whether a key's bias leaves it visible.
    fn shows(&self, b: usize, key: usize) -> bool {
        self.bias(b, key) != f64::NEG_INFINITY
    }

    /// The scaled and biased logits of the keys that a row sees. A key that its bias hides has negative infinity.
    fn scaled(&self, b: usize, h: usize, row: usize) -> Vec<f64> {
        let logit = |j| if self.shows(b, j) { self.logit(b, h, row, j, self.bias(b, j)) } else { f64::NEG_INFINITY };
        (0..self.visible(b, row)).map(logit).collect()
    }

    /// What a row gives to each key, up to the last that it sees. A key that its bias hides gets 0.
    pub(crate) fn weights(&self, b: usize, h: usize, row: usize, norm: Norm) -> Vec<f64> {
        let shown = |j: usize, weight: f64| if self.shows(b, j) { weight } else { 0.0 };
        match norm {
            Norm::Logits => (0..self.visible(b, row)).map(|j| shown(j, saturated(self.dot(b, h, row, j)))).collect(),
            Norm::Magnitude => (0..self.visible(b, row)).map(|j| shown(j, saturated(self.dot(b, h, row, j)).abs())).collect(),
            Norm::ScaledLogits => self.scaled(b, h, row).into_iter().enumerate().map(|(j, s)| shown(j, s)).collect(),
            Norm::Softmax => {
                let logits = self.scaled(b, h, row);
                let (largest, sum) = largest_and_sum(&logits);
                logits.iter().enumerate().map(|(j, s)| shown(j, (s - largest).exp() / sum)).collect()
            }
        }
    }
}

/// Saturates at the largest float, since no logit is infinite. NaN stays.
pub(crate) fn saturated(logit: f64) -> f64 {
    logit.clamp(f64::from(f32::MIN), f64::from(f32::MAX))
}

/// The larger; NaN if either is.
pub(crate) fn maximum(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The largest of these logits, and the sum of `exp(logit - largest)`. They stay two numbers: beside a logit of 1e9 a float has no room for
/// the logarithm of the sum.
///
/// Negative infinity is not a logit. Without any logit the sum is 0. A NaN makes the sum NaN.
pub(crate) fn largest_and_sum(logits: &[f64]) -> (f64, f64) {
    let seen = || logits.iter().copied().filter(|s| *s != f64::NEG_INFINITY);
    let largest = seen().fold(f64::from(f32::MIN), maximum);
    (largest, seen().map(|s| (s - largest).exp()).sum())
}

/// `ln sum_j exp(logits[j])`; negative infinity without any logit.
fn log_sum_exp(logits: &[f64]) -> f64 {
    let (largest, sum) = largest_and_sum(logits);
    largest + sum.ln()
}

/// Which rows and keys are asked for, and how their weights become a score.
#[derive(Debug, Clone)]
pub struct Scoring<'a> {
    /// Query rows.
    pub queries: &'a Queries,
    /// Weight of a key for a row.
    pub norm: Norm,
    /// Rows to one.
    pub rows: RowReduction,
    /// Then heads to one.
    pub heads: HeadReduction,
    /// The keys that are reported. The softmax is over all keys.
    pub columns: Range<usize>,
}

/// Row log-sum-exp of the scaled logits, `[B, H, R]`: negative infinity for rows that are dead or see nothing.
pub fn attention_lse(attention: &Attention<'_>, queries: &Queries) -> Vec<f32> {
    let mut lse = Vec::new();
    for b in 0..attention.lengths.len() {
        for h in 0..attention.heads {
            for r in 0..queries.count(attention.query_count) {
                let row = queries.row(r, attention.live_queries(b));
                lse.push(row.map_or(f64::NEG_INFINITY, |row| log_sum_exp(&attention.scaled(b, h, row))) as f32);
            }
        }
    }
    lse
}

/// `score[b,(h,)(r,)j] = heads_h rows_r weight[b,h,r,j]`. It is `[B, columns]`, with a dimension of heads and one of rows where these are
/// kept.
///
/// A key that is dead, hidden by its bias, or that no row sees has 0. In a maximum NaN wins.
pub fn attention_score(attention: &Attention<'_>, scoring: &Scoring<'_>) -> Vec<f32> {
    let mut score = Vec::new();
    for b in 0..attention.lengths.len() {
        let heads = scoring.heads.picked(attention.heads).map(|h| head_score(attention, scoring, b, h)).collect::<Vec<_>>();
        let mut over_heads = |reduce: &dyn Fn(&mut dyn Iterator<Item = f64>) -> f64| {
            for r in 0..scoring.results(attention) {
                score.extend(scoring.columns.clone().map(|j| reduce(&mut heads.iter().map(|head| head[r][j])) as f32));
            }
        };
        match scoring.heads {
            HeadReduction::None => score.extend(heads.iter().flatten().flat_map(|row| &row[scoring.columns.clone()]).map(|&v| v as f32)),
            HeadReduction::Sum | HeadReduction::One(_) => over_heads(&|values| values.fold(0.0, |sum, v| sum + v)),
            HeadReduction::Mean => over_heads(&|values| values.fold(0.0, |sum, v| sum + v) / heads.len().max(1) as f64),
            HeadReduction::Max => over_heads(&|values| values.map(saturated).reduce(maximum).unwrap_or(0.0)),
        }
    }
    score
}

impl Scoring<'_> {
    /// How many numbers a head's rows give for each key.
    fn results(&self, attention: &Attention<'_>) -> usize {
        if self.rows == RowReduction::None { self.queries.count(attention.query_count) } else { 1 }
    }
}

/// One head's numbers for every key: one row of them, or all rows where rows are kept.
fn head_score(attention: &Attention<'_>, scoring: &Scoring<'_>, b: usize, h: usize) -> Vec<Vec<f64>> {
    let live = attention.live_queries(b);
    if scoring.rows == RowReduction::None {
        let row = |r| {
            let mut row = scoring.queries.row(r, live).map_or(Vec::new(), |row| attention.weights(b, h, row, scoring.norm));
            row.resize(attention.key_count, 0.0);
            row
        };
        return (0..scoring.results(attention)).map(row).collect();
    }
    let mut sums = vec![0.0; attention.key_count];
    let mut maxima = vec![f64::NEG_INFINITY; attention.key_count];
    let mut seen = vec![0; attention.key_count];
    let mut live_rows = 0;
    for row in (0..scoring.queries.count(attention.query_count)).filter_map(|r| scoring.queries.row(r, live)) {
        live_rows += 1;
        for (j, weight) in attention.weights(b, h, row, scoring.norm).into_iter().enumerate().filter(|(j, _)| attention.shows(b, *j)) {
            sums[j] += weight;
            maxima[j] = maximum(maxima[j], weight);
            seen[j] += 1;
        }
    }
    let of_key = |j: usize| match scoring.rows {
        _ if seen[j] == 0 => 0.0,
        RowReduction::Sum | RowReduction::None => sums[j],
        RowReduction::Mean => sums[j] / f64::from(live_rows),
        RowReduction::MeanVisible => sums[j] / f64::from(seen[j]),
        RowReduction::Max => maxima[j],
    };
    vec![(0..attention.key_count).map(of_key).collect()]
}

/// One unit in the last place, at its largest. WGSL lets an operation round either way.
pub(crate) const ULP: f64 = 2.0 * EPSILON_F32;

/// The exponent of the largest power of two that divides a number. Every power divides 0.
fn grain(x: f64) -> i32 {
    let bits = x.to_bits();
    let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
    match (exponent, fraction) {
        (0, _) => i32::MAX, // 0: no product of two floats is a subnormal f64
        _ => exponent - 1075 + (fraction | 1 << 52).trailing_zeros() as i32,
    }
}

/// `2^exponent`, of a normal number.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// Whether f32 holds this number.
fn is_f32(x: f64) -> bool {
    f64::from(x as f32) == x
}

/// Largest error of the dot product (`raw`), and of the scaled and biased logit.
///
/// D products and D sums in any order, each within one ulp, err by `(D + 1) ulp sum |q_c k_c|`. The product with the scale and the sum
/// with the bias add one ulp each of their result, which is at most `|scale| sum |q k| + |bias|`.
///
/// Exact numbers have no error. If all products are multiples of one power of two, and their magnitudes add up to at most 2^24 of it,
/// then every partial sum is a float. The product with the scale and the sum with the bias are exact too if f32 holds them.
///
/// If a factor is infinite or NaN, the logit is infinite or NaN before it saturates, and the error is 0. If finite numbers may pass through
/// infinity, the error is infinite.
pub(crate) fn logit_error(attention: &Attention<'_>, b: usize, h: usize, row: usize, key: usize, bias: f64) -> (f64, f64) {
    let (tiny, most, scale) = (f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX), f64::from(attention.scale));
    let mut dot = 0.0;
    let mut magnitude = 0.0;
    let mut smallest = i32::MAX;
    let (mut is_finite, mut dot_is_nan) = (true, false);
    for product in attention.products(b, h, row, key) {
        if !product.is_finite() {
            is_finite = false;
            dot_is_nan |= product.is_nan();
            continue;
        }
        dot += product;
        magnitude += product.abs();
        smallest = smallest.min(grain(product));
    }
    if !is_finite {
        // On a device that flushes denormals to 0, an infinity times a denormal is NaN.
        let flushed = |(q, k): (f32, f32)| (q.is_infinite() && k.is_subnormal()) || (k.is_infinite() && q.is_subnormal());
        let open = magnitude > most || (!dot_is_nan && attention.factors(b, h, row, key).any(flushed));
        return if open { (f64::INFINITY, f64::INFINITY) } else { (0.0, 0.0) };
    }
    let scaled = scale * dot;
    let whole = magnitude == 0.0 || (smallest >= -126 && magnitude <= power_of_two(smallest.min(900) + 24));
    let small = |x: f64| x == 0.0 || x.abs() >= tiny;
    let raw = match whole {
        // Terms of one sign saturate, and so does the exact sum if nothing makes it smaller.
        true if magnitude > most && !(dot.abs() == magnitude && scale.abs() >= 1.0) => f64::INFINITY,
        true => 0.0,
        // The sum may pass through infinity.
        false if magnitude > most => f64::INFINITY,
        false => (attention.channels as f64 + 1.0) * ULP * magnitude + tiny,
    };
    let exact = whole && is_f32(scaled) && is_f32(scaled + bias) && small(scaled) && small(scaled + bias);
    // A product that saturates has lost what a bias of the other sign would have left.
    let passes = scale.abs() * magnitude > most && bias != 0.0 && scaled.signum() != bias.signum();
    if !bias.is_finite() || passes {
        return (raw, if passes || raw.is_infinite() { f64::INFINITY } else { 0.0 });
    }
    let rounding = if exact { 0.0 } else { 2.0 * ULP * (scale.abs() * magnitude + bias.abs()) + tiny };
    (raw, scale.abs() * raw + rounding)
}

/// The errors of the exponentials of a row's logits, `e^(s_j - m)`, where m is the largest logit that the GPU finds.
///
/// An error `e_j` of a logit is a factor `e^e_j`. An error of m does not count: m cancels in every quotient. It only enters roundings that
/// grow with the distance `x_j = m - s_j`.
pub(crate) struct Exponentials {
    /// The softmax weights.
    pub(crate) weights: Vec<f64>,
    /// Logarithms of the weights, `s_j - m - ln sum`: a weight itself may be too small for f64.
    logs: Vec<f64>,
    /// Each key's error.
    errors: Vec<f64>,
    /// How far each key may be from the largest.
    distances: Vec<f64>,
    /// The largest logit, and the logarithm of the sum.
    pub(crate) largest: f64,
    log_sum: f64,
}

impl Exponentials {
    /// From logits and their errors. A key that is not seen has negative infinity.
    pub(crate) fn new(logits: &[f64], errors: Vec<f64>) -> Self {
        let (largest, sum) = largest_and_sum(logits);
        let highest = logits.iter().zip(&errors).filter(|(s, _)| **s != f64::NEG_INFINITY).map(|(s, e)| s + e).fold(largest, f64::max);
        let distances = logits.iter().zip(&errors).map(|(s, e)| highest - s + e).collect();
        let logs: Vec<f64> = logits.iter().map(|s| s - largest - sum.ln()).collect();
        let weights = logs.iter().map(|log| log.exp()).collect();
        Self { weights, logs, errors, distances, largest, log_sum: sum.ln() }
    }

    /// Sum of the exponentials.
    pub(crate) fn sum(&self) -> f64 {
        self.log_sum.exp()
    }

    /// Whether a logit may pass through infinity on its way.
    pub(crate) fn is_open(&self) -> bool {
        self.errors.iter().any(|error| error.is_infinite())
    }

    /// Largest error of each term relative to the sum. A term errs by `constant` ulp, and by `growth` ulp for each unit of its distance.
    pub(crate) fn terms(&self, constant: f64, growth: f64) -> Vec<f64> {
        let term = |j: usize| {
            // Negative infinity is not a key.
            if self.logs[j] == f64::NEG_INFINITY {
                return 0.0;
            }
            let exponent = self.errors[j] + (constant + growth * self.distances[j]) * ULP;
            // A weight may be 0 in f64. Then only the weight that it might have counts.
            if exponent < 1.0 { self.weights[j] * exponent.exp_m1() } else { (self.logs[j] + exponent).exp() }
        };
        (0..self.logs.len()).map(term).map(|e| e + f64::from(f32::MIN_POSITIVE)).collect()
    }

    /// Largest error of the log-sum-exp, if the sum errs by `below` relative to itself. The logarithm's own error is 2^-21 or 3 ulp. The
    /// last sum adds one ulp.
    pub(crate) fn of_log(&self, below: f64) -> f64 {
        let logs = if below < 0.5 { -(1.0 - below).ln() } else { self.errors.iter().copied().fold(below, f64::max) };
        let roundings = if self.log_sum == 0.0 { 0.0 } else { 2f64.powi(-21) + 3.0 * ULP * self.log_sum };
        logs + roundings + ULP * (self.largest + self.log_sum).abs()
    }
}

/// A row's exponentials, and the relative error of their sum.
///
/// With n visible keys and `T = ceil(n / 64)` tiles, the term of key j has these relative errors, in ulp:
///
/// - `3 + 2 x_j` for WGSL's exp and `x_j` for the rounded difference: `3 + 3 x_j`.
/// - Where the maximum grows as the keys are read, one more such factor for each tile in which it grew, and one when the lanes are
///   combined. Each is `4 + 3 dx` with its product. All dx, and the first distance, add up to `x_j`.
/// - The additions that it passes through: at most `min(n, 128) + T + 11`. That holds for a strided sum by 128 lanes, and for tiles of
///   eight keys a lane.
fn sum_error(attention: &Attention<'_>, b: usize, h: usize, row: usize) -> (Exponentials, f64) {
    let logits = attention.scaled(b, h, row);
    let error = |j| if attention.shows(b, j) { logit_error(attention, b, h, row, j, attention.bias(b, j)).1 } else { 0.0 };
    let row = Exponentials::new(&logits, (0..logits.len()).map(error).collect());
    let n = logits.len() as f64;
    let below = row.terms(0.0, 3.0).iter().sum::<f64>() + (5.0 * (n / 64.0).ceil() + n.min(128.0) + 18.0) * ULP;
    (row, below)
}

/// Largest error of each weight that a row gives.
///
/// A softmax weight is `exp(s - largest) / sum`. The term errs by the logit's error and `(3 + 3 x_j) ulp`, and the sum by B. The division
/// is a product with a reciprocal, 4 ulp. A weight is never outside 0..=1 by more than that.
pub(crate) fn weight_errors(attention: &Attention<'_>, b: usize, h: usize, row: usize, norm: Norm) -> Vec<f64> {
    let of_logit = |j| logit_error(attention, b, h, row, j, attention.bias(b, j));
    let keys = 0..attention.visible(b, row);
    let shown = |j: usize, error: f64| if attention.shows(b, j) { error } else { 0.0 };
    match norm {
        Norm::Logits | Norm::Magnitude => keys.map(|j| shown(j, of_logit(j).0)).collect(),
        Norm::ScaledLogits => keys.map(|j| shown(j, of_logit(j).1)).collect(),
        Norm::Softmax => {
            let (row, below) = sum_error(attention, b, h, row);
            // One NaN logit makes the whole row NaN. A logit that may be NaN on its way leaves the whole row without a bound.
            if row.largest.is_nan() || row.is_open() {
                return keys.map(|j| shown(j, if row.largest.is_nan() { 0.0 } else { f64::INFINITY })).collect();
            }
            let weight = |(j, above): (usize, f64)| {
                let quotient = if below < 0.5 { (above + row.weights[j] * below) / (1.0 - below) } else { 1.0 };
                let quotient = quotient.min(1.0);
                shown(j, quotient + 4.0 * ULP * (row.weights[j] + quotient))
            };
            row.terms(3.0, 3.0).into_iter().enumerate().map(weight).collect()
        }
    }
}

/// Largest error of [`attention_lse`] on the GPU, element by element.
pub fn attention_lse_bound(attention: &Attention<'_>, queries: &Queries) -> Vec<f64> {
    let mut bounds = Vec::new();
    for b in 0..attention.lengths.len() {
        for h in 0..attention.heads {
            for r in 0..queries.count(attention.query_count) {
                let of_row = |row| {
                    let (exponentials, below) = sum_error(attention, b, h, row);
                    let error = exponentials.of_log(below) + storage_error(Elem::F32, exponentials.largest + exponentials.log_sum);
                    if exponentials.largest.is_nan() { 0.0 } else { finite(error) }
                };
                // Dead rows, and rows that see nothing, are exactly negative infinity.
                let sees = |row: &usize| (0..attention.visible(b, *row)).any(|j| attention.shows(b, j));
                bounds.push(queries.row(r, attention.live_queries(b)).filter(sees).map_or(0.0, of_row));
            }
        }
    }
    bounds
}

/// A bound of infinity where sums may overflow.
fn finite(bound: f64) -> f64 {
    if bound.is_finite() { bound } else { f64::INFINITY }
}

/// The bound of a result whose terms have magnitudes that add up to so much: 0 for a NaN, which is NaN on every device, and infinity where
/// sums may overflow.
fn bound_of(magnitude: f64, error: f64) -> f64 {
    match magnitude {
        _ if magnitude.is_nan() => 0.0,
        _ if magnitude > f64::from(f32::MAX) => f64::INFINITY,
        _ => finite(error),
    }
}

/// Largest error of [`attention_score`] on the GPU, element by element.
///
/// A sum's error is the sum of its terms' errors, and one ulp of `sum |term|` for each addition that a term passes through. For R rows
/// these are at most R. In tiles they are at most `R / 64 + 30`: R is cut into at most 8 chunks of at least 128 rows. A chunk is whole
/// tiles of 64 rows, 8 rows for each of 8 lanes. For H heads there are H additions. A division adds 2.5 ulp. The error of a maximum is the
/// largest of its terms' errors.
pub fn attention_score_bound(attention: &Attention<'_>, scoring: &Scoring<'_>) -> Vec<f64> {
    let mut bounds = Vec::new();
    for b in 0..attention.lengths.len() {
        let heads: Vec<_> = scoring.heads.picked(attention.heads).map(|h| head_bound(attention, scoring, b, h)).collect();
        let count = heads.len() as f64;
        let mut over_heads = |reduce: &dyn Fn(f64, f64, f64) -> f64| {
            for (r, j) in (0..scoring.results(attention)).flat_map(|r| scoring.columns.clone().map(move |j| (r, j))) {
                let errors = || heads.iter().map(|head| head[r][j].1);
                let magnitude: f64 = heads.iter().map(|head| head[r][j].0).sum();
                bounds.push(bound_of(magnitude, reduce(errors().sum(), errors().fold(0.0, f64::max), magnitude)));
            }
        };
        match scoring.heads {
            HeadReduction::None => {
                bounds.extend(heads.iter().flatten().flat_map(|row| &row[scoring.columns.clone()]).map(|v| bound_of(v.0, v.1)))
            }
            HeadReduction::One(_) => over_heads(&|sum, _, _| sum),
            HeadReduction::Sum => over_heads(&|sum, _, magnitude| sum + count * ULP * magnitude),
            HeadReduction::Mean => over_heads(&|sum, _, magnitude| (sum + (count + 2.5) * ULP * magnitude) / count.max(1.0)),
            HeadReduction::Max => over_heads(&|_, largest, _| largest),
        }
    }
    bounds
}

/// For every key, the sum of magnitudes (reduced over the rows) and the error of one head's numbers.
fn head_bound(attention: &Attention<'_>, scoring: &Scoring<'_>, b: usize, h: usize) -> Vec<Vec<(f64, f64)>> {
    if scoring.rows == RowReduction::None {
        let of_row = |r| {
            // The sum of a single row is that row.
            let row = scoring.queries.row(r, attention.live_queries(b)).map_or(u32::MAX, |row| row as u32);
            let alone = Scoring { queries: &Queries::Row(row), rows: RowReduction::Sum, ..scoring.clone() };
            head_bound(attention, &alone, b, h)
        };
        return (0..scoring.results(attention)).flat_map(of_row).collect();
    }
    let live = attention.live_queries(b);
    let mut magnitudes = vec![0.0; attention.key_count];
    let mut errors = vec![0.0; attention.key_count];
    let mut largest_error = vec![0f64; attention.key_count];
    let mut largest = vec![0f64; attention.key_count];
    let mut seen = vec![0; attention.key_count];
    let mut live_rows = 0;
    for row in (0..scoring.queries.count(attention.query_count)).filter_map(|r| scoring.queries.row(r, live)) {
        live_rows += 1;
        let weights = attention.weights(b, h, row, scoring.norm);
        let errors_of_row = weight_errors(attention, b, h, row, scoring.norm);
        for (j, (weight, error)) in weights.iter().zip(errors_of_row).enumerate().filter(|(j, _)| attention.shows(b, *j)) {
            magnitudes[j] += weight.abs();
            errors[j] += error;
            largest[j] = maximum(largest[j], weight.abs());
            largest_error[j] = largest_error[j].max(error);
            seen[j] += 1;
        }
    }
    let rows = f64::from(live_rows);
    let additions = rows.min(rows / 64.0 + 30.0);
    let sum = |j: usize, extra: f64| errors[j] + (additions + extra) * ULP * magnitudes[j];
    let of_key = |j: usize| match scoring.rows {
        _ if seen[j] == 0 => (0.0, 0.0),
        RowReduction::Sum | RowReduction::None => (magnitudes[j], sum(j, 0.0)),
        RowReduction::Mean | RowReduction::MeanVisible if magnitudes[j] > f64::from(f32::MAX) => (magnitudes[j], f64::INFINITY),
        RowReduction::Mean => (magnitudes[j] / rows, sum(j, 2.5) / rows),
        RowReduction::MeanVisible => (magnitudes[j] / f64::from(seen[j]), sum(j, 2.5) / f64::from(seen[j])),
        RowReduction::Max => (largest[j], largest_error[j]),
    };
    // The result itself is rounded once more when the reference stores it.
    let stored = |(magnitude, error): (f64, f64)| {
        (magnitude, if magnitude == 0.0 && error == 0.0 { 0.0 } else { error + storage_error(Elem::F32, magnitude) })
    };
    vec![(0..attention.key_count).map(|j| stored(of_key(j))).collect()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attention<'a>(queries: &'a [f32], keys: &'a [f32], [heads, query_count, key_count, channels]: [usize; 4]) -> Attention<'a> {
        Attention {
            queries,
            keys,
            bias: None,
            lengths: &[u32::MAX],
            query_lengths: &[u32::MAX],
            heads,
            key_heads: keys.len() / (key_count * channels).max(1),
            query_count,
            key_count,
            channels,
            scale: (1.0 / (channels as f64).sqrt()) as f32,
            causal: false,
        }
    }

    fn scoring(queries: &Queries, norm: Norm, rows: RowReduction, heads: HeadReduction, columns: Range<usize>) -> Scoring<'_> {
        Scoring { queries, norm, rows, heads, columns }
    }

    fn assert_close(actual: &[f32], expected: &[f32]) {
        assert_eq!(actual.len(), expected.len());
        for (a, e) in actual.iter().zip(expected) {
            assert!((a - e).abs() <= 2e-6 + 2e-6 * e.abs(), "{actual:?} is not {expected:?}");
        }
    }

    const ALL: Queries = Queries::All;

    #[test]
    fn a_hand_made_row() {
        // Logits ln 1, ln 2, ln 5 for the class token.
        let keys = [0.0, 2f32.ln(), 5f32.ln()];
        let one = attention(&[1.0, 7.0, 7.0], &keys, [1, 3, 3, 1]);
        let class = scoring(&Queries::CLASS, Norm::Softmax, RowReduction::Mean, HeadReduction::Mean, 0..3);
        assert_close(&attention_score(&one, &class), &[0.125, 0.25, 0.625]);
        assert_close(&attention_lse(&one, &Queries::CLASS), &[8f32.ln()]);
        // `columns` cuts the report, not the sum.
        assert_close(&attention_score(&one, &Scoring { columns: 1..3, ..class.clone() }), &[0.25, 0.625]);
        // A bias of ln 4 counts the first token four times. A length of 2 leaves out the last.
        let bias = [4f32.ln(), 0.0, 0.0];
        let sized = Attention { bias: Some(&bias), ..one };
        assert_close(&attention_score(&sized, &class), &[4.0 / 11.0, 2.0 / 11.0, 5.0 / 11.0]);
        let short = Attention { lengths: &[2], ..sized };
        assert_close(&attention_score(&short, &class), &[4.0 / 6.0, 2.0 / 6.0, 0.0]);
        assert_close(&attention_score(&Attention { lengths: &[0], ..one }, &class), &[0.0; 3]);
    }

    #[test]
    fn causal_rows_and_their_reductions() {
        // All logits equal: a row gives 1 / (keys that it sees). Three queries, the last of four keys.
        let even = Attention { causal: true, ..attention(&[0.0; 3], &[1.0; 4], [1, 3, 4, 1]) };
        let reduce = |rows| attention_score(&even, &scoring(&ALL, Norm::Softmax, rows, HeadReduction::None, 0..4));
        assert_close(&reduce(RowReduction::Sum), &[13.0 / 12.0, 13.0 / 12.0, 7.0 / 12.0, 0.25]);
        assert_close(&reduce(RowReduction::Mean), &[13.0 / 36.0, 13.0 / 36.0, 7.0 / 36.0, 1.0 / 12.0]);
        assert_close(&reduce(RowReduction::MeanVisible), &[13.0 / 36.0, 13.0 / 36.0, 7.0 / 24.0, 0.25]);
        assert_close(&reduce(RowReduction::Max), &[0.5, 0.5, 1.0 / 3.0, 0.25]);
        // One query is dead: the others are aligned with the last keys.
        let two = Attention { query_lengths: &[2], ..even };
        let score = attention_score(&two, &scoring(&ALL, Norm::Softmax, RowReduction::Sum, HeadReduction::None, 0..4));
        assert_close(&score, &[7.0 / 12.0, 7.0 / 12.0, 7.0 / 12.0, 0.25]);
        let lse = attention_lse(&two, &ALL);
        assert_close(&lse[..2], &[3f32.ln(), 4f32.ln()]);
        assert_eq!(lse[2], f32::NEG_INFINITY);
        // More live queries than keys: the first sees nothing, and counts only in a mean.
        let few = Attention { lengths: &[2], ..even };
        let reduce = |rows| attention_score(&few, &scoring(&ALL, Norm::Softmax, rows, HeadReduction::None, 0..4));
        assert_close(&reduce(RowReduction::Mean), &[0.5, 1.0 / 6.0, 0.0, 0.0]);
        assert_close(&reduce(RowReduction::MeanVisible), &[0.75, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn logits_rows_and_heads() {
        // Two heads share the keys of one.
        let grouped = attention(&[1.0, 2.0, -3.0, 4.0], &[1.0, -1.0, 0.5], [2, 2, 3, 1]);
        let grouped = Attention { scale: 10.0, bias: Some(&[1.0, 2.0, 3.0]), ..grouped };
        let score = |queries: &Queries, norm, rows, heads| attention_score(&grouped, &scoring(queries, norm, rows, heads, 0..3));
        let listed = Queries::List(vec![1, 1, 0]);
        assert_close(&score(&listed, Norm::Logits, RowReduction::Sum, HeadReduction::None), &[5.0, -5.0, 2.5, 5.0, -5.0, 2.5]);
        assert_close(&score(&listed, Norm::Logits, RowReduction::Max, HeadReduction::None), &[2.0, -1.0, 1.0, 4.0, 3.0, 2.0]);
        assert_close(&score(&Queries::Last, Norm::Logits, RowReduction::Mean, HeadReduction::Mean), &[3.0, -3.0, 1.5]);
        assert_close(&score(&Queries::Last, Norm::Logits, RowReduction::Mean, HeadReduction::Max), &[4.0, -2.0, 2.0]);
        assert_close(&score(&Queries::Row(0), Norm::Logits, RowReduction::Mean, HeadReduction::One(1)), &[-3.0, 3.0, -1.5]);
        assert_close(&score(&Queries::Row(0), Norm::ScaledLogits, RowReduction::Mean, HeadReduction::Sum), &[-18.0, 24.0, -4.0]);
    }

    #[test]
    fn bounds_hold_for_f32_arithmetic_and_are_small() {
        let values: Vec<f32> = (0..400).map(|i| (i as f32 * 0.37).sin()).collect();
        let some = Attention { causal: true, ..attention(&values[..240], &values[160..], [2, 30, 30, 4]) };
        for rows in [RowReduction::Mean, RowReduction::Max] {
            let all = scoring(&ALL, Norm::Softmax, rows, HeadReduction::Mean, 0..30);
            let (score, bound) = (attention_score(&some, &all), attention_score_bound(&some, &all));
            assert!(score.iter().zip(&bound).all(|(s, b)| *b > 0.0 && *b < 3e-5 * f64::from(*s)), "{score:?} {bound:?}");
        }
        assert!(attention_lse_bound(&some, &ALL).iter().all(|b| *b < 2e-5));
    }
}
