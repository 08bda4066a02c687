//! What the examples share: schedules within a budget of operations, one of them searched from measured losses, the other the same everywhere.

use serde::Serialize;
use tokenpress::Error;
use tokenpress::schedule::{Budget, LayerCost, Search};

use crate::chart::{Chart, Point, Series};

/// What layers may do.
pub(crate) struct Space {
    pub(crate) layers: usize,
    /// Tokens before the first layer.
    pub(crate) tokens: u32,
    pub(crate) cost: LayerCost,
    /// Shares of its tokens that a layer may merge; the first is none.
    pub(crate) shares: Vec<f64>,
    /// Tokens that are left of so many if this share is merged.
    pub(crate) left: fn(f64, u32) -> u32,
    /// A layer's compression, as `--compress` has it: the layer, counted from 1, the share, and tokens before and after.
    pub(crate) step: fn(usize, f64, [u32; 2]) -> String,
}

/// A schedule for a budget.
#[derive(Serialize)]
pub(crate) struct Planned {
    /// Of all layers' operations.
    pub(crate) budget: f64,
    /// How it was found, and the budget.
    pub(crate) name: String,
    /// As `--compress` has it; nothing to compress for an empty text.
    pub(crate) compression: String,
    /// The share of all layers' operations that it should take; after the test, what its inputs have taken on the mean.
    pub(crate) cost: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) predicted_loss: Option<f64>,
    /// Tokens after each layer; of the samples on the mean, where each input decides.
    pub(crate) lengths: Vec<u32>,
}

impl Space {
    /// Whether the shares can meet all of these budgets, before anything takes time.
    pub(crate) fn check(&self, budgets: &[f64]) -> Result<(), Error> {
        let losses = vec![vec![0.0; self.shares.len()]; self.layers];
        budgets.iter().try_for_each(|budget| self.searched(&losses, *budget).map(|_| ()))
    }

    /// Each layer with each share but none, alone: how `--compress` has it.
    pub(crate) fn alone(&self) -> Vec<String> {
        let step = |layer: usize, share: f64| (self.step)(layer + 1, share, [self.tokens, (self.left)(share, self.tokens)]);
        (0..self.layers).flat_map(|layer| self.shares.iter().skip(1).map(move |share| step(layer, *share))).collect()
    }

    /// The losses in the order of [`Space::alone`] as a table of layers and shares.
    pub(crate) fn table(&self, losses: &[f64]) -> Vec<Vec<f64>> {
        losses.chunks((self.shares.len() - 1).max(1)).map(|losses| [&[0.0], losses].concat()).collect()
    }

    /// The schedule of the least loss within a share of the operations.
    pub(crate) fn searched(&self, losses: &[Vec<f64>], budget: f64) -> Result<Planned, Error> {
        let left = |option: usize, tokens: u32| (self.left)(self.shares[option], tokens);
        let search = Search { losses, tokens: self.tokens, left, cost: self.cost };
        let found = search.best(&Budget::Flops((self.whole() * budget) as u64))?;
        let before = [self.tokens].into_iter().chain(found.lengths.iter().copied());
        let layers = found.options.iter().zip(before.zip(&found.lengths)).enumerate();
        let step = |(layer, (option, (before, after))): (usize, (&usize, (u32, &u32)))| {
            (before != *after).then(|| (self.step)(layer + 1, self.shares[*option], [before, *after]))
        };
        let compression = layers.filter_map(step).collect::<Vec<_>>().join("+");
        Ok(self.planned("searched", budget, compression, Some(found.loss), found.lengths))
    }

    /// The first of these, in their order of more and more compression, within a share of the operations: how `--compress` has it, and the
    /// tokens after each layer.
    pub(crate) fn first(&self, policy: &str, budget: f64, mut all: impl Iterator<Item = (String, Vec<u32>)>) -> Option<Planned> {
        let (compression, lengths) = all.find(|(_, lengths)| self.spent(lengths) <= self.whole() * budget)?;
        Some(self.planned(policy, budget, compression, None, lengths))
    }

