//! What single kernels and token maps hold for any input, ragged batches first: order, conservation, inverses, composition.
//!
//! All of it is exact, on the reference and on one adapter. Where floats are summed, they are small multiples of 1/4, whose
//! sums do not round. The cases are the same in every run; `PROPTEST_CASES` asks for more of them.

use std::fmt::Debug;

use crate::support::data;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use tokenpress::kernels::{
    Allocate, AttentionInputs, AttentionScore, BipartiteMatch, ChannelOrder, GreedyInputs, GreedySelect, Leftover, Normalized, Objective,
    Order, Partition, PixelUnshuffle, Queries, Reduce, RowReduction, TokenOrder, TopK, TopKInputs, compact, gather_rows, group_tokens,
    invert_index, mark, merge_tokens, row_normalize, scatter_rows,
};
use tokenpress::methods::{Protect, ToMe};
use tokenpress::readback::{Context, HostTensors};
use tokenpress::{Elem, Error, Graph, HostTensor, NONE, Positions, Shape, Tensor, TokenMap, Tokens, wgpu};

/// Executes a graph: the reference, or an adapter.
type Run<'a> = &'a dyn Fn(&Graph, &HostTensors) -> HostTensors;

type Property<T> = fn(Run<'_>, T) -> TestCaseResult;

/// Tries a property on so many cases; says how it fails on the smallest one found.
fn test<T: Debug>(cases: u32, shrink: bool, run: Run<'_>, strategy: impl Strategy<Value = T>, property: Property<T>) -> Result<(), String> {
    let mut config = Config { cases, failure_persistence: None, ..Config::default() };
    if !shrink {
        config.max_shrink_iters = 0;
    }
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    runner.run(&strategy, |case| property(run, case)).map_err(|error| error.to_string())
}

/// Of `PROPTEST_CASES`, 256 by default, a part.
fn cases(divisor: u32) -> u32 {
    Config::default().cases / divisor
}

fn reference(graph: &Graph, inputs: &HostTensors) -> HostTensors {
    graph.run_reference(inputs).expect("the graph's own inputs")
}

/// Each property is a test on the reference, and all of them are one on an adapter, which makes its device once.
macro_rules! properties {
    ($($name:ident($strategy:expr);)*) => {
        mod on_the_reference {
            use super::*;

            $(#[test]
            fn $name() {
                test(cases(4), true, &reference, $strategy, super::$name).unwrap_or_else(|error| panic!("{error}"));
            })*
        }

        #[test]
        fn on_an_adapter() {
            let adapters = pollster::block_on(Context::adapters(wgpu::Backends::all()));
            // Of several the first that has f16: those of OpenGL do not.
            let Some(adapter) = adapters.iter().min_by_key(|a| !a.features().contains(wgpu::Features::SHADER_F16)) else {
                let required = std::env::var("REQUIRE_GPU").is_ok_and(|v| !v.is_empty() && v != "0");
                assert!(!required, "no adapter");
                return;
            };
            let context = pollster::block_on(Context::new(adapter)).expect("a device");
            let run: Run<'_> = &|graph, inputs| pollster::block_on(context.run(graph, inputs)).expect("a plan");
            $(test(cases(16), true, run, $strategy, $name).unwrap_or_else(|error| panic!("{}: {error}", stringify!($name)));)*
        }

        /// One bit of one output of each run, each time another.
        #[test]
        fn a_wrong_bit_is_seen() {
            let random = std::cell::RefCell::new(data::Random::new(1));
            let run: Run<'_> = &|graph, inputs| {
                let mut results = reference(graph, inputs);
                let filled: Vec<_> = results.values_mut().filter(|t| !t.bytes().is_empty()).collect();
                let pick = |below: usize| random.borrow_mut().below(below as u32) as usize;
                let which = pick(filled.len().max(1));
                if let Some(tensor) = filled.into_iter().nth(which) {
                    let mut bytes = tensor.bytes().to_vec();
                    let at = pick(bytes.len());
                    bytes[at] ^= 1 << pick(8);
                    *tensor = HostTensor::from_bytes(tensor.desc(), &bytes).expect("as many bytes");
                }
                results
            };
            $(assert!(test(64, false, run, $strategy, $name).is_err(), "{} sees nothing", stringify!($name));)*
        }
    };
}

properties! {
    selection_is_that_of_the_definition(scores());
    top_k_of_a_ragged_row_is_that_of_the_row_alone(scores());
    normalized_ragged_rows_are_the_rows_alone(ragged(number()));
    matches_of_a_ragged_row_are_those_of_the_row_alone(ragged(number()));
    selections_of_a_ragged_row_are_those_of_the_row_alone(ragged(number()));
    budgets_add_up(budgets());
    merges_of_a_ragged_row_are_those_of_the_row_alone(merges(number()));
    merges_keep_the_sum_of_sizes(merges(number()));
    unmerging_restores_what_was_not_merged(merges(not_nan()));
    match_ignores_the_order_of_channels(permuted_channels());
    attention_ignores_the_order_of_channels(permuted_channels());
    match_ignores_powers_of_two(scaled());
    compact_ranks_and_indices_are_inverse(flags());
    gathering_by_an_inverse_puts_rows_back(indices());
    shuffle_undoes_unshuffle(images());
    unshuffle_undoes_shuffle(images());
    tome_moves_every_token_somewhere(tome());
    maps_compose(two_maps());
}

