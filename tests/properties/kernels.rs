//! Single kernels: selection, attention, the layout of images.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use tokenpress::kernels::{
    AttentionInputs, AttentionScore, ChannelOrder, HeadReduction, Order, PixelUnshuffle, Queries, RowReduction, TokenOrder, TopK,
    TopKInputs,
};
use tokenpress::{Elem, HostTensor};

use crate::support::data;
use crate::{Feed, Side, batch_row, normal, row_bytes};

// --- selection --------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
pub struct SelectCase {
    rows: u32,
    tokens: u32,
    k: u32,
    largest: bool,
    by_index: bool,
    seed: u64,
}

pub fn select_cases() -> impl Strategy<Value = SelectCase> {
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
pub fn a_selection_is_the_head_of_a_sort(case: SelectCase, side: Side<'_>) -> TestCaseResult {
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
pub struct AttentionCase {
    batch: u32,
    heads: u32,
    tokens: u32,
    channels: u32,
    causal: bool,
    every_row: bool,
    seed: u64,
}

pub fn attention_cases() -> impl Strategy<Value = AttentionCase> {
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
pub fn attention_adds_up(case: AttentionCase, side: Side<'_>) -> TestCaseResult {
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

pub fn a_scale_may_be_in_the_queries(case: AttentionCase, side: Side<'_>) -> TestCaseResult {
    let scaled = AttentionScore { scale: Some(0.125), ..case.score() };
    let there = case.run(side, scaled.clone(), case.tensor(0, 1.0), case.tensor(1, 1.0));
    let other = case.run(side, AttentionScore { scale: Some(0.5), ..scaled }, case.tensor(0, 0.125), case.tensor(1, 2.0));
    prop_assert_eq!(there, other);
    Ok(())
}

pub fn an_attention_row_is_as_it_is_alone(case: AttentionCase, side: Side<'_>) -> TestCaseResult {
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
pub struct LayoutCase {
    options: PixelUnshuffle,
    grid: [u32; 2],
    channels: u32,
    elem: Elem,
}

pub fn layout_cases() -> impl Strategy<Value = LayoutCase> {
    let elem = prop_oneof![Just(Elem::F32), Just(Elem::U32)];
    ([1u32..5, 1u32..5], [0u32..12, 0u32..12], 0u32..9, any::<bool>(), any::<bool>(), elem).prop_map(
        |(factor, grid, channels, channel_first, transposed, elem)| {
            let order = if channel_first { ChannelOrder::ChannelFirst } else { ChannelOrder::PositionFirst };
            let tokens = if transposed { TokenOrder::Transposed } else { TokenOrder::RowMajor };
            LayoutCase { options: PixelUnshuffle { factor, channels: order, tokens, pad: true, skip: 0 }, grid, channels, elem }
        },
    )
}

pub fn shuffle_undoes_unshuffle(case: LayoutCase, side: Side<'_>) -> TestCaseResult {
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
