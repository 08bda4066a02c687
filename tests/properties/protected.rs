//! What methods do with protected tokens, and what a list, marks and a count have in common.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use tokenpress::kernels::Partition;
use tokenpress::methods::{
    Affine, BalancedPrune, DualAttention, DynamicVit, EVit, FastV, Fusion, IdleVit, Images, Matching, PiToMe, Predictor, Prefill, Protect,
    PruMerge, PuMer, PyramidDrop, SparseVlm, ToFu, ToMe, VisionZip, WindowMerge,
};
use tokenpress::{Compressed, Desc, Elem, Error, Graph, HostTensor, NONE, Tensor, Tokens};

use crate::support::data;
use crate::{Side, finite};

/// What a method leaves of the tokens that are not protected, at these positions of a row; and how many it says itself that it chose.
type Left = fn(&Options, &[u32], u32) -> u32;

/// What a method makes of tokens, by a score; and how many tokens of each row it says that it chose, if its options do not say so.
type Build = fn(&mut Graph, &Tokens, Tensor, Protect, &Options) -> Result<(Compressed, Option<Tensor>), Error>;

/// Options of every method.
#[derive(Debug, Clone, Copy)]
struct Options {
    few: u32,
    /// Sixteenths.
    share: f64,
    flag: bool,
    /// Tokens of a prompt that are no image's, at most.
    others: u32,
}

fn count(tokens: &[u32]) -> u32 {
    tokens.len() as u32
}

fn of_pairs(options: &Options, others: &[u32], _: u32) -> u32 {
    count(others) - options.few.min(count(others) / 2)
}

/// Positions of a list: of every seven the first, the fourth and the seventh are in none.
fn is_destination(position: u32) -> bool {
    position % 7 == 1 || position % 7 == 4
}

fn is_source(position: u32) -> bool {
    [2, 3, 5].contains(&(position % 7))
}

