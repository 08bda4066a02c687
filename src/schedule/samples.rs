//! Thresholds and layers from samples.

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
    fn thresholds_and_stages_of_odd_samples() {
        assert_eq!(similarity_threshold(&[], 3.0), None);
        assert_eq!(similarity_threshold(&[vec![0.5, f32::NAN]], 0.0), Some(f32::INFINITY));
        assert_eq!(similarity_threshold(&[vec![0.5, f32::NAN, 0.25]], 9.0), Some(0.25));
        assert_eq!(drift_stages(&[f64::NAN, 0.5, 0.5], 9), [0, 1, 2]);
        assert_eq!(drift_stages(&[f64::NAN, 0.5, 0.5], 1), [1]);
    }
}
