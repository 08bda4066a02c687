//! PuMer: image tokens that the text does not look at are pruned, then image and text are merged, each within itself.
//!
//! Cao, Paranjape and Hajishirzi, "PuMer: Pruning and Merging Tokens for Efficient Vision Language Models" (ACL 2023).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Order, Reduce, Selection, Statistic, concat_rows, gather_rows, mark, reduce};
use crate::methods::parts::keep::{keep_listed, keep_marked, keep_range};
use crate::methods::parts::lists::{allowed, choose, product};
use crate::methods::parts::places::{Images, Protected, marks_of_rows};
use crate::methods::parts::prune::{Prune, Pruned};
use crate::methods::similarity::pumer_merge::{Counts, PuMerMerge, by_cosine};
use crate::methods::similarity::text_score::TextScore;
use crate::options;
use crate::schedule::{Rounding, keep_count};
use crate::tensor::HostTensor;
use crate::token_map::{Compressed, Tokens};

/// Keeps the image tokens that the text attends to most, in descending attention, and merges what is left of image and text.
///
/// ```text
/// s_j = sum over text rows i of mean over heads of softmax_j(q_i . k_j / sqrt(D)) / length of the text
/// keep max(L - round(prune L), floor) of the L image tokens by s in descending order
/// merge round(merge L) of those, and round(merge_text T) of the T text tokens: the even ranks are sources, the odd ones destinations,
/// the first of each is protected
/// ```
///
/// Halves are rounded to even; L and T are a row's own. Sums run over padding rows of the text too, as in the published code. Sizes start
/// at 1 with each call.
///
/// Cost, for T text and L image tokens of which L' are kept, with H heads of D channels:
///
/// - one mean of the keys over the heads, and the text's attention, `4 H T (T + L) D` operations (half of it for up to 16 text
///   tokens);
/// - a selection, and matches of `D L'^2 / 2` and `D T^2 / 2` operations;
/// - a copy of the kept tokens, a merge of each part, and one more copy to put them one after the other.
///
/// ```
/// use tokenpress::methods::PuMer;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 12, 1], Elem::F32)?;
/// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 12, 1], Elem::F32));
/// let mask = graph.constant(HostTensor::f32([1, 2], vec![1.0; 2]));
/// let length = graph.constant(HostTensor::u32([1], vec![2]));
/// let reduced = PuMer { prune: 0.2, ..Default::default() }.build(&mut graph, &tokens, (mask, length), queries, keys)?;
/// graph.output("lengths", reduced.compressed.tokens.lengths)?;
/// let heads = HostTensor::f32([1, 1, 12, 1], (0..12).map(|i| (i % 5) as f32).collect());
/// let inputs = [("x", heads.clone().reshaped([1, 12, 1])), ("q", heads.clone()), ("k", heads)].map(|(n, v)| (n.to_owned(), v));
/// // Of 10 image tokens 2 are pruned and 3 merge.
/// assert_eq!(graph.run_reference(&inputs.into())?["lengths"].integers(), [2 + 5]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PuMer {
    /// Share of the image tokens that is pruned, 0 to 1.
    pub prune: f64,
    /// At least so many image tokens are not pruned, of a row with fewer none.
    pub floor: u32,
    /// Share of the image tokens, before the pruning, that merges away, 0 to 1; at most half of what is left.
    pub merge: f64,
    /// Share of the text tokens that merges away, 0 to 1; at most half.
    pub merge_text: f64,
    /// What decides which are pruned.
    pub score: TextScore,
    /// How image tokens merge.
    pub style: PuMerMerge,
}

/// The published setting for ViLT.
impl Default for PuMer {
    fn default() -> Self {
        Self { prune: 0.1, floor: 1, merge: 0.3, merge_text: 0.2, score: TextScore::default(), style: PuMerMerge::default() }
    }
}

/// Tokens after PuMer, and what decided.
#[derive(Debug, Clone, Copy)]
pub struct PuMerOutput {
    /// `[text.., image..]`, and where every token went.
    pub compressed: Compressed,
    /// Its mask, `[batch, tokens]` f32: the text's merged like its tokens, so that it may be fractional, and 1 for the image.
    pub mask: Tensor,
    /// Score of each image token, `[batch, image]` f32.
    pub score: Tensor,
    /// The image tokens that were not pruned.
    pub selection: Selection,
    /// Text tokens left, `[batch]` u32.
    pub text_lengths: Tensor,
}

