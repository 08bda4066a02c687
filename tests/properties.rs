//! What holds for any input, on the reference and on every adapter: proptest over sizes and seeds.
//!
//! The cases are the same in every run; `PROPTEST_CASES` asks for more of them.
#![allow(missing_docs, reason = "a test")]

mod support;

use std::process::ExitCode;
use std::sync::PoisonError;

use libtest_mimic::{Arguments, Failed, Trial};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use support::goldens::Side;
use support::{adapters, data};
use tokenpress::kernels::{
    AttentionInputs, AttentionScore, ChannelOrder, HeadReduction, Order, PixelUnshuffle, Queries, Reduce, RowReduction, TokenOrder, TopK,
    TopKInputs,
};
use tokenpress::methods::{Matching, Protect, ToMe};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor, NONE, Tensor, TokenMap, Tokens};

/// A graph and what it is fed, whose outputs are named as they are asked for.
#[derive(Default)]
struct Feed {
    graph: Graph,
    inputs: HostTensors,
}

impl Feed {
    fn input(&mut self, name: &str, value: HostTensor) -> Tensor {
        let tensor = self.graph.input(name, value.shape(), value.desc().elem);
        self.inputs.insert(name.to_owned(), value);
        tensor
    }

    fn output(&mut self, name: &str, tensor: Tensor) {
        self.graph.output(name, tensor).expect("a new name");
    }

    fn run(&self, side: Side<'_>) -> HostTensors {
        side.run(&self.graph, &self.inputs).unwrap_or_else(|e| panic!("{e}"))
    }
}

/// A tensor of standard normal numbers, times a factor.
fn normal<const N: usize>(seed: u64, shape: [u32; N], factor: f32) -> HostTensor {
    let values = data::normal(seed, shape.iter().product::<u32>() as usize);
    HostTensor::f32(shape, values.into_iter().map(|v| v * factor).collect())
}

/// Batch row `b` as a batch of its own.
fn batch_row(tensor: &HostTensor, b: usize) -> HostTensor {
    let dims = tensor.shape();
    let len = dims.elements() as usize / dims.dims()[0].max(1) as usize;
    let values = tensor.floats()[b * len..(b + 1) * len].to_vec();
    match *dims.dims() {
        [_, n] => HostTensor::f32([1, n], values),
        [_, n, c] => HostTensor::f32([1, n, c], values),
        [_, h, n, c] => HostTensor::f32([1, h, n, c], values),
        _ => unreachable!("two to four dimensions"),
    }
}

/// The bytes of batch row `b`.
fn row_bytes(tensor: &HostTensor, b: usize) -> &[u8] {
    let len = tensor.bytes().len() / tensor.shape().dims()[0].max(1) as usize;
    &tensor.bytes()[b * len..(b + 1) * len]
}

// --- ToMe -------------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
struct MergeCase {
    batch: u32,
    tokens: u32,
    channels: u32,
    metric: u32,
    tome: ToMe,
    seed: u64,
}

fn merge_cases() -> impl Strategy<Value = MergeCase> {
    let protect = prop_oneof![Just(Protect::NONE), Just(Protect::CLASS), (2u32..7).prop_map(Protect::Leading)];
    let matching = prop_oneof![3 => Just(None), 1 => (1u32..5).prop_map(Some)];
    (1u32..4, 1u32..70, 1u32..9, 1u32..12, 0u32..40, protect, matching, any::<u64>()).prop_map(
        |(batch, tokens, channels, metric, merge, protect, stride, seed)| {
            let matching = stride.map_or(Matching::EvenOdd, Matching::Kth);
            MergeCase { batch, tokens, channels, metric, tome: ToMe { merge, protect, matching, ..ToMe::default() }, seed }
        },
    )
}

impl MergeCase {
    fn x(&self) -> HostTensor {
        normal(self.seed, [self.batch, self.tokens, self.channels], 1.0)
    }

    fn metric(&self) -> HostTensor {
        normal(self.seed ^ 1, [self.batch, self.tokens, self.metric], 1.0)
    }

    /// Small whole numbers: their sums are exact.
    fn sizes(&self) -> HostTensor {
        let values = data::integers(self.seed ^ 2, (self.batch * self.tokens) as usize, 9);
        HostTensor::f32([self.batch, self.tokens], values.into_iter().map(|v| (v + 1) as f32).collect())
    }