const METHODS: &[(&str, Build, Left)] = &[
    (
        "tome",
        |graph, tokens, _, protect, options| {
            let method = ToMe { merge: options.few, protect, keep_order: options.flag, ..ToMe::default() };
            Ok((method.build(graph, tokens, tokens.x)?, None))
        },
        of_pairs,
    ),
    (
        "pitome",
        |graph, tokens, _, protect, options| {
            let method = PiToMe { merge: options.few, halves: options.flag, protect, ..PiToMe::default() };
            Ok((method.build(graph, tokens, tokens.x)?, None))
        },
        of_pairs,
    ),
    (
        "tofu",
        |graph, tokens, _, protect, options| {
            let fusion = if options.flag { Fusion::LongestMean } else { Fusion::Destination };
            Ok((ToFu { merge: options.few, protect, fusion }.build(graph, tokens, tokens.x)?, None))
        },
        of_pairs,
    ),
    (
        "tome, all",
        |graph, tokens, _, protect, options| {
            // A threshold that every pair passes.
            let threshold = options.flag.then_some(f32::NEG_INFINITY);
            let method = ToMe { merge: u32::MAX, threshold, protect, ..ToMe::default() };
            Ok((method.build(graph, tokens, tokens.x)?, None))
        },
        |options, others, _| of_pairs(&Options { few: u32::MAX, ..*options }, others, 0),
    ),
    (
        "tome, groups",
        |graph, tokens, _, protect, options| {
            let matching = Matching::Kth(1 + options.few);
            Ok((ToMe { matching, protect, keep_order: options.flag, ..ToMe::default() }.build(graph, tokens, tokens.x)?, None))
        },
        |options, others, _| count(others) / (1 + options.few),
    ),
    (
        "tome, lists",
        |graph, tokens, _, protect, options| {
            let mut list = |is: fn(u32) -> bool| {
                let positions: Vec<u32> = (0..tokens.capacity()).filter(|i| is(*i)).collect();
                graph.constant(HostTensor::u32([positions.len() as u32], positions))
            };
            let partition = Partition { sources: list(is_source), destinations: list(is_destination) };
            let method = ToMe { merge: options.few, matching: Matching::Lists(partition), protect, ..ToMe::default() };
            Ok((method.build(graph, tokens, tokens.x)?, None))
        },
        |options, others, _| {
            let [sources, destinations] = [is_source, is_destination].map(|is| others.iter().filter(|i| is(**i)).count() as u32);
            match options.few {
                0 => count(others),
                few => sources + destinations - if destinations > 0 { few.min(sources) } else { 0 },
            }
        },
    ),
    (
        "evit",
        |graph, tokens, score, protect, options| {
            let method = EVit { keep: options.share, floor: options.few, fuse: options.flag, protect };
            Ok((method.by_score(graph, tokens, score)?.compressed, None))
        },
        |options, others, _| {
            let kept = ((f64::from(count(others)) * options.share).ceil() as u32).max(options.few).min(count(others));
            kept + u32::from(options.flag && kept < count(others))
        },
    ),
    (
        "idlevit",
        |graph, tokens, score, protect, options| {
            Ok((IdleVit { keep: options.few, protect }.by_score(graph, tokens, score)?.pruned.compressed, None))
        },
        |options, others, _| options.few.min(count(others)),
    ),
    (
        "dynamic_vit",
        |graph, tokens, _, protect, options| {
            let predictor = predictor(graph, tokens)?;
            Ok((DynamicVit { keep: options.few, protect }.build(graph, tokens, &predictor)?.pruned.compressed, None))
        },
        |options, others, _| options.few.min(count(others)),
    ),
    (
        "visionzip",
        |graph, tokens, score, protect, options| {
            let method = VisionZip { dominant: options.few, contextual: CONTEXTUAL, protect, ..VisionZip::default() };
            Ok((method.by_score(graph, tokens, score, tokens.x)?.compressed, None))
        },
        |options, others, _| {
            let rest = count(others).saturating_sub(options.few);
            count(others) - rest + rest.div_ceil((rest / CONTEXTUAL).max(1)).min(CONTEXTUAL)
        },
    ),
    (
        "prumerge",
        |graph, tokens, score, protect, options| {
            let method = PruMerge { factor: 0.5, floor: options.few, neighbours: 2, protect, ..PruMerge::default() };
            let merged = method.by_score(graph, tokens, score, tokens.x)?;
            Ok((merged.compressed, Some(merged.outliers)))
        },
        // What was dropped is one token more.
        |_, others, outliers| outliers + u32::from(outliers < count(others)),
    ),
    (
        "prumerge plus",
        |graph, tokens, score, protect, options| {
            let method = PruMerge { factor: 0.5, neighbours: options.few, spatial: true, protect, ..PruMerge::default() };
            let merged = method.by_score(graph, tokens, score, tokens.x)?;
            Ok((merged.compressed, Some(merged.kept.1)))
        },
        |_, others, kept| kept + u32::from(kept < count(others)),
    ),
    (
        "window_merge",
        |graph, tokens, _, protect, options| {
            let (height, width) = (tokens.capacity().div_ceil(4).next_multiple_of(2), 4);
            let threshold = if options.flag { -1.0 } else { 0.5 };
            let method = WindowMerge { height, width, window: 2, threshold, shared_count: false, protect };
            let merged = method.build(graph, tokens)?;
            Ok((merged.compressed, Some(merged.selection.kept)))
        },
        |options, others, windows| {
            // The last places of whole windows: of two columns in every second row.
            let whole = (0..count(others)).filter(|place| place % 8 == 5 || place % 8 == 7).count() as u32;
            count(others) - 3 * if options.flag { whole } else { windows.min(whole) }
        },
    ),
    (
        "apart",
        |graph, tokens, _, protect, options| {
            let [stay, rest] = protect.apart(graph, tokens)?;
            let merged = ToMe { merge: options.few, ..ToMe::default() }.build(graph, &rest.tokens, rest.tokens.x)?;
            let merged = rest.then(graph, &merged)?;
            Ok((stay.append(graph, &merged)?, None))
        },
        of_pairs,
    ),
];

const CONTEXTUAL: u32 = 3;

fn predictor(graph: &mut Graph, tokens: &Tokens) -> Result<Predictor, Error> {
    let elem = tokens.x.elem();
    let [_, _, channels] = tokens.x.shape().exactly("x", "[B, N, C]")?;
    let mut weights = |shape: &[u32], of: &dyn Fn(u32) -> f32| {
        let shape = tokenpress::Shape::try_from(shape)?;
        Ok::<_, Error>(graph.constant(HostTensor::from_floats(Desc::new(shape, elem), (0..shape.elements() as u32).map(of).collect())))
    };
    let two = weights(&[2 * channels], &|i| 1.0 - i as f32)?;
    // Every channel twice, so that there is an even number.
    let twice = weights(&[2 * channels, channels], &|i| f32::from(u8::from(i / channels / 2 == i % channels)))?;
    let mut layer = |o: u32, k: u32| Ok::<_, Error>(Affine { weight: weights(&[o, k], &|i| (i % 5) as f32 - 2.0)?, bias: None });
    let last = [layer(channels, 2 * channels)?, layer(1, channels)?, layer(2, 1)?];
    let norm = Affine { weight: weights(&[channels], &|_| 1.0)?, bias: None };
    Ok(Predictor { norm, first: Affine { weight: twice, bias: Some(two) }, last })
}

