//! Greedy selection: each step selects the token that is best beside those selected so far.

use crate::compare::EPSILON_F32;
use crate::reference::{dot, dot_bound};

/// The score that each step of a greedy selection maximises. S is the set of tokens selected so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    /// `-max_{s in S} cos(i, s)`: the token farthest from its nearest selected one (farthest-point sampling). The first step maximises
    /// `-weight_i`. If the weights are each token's similarity to its nearest other token, that selects the most isolated token.
    MaxMin,
    /// `relevance * weight_i - (1 - relevance) * max_{s in S} cos(i, s)`: maximal marginal relevance. The first step maximises
    /// `weight_i`.
    MarginalRelevance {
        /// From 0 to 1.
        relevance: f32,
    },
    /// `det L_{S + i} / det L_S` with `L_ij = weight_i cos(i, j) weight_j`: the most probable set of a determinantal point process.
    Determinant,
    /// `weight_i sum_j max(0, cos(i, j) - m_j)` over all live tokens j, where `m_j = max(0, max_{s in S} cos(j, s))`: facility location. A
    /// token gains for those that are more like it than like any selected token. Rows with a NaN or an infinity count for none.
    FacilityLocation {
        /// The weight is added to the gain, in place of multiplied.
        additive: bool,
    },
}

/// The tokens of one batch row.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// Unit rows, `[tokens, channels]`.
    pub unit: &'a [f32],
    /// Norms, `[tokens]`; NaN for rows with a NaN or an infinity.
    pub norm: &'a [f32],
    /// Weights, `[tokens]`.
    pub weights: &'a [f32],
    /// Channels of a row.
    pub channels: usize,
    /// Live tokens. Positions from here on are not candidates.
    pub live: usize,
}

impl<'a> Field<'a> {
    fn row(&self, token: usize) -> &'a [f32] {
        &self.unit[token * self.channels..][..self.channels]
    }
}

/// A number in exact arithmetic, and the largest error of the same number in f32.
#[derive(Debug, Clone, Copy, Default)]
struct Value {
    value: f64,
    error: f64,
}

/// The rank of a candidate: first its class, then its score. The class is 2 if its score is a number, and 1 if not. It is 0 if its row has
/// a NaN or an infinity, or its weight is one where weights count.
#[derive(Debug, Clone, Copy)]
pub struct Rank {
    class: u8,
    /// The score in exact arithmetic.
    pub score: f64,
    /// The largest error of the score in f32.
    pub error: f64,
}

/// The part of a squared length that rounding may leave where the cosine is 1.
const ROUNDING: f64 = 1.0 / 65536.0;

/// A selection in progress. It computes in f64, and keeps for every number its largest error in f32. So it can also check the choices of
/// another selection.
#[derive(Debug, Clone)]
pub struct GreedySelection<'a> {
    field: Field<'a>,
    objective: Objective,
    /// The largest similarity to a selected token, or the squared length of the part that the selected tokens do not span.
    states: Vec<Value>,
    /// Columns of the Cholesky decomposition, `[tokens][columns]`: one for each selected token that had a length of its own.
    columns: Vec<Vec<Value>>,
    /// How many certainly had one.
    spanned: usize,
    open: Vec<bool>,
    /// Whether a token without NaN and infinity is selected.
    started: bool,
    /// Cosines of all pairs, for facility location.
    cosines: Vec<Value>,
}

impl<'a> GreedySelection<'a> {
    /// A selection of nothing yet.
    pub fn new(field: Field<'a>, objective: Objective) -> Self {
        let tokens = field.norm.len();
        let state = |i: usize| match objective {
            Objective::Determinant if field.norm[i] != 0.0 => {
                let square = field.weights[i] * field.weights[i];
                let error = if square.is_normal() { 0.0 } else { f64::from(f32::MIN_POSITIVE) };
                Value { value: f64::from(square), error }
            }
            _ => Value::default(),
        };
        let pair = |at: usize| {
            let (a, b) = (field.row(at / tokens), field.row(at % tokens));
            Value { value: dot(a, b), error: dot_bound(a, b) }
        };
        let pairs = if matches!(objective, Objective::FacilityLocation { .. }) { tokens * tokens } else { 0 };
        Self {
            field,
            objective,
            cosines: (0..pairs).map(pair).collect(),
            states: (0..tokens).map(state).collect(),
            columns: vec![Vec::new(); tokens],
            spanned: 0,
            open: (0..tokens).map(|i| i < field.live).collect(),
            started: false,
        }
    }

