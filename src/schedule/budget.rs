//! What layers cost, and what they may.

use crate::error::Error;
use crate::schedule::{MergeSchedule, Rounding, ShareOf, StagedKeep};

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

    /// Floating point operations of a layer that compresses between attention and perceptron: attention and its projections over `before`
    /// tokens, the perceptron over `after`. At most `u64::MAX`.
    pub fn flops_compressing(&self, before: u32, after: u32) -> u64 {
        let [before, after, c, kv, hidden] = [before, after, self.channels, self.key_channels, self.hidden].map(u128::from);
        saturated(4 * c * (before * (c + kv + before) + after * hidden))
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
    /// Its number.
    pub(crate) fn most(&self) -> u128 {
        match *self {
            Self::Tokens(most) => most.into(),
            Self::Flops(most) | Self::Bytes(most) => most.into(),
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
