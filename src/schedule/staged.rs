//! Pruning at a few layers.

use crate::error::Error;
use crate::options;
use crate::schedule::{Rounding, keep_count};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_keep_shares_of_the_first_or_of_the_current_tokens() {
        assert_eq!(StagedKeep::dynamic_vit(0.7).lengths(10, 196), Ok(vec![196, 196, 196, 137, 137, 137, 96, 96, 96, 67]));
        assert_eq!(StagedKeep::pyramid_drop().lengths(25, 577).map(|l| [l[7], l[8], l[16], l[24]]), Ok([577, 288, 144, 72]));
        let wrong = StagedKeep { stages: vec![(0, 1.5)], ..StagedKeep::pyramid_drop() };
        assert!(matches!(wrong.lengths(1, 5), Err(Error::Value { .. })));
    }
}
