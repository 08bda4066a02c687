//! Sequences and images of different sizes, packed one after the other.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use tokenpress::kernels::{
    Attention, AttentionInputs, AttentionScore, ChannelOrder, Heads, PixelUnshuffle, Queries, QueryKeyValue, RowReduction, Statistic, TopK,
    TopKInputs, reduce,
};
use tokenpress::methods::{
    Dart, DivPrune, EVit, Protect, PruMerge, Sequences, ToMe, VisionZip, mistral3_packed, nvlm_dynamic_resolution, pack_sequences,
};
use tokenpress::{Compressed, Desc, Elem, Error, Graph, HostTensor, Tensor, Tokens};

use crate::support::data;
use crate::{Side, finite};

/// What a method is given of sequences, each a row of a batch.
struct Rows {
    x: Tensor,
    /// `[S, longest]` f32.
    score: Tensor,
    /// Tokens that each may keep, `[S]` u32.
    budget: Tensor,
    lengths: Tensor,
}

impl Rows {
    fn tokens(&self, graph: &mut Graph) -> Result<Tokens, Error> {
        Tokens::ragged(graph, self.x, self.lengths)
    }

    /// Tokens of one head.
    fn head(&self, graph: &mut Graph) -> Result<Tensor, Error> {
        let [batch, tokens, channels] = self.x.shape().exactly("x", "[S, N, C]")?;
        graph.reshape(self.x, [batch, 1, tokens, channels])
    }
}

/// Results that have rows for each sequence, and how many.
type Listed = Vec<(Tensor, Tensor)>;

type Build = fn(&mut Graph, &Rows, &Case) -> Result<Listed, Error>;

fn compressed(rows: &Rows, Compressed { tokens, map }: Compressed) -> Listed {
    vec![(tokens.x, tokens.lengths), (tokens.size, tokens.lengths), (map.representative, tokens.lengths), (map.parent, rows.lengths)]
}

const METHODS: &[(&str, Build)] = &[
    ("attention", |graph, rows, case| {
        let [batch, tokens, channels] = rows.x.shape().exactly("x", "[S, N, C]")?;
        let (heads, shape) = match channels % 2 {
            0 => (Heads::Last, [batch, tokens, 2, channels / 2]),
            _ => (Heads::First, [batch, 1, tokens, channels]),
        };
        let x = graph.reshape(rows.x, shape)?;
        let inputs = QueryKeyValue { queries: x, keys: x, values: x, bias: None, lengths: Some(rows.lengths), query_lengths: None };
        let attended = Attention { heads, causal: case.flag, ..Attention::default() }.build(graph, inputs)?.rows;
        Ok(vec![(graph.reshape(attended, [batch, tokens, channels])?, rows.lengths)])
    }),
    ("attention_score", |graph, rows, case| {
        let head = rows.head(graph)?;
        let mut scores = Vec::new();
        for queries in [Queries::All, Queries::Last, Queries::CLASS] {
            let inputs = AttentionInputs { lengths: Some(rows.lengths), ..AttentionInputs::new(head, head) };
            let score = AttentionScore { queries, rows: RowReduction::Sum, causal: case.flag, ..AttentionScore::default() };
            scores.push((score.build(graph, inputs)?.score, rows.lengths));
        }
        Ok(scores)
    }),
    ("top_k", |graph, rows, case| {
        let [_, tokens] = rows.score.shape().exactly("score", "[S, N]")?;
        let options = TopK { k: tokens, largest: case.flag, mask: true, ..TopK::default() };
        let inputs = TopKInputs { lengths: Some(rows.lengths), counts: Some(rows.budget), ..TopKInputs::new(rows.score) };
        let selection = options.build(graph, inputs)?;
        Ok(vec![
            (selection.indices, selection.kept),
            (selection.values, selection.kept),
            (selection.mask.expect("asked for"), rows.lengths),
        ])
    }),
    ("reduce", |graph, rows, _| {
        let [batch, _, channels] = rows.x.shape().exactly("x", "[S, N, C]")?;
        let one = graph.constant(HostTensor::u32([batch], vec![1; batch as usize]));
        [Statistic::Mean, Statistic::Sum, Statistic::Max, Statistic::Min]
            .into_iter()
            .map(|statistic| {
                let reduced = reduce(graph, rows.x, 1, statistic, Some(rows.lengths))?;
                Ok((graph.reshape(reduced, [batch, 1, channels])?, one))
            })
            .collect()
    }),
    ("tome", |graph, rows, case| {
        let tokens = rows.tokens(graph)?;
        let merged = ToMe { merge: case.few, protect: Protect::Leading(case.few % 3), keep_order: case.flag, ..ToMe::default() };
        Ok(compressed(rows, merged.build(graph, &tokens, tokens.x)?))
    }),
    ("evit", |graph, rows, case| {
        let tokens = rows.tokens(graph)?;
        let method = EVit { keep: case.share, fuse: case.flag, ..EVit::default() };
        Ok(compressed(rows, method.by_score(graph, &tokens, rows.score)?.compressed))
    }),
    ("visionzip", |graph, rows, case| {
        let tokens = rows.tokens(graph)?;
        let method = VisionZip { dominant: case.few, contextual: 3, ..VisionZip::default() };
        Ok(compressed(rows, method.by_score(graph, &tokens, rows.score, tokens.x)?.compressed))
    }),
    ("prumerge", |graph, rows, case| {
        let tokens = rows.tokens(graph)?;
        let method = PruMerge { factor: 0.5, neighbours: case.few, spatial: case.flag, ..PruMerge::default() };
        Ok(compressed(rows, method.by_score(graph, &tokens, rows.score, tokens.x)?.compressed))
    }),
    ("divprune", |graph, rows, case| {
        let tokens = rows.tokens(graph)?;
        Ok(compressed(rows, DivPrune { keep: case.share, floor: case.few }.build(graph, &tokens)?.pruned.compressed))
    }),
    ("dart", |graph, rows, case| {
        let tokens = rows.tokens(graph)?;
        let method = Dart { keep: case.share, image_pivots: 1 + case.few, floor: 0 };
        Ok(compressed(rows, method.build(graph, &tokens, rows.score, None)?.pruned.compressed))
    }),
];