/// Runs a graph of these inputs; gives its outputs in their order.
fn outputs(
    run: Run<'_>,
    inputs: &[&HostTensor],
    build: impl FnOnce(&mut Graph, &[Tensor]) -> Result<Vec<Tensor>, Error>,
) -> Vec<HostTensor> {
    let mut graph = Graph::new();
    let names: Vec<_> = (0..inputs.len()).map(|i| format!("input {i}")).collect();
    let tensors: Vec<_> = inputs.iter().zip(&names).map(|(value, name)| graph.input(name, value.shape(), value.desc().elem)).collect();
    let built = build(&mut graph, &tensors).expect("shapes agree");
    for (index, tensor) in built.iter().enumerate() {
        graph.output(&format!("output {index}"), *tensor).expect("a tensor of this graph");
    }
    let mut results = run(&graph, &names.into_iter().zip(inputs.iter().map(|&value| value.clone())).collect());
    (0..built.len()).map(|index| results.remove(&format!("output {index}")).expect("an output of the graph")).collect()
}

/// The first `count` elements of each of a tensor's `rows` equal parts, as bits.
fn parts(tensor: &HostTensor, rows: usize, count: impl Fn(usize) -> usize) -> Vec<Vec<u32>> {
    let words: &[u32] = bytemuck::cast_slice(tensor.bytes());
    let width = words.len().checked_div(rows).unwrap_or(0);
    (0..rows).map(|row| words[row * width..][..count(row)].to_vec()).collect()
}

fn bits(tensor: &HostTensor) -> &[u32] {
    bytemuck::cast_slice(tensor.bytes())
}

/// A small multiple of 1/4.
fn number() -> impl Strategy<Value = f32> + Clone {
    (-8i8..=8).prop_map(|quarters| f32::from(quarters) / 4.0)
}

/// Few numbers, so that many are equal, and all that is not one.
fn score() -> impl Strategy<Value = f32> + Clone {
    let special = [0.0, -0.0, 1e-40, -1e-40, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    prop_oneof![3 => number(), 1 => prop::sample::select(special.to_vec()), 1 => prop::num::f32::NORMAL]
}

fn not_nan() -> impl Strategy<Value = f32> + Clone {
    score().prop_map(|x| if x.is_nan() { -0.0 } else { x })
}

// --- top_k -------------------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
struct Scores {
    tokens: u32,
    lengths: Vec<u32>,
    counts: Vec<u32>,
    scores: Vec<f32>,
    marks: Vec<u32>,
    options: TopK,
}

prop_compose! {
    /// Rows of one workgroup's work, and now and then longer ones.
    fn scores()(tokens in prop_oneof![9 => 0u32..70, 1 => 2049u32..2100], batch in 1usize..4)(
        k in 0..=tokens,
        lengths in prop::collection::vec(0..=tokens + 1, batch),
        counts in prop::collection::vec(0..=tokens + 1, batch),
        scores in prop::collection::vec(score(), batch * tokens as usize),
        marks in prop::collection::vec(prop::sample::select(vec![mark::CANDIDATE, mark::CANDIDATE, mark::PROTECTED, mark::EXCLUDED]), batch * tokens as usize),
        [largest, by_index, rest_by_index] in any::<[bool; 3]>(),
        tokens in Just(tokens),
    ) -> Scores {
        let order = |by_index| if by_index { Order::Index } else { Order::Value };
        let options = TopK { k, order: order(by_index), largest, complement: Some(order(rest_by_index)), mask: true };
        Scores { tokens, lengths, counts, scores, marks, options }
    }
}

impl Scores {
    fn rows(&self) -> usize {
        self.lengths.len()
    }

    fn live(&self, row: usize) -> usize {
        self.lengths[row].min(self.tokens) as usize
    }

    fn of_row<'a, T>(&self, values: &'a [T], row: usize) -> &'a [T] {
        &values[row * self.tokens as usize..][..self.live(row)]
    }

    /// A batch of the row's live tokens alone.
    fn alone(&self, row: usize) -> Self {
        let tokens = self.live(row) as u32;
        Self {
            tokens,
            lengths: vec![tokens],
            counts: vec![self.counts[row]],
            scores: self.of_row(&self.scores, row).to_vec(),
            marks: self.of_row(&self.marks, row).to_vec(),
            options: TopK { k: self.options.k.min(tokens), ..self.options },
        }
    }

    /// Indices, values, kept, complement and mask.
    fn select(&self, run: Run<'_>) -> Vec<HostTensor> {
        let batch = self.rows() as u32;
        let per_row = |values: &[u32]| HostTensor::u32([batch], values.to_vec());
        let scores = HostTensor::f32([batch, self.tokens], self.scores.clone());
        let marks = HostTensor::u32([batch, self.tokens], self.marks.clone());
        outputs(run, &[&scores, &per_row(&self.lengths), &per_row(&self.counts), &marks], |graph, t| {
            let inputs = TopKInputs { scores: t[0], lengths: Some(t[1]), counts: Some(t[2]), marks: Some(t[3]) };
            let selection = self.options.build(graph, inputs)?;
            let more = [selection.complement, selection.mask].into_iter().flatten();
            Ok([selection.indices, selection.values, selection.kept].into_iter().chain(more).collect())
        })
    }

    /// Every live token of a row, in the order of the definition, by counting how many go before each.
    fn order(&self, row: usize) -> Vec<u32> {
        let (scores, marks) = (self.of_row(&self.scores, row), self.of_row(&self.marks, row));
        let class = |i: usize| match marks[i] {
            mark::PROTECTED => 0,
            mark::EXCLUDED => 3,
            _ => 1 + u32::from(scores[i].is_nan()),
        };
        let goes_before = |a: usize, b: usize| {
            let by_score = if self.options.largest { scores[a] > scores[b] } else { scores[a] < scores[b] };
            let equal = class(a) != 1 || scores[a] == scores[b];
            class(a) < class(b) || (class(a) == class(b) && if equal { a < b } else { by_score })
        };
        let mut order = vec![NONE; scores.len()];
        for token in 0..scores.len() {
            order[(0..scores.len()).filter(|other| goes_before(*other, token)).count()] = token as u32;
        }
        order
    }
}