    /// Tokens, sizes and the map of one merge, and the merge's mean undone.
    fn run(&self, side: Side<'_>, x: HostTensor, metric: HostTensor, sizes: HostTensor) -> HostTensors {
        let mut feed = Feed::default();
        let (x, metric, size) = (feed.input("x", x), feed.input("metric", metric), feed.input("sizes", sizes));
        let graph = &mut feed.graph;
        let tokens = Tokens { size, ..Tokens::new(graph, x).expect("tokens") };
        let merged = self.tome.build(graph, &tokens, metric).expect("a merge");
        let mean = merged.map.merge(graph, x, None, Reduce::Mean).expect("a mean");
        let unmerged = merged.map.unmerge(graph, mean, None).expect("an unmerge");
        for (name, tensor) in [
            ("merged", merged.tokens.x),
            ("size", merged.tokens.size),
            ("lengths", merged.tokens.lengths),
            ("parent", merged.map.parent),
            ("representative", merged.map.representative),
            ("mean", mean),
            ("unmerged", unmerged),
        ] {
            feed.output(name, tensor);
        }
        feed.run(side)
    }

    fn run_all(&self, side: Side<'_>) -> HostTensors {
        self.run(side, self.x(), self.metric(), self.sizes())
    }
}

fn a_batch_row_is_as_it_is_alone(case: MergeCase, side: Side<'_>) -> TestCaseResult {
    let together = case.run_all(side);
    for b in 0..case.batch as usize {
        let alone = case.run(side, batch_row(&case.x(), b), batch_row(&case.metric(), b), batch_row(&case.sizes(), b));
        for (name, value) in &alone {
            prop_assert_eq!(row_bytes(&together[name], b), value.bytes(), "{} of row {}", name, b);
        }
    }
    Ok(())
}

fn channels_do_not_meet(case: MergeCase, side: Side<'_>) -> TestCaseResult {
    let channels = case.channels as usize;
    let reversed = |tensor: &HostTensor| -> HostTensor {
        let values = tensor.floats().chunks(channels).flat_map(|row| row.iter().rev().copied().collect::<Vec<_>>()).collect();
        HostTensor::from_floats(tensor.desc(), values)
    };
    let there = case.run_all(side);
    let back = case.run(side, reversed(&case.x()), case.metric(), case.sizes());
    for name in ["merged", "mean", "unmerged"] {
        prop_assert_eq!(&reversed(&back[name]), &there[name], "{}", name);
    }
    prop_assert_eq!(&back["parent"], &there["parent"]);
    Ok(())
}

fn powers_of_two_change_nothing_but_the_scale(case: MergeCase, side: Side<'_>) -> TestCaseResult {
    let scaled =
        |tensor: HostTensor, factor: f32| HostTensor::from_floats(tensor.desc(), tensor.floats().iter().map(|v| v * factor).collect());
    let there = case.run_all(side);
    let scale = 2f32.powi((case.seed % 21) as i32 - 10);
    let other = case.run(side, scaled(case.x(), scale), scaled(case.metric(), 1.0 / scale), case.sizes());
    for name in ["merged", "mean", "unmerged"] {
        prop_assert_eq!(&other[name], &scaled(there[name].clone(), scale), "{}", name);
    }
    for name in ["parent", "representative", "size", "lengths"] {
        prop_assert_eq!(&other[name], &there[name], "{}", name);
    }
    Ok(())
}

fn sizes_add_up(case: MergeCase, side: Side<'_>) -> TestCaseResult {
    let outputs = case.run_all(side);
    let (before, after) = (case.sizes().floats(), outputs["size"].floats());
    let parents = outputs["parent"].integers();
    let new = outputs["size"].shape().dims()[1] as usize;
    for b in 0..case.batch as usize {
        let mut expected = vec![0.0; new];
        for i in 0..case.tokens as usize {
            let token = b * case.tokens as usize + i;
            match parents[token] {
                // Only a token behind the last whole group is dropped.
                NONE => prop_assert!(matches!(case.tome.matching, Matching::Kth(_)), "token {} is gone", i),
                parent => expected[parent as usize] += before[token],
            }
        }
        prop_assert_eq!(&after[b * new..(b + 1) * new], &expected[..]);
        prop_assert!(
            expected.iter().take(outputs["lengths"].integers()[b] as usize).all(|size| *size > 0.0),
            "an output stands for nothing"
        );
    }
    Ok(())
}

