//! DART: tokens that repeat none of a few pivots.
//!
//! Wen et al., "Stop Looking for Important Tokens in Multimodal Language Models: Duplication Matters More" (EMNLP 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{AttentionInputs, AttentionScore, Norm, Queries, TopK, TopKInputs, concat_rows, gather_rows, mark, row_normalize};
use crate::methods::parts::lists::marks_of;
use crate::methods::parts::prune::{Prune, Pruned};
use crate::options;
use crate::schedule::{Rounding, keep_count};
use crate::token_map::{Tokens, count_by_length};

/// Keeps a few pivots, and for each pivot the tokens that are least like it.
///
/// ```text
/// k = max(1, floor, round(keep * tokens))                   p = the image_pivots tokens of the largest key, at most k, and the text's
/// q = ceil((k - image pivots) / pivots)
/// for each pivot, those of the image first: keep the q tokens of the lowest cosine to it that are not kept yet, up to k in all
/// ```
///
/// Kept tokens are in ascending position. The text's pivots steer, and stay as they are: they are no tokens of the image.
///
/// Cost: for each pivot a row of cosines, `2 N C` operations, and a selection. Where lengths are not known while the graph is built, each
/// pivot has a table of `N + 1` numbers too. Beside them one selection by size and one copy of the kept tokens.
///
/// ```
/// use tokenpress::methods::Dart;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 2], Elem::F32)?;
/// let sizes = graph.constant(HostTensor::f32([1, 4], vec![1.0, 4.0, 2.0, 3.0]));
/// let kept = Dart { keep: 0.5, image_pivots: 1, floor: 0 }.build(&mut graph, &tokens, sizes, None)?;
/// graph.output("order", kept.order)?;
/// let x = HostTensor::f32([1, 4, 2], vec![0.0, 1.0, 1.0, 0.0, 1.0, 0.2, 1.0, 0.1]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["order"].integers(), [1, 0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dart {
    /// Share of the tokens that stays, 0 to 1.
    pub keep: f64,
    /// Pivots among the image's tokens.
    pub image_pivots: u32,
    /// At least so many stay, of a row with fewer all of them.
    pub floor: u32,
}

/// Tokens after DART.
#[derive(Debug, Clone, Copy)]
pub struct DartOutput {
    /// The tokens left, in order, and where the others went.
    pub pruned: Pruned,
    /// Positions in order of selection, u32 `[batch, entries]`, with [`NONE`](crate::NONE) between where a row selects fewer.
    pub order: Tensor,
}

impl Dart {
    /// Prunes `tokens`, the image's rows, by the sizes of their keys `[batch, tokens]` f32
    /// ([`key_size`](crate::methods::key_size)). `text` are the rows of the text's pivots `[batch, pivots, channels]`.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, sizes: Tensor, text: Option<Tensor>) -> Result<DartOutput, Error> {
        options::share("dart: keep", self.keep)?;
        let [_, capacity, _] = tokens.checked()?;
        tokens.expect_score("dart: sizes", sizes)?;
        let text_pivots = match text {
            Some(text) => text.shape().exactly::<3>("dart: text", "[batch, text, channels]")?[1],
            None => 0,
        };
        if self.image_pivots == 0 && text_pivots == 0 {
            return Err(Error::Value { argument: "dart: pivots", expected: "at least 1".into(), actual: "0".into() });
        }
        let lengths = tokens.lengths;
        let keep = |live: u32| keep_count(live, self.keep, Rounding::NearestEven).max(1).max(self.floor).min(live);
        let of_image = |live: u32| self.image_pivots.min(keep(live));
        let quota = |live: u32| (keep(live) - of_image(live)).div_ceil(of_image(live).saturating_add(text_pivots).max(1));

        let (counts, image_pivots) = count_by_length(graph, lengths, capacity, of_image)?;
        let largest = TopK { k: image_pivots, ..Default::default() };
        let inputs = TopKInputs { lengths: Some(lengths), counts: Some(counts), ..TopKInputs::new(sizes) };
        let mut order = largest.build(graph, inputs)?.indices;
        let unit = row_normalize(graph, tokens.x, Some(lengths))?.unit;
        let mut pivots = gather_rows(graph, unit, order, None)?;
        if let Some(text) = text {
            let text = row_normalize(graph, text, None)?.unit;
            pivots = concat_rows(graph, (pivots, None), (text, None))?.0;
        }
        let [batch, _, channels] = unit.shape().exactly("dart: unit", "[B, N, C]")?;
        let keys = graph.reshape(unit, [batch, 1, capacity, channels])?;
        let all = image_pivots.saturating_add(text_pivots);
        let queries = graph.reshape(pivots, [batch, 1, all, channels])?;

        // What the pivots before one have added, of which an image of few tokens has fewer.
        let kept = |live: u32, pivot: u32| {
            let absent = pivot.min(image_pivots) - pivot.min(of_image(live)).min(image_pivots);
            of_image(live).saturating_add(quota(live).saturating_mul(pivot - absent)).min(keep(live))
        };
        for pivot in 0..all {
            let more = |live: u32| kept(live, pivot + 1) - kept(live, pivot);
            let (counts, most) = count_by_length(graph, lengths, capacity, more)?;
            if most == 0 && pivot < image_pivots {
                continue;
            }
            // Behind the image's pivots, what none takes now none takes later.
            if most == 0 {
                break;
            }
            // A logit of unit rows is their cosine.
            let cosine = AttentionScore { queries: Queries::Row(pivot), norm: Norm::Logits, ..Default::default() };
            let inputs = AttentionInputs { queries, keys, bias: None, lengths: Some(lengths), query_lengths: None };
            let cosine = cosine.build(graph, inputs)?.score;
            let marks = Some(marks_of(graph, order, capacity, mark::EXCLUDED)?);
            let least = TopK { k: most, largest: false, ..Default::default() };
            let inputs = TopKInputs { scores: cosine, lengths: Some(lengths), counts: Some(counts), marks };
            let least = least.build(graph, inputs)?.indices;
            order = concat_rows(graph, (order, None), (least, None))?.0;
        }
        Ok(DartOutput { pruned: Prune::listed(graph, tokens, order, keep)?, order })
    }
}
