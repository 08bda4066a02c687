//! Which layer compresses how much, from what each loses alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::schedule::{Budget, LayerCost};

/// Chooses one option of compression for each layer, so that a model stays within a budget and loses least, by what the caller measured.
///
/// ```text
/// n_0 = tokens        n_l = left(o_l, n_(l-1))                      for layers l = 1, 2, ..
/// loss  = sum over l of losses[l][o_l]
/// spent = sum over l of cost.flops_compressing(n_(l-1), n_l)        for Budget::Flops
///         sum over l of cost.bytes(n_l)                             for Budget::Bytes
///         n_L                                                       for Budget::Tokens
/// ```
///
/// `losses[l][o]` is what the model loses if layer `l` alone compresses, with option `o`: a mean over samples of
/// [`cosine_distance`](crate::schedule::cosine_distance), of [`divergence`](crate::schedule::divergence), or of anything else, in any unit. That
/// losses of several layers add up is an assumption; run the model with what was found. Options that keep a share lose much the same whatever
/// the layers before left; those that merge a number of tokens lose more where fewer are left, and the sum does not know.
///
/// Operations are those of blocks that compress between attention and perceptron, as [`ToMe::block`](crate::methods::ToMe::block) does.
///
/// ```
/// use tokenpress::schedule::{Budget, LayerCost, Search};
///
/// // Three layers over 256 tokens: all of them stay, or three quarters, or half. The first layer loses most.
/// let losses = [[0.0, 0.3, 0.9], [0.0, 0.1, 0.2], [0.0, 0.1, 0.4]];
/// let cost = LayerCost { channels: 64, key_channels: 64, hidden: 256, element_bytes: 2 };
/// let whole = 3 * cost.flops(256);
/// let search = Search { losses: &losses, tokens: 256, left: |option, tokens| tokens - tokens * option as u32 / 4, cost };
/// let found = search.best(&Budget::Flops(whole * 3 / 4))?;
/// assert_eq!((found.options, found.lengths), (vec![0, 2, 0], vec![256, 128, 128]));
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search<'a, Losses, Left> {
    /// For each layer, what each option loses; the same number of options for all. The options come in the order of how much they compress,
    /// with that of no compression first.
    pub losses: &'a [Losses],
    /// Tokens before the first layer.
    pub tokens: u32,
    /// Tokens that an option, counted from 0, leaves of so many.
    pub left: Left,
    /// What a layer costs.
    pub cost: LayerCost,
}

/// What a [`Search`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// For each layer the option's index.
    pub options: Vec<usize>,
    /// Tokens left after each layer.
    pub lengths: Vec<u32>,
    /// Sum of the layers' losses.
    pub loss: f64,
    /// What is spent, in the budget's unit.
    pub spent: u128,
}

/// The best ways through the first layers to so many tokens.
struct Way {
    option: usize,
    /// Index of the way through the layers before.
    before: usize,
    tokens: u32,
    loss: f64,
    spent: u128,
}

