//! What methods do with protected tokens, and what a list, marks and a count have in common.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use tokenpress::kernels::Partition;
use tokenpress::methods::{
    Affine, BalancedPrune, DualAttention, DynamicVit, EVit, FastV, IdleVit, Images, Matching, Predictor, Prefill, Protect, PruMerge, PuMer,
    PyramidDrop, SparseVlm, ToMe, VisionZip, WindowMerge,
};
use tokenpress::{Compressed, Elem, Error, Graph, HostTensor, NONE, Tensor, TokenMap, Tokens};

use crate::properties::{Ragged, Run, bits, number, outputs, ragged};

type Build = fn(&mut Graph, &Tokens, Tensor, Protect) -> Result<Compressed, Error>;

/// Every method with the option, as it compresses tokens by a score.
const METHODS: &[(&str, Build)] = &[
    ("tome", |graph, tokens, _, protect| ToMe { merge: 3, protect, ..ToMe::default() }.build(graph, tokens, tokens.x)),
    ("tome, in order", |graph, tokens, _, protect| {
        ToMe { merge: 3, protect, keep_order: true, ..ToMe::default() }.build(graph, tokens, tokens.x)
    }),
    ("tome, all", |graph, tokens, _, protect| ToMe { merge: u32::MAX, protect, ..ToMe::default() }.build(graph, tokens, tokens.x)),
    ("tome, threshold", |graph, tokens, _, protect| {
        let method = ToMe { merge: u32::MAX, threshold: Some(f32::NEG_INFINITY), protect, ..ToMe::default() };
        method.build(graph, tokens, tokens.x)
    }),
    ("tome, every third", |graph, tokens, _, protect| {
        ToMe { matching: Matching::Kth(3), protect, ..ToMe::default() }.build(graph, tokens, tokens.x)
    }),
    ("tome, lists", |graph, tokens, _, protect| {
        // The last tokens are in neither.
        let partition = Partition::grid2d(graph, 2, tokens.capacity() / 2, 2, 2, &[])?;
        ToMe { merge: u32::MAX, matching: Matching::Lists(partition), protect, ..ToMe::default() }.build(graph, tokens, tokens.x)
    }),
    ("evit", |graph, tokens, score, protect| Ok(EVit { keep: 0.5, protect, ..EVit::default() }.by_score(graph, tokens, score)?.compressed)),
    ("idlevit", |graph, tokens, score, protect| Ok(IdleVit { keep: 4, protect }.by_score(graph, tokens, score)?.pruned.compressed)),
    ("dynamic_vit", |graph, tokens, _, protect| {
        let [_, _, channels] = tokens.x.shape().exactly("x", "[B, N, C]")?;
        let two = graph.constant(HostTensor::f32([2 * channels], (0..2 * channels).map(|i| 1.0 - i as f32).collect()));
        // Every channel twice, so that there is an even number.
        let twice = graph.constant(HostTensor::f32(
            [2 * channels, channels],
            (0..2 * channels * channels).map(|i| f32::from(u8::from(i / channels / 2 == i % channels))).collect(),
        ));
        let mut layer = |o: u32, k: u32| Affine {
            weight: graph.constant(HostTensor::f32([o, k], (0..o * k).map(|i| (i % 5) as f32 - 2.0).collect())),
            bias: None,
        };
        let last = [layer(channels, 2 * channels), layer(1, channels), layer(2, 1)];
        let norm = Affine { weight: graph.constant(HostTensor::f32([channels], vec![1.0; channels as usize])), bias: None };
        let predictor = Predictor { norm, first: Affine { weight: twice, bias: Some(two) }, last };
        Ok(DynamicVit { keep: 3, protect }.build(graph, tokens, &predictor)?.pruned.compressed)
    }),
    ("visionzip", |graph, tokens, score, protect| {
        let method = VisionZip { dominant: 3, contextual: 2, protect, ..VisionZip::default() };
        Ok(method.by_score(graph, tokens, score, tokens.x)?.compressed)
    }),
    ("prumerge", |graph, tokens, score, protect| {
        let method = PruMerge { factor: 0.5, neighbours: 2, protect, ..PruMerge::default() };
        Ok(method.by_score(graph, tokens, score, tokens.x)?.compressed)
    }),
    ("prumerge plus", |graph, tokens, score, protect| {
        let method = PruMerge { factor: 0.5, neighbours: 2, spatial: true, protect, ..PruMerge::default() };
        Ok(method.by_score(graph, tokens, score, tokens.x)?.compressed)
    }),
    ("window_merge", |graph, tokens, _, protect| {
        let (height, width) = (tokens.capacity().div_ceil(4).next_multiple_of(2), 4);
        let method = WindowMerge { height, width, window: 2, threshold: -1.0, shared_count: false, protect };
        Ok(method.build(graph, tokens)?.compressed)
    }),
    ("apart", |graph, tokens, _, protect| {
        let [stay, rest] = protect.apart(graph, tokens)?;
        let merged = ToMe { merge: 4, ..ToMe::default() }.build(graph, &rest.tokens, rest.tokens.x)?;
        let merged = rest.then(graph, &merged)?;
        stay.append(graph, &merged)
    }),
];

