//! PyramidKV's budgets.

use crate::error::Error;
use crate::options;

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