/// The selected ones and the others are together all live tokens; they are those, in the order, that the definition says;
/// values and mask agree.
fn selection_is_that_of_the_definition(run: Run<'_>, case: Scores) -> TestCaseResult {
    let [indices, values, kept, complement, selected] = &case.select(run)[..] else { unreachable!("five outputs") };
    for row in 0..case.rows() {
        let (tokens, k, live) = (case.tokens as usize, case.options.k as usize, case.live(row));
        let scores = case.of_row(&case.scores, row);
        let candidates = case.of_row(&case.marks, row).iter().filter(|m| **m != mark::EXCLUDED).count();
        let expected_kept = k.min(case.counts[row] as usize).min(candidates);
        prop_assert_eq!(kept.integers()[row] as usize, expected_kept);
        let sorted = |mut list: Vec<u32>, order| {
            if order == Order::Index {
                list.sort_unstable();
            }
            list
        };
        let padded = |mut list: Vec<u32>, len, with| {
            list.resize(len, with);
            list
        };
        let order = case.order(row);
        let first = sorted(order[..expected_kept].to_vec(), case.options.order);
        let others = sorted(order[expected_kept..].to_vec(), case.options.complement.unwrap_or_default());
        let first_values: Vec<u32> = first.iter().map(|i| scores[*i as usize].to_bits()).collect();
        let marked: Vec<u32> = (0..live as u32).map(|i| u32::from(first.contains(&i))).collect();
        prop_assert_eq!(&indices.integers()[row * k..][..k], padded(first, k, NONE));
        prop_assert_eq!(&bits(values)[row * k..][..k], padded(first_values, k, 0));
        prop_assert_eq!(&complement.integers()[row * tokens..][..tokens], padded(others, tokens, NONE));
        prop_assert_eq!(&selected.integers()[row * tokens..][..tokens], padded(marked, tokens, 0));
    }
    Ok(())
}

fn top_k_of_a_ragged_row_is_that_of_the_row_alone(run: Run<'_>, case: Scores) -> TestCaseResult {
    let together = case.select(run);
    for row in 0..case.rows() {
        let alone = case.alone(row).select(run);
        for (name, (together, alone)) in ["indices", "values", "kept", "complement", "mask"].iter().zip(together.iter().zip(&alone)) {
            let all = bits(together);
            let width = all.len() / case.rows();
            let (shared, behind) = all[row * width..][..width].split_at(bits(alone).len());
            prop_assert_eq!(shared, bits(alone), "{} of row {}", name, row);
            let empty = if ["values", "mask"].contains(name) { 0 } else { NONE };
            prop_assert!(behind.iter().all(|b| *b == empty), "{} behind row {}", name, row);
        }
    }
    Ok(())
}

// --- rows of tokens ----------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
struct Ragged {
    tokens: u32,
    channels: u32,
    lengths: Vec<u32>,
    x: Vec<f32>,
}

fn ragged(value: impl Strategy<Value = f32> + Clone) -> impl Strategy<Value = Ragged> {
    (1u32..40, 1u32..10, 1usize..4).prop_flat_map(move |(tokens, channels, batch)| {
        let lengths = prop::collection::vec(0..=tokens, batch);
        let x = prop::collection::vec(value.clone(), batch * (tokens * channels) as usize);
        (lengths, x).prop_map(move |(lengths, x)| Ragged { tokens, channels, lengths, x })
    })
}

impl Ragged {
    fn rows(&self) -> usize {
        self.lengths.len()
    }

    fn lengths(&self) -> HostTensor {
        HostTensor::u32([self.rows() as u32], self.lengths.clone())
    }

    fn x(&self) -> HostTensor {
        HostTensor::f32([self.rows() as u32, self.tokens, self.channels], self.x.clone())
    }

    fn alone(&self, row: usize) -> Self {
        let (tokens, width) = (self.lengths[row], (self.tokens * self.channels) as usize);
        let x = self.x[row * width..][..(tokens * self.channels) as usize].to_vec();
        Self { tokens, channels: self.channels, lengths: vec![tokens], x }
    }

    /// Whether each row of a result is what the row alone gives, as far as that goes.
    fn rows_are_alone(&self, results: impl Fn(&Self) -> Vec<HostTensor>) -> TestCaseResult {
        let together = results(self);
        for row in 0..self.rows() {
            for (index, (together, alone)) in together.iter().zip(results(&self.alone(row))).enumerate() {
                let alone = bits(&alone);
                prop_assert_eq!(&parts(together, self.rows(), |_| alone.len())[row], alone, "output {} of row {}", index, row);
            }
        }
        Ok(())
    }
}

fn normalized_ragged_rows_are_the_rows_alone(run: Run<'_>, case: Ragged) -> TestCaseResult {
    case.rows_are_alone(|case| {
        outputs(run, &[&case.x(), &case.lengths()], |graph, t| {
            let normalized = row_normalize(graph, t[0], Some(t[1]))?;
            Ok(vec![normalized.unit, normalized.norm])
        })
    })
}

fn matches_of_a_ragged_row_are_those_of_the_row_alone(run: Run<'_>, case: Ragged) -> TestCaseResult {
    case.rows_are_alone(|case| {
        outputs(run, &[&case.x(), &case.lengths()], |graph, t| {
            let normalized = row_normalize(graph, t[0], Some(t[1]))?;
            let partition = Partition::even_odd(graph, case.tokens);
            let matches = BipartiteMatch::default().build(graph, normalized, partition, Some(t[1]))?;
            Ok(vec![matches.partner, matches.similarity])
        })
    })
}

