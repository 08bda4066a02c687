//! Every option of every method, at every value that a caller may set it to by mistake: an error or a graph, never a panic, and at
//! once.

use std::time::{Duration, Instant};

use tokenpress::kernels::{Affinity, Partition};
use tokenpress::methods::{
    AToMe, AdjacentPairs, BalancedPrune, CdPruner, Content, Dart, DensityClusters, DiffFp, DivPrune, DualAttention, DyCoke, DyCokeCache,
    DyCokeStep, DynamicVit, EVit, Evs, FastAdaSp, FastV, FastVid, Faster, FrameFusion, HiPrune, HoliTom, HoloV, IdPruner, IdleVit, Images,
    Join, KeyTokens, LlavaNext, LlavaScissor, LlavaVideo, Matching, Newline, OmniZip, Pact, PairChoice, PiToMe, PixelPrune, PoolMode,
    Prefill, Projector, Protect, PruMerge, PuMer, PyramidDrop, RebalancedTopK, Samp, Scope, SparseVlm, Sttm, ToFu, ToMe, Unpadding,
    VidCom2, VisPruner, VisionZip, WindowMerge, average_frames, qwen2_vl_patch_order, stack_frames,
};
use tokenpress::schedule::{MergeSchedule, Rounding, ShareOf, StagedKeep};
use tokenpress::{Elem, Error, Graph, Tensor, Tokens};

/// A graph with six tokens of four channels, and what methods read beside them.
struct Given {
    graph: Graph,
    tokens: Tokens,
    heads: Tensor,
    score: Tensor,
    /// Calls that are made before an option counts.
    calls: usize,
}

fn given(ragged: bool) -> Given {
    let mut graph = Graph::new();
    let x = graph.input("x", [2, 6, 4], Elem::F32);
    let heads = graph.input("heads", [2, 1, 6, 4], Elem::F32);
    let score = graph.input("score", [2, 6], Elem::F32);
    let tokens = if ragged {
        let lengths = graph.input("lengths", [2], Elem::U32);
        Tokens::ragged(&mut graph, x, lengths)
    } else {
        Tokens::new(&mut graph, x)
    };
    Given { graph, tokens: tokens.expect("tokens"), heads, score, calls: 0 }
}

/// What is to be said of an option.
#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    /// Whatever it is, an error or a graph.
    Either,
    Error,
}

type Build<T> = fn(&mut Given, T) -> Result<(), Error>;

fn check<T: Copy + std::fmt::Debug>(name: &str, values: &[(T, Wanted)], build: Build<T>) {
    for (value, wanted) in values {
        for ragged in [false, true] {
            let (start, mut given) = (Instant::now(), given(ragged));
            let result = build(&mut given, *value);
            assert!(start.elapsed() < Duration::from_secs(2), "{name} {value:?} took {:?}", start.elapsed());
            assert!(*wanted == Either || result.is_err(), "{name} {value:?} was accepted");
            // A graph that a caller goes on with has nothing of what was refused.
            assert!(*wanted == Either || given.graph.calls() == given.calls, "{name} {value:?} was refused late");
            if let Err(error) = result {
                assert!(error.to_string().len() < 600, "{name} {value:?}: {error}");
            }
        }
    }
}

use Wanted::{Either, Error as Refused};

/// Shares from 0 to 1.
fn shares(name: &str, build: Build<f64>) {
    let wrong = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -f64::MIN_POSITIVE, 1.0 + f64::EPSILON, 2.0].map(|v| (v, Refused));
    check(name, &wrong, build);
    check(name, &[0.0, -0.0, f64::MIN_POSITIVE, 0.5, 1.0].map(|v| (v, Either)), build);
    assert!(build(&mut given(false), 0.5).is_ok(), "{name}: 0.5");
}

/// Thresholds, which may be infinite.
fn thresholds(name: &str, build: Build<f32>) {
    check(name, &[(f32::NAN, Refused), (f32::INFINITY, Either), (f32::NEG_INFINITY, Either), (f32::MAX, Either), (-1.0, Either)], build);
    assert!(build(&mut given(false), 0.5).is_ok(), "{name}: 0.5");
}

const COUNTS: [u32; 8] = [0, 1, 5, 6, 7, 65536, 1 << 31, u32::MAX];