#[derive(Debug, Clone)]
pub struct Protected {
    rows: Ragged,
    method: usize,
    /// A mark for each token.
    marks: Vec<bool>,
    score: Vec<f32>,
    sizes: Vec<f32>,
    most: u32,
}

prop_compose! {
    pub fn protected()(rows in ragged(number()))(
        marks in prop::collection::vec(prop::bool::weighted(0.2), rows.rows() * rows.tokens as usize),
        score in prop::collection::vec(number(), rows.rows() * rows.tokens as usize),
        sizes in prop::collection::vec((1u8..9).prop_map(f32::from), rows.rows() * rows.tokens as usize),
        method in 0..METHODS.len(),
        most in prop_oneof![Just(u32::MAX), 0..rows.tokens + 1],
        rows in Just(rows),
    ) -> Protected {
        Protected { rows, method, marks, score, sizes, most }
    }
}

impl Protected {
    fn run(&self, run: Run<'_>, protect: impl FnOnce(&mut Graph) -> Protect) -> Vec<HostTensor> {
        let shape = [self.rows.rows() as u32, self.rows.tokens];
        let (sizes, score) = (HostTensor::f32(shape, self.sizes.clone()), HostTensor::f32(shape, self.score.clone()));
        outputs(run, &[&self.rows.x(), &sizes, &self.rows.lengths(), &score], |graph, t| {
            let tokens = Tokens { x: t[0], size: t[1], lengths: t[2] };
            let protect = protect(graph);
            let Compressed { tokens, map } = METHODS[self.method].1(graph, &tokens, t[3], protect)?;
            Ok(vec![map.parent, map.representative, tokens.x, tokens.size, tokens.lengths])
        })
    }

    /// The live tokens of a row that are protected.
    fn of_row(&self, row: usize) -> Vec<u32> {
        let tokens = self.rows.tokens as usize;
        let marked = |i: &u32| self.marks[row * tokens + *i as usize];
        (0..self.rows.lengths[row]).filter(marked).take(self.most as usize).collect()
    }

    /// Each is an output of its own, the same to the bit; and every method puts them in order.
    fn survive(&self, results: &[HostTensor], row: usize, protected: &[u32]) -> TestCaseResult {
        let [parent, representative, x, size, lengths] = results else { unreachable!("five outputs") };
        let (tokens, channels) = (self.rows.tokens as usize, self.rows.channels as usize);
        let (new, left) = (representative.shape().dims()[1] as usize, lengths.integers()[row]);
        let (parent, before) = (&parent.integers()[row * tokens..][..tokens], self.rows.x());
        for &token in protected {
            let (to, token) = (parent[token as usize], token as usize);
            prop_assert!(to < left, "token {} of row {}: {:?}", token, row, parent);
            prop_assert_eq!(parent.iter().filter(|other| **other == to).count(), 1, "{:?}", parent);
            let (from, to) = (row * tokens + token, row * new + to as usize);
            prop_assert_eq!(representative.integers()[to] as usize, token);
            prop_assert_eq!(&bits(x)[to * channels..][..channels], &bits(&before)[from * channels..][..channels]);
            prop_assert_eq!(size.floats()[to], self.sizes[from]);
        }
        let places: Vec<u32> = protected.iter().map(|token| parent[*token as usize]).collect();
        prop_assert!(places.is_sorted(), "{:?}", places);
        // All that is live is somewhere within the capacity.
        prop_assert!(left as usize <= new && parent.iter().all(|to| *to == NONE || *to < left));
        prop_assert!(representative.integers()[row * new..][..left as usize].iter().all(|token| *token != NONE));
        Ok(())
    }
}

