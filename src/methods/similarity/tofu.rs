//! ToFu: tokens that merge keep the length of a token.
//!
//! Kim et al., "Token Fusion: Bridging the Gap between Token Pruning and Token Merging" (WACV 2024).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Limit, Reduce, Relation, Threshold, ThresholdInputs, convert, gather_rows, multiply, row_normalize};
use crate::methods::ToMe;
use crate::methods::parts::lists::{either, product};
use crate::methods::parts::places::Protect;
use crate::tensor::NONE;
use crate::token_map::{Compressed, TokenMap, Tokens};

/// What becomes of tokens that are matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fusion {
    /// Their mean, as long as the longest of them. The mean alone is shorter than any of them where they point apart, and later layers were
    /// not trained with such tokens.
    #[default]
    LongestMean,
    /// The destination as it is, the sources are dropped: for early layers, in which a mean means little.
    Destination,
}

/// ToMe's match with a merge that keeps lengths.
///
/// ```text
/// the match of ToMe: even tokens into the most similar odd ones, the r most similar of them
/// m = sum(x_i size_i) / sum(size_i) over a destination and all that merged into it
/// x' = m / |m| max_i |x_i|                                or the destination's x
/// ```
///
/// The order of the output, ties, zero and broken rows are those of [`ToMe`]. A token with which none merged stays as it is, bit for bit.
/// A group whose mean is zero, or has
/// a NaN or an infinity, becomes zero. Sizes add up in both fusions.
///
/// Cost: that of [`ToMe`], and for the mean three more reads and writes of what is left, one read of the tokens for their lengths.
///
/// ```
/// use tokenpress::methods::ToFu;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 2, 2], Elem::F32)?;
/// let merged = ToFu { merge: 1, ..Default::default() }.build(&mut graph, &tokens, tokens.x)?;
/// graph.output("x'", merged.tokens.x)?;
/// // The mean of two orthogonal tokens would be shorter than either.
/// let x = HostTensor::f32([1, 2, 2], vec![3.0, 0.0, 0.0, 4.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?["x'"].floats();
/// assert!((out[0] - 2.4).abs() < 1e-6 && (out[1] - 3.2).abs() < 1e-6);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("mlerp", "token_fusion"))]
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ToFu {
    /// Tokens to merge away, as those of [`ToMe`].
    pub merge: u32,
    /// Tokens that stay out of it.
    pub protect: Protect,
    /// What becomes of them.
    pub fusion: Fusion,
}

impl ToFu {
    /// Fuses tokens by `metric`, `[batch, tokens, channels]` or the keys of an attention `[batch, heads, tokens, channels]`, whose mean over
    /// the heads is then the metric.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, metric: Tensor) -> Result<Compressed, Error> {
        tokens.checked()?;
        let tome = ToMe { merge: self.merge, protect: self.protect, ..Default::default() };
        let Some(merging) = tome.decide(graph, tokens, metric)? else {
            let map = TokenMap::identity(graph, tokens)?;
            return Ok(Compressed { tokens: Tokens { lengths: map.lengths, ..*tokens }, map });
        };
        let map = merging.map;
        let merged = map.compress(graph, tokens, Some(tokens.size), Reduce::WeightedMean)?;
        let x = match self.fusion {
            Fusion::Destination => map.gather(graph, tokens.x)?,
            Fusion::LongestMean => lengthened(graph, tokens, &merged)?,
        };
        Ok(Compressed { tokens: Tokens { x, ..merged.tokens }, map })
    }
}

/// Means of groups, each as long as the longest of its group; those of one token as they are.
fn lengthened(graph: &mut Graph, tokens: &Tokens, merged: &Compressed) -> Result<Tensor, Error> {
    let Compressed { tokens: means, map } = merged;
    let [batch, left, _] = means.checked()?;
    let lengths = row_normalize(graph, tokens.x, Some(tokens.lengths))?.norm;
    let longest = map.merge(graph, lengths, None, Reduce::Max)?;
    let longest = graph.reshape(longest, [batch, left, 1])?;
    let direction = row_normalize(graph, means.x, Some(means.lengths))?.unit;
    let long = multiply(graph, direction, longest)?;
    let long = convert(graph, long, means.x.elem())?;

    let ones = graph.filled_f32([batch, tokens.capacity()], 1.0);
    let members = map.sizes(graph, ones)?;
    let several = Threshold { relation: Relation::Above }.build(graph, ThresholdInputs::new(members, Limit::Constant(1.5)))?;
    // Each token as a row of its own: its place where it is alone.
    let all = product("tofu: tokens", means.x.shape(), batch, left)?;
    let own = graph.counted([batch, left], 0, 1);
    let nowhere = graph.filled([all, 1], NONE);
    let (own, several) = (graph.reshape(own, [all, 1])?, graph.reshape(several, [all, 1])?);
    let place = either(graph, several, [own, nowhere])?;
    let place = graph.reshape(place, [batch, left])?;
    gather_rows(graph, means.x, place, Some(long))
}