fn counts(name: &str, build: Build<u32>) {
    check(name, &COUNTS.map(|count| (count, Either)), build);
}

/// Counts of which 0 is none.
fn positive(name: &str, build: Build<u32>) {
    check(name, &[(0, Refused)], build);
    counts(name, build);
}

#[test]
fn shares_are_from_nothing_to_all() {
    shares("evs prune", |g, prune| Evs { tokens_per_frame: 2, prune, floor: 0 }.build(&mut g.graph, &g.tokens).map(drop));
    shares("dycoke merge", |g, merge| DyCoke { tokens_per_frame: 2, merge }.build(&mut g.graph, &g.tokens).map(drop));
    shares("dycoke keep", |g, keep| {
        let step = DyCokeStep { attention: g.score, selected: g.graph.input("selected", [2, 3], Elem::U32) };
        DyCokeCache { keep, similarity: 0.9 }.step(&mut g.graph, g.score, None, step).map(drop)
    });
    shares("divprune keep", |g, keep| DivPrune { keep, floor: 0 }.build(&mut g.graph, &g.tokens).map(drop));
    shares("idpruner keep", |g, keep| IdPruner { keep, relevance: 0.5, floor: 0 }.build(&mut g.graph, &g.tokens, g.score).map(drop));
    shares("idpruner relevance", |g, relevance| {
        // What is just above 1 or below 0 is not so in f32.
        let relevance =
            if (0.0..=1.0).contains(&relevance) { relevance as f32 } else { 3.0 * relevance as f32 + relevance.signum() as f32 };
        IdPruner { keep: 0.5, relevance, floor: 0 }.build(&mut g.graph, &g.tokens, g.score).map(drop)
    });
    shares("dart keep", |g, keep| Dart { keep, image_pivots: 2, floor: 0 }.build(&mut g.graph, &g.tokens, g.score, None).map(drop));
    shares("hiprune keep", |g, keep| {
        HiPrune { keep, share: 0.5, width: 3, wrap: false, floor: 0 }.build(&mut g.graph, &g.tokens, g.score, g.score).map(drop)
    });
    shares("hiprune share", |g, share| {
        HiPrune { keep: 0.5, share, width: 3, wrap: true, floor: 0 }.build(&mut g.graph, &g.tokens, g.score, g.score).map(drop)
    });
    shares("vispruner important", |g, important| VisPruner { keep: 3, important }.build(&mut g.graph, &g.tokens, g.score).map(drop));
    shares("key tokens share by score", |g, share| {
        KeyTokens { share, protect: protect(g) }.by_score(&mut g.graph, &g.tokens, g.score).map(drop)
    });
    shares("key tokens share", |g, share| {
        KeyTokens { share, ..KeyTokens::default() }.build(&mut g.graph, &g.tokens, g.heads, g.heads).map(drop)
    });
    shares("samp keep", |g, keep| Samp { threshold: 0.5, keep, floor: 2 }.build(&mut g.graph, &g.tokens, g.score, g.score).map(drop));
    shares("atome merge", |g, share| atome(g, PairChoice::Merge(share)));
    shares("atome keep", |g, share| atome(g, PairChoice::Keep(share)));
    shares("framefusion most", |g, most| framefusion(g, FrameFusion { most, ..FrameFusion::default() }));
    shares("framefusion keep", |g, keep| {
        let places = g.graph.input("places", [2, 6], Elem::U32);
        FrameFusion::default().prune(&mut g.graph, &g.tokens, places, g.score, keep).map(drop)
    });
    shares("pumer prune", |g, prune| pumer(g, PuMer { prune, ..PuMer::default() }));
    shares("pumer merge", |g, merge| pumer(g, PuMer { merge, ..PuMer::default() }));
    shares("pumer merge_text", |g, merge_text| pumer(g, PuMer { merge_text, ..PuMer::default() }));
    shares("pyramiddrop ratio", |g, ratio| pyramiddrop(g, vec![ratio], 0));
    shares("pyramiddrop ratio of marked images", |g, ratio| {
        let marks = g.graph.input("marks", [2, 6], Elem::F32);
        let method = PyramidDrop { images: Images::Marked { marks, others: 2 }, ratios: vec![0.5, ratio], ..PyramidDrop::default() };
        method.counts(&mut g.graph, &g.tokens).map(drop)
    });
    shares("btp attention", |g, attention| btp(g, BalancedPrune { attention, ..BalancedPrune::first(3, vec![]) }));
    shares("btp diversity", |g, diversity| btp(g, BalancedPrune { diversity, ..BalancedPrune::first(3, vec![]) }));
    shares("staged keep", |_, keep| {
        StagedKeep { stages: vec![(1, keep)], of: ShareOf::First, rounding: Rounding::Floor }.lengths(3, 10).map(drop)
    });
    shares("scope keep", |g, keep| Scope { keep, ..Scope::default() }.build(&mut g.graph, &g.tokens, g.score).map(drop));
    shares("fastvid keep", |g, keep| fastvid(g, FastVid { keep, ..FastVid::default() }));
    shares("fastvid context", |g, context| fastvid(g, FastVid { context, ..FastVid::default() }));
    shares("fastvid own", |g, own| fastvid(g, FastVid { own, ..FastVid::default() }));
    check("holitom keep", &[f32::NAN, f32::INFINITY, -0.1, 1.1].map(|share| (share, Refused)), |g, keep| {
        holitom(g, HoliTom { keep, ..HoliTom::default() })
    });
    check("holitom own", &[f32::NAN, f32::INFINITY, -0.1, 1.1].map(|share| (share, Refused)), |g, own| {
        holitom(g, HoliTom { own, ..HoliTom::default() })
    });
    shares("omnizip audio", |g, audio| omnizip(g, OmniZip { audio, ..OmniZip::default() }));
    shares("omnizip context", |g, context| omnizip(g, OmniZip { context, ..OmniZip::default() }));
    let wrong = [f32::NAN, f32::INFINITY, -0.1, 1.1].map(|share| (share, Refused));
    check("omnizip video", &wrong, |g, video| omnizip(g, OmniZip { video, ..OmniZip::default() }));
    check("omnizip least", &wrong, |g, least| omnizip(g, OmniZip { least, ..OmniZip::default() }));
    check("omnizip most", &wrong, |g, most| omnizip(g, OmniZip { most, ..OmniZip::default() }));
    shares("pact keep", |g, keep| Pact { keep, ..Pact::default() }.build(&mut g.graph, &g.tokens, g.score, g.tokens.x).map(drop));
    check("evit keep", &[f64::NAN, f64::INFINITY, 0.0, -1.0, 1.1].map(|v| (v, Refused)), |g, keep| {
        EVit { keep, ..EVit::default() }.build(&mut g.graph, &g.tokens, g.heads, g.heads).map(drop)
    });
    check("btp oversample in a prompt", &[f64::NAN, f64::INFINITY, 0.0, -1.0, 0.9].map(|v| (v, Refused)), |g, oversample| {
        let marks = g.graph.input("marks", [2, 6], Elem::F32);
        let method = BalancedPrune { oversample, ..BalancedPrune::first(3, vec![]) };
        method.in_prompt(&mut g.graph, &g.tokens, Images::Marked { marks, others: 2 }, g.score).map(drop)
    });
    check("btp oversample", &[f64::NAN, f64::INFINITY, 0.0, -1.0, 0.9].map(|v| (v, Refused)), |g, oversample| {
        RebalancedTopK { select: 2, oversample, early: 2 }.build(&mut g.graph, g.score, None).map(drop)
    });
    check("inflect", &[f64::NAN, f64::INFINITY, -1.1, 2.0].map(|v| (v, Refused)), |_, inflect| {
        MergeSchedule::Linear { merge: 4, inflect }.counts(3).map(drop)
    });
    check("vidcom2 base", &[f32::NAN, f32::INFINITY, -1.0, 1.1].map(|v| (v, Refused)), |g, base| {
        VidCom2 { tokens_per_frame: 2, base }.build(&mut g.graph, &g.tokens).map(drop)
    });
}

