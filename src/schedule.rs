//! How much to compress, and at which layer. These are pure functions: a server can size its buffers before any token exists.

use crate::error::Error;
use crate::options;

/// How a fractional count becomes a whole one. Published systems differ by one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// Toward zero, as Python's `int`: IdleViT, DynamicViT, PyramidDrop.
    Floor,
    /// Up, as `math.ceil`: EViT.
    Ceil,
    /// To the nearest, halves to even, as Python's `round`: DivPrune, PuMer.
    NearestEven,
}

/// Tokens kept of `tokens` at a keep ratio, computed in f64 as the references do, at most `tokens`.
///
/// A ratio outside 0..=1, or a NaN, is clamped into it.
pub fn keep_count(tokens: u32, ratio: f64, rounding: Rounding) -> u32 {
    let exact = f64::from(tokens) * ratio.max(0.0);
    let whole = match rounding {
        Rounding::Floor => exact.floor(),
        Rounding::Ceil => exact.ceil(),
        Rounding::NearestEven => exact.round_ties_even(),
    };
    // `as` saturates, and the value is at most 2^32.
    (whole as u32).min(tokens)
}

/// Python's `a // b` of floats, for positive b. It uses the exact remainder. `floor(a / b)` may be one too many, because the quotient is
/// rounded: `1.0 // 0.1` is 9.
pub(crate) fn floor_division(a: f64, b: f64) -> f64 {
    let quotient = (a - a % b) / b;
    let whole = quotient.floor();
    if quotient - whole > 0.5 { whole + 1.0 } else { whole }
}

/// Python's `int(round(x, 7))`, for x of at least 0. A number that rounding left a little below a whole number counts as that number.
pub(crate) fn truncated_after_rounding(x: f64) -> f64 {
    // The distance is exact, and no f64 is exactly half a unit of the seventh decimal away.
    if x.ceil() - x < 5e-8 { x.ceil() } else { x.floor() }
}

/// How many tokens to merge at each layer.
#[derive(Debug, Clone, PartialEq)]
pub enum MergeSchedule {
    /// The same at every layer.
    Constant(u32),
    /// Linear from `int(r (1 - inflect))` at the first layer to `2 r - int(r (1 - inflect))` at the last, truncated at each. An inflection
    /// of -1 merges `2 r` first and nothing last, 1 is the reverse, and 0 is constant.
    Linear {
        /// Mean number of tokens a layer.
        merge: u32,
        /// Slope, in -1..=1.
        inflect: f64,
    },
    /// One count for each layer. Layers past the list merge nothing.
    List(Vec<u32>),
}

impl MergeSchedule {
    /// Tokens to merge at each of `layers` layers, as ToMe's `parse_r`. With a single layer, the linear schedule is its first value; the
    /// published code divides by zero there.
    pub fn counts(&self, layers: usize) -> Result<Vec<u32>, Error> {
        match self {
            Self::Constant(merge) => Ok(vec![*merge; layers]),
            Self::List(list) => Ok((0..layers).map(|layer| list.get(layer).copied().unwrap_or(0)).collect()),
            Self::Linear { merge, inflect } => {
                options::between("merge schedule: inflect", -1.0, 1.0, *inflect)?;
                let merge = f64::from(*merge);
                let first = (merge * (1.0 - inflect)).trunc();
                let last = 2.0 * merge - first;
                let step = if layers > 1 { (last - first) / (layers - 1) as f64 } else { 0.0 };
                Ok((0..layers).map(|layer| (first + step * layer as f64).trunc() as u32).collect())
            }
        }
    }

    /// Tokens left after each of `layers` layers: `N - min(r, floor((N - protected) / 2))` at each. `protected` tokens (class,
    /// distillation) never merge.
    pub fn lengths(&self, layers: usize, tokens: u32, protected: u32) -> Result<Vec<u32>, Error> {
        let merge = |left: &mut u32, count: u32| {
            *left -= count.min(left.saturating_sub(protected) / 2);
            Some(*left)
        };
        Ok(self.counts(layers)?.into_iter().scan(tokens, merge).collect())
    }
}