    /// The schedule that merges the same share in each layer, in steps of half a percent.
    pub(crate) fn same_share(&self, policy: &str, budget: f64) -> Option<Planned> {
        let schedule = |steps: u32| {
            let share = f64::from(steps) / 200.0;
            let (mut tokens, mut lengths, mut chain) = (self.tokens, Vec::new(), Vec::new());
            for layer in 0..self.layers {
                let left = (self.left)(share, tokens);
                if left < tokens {
                    chain.push((self.step)(layer + 1, share, [tokens, left]));
                }
                lengths.push(left);
                tokens = left;
            }
            (chain.join("+"), lengths)
        };
        self.first(policy, budget, (0..=100).map(schedule))
    }

    fn planned(&self, policy: &str, budget: f64, compression: String, predicted_loss: Option<f64>, lengths: Vec<u32>) -> Planned {
        let cost = self.share(&lengths);
        Planned { budget, name: format!("{policy}:{budget}"), compression, cost, predicted_loss, lengths }
    }

    fn whole(&self) -> f64 {
        self.layers as f64 * self.cost.flops(self.tokens) as f64
    }

    /// The share of all layers' operations that they take which leave so many tokens.
    pub(crate) fn share(&self, lengths: &[u32]) -> f64 {
        self.spent(lengths) / self.whole()
    }

    fn spent(&self, lengths: &[u32]) -> f64 {
        let before = [self.tokens].into_iter().chain(lengths.iter().copied());
        before.zip(lengths).map(|(before, after)| self.cost.flops_compressing(before, *after) as f64).sum()
    }

    /// What each layer loses alone, and the schedules.
    pub(crate) fn print(&self, losses: &[Vec<f64>], plans: &[Planned]) {
        print!("\n{:<10}", "merged");
        self.shares.iter().skip(1).for_each(|share| print!("{:>11}", format!("{:.0} %", 100.0 * share)));
        println!();
        for (layer, losses) in losses.iter().enumerate() {
            print!("{:<10}", format!("layer {}", layer + 1));
            losses.iter().skip(1).for_each(|loss| print!("{loss:>11.6}"));
            println!();
        }
        println!("\n{:<32}{:>8}{:>16}  tokens after each layer", "schedule", "cost", "predicted loss");
        for plan in plans {
            let loss = plan.predicted_loss.map_or_else(|| "-".to_owned(), |loss| format!("{loss:.6}"));
            println!("{:<32}{:>8.3}{loss:>16}  {:?}\n{:<32}{}", plan.name, plan.cost, plan.lengths, "", plan.compression);
        }
        println!();
    }
}

/// A measure over costs, one line for each way to find schedules. The first of the scores, with their standard errors, is the whole model's.
pub(crate) fn chart(title: String, measure: &str, plans: &[Planned], scores: &[(f64, f64)]) -> Chart {
    let whole = ("none", 1.0);
    let all = [whole].into_iter().chain(plans.iter().map(|plan| (plan.name.as_str(), plan.cost)));
    let points = all.zip(scores).map(|((label, x), (y, error))| Point { label: label.to_owned(), x, y: *y, error: *error });
    let mut series = Series::by_method(points.collect(), "");
    // From the most expensive to the cheapest, and the point's label is its budget.
    for point in series.iter_mut().flat_map(|series| &mut series.points) {
        point.label = point.label.split(':').next_back().unwrap_or_default().to_owned();
    }
    Chart { title, axes: ["share of the layers' operations".to_owned(), measure.to_owned()], series }
}

/// Which of so many inputs are measured, evenly among them; the others are for the test.
pub(crate) fn is_sample(index: usize, samples: usize, all: usize) -> bool {
    index * samples / all.max(1) != (index + 1) * samples / all.max(1)
}