fn selections_of_a_ragged_row_are_those_of_the_row_alone(run: Run<'_>, case: Ragged) -> TestCaseResult {
    let served = Objective::FacilityLocation { additive: false };
    for objective in [Objective::MaxMin, Objective::MarginalRelevance { relevance: 0.5 }, Objective::Determinant, served] {
        case.rows_are_alone(|case| {
            outputs(run, &[&case.x(), &case.lengths()], |graph, t| {
                let normalized = row_normalize(graph, t[0], Some(t[1]))?;
                let inputs = GreedyInputs { lengths: Some(t[1]), ..GreedyInputs::new(normalized) };
                let selected = GreedySelect { objective, k: case.tokens.min(9) }.build(graph, inputs)?;
                Ok(vec![selected.indices, selected.kept])
            })
        })?;
    }
    Ok(())
}

// --- budgets -----------------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
struct Budgets {
    weights: Vec<f32>,
    capacities: Vec<u32>,
    total: u32,
    options: Allocate,
}

prop_compose! {
    fn budgets()(segments in prop::collection::vec((score(), 0u32..30), 1..40), total in 0u32..400, minimum in 0u32..4, by_weight in any::<bool>())
        -> Budgets {
        let (weights, capacities) = segments.into_iter().unzip();
        let leftover = if by_weight { Leftover::LargestWeight } else { Leftover::LargestRemainder };
        Budgets { weights, capacities, total, options: Allocate { minimum, leftover } }
    }
}

/// To the total, or to all that there is room for; no budget is above its capacity, or below that of a lower weight and no larger
/// capacity by more than one.
fn budgets_add_up(run: Run<'_>, case: Budgets) -> TestCaseResult {
    let shape = [1, case.weights.len() as u32];
    let (weights, capacities) = (HostTensor::f32(shape, case.weights.clone()), HostTensor::u32(shape, case.capacities.clone()));
    let total = HostTensor::u32([1], vec![case.total]);
    let results = outputs(run, &[&weights, &total, &capacities], |graph, t| Ok(vec![case.options.build(graph, t[0], t[1], t[2])?]));
    let budgets = results[0].integers();
    prop_assert_eq!(budgets.iter().sum::<u32>(), case.total.min(case.capacities.iter().sum()));
    let weight = |i: usize| if case.weights[i] > 0.0 { case.weights[i] } else { 0.0 };
    for i in 0..budgets.len() {
        prop_assert!(budgets[i] <= case.capacities[i]);
        // The minimum goes by index.
        for j in
            (0..budgets.len()).filter(|j| case.options.minimum == 0 && weight(*j) >= weight(i) && case.capacities[*j] >= case.capacities[i])
        {
            prop_assert!(budgets[j] + 1 >= budgets[i], "segment {} has {}, segment {} {}", i, budgets[i], j, budgets[j]);
        }
    }
    Ok(())
}

// --- merges ------------------------------------------------------------------------------------------------------

/// Tokens, and the output of each; dead ones and some others have none.
#[derive(Debug, Clone)]
struct Merges {
    rows: Ragged,
    outputs: u32,
    parent: Vec<u32>,
    sizes: Vec<f32>,
}

fn merges(value: impl Strategy<Value = f32> + Clone) -> impl Strategy<Value = Merges> {
    (ragged(value), 1u32..20).prop_flat_map(|(rows, outputs)| {
        let all = rows.rows() * rows.tokens as usize;
        let parent = prop::collection::vec(prop_oneof![9 => 0..outputs, 1 => Just(NONE)], all);
        let sizes = prop::collection::vec((0u8..9).prop_map(f32::from), all);
        (parent, sizes).prop_map(move |(mut parent, sizes)| {
            for (at, p) in parent.iter_mut().enumerate() {
                if (at as u32 % rows.tokens) >= rows.lengths[at / rows.tokens as usize] {
                    *p = NONE;
                }
            }
            Merges { rows: rows.clone(), outputs, parent, sizes }
        })
    })
}

impl Merges {
    fn shape(&self) -> Shape {
        [self.rows.rows() as u32, self.rows.tokens].into()
    }

    fn parent(&self) -> HostTensor {
        HostTensor::u32(self.shape(), self.parent.clone())
    }

    fn sizes(&self) -> HostTensor {
        HostTensor::f32(self.shape(), self.sizes.clone())
    }

    fn alone(&self, row: usize) -> Self {
        let (tokens, live) = (self.rows.tokens as usize, self.rows.lengths[row] as usize);
        let (parent, sizes) = (self.parent[row * tokens..][..live].to_vec(), self.sizes[row * tokens..][..live].to_vec());
        Self { rows: self.rows.alone(row), outputs: self.outputs, parent, sizes }
    }
}

const REDUCTIONS: [Reduce; 5] = [Reduce::Mean, Reduce::Sum, Reduce::Max, Reduce::WeightedMean, Reduce::WeightedSum];

fn merges_of_a_ragged_row_are_those_of_the_row_alone(run: Run<'_>, case: Merges) -> TestCaseResult {
    let results = |case: &Merges| {
        outputs(run, &[&case.rows.x(), &case.parent(), &case.sizes()], |graph, t| {
            let groups = group_tokens(graph, t[1], case.outputs)?;
            let merge = |reduce: Reduce| merge_tokens(graph, t[0], groups, reduce.is_weighted().then_some(t[2]), reduce);
            let mut merged = REDUCTIONS.map(merge).into_iter().collect::<Result<Vec<_>, _>>()?;
            merged.extend([groups.offsets, groups.members]);
            Ok(merged)
        })
    };
    let together = results(&case);
    for row in 0..case.rows.rows() {
        for (index, (together, alone)) in together.iter().zip(results(&case.alone(row))).enumerate() {
            let alone = bits(&alone);
            prop_assert_eq!(&parts(together, case.rows.rows(), |_| alone.len())[row], alone, "output {} of row {}", index, row);
        }
    }
    Ok(())
}

