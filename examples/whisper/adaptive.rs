//! What each layer's compression loses, and schedules from it.

use tokenpress::schedule::{Rounding, divergence, keep_count};
use tokenpress::{Error, HostTensor};

use crate::budgets::{Planned, Space};
use crate::methods::Step;
use crate::model::Model;
use crate::transcriber::Transcriber;

/// Tokens of a text that losses are measured over.
pub(crate) const TEXT: usize = 16;

/// What the encoder's layers may do.
pub(crate) fn space(model: &Model) -> Space {
    Space {
        layers: model.layers,
        tokens: model.audio,
        cost: model.cost(),
        shares: vec![0.0, 0.1, 0.2, 0.3, 0.45],
        left: |share, tokens| tokens - keep_count(tokens, share, Rounding::Floor).min(tokens / 2),
        step: |layer, share, _| format!("atome:layer={layer},ratio={share}"),
    }
}

/// For each chain the divergence of the logits from the whole model's, which is to say what the whole model says: the mean over tokens of a
/// text and over windows.
pub(crate) fn losses<'a>(
    new: &dyn Fn(&[Step]) -> Result<Transcriber<'a>, Error>,
    chains: &[Vec<Step>],
    windows: &[HostTensor],
    done: &dyn Fn(),
) -> Result<Vec<f64>, Error> {
    let whole = new(&[])?;
    let mut texts = whole.transcribe(windows, &|| ())?.tokens;
    texts.iter_mut().for_each(|text| text.truncate(TEXT));
    let expected = whole.logits(windows, &texts)?;
    let loss = |steps: &Vec<Step>| {
        let logits = new(steps)?.logits(windows, &texts)?;
        let losses = expected.iter().zip(&logits).map(|(expected, logits)| divergence(expected, logits));
        let sum = losses.sum::<Result<f64, Error>>()?;
        done();
        Ok(sum / windows.len().max(1) as f64)
    };
    chains.iter().map(loss).collect()
}

/// For each budget the schedule that merges the same share in each layer, and the searched one.
pub(crate) fn plans(space: &Space, losses: &[Vec<f64>], budgets: &[f64]) -> Result<Vec<Planned>, Error> {
    let mut plans = Vec::new();
    for budget in budgets {
        plans.extend(space.same_share("constant", *budget));
        plans.push(space.searched(losses, *budget)?);
    }
    Ok(plans)
}