#[derive(Debug, Clone)]
pub struct Case {
    method: usize,
    counts: Vec<u32>,
    /// Tokens of a sequence that count at most; as many as the longest has, whose lengths are then known to the host, for `None`.
    longest: Option<u32>,
    /// Tokens before the first sequence and behind the last that are none's.
    around: [u32; 2],
    channels: u32,
    elem: Elem,
    few: u32,
    share: f64,
    flag: bool,
    seed: u64,
}

prop_compose! {
    pub fn sequences()(
        method in 0..METHODS.len(),
        counts in prop::collection::vec(prop_oneof![1 => 0u32..2, 3 => 2u32..40], 1..6),
        longest in prop::option::of(1u32..45),
        around in [0u32..4, 0u32..4],
        channels in 1u32..10,
        elem in prop::sample::select(vec![Elem::F32, Elem::F16, Elem::BF16]),
        few in 0u32..9,
        share in (1u8..=16).prop_map(|n| f64::from(n) / 16.0),
        flag in any::<bool>(),
        seed in any::<u64>(),
    ) -> Case {
        let around = if longest.is_some() { around } else { [0, around[1]] };
        Case { method, counts, longest, around, channels, elem, few, share, flag, seed }
    }
}

/// The first rows of a result `[1, N, ..]`.
fn first_rows(result: &HostTensor, count: u32) -> &[u8] {
    let rows = result.shape().dims()[1].max(1);
    &result.bytes()[..result.bytes().len() / rows as usize * count as usize]
}

impl Case {
    /// A part of one tensor of all tokens, `width` numbers each.
    fn part(&self, values: &[f32], elem: Elem, start: u32, tokens: u32, width: Option<u32>) -> HostTensor {
        let numbers = values[(start * width.unwrap_or(1)) as usize..][..(tokens * width.unwrap_or(1)) as usize].to_vec();
        match width {
            Some(width) => HostTensor::from_floats(Desc::new([1, tokens, width], elem), numbers),
            None => HostTensor::from_floats(Desc::new([1, tokens], elem), numbers),
        }
    }

    /// Packs the results of these rows, and says how many there are of each.
    fn packed(&self, graph: &mut Graph, rows: &Rows) -> Result<Vec<Tensor>, Error> {
        let mut results = Vec::new();
        for (result, lengths) in METHODS[self.method].1(graph, rows, self)? {
            let (packed, count) = pack_sequences(graph, result, lengths)?;
            results.extend([packed, count]);
        }
        Ok(results)
    }

    /// Runs so many sequences, the first at a place among all tokens. A sequence alone has no more room than it needs on the reference; sums
    /// of an adapter may have another order there.
    fn run(&self, side: Side<'_>, x: &HostTensor, score: &HostTensor, budgets: &[u32], offsets: &[u32], dense: bool) -> Vec<HostTensor> {
        let budget = HostTensor::u32([budgets.len() as u32], budgets.to_vec());
        let list = HostTensor::u32([offsets.len() as u32], offsets.to_vec());
        let counts: Vec<u32> = offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let longest = self.longest.unwrap_or(self.counts.iter().copied().max().unwrap_or(1).max(1));
        side.outputs(&[x, score, &budget, &list], |graph, t| {
            if dense {
                let lengths = graph.constant(HostTensor::u32([1], counts.clone()));
                return self.packed(graph, &Rows { x: t[0], score: t[1], budget: t[2], lengths });
            }
            let sequences = match self.longest {
                None if budgets.len() == self.counts.len() => Sequences::of_counts(graph, &counts)?,
                _ => Sequences::new(graph, t[3], longest)?,
            };
            let rows =
                Rows { x: sequences.rows(graph, t[0])?, score: sequences.rows(graph, t[1])?, budget: t[2], lengths: sequences.lengths };
            self.packed(graph, &rows)
        })
    }
}