#[test]
fn thresholds_are_numbers() {
    thresholds("tome", |g, threshold| {
        let method = ToMe { merge: 2, threshold: Some(threshold), ..ToMe::default() };
        method.build(&mut g.graph, &g.tokens, g.tokens.x).map(drop)
    });
    thresholds("atome", |g, threshold| atome(g, PairChoice::Similarity(threshold)));
    thresholds("fastadasp", |g, threshold| {
        FastAdaSp { choice: PairChoice::Similarity(threshold) }.build(&mut g.graph, &g.tokens, g.tokens.x, None).map(drop)
    });
    thresholds("samp", |g, threshold| Samp { threshold, keep: 0.5, floor: 2 }.build(&mut g.graph, &g.tokens, g.score, g.score).map(drop));
    thresholds("framefusion", |g, similarity| framefusion(g, FrameFusion { similarity, ..FrameFusion::default() }));
    thresholds("difffp", |g, threshold| DiffFp { tokens_per_frame: 2, threshold, floor: 1 }.build(&mut g.graph, &g.tokens).map(drop));
    thresholds("llava_scissor", |g, threshold| LlavaScissor { tokens_per_frame: 2, threshold }.build(&mut g.graph, &g.tokens).map(drop));
    thresholds("holitom", |g, threshold| holitom(g, HoliTom { threshold, ..HoliTom::default() }));
    thresholds("fastvid", |g, threshold| fastvid(g, FastVid { threshold, ..FastVid::default() }));
    check("pact cutoff", &[f32::NAN, f32::INFINITY, -0.1, 2.1].map(|v| (v, Refused)), |g, cutoff| {
        Pact { cutoff, ..Pact::default() }.build(&mut g.graph, &g.tokens, g.score, g.tokens.x).map(drop)
    });
    check("pact reach", &[f32::NAN, f32::INFINITY, -0.1].map(|v| (v, Refused)), |g, reach| {
        Pact { reach, ..Pact::default() }.build(&mut g.graph, &g.tokens, g.score, g.tokens.x).map(drop)
    });
    thresholds("sttm", |g, threshold| Sttm { threshold, width: 3, ..Sttm::default() }.build(&mut g.graph, &g.tokens).map(drop));
    thresholds("sttm temporal", |g, temporal| {
        Sttm { temporal: Some(temporal), width: 3, ..Sttm::default() }.build(&mut g.graph, &g.tokens).map(drop)
    });
    thresholds("pixelprune", |g, threshold| {
        PixelPrune { width: 2, threshold, ..PixelPrune::default() }.build(&mut g.graph, &g.tokens).map(drop)
    });
    thresholds("dycoke", |g, similarity| {
        let step = DyCokeStep { attention: g.score, selected: g.graph.input("selected", [2, 3], Elem::U32) };
        DyCokeCache { keep: 0.5, similarity }.step(&mut g.graph, g.score, None, step).map(drop)
    });
    thresholds("mustdrop individual", |g, individual| mustdrop(g, DualAttention { global: 0.1, individual, floor: 0 }));
    check("mustdrop global", &[f32::NAN, f32::INFINITY, -1.0].map(|v| (v, Refused)), |g, global| {
        mustdrop(g, DualAttention { global, individual: 0.1, floor: 0 })
    });
    check("prumerge factor", &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(|v| (v, Refused)), |g, factor| {
        prumerge(g, PruMerge { factor, neighbours: 2, ..PruMerge::default() })
    });
    check("prumerge factor by score", &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(|v| (v, Refused)), |g, factor| {
        let method = PruMerge { factor, neighbours: 2, protect: protect(g), ..PruMerge::default() };
        method.by_score(&mut g.graph, &g.tokens, g.score, g.tokens.x).map(drop)
    });
    check("pitome margin", &[f32::NAN, f32::INFINITY].map(|v| (v, Refused)), |g, margin| {
        PiToMe { merge: 2, energy: Affinity::Elu { margin }, ..PiToMe::default() }.build(&mut g.graph, &g.tokens, g.heads).map(drop)
    });
    check("pitome width", &[f32::NAN, f32::INFINITY, 0.0, -1.0, 1e-9].map(|v| (v, Refused)), |g, width| {
        PiToMe { merge: 2, energy: Affinity::Gaussian { width }, ..PiToMe::default() }.build(&mut g.graph, &g.tokens, g.heads).map(drop)
    });
    check("windows", &[(f32::NAN, Refused), (f32::INFINITY, Either)], |g, threshold| {
        let method = WindowMerge { height: 2, width: 4, window: 2, threshold, protect: protect(g), ..WindowMerge::default() };
        method.build(&mut g.graph, &g.tokens).map(drop)
    });
}

