//! What each layer's compression loses, and schedules from it.

use std::ops::Range;

use tokenpress::Error;
use tokenpress::readback::HostTensors;
use tokenpress::schedule::{MergeSchedule, cosine_distance, progressive_thresholds};

use crate::budgets::{Planned, Space};
use crate::model::Model;

/// Tokens that stay out of it: the class token.
const PROTECTED: u32 = 1;

/// What the layers of a model may do.
pub(crate) fn space(model: &Model) -> Space {
    Space {
        layers: model.layers,
        tokens: model.grid * model.grid + PROTECTED,
        cost: model.cost(),
        shares: vec![0.0, 0.04, 0.1, 0.2, 0.4],
        left: |share, tokens| {
            let patches = tokens - PROTECTED.min(tokens);
            tokens - ((share * f64::from(patches)) as u32).min(patches / 2)
        },
        step: |layer, _, [before, after]| format!("tome:layer={layer},r={}", before - after),
    }
}

/// Of one sample: the cosine distance of what `Model::build_all` gave for the whole model, which comes first, and for each chain.
pub(crate) fn losses(outputs: &HostTensors, chains: usize) -> Result<Vec<f64>, Error> {
    (1..=chains).map(|chain| cosine_distance(&outputs["features.0"], &outputs[&format!("features.{chain}")])).collect()
}

/// Of what `Model::similarities` gave for one sample: those of the tokens that may merge.
pub(crate) fn similarities(outputs: &HostTensors) -> Vec<f32> {
    let live = outputs["tokens"].integers()[0] as usize;
    // Sources are at even places, the class token first.
    outputs["similarity"].floats().into_iter().take(live.div_ceil(2)).skip(PROTECTED as usize).collect()
}

/// A plan with a threshold of similarity for each layer in place of its counts, so that each photo decides. A photo of which less than that is
/// left merges half of it. Given how `--compress` has the layers
/// before, and a layer, counted from 0, `similarities` gives those of each sample there.
pub(crate) fn calibrated<E>(
    space: &Space,
    plan: &Planned,
    mut similarities: impl FnMut(&str, usize) -> Result<Vec<Vec<f32>>, E>,
) -> Result<Planned, E> {
    // A layer that merges nothing has infinity.
    let step = |(layer, threshold): (usize, &f32)| threshold.is_finite().then(|| format!("tome:layer={},threshold={threshold}", layer + 1));
    let compression = |thresholds: &[f32]| thresholds.iter().enumerate().filter_map(step).collect::<Vec<_>>().join("+");
    let before = [space.tokens].into_iter().chain(plan.lengths.iter().copied());
    let merges: Vec<f64> = before.zip(&plan.lengths).map(|(before, after)| f64::from(before - after)).collect();
    let found = progressive_thresholds(&merges, |before| similarities(&compression(before), before.len()))?;
    let (name, lengths) = (format!("thresholds of {}", plan.name), plan.lengths.clone());
    Ok(Planned { budget: plan.budget, name, compression: compression(&found), cost: plan.cost, predicted_loss: None, lengths })
}

/// The share of the layers' operations that a photo takes which has so many tokens behind each of the layers that compress, counted from 0.
pub(crate) fn share(space: &Space, compressing: &[usize], counts: &[u32]) -> f64 {
    let last = |layer: usize| compressing.iter().zip(counts).take_while(|(compressing, _)| **compressing <= layer).last();
    let lengths: Vec<u32> = (0..space.layers).map(|layer| last(layer).map_or(space.tokens, |(_, count)| *count)).collect();
    space.share(&lengths)
}

/// For each budget the schedule that merges the same number in each layer, or one more in the first few; the one that merges the same share; and
/// the searched one.
pub(crate) fn plans(space: &Space, losses: &[Vec<f64>], budgets: &[f64]) -> Result<Vec<Planned>, Error> {
    let constant = |merged: u32| {
        let (merge, more) = (merged / space.layers as u32, merged as usize % space.layers);
        let counts: Vec<u32> = (0..space.layers).map(|layer| merge + u32::from(layer < more)).collect();
        let lengths = MergeSchedule::List(counts).lengths(space.layers, space.tokens, PROTECTED).unwrap_or_default();
        let step = |(layers, merge): (Range<usize>, u32)| {
            let layers: Vec<_> = layers.map(|layer| (layer + 1).to_string()).collect();
            (!layers.is_empty() && merge > 0).then(|| format!("tome:layer={},r={merge}", layers.join("/")))
        };
        let steps = [(0..more, merge + 1), (more..space.layers, merge)].into_iter().filter_map(step).collect::<Vec<_>>();
        (steps.join("+"), lengths)
    };
    let mut plans = Vec::new();
    for budget in budgets {
        plans.extend(space.first("constant", *budget, (0..=space.tokens * space.layers as u32).map(constant)));
        plans.extend(space.same_share("share", *budget));
        plans.push(space.searched(losses, *budget)?);
    }
    Ok(plans)
}