/// How many keys and values each layer of a language model keeps: many in the first, few in the last.
///
/// Cai et al., "PyramidKV: Dynamic KV Cache Compression based on Pyramidal Information Funneling" (2024), as kvpress's `PyramidKVPress` and
/// the authors' code count. The scores are SnapKV's ([`methods::SnapKV`](crate::methods::SnapKV)); each layer evicts with a budget of its
/// own ([`CacheBudget::Tokens`](crate::methods::CacheBudget)).
///
/// ```
/// use tokenpress::schedule::PyramidKV;
///
/// let pyramid = PyramidKV { window: 8, beta: 20 };
/// assert_eq!(pyramid.counts(4, 64, 0.5)?, [56, 40, 24, 8]);
/// assert_eq!(pyramid.authors_counts(4, 64, 32)?, [55, 40, 25, 10]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PyramidKV {
    /// Tokens at the end that stay in every layer.
    pub window: u32,
    /// How much less than the mean the last layer keeps, at least 1; 20.
    pub beta: u32,
}

/// kvpress's.
impl Default for PyramidKV {
    fn default() -> Self {
        Self { window: 64, beta: 20 }
    }
}

impl PyramidKV {
    /// kvpress's counts: tokens kept at each layer of `tokens`, the window among them, if the layers keep the share `keep` in the mean.
    ///
    /// In f64, in kvpress's order, with halves to even. If the last layer would keep less than the window, all keep the same.
    ///
    /// # Errors
    /// [`Error::Value`] for a share outside of 0 to 1, and a `beta` of 0.
    pub fn counts(&self, layers: usize, tokens: u32, keep: f64) -> Result<Vec<u32>, Error> {
        options::share("pyramid: keep", keep)?;
        options::within("pyramid: beta", 1..=u32::MAX, self.beta)?;
        let (all, window) = (f64::from(tokens), f64::from(self.window));
        let total = window + all * keep;
        let mut least = (total - window) / f64::from(self.beta);
        let mut most = (total - window) * 2.0 - least;
        if most >= all - window {
            most = all - window;
            least = (total - window) * 2.0 - most;
        }
        let whole = |count: f64| (count.round_ties_even() as u32).min(tokens);
        if !(all >= most && most >= least && least >= window) {
            return Ok(vec![whole(all * keep); layers]);
        }
        let step = if layers > 1 { (most - least) / (layers - 1) as f64 } else { 0.0 };
        Ok((0..layers).map(|layer| whole(most - layer as f64 * step)).collect())
    }

    /// The authors' counts, in whole numbers: tokens kept at each layer of `tokens`, the window among them, if a layer keeps `capacity` of
    /// them in the mean. With few tokens all layers keep the same, or all of them.
    ///
    /// # Errors
    /// [`Error::Value`] for a capacity that is not above the window, and a `beta` of 0.
    pub fn authors_counts(&self, layers: usize, tokens: u32, capacity: u32) -> Result<Vec<u32>, Error> {
        options::within("pyramid: beta", 1..=u32::MAX, self.beta)?;
        options::within("pyramid: capacity", self.window.saturating_add(1)..=u32::MAX, capacity)?;
        let [tokens, window] = [tokens, self.window].map(i64::from);
        let past = i64::from(capacity) - window;
        let mut least = past / i64::from(self.beta);
        let mut most = past * 2 - least;
        if most >= tokens - window {
            most = tokens - window;
            least = past * 2 - most;
        }
        let whole = |count: i64| (count + window).clamp(0, tokens) as u32;
        if tokens < i64::from(capacity) {
            return Ok(vec![whole(tokens); layers]);
        }
        if tokens < past * 2 {
            return Ok(vec![whole(past); layers]);
        }
        let step = if layers > 1 { (most - least).div_euclid(layers as i64 - 1) } else { 0 };
        Ok((0..layers).map(|layer| whole(most - layer as i64 * step)).collect())
    }
}