#[test]
fn counts_may_be_anything() {
    counts("tome merge", |g, merge| ToMe { merge, ..ToMe::default() }.build(&mut g.graph, &g.tokens, g.tokens.x).map(drop));
    positive("tome stride", |g, stride| {
        ToMe { matching: Matching::Kth(stride), protect: protect(g), ..ToMe::default() }
            .build(&mut g.graph, &g.tokens, g.tokens.x)
            .map(drop)
    });
    check("windows", &[0, 1, 3, u32::MAX].map(|window| (window, Refused)), |g, window| {
        let method = WindowMerge { height: 2, width: 4, window, threshold: 0.5, protect: protect(g), ..WindowMerge::default() };
        method.build(&mut g.graph, &g.tokens).map(drop)
    });
    check("pyramiddrop stage", &[1, 2, usize::MAX].map(|stage| (stage, Refused)), |g, stage| {
        let marks = g.graph.input("marks", [2, 6], Elem::F32);
        let images = Images::Marked { marks, others: 2 };
        let method = PyramidDrop { images, ratios: vec![0.5, 0.25], ..PyramidDrop::default() };
        method.build(&mut g.graph, &g.tokens, stage, g.heads, g.heads).map(drop)
    });
    counts("tome lists", |g, count| {
        let partition = Partition::random(&mut g.graph, 2, 6, count, 7)?;
        ToMe { merge: 2, matching: Matching::Lists(partition), ..ToMe::default() }.build(&mut g.graph, &g.tokens, g.tokens.x).map(drop)
    });
    check("holov crops", &[0, 65536, 1 << 31, u32::MAX].map(|crops| (crops, Refused)), |g, crops| {
        HoloV { keep: 3, crops }.build(&mut g.graph, &g.tokens, g.score).map(drop)
    });
    counts("holov crops", |g, crops| HoloV { keep: 3, crops }.build(&mut g.graph, &g.tokens, g.score).map(drop));
    counts("holov keep", |g, keep| HoloV { keep, crops: 2 }.build(&mut g.graph, &g.tokens, g.score).map(drop));
    counts("visionzip dominant", |g, dominant| {
        VisionZip { dominant, contextual: 2, ..VisionZip::default() }.build(&mut g.graph, &g.tokens, g.heads, g.heads).map(drop)
    });
    counts("visionzip contextual", |g, contextual| {
        VisionZip { dominant: 2, contextual, ..VisionZip::default() }.build(&mut g.graph, &g.tokens, g.heads, g.heads).map(drop)
    });
    counts("vispruner keep", |g, keep| VisPruner { keep, important: 0.5 }.build(&mut g.graph, &g.tokens, g.score).map(drop));
    counts("cdpruner keep", |g, keep| CdPruner { keep, ..CdPruner::default() }.build(&mut g.graph, &g.tokens, g.score).map(drop));
    counts("idlevit keep", |g, keep| IdleVit { keep, ..IdleVit::default() }.build(&mut g.graph, &g.tokens, g.heads, g.heads).map(drop));
    counts("dynamic_vit keep", |g, keep| {
        let mut affine =
            |name: &str, o: u32, k: u32| tokenpress::methods::Affine { weight: g.graph.input(name, [o, k], Elem::F32), bias: None };
        let (first, last) = (affine("first", 4, 4), [affine("0", 2, 4), affine("1", 1, 2), affine("2", 2, 1)]);
        let norm = tokenpress::methods::Affine { weight: g.graph.input("norm", [4], Elem::F32), bias: None };
        let predictor = tokenpress::methods::Predictor { norm, first, last };
        DynamicVit { keep, ..DynamicVit::default() }.build(&mut g.graph, &g.tokens, &predictor).map(drop)
    });
    counts("btp keep", |g, keep| btp(g, BalancedPrune::first(keep, vec![0, 1])));
    counts("btp spatial", |g, position| btp(g, BalancedPrune::first(3, vec![position])));
    counts("btp early", |g, early| RebalancedTopK { select: 2, oversample: 2.0, early }.build(&mut g.graph, g.score, None).map(drop));
    counts("btp select", |g, select| RebalancedTopK { select, oversample: 2.0, early: 2 }.build(&mut g.graph, g.score, None).map(drop));
    counts("dart pivots", |g, image_pivots| {
        Dart { keep: 0.5, image_pivots, floor: 0 }.build(&mut g.graph, &g.tokens, g.score, None).map(drop)
    });
    positive("hiprune width", |g, width| {
        HiPrune { keep: 0.5, share: 1.0, width, wrap: true, floor: 0 }.build(&mut g.graph, &g.tokens, g.score, g.score).map(drop)
    });
    positive("evs frames", |g, tokens_per_frame| Evs { tokens_per_frame, prune: 0.5, floor: 0 }.build(&mut g.graph, &g.tokens).map(drop));
    positive("difffp frames", |g, tokens_per_frame| {
        DiffFp { tokens_per_frame, ..DiffFp::default() }.build(&mut g.graph, &g.tokens).map(drop)
    });
    counts("difffp floor", |g, floor| DiffFp { tokens_per_frame: 2, threshold: 0.5, floor }.build(&mut g.graph, &g.tokens).map(drop));
    counts("pitome merge", |g, merge| {
        PiToMe { merge, protect: protect(g), ..PiToMe::default() }.build(&mut g.graph, &g.tokens, g.heads).map(drop)
    });
    counts("tofu merge", |g, merge| ToFu { merge, ..ToFu::default() }.build(&mut g.graph, &g.tokens, g.tokens.x).map(drop));
    positive("fastvid frames", |g, tokens_per_frame| fastvid(g, FastVid { tokens_per_frame, keep: 0.5, ..FastVid::default() }));
    positive("fastvid stride", |g, stride| {
        fastvid(g, FastVid { tokens_per_frame: 2, keep: 1.0, segments: 1, stride, ..FastVid::default() })
    });
    counts("fastvid segments", |g, segments| fastvid(g, FastVid { tokens_per_frame: 2, keep: 1.0, segments, ..FastVid::default() }));
    positive("holitom frames", |g, tokens_per_frame| holitom(g, HoliTom { tokens_per_frame, ..HoliTom::default() }));
    positive("holitom longest", |g, longest| holitom(g, HoliTom { tokens_per_frame: 2, longest, ..HoliTom::default() }));
    positive("omnizip frames", |g, tokens_per_frame| omnizip(g, OmniZip { tokens_per_frame, ..OmniZip::default() }));
    positive("omnizip chunks", |g, frames_per_chunk| omnizip(g, OmniZip { frames_per_chunk, ..OmniZip::default() }));
    positive("omnizip audio chunks", |g, audio_per_chunk| omnizip(g, OmniZip { audio_per_chunk, ..OmniZip::default() }));
    counts("omnizip members", |g, members| omnizip(g, OmniZip { members, audio: 0.8, context: 0.4, ..OmniZip::default() }));
    positive("llava_scissor frames", |g, tokens_per_frame| {
        LlavaScissor { tokens_per_frame, ..LlavaScissor::default() }.build(&mut g.graph, &g.tokens).map(drop)
    });
    for [height, width, root] in COUNTS.iter().flat_map(|n| [[*n, 2, 0], [2, *n, 0], [*n; 3], [1, 3, *n]]) {
        let mut g = given(true);
        let method = Sttm { height, width, root, ..Sttm::default() };
        assert_eq!(method.build(&mut g.graph, &g.tokens).is_err(), height == 0 || width == 0, "{method:?}");
    }
    positive("pixelprune width", |g, width| PixelPrune { width, ..PixelPrune::default() }.build(&mut g.graph, &g.tokens).map(drop));
    positive("dycoke frames", |g, tokens_per_frame| DyCoke { tokens_per_frame, merge: 0.5 }.build(&mut g.graph, &g.tokens).map(drop));
    positive("vidcom2 frames", |g, tokens_per_frame| VidCom2 { tokens_per_frame, base: 0.5 }.build(&mut g.graph, &g.tokens).map(drop));
    positive("framefusion frames", |g, tokens_per_frame| {
        framefusion(g, FrameFusion { tokens_per_frame, most: 0.5, ..FrameFusion::default() })
    });
    check("prumerge neighbours", &[65, u32::MAX].map(|n| (n, Refused)), |g, neighbours| {
        prumerge(g, PruMerge { neighbours, ..PruMerge::default() })
    });
    counts("prumerge neighbours", |g, neighbours| prumerge(g, PruMerge { neighbours, ..PruMerge::default() }));
    counts("prumerge spatial", |g, among| {
        prumerge(g, PruMerge { neighbours: 2, spatial: true, spatial_among: Some(among), ..PruMerge::default() })
    });
    counts("clusters", |g, clusters| DensityClusters { clusters, nearest: 2 }.build(&mut g.graph, &g.tokens).map(drop));
    counts("nearest", |g, nearest| DensityClusters { clusters: 2, nearest }.build(&mut g.graph, &g.tokens).map(drop));
    for (start, tokens, rank) in COUNTS.iter().flat_map(|n| [(*n, 3, 1), (1, *n, 1), (1, 3, *n)]) {
        let (mut g, images) = (given(true), Images::Range { start, tokens });
        let _ = FastV { images, rank, bias: None }.build(&mut g.graph, &g.tokens, g.heads, g.heads);
        let method = SparseVlm { images, rank, recycle: true, bias: None };
        let _ = method.raters(&mut g.graph, &g.tokens).and_then(|r| method.build(&mut g.graph, &g.tokens, &r, g.heads, g.heads));
        let method = PyramidDrop { images, ratios: vec![0.5, 0.25], ..PyramidDrop::default() };
        let _ = method.build(&mut g.graph, &g.tokens, rank as usize, g.heads, g.heads);
    }
    assert!(pyramiddrop(&mut given(false), vec![], 0).is_err());
    for [height, width, window] in COUNTS.iter().flat_map(|n| [[*n, 4, 2], [2, *n, 2], [2, 4, *n], [*n; 3]]) {
        let mut g = given(true);
        let _ = WindowMerge { height, width, window, threshold: 0.5, shared_count: true, ..WindowMerge::default() }
            .build(&mut g.graph, &g.tokens);
    }
}