fn every_token_gets_its_parents_row_back(case: MergeCase, side: Side<'_>) -> TestCaseResult {
    let outputs = case.run_all(side);
    let (mean, unmerged, parents) = (outputs["mean"].floats(), outputs["unmerged"].floats(), outputs["parent"].integers());
    let (new, channels) = (outputs["mean"].shape().dims()[1] as usize, case.channels as usize);
    for (token, parent) in parents.iter().enumerate() {
        let row = &unmerged[token * channels..][..channels];
        match *parent {
            NONE => prop_assert!(row.iter().all(|v| *v == 0.0)),
            parent => prop_assert_eq!(row, &mean[(token / case.tokens as usize * new + parent as usize) * channels..][..channels]),
        }
    }
    // A representative is one of those that it stands for.
    let representatives = outputs["representative"].integers();
    for b in 0..case.batch as usize {
        for new_row in 0..outputs["lengths"].integers()[b] as usize {
            let representative = representatives[b * new + new_row] as usize;
            prop_assert_eq!(parents[b * case.tokens as usize + representative], new_row as u32);
        }
    }
    Ok(())
}

/// Merging what was unmerged gives it again: means of equal rows.
fn merge_undoes_unmerge(case: MergeCase, side: Side<'_>) -> TestCaseResult {
    let outputs = case.run_all(side);
    let mut feed = Feed::default();
    let parent = feed.input("parent", outputs["parent"].clone());
    let representative = feed.input("representative", outputs["representative"].clone());
    let lengths = feed.input("lengths", outputs["lengths"].clone());
    let y = feed.input("y", outputs["mean"].clone());
    let map = TokenMap { parent, representative, lengths };
    let back = map.unmerge(&mut feed.graph, y, None).expect("an unmerge");
    let again = map.merge(&mut feed.graph, back, None, Reduce::Mean).expect("a merge");
    feed.output("again", again);
    prop_assert_eq!(&feed.run(side)["again"], &outputs["mean"]);
    Ok(())
}

/// Two layers' maps, composed, send a token where the second sends what the first made of it.
fn maps_compose(case: MergeCase, side: Side<'_>) -> TestCaseResult {
    let mut feed = Feed::default();
    let (x, metric) = (feed.input("x", case.x()), feed.input("metric", case.metric()));
    let graph = &mut feed.graph;
    let tokens = Tokens::new(graph, x).expect("tokens");
    let first = case.tome.build(graph, &tokens, metric).expect("a merge");
    let second = ToMe { merge: 3, ..ToMe::default() }.build(graph, &first.tokens, first.tokens.x).expect("a merge");
    let both = first.map.then(graph, &second.map).expect("a map");
    for (name, tensor) in [("first", first.map.parent), ("second", second.map.parent), ("both", both.parent)] {
        feed.output(name, tensor);
    }
    let outputs = feed.run(side);
    let [first, second, both] = ["first", "second", "both"].map(|name| outputs[name].integers());
    let middle = second.len() / case.batch as usize;
    for (token, parent) in first.iter().enumerate() {
        let expected = if *parent == NONE { NONE } else { second[token / case.tokens as usize * middle + *parent as usize] };
        prop_assert_eq!(both[token], expected);
    }
    Ok(())
}

// --- selection --------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
struct SelectCase {
    rows: u32,
    tokens: u32,
    k: u32,
    largest: bool,
    by_index: bool,
    seed: u64,
}

fn select_cases() -> impl Strategy<Value = SelectCase> {
    (1u32..4, 1u32..2500, 0.0f64..=1.0, any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
        |(rows, tokens, share, largest, by_index, seed)| SelectCase {
            rows,
            tokens,
            k: (f64::from(tokens) * share) as u32,
            largest,
            by_index,
            seed,
        },
    )
}