/// The tokens that a stage's share refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShareOf {
    /// The tokens of the first layer: DynamicViT, IdleViT, PyramidDrop.
    First,
    /// The tokens left by the stage before: EViT.
    Current,
}

/// Pruning to shares of the tokens, at a few layers.
///
/// ```
/// use tokenpress::schedule::StagedKeep;
///
/// // 196 patches of a DeiT, class token aside: 0.7 of what is left at layers 3, 6 and 9.
/// let lengths = StagedKeep::evit(0.7).lengths(12, 196)?;
/// assert_eq!(lengths, [196, 196, 196, 138, 138, 138, 97, 97, 97, 68, 68, 68]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct StagedKeep {
    /// Layers, counted from 0, and the share kept at each, in ascending order of layer.
    pub stages: Vec<(usize, f64)>,
    /// The tokens that the shares refer to.
    pub of: ShareOf,
    /// How counts are rounded.
    pub rounding: Rounding,
}

impl StagedKeep {
    /// EViT: at layers 3, 6 and 9 the same share of the tokens that are left, rounded up.
    pub fn evit(keep: f64) -> Self {
        Self { stages: [3, 6, 9].map(|layer| (layer, keep)).to_vec(), of: ShareOf::Current, rounding: Rounding::Ceil }
    }

    /// DynamicViT: `keep`, its square and its cube of the first tokens at layers 3, 6 and 9, rounded down.
    pub fn dynamic_vit(keep: f64) -> Self {
        // As Python's `**`: a cube by multiplication may differ in its last bit.
        let stages = vec![(3, keep), (6, keep.powf(2.0)), (9, keep.powf(3.0))];
        Self { stages, of: ShareOf::First, rounding: Rounding::Floor }
    }

    /// PyramidDrop: a half, a quarter and an eighth of the first image tokens at layers 8, 16 and 24, rounded down.
    pub fn pyramid_drop() -> Self {
        Self { stages: vec![(8, 0.5), (16, 0.25), (24, 0.125)], of: ShareOf::First, rounding: Rounding::Floor }
    }

    /// Tokens left after each of `layers` layers, never more than before. Stages past the last layer do nothing.
    pub fn lengths(&self, layers: usize, tokens: u32) -> Result<Vec<u32>, Error> {
        self.stages.iter().try_for_each(|(_, keep)| options::share("staged keep: share", *keep))?;
        let stage = |left: &mut u32, layer: usize| {
            for (_, keep) in self.stages.iter().filter(|(at, _)| *at == layer) {
                let base = if self.of == ShareOf::First { tokens } else { *left };
                *left = keep_count(base, *keep, self.rounding).min(*left);
            }
            Some(*left)
        };
        Ok((0..layers).scan(tokens, stage).collect())
    }
}

/// The cost of a transformer layer by its number of tokens: a pre-norm block with attention and a two-layer perceptron.
///
/// ```text
/// flops(N) = 2 N (2 C^2 + 2 C C_kv + 2 C hidden) + 4 N^2 C          projections and perceptron; Q K^T and A V
/// bytes(N) = 2 N C_kv * element size                                keys and values, as a cache holds them
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerCost {
    /// Channels of a token.
    pub channels: u32,
    /// Channels of its keys, and of its values. They are fewer than `channels` where heads share them.
    pub key_channels: u32,
    /// Width of the perceptron.
    pub hidden: u32,
    /// Bytes of a stored key or value element.
    pub element_bytes: u32,
}

impl LayerCost {
    /// Floating point operations of a layer over `tokens` tokens. A multiplication and an addition are two. At most `u64::MAX`.
    pub fn flops(&self, tokens: u32) -> u64 {
        let [n, c, kv, hidden] = [tokens, self.channels, self.key_channels, self.hidden].map(u128::from);
        saturated(4 * n * c * (c + kv + hidden + n))
    }