#[derive(Debug, Clone)]
pub struct Batch {
    tokens: u32,
    channels: u32,
    lengths: Vec<u32>,
    elem: Elem,
    method: usize,
    options: Options,
    /// A mark for each token.
    marks: Vec<bool>,
    most: u32,
    seed: u64,
}

prop_compose! {
    pub fn batches()(tokens in 1u32..40, batch in 1usize..4)(
        lengths in prop::collection::vec(0..=tokens, batch),
        marks in prop::collection::vec(prop::bool::weighted(0.2), batch * tokens as usize),
        most in prop_oneof![Just(u32::MAX), 0..tokens + 1],
        channels in 1u32..10,
        elem in prop::sample::select(vec![Elem::F32, Elem::F16, Elem::BF16]),
        method in 0..METHODS.len(),
        few in 0u32..9,
        others in 0..tokens + 1,
        share in (1u8..=16).prop_map(|n| f64::from(n) / 16.0),
        flag in any::<bool>(),
        seed in any::<u64>(),
        tokens in Just(tokens),
    ) -> Batch {
        Batch { tokens, channels, lengths, elem, method, options: Options { few, share, flag, others }, marks, most, seed }
    }
}

impl Batch {
    fn rows(&self) -> usize {
        self.lengths.len()
    }

    fn of_tokens(&self, values: Vec<f32>) -> HostTensor {
        HostTensor::f32([self.rows() as u32, self.tokens], values)
    }

    fn x(&self) -> HostTensor {
        let desc = Desc::new([self.rows() as u32, self.tokens, self.channels], self.elem);
        HostTensor::from_floats(desc, finite(self.seed, desc.shape.elements() as usize))
    }

    /// Of every kind, NaN among them.
    fn score(&self) -> HostTensor {
        self.of_tokens(data::awkward(self.seed ^ 1, self.marks.len()))
    }

    fn sizes(&self) -> HostTensor {
        self.of_tokens(data::integers(self.seed ^ 2, self.marks.len(), 8).into_iter().map(|v| (v + 1) as f32).collect())
    }

    fn lengths(&self) -> HostTensor {
        HostTensor::u32([self.rows() as u32], self.lengths.clone())
    }

    /// Parents, representatives, rows, sizes and lengths; and what the method says that it chose.
    fn run(&self, side: Side<'_>, protect: impl FnOnce(&mut Graph) -> Protect) -> Vec<HostTensor> {
        side.outputs(&[&self.x(), &self.sizes(), &self.lengths(), &self.score()], |graph, t| {
            let tokens = Tokens { x: t[0], size: t[1], lengths: t[2] };
            let protect = protect(graph);
            let (Compressed { tokens, map }, chosen) = METHODS[self.method].1(graph, &tokens, t[3], protect, &self.options)?;
            let chosen = chosen.unwrap_or(tokens.lengths);
            Ok(vec![map.parent, map.representative, tokens.x, tokens.size, tokens.lengths, chosen])
        })
    }

    /// The live tokens of a row that are protected.
    fn of_row(&self, row: usize) -> Vec<u32> {
        let tokens = self.tokens as usize;
        let marked = |i: &u32| self.marks[row * tokens + *i as usize];
        (0..self.lengths[row]).filter(marked).take(self.most as usize).collect()
    }

    /// Each is an output of its own, the same to the bit; every method puts them in order; and of the others so many are left as it says.
    fn survive(&self, results: &[HostTensor], row: usize, protected: &[u32]) -> TestCaseResult {
        let [_, _, _, size, lengths, chosen] = results else { unreachable!("six outputs") };
        self.stay(results, row, protected)?;
        let (tokens, new) = (self.tokens as usize, results[1].shape().dims()[1] as usize);
        let (parent, sizes) = (&results[0].integers()[row * tokens..][..tokens], self.sizes().floats());
        for &token in protected {
            prop_assert_eq!(size.floats()[row * new + parent[token as usize] as usize], sizes[row * tokens + token as usize]);
        }
        let others: Vec<u32> = (0..self.lengths[row]).filter(|token| !protected.contains(token)).collect();
        let left = METHODS[self.method].2(&self.options, &others, chosen.integers()[row]);
        prop_assert_eq!(lengths.integers()[row], count(protected) + left, "{}", METHODS[self.method].0);
        Ok(())
    }

