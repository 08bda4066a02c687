//! ToMe on any batch of tokens.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use tokenpress::kernels::Reduce;
use tokenpress::methods::{Matching, Protect, ToMe};
use tokenpress::readback::HostTensors;
use tokenpress::{HostTensor, NONE, TokenMap, Tokens};

use crate::support::data;
use crate::{Feed, Side, batch_row, normal, row_bytes};

#[derive(Debug, Clone)]
pub struct MergeCase {
    batch: u32,
    tokens: u32,
    channels: u32,
    metric: u32,
    tome: ToMe,
    seed: u64,
}

pub fn merge_cases() -> impl Strategy<Value = MergeCase> {
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

pub fn a_batch_row_is_as_it_is_alone(case: MergeCase, side: Side<'_>) -> TestCaseResult {
    let together = case.run_all(side);
    for b in 0..case.batch as usize {
        let alone = case.run(side, batch_row(&case.x(), b), batch_row(&case.metric(), b), batch_row(&case.sizes(), b));
        for (name, value) in &alone {
            prop_assert_eq!(row_bytes(&together[name], b), value.bytes(), "{} of row {}", name, b);
        }
    }
    Ok(())
}

pub fn channels_do_not_meet(case: MergeCase, side: Side<'_>) -> TestCaseResult {
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

pub fn powers_of_two_change_nothing_but_the_scale(case: MergeCase, side: Side<'_>) -> TestCaseResult {
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

pub fn sizes_add_up(case: MergeCase, side: Side<'_>) -> TestCaseResult {
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

pub fn every_token_gets_its_parents_row_back(case: MergeCase, side: Side<'_>) -> TestCaseResult {
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
pub fn merge_undoes_unmerge(case: MergeCase, side: Side<'_>) -> TestCaseResult {
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
pub fn maps_compose(case: MergeCase, side: Side<'_>) -> TestCaseResult {
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