fn merges_keep_the_sum_of_sizes(run: Run<'_>, case: Merges) -> TestCaseResult {
    let merged = outputs(run, &[&case.parent(), &case.sizes()], |graph, t| {
        let groups = group_tokens(graph, t[0], case.outputs)?;
        Ok(vec![merge_tokens(graph, t[1], groups, None, Reduce::Sum)?])
    });
    let (tokens, outputs) = (case.rows.tokens as usize, case.outputs as usize);
    for row in 0..case.rows.rows() {
        let before = case.parent[row * tokens..][..tokens].iter().zip(&case.sizes[row * tokens..]).filter(|(p, _)| **p != NONE);
        let after = &merged[0].floats()[row * outputs..][..outputs];
        prop_assert_eq!(before.map(|(_, size)| size).sum::<f32>(), after.iter().sum::<f32>());
    }
    Ok(())
}

/// A token that is alone in its output comes back bit for bit; those that share one come back equal; dropped ones as 0.
fn unmerging_restores_what_was_not_merged(run: Run<'_>, case: Merges) -> TestCaseResult {
    for reduce in [Reduce::Mean, Reduce::Sum, Reduce::Max, Reduce::WeightedMean] {
        let restored = outputs(run, &[&case.rows.x(), &case.parent(), &case.sizes()], |graph, t| {
            let groups = group_tokens(graph, t[1], case.outputs)?;
            let merged = merge_tokens(graph, t[0], groups, reduce.is_weighted().then_some(t[2]), reduce)?;
            Ok(vec![gather_rows(graph, merged, t[1], None)?])
        });
        let (tokens, channels) = (case.rows.tokens as usize, case.rows.channels as usize);
        let x = case.rows.x();
        let (before, after) = (bits(&x), bits(&restored[0]));
        let token = |values: &[u32], at: usize| values[at * channels..][..channels].to_vec();
        for (at, parent) in case.parent.iter().enumerate() {
            let row = at / tokens * tokens;
            let members: Vec<_> = (row..row + tokens).filter(|i| case.parent[*i] == *parent).collect();
            let expected = match parent {
                &NONE => vec![0; channels],
                _ if members.len() == 1 => token(before, at),
                _ => token(after, members[0]),
            };
            prop_assert_eq!(token(after, at), expected, "{:?} of token {}", reduce, at);
        }
    }
    Ok(())
}

// --- decisions ---------------------------------------------------------------------------------------------------

prop_compose! {
    /// Tokens, and the order in which their channels stand instead.
    fn permuted_channels()(rows in ragged(number()))(
        order in Just((0..rows.channels as usize).collect::<Vec<_>>()).prop_shuffle(),
        rows in Just(rows),
    ) -> (Ragged, Vec<usize>) {
        (rows, order)
    }
}

/// Results with the channels as they are, and in another order.
fn in_both_orders((rows, order): (Ragged, Vec<usize>), results: impl Fn(&Ragged) -> Vec<HostTensor>) -> TestCaseResult {
    let x = rows.x.chunks(rows.channels as usize).flat_map(|token| order.iter().map(|c| token[*c])).collect();
    let permuted = Ragged { x, ..rows.clone() };
    for (as_is, permuted) in results(&rows).iter().zip(&results(&permuted)) {
        prop_assert_eq!(bits(as_is), bits(permuted));
    }
    Ok(())
}

/// The rows need not be unit vectors here: as they are, every product and sum is exact, and ties are ties.
fn match_ignores_the_order_of_channels(run: Run<'_>, case: (Ragged, Vec<usize>)) -> TestCaseResult {
    in_both_orders(case, |rows| {
        let norm = HostTensor::f32([rows.rows() as u32, rows.tokens], vec![1.0; rows.rows() * rows.tokens as usize]);
        outputs(run, &[&rows.x(), &norm, &rows.lengths()], |graph, t| {
            let partition = Partition::even_odd(graph, rows.tokens);
            let matches = BipartiteMatch::default().build(graph, Normalized { unit: t[0], norm: t[1] }, partition, Some(t[2]))?;
            Ok(vec![matches.partner, matches.similarity])
        })
    })
}

/// Each token attends to all; with a scale that is a power of two, logits are exact.
fn attention_ignores_the_order_of_channels(run: Run<'_>, case: (Ragged, Vec<usize>)) -> TestCaseResult {
    in_both_orders(case, |rows| {
        outputs(run, &[&rows.x(), &rows.lengths()], |graph, t| {
            let heads = graph.reshape(t[0], [rows.rows() as u32, 1, rows.tokens, rows.channels])?;
            let inputs = AttentionInputs { queries: heads, keys: heads, bias: None, lengths: Some(t[1]), query_lengths: None };
            let mut kept = Vec::new();
            for queries in [Queries::CLASS, Queries::All] {
                let attention = AttentionScore { queries, rows: RowReduction::Sum, scale: Some(0.25), ..AttentionScore::default() };
                let scores = attention.build(graph, inputs)?.score;
                let top = TopK { k: rows.tokens.div_ceil(2), ..TopK::default() };
                let selection = top.build(graph, TopKInputs { lengths: Some(t[1]), ..TopKInputs::new(scores) })?;
                kept.extend([scores, selection.indices]);
            }
            Ok(kept)
        })
    })
}

prop_compose! {
    /// Tokens of any kind whose squares are no denormals, and an exponent that takes them to no extremes.
    fn scaled()(rows in ragged(-4.0f32..4.0), exponent in -90i32..=90) -> (Ragged, i32) {
        let x = rows.x.iter().map(|x| if x.abs() < 1e-6 { 0.0 } else { *x }).collect();
        (Ragged { x, ..rows }, exponent)
    }
}

