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

/// A threshold of similarity for each layer, so that the layers merge as many tokens of a sample on average as a schedule has it.
///
/// ```text
/// t_l = similarity_threshold(similarities(t_1 .. t_(l-1)), merges[l])       for layers l = 1, 2, ..
/// ```
///
/// `merges` has the mean number of tokens to merge at each layer. `similarities` runs the samples through the layers before the one at hand, with
/// the thresholds of these, which it gets, and gives for each sample the similarities there, as [`similarity_threshold`] takes them. So a
/// threshold is measured on what the ones before have left, of which each input has its own number. A model that runs with the thresholds,
/// [`ToMe::threshold`](crate::methods::ToMe::threshold), reads nothing back.
///
/// A layer that merges nothing has infinity, without a call: it needs no compression. So has one without a similarity that is a number.
///
/// Cost: a call for each layer that merges, and a sort of all similarities of each.
///
/// # Errors
/// Those of `similarities`.
///
/// ```
/// use tokenpress::schedule::progressive_thresholds;
///
/// // Two samples, and a model whose second layer sees what the first has left.
/// let model = |before: &[f32]| {
///     let first = [vec![0.9, 0.1, 0.5], vec![0.8, 0.7, 0.2]];
///     let left = |sample: &Vec<f32>| sample.iter().copied().filter(|s| before.iter().all(|t| s < t)).collect();
///     Ok::<Vec<Vec<f32>>, std::convert::Infallible>(first.iter().map(left).collect())
/// };
/// assert_eq!(progressive_thresholds(&[1.5, 0.0, 0.5], model)?, [0.7, f32::INFINITY, 0.5]);
/// # Ok::<(), std::convert::Infallible>(())
/// ```
pub fn progressive_thresholds<E>(merges: &[f64], mut similarities: impl FnMut(&[f32]) -> Result<Vec<Vec<f32>>, E>) -> Result<Vec<f32>, E> {
    let mut thresholds = Vec::with_capacity(merges.len());
    for merge in merges {
        let here = if *merge > 0.0 { similarities(&thresholds)? } else { Vec::new() };
        thresholds.push(similarity_threshold(&here, *merge).unwrap_or(f32::INFINITY));
    }
    Ok(thresholds)
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
        // A layer that merges nothing, or by no number, is not asked for; the next one sees its infinity.
        let mut asked = Vec::new();
        let found = progressive_thresholds(&[2.0, 0.0, f64::NAN, 9.0, 1.0], |before| {
            asked.push(before.to_vec());
            if before.len() == 4 { Ok(vec![vec![f32::NAN]]) } else { Ok::<_, ()>(vec![vec![0.5, 0.25, -0.5], vec![]]) }
        });
        let infinity = f32::INFINITY;
        assert_eq!(found, Ok(vec![-0.5, infinity, infinity, -0.5, infinity]));
        assert_eq!(asked, [vec![], vec![-0.5, infinity, infinity], vec![-0.5, infinity, infinity, -0.5]]);
        assert_eq!(progressive_thresholds(&[1.0], |_| Err("no model")), Err("no model"));
        assert_eq!(drift_stages(&[f64::NAN, 0.5, 0.5], 9), [0, 1, 2]);
        assert_eq!(drift_stages(&[f64::NAN, 0.5, 0.5], 1), [1]);
    }
}