    fn sound(&self, i: usize) -> bool {
        !self.field.norm[i].is_nan() && (self.objective == Objective::MaxMin || self.field.weights[i].is_finite())
    }

    /// The rank of a candidate; `None` for a token that is dead or selected.
    pub fn rank(&self, i: usize) -> Option<Rank> {
        if !*self.open.get(i)? {
            return None;
        }
        if !self.sound(i) {
            return Some(Rank { class: 0, score: 0.0, error: 0.0 });
        }
        let weight = f64::from(self.field.weights[i]);
        let Value { value, error } = self.states[i];
        let number = |score: f64, error: f64| Rank { class: 2, score, error };
        Some(match (self.objective, self.started) {
            (Objective::Determinant, _) => number(value, error),
            (Objective::FacilityLocation { additive }, _) => {
                let gain = self.gain(i);
                let rounding = |score: f64| EPSILON_F32 * score.abs() + f64::from(f32::MIN_POSITIVE);
                if additive {
                    let score = gain.value + weight;
                    number(score, gain.error + rounding(score.abs() + gain.error))
                } else {
                    let error = weight.abs() * gain.error;
                    number(gain.value * weight, error + rounding(gain.value * weight + error))
                }
            }
            (_, false) if weight.is_nan() => Rank { class: 1, score: 0.0, error: 0.0 },
            (Objective::MaxMin, false) => number(-weight, 0.0),
            (Objective::MarginalRelevance { .. }, false) => number(weight, 0.0),
            (Objective::MaxMin, true) => number(-value, error),
            (Objective::MarginalRelevance { relevance }, true) => {
                // Two products and a difference.
                let (gain, loss) = (f64::from(relevance) * weight, f64::from(1.0 - relevance) * value);
                let rounding = 3.0 * (EPSILON_F32 * (gain.abs() + loss.abs()) + f64::from(f32::MIN_POSITIVE));
                number(gain - loss, f64::from(1.0 - relevance) * error + rounding)
            }
        })
    }

    /// What a token gains: the sum of how much more each token is like it than like any selected one.
    fn gain(&self, i: usize) -> Value {
        let tokens = self.open.len();
        let (mut gain, mut count) = (Value::default(), 0.0);
        for j in (0..tokens.min(self.field.live)).filter(|j| self.sound(*j)) {
            let (cosine, state) = (self.cosines[i * tokens + j], self.states[j]);
            let more = cosine.value - state.value;
            let error = cosine.error + state.error + EPSILON_F32 * (more.abs() + cosine.error + state.error);
            gain.value += more.max(0.0);
            gain.error += if more + error > 0.0 { error } else { 0.0 };
            count += 1.0;
        }
        gain.error += (count + 8.0) * (EPSILON_F32 * (gain.value + gain.error) + f64::from(f32::MIN_POSITIVE));
        gain
    }

    /// The candidate of the highest rank; of several, the lowest index.
    pub fn best(&self) -> Option<usize> {
        let mut best: Option<(usize, Rank)> = None;
        for i in 0..self.open.len() {
            let Some(rank) = self.rank(i) else { continue };
            if best.is_none_or(|(_, old)| rank.class > old.class || (rank.class == old.class && rank.score > old.score)) {
                best = Some((i, rank));
            }
        }
        best.map(|(i, _)| i)
    }

    /// Whether arithmetic in f32 may choose this candidate. It may not if another one has a higher rank whatever the errors are, or exactly
    /// the same rank and a lower index, or the very same row and weight and a lower index.
    pub fn admits(&self, chosen: usize) -> bool {
        let Some(own) = self.rank(chosen) else { return false };
        let same = |i: usize| {
            let weights = [i, chosen].map(|t| self.field.weights[t]);
            (weights[0] == weights[1] || weights[0].is_nan() && weights[1].is_nan()) && self.field.row(i) == self.field.row(chosen)
        };
        (0..self.open.len()).filter_map(|i| Some((i, self.rank(i)?))).all(|(i, other)| {
            let (high, low) = (own.score + own.error, other.score - other.error);
            // A score that overflows in f64 cannot be compared, so any choice is admitted.
            let beaten = own.class < other.class || (own.class == other.class && (high < low || (high == low && i < chosen)));
            let twin = i < chosen && own.class == other.class && same(i);
            !(beaten || twin)
        })
    }