/// By marks, as numbers of some type, and by lists.
pub fn protected_tokens_survive_unchanged(run: Run<'_>, case: Protected) -> TestCaseResult {
    let (batch, tokens) = (case.rows.rows(), case.rows.tokens);
    let marks: Vec<u32> = case.marks.iter().enumerate().map(|(i, mark)| if *mark { 1 + i as u32 % 3 } else { 0 }).collect();
    let marks = HostTensor::u32([batch as u32, tokens], marks);
    let by_marks = case.run(run, |graph| Protect::Marked { marks: graph.constant(marks.clone()), most: case.most });
    let floats = HostTensor::from_floats(
        tokenpress::Desc::new([batch as u32, tokens], Elem::F32),
        marks.integers().iter().map(|m| *m as f32).collect(),
    );
    let by_floats = case.run(run, |graph| Protect::Marked { marks: graph.constant(floats), most: case.most });
    // In any order, some twice, and some that are none.
    let entries = tokens + 3;
    let list = (0..batch).flat_map(|row| {
        let mut list = case.of_row(row);
        list.reverse();
        list.extend(list.first().copied());
        list.push(NONE);
        list.push(tokens);
        list.resize(entries as usize, case.rows.lengths[row].max(tokens));
        list
    });
    let list = HostTensor::u32([batch as u32, entries], list.collect());
    let by_list = case.run(run, |graph| Protect::Listed(graph.constant(list)));
    for row in 0..batch {
        case.survive(&by_marks, row, &case.of_row(row))?;
        case.survive(&by_list, row, &case.of_row(row))?;
    }
    prop_assert_eq!(&by_marks, &by_floats);
    // The list has room for more, and so may have what comes of it.
    prop_assert_eq!(&by_marks[0], &by_list[0]);
    prop_assert_eq!(&by_marks[4], &by_list[4]);
    Ok(())
}

/// The first so many tokens by a count, by a list, and by marks.
pub fn leading_tokens_may_be_counted_listed_or_marked(run: Run<'_>, case: Protected) -> TestCaseResult {
    let (batch, tokens) = (case.rows.rows(), case.rows.tokens);
    let count = case.most.min(7);
    let counted = case.run(run, |_| Protect::Leading(count));
    for row in 0..batch {
        let live = case.rows.lengths[row];
        case.survive(&counted, row, &(0..count.min(live)).collect::<Vec<_>>())?;
    }
    let marks = HostTensor::u32([tokens], (0..tokens).map(|i| u32::from(i < count)).collect());
    let marked = case.run(run, |graph| Protect::Marked { marks: graph.constant(marks), most: count });
    let list = HostTensor::u32([count], (0..count).collect());
    let listed = case.run(run, |graph| Protect::Listed(graph.constant(list)));
    let [counted, marked, listed] = [&counted, &marked, &listed].map(|results| [&results[0], &results[4]]);
    prop_assert_eq!(counted, marked);
    prop_assert_eq!(counted, listed);
    Ok(())
}

/// Of every method whose images may be anywhere: what it makes of a prompt, and the other tokens' places.
type OfPrompt = fn(&mut Graph, &Tokens, [Tensor; 2], Tensor, Images) -> Result<TokenMap, Error>;

const PROMPTS: &[(&str, OfPrompt)] = &[
    ("fastv", |graph, tokens, [queries, keys], _, images| {
        Ok(FastV { images, rank: 0, bias: None }.build(graph, tokens, queries, keys)?.pruned.compressed.map)
    }),
    ("pyramiddrop", |graph, tokens, [queries, keys], _, images| {
        let mut method = PyramidDrop { images, ratios: vec![0.7, 0.4], floor: 1, ..PyramidDrop::default() };
        let is_range = matches!(images, Images::Range { .. });
        if !is_range {
            method.counts = method.counts(graph, tokens)?;
        }
        let first = method.build(graph, tokens, 0, queries, keys)?;
        if !is_range {
            method.images = first.images;
        }
        let map = first.pruned.compressed.map;
        let [queries, keys] = [map.gather(graph, queries)?, map.gather(graph, keys)?];
        let second = method.build(graph, &first.pruned.compressed.tokens, 1, queries, keys)?;
        map.then(graph, &second.pruned.compressed.map)
    }),
    ("sparsevlm", |graph, tokens, [queries, keys], _, images| {
        let method = SparseVlm { images, rank: 0, recycle: true, bias: None };
        let raters = method.raters(graph, tokens)?;
        Ok(method.build(graph, tokens, &raters, queries, keys)?.compressed.map)
    }),
    ("mustdrop", |graph, tokens, [queries, keys], _, images| {
        let key = graph.constant(HostTensor::u32([tokens.batch(), 1], vec![1; tokens.batch() as usize]));
        let prompt = Prefill::new(graph, *tokens, images, key)?;
        Ok(DualAttention { global: 0.3, individual: 0.21, floor: 2 }.build(graph, &prompt, queries, keys)?.map)
    }),
    ("btp", |graph, tokens, _, score, images| {
        Ok(BalancedPrune::first(3, vec![1]).in_prompt(graph, tokens, images, score)?.pruned.compressed.map)
    }),
    ("pumer", |graph, tokens, [queries, keys], _, images| {
        let method = PuMer { prune: 0.3, merge_text: 0.0, ..PuMer::default() };
        Ok(method.in_prompt(graph, tokens, images, None, queries, keys)?.compressed.map)
    }),
    ("tome", |graph, tokens, _, _, images| {
        let protect = Protect::AllBut(images);
        Ok(ToMe { merge: 3, protect, keep_order: true, ..ToMe::default() }.build(graph, tokens, tokens.x)?.map)
    }),
];