/// A second formulation: a full, stable sort by a comparison of floats.
fn a_selection_is_the_head_of_a_sort(case: SelectCase, side: Side<'_>) -> TestCaseResult {
    let (n, k) = (case.tokens as usize, case.k as usize);
    let values = data::awkward(case.seed, case.rows as usize * n);
    let mut feed = Feed::default();
    let scores = feed.input("scores", HostTensor::f32([case.rows, case.tokens], values.clone()));
    let order = if case.by_index { Order::Index } else { Order::Value };
    let options = TopK { k: case.k, order, largest: case.largest, complement: Some(Order::Index), mask: true };
    let selection = options.build(&mut feed.graph, TopKInputs::new(scores)).expect("a selection");
    for (name, tensor) in [("indices", selection.indices), ("kept", selection.kept)] {
        feed.output(name, tensor);
    }
    feed.output("complement", selection.complement.expect("asked for"));
    feed.output("mask", selection.mask.expect("asked for"));
    let outputs = feed.run(side);
    for (row, values) in values.chunks(n).enumerate() {
        let mut sorted: Vec<u32> = (0..n as u32).collect();
        sorted.sort_by(|&a, &b| {
            let (a, b) = (values[a as usize], values[b as usize]);
            match (a.is_nan(), b.is_nan()) {
                (false, false) if case.largest => b.partial_cmp(&a).expect("numbers"),
                (false, false) => a.partial_cmp(&b).expect("numbers"),
                (a, b) => a.cmp(&b),
            }
        });
        let (mut head, mut rest) = (sorted[..k].to_vec(), sorted[k..].to_vec());
        rest.sort_unstable();
        if case.by_index {
            head.sort_unstable();
        }
        let mask: Vec<u32> = (0..n as u32).map(|i| u32::from(head.contains(&i))).collect();
        prop_assert_eq!(&outputs["indices"].integers()[row * k..][..k], &head[..]);
        prop_assert_eq!(&outputs["complement"].integers()[row * (n - k)..][..n - k], &rest[..]);
        prop_assert_eq!(&outputs["mask"].integers()[row * n..][..n], &mask[..]);
        prop_assert_eq!(outputs["kept"].integers()[row], case.k);
    }
    Ok(())
}

// --- attention --------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
struct AttentionCase {
    batch: u32,
    heads: u32,
    tokens: u32,
    channels: u32,
    causal: bool,
    every_row: bool,
    seed: u64,
}

fn attention_cases() -> impl Strategy<Value = AttentionCase> {
    (1u32..3, 1u32..4, 1u32..150, 1u32..20, any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
        |(batch, heads, tokens, channels, causal, every_row, seed)| AttentionCase {
            batch,
            heads,
            tokens,
            channels,
            causal,
            every_row,
            seed,
        },
    )
}

impl AttentionCase {
    fn tensor(&self, which: u64, factor: f32) -> HostTensor {
        normal(self.seed ^ which, [self.batch, self.heads, self.tokens, self.channels], factor)
    }

    fn score(&self) -> AttentionScore {
        let queries = if self.every_row { Queries::All } else { Queries::Last };
        AttentionScore { queries, rows: RowReduction::Sum, heads: HeadReduction::None, causal: self.causal, ..AttentionScore::default() }
    }

    fn run(&self, side: Side<'_>, score: AttentionScore, q: HostTensor, k: HostTensor) -> HostTensor {
        let mut feed = Feed::default();
        let (queries, keys) = (feed.input("q", q), feed.input("k", k));
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: None, query_lengths: None };
        let score = score.build(&mut feed.graph, inputs).expect("a score").score;
        feed.output("score", score);
        feed.run(side).remove("score").expect("the output")
    }
}

/// Each row gives out a weight of 1.
fn attention_adds_up(case: AttentionCase, side: Side<'_>) -> TestCaseResult {
    let score = case.run(side, case.score(), case.tensor(0, 1.0), case.tensor(1, 1.0));
    let rows = if case.every_row { case.tokens } else { 1 };
    for head in score.floats().chunks(case.tokens as usize) {
        let total: f64 = head.iter().map(|v| f64::from(*v)).sum();
        // A weight's relative error is that of its exponential, (3 + 2 |x|) 2^-23 for a logit x, of which no case has one
        // above 64, and of a sum of at most 150 terms: together below 4e-5, for the weight and for its divisor.
        prop_assert!((total - f64::from(rows)).abs() <= f64::from(rows) * 1e-4, "{} rows give {}", rows, total);
    }
    Ok(())
}

fn a_scale_may_be_in_the_queries(case: AttentionCase, side: Side<'_>) -> TestCaseResult {
    let scaled = AttentionScore { scale: Some(0.125), ..case.score() };
    let there = case.run(side, scaled.clone(), case.tensor(0, 1.0), case.tensor(1, 1.0));
    let other = case.run(side, AttentionScore { scale: Some(0.5), ..scaled }, case.tensor(0, 0.125), case.tensor(1, 2.0));
    prop_assert_eq!(there, other);
    Ok(())
}