    /// Selects a token, unless it is not a candidate. Gives whether it was selected.
    pub fn select(&mut self, chosen: usize) -> bool {
        if !self.open.get(chosen).copied().unwrap_or(false) {
            return false;
        }
        self.open[chosen] = false;
        if !self.sound(chosen) {
            // A column of zeros changes nothing.
            return true;
        }
        if matches!(self.objective, Objective::FacilityLocation { .. }) {
            let tokens = self.open.len();
            for j in 0..tokens {
                let (to, old) = (self.cosines[chosen * tokens + j], self.states[j]);
                self.states[j] = Value { value: old.value.max(to.value), error: old.error.max(to.error) };
            }
            return true;
        }
        let pivot = (self.states[chosen], self.cut(chosen));
        self.spanned += usize::from(self.objective == Objective::Determinant && pivot.0.value - pivot.0.error > pivot.1);
        for i in 0..self.open.len() {
            if self.open[i] && self.sound(i) {
                match self.objective {
                    Objective::Determinant => self.orthogonalize(i, chosen, pivot),
                    _ => self.approach(i, chosen),
                }
            }
        }
        self.started = true;
        true
    }

    /// Raises the similarity of i to the selected tokens to its similarity to the chosen one, if that is larger.
    fn approach(&mut self, i: usize, chosen: usize) {
        let (a, b) = (self.field.row(i), self.field.row(chosen));
        let to = Value { value: dot(a, b), error: dot_bound(a, b) };
        let old = self.states[i];
        // A maximum errs by no more than the largest error of its terms.
        self.states[i] = if self.started { Value { value: old.value.max(to.value), error: old.error.max(to.error) } } else { to };
    }

    /// Below this a squared length is nothing but rounding.
    fn cut(&self, i: usize) -> f64 {
        f64::from(self.field.weights[i]).powi(2) * ROUNDING
    }

    /// Removes from i the part that the chosen token p spans: `e = (L_ip - sum_s e_s[i] e_s[p]) / sqrt(d_p)`, `d_i -= e^2`. Each has its
    /// running error.
    fn orthogonalize(&mut self, i: usize, chosen: usize, (pivot, pivot_cut): (Value, f64)) {
        if self.spanned >= self.field.channels {
            // There are no more directions than channels.
            self.states[i] = Value::default();
            return;
        }
        if pivot.value + pivot.error <= 0.0 {
            return;
        }
        let (a, b) = (self.field.row(i), self.field.row(chosen));
        let weight = f64::from(self.field.weights[i]) * f64::from(self.field.weights[chosen]);
        let mut sum = Value { value: weight * dot(a, b), error: weight.abs() * dot_bound(a, b) };
        let mut magnitude = weight.abs() * a.iter().zip(b).map(|(a, b)| f64::from(a * b).abs()).sum::<f64>();
        for (own, other) in self.columns[i].iter().zip(&self.columns[chosen]) {
            sum.value -= own.value * other.value;
            sum.error += own.value.abs() * other.error + other.value.abs() * own.error + own.error * other.error;
            magnitude += own.value.abs() * other.value.abs();
        }
        // The product of the weights, the product with the similarity, the steps of the sum, and what each may flush to 0.
        let steps = self.columns[i].len() as f64 + 12.0;
        sum.error += steps * (EPSILON_F32 * (magnitude + sum.error) + f64::from(f32::MIN_POSITIVE));
        let column = if pivot.value - pivot.error <= pivot_cut {
            // It may be 0 in f32. Then nothing is divided by it.
            Value { value: 0.0, error: f64::INFINITY }
        } else {
            let value = sum.value / pivot.value.sqrt();
            let least = (pivot.value - pivot.error).sqrt();
            let moved = sum.error / least + (sum.value.abs() / least - value.abs());
            // 4.5 ulp for the root, and 2.5 ulp for the division.
            Value { value, error: moved + 14.0 * EPSILON_F32 * (value.abs() + moved) + f64::from(f32::MIN_POSITIVE) }
        };
        self.columns[i].push(column);
        let square = column.value * column.value;
        let old = self.states[i];
        let value = old.value - square;
        let moved = old.error + 2.0 * column.value.abs() * column.error + column.error * column.error;
        let error = moved + 2.0 * (EPSILON_F32 * (old.value + square + moved) + f64::from(f32::MIN_POSITIVE));
        let cut = self.cut(i);
        self.states[i] = if value + error <= cut * (1.0 - 1e-6) {
            Value::default()
        } else if value - error <= cut * (1.0 + 1e-6) {
            // In f32 it is either kept or cut to 0.
            Value { value: if value <= cut { 0.0 } else { value }, error: (value + error).max(error) }
        } else {
            Value { value, error }
        };
    }
}