fn match_ignores_powers_of_two(run: Run<'_>, (rows, exponent): (Ragged, i32)) -> TestCaseResult {
    let scale = 2f32.powi(exponent);
    let scaled = Ragged { x: rows.x.iter().map(|x| scale * x).collect(), ..rows.clone() };
    let [plain, scaled] = [&rows, &scaled].map(|rows| {
        outputs(run, &[&rows.x(), &rows.lengths()], |graph, t| {
            let normalized = row_normalize(graph, t[0], Some(t[1]))?;
            let partition = Partition::even_odd(graph, rows.tokens);
            let matches = BipartiteMatch::default().build(graph, normalized, partition, Some(t[1]))?;
            Ok(vec![normalized.norm, normalized.unit, matches.partner, matches.similarity])
        })
    });
    let norms: Vec<f32> = plain[0].floats().iter().map(|norm| scale * norm).collect();
    prop_assert_eq!(norms, scaled[0].floats());
    for (plain, scaled) in plain[1..].iter().zip(&scaled[1..]) {
        prop_assert_eq!(bits(plain), bits(scaled));
    }
    Ok(())
}

// --- indices -----------------------------------------------------------------------------------------------------

prop_compose! {
    fn flags()(tokens in prop_oneof![9 => 0u32..70, 1 => 4090u32..4200], batch in 1usize..4)(
        lengths in prop::collection::vec(0..=tokens + 1, batch),
        flags in prop::collection::vec(0u32..3, batch * tokens as usize),
        tokens in Just(tokens),
    ) -> (u32, Vec<u32>, Vec<u32>) {
        (tokens, lengths, flags)
    }
}

fn compact_ranks_and_indices_are_inverse(run: Run<'_>, (tokens, lengths, flags): (u32, Vec<u32>, Vec<u32>)) -> TestCaseResult {
    let batch = lengths.len() as u32;
    let inputs = [&HostTensor::u32([batch, tokens], flags.clone()), &HostTensor::u32([batch], lengths.clone())];
    let results = outputs(run, &inputs, |graph, t| {
        let compacted = compact(graph, t[0], Some(t[1]))?;
        let (ranks, indices) = (invert_index(graph, compacted.indices, tokens)?, invert_index(graph, compacted.ranks, tokens)?);
        Ok(vec![compacted.indices, compacted.ranks, compacted.counts, indices, ranks])
    });
    let [indices, ranks, counts, inverse_ranks, inverse_indices] = &results[..] else { unreachable!("five outputs") };
    prop_assert_eq!(indices, inverse_ranks);
    prop_assert_eq!(ranks, inverse_indices);
    for (row, length) in lengths.iter().enumerate() {
        let start = row * tokens as usize;
        let set = (0..tokens.min(*length)).filter(|i| flags[start + *i as usize] != 0);
        let count = counts.integers()[row] as usize;
        prop_assert!(indices.integers()[start..][..count].iter().copied().eq(set));
    }
    Ok(())
}

#[derive(Debug, Clone)]
struct Indices {
    tokens: u32,
    channels: u32,
    entries: u32,
    /// `[batch, tokens, channels]`.
    x: Vec<u32>,
    /// `[batch, entries]`: different tokens, and places without one.
    index: Vec<u32>,
}

fn indices() -> impl Strategy<Value = Indices> {
    (1usize..4, 1u32..40, 1u32..10, 0u32..50).prop_flat_map(|(batch, tokens, channels, entries)| {
        let places = Just((0..tokens.max(entries)).collect::<Vec<_>>()).prop_shuffle();
        let row = places.prop_map(move |places| {
            places[..entries as usize].iter().map(|&i| if i < tokens { i } else { NONE - (i & 1) }).collect::<Vec<_>>()
        });
        let x = prop::collection::vec(any::<u32>(), batch * (tokens * channels) as usize);
        let index = prop::collection::vec(row, batch).prop_map(|rows| rows.concat());
        (x, index).prop_map(move |(x, index)| Indices { tokens, channels, entries, x, index })
    })
}

fn gathering_by_an_inverse_puts_rows_back(run: Run<'_>, case: Indices) -> TestCaseResult {
    let Indices { tokens, channels, entries, x, index } = case;
    let batch = x.len() as u32 / (tokens * channels);
    let image = HostTensor::u32([batch, tokens, channels], x.clone());
    let list = HostTensor::u32([batch, entries], index.clone());
    let results = outputs(run, &[&image, &list], |graph, t| {
        let inverse = invert_index(graph, t[1], tokens)?;
        let gathered = gather_rows(graph, t[0], t[1], None)?;
        let back = gather_rows(graph, gathered, inverse, None)?;
        Ok(vec![invert_index(graph, inverse, entries)?, back, scatter_rows(graph, t[0], gathered, t[1])?])
    });
    // Whatever points nowhere is `NONE` the second time.
    let cleaned: Vec<u32> = index.iter().map(|i| if *i < tokens { *i } else { NONE }).collect();
    prop_assert_eq!(results[0].integers(), cleaned);
    for (at, element) in x.iter().enumerate() {
        let (row, token) = (at / (tokens * channels) as usize, at as u32 / channels % tokens);
        let listed = index[row * entries as usize..][..entries as usize].contains(&token);
        prop_assert_eq!(results[1].integers()[at], if listed { *element } else { NONE });
    }
    prop_assert_eq!(&results[2], &image);
    Ok(())
}

// --- pixel unshuffle ---------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
struct Image {
    options: PixelUnshuffle,
    batch: u32,
    /// In blocks.
    blocks: [u32; 2],
    /// What the last blocks lack of the image's size.
    lacking: [u32; 2],
    channels: u32,
    planar: bool,
    elem: Elem,
}