#[test]
fn layouts_may_be_anything() {
    counts("stacks", |g, factor| stack_frames(&mut g.graph, g.tokens.x, Some(g.tokens.lengths), factor).map(drop));
    counts("means", |g, size| average_frames(&mut g.graph, g.tokens.x, Some(g.tokens.lengths), size, 2).map(drop));
    counts("strides", |g, stride| average_frames(&mut g.graph, g.tokens.x, Some(g.tokens.lengths), 2, stride).map(drop));
    counts("consecutive", |g, n| Join::Consecutive(n).build(&mut g.graph, g.tokens.x).map(drop));
    counts("qwen", |g, merge| qwen2_vl_patch_order(&mut g.graph, g.tokens.x, [2, 3], merge).map(drop));
    counts("mistral", |g, merge| {
        let packed = Join::Packed { order: tokenpress::kernels::ChannelOrder::ChannelFirst, images: vec![[2, 3]], merge };
        packed.build(&mut g.graph, g.tokens.x).map(drop)
    });
    counts("nvlm", |g, side| {
        let packed = Join::Packed { order: tokenpress::kernels::ChannelOrder::PositionFirst, images: vec![[side, 3]], merge: 1 };
        packed.build(&mut g.graph, g.tokens.x).map(drop)
    });
    counts("gemma3", |g, outputs| gemma3(g, 64, outputs));
    check("gemma3", &[0, 3, 15, 17, 63, 65, u32::MAX].map(|outputs| (outputs, Refused)), |g, outputs| gemma3(g, 64, outputs));
    counts("gemma3 edge", |g, edge| gemma3(g, edge, 3));
    for mode in [PoolMode::Average, PoolMode::Max, PoolMode::Bilinear] {
        for (stride, every) in COUNTS.iter().flat_map(|n| [(*n, 2), (2, *n)]) {
            let mut g = given(true);
            let video = g.graph.input("video", [2, 3, 6, 4], Elem::F32);
            let token = g.graph.input("token", [4], Elem::F32);
            let method = LlavaVideo { mode, stride, newline: Newline::EachRow(token), faster: Some(Faster { every, token }) };
            let built = method.build(&mut g.graph, video, [2, 3], None);
            // Cells that are larger than the grid leave nothing of it.
            assert!(built.is_err() || mode == PoolMode::Bilinear || stride <= 2, "{mode:?} {stride} {every}");
        }
    }
    for [edge, rows, columns, height, width] in COUNTS.iter().flat_map(|n| [[*n, 1, 2, 1, 2], [2, *n, 2, 1, 2], [2, 1, 2, *n, 2]]) {
        for most_tiles in [None, Some(0), Some(1), Some(u32::MAX)] {
            let mut g = given(false);
            let x = g.graph.input("tiles", [1, 3, 4, 4], Elem::F32);
            let (tiles, unpadding) = ([rows, columns], Unpadding::Llava);
            let method = LlavaNext { edge, tiles, image: [height, width], unpadding, most_tiles, newline: None };
            let _ = (method.unpadded(), method.outputs(), method.build(&mut g.graph, x));
        }
    }
    let _ = Content::Grid(u32::MAX);
}