/// The first `count` tokens of a greedy selection, in order: first the candidates among `given`, once each, then the best of each step.
pub fn greedy_select(mut selection: GreedySelection<'_>, given: &[u32], count: usize) -> Vec<u32> {
    let mut selected = Vec::new();
    for &token in given {
        if selected.len() < count && selection.select(token as usize) {
            selected.push(token);
        }
    }
    while selected.len() < count {
        let Some(best) = selection.best() else { break };
        selection.select(best);
        selected.push(best as u32);
    }
    selected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::row_normalize;

    /// `x[i][c] = (((5 i^2 + 7 i + 3 c + i c) mod 23) - 11) / 8`: small enough to check by hand.
    fn hand() -> Vec<f32> {
        (0..36)
            .map(|at| (((5 * (at / 4) * (at / 4) + 7 * (at / 4) + 3 * (at % 4) + (at / 4) * (at % 4)) % 23) as f32 - 11.0) / 8.0)
            .collect()
    }

    fn run(x: &[f32], channels: usize, weights: &[f32], objective: Objective, given: &[u32], count: usize) -> Vec<u32> {
        let tokens = weights.len();
        let (unit, norm) = row_normalize(x, &[tokens as u32], [1, tokens, channels]);
        let field = Field { unit: &unit, norm: &norm, weights, channels, live: tokens };
        greedy_select(GreedySelection::new(field, objective), given, count)
    }

    fn cosine(x: &[f32], i: usize, j: usize) -> f64 {
        let (a, b) = (&x[i * 4..][..4], &x[j * 4..][..4]);
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    #[test]
    fn hand_checked() {
        let x = hand();
        let nearest: Vec<f32> =
            (0..9).map(|i| (0..9).filter(|j| *j != i).map(|j| cosine(&x, i, j)).fold(f64::NEG_INFINITY, f64::max) as f32).collect();
        assert_eq!(run(&x, 4, &nearest, Objective::MaxMin, &[], 4), [8, 7, 0, 6]);
        let relevance: Vec<f32> = (0..9).map(|i| 0.1 + 0.1 * i as f32).collect();
        assert_eq!(run(&x, 4, &relevance, Objective::Determinant, &[], 4), [8, 6, 5, 4]);
    }

    #[test]
    fn the_determinant_of_the_selected_is_the_largest_that_one_more_token_gives() {
        let x = hand();
        let weights: Vec<f32> = (0..9).map(|i| 1.0 + 0.3 * ((i * 4) % 9) as f32).collect();
        let selected = run(&x, 4, &weights, Objective::Determinant, &[], 4);
        for step in 0..4 {
            let volume = |last: usize| {
                let mut set: Vec<usize> = selected[..step].iter().map(|s| *s as usize).collect();
                set.push(last);
                let l = |i: usize, j: usize| f64::from(weights[i]) * cosine(&x, i, j) * f64::from(weights[j]);
                determinant(set.iter().map(|&i| set.iter().map(|&j| l(i, j)).collect()).collect())
            };
            let others = (0..9).filter(|i| !selected[..step].contains(&(*i as u32)));
            let best = others.map(|i| (volume(i), i)).fold((f64::NEG_INFINITY, 0), |best, new| if new.0 > best.0 { new } else { best });
            assert_eq!(selected[step] as usize, best.1);
        }
    }

    /// By elimination.
    fn determinant(mut m: Vec<Vec<f64>>) -> f64 {
        let mut product = 1.0;
        for k in 0..m.len() {
            product *= m[k][k];
            for i in k + 1..m.len() {
                let factor = m[i][k] / m[k][k];
                let pivot = m[k].clone();
                m[i].iter_mut().zip(&pivot).skip(k).for_each(|(entry, above)| *entry -= factor * above);
            }
        }
        product
    }

    #[test]
    fn facility_location_serves_all() {
        // Three alike, two alike, and one alone, which is the heaviest.
        #[rustfmt::skip]
        let x = [
            1.0, 0.0, 0.0, 0.1, 0.0,  1.0, 0.0, 0.0, 0.0, 0.0,  1.0, 0.0, 0.0, -0.1, 0.0,
            0.0, 1.0, 0.0, 0.0, 0.0,  0.0, 1.0, 0.0, 0.0, 0.1,
            0.0, 0.0, 1.0, 0.0, 0.0,
        ];
        // Tokens 3 and 4 gain the same but for rounding.
        let weights = |last: f32| [1.0, 1.0, 1.0, 1.01, 1.0, last];
        let order = |additive, weights: &[f32]| run(&x, 5, weights, Objective::FacilityLocation { additive }, &[], 4);
        assert_eq!(order(false, &weights(1.0))[..3], [1, 3, 5]);
        assert_eq!(order(false, &weights(1.5))[..3], [1, 3, 5]);
        assert_eq!(order(false, &weights(4.0))[..2], [5, 1]);
        assert_eq!(order(true, &[0.0, 0.0, 0.0, 0.0, 0.0, 2.5])[..2], [5, 1]);
    }

    #[test]
    fn marginal_relevance_weighs_both() {
        // Tokens 0 and 1 are twins, 2 is orthogonal to them.
        let x = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        let weights = [1.0, 0.9, 0.1];
        let order = |relevance| run(&x, 2, &weights, Objective::MarginalRelevance { relevance }, &[], 3);
        assert_eq!(order(1.0), [0, 1, 2]);
        assert_eq!(order(0.5), [0, 2, 1]);
    }

    #[test]
    fn given_tokens_come_first_and_once() {
        let x = hand();
        let given = [3, 3, u32::MAX, 9, 5];
        let selected = run(&x, 4, &[0.0; 9], Objective::MaxMin, &given, 9);
        assert_eq!(selected[..2], [3, 5]);
        let mut sorted = selected.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(run(&x, 4, &[0.0; 9], Objective::MaxMin, &given, 1), [3]);
    }

    #[test]
    fn equal_tokens_go_by_index_and_broken_ones_last() {
        for objective in [Objective::MaxMin, Objective::Determinant, Objective::MarginalRelevance { relevance: 0.5 }] {
            assert_eq!(run(&[0.3; 15], 3, &[1.0; 5], objective, &[], 9), [0, 1, 2, 3, 4]);
            let x = [f32::NAN, 1.0, 1.0, 1.0, 0.0, 0.0, f32::INFINITY, 0.0, -1.0, 1.0];
            let selected = run(&x, 2, &[1.0; 5], objective, &[], 5);
            assert_eq!(selected[3..], [0, 3], "{objective:?}");
        }
    }

    #[test]
    fn near_ties_are_admitted_and_nothing_else() {
        let unit = [1.0, 0.0, 0.6, 0.8, 0.6 + f32::EPSILON / 2.0, 0.8, 0.6, 0.8, 0.0, 1.0];
        let (norm, weights) = ([1.0; 5], [0.0; 5]);
        let field = Field { unit: &unit, norm: &norm, weights: &weights, channels: 2, live: 4 };
        let mut selection = GreedySelection::new(field, Objective::MaxMin);
        assert!(selection.admits(0) && !selection.admits(1), "equal weights: the lowest index");
        selection.select(0);
        assert!(selection.admits(1) && selection.admits(2), "nearer than rounding");
        assert!(!selection.admits(3), "the twin of token 1");
        assert!(!selection.admits(0) && !selection.admits(4) && !selection.admits(9), "selected, dead, no token");
    }
}