#[derive(Debug, Clone)]
pub struct Prompts {
    case: Protected,
    start: u32,
    image: u32,
}

prop_compose! {
    pub fn prompts()(case in protected())(
        start in 0..case.rows.tokens + 1,
        share in 0.0f64..1.0,
        method in 0..PROMPTS.len(),
        case in Just(case),
    ) -> Prompts {
        let image = (f64::from(case.rows.tokens - start) * share) as u32;
        Prompts { case: Protected { method, ..case }, start, image }
    }
}

impl Prompts {
    fn run(&self, run: Run<'_>, images: impl FnOnce(&mut Graph) -> Images) -> Vec<HostTensor> {
        let rows = &self.case.rows;
        let shape = [rows.rows() as u32, rows.tokens];
        let x = rows.x();
        let heads = x.clone().reshaped([shape[0], 1, shape[1], rows.channels]);
        let score = HostTensor::f32(shape, self.case.score.clone());
        outputs(run, &[&x, &rows.lengths(), &score, &heads], |graph, t| {
            let tokens = Tokens::ragged(graph, t[0], t[1])?;
            let images = images(graph);
            let map = PROMPTS[self.case.method].1(graph, &tokens, [t[3]; 2], t[2], images)?;
            Ok(vec![map.parent, map.representative, map.lengths])
        })
    }

    /// Tokens that are no image's are rows of their own, in order.
    fn others_stay(&self, results: &[HostTensor], row: usize, others: &[u32]) -> TestCaseResult {
        let [parent, representative, lengths] = results else { unreachable!("three outputs") };
        let (tokens, new) = (self.case.rows.tokens as usize, representative.shape().dims()[1] as usize);
        let (parent, left) = (&parent.integers()[row * tokens..][..tokens], lengths.integers()[row]);
        let representative = &representative.integers()[row * new..][..new];
        prop_assert!(left as usize <= new && parent.iter().all(|to| *to == NONE || *to < left), "{:?}", parent);
        for &token in others {
            let to = parent[token as usize];
            prop_assert!(to < left, "{}: token {} of row {}: {:?}", PROMPTS[self.case.method].0, token, row, parent);
            prop_assert_eq!(representative[to as usize], token);
            prop_assert_eq!(parent.iter().filter(|other| **other == to).count(), 1, "{:?}", parent);
        }
        prop_assert!(others.iter().map(|token| parent[*token as usize]).is_sorted(), "{:?}", parent);
        Ok(())
    }
}

/// Marks of a range are as good as the range, and marks may be anywhere.
pub fn images_may_be_anywhere(run: Run<'_>, prompts: Prompts) -> TestCaseResult {
    let Prompts { case, start, image } = &prompts;
    let (batch, tokens, start, image) = (case.rows.rows(), case.rows.tokens, *start, *image);
    let range = start..start + image;
    let by_range = prompts.run(run, |_| Images::Range { start, tokens: image });
    let marks = HostTensor::u32([tokens], (0..tokens).map(|i| u32::from(range.contains(&i))).collect());
    let others = tokens - image;
    let by_marks = prompts.run(run, |graph| Images::Marked { marks: graph.constant(marks), others });
    // To these a range has all its tokens in any row, marks those that a row has.
    let counts = ["pyramiddrop", "sparsevlm"].contains(&PROMPTS[case.method].0);
    if !counts || case.rows.lengths.iter().all(|live| *live >= range.end) {
        prop_assert_eq!(&by_range[0], &by_marks[0], "{}", PROMPTS[case.method].0);
        prop_assert_eq!(&by_range[2], &by_marks[2], "{}", PROMPTS[case.method].0);
    }
    let marks = HostTensor::u32([batch as u32, tokens], case.marks.iter().map(|mark| u32::from(*mark)).collect());
    let anywhere = prompts.run(run, |graph| Images::Marked { marks: graph.constant(marks), others: u32::MAX });
    for row in 0..batch {
        let live = 0..case.rows.lengths[row];
        prompts.others_stay(&by_range, row, &live.clone().filter(|i| !range.contains(i)).collect::<Vec<_>>())?;
        let of_row = &case.marks[row * tokens as usize..];
        prompts.others_stay(&anywhere, row, &live.filter(|i| !of_row[*i as usize]).collect::<Vec<_>>())?;
    }
    Ok(())
}