impl PuMer {
    /// Reduces `tokens`, text then image, by the queries and keys `[batch, heads, tokens, channels]` of the layer's attention. A
    /// row with fewer tokens has less of the image.
    ///
    /// `text` is the text's mask `[batch, text]` f32, and the number of text tokens that are no padding, `[batch]` u32. The
    /// mask's shape says how many tokens are text. The mask hides nothing here, whatever its numbers. It is merged with the
    /// text's tokens: each entry becomes the mean of what it came from, and a negative infinity or NaN stays one.
    pub fn build(
        &self,
        graph: &mut Graph,
        tokens: &Tokens,
        (mask, text_lengths): (Tensor, Tensor),
        queries: Tensor,
        keys: Tensor,
    ) -> Result<PuMerOutput, Error> {
        let [batch, capacity, _] = tokens.checked()?;
        self.check()?;
        tokens.expect_metric("pumer: keys", keys)?;
        let [_, text_tokens] = mask.shape().exactly("pumer: text mask", "[batch, text]")?;
        if text_tokens > capacity {
            let (expected, actual) = (format!("[{batch}, text] for at most {capacity} tokens"), mask.shape());
            return Err(Error::Shape { argument: "pumer: text mask", expected, actual });
        }
        let tokens = Tokens::ragged(graph, tokens.x, tokens.lengths)?;
        let metric = reduce(graph, keys, 1, Statistic::Mean, None)?;
        let score = self.score.of(graph, &tokens, metric, [queries, keys], (text_tokens, text_lengths))?;
        let text = keep_range(graph, &tokens, 0..text_tokens)?;
        let image = keep_range(graph, &tokens, text_tokens..capacity)?;
        self.parts(graph, [text, image], mask, score, metric)
    }

    /// Reduces a prompt with images anywhere. Its text is all that is no image's; it comes first in the output, as with [`PuMer::build`].
    ///
    /// `padding` marks tokens that are neither, u32 or float `[batch, tokens]` or `[tokens]`: nothing sees them, and they are gone. The
    /// output's mask is 1 for all tokens.
    ///
    /// Cost: beside that of [`PuMer::build`] a copy of the text's queries, and about twenty small dispatches of integers.
    ///
    /// ```
    /// use tokenpress::methods::{Images, PuMer};
    /// use tokenpress::{Elem, Graph, HostTensor};
    ///
    /// let mut graph = Graph::new();
    /// let tokens = graph.tokens("x", [1, 6, 1], Elem::F32)?;
    /// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 6, 1], Elem::F32));
    /// let marks = graph.constant(HostTensor::u32([6], vec![0, 1, 1, 1, 1, 0]));
    /// let images = Images::Marked { marks, others: 2 };
    /// let method = PuMer { prune: 0.5, merge: 0.0, merge_text: 0.0, ..Default::default() };
    /// let reduced = method.in_prompt(&mut graph, &tokens, images, None, queries, keys)?;
    /// graph.output("x'", reduced.compressed.tokens.x)?;
    /// let heads = HostTensor::f32([1, 1, 6, 1], vec![1.0, 2.0, 5.0, 3.0, 4.0, 1.0]);
    /// let inputs = [("x", heads.clone().reshaped([1, 6, 1])), ("q", heads.clone()), ("k", heads)].map(|(n, v)| (n.to_owned(), v));
    /// // Tokens 0 and 5 are text, and look at tokens 2 and 4 most.
    /// assert_eq!(graph.run_reference(&inputs.into())?["x'"].floats()[..4], [1.0, 1.0, 5.0, 4.0]);
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    pub fn in_prompt(
        &self,
        graph: &mut Graph,
        tokens: &Tokens,
        images: Images,
        padding: Option<Tensor>,
        queries: Tensor,
        keys: Tensor,
    ) -> Result<PuMerOutput, Error> {
        let [batch, capacity, _] = tokens.checked()?;
        self.check()?;
        tokens.expect_metric("pumer: keys", keys)?;
        images.range(["pumer: image"; 2], 0, capacity)?;
        let tokens = Tokens::ragged(graph, tokens.x, tokens.lengths)?;
        let padding = padding.map(|padding| marks_of_rows(graph, "pumer: padding", padding, &tokens)).transpose()?;
        let image = images.marks(graph, &tokens)?;
        let words = outside(graph, &tokens, image, padding)?;
        let words = Protected::marked(graph, &tokens, words, capacity - images.of_full_row(capacity))?;
        let (list, counts) = words.listed(graph, &tokens)?;
        let text = keep_listed(graph, &tokens, list, counts)?;
        let words = words.marks(graph, &tokens);
        let image = outside(graph, &tokens, words, padding)?;
        let most = if let Images::Range { tokens, .. } = images { tokens } else { capacity };
        let image = keep_marked(graph, &tokens, image, most)?;

        let metric = reduce(graph, keys, 1, Statistic::Mean, None)?;
        let bias = padding.map(|padding| hidden(graph, padding)).transpose()?;
        let score = self.score.of_words(graph, &tokens, metric, [queries, keys], &text.map, bias)?;
        let score = image.map.gather(graph, score)?;
        let ones = graph.filled_f32([batch, text.tokens.capacity()], 1.0);
        self.parts(graph, [text, image], ones, score, metric)
    }