    /// Bytes of keys and values of `tokens` tokens. At most `u64::MAX`.
    pub fn bytes(&self, tokens: u32) -> u64 {
        saturated(2 * u128::from(tokens) * u128::from(self.key_channels) * u128::from(self.element_bytes))
    }
}

/// The number as u64, or `u64::MAX` if it is larger.
fn saturated(n: u128) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// The most that a model may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// Tokens left after the last layer.
    Tokens(u32),
    /// Floating point operations of all layers.
    Flops(u64),
    /// Bytes of keys and values of all layers.
    Bytes(u64),
}

impl Budget {
    /// Whether a model stays within the budget if its layers see these numbers of tokens.
    pub fn allows(&self, cost: &LayerCost, lengths: &[u32]) -> bool {
        match *self {
            Self::Tokens(most) => lengths.last().is_none_or(|left| *left <= most),
            Self::Flops(most) => lengths.iter().map(|n| u128::from(cost.flops(*n))).sum::<u128>() <= u128::from(most),
            Self::Bytes(most) => lengths.iter().map(|n| u128::from(cost.bytes(*n))).sum::<u128>() <= u128::from(most),
        }
    }

    /// The fewest tokens that ToMe must merge at every layer to stay within the budget. `None` if half of the tokens at every layer is too
    /// few. A layer is charged for the tokens that it leaves.
    ///
    /// ```
    /// use tokenpress::schedule::{Budget, LayerCost, MergeSchedule};
    ///
    /// let vit_b = LayerCost { channels: 768, key_channels: 768, hidden: 3072, element_bytes: 2 };
    /// let whole = 12 * vit_b.flops(197);
    /// let half = Budget::Flops(whole / 2).merge(&vit_b, 12, 197, 1)?;
    /// assert_eq!(half, Some(MergeSchedule::Constant(15)));
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    pub fn merge(&self, cost: &LayerCost, layers: usize, tokens: u32, protected: u32) -> Result<Option<MergeSchedule>, Error> {
        let within = |merge: u32| Ok(self.allows(cost, &MergeSchedule::Constant(merge).lengths(layers, tokens, protected)?));
        Ok(least(tokens / 2, within)?.map(MergeSchedule::Constant))
    }

    /// The largest share of the remaining tokens that each stage at `layers_of_stages` may keep, in steps of one token, to stay within the
    /// budget. `None` if it is not enough to drop everything there. Counts are rounded down.
    pub fn keep(&self, cost: &LayerCost, layers: usize, tokens: u32, layers_of_stages: &[usize]) -> Result<Option<StagedKeep>, Error> {
        let staged = |dropped: u32| {
            let keep = f64::from(tokens - dropped) / f64::from(tokens.max(1));
            let stages = layers_of_stages.iter().map(|layer| (*layer, keep)).collect();
            StagedKeep { stages, of: ShareOf::Current, rounding: Rounding::Floor }
        };
        Ok(least(tokens, |dropped| Ok(self.allows(cost, &staged(dropped).lengths(layers, tokens)?)))?.map(staged))
    }
}

