//! HoloV: a budget for every part of the image.
//!
//! Zou et al., "Don't Just Chase 'Highlighted Tokens' in MLLMs: Revisiting Visual Holistic Context Retention" (NeurIPS 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Allocate, Leftover, Statistic, TopK, TopKInputs, compact, gather_rows, reduce};
use crate::methods::parts::lists::{live_mask, product};
use crate::methods::parts::prune::{Prune, Pruned};
use crate::options;
use crate::tensor::NONE;
use crate::token_map::{Tokens, capped, count_by_length, rows_by_known_length};

/// Divides the tokens among crops in proportion to their mean score, and keeps each crop's best.
///
/// ```text
/// crops: contiguous runs of positions, the first ones longer by one where they do not divide
/// budget_c = floor(keep w_c / sum w), and one more for the largest w             w_c = mean score of the crop's tokens
/// keep the budget_c tokens of highest score in each crop, in ascending position
/// ```
///
/// A budget above a crop's size goes to the other crops. The published code leaves it to zero rows.
///
/// The published weight has one more term, the variance of cosines, divided by its own mean. It multiplies each crop's weight by the same
/// 1.09, unless the crop's tokens are all but equal. So it decides nothing, and is left out.
///
/// Cost: a mean of each crop's scores, one [`Allocate`](crate::kernels::Allocate), a selection in every crop, one copy of the
/// kept tokens. No attention is read, and beside that copy all is of numbers, not rows.
///
/// ```
/// use tokenpress::methods::HoloV;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 6, 1], Elem::F32)?;
/// let score = graph.constant(HostTensor::f32([1, 6], vec![0.5, 0.7, 0.6, 0.1, 0.3, 0.2]));
/// let kept = HoloV { keep: 3, crops: 2 }.build(&mut graph, &tokens, score)?;
/// graph.output("budgets", kept.budgets)?;
/// graph.output("indices", kept.pruned.selection.indices)?;
/// let out = graph.run_reference(&[("x".to_owned(), HostTensor::f32([1, 6, 1], vec![1.0; 6]))].into())?;
/// assert_eq!((out["budgets"].integers(), out["indices"].integers()), (&[3, 0][..], &[0, 1, 2][..]));
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias = "crops")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoloV {
    /// Tokens that stay.
    pub keep: u32,
    /// Crops, 1 to 65535. The published code has 16. A row of fewer tokens has crops without any.
    pub crops: u32,
}

/// As many as can be given a budget.
const MOST_CROPS: u32 = 65535;

/// Tokens after HoloV, and how many each crop had.
#[derive(Debug, Clone, Copy)]
pub struct HoloVOutput {
    /// The tokens left, in order, and where the others went.
    pub pruned: Pruned,
    /// Tokens kept of each crop, `[batch, crops]` u32.
    pub budgets: Tensor,
}

impl HoloV {
    /// Prunes `tokens` by a score `[batch, tokens]` f32, at least 0: the class token's attention to them, averaged over the heads.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, score: Tensor) -> Result<HoloVOutput, Error> {
        tokens.checked()?;
        tokens.expect_score("holov: score", score)?;
        options::within("holov: crops", 1..=MOST_CROPS, self.crops)?;
        let (batch, capacity, crops, lengths) = (tokens.batch(), tokens.capacity(), self.crops, tokens.lengths);
        let width = capacity.div_ceil(crops);
        let shape = tokens.x.shape();
        let (rows, cells) = (product("holov: crops", shape, batch, crops)?, product("holov: crops", shape, crops, width)?);
        let size = |live: u32, crop: u32| live / crops + u32::from(crop < live % crops);
        let position = |live: u32, at: u32| {
            let (crop, i) = (at / width, at % width);
            if i < size(live, crop) { crop * (live / crops) + crop.min(live % crops) + i } else { NONE }
        };
        let known = rows_by_known_length(graph, lengths, capacity, crops, |live| (0..crops).map(|crop| size(live, crop)).collect())?;
        let (sizes, positions) = if let Some(sizes) = known {
            let cell = |live: u32| (0..cells).map(|at| position(live, at)).collect();
            // Lengths that are known are known for both.
            (sizes, rows_by_known_length(graph, lengths, capacity, cells, cell)?.unwrap_or(sizes))
        } else {
            // A crop has as many tokens as there are live ones at its place among those dealt out crop by crop.
            let live = capped(graph, lengths, capacity)?;
            let dealt = live_mask(graph, live, cells)?;
            let dealt = graph.reshape(dealt, [batch, width, crops])?;
            let sizes = reduce(graph, dealt, 1, Statistic::Sum, None)?;
            // The cells in use have the positions in order.
            let of_crops = graph.reshape(sizes, [rows])?;
            let used = live_mask(graph, of_crops, width)?;
            let used = graph.reshape(used, [batch, cells])?;
            (sizes, compact(graph, used, None)?.ranks)
        };
        let of_crops = graph.reshape(sizes, [rows])?;

        let score = gather_rows(graph, score, positions, None)?;
        let score = graph.reshape(score, [rows, width])?;
        let weights = reduce(graph, score, 1, Statistic::Mean, Some(of_crops))?;
        let weights = graph.reshape(weights, [batch, crops])?;
        let (totals, most) = count_by_length(graph, lengths, capacity, |live| self.keep.min(live))?;
        let divide = Allocate { minimum: 0, leftover: Leftover::LargestWeight };
        let budgets = divide.build(graph, weights, totals, sizes)?;

        let counts = graph.reshape(budgets, [rows])?;
        let best = TopK { k: most.min(width), ..Default::default() };
        let best = best.build(graph, TopKInputs { lengths: Some(of_crops), counts: Some(counts), ..TopKInputs::new(score) })?;
        let positions = graph.reshape(positions, [rows, width])?;
        let kept = gather_rows(graph, positions, best.indices, None)?;
        let kept = graph.reshape(kept, [batch, crops * best.indices.shape().dims()[1]])?;
        Ok(HoloVOutput { pruned: Prune::listed(graph, tokens, kept, |live| self.keep.min(live))?, budgets })
    }
}