prop_compose! {
    fn images()(factor in prop::array::uniform2(1u32..5), [channel_first, transposed, pad, planar] in any::<[bool; 4]>())(
        batch in 1u32..3,
        blocks in prop::array::uniform2(1u32..5),
        lacking in [0..factor[0], 0..factor[1]],
        channels in 1u32..10,
        elem in prop::sample::select(vec![Elem::F32, Elem::F16, Elem::BF16, Elem::U32]),
        (factor, channel_first, transposed, pad, planar) in Just((factor, channel_first, transposed, pad, planar)),
    ) -> Image {
        let options = PixelUnshuffle {
            factor,
            channels: if channel_first { ChannelOrder::ChannelFirst } else { ChannelOrder::PositionFirst },
            tokens: if transposed && !planar { TokenOrder::Transposed } else { TokenOrder::RowMajor },
            pad,
            skip: 0,
        };
        let lacking = if pad { lacking } else { [0, 0] };
        Image { options, batch, blocks, lacking, channels, planar, elem }
    }
}

impl Image {
    fn size(&self) -> [u32; 2] {
        std::array::from_fn(|i| self.blocks[i] * self.options.factor[i] - self.lacking[i])
    }

    /// Different numbers that are exact in every element type.
    fn numbers(&self, shape: impl Into<Shape>) -> HostTensor {
        let shape = shape.into();
        let numbers = 1..=shape.elements() as u32;
        match self.elem {
            Elem::U32 => HostTensor::u32(shape, numbers.collect()),
            Elem::F32 => HostTensor::f32(shape, numbers.map(|i| i as f32).collect()),
            Elem::F16 => HostTensor::f16(shape, numbers.map(|i| half::f16::from_bits(i as u16 & 0x7bff)).collect()),
            Elem::BF16 => HostTensor::bf16(shape, numbers.map(|i| half::bf16::from_bits(i as u16 & 0x7eff)).collect()),
        }
    }

    fn image(&self) -> HostTensor {
        let ([h, w], &Self { batch, channels, .. }) = (self.size(), self);
        if self.planar { self.numbers([batch, channels, h, w]) } else { self.numbers([batch, h * w, channels]) }
    }

    fn unshuffle(&self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        if self.planar { self.options.unshuffle_planar(graph, x) } else { self.options.unshuffle_tokens(graph, x, self.size()) }
    }

    fn shuffle(&self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        if self.planar { self.options.shuffle_planar(graph, x, self.size()) } else { self.options.shuffle_tokens(graph, x, self.size()) }
    }
}

fn shuffle_undoes_unshuffle(run: Run<'_>, case: Image) -> TestCaseResult {
    let image = case.image();
    let results = outputs(run, &[&image], |graph, t| {
        let blocks = case.unshuffle(graph, t[0])?;
        Ok(vec![case.shuffle(graph, blocks)?])
    });
    prop_assert_eq!(&results[0], &image);
    Ok(())
}

/// Of blocks that an image can have: those of its padding are 0.
fn unshuffle_undoes_shuffle(run: Run<'_>, case: Image) -> TestCaseResult {
    let blocks = match case.lacking {
        [0, 0] => {
            let ([rows, columns], [high, wide]) = (case.blocks, case.options.factor);
            let elements = high * wide * case.channels;
            case.numbers(if case.planar {
                Shape::from([case.batch, elements, rows, columns])
            } else {
                [case.batch, rows * columns, elements].into()
            })
        }
        _ => outputs(run, &[&case.image()], |graph, t| Ok(vec![case.unshuffle(graph, t[0])?])).remove(0),
    };
    let results = outputs(run, &[&blocks], |graph, t| {
        let image = case.shuffle(graph, t[0])?;
        Ok(vec![case.unshuffle(graph, image)?])
    });
    prop_assert_eq!(&results[0], &blocks);
    Ok(())
}

// --- token maps --------------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
struct Merging {
    rows: Ragged,
    sizes: Vec<f32>,
    method: ToMe,
}

prop_compose! {
    fn tome()(rows in ragged(number()))(
        sizes in prop::collection::vec((1u8..9).prop_map(f32::from), rows.rows() * rows.tokens as usize),
        merge in 0..rows.tokens,
        protect in prop::sample::select(vec![Protect::NONE, Protect::CLASS, Protect::Leading(2), Protect::Leading(5)]),
        keep_order in any::<bool>(),
        rows in Just(rows),
    ) -> Merging {
        Merging { rows, sizes, method: ToMe { merge, protect, keep_order, ..ToMe::default() } }
    }
}

/// Every live token has an output; sizes add up; a representative is its output's own; what is alone in its output comes
/// back bit for bit.
fn tome_moves_every_token_somewhere(run: Run<'_>, case: Merging) -> TestCaseResult {
    let rows = &case.rows;
    let (batch, tokens, channels) = (rows.rows(), rows.tokens as usize, rows.channels as usize);
    let sizes = HostTensor::f32([batch as u32, rows.tokens], case.sizes.clone());
    let x = rows.x();
    let results = outputs(run, &[&x, &sizes, &rows.lengths()], |graph, t| {
        let tokens = Tokens { x: t[0], size: t[1], lengths: t[2] };
        let merged = case.method.build(graph, &tokens, t[0])?;
        let restored = merged.map.unmerge(graph, merged.tokens.x, None)?;
        Ok(vec![merged.map.parent, merged.map.representative, merged.tokens.lengths, merged.tokens.size, restored])
    });
    let [parent, representative, lengths, size, restored] = &results[..] else { unreachable!("five outputs") };
    let outputs = representative.shape().dims()[1] as usize;
    for row in 0..batch {
        let (live, left) = (rows.lengths[row] as usize, lengths.integers()[row] as usize);
        prop_assert!(left <= outputs && (left < live || case.method.merge == 0 || left == live));
        let parent = &parent.integers()[row * tokens..][..tokens];
        let (live_parents, dead) = parent.split_at(live);
        prop_assert!(live_parents.iter().all(|p| (*p as usize) < left) && dead.iter().all(|p| *p == NONE), "{:?}", parent);
        let (first, behind) = representative.integers()[row * outputs..][..outputs].split_at(left);
        prop_assert!(behind.iter().all(|r| *r == NONE));
        prop_assert!(!case.method.keep_order || first.is_sorted(), "{:?}", first);
        for (output, token) in first.iter().enumerate() {
            prop_assert!(parent.get(*token as usize) == Some(&(output as u32)), "{:?} {:?}", parent, first);
        }
        let before: f32 = case.sizes[row * tokens..][..live].iter().sum();
        let after: f32 = size.floats()[row * outputs..][..left].iter().sum();
        prop_assert_eq!(before, after);
        for token in (0..live).filter(|i| parent.iter().filter(|p| **p == parent[*i]).count() == 1) {
            let at = (row * tokens + token) * channels;
            prop_assert_eq!(&bits(restored)[at..][..channels], &bits(&x)[at..][..channels]);
        }
    }
    Ok(())
}