impl<Losses: AsRef<[f64]>, Left: Fn(usize, u32) -> u32> Search<'_, Losses, Left> {
    /// The options of the least loss within the budget. Of equal losses those that are first in the order of their indices, first layer first:
    /// less compression.
    ///
    /// A dynamic program over layers and tokens left. Of the ways to a number of tokens it keeps those that no other undercuts in both
    /// loss and what is spent, and that can still meet the budget. So it is exact for the sum above, added in f64 in the order of layers.
    ///
    /// Cost: at each layer, the ways that are kept times the options; for 12 layers over 257 tokens and 6 options a few hundred thousand in
    /// all. There may be exponentially many ways with losses and costs that no two share; [`greedy`](Self::greedy) has no such case.
    ///
    /// # Errors
    /// [`Error::Budget`] if no choice meets the budget, with the least that one spends. [`Error::Value`] for a loss that is not finite,
    /// layers with different numbers of options, no options, or an option that leaves more tokens than there were.
    pub fn best(&self, budget: &Budget) -> Result<Found, Error> {
        let options = self.options()?;
        let rest = self.least_to_come(budget, options)?;
        let (most, least) = (budget.most(), rest[0][&self.tokens]);
        if least > most {
            return Err(Error::Budget { least, most });
        }
        let mut layers = vec![vec![Way { option: 0, before: 0, tokens: self.tokens, loss: 0.0, spent: 0 }]];
        for (layer, losses) in self.losses.iter().enumerate() {
            let mut ways = Vec::new();
            for (before, way) in layers[layer].iter().enumerate() {
                for (option, loss) in losses.as_ref().iter().enumerate() {
                    let tokens = (self.left)(option, way.tokens);
                    let spent = way.spent + self.charge(budget, layer, way.tokens, tokens);
                    if spent + rest[layer + 1][&tokens] <= most {
                        ways.push(Way { option, before, tokens, loss: way.loss + loss, spent });
                    }
                }
            }
            layers.push(undominated(ways));
        }
        // The ways are in the order of their options, and of equal ones `min_by` takes the first.
        let last = layers[self.losses.len()].iter().enumerate().min_by(|a, b| a.1.loss.total_cmp(&b.1.loss));
        let mut at = last.map_or(0, |(index, _)| index);
        let mut chosen = Vec::new();
        for ways in layers.iter().skip(1).rev() {
            chosen.push(ways[at].option);
            at = ways[at].before;
        }
        chosen.reverse();
        Ok(self.found(budget, chosen))
    }

    /// Options that stay within the budget, one after the other: from the first option everywhere, the change of one layer's option that loses
    /// least for what it saves, until the budget is met. Of equal ones the first layer's, and its first option.
    ///
    /// Never better than [`best`](Self::best), and cheap: a round tries every option of every layer, and passes over all layers for each.
    ///
    /// # Errors
    /// Those of [`best`](Self::best); [`Error::Budget`] if no change saves anything more.
    pub fn greedy(&self, budget: &Budget) -> Result<Found, Error> {
        let options = self.options()?;
        self.least_to_come(budget, options)?;
        let mut found = self.found(budget, vec![0; self.losses.len()]);
        while found.spent > budget.most() {
            let change = |(layer, option): (usize, usize)| {
                let mut options = found.options.clone();
                options[layer] = option;
                let changed = self.found(budget, options);
                let saved = found.spent.checked_sub(changed.spent).filter(|saved| *saved > 0)?;
                let lost = self.losses[layer].as_ref()[option] - self.losses[layer].as_ref()[found.options[layer]];
                Some((lost / saved as f64, changed))
            };
            let changes = (0..self.losses.len()).flat_map(|layer| (0..options).map(move |option| (layer, option)));
            let best = changes.filter_map(change).min_by(|a, b| a.0.total_cmp(&b.0));
            found = best.ok_or(Error::Budget { least: found.spent, most: budget.most() })?.1;
        }
        Ok(found)
    }

    /// What these options come to.
    fn found(&self, budget: &Budget, options: Vec<usize>) -> Found {
        let (mut tokens, mut loss, mut spent, mut lengths) = (self.tokens, 0.0, 0, Vec::new());
        for (layer, option) in options.iter().enumerate() {
            let left = (self.left)(*option, tokens);
            spent += self.charge(budget, layer, tokens, left);
            loss += self.losses[layer].as_ref()[*option];
            lengths.push(left);
            tokens = left;
        }
        Found { options, lengths, loss, spent }
    }

    /// What a layer spends; of tokens, those after the last.
    fn charge(&self, budget: &Budget, layer: usize, before: u32, after: u32) -> u128 {
        match budget {
            Budget::Tokens(_) if layer + 1 == self.losses.len() => after.into(),
            Budget::Tokens(_) => 0,
            Budget::Flops(_) => self.cost.flops_compressing(before, after).into(),
            Budget::Bytes(_) => self.cost.bytes(after).into(),
        }
    }

    /// How many options each layer has.
    fn options(&self) -> Result<usize, Error> {
        let wrong = |argument, expected: &str, actual: String| Err(Error::Value { argument, expected: expected.to_owned(), actual });
        let options = self.losses.first().map_or(1, |losses| losses.as_ref().len());
        for (layer, losses) in self.losses.iter().enumerate() {
            let losses = losses.as_ref();
            if losses.len() != options || options == 0 {
                let actual = format!("{} at layer {layer}", losses.len());
                return wrong("search: options", "the same number for each layer, at least 1", actual);
            }
            if let Some(loss) = losses.iter().find(|loss| !loss.is_finite()) {
                return wrong("search: losses", "finite numbers", format!("{loss} at layer {layer}"));
            }
        }
        Ok(options)
    }

    /// For each number of layers done, and each number of tokens that may be left by then, the least that the other layers spend.
    fn least_to_come(&self, budget: &Budget, options: usize) -> Result<Vec<BTreeMap<u32, u128>>, Error> {
        let mut reached = vec![BTreeSet::from([self.tokens])];
        for layer in 0..self.losses.len() {
            let mut after = BTreeSet::new();
            for (option, tokens) in (0..options).flat_map(|option| reached[layer].iter().map(move |tokens| (option, *tokens))) {
                let left = (self.left)(option, tokens);
                if left > tokens {
                    let (expected, actual) = (format!("at most {tokens} tokens of {tokens}"), format!("{left} by option {option}"));
                    return Err(Error::Value { argument: "search: left", expected, actual });
                }
                after.insert(left);
            }
            reached.push(after);
        }
        let mut rest: Vec<BTreeMap<u32, u128>> = vec![BTreeMap::new(); reached.len()];
        for (done, tokens) in reached.iter().enumerate().rev() {
            let least = |tokens: &u32| {
                let through = |option| {
                    let left = (self.left)(option, *tokens);
                    Some(self.charge(budget, done, *tokens, left) + rest.get(done + 1)?.get(&left)?)
                };
                (*tokens, (0..options).filter_map(through).min().unwrap_or(0))
            };
            rest[done] = tokens.iter().map(least).collect();
        }
        Ok(rest)
    }
}