/// A method's results of packed sequences, packed, are those of each sequence one after the other.
pub fn packed_sequences_are_what_they_are_alone(case: Case, side: Side<'_>) -> TestCaseResult {
    let mut offsets = vec![case.around[0]];
    for count in &case.counts {
        offsets.push(offsets[offsets.len() - 1] + count);
    }
    let all = offsets[offsets.len() - 1] + case.around[1];
    let x = finite(case.seed, (all * case.channels) as usize);
    // Large numbers would hide all others in sums.
    let x: Vec<f32> = x.into_iter().map(|v| v.clamp(-4.0, 4.0)).collect();
    let score = data::awkward(case.seed ^ 1, all as usize);
    let budgets = data::integers(case.seed ^ 2, case.counts.len(), 20);
    let part = |start: u32, tokens: u32| {
        (case.part(&x, case.elem, start, tokens, Some(case.channels)), case.part(&score, Elem::F32, start, tokens, None))
    };
    let (every, scores) = part(0, all);
    let together = case.run(side, &every, &scores, &budgets, &offsets, false);
    let mut alone = vec![Vec::new(); together.len() / 2];
    for (sequence, pair) in offsets.windows(2).enumerate() {
        let tokens = (pair[1] - pair[0]).min(case.longest.unwrap_or(u32::MAX));
        let (x, score) = part(pair[0], tokens);
        let results = case.run(side, &x, &score, &budgets[sequence..=sequence], &[0, tokens], side.adapter.is_none());
        for (alone, result) in alone.iter_mut().zip(results.chunks(2)) {
            alone.extend_from_slice(first_rows(&result[0], result[1].integers()[0]));
        }
    }
    for (index, (together, alone)) in together.chunks(2).zip(&alone).enumerate() {
        let actual = first_rows(&together[0], together[1].integers()[0]);
        prop_assert_eq!(actual, alone, "result {} of {}", index, METHODS[case.method].0);
    }
    Ok(())
}

// --- images -----------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
pub struct ImagesCase {
    batch: u32,
    images: Vec<[u32; 2]>,
    merge: u32,
    channels: u32,
    elem: Elem,
    seed: u64,
}

prop_compose! {
    pub fn images()(
        batch in 1u32..4,
        images in prop::collection::vec([0u32..9, 0u32..9], 1..6),
        merge in 1u32..4,
        channels in 1u32..10,
        elem in prop::sample::select(vec![Elem::F32, Elem::F16, Elem::BF16, Elem::U32]),
        seed in any::<u64>(),
    ) -> ImagesCase {
        ImagesCase { batch, images, merge, channels, elem, seed }
    }
}

impl ImagesCase {
    fn tensor(&self, tokens: u32, bytes: &[u8]) -> HostTensor {
        HostTensor::from_bytes(Desc::new([self.batch, tokens, self.channels], self.elem), bytes).expect("as many bytes")
    }
}

/// Mistral 3's and NVLM's neighbours of packed images are those of each image, without the rows and columns that fill no block.
pub fn packed_images_are_what_they_are_alone(case: ImagesCase, side: Side<'_>) -> TestCaseResult {
    let ImagesCase { batch, merge, channels, elem, ref images, .. } = case;
    let token = channels as usize * elem.size() as usize;
    let whole: Vec<[u32; 2]> = images.iter().map(|size| size.map(|n| n / merge * merge)).collect();
    for (tiles, sizes) in [(false, images), (true, &whole)] {
        let all: u32 = sizes.iter().map(|[h, w]| h * w).sum();
        let mut random = data::Random::new(case.seed);
        let bytes: Vec<u8> = (0..all as usize * token * batch as usize).map(|_| random.next_u64() as u8).collect();
        let together = side.outputs(&[&case.tensor(all, &bytes)], |graph, t| {
            let blocks = if tiles { nvlm_dynamic_resolution } else { mistral3_packed };
            Ok(vec![blocks(graph, t[0], sizes, merge)?])
        });
        let mut expected = vec![Vec::new(); batch as usize];
        let mut first = 0;
        for &[h, w] in sizes {
            let [high, wide] = [h, w].map(|n| n / merge * merge);
            let mut image = Vec::new();
            for b in 0..batch {
                for row in 0..high {
                    let start = (b * all + first + row * w) as usize * token;
                    image.extend_from_slice(&bytes[start..start + wide as usize * token]);
                }
            }
            first += h * w;
            let blocks = side.outputs(&[&case.tensor(high * wide, &image)], |graph, t| {
                let channels = if tiles { ChannelOrder::PositionFirst } else { ChannelOrder::ChannelFirst };
                let options = PixelUnshuffle { channels, ..PixelUnshuffle::idefics3(merge) };
                Ok(vec![options.unshuffle_tokens(graph, t[0], [high, wide])?])
            });
            let width = blocks[0].bytes().len() / batch as usize;
            for (b, row) in expected.iter_mut().enumerate() {
                row.extend_from_slice(&blocks[0].bytes()[b * width..(b + 1) * width]);
            }
        }
        prop_assert_eq!(together[0].bytes(), expected.concat(), "{}", if tiles { "nvlm" } else { "mistral 3" });
    }
    Ok(())
}