/// A token map on the host.
#[derive(Debug, Clone)]
struct Map {
    /// `[batch, old]`.
    parent: HostTensor,
    /// `[batch, new]`.
    representative: HostTensor,
    /// `[batch]`.
    lengths: HostTensor,
}

/// Maps of some number of tokens, of which the first `lengths[b]` are live, to at most `new`.
fn maps(lengths: Vec<u32>, old: u32, new: u32) -> impl Strategy<Value = Map> {
    let row = move |live: u32| {
        let order = Just((0..live).collect::<Vec<_>>()).prop_shuffle();
        let target = prop::collection::vec(prop_oneof![4 => any::<prop::sample::Index>().prop_map(Some), 1 => Just(None)], old as usize);
        (0..=live.min(new), order, target).prop_map(move |(left, order, target)| {
            let representative = &order[..left as usize];
            let parent = |token: u32| match (representative.iter().position(|r| *r == token), target[token as usize]) {
                (Some(output), _) => output as u32,
                (None, Some(target)) if token < live && left > 0 => target.index(left as usize) as u32,
                _ => NONE,
            };
            let parents: Vec<u32> = (0..old).map(parent).collect();
            let mut representative = representative.to_vec();
            representative.resize(new as usize, NONE);
            (parents, representative, left)
        })
    };
    let batch = lengths.len() as u32;
    lengths.into_iter().map(row).collect::<Vec<_>>().prop_map(move |rows| Map {
        parent: HostTensor::u32([batch, old], rows.iter().flat_map(|r| r.0.clone()).collect()),
        representative: HostTensor::u32([batch, new], rows.iter().flat_map(|r| r.1.clone()).collect()),
        lengths: HostTensor::u32([batch], rows.iter().map(|r| r.2).collect()),
    })
}

#[derive(Debug, Clone)]
struct TwoMaps {
    rows: Ragged,
    first: Map,
    next: Map,
}

fn two_maps() -> impl Strategy<Value = TwoMaps> {
    (ragged(number()), 1u32..30, 1u32..20).prop_flat_map(|(rows, middle, last)| {
        maps(rows.lengths.clone(), rows.tokens, middle).prop_flat_map(move |first| {
            let (rows, lengths) = (rows.clone(), first.lengths.integers().to_vec());
            maps(lengths, middle, last).prop_map(move |next| TwoMaps { rows: rows.clone(), first: first.clone(), next })
        })
    })
}

/// A composed map does what its two do one after the other: to rows, sums, maxima, sizes, positions, and back.
fn maps_compose(run: Run<'_>, case: TwoMaps) -> TestCaseResult {
    let TwoMaps { rows, first, next } = &case;
    let last = HostTensor::f32(
        [rows.rows() as u32, next.representative.shape().dims()[1], 1],
        (1..=next.representative.shape().elements()).map(|i| i as f32).collect(),
    );
    let sizes = HostTensor::f32([rows.rows() as u32, rows.tokens], vec![1.0; rows.rows() * rows.tokens as usize]);
    let tensors =
        [&rows.x(), &sizes, &last, &first.parent, &first.representative, &first.lengths, &next.parent, &next.representative, &next.lengths];
    let results = outputs(run, &tensors, |graph, t| {
        let (x, sizes, last) = (t[0], t[1], t[2]);
        let map = |t: &[Tensor]| TokenMap { parent: t[0], representative: t[1], lengths: t[2] };
        let (first, next) = (map(&t[3..6]), map(&t[6..9]));
        let both = first.then(graph, &next)?;
        let mut pairs = Vec::new();
        let gathered = first.gather(graph, x)?;
        pairs.extend([both.gather(graph, x)?, next.gather(graph, gathered)?]);
        for reduce in [Reduce::Sum, Reduce::Max] {
            let merged = first.merge(graph, x, None, reduce)?;
            pairs.extend([both.merge(graph, x, None, reduce)?, next.merge(graph, merged, None, reduce)?]);
        }
        let merged = first.sizes(graph, sizes)?;
        pairs.extend([both.sizes(graph, sizes)?, next.sizes(graph, merged)?]);
        for kind in [Positions::Keep, Positions::Compact] {
            let positions = first.positions(graph, None, kind)?;
            pairs.extend([both.positions(graph, None, kind)?, next.positions(graph, Some(positions), kind)?]);
        }
        let restored = next.unmerge(graph, last, None)?;
        pairs.extend([both.unmerge(graph, last, None)?, first.unmerge(graph, restored, None)?]);
        pairs.extend([both.lengths, next.lengths]);
        Ok(pairs)
    });
    let names = ["gather", "merge by sum", "merge by maximum", "sizes", "kept positions", "compact positions", "unmerge", "lengths"];
    for (name, pair) in names.iter().zip(results.chunks(2)) {
        prop_assert_eq!(&pair[0], &pair[1], "{}", name);
    }
    Ok(())
}