    /// Each of these is a row of its own, the same to the bit, and they are in order. All that is live is somewhere within the capacity.
    fn stay(&self, results: &[HostTensor], row: usize, protected: &[u32]) -> TestCaseResult {
        let [parent, representative, x, _, lengths, ..] = results else { unreachable!("five outputs or more") };
        let (tokens, width) = (self.tokens as usize, self.channels as usize * self.elem.size() as usize);
        let (new, left) = (representative.shape().dims()[1] as usize, lengths.integers()[row]);
        let (parent, before) = (&parent.integers()[row * tokens..][..tokens], self.x());
        for &token in protected {
            let (to, token) = (parent[token as usize], token as usize);
            prop_assert!(to < left, "token {} of row {}: {:?}", token, row, parent);
            prop_assert_eq!(parent.iter().filter(|other| **other == to).count(), 1, "{:?}", parent);
            let (from, to) = (row * tokens + token, row * new + to as usize);
            prop_assert_eq!(representative.integers()[to] as usize, token);
            prop_assert_eq!(&x.bytes()[to * width..][..width], &before.bytes()[from * width..][..width]);
        }
        let places: Vec<u32> = protected.iter().map(|token| parent[*token as usize]).collect();
        prop_assert!(places.is_sorted(), "{:?}", places);
        prop_assert!(left as usize <= new && parent.iter().all(|to| *to == NONE || *to < left), "{:?}", parent);
        prop_assert!(representative.integers()[row * new..][..left as usize].iter().all(|token| *token != NONE));
        Ok(())
    }
}

/// By marks, as numbers of some type, and by lists.
pub fn protected_tokens_survive_unchanged(case: Batch, side: Side<'_>) -> TestCaseResult {
    let (batch, tokens) = (case.rows(), case.tokens);
    let marks: Vec<u32> = case.marks.iter().enumerate().map(|(i, mark)| if *mark { 1 + i as u32 % 3 } else { 0 }).collect();
    let marks = HostTensor::u32([batch as u32, tokens], marks);
    let by_marks = case.run(side, |graph| Protect::Marked { marks: graph.constant(marks.clone()), most: case.most });
    let floats =
        HostTensor::from_floats(Desc::new([batch as u32, tokens], Elem::F32), marks.integers().iter().map(|m| *m as f32).collect());
    let by_floats = case.run(side, |graph| Protect::Marked { marks: graph.constant(floats), most: case.most });
    // In any order, some twice, and some that are none.
    let entries = tokens + 3;
    let list = (0..batch).flat_map(|row| {
        let mut list = case.of_row(row);
        list.reverse();
        list.extend(list.first().copied());
        list.push(NONE);
        list.push(tokens);
        list.resize(entries as usize, case.lengths[row].max(tokens));
        list
    });
    let list = HostTensor::u32([batch as u32, entries], list.collect());
    let by_list = case.run(side, |graph| Protect::Listed(graph.constant(list)));
    for row in 0..batch {
        case.survive(&by_marks, row, &case.of_row(row))?;
        case.survive(&by_list, row, &case.of_row(row))?;
    }
    for (by_marks, by_floats) in by_marks.iter().zip(&by_floats) {
        prop_assert_eq!(by_marks.bytes(), by_floats.bytes());
    }
    // The list has room for more, and so may have what comes of it. Where no token may be protected, ToMe's sources have another order.
    if case.most > 0 {
        prop_assert_eq!(&by_marks[0], &by_list[0]);
    }
    prop_assert_eq!(&by_marks[4], &by_list[4]);
    Ok(())
}

/// The first so many tokens by a count, by a list, and by marks.
pub fn leading_tokens_may_be_counted_listed_or_marked(case: Batch, side: Side<'_>) -> TestCaseResult {
    let (batch, tokens) = (case.rows(), case.tokens);
    let count = case.most.min(7);
    let counted = case.run(side, |_| Protect::Leading(count));
    for row in 0..batch {
        let live = case.lengths[row];
        case.survive(&counted, row, &(0..count.min(live)).collect::<Vec<_>>())?;
    }
    let marks = HostTensor::u32([tokens], (0..tokens).map(|i| u32::from(i < count)).collect());
    let marked = case.run(side, |graph| Protect::Marked { marks: graph.constant(marks), most: count });
    let list = HostTensor::u32([count], (0..count).collect());
    let listed = case.run(side, |graph| Protect::Listed(graph.constant(list)));
    let [counted, marked, listed] = [&counted, &marked, &listed].map(|results| [&results[0], &results[4]]);
    prop_assert_eq!(counted, marked);
    prop_assert_eq!(counted, listed);
    Ok(())
}