/// Tokens that are protected, which takes calls to know.
fn protect(g: &mut Given) -> Protect {
    Protect::Marked { marks: g.graph.input("protected", [2, 6], Elem::F32), most: 2 }
}

fn atome(g: &mut Given, choice: PairChoice) -> Result<(), Error> {
    AToMe { choice, pairs: AdjacentPairs::Overlapping }.build(&mut g.graph, &g.tokens, g.tokens.x).map(drop)
}

fn holitom(g: &mut Given, method: HoliTom) -> Result<(), Error> {
    method.build(&mut g.graph, &g.tokens, g.score).map(drop)
}

fn omnizip(g: &mut Given, method: OmniZip) -> Result<(), Error> {
    method.build(&mut g.graph, &g.tokens, &g.tokens, g.score).map(drop)
}

fn fastvid(g: &mut Given, method: FastVid) -> Result<(), Error> {
    method.build(&mut g.graph, &g.tokens, g.score, None).map(drop)
}

fn framefusion(g: &mut Given, method: FrameFusion) -> Result<(), Error> {
    let places = g.graph.input("places", [2, 6], Elem::U32);
    method.merge(&mut g.graph, &g.tokens, places)?;
    method.prune(&mut g.graph, &g.tokens, places, g.score, 0.5).map(drop)
}

