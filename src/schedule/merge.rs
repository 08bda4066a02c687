//! How many tokens merge at each layer.

use crate::error::Error;
use crate::options;

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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_list_is_padded_and_one_layer_does_not_divide_by_zero() {
        assert_eq!(MergeSchedule::List(vec![4, 3]).counts(4), Ok(vec![4, 3, 0, 0]));
        assert_eq!(MergeSchedule::Linear { merge: 8, inflect: -1.0 }.counts(1), Ok(vec![16]));
        assert!(matches!(MergeSchedule::Linear { merge: 8, inflect: 1.5 }.counts(3), Err(Error::Value { .. })));
    }
}