/// Of every method whose images may be anywhere: what it makes of a prompt, and the other tokens' places.
type OfPrompt = fn(&mut Graph, &Tokens, [Tensor; 2], Tensor, Images, &Options) -> Result<Compressed, Error>;

/// Of so many live image tokens, of an image of so many, how many are left, where the options say so.
type LeftOfImages = fn(&Options, u32, u32) -> Option<u32>;

const PROMPTS: &[(&str, OfPrompt, LeftOfImages)] = &[
    (
        "fastv",
        |graph, tokens, [queries, keys], _, images, options| {
            Ok(FastV { images, rank: options.few, bias: None }.build(graph, tokens, queries, keys)?.pruned.compressed)
        },
        |options, live, _| Some(live.min(options.few)),
    ),
    (
        "pyramiddrop",
        |graph, tokens, [queries, keys], _, images, options| {
            let mut method =
                PyramidDrop { images, ratios: vec![0.75, options.share.min(0.75)], floor: options.few, ..PyramidDrop::default() };
            let is_range = matches!(images, Images::Range { .. });
            if !is_range && options.flag {
                method.counts = method.counts(graph, tokens)?;
            }
            let first = method.build(graph, tokens, 0, queries, keys)?;
            if !is_range {
                method.counts = method.counts(graph, tokens)?;
                method.images = first.images;
            }
            let map = first.pruned.compressed.map;
            let [queries, keys] = [map.gather(graph, queries)?, map.gather(graph, keys)?];
            let second = method.build(graph, &first.pruned.compressed.tokens, 1, queries, keys)?;
            first.pruned.compressed.then(graph, &second.pruned.compressed)
        },
        |options, live, whole| {
            let share = (f64::from(whole) * options.share.min(0.75)) as u32;
            Some(share.max(options.few).min(live))
        },
    ),
    (
        "sparsevlm",
        |graph, tokens, [queries, keys], _, images, options| {
            let mut method = SparseVlm { images, rank: options.few, recycle: options.flag, bias: None };
            let raters = method.raters(graph, tokens)?;
            let first = method.build(graph, tokens, &raters, queries, keys)?;
            method.images = first.images;
            let map = first.compressed.map;
            let [queries, keys] = [map.gather(graph, queries)?, map.gather(graph, keys)?];
            let second = method.build(graph, &first.compressed.tokens, &raters, queries, keys)?;
            first.compressed.then(graph, &second.compressed)
        },
        |options, live, _| (!options.flag).then_some(live.min(options.few)),
    ),
    (
        "mustdrop",
        |graph, tokens, [queries, keys], _, images, options| {
            let key = graph.constant(HostTensor::u32([tokens.batch(), 1], vec![1; tokens.batch() as usize]));
            let prompt = Prefill::new(graph, *tokens, images, key)?;
            let kept = DualAttention { global: 0.3, individual: 0.21, floor: options.few }.build(graph, &prompt, queries, keys)?;
            Ok(Compressed { tokens: kept.prompt.tokens, map: kept.map })
        },
        |_, _, _| None,
    ),
    (
        "btp",
        |graph, tokens, _, score, images, options| {
            Ok(BalancedPrune::first(options.few, vec![1]).in_prompt(graph, tokens, images, score)?.pruned.compressed)
        },
        |options, live, _| Some(live.min(options.few)),
    ),
    (
        "pumer",
        |graph, tokens, [queries, keys], _, images, options| {
            let method = PuMer { prune: options.share, merge_text: 0.0, ..PuMer::default() };
            Ok(method.in_prompt(graph, tokens, images, None, queries, keys)?.compressed)
        },
        |_, _, _| None,
    ),
    (
        "tome",
        |graph, tokens, _, _, images, options| {
            let protect = Protect::AllBut(images);
            ToMe { merge: options.few, protect, keep_order: options.flag, ..ToMe::default() }.build(graph, tokens, tokens.x)
        },
        |options, live, _| Some(live - options.few.min(live / 2)),
    ),
];

#[derive(Debug, Clone)]
pub struct Prompts {
    case: Batch,
    start: u32,
    image: u32,
}