/// The ways, in their order, without those that another one to as many tokens undercuts: it spends no more, and it loses less, or as much and
/// comes first.
fn undominated(ways: Vec<Way>) -> Vec<Way> {
    let mut order: Vec<usize> = (0..ways.len()).collect();
    order.sort_by(|a, b| {
        let key = |i: &usize| (ways[*i].tokens, ways[*i].spent);
        key(a).cmp(&key(b)).then(ways[*a].loss.total_cmp(&ways[*b].loss)).then(a.cmp(b))
    });
    let mut stays = vec![false; ways.len()];
    let mut best: Option<usize> = None;
    for index in order {
        let way = &ways[index];
        let undercut = best.is_some_and(|best| {
            let other = &ways[best];
            other.tokens == way.tokens && other.loss.total_cmp(&way.loss).then(best.cmp(&index)).is_lt()
        });
        if !undercut {
            stays[index] = true;
            best = Some(index);
        }
    }
    ways.into_iter().zip(stays).filter(|(_, stays)| *stays).map(|(way, _)| way).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::random_u32;

    const COST: LayerCost = LayerCost { channels: 8, key_channels: 8, hidden: 32, element_bytes: 2 };

    /// A share, a number, and a number that is capped.
    fn left(option: usize, tokens: u32) -> u32 {
        [tokens, tokens - tokens / 3, tokens - 3.min(tokens / 2), tokens / 2][option]
    }

    type Of<'a> = Search<'a, Vec<f64>, fn(usize, u32) -> u32>;

    fn search(losses: &[Vec<f64>]) -> Of<'_> {
        Search { losses, tokens: 17, left, cost: COST }
    }

    /// Every choice in the order of its indices.
    fn all(search: &Of<'_>, budget: &Budget) -> Vec<Found> {
        let (layers, options) = (search.losses.len() as u32, search.losses[0].len());
        let choice = |i: usize| (0..layers).rev().map(|layer| i / options.pow(layer) % options).collect();
        (0..options.pow(layers)).map(|i| search.found(budget, choice(i))).collect()
    }

    fn budgets(search: &Of<'_>) -> Vec<Budget> {
        let whole = search.losses.len() as u64;
        let share = |all: u64| (1..=10).map(move |tenth| all * tenth / 10);
        let flops = share(whole * COST.flops(17)).map(Budget::Flops);
        let bytes = share(whole * COST.bytes(17)).map(Budget::Bytes);
        flops.chain(bytes).chain((1..=17).map(Budget::Tokens)).collect()
    }

    #[test]
    fn the_best_of_all_choices() {
        let (mut met, mut unmet, mut worse, mut ties) = (0, 0, 0, 0);
        for seed in 0..60 {
            // Every second table has few different losses, which add up exactly: many choices tie.
            let number = |i: u64| f64::from(random_u32(seed, i) >> 8) / 65536.0;
            let loss = |i: u64| if seed % 2 == 0 { number(i) } else { f64::from(random_u32(seed, i) % 3) / 4.0 };
            let losses: Vec<Vec<f64>> = (0..1 + u64::from(seed) % 5).map(|l| (0..4).map(|o| loss(l * 4 + o)).collect()).collect();
            let search = search(&losses);
            for budget in budgets(&search) {
                let all = all(&search, &budget);
                let within: Vec<&Found> = all.iter().filter(|found| found.spent <= budget.most()).collect();
                let expected = within.iter().min_by(|a, b| a.loss.total_cmp(&b.loss));
                let Some(expected) = expected else {
                    let least = all.iter().map(|found| found.spent).min().expect("choices");
                    assert_eq!(search.best(&budget), Err(Error::Budget { least, most: budget.most() }));
                    assert!(matches!(search.greedy(&budget), Err(Error::Budget { .. })), "{budget:?}");
                    unmet += 1;
                    continue;
                };
                assert_eq!(search.best(&budget).as_ref(), Ok(*expected), "seed {seed}, {budget:?}");
                ties += usize::from(within.iter().filter(|found| found.loss == expected.loss).count() > 1);
                met += 1;
                if let Ok(greedy) = search.greedy(&budget) {
                    assert!(greedy.spent <= budget.most() && greedy.loss >= expected.loss, "seed {seed}, {budget:?}: {greedy:?}");
                    worse += usize::from(greedy.loss > expected.loss);
                }
            }
        }
        assert!(
            met > 1000 && unmet > 20 && ties > 100 && worse > 100,
            "{met} met, {unmet} not, {ties} ties, {worse} where greedy is worse"
        );
    }

    #[test]
    fn of_equal_losses_less_is_compressed() {
        let losses = vec![vec![0.0; 4]; 3];
        let search = search(&losses);
        assert_eq!(search.best(&Budget::Tokens(17)).map(|found| found.options), Ok(vec![0, 0, 0]));
        assert_eq!(search.best(&Budget::Tokens(12)).map(|found| found.options), Ok(vec![0, 0, 1]));
        assert_eq!(search.greedy(&Budget::Tokens(12)).map(|found| found.options), Ok(vec![1, 0, 0]));
    }

    #[test]
    fn nothing_to_choose_from() {
        let none: [Vec<f64>; 0] = [];
        let found = Found { options: Vec::new(), lengths: Vec::new(), loss: 0.0, spent: 0 };
        assert_eq!(search(&none).best(&Budget::Flops(0)), Ok(found.clone()));
        assert_eq!(search(&none).greedy(&Budget::Flops(0)), Ok(found));
        let value = |losses: &[Vec<f64>]| {
            let search = search(losses);
            [search.best(&Budget::Tokens(20)), search.greedy(&Budget::Tokens(20))].map(|found| match found {
                Err(Error::Value { argument, .. }) => argument,
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(value(&[vec![0.0; 4], vec![0.0; 3]]), ["search: options"; 2]);
        assert_eq!(value(&[vec![], vec![]]), ["search: options"; 2]);
        for odd in [f64::NAN, f64::INFINITY] {
            assert_eq!(value(&[vec![0.0, 0.0], vec![0.0, odd]]), ["search: losses"; 2]);
        }
        let losses = [vec![0.0, 1.0]];
        let growing = Search { losses: &losses, tokens: 5, left: |option: usize, tokens: u32| tokens + option as u32, cost: COST };
        assert!(matches!(growing.best(&Budget::Tokens(5)), Err(Error::Value { argument: "search: left", .. })));
        assert!(matches!(growing.greedy(&Budget::Tokens(5)), Err(Error::Value { argument: "search: left", .. })));
    }

    #[test]
    fn what_is_spent() {
        let losses = vec![vec![0.0, 1.0, 2.0, 4.0]; 2];
        let found = |budget: Budget| search(&losses).found(&budget, vec![3, 1]);
        assert_eq!((found(Budget::Tokens(0)).lengths, found(Budget::Tokens(0)).loss), (vec![8, 6], 5.0));
        let flops = 4 * 8 * (17 * (8 + 8 + 17) + 8 * 32) + 4 * 8 * (8 * (8 + 8 + 8) + 6 * 32);
        let spent = [Budget::Tokens(0), Budget::Flops(0), Budget::Bytes(0)].map(|budget| found(budget).spent);
        assert_eq!(spent, [6, flops, 2 * (8 + 6) * 8 * 2]);
        assert_eq!(COST.flops_compressing(17, 17), COST.flops(17));
    }
}