fn an_attention_row_is_as_it_is_alone(case: AttentionCase, side: Side<'_>) -> TestCaseResult {
    let (q, k) = (case.tensor(0, 1.0), case.tensor(1, 1.0));
    let together = case.run(side, case.score(), q.clone(), k.clone());
    for b in 0..case.batch as usize {
        let alone = case.run(side, case.score(), batch_row(&q, b), batch_row(&k, b));
        prop_assert_eq!(row_bytes(&together, b), alone.bytes());
    }
    Ok(())
}

// --- layout -----------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
struct LayoutCase {
    options: PixelUnshuffle,
    grid: [u32; 2],
    channels: u32,
    elem: Elem,
}

fn layout_cases() -> impl Strategy<Value = LayoutCase> {
    let elem = prop_oneof![Just(Elem::F32), Just(Elem::U32)];
    ([1u32..5, 1u32..5], [0u32..12, 0u32..12], 0u32..9, any::<bool>(), any::<bool>(), elem).prop_map(
        |(factor, grid, channels, channel_first, transposed, elem)| {
            let order = if channel_first { ChannelOrder::ChannelFirst } else { ChannelOrder::PositionFirst };
            let tokens = if transposed { TokenOrder::Transposed } else { TokenOrder::RowMajor };
            LayoutCase { options: PixelUnshuffle { factor, channels: order, tokens, pad: true, skip: 0 }, grid, channels, elem }
        },
    )
}

fn shuffle_undoes_unshuffle(case: LayoutCase, side: Side<'_>) -> TestCaseResult {
    let shape = [2, case.grid[0] * case.grid[1], case.channels];
    let count = shape.iter().product::<u32>();
    let image = match case.elem {
        Elem::U32 => HostTensor::u32(shape, (1..=count).collect()),
        _ => HostTensor::f32(shape, (1..=count).map(|i| i as f32).collect()),
    };
    let mut feed = Feed::default();
    let x = feed.input("x", image.clone());
    let blocks = case.options.unshuffle_tokens(&mut feed.graph, x, case.grid).expect("blocks");
    let back = case.options.shuffle_tokens(&mut feed.graph, blocks, case.grid).expect("an image");
    feed.output("back", back);
    prop_assert_eq!(&feed.run(side)["back"], &image);
    Ok(())
}

// --- trials -----------------------------------------------------------------------------------------------

type Property<T> = fn(T, Side<'_>) -> TestCaseResult;

/// Runs a property over its cases: many on the reference, some on an adapter.
fn check<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, property: Property<T>, side: Side<'_>) -> Result<(), Failed> {
    let cases = if matches!(side, Side::Reference) { Config::default().cases.min(128) } else { 12 };
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    Ok(runner.run(&strategy, |case| property(case, side)).map_err(|e| e.to_string())?)
}

/// Means of equal numbers are exact in the f64 of the reference alone.
const OF_THE_REFERENCE: &str = "merge_undoes_unmerge";

/// A property over all its cases.
type Check = fn(Side<'_>) -> Result<(), Failed>;

/// Every property by its name.
fn properties() -> Vec<(&'static str, Check)> {
    macro_rules! all {
        ($($strategy:ident: $($property:ident)*;)*) => {
            vec![$($((stringify!($property), |side| check($strategy(), $property, side)),)*)*]
        };
    }
    all! {
        merge_cases: a_batch_row_is_as_it_is_alone channels_do_not_meet powers_of_two_change_nothing_but_the_scale sizes_add_up
            every_token_gets_its_parents_row_back merge_undoes_unmerge maps_compose;
        select_cases: a_selection_is_the_head_of_a_sort;
        attention_cases: attention_adds_up a_scale_may_be_in_the_queries an_attention_row_is_as_it_is_alone;
        layout_cases: shuffle_undoes_unshuffle;
    }
}

fn main() -> ExitCode {
    let adapters = adapters::all();
    let mut trials = adapters::missing(&adapters);
    for (name, property) in properties() {
        trials.push(Trial::test(format!("reference::{name}"), move || property(Side::Reference)));
        for adapter in adapters.iter().filter(|_| name != OF_THE_REFERENCE).cloned() {
            trials.push(Trial::test(format!("{}::{name}", adapter.name), move || {
                let _turn = adapter.turn.lock().unwrap_or_else(PoisonError::into_inner);
                property(Side::Gpu(&adapter.context))
            }));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