/// The least of `0..=most` for which a condition holds. If it holds for a number, it holds for all larger ones.
fn least(most: u32, holds: impl Fn(u32) -> Result<bool, Error>) -> Result<Option<u32>, Error> {
    let (mut low, mut high) = (0, most);
    if !holds(most)? {
        return Ok(None);
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(Some(low))
}

/// The similarity threshold with which a layer merges `merge` tokens of a sample on average. This is DyMU's calibration,
/// `https://arxiv.org/abs/2504.17040`.
///
/// For each sample, `similarities` has the best similarity of every source token at this layer
/// ([`Matches::similarity`](crate::kernels::Matches)). The threshold is the `round(merge * samples)`-th largest of them all: tokens at
/// least as similar merge. NaNs are left out. If nothing is to merge, the threshold is above every similarity. If more tokens are to
/// merge than there are, it is the smallest similarity. `None` without samples.
///
/// ```
/// let samples = [vec![0.9, 0.1, 0.5], vec![0.8, 0.7, 0.2]];
/// assert_eq!(tokenpress::schedule::similarity_threshold(&samples, 1.5), Some(0.7));
/// ```
pub fn similarity_threshold(similarities: &[Vec<f32>], merge: f64) -> Option<f32> {
    let mut all: Vec<f32> = similarities.iter().flatten().copied().filter(|s| !s.is_nan()).collect();
    all.sort_by(|a, b| b.total_cmp(a));
    let count = (merge.max(0.0) * similarities.len() as f64).round_ties_even() as usize;
    match count {
        0 => all.first().map(|_| f32::INFINITY),
        count => all.get(count.min(all.len()).saturating_sub(1)).copied(),
    }
}

/// The layers where hidden states change most, in ascending order. They are the stages of Balanced Token Pruning,
/// `https://arxiv.org/abs/2505.22038`.
///
/// `similarities[l]` is the mean cosine between the image tokens that enter layer `l` and those that leave it, over a few samples. The
/// `stages` layers of the least similarity are chosen. Of two equal layers the lower one is. NaN counts as most similar.
///
/// ```
/// assert_eq!(tokenpress::schedule::drift_stages(&[0.2, 0.9, 0.5, 0.95, 0.5], 2), [0, 2]);
/// ```
pub fn drift_stages(similarities: &[f64], stages: usize) -> Vec<usize> {
    let mut layers: Vec<usize> = (0..similarities.len()).collect();
    let similarity = |layer: &usize| if similarities[*layer].is_nan() { f64::INFINITY } else { similarities[*layer] };
    layers.sort_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    layers.truncate(stages);
    layers.sort_unstable();
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_those_of_python() {
        let divisions = [(135.0, 135.0 * 135.0 / (9.0 * 729.0), 80.0), (1.0, 0.1, 9.0), (7.0, 2.0, 3.0), (0.3, 0.1, 2.0), (6.0, 3.0, 2.0)];
        for (a, b, expected) in divisions {
            let b: f64 = if a == 135.0 { f64::sqrt(b) } else { b };
            assert_eq!(floor_division(a, b), expected, "{a} // {b}");
        }
        for (x, expected) in [(26.999999999999996, 27.0), (26.9999999, 26.0), (26.99999996, 27.0), (0.0, 0.0), (3.0, 3.0), (3.4, 3.0)] {
            assert_eq!(truncated_after_rounding(x), expected, "{x}");
        }
    }

    #[test]
    fn decreasing_schedule_of_the_paper() {
        let counts = MergeSchedule::Linear { merge: 16, inflect: -1.0 }.counts(12).expect("in range");
        assert_eq!(counts, [32, 29, 26, 23, 20, 17, 14, 11, 8, 5, 2, 0]);
    }

    #[test]
    fn lengths_of_the_paper() {
        let lengths = |schedule: MergeSchedule| schedule.lengths(12, 197, 1).expect("in range");
        assert_eq!(lengths(MergeSchedule::Constant(16)), [181, 165, 149, 133, 117, 101, 85, 69, 53, 37, 21, 11]);
        let decreasing = MergeSchedule::Linear { merge: 16, inflect: -1.0 };
        assert_eq!(lengths(decreasing), [165, 136, 110, 87, 67, 50, 36, 25, 17, 12, 10, 10]);
    }

    #[test]
    fn stages_keep_shares_of_the_first_or_of_the_current_tokens() {
        assert_eq!(StagedKeep::dynamic_vit(0.7).lengths(10, 196), Ok(vec![196, 196, 196, 137, 137, 137, 96, 96, 96, 67]));
        assert_eq!(StagedKeep::pyramid_drop().lengths(25, 577).map(|l| [l[7], l[8], l[16], l[24]]), Ok([577, 288, 144, 72]));
        let wrong = StagedKeep { stages: vec![(0, 1.5)], ..StagedKeep::pyramid_drop() };
        assert!(matches!(wrong.lengths(1, 5), Err(Error::Value { .. })));
    }

    #[test]
    fn a_budget_is_met_and_no_less_would_do() {
        let cost = LayerCost { channels: 64, key_channels: 16, hidden: 256, element_bytes: 2 };
        assert_eq!(cost.flops(10), 4 * 10 * 64 * (64 + 16 + 256) + 4 * 100 * 64);
        assert_eq!(cost.bytes(10), 2 * 10 * 16 * 2);
        let vast = LayerCost { channels: u32::MAX, key_channels: u32::MAX, hidden: u32::MAX, element_bytes: u32::MAX };
        assert_eq!((vast.flops(1), vast.bytes(u32::MAX)), (u64::MAX, u64::MAX));
        assert!(!Budget::Flops(1 << 40).allows(&vast, &[1]));
        let whole = vec![100; 8];
        for budget in [Budget::Tokens(40), Budget::Flops(5 * cost.flops(100)), Budget::Bytes(6 * cost.bytes(100))] {
            assert!(!budget.allows(&cost, &whole));
            let Some(MergeSchedule::Constant(merge)) = budget.merge(&cost, 8, 100, 1).expect("in range") else { panic!("{budget:?}") };
            let lengths = |merge| MergeSchedule::Constant(merge).lengths(8, 100, 1).expect("in range");
            assert!(budget.allows(&cost, &lengths(merge)) && !budget.allows(&cost, &lengths(merge - 1)), "{budget:?}: {merge}");
            let staged = budget.keep(&cost, 8, 100, &[2, 5]).expect("in range").expect("can be met");
            assert!(budget.allows(&cost, &staged.lengths(8, 100).expect("in range")), "{budget:?}: {staged:?}");
        }
        assert_eq!(Budget::Tokens(0).merge(&cost, 8, 100, 1), Ok(None));
        assert_eq!(Budget::Flops(0).keep(&cost, 8, 100, &[2]), Ok(None));
        assert_eq!(Budget::Tokens(100).merge(&cost, 8, 100, 1), Ok(Some(MergeSchedule::Constant(0))));
    }

    #[test]
    fn thresholds_and_stages_of_odd_samples() {
        assert_eq!(similarity_threshold(&[], 3.0), None);
        assert_eq!(similarity_threshold(&[vec![0.5, f32::NAN]], 0.0), Some(f32::INFINITY));
        assert_eq!(similarity_threshold(&[vec![0.5, f32::NAN, 0.25]], 9.0), Some(0.25));
        assert_eq!(drift_stages(&[f64::NAN, 0.5, 0.5], 9), [0, 1, 2]);
        assert_eq!(drift_stages(&[f64::NAN, 0.5, 0.5], 1), [1]);
    }

    #[test]
    fn a_list_is_padded_and_one_layer_does_not_divide_by_zero() {
        assert_eq!(MergeSchedule::List(vec![4, 3]).counts(4), Ok(vec![4, 3, 0, 0]));
        assert_eq!(MergeSchedule::Linear { merge: 8, inflect: -1.0 }.counts(1), Ok(vec![16]));
        assert!(matches!(MergeSchedule::Linear { merge: 8, inflect: 1.5 }.counts(3), Err(Error::Value { .. })));
    }

    #[test]
    fn the_roundings_differ() {
        assert_eq!([Rounding::Floor, Rounding::Ceil, Rounding::NearestEven].map(|r| keep_count(5, 0.5, r)), [2, 3, 2]);
        assert_eq!([Rounding::Floor, Rounding::Ceil, Rounding::NearestEven].map(|r| keep_count(7, 0.5, r)), [3, 4, 4]);
        assert_eq!(keep_count(10, f64::NAN, Rounding::Ceil), 0);
        assert_eq!(keep_count(10, 7.0, Rounding::Ceil), 10);
        // 0.7 * 10 is 7.000000000000000x in neither direction: the product is exact in f64 rounding.
        assert_eq!(keep_count(10, 0.7, Rounding::Ceil), 7);
    }
}