    fn check(&self) -> Result<(), Error> {
        for (argument, share) in [("pumer: prune", self.prune), ("pumer: merge", self.merge), ("pumer: merge_text", self.merge_text)] {
            options::share(argument, share)?;
        }
        Ok(())
    }

    /// Reduces text and image, each by itself, and puts them together.
    fn parts(
        &self,
        graph: &mut Graph,
        [text, image]: [Compressed; 2],
        mask: Tensor,
        score: Tensor,
        metric: Tensor,
    ) -> Result<PuMerOutput, Error> {
        let [batch, _, _] = text.tokens.checked()?;
        let rounded = |n: u32, share: f64| keep_count(n, share, Rounding::NearestEven);
        let keep = |live: u32| (live - rounded(live, self.prune)).max(self.floor).min(live);
        let Pruned { compressed: pruned, selection } = Prune { order: Order::Value }.build(graph, &image.tokens, score, None, keep)?;
        let kept = image.then(graph, &pruned)?;
        let kept_metric = kept.map.gather(graph, metric)?;
        let protected = u32::from(self.style != PuMerMerge::ScoreDifference);
        let counts =
            Counts::of(graph, &image.tokens, keep, |live| rounded(live, self.merge).min(keep(live).saturating_sub(protected) / 2))?;
        let map = self.style.map(graph, &kept.tokens, selection.values, kept_metric, counts)?;
        let (weights, style) = match self.style {
            PuMerMerge::Average => (Some(kept.tokens.size), Reduce::WeightedMean),
            PuMerMerge::Sum | PuMerMerge::ScoreDifference => (None, Reduce::Sum),
        };
        let merged = map.compress(graph, &kept.tokens, weights, style)?;
        let image = kept.then(graph, &merged)?;

        let text_metric = text.map.gather(graph, metric)?;
        let merge_text = |live: u32| rounded(live, self.merge_text).min(live.saturating_sub(1) / 2);
        let counts = Counts::of(graph, &text.tokens, |live| live, merge_text)?;
        let map = by_cosine(graph, &text.tokens, text_metric, counts)?;
        let text_mask = map.merge(graph, mask, None, Reduce::Mean)?;
        let merged = map.compress(graph, &text.tokens, Some(text.tokens.size), Reduce::WeightedMean)?;
        let text = text.then(graph, &merged)?;
        let rows = image.tokens.capacity();
        let ones = graph.filled_f32([batch, rows], 1.0);
        let (mask, _) = concat_rows(graph, (text_mask, Some(text.tokens.lengths)), (ones, Some(image.tokens.lengths)))?;
        let compressed = text.append(graph, &image)?;
        Ok(PuMerOutput { compressed, mask, score, selection, text_lengths: text.tokens.lengths })
    }
}

/// Live tokens that neither `marks` nor `padding` has, u32 `[batch, tokens]` all of them.
fn outside(graph: &mut Graph, tokens: &Tokens, marks: Tensor, padding: Option<Tensor>) -> Result<Tensor, Error> {
    let among = choose(graph, marks, 1, [1, 0])?;
    let marks = padding.map(|padding| choose(graph, padding, 1, [mark::CANDIDATE, mark::EXCLUDED])).transpose()?;
    allowed(graph, [tokens.batch(), tokens.capacity()], Some(tokens.lengths), marks, among)
}

/// A bias that hides marked tokens, f32 `[batch, tokens]`.
fn hidden(graph: &mut Graph, marks: Tensor) -> Result<Tensor, Error> {
    let [batch, tokens] = marks.shape().exactly("pumer: padding", "[batch, tokens]")?;
    let marks = choose(graph, marks, 1, [0, 1])?;
    let all = product("pumer: padding", marks.shape(), batch, tokens)?;
    let marks = graph.reshape(marks, [1, all])?;
    let table = graph.constant(HostTensor::f32([1, 2], vec![0.0, f32::NEG_INFINITY]));
    let bias = gather_rows(graph, table, marks, None)?;
    graph.reshape(bias, [batch, tokens])
}