fn pumer(g: &mut Given, method: PuMer) -> Result<(), Error> {
    let mask = (g.graph.input("mask", [2, 2], Elem::F32), g.graph.input("text lengths", [2], Elem::U32));
    method.build(&mut g.graph, &g.tokens, mask, g.heads, g.heads).map(drop)
}

fn pyramiddrop(g: &mut Given, ratios: Vec<f64>, stage: usize) -> Result<(), Error> {
    PyramidDrop { images: Images::Range { start: 1, tokens: 4 }, ratios, ..PyramidDrop::default() }
        .build(&mut g.graph, &g.tokens, stage, g.heads, g.heads)
        .map(drop)
}

fn btp(g: &mut Given, method: BalancedPrune) -> Result<(), Error> {
    method.build(&mut g.graph, &g.tokens, g.score).map(drop)
}

fn mustdrop(g: &mut Given, method: DualAttention) -> Result<(), Error> {
    let key = g.graph.input("key", [2, 1], Elem::U32);
    let prompt = Prefill::new(&mut g.graph, g.tokens, Images::Range { start: 1, tokens: 3 }, key)?;
    g.calls = g.graph.calls();
    method.build(&mut g.graph, &prompt, g.heads, g.heads).map(drop)
}

fn prumerge(g: &mut Given, method: PruMerge) -> Result<(), Error> {
    let heads = g.graph.input("heads with a class token", [2, 1, 7, 4], Elem::F32);
    method.build(&mut g.graph, &g.tokens, heads, heads).map(drop)
}

fn gemma3(g: &mut Given, edge: u32, outputs: u32) -> Result<(), Error> {
    let (norm, weight) = (g.graph.input("norm", [4], Elem::F32), g.graph.input("weight", [3, 4], Elem::F32));
    Projector::gemma3(&mut g.graph, edge, outputs, norm, weight).map(drop)
}