prop_compose! {
    pub fn prompts()(case in batches())(
        start in 0..case.tokens + 1,
        share in 0.0f64..1.0,
        method in 0..PROMPTS.len(),
        case in Just(case),
    ) -> Prompts {
        let image = (f64::from(case.tokens - start) * share) as u32;
        // No more of a range can stay than it has.
        let options = Options { few: case.options.few.min(image), ..case.options };
        Prompts { case: Batch { method, options, ..case }, start, image }
    }
}

impl Prompts {
    /// Parents, representatives, rows, sizes and lengths.
    fn run(&self, side: Side<'_>, images: impl FnOnce(&mut Graph) -> Images) -> Vec<HostTensor> {
        let case = &self.case;
        let x = case.x();
        let heads = x.clone().reshaped([case.rows() as u32, 1, case.tokens, case.channels]);
        side.outputs(&[&x, &case.lengths(), &case.score(), &heads], |graph, t| {
            let tokens = Tokens::ragged(graph, t[0], t[1])?;
            let images = images(graph);
            let Compressed { tokens, map } = PROMPTS[case.method].1(graph, &tokens, [t[3]; 2], t[2], images, &case.options)?;
            Ok(vec![map.parent, map.representative, tokens.x, tokens.size, tokens.lengths])
        })
    }

    /// Tokens that are no image's stay as they are, and of the image's so many as the method says.
    fn others_stay(&self, results: &[HostTensor], row: usize, is_image: impl Fn(u32) -> bool, whole: Option<u32>) -> TestCaseResult {
        let (image, others): (Vec<u32>, Vec<u32>) = (0..self.case.lengths[row]).partition(|token| is_image(*token));
        self.case.stay(results, row, &others)?;
        let method = PROMPTS[self.case.method];
        if let Some(left) = method.2(&self.case.options, count(&image), whole.unwrap_or(count(&image))) {
            prop_assert_eq!(results[4].integers()[row], count(&others) + left, "{}", method.0);
        }
        Ok(())
    }
}

/// Marks of a range are as good as the range, and marks may be anywhere.
pub fn images_may_be_anywhere(prompts: Prompts, side: Side<'_>) -> TestCaseResult {
    let Prompts { case, start, image } = &prompts;
    let (batch, tokens, start, image) = (case.rows(), case.tokens, *start, *image);
    let range = start..start + image;
    let by_range = prompts.run(side, |_| Images::Range { start, tokens: image });
    let marks = HostTensor::u32([tokens], (0..tokens).map(|i| u32::from(range.contains(&i))).collect());
    let others = tokens - image;
    let by_marks = prompts.run(side, |graph| Images::Marked { marks: graph.constant(marks), others });
    // To these a range has all its tokens in any row, marks those that a row has.
    let counts = ["pyramiddrop", "sparsevlm"].contains(&PROMPTS[case.method].0);
    if !counts || case.lengths.iter().all(|live| *live >= range.end) {
        prop_assert_eq!(&by_range[0], &by_marks[0], "{}", PROMPTS[case.method].0);
        prop_assert_eq!(&by_range[4], &by_marks[4], "{}", PROMPTS[case.method].0);
    }
    // Of these the options say how many tokens stay of a row at most.
    if ["fastv", "sparsevlm", "btp", "tome"].contains(&PROMPTS[case.method].0) {
        prop_assert_eq!(by_range[2].shape(), by_marks[2].shape(), "{}", PROMPTS[case.method].0);
    }
    let marks = HostTensor::u32([batch as u32, tokens], case.marks.iter().map(|mark| u32::from(*mark)).collect());
    let anywhere = prompts.run(side, |graph| Images::Marked { marks: graph.constant(marks.clone()), others: u32::MAX });
    // Of more than there may be the last are an image's.
    let few = prompts.run(side, |graph| Images::Marked { marks: graph.constant(marks), others: case.options.others });
    for row in 0..batch {
        prompts.others_stay(&by_range, row, |i| range.contains(&i), Some(image))?;
        prompts.others_stay(&by_marks, row, |i| range.contains(&i), None)?;
        let of_row = &case.marks[row * tokens as usize..];
        prompts.others_stay(&anywhere, row, |i| of_row[i as usize], None)?;
        let before = |i: u32| of_row[..i as usize].iter().filter(|mark| !**mark).count() as u32;
        prompts.others_stay(&few, row, |i| of_row[i as usize] || before(i) >= case.options.others, None)?;
    }
    Ok(())
}
