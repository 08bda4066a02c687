//! Methods on small inputs whose results were worked out by hand or by an independent reference.

use tokenpress::kernels::Reduce;
use tokenpress::methods::{
    AToMe, BalancedPrune, CdPruner, Dart, DualAttention, EVit, FastAdaSp, FastV, FrameFusion, HiPrune, HoloV, IdPruner, IdleVit, Images,
    KeyTokens, Matching, PairChoice, Prefill, Protect, PruMerge, PuMer, PyramidDrop, Samp, SparseVlm, ToMe, VisPruner, VisionZip,
    WindowMerge,
};
use tokenpress::readback::HostTensors;
use tokenpress::schedule::MergeSchedule;
use tokenpress::{Elem, Error, Graph, HostTensor, NONE, Tensor, Tokens};

/// `x[i][c] = (((5 i^2 + 7 i + 3 c + i c) mod 23) - 11) / 8` for 9 tokens of 4 channels.
fn nine_by_four() -> HostTensor {
    let value = |i: i32, c: i32| (((i * i * 5 + 7 * i + 3 * c + i * c) % 23) - 11) as f32 / 8.0;
    HostTensor::f32([1, 9, 4], (0..9).flat_map(|i| (0..4).map(move |c| value(i, c))).collect())
}

fn run(graph: &Graph, x: &HostTensor) -> HostTensors {
    graph.run_reference(&[("x".to_owned(), x.clone())].into()).expect("the graph's own inputs")
}

/// Source positions, destination positions, and unmerged positions of a match.
fn decisions(method: ToMe) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let x = nine_by_four();
    let mut graph = Graph::new();
    let tokens = graph.tokens("x", [1, 9, 4], Elem::F32).expect("rank 3");
    let merging = method.decide(&mut graph, &tokens, tokens.x).expect("valid options").expect("something merges");
    graph.output("sources", merging.selection.indices).expect("new name");
    graph.output("unmerged", merging.selection.complement.expect("asked for")).expect("new name");
    graph.output("partner", merging.matches.partner).expect("new name");
    graph.output("from", merging.partition.sources).expect("new name");
    graph.output("to", merging.partition.destinations).expect("new name");
    let out = run(&graph, &x);
    let sources = out["sources"].integers();
    let partner = out["partner"].integers();
    let [from, to] = ["from", "to"].map(|name| out[name].integers());
    let position = |i: &u32| from[*i as usize];
    (
        sources.iter().map(position).collect(),
        sources.iter().map(|&s| to[partner[s as usize] as usize]).collect(),
        out["unmerged"].integers().iter().filter(|i| **i != NONE).map(position).collect(),
    )
}

#[test]
fn tome_decides_as_the_independent_reference() {
    let plain = ToMe { merge: 3, ..Default::default() };
    assert_eq!(decisions(plain), (vec![2, 4, 6], vec![1, 3, 3], vec![0, 8]));
    let class = ToMe { protect: Protect::CLASS, ..plain };
    assert_eq!(decisions(class), (vec![2, 4, 6], vec![1, 3, 3], vec![0, 8]));
    // A distillation token beside it.
    let distilled = ToMe { protect: Protect::Leading(2), ..plain };
    assert_eq!(decisions(distilled), (vec![4, 6, 2], vec![3, 3, 5], vec![0, 1, 8]));
    let capped = ToMe { merge: 99, ..class };
    assert_eq!(decisions(capped), (vec![2, 4, 6, 8], vec![1, 3, 3, 3], vec![0]));
}

#[test]
fn a_threshold_decides_how_many_merge() {
    // Similarities of the three best sources are .985867, .910860, .867981.
    let merged = |threshold| {
        let mut graph = Graph::new();
        let tokens = graph.tokens("x", [1, 9, 4], Elem::F32).expect("rank 3");
        let method = ToMe { merge: u32::MAX, threshold: Some(threshold), protect: Protect::CLASS, ..Default::default() };
        let merged = method.build(&mut graph, &tokens, tokens.x).expect("valid options");
        graph.output("lengths", merged.tokens.lengths).expect("new name");
        graph.output("size", merged.tokens.size).expect("new name");
        let out = run(&graph, &nine_by_four());
        assert_eq!(out["size"].floats().iter().sum::<f32>(), 9.0);
        9 - out["lengths"].integers()[0]
    };
    assert_eq!([1.0, 0.98, 0.9, 0.86, -1.0].map(merged), [0, 1, 2, 3, 4]);
}

#[test]
fn tome_lays_its_output_out_as_the_paper() {
    let x = nine_by_four();
    let rows = |method: ToMe| {
        let mut graph = Graph::new();
        let tokens = graph.tokens("x", [1, 9, 4], Elem::F32).expect("rank 3");
        let merged = method.build(&mut graph, &tokens, tokens.x).expect("valid options");
        graph.output("representative", merged.map.representative).expect("new name");
        run(&graph, &x)["representative"].integers().to_vec()
    };
    assert_eq!(rows(ToMe { merge: 3, protect: Protect::CLASS, ..Default::default() }), [0, 8, 1, 3, 5, 7]);
    assert_eq!(rows(ToMe { merge: 3, protect: Protect::Leading(2), ..Default::default() }), [0, 1, 8, 3, 5, 7]);
    assert_eq!(rows(ToMe { matching: Matching::Kth(4), ..Default::default() }), [3, 7]);
}

#[test]
fn all_equal_tokens_follow_the_lowest_index_rule() {
    let mut graph = Graph::new();
    let tokens = graph.tokens("x", [1, 8, 2], Elem::F32).expect("rank 3");
    let merged = ToMe { merge: 3, ..Default::default() }.build(&mut graph, &tokens, tokens.x).expect("valid options");
    graph.output("parent", merged.map.parent).expect("new name");
    graph.output("size", merged.tokens.size).expect("new name");
    let out = run(&graph, &HostTensor::f32([1, 8, 2], vec![1.0; 16]));
    // Sources 0, 2 and 4 merge into token 1, the first destination; source 6 stays, first in the output.
    assert_eq!(out["parent"].integers(), [1, 1, 1, 2, 1, 3, 0, 4]);
    assert_eq!(out["size"].floats(), [1.0, 4.0, 1.0, 1.0, 1.0]);
}

#[test]
fn lengths_of_a_vit_under_both_schedules() {
    let trajectory = |schedule: MergeSchedule| {
        let mut tokens = 197u32;
        let counts = schedule.counts(12).expect("in range");
        counts
            .into_iter()
            .map(|merge| {
                tokens -= merge.min((tokens - 1) / 2);
                tokens
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(trajectory(MergeSchedule::Constant(16)), [181, 165, 149, 133, 117, 101, 85, 69, 53, 37, 21, 11]);
    assert_eq!(trajectory(MergeSchedule::Linear { merge: 16, inflect: -1.0 }), [165, 136, 110, 87, 67, 50, 36, 25, 17, 12, 10, 10]);
}

#[test]
fn a_map_composes_and_is_undone() {
    let x = nine_by_four();
    let mut graph = Graph::new();
    let tokens = graph.tokens("x", [1, 9, 4], Elem::F32).expect("rank 3");
    let method = ToMe { merge: 2, protect: Protect::CLASS, ..Default::default() };
    let first = method.build(&mut graph, &tokens, tokens.x).expect("valid options");
    let second = method.build(&mut graph, &first.tokens, first.tokens.x).expect("valid options");
    let both = first.map.then(&mut graph, &second.map).expect("maps that follow each other");
    let direct = both.merge(&mut graph, tokens.x, Some(tokens.size), Reduce::WeightedMean).expect("the map's own tokens");
    let restored = both.unmerge(&mut graph, second.tokens.x, None).expect("the map's own tokens");
    for (name, tensor) in [("stepwise", second.tokens.x), ("direct", direct), ("restored", restored), ("parent", both.parent)] {
        graph.output(name, tensor).expect("new name");
    }
    let out = run(&graph, &x);
    // Size-weighted means compose: merging twice is merging once with the composed map, up to rounding.
    for (a, b) in out["stepwise"].floats().iter().zip(out["direct"].floats()) {
        assert!((a - b).abs() <= 4.0 * f32::EPSILON * a.abs().max(1.0), "{a} {b}");
    }
    let rows = out["stepwise"].floats();
    for (i, &parent) in out["parent"].integers().iter().enumerate() {
        let (got, want) = (&out["restored"].floats()[4 * i..4 * i + 4], &rows[4 * parent as usize..4 * parent as usize + 4]);
        assert_eq!(got, want);
    }
}

#[test]
fn options_out_of_range_are_errors() {
    let mut graph = Graph::new();
    let tokens = graph.tokens("x", [1, 9, 4], Elem::F32).expect("rank 3");
    let heads = graph.input("heads", [1, 1, 9, 4], Elem::F32);
    let evit = |keep| EVit { keep, fuse: false, ..EVit::default() }.build(&mut Graph::clone(&graph), &tokens, heads, heads).err();
    for keep in [0.0, -1.0, 1.1, f64::NAN] {
        assert!(matches!(evit(keep), Some(Error::Value { argument: "evit: keep", .. })), "{keep}");
    }
    let fastv = |start, tokens_of, rank| {
        FastV { images: Images::Range { start, tokens: tokens_of }, rank, bias: None }
            .build(&mut Graph::clone(&graph), &tokens, heads, heads)
            .err()
    };
    assert!(matches!(fastv(5, 5, 1), Some(Error::Value { argument: "fastv: image", .. })));
    assert!(matches!(fastv(1, 5, 6), Some(Error::Value { argument: "fastv: rank", .. })));
    let stage = PyramidDrop { images: Images::Range { start: 1, tokens: 5 }, ratios: vec![0.5], ..PyramidDrop::default() }
        .build(&mut graph, &tokens, 1, heads, heads)
        .err();
    assert!(matches!(stage, Some(Error::Value { argument: "pyramiddrop: stage", .. })));
    for (height, width, window, argument) in [(2, 4, 1, "window"), (2, 4, 3, "window"), (2, 2, 2, "grid")] {
        let method = WindowMerge { height, width, window, threshold: 0.5, ..WindowMerge::default() };
        let error = method.build(&mut graph, &tokens).err();
        assert!(matches!(error, Some(Error::Value { argument: a, .. }) if a == format!("mustdrop: {argument}")), "{error:?}");
    }
    // Heads without the class token's.
    let error = PruMerge { spatial: true, ..Default::default() }.build(&mut graph, &tokens, heads, heads).err();
    assert!(matches!(error, Some(Error::Shape { .. } | Error::Value { .. })), "{error:?}");
    let (mask, lengths) = (graph.input("mask", [1, 10], Elem::F32), graph.input("lengths", [1], Elem::U32));
    let error = PuMer::default().build(&mut graph, &tokens, (mask, lengths), heads, heads).err();
    assert!(matches!(error, Some(Error::Shape { argument: "pumer: text mask", .. })), "{error:?}");
    let error = Prefill::new(&mut graph, tokens, Images::Range { start: 5, tokens: 5 }, lengths).err();
    assert!(matches!(error, Some(Error::Value { argument: "mustdrop: image", .. })), "{error:?}");
    let wrong = graph.input("wrong", [1, 8, 4], Elem::F32);
    assert!(matches!(ToMe::default().build(&mut graph, &tokens, wrong), Err(Error::Shape { argument: "tome: metric", .. })));
    let x = graph.input("flat", [9, 4], Elem::F32);
    assert!(matches!(Tokens::new(&mut graph, x), Err(Error::Shape { argument: "tokens: x", .. })));
}

/// Every relative link of the README leads somewhere, every kernel is named in it, and its program is the example.
#[test]
fn the_readme_is_complete() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).expect("a README");
    assert!(readme.lines().count() <= 150, "{} lines", readme.lines().count());
    let hello = std::fs::read_to_string(root.join("examples/hello.rs")).expect("the first program");
    assert!(hello.split_once("\n\n").is_some_and(|(_, program)| readme.contains(program.trim_end())), "examples/hello.rs");
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|link| !link.starts_with("http"));
    let broken: Vec<_> = links.filter(|link| !root.join(link).exists()).collect();
    assert!(broken.is_empty(), "{broken:?}");
    let files = |room| std::fs::read_dir(root.join("src/kernels").join(room)).expect("a room").map(|entry| entry.expect("a file").path());
    let kernels = ["score", "select", "apply", "images", "layers"].into_iter().flat_map(files);
    // `copy` is of the plan's own, `partition` no kernel.
    let named = |name: &str| ["mod", "copy", "partition"].contains(&name) || readme.contains(&format!("`{name}`"));
    let missing: Vec<_> = kernels.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).filter(|name| !named(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// An image, a word, another image, two words. The first stage drops the first image; the words are still those that it rated.
#[test]
fn raters_are_the_same_words_in_every_stage() {
    let mut graph = Graph::new();
    let tokens = graph.tokens("x", [1, 5, 1], Elem::F32).expect("rank 3");
    let marks = graph.constant(HostTensor::u32([5], vec![1, 0, 1, 0, 0]));
    let mut method = SparseVlm { images: Images::Marked { marks, others: 3 }, rank: 1, recycle: false, bias: None };
    let raters = method.raters(&mut graph, &tokens).expect("tokens");
    // To the second image the first words look, and nothing looks at the first.
    let queries = graph.constant(HostTensor::f32([1, 1, 5, 1], vec![1.0; 5]));
    let keys = graph.constant(HostTensor::f32([1, 1, 5, 1], vec![-20.0, 0.0, 5.0, 0.0, 0.0]));
    let first = method.build(&mut graph, &tokens, &raters, queries, keys).expect("shapes agree");
    method.images = first.images;
    let zeros = graph.constant(HostTensor::f32([1, 1, 4, 1], vec![0.0; 4]));
    let second = method.build(&mut graph, &first.compressed.tokens, &raters, zeros, zeros).expect("no more tokens than stay");
    for (name, tensor) in [("raters", raters.listed.indices), ("kept", first.compressed.map.representative), ("score", second.score)] {
        graph.output(name, tensor).expect("new name");
    }
    let out = run(&graph, &HostTensor::f32([1, 5, 1], vec![1.0, 3.0, 1.0, 3.0, 0.0]));
    assert_eq!(out["raters"].integers()[..3], [0, 1, NONE]);
    assert_eq!(out["kept"].integers(), [1, 2, 3, 4]);
    // The first word sees itself alone, the second three tokens that are alike.
    let expected = [2.0 / 3.0, 1.0 / 6.0, 1.0 / 6.0, 0.0];
    assert!(out["score"].floats().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", out["score"]);
}

/// The tables of later stages are made in these.
#[test]
fn a_stage_costs_the_same_however_many_follow() {
    let calls = |stages: usize| {
        let mut graph = Graph::new();
        let tokens = graph.tokens("x", [1, 8, 1], Elem::F32).expect("rank 3");
        let images = Images::Marked { marks: graph.input("marks", [8], Elem::U32), others: 3 };
        let heads = graph.input("heads", [1, 1, 8, 1], Elem::F32);
        let method = PyramidDrop { images, ratios: vec![0.5; stages], ..PyramidDrop::default() };
        method.build(&mut graph, &tokens, 0, heads, heads).expect("shapes agree");
        graph.calls()
    };
    assert_eq!(calls(1), calls(5));
}

/// A score, or queries and keys, of one batch and number of tokens, for tokens of another.
type Mismatch = fn(&mut Graph, &Tokens, Tensor, Tensor) -> Result<(), Error>;

const MISMATCHES: &[(&str, Mismatch)] = &[
    ("atome", |graph, tokens, _, keys| AToMe::default().build(graph, tokens, keys).map(drop)),
    ("btp", |graph, tokens, score, _| BalancedPrune::first(3, vec![]).build(graph, tokens, score).map(drop)),
    ("btp, in a prompt", |graph, tokens, score, _| BalancedPrune::first(3, vec![]).in_prompt(graph, tokens, IMAGES, score).map(drop)),
    ("cdpruner", |graph, tokens, score, _| CdPruner { keep: 3, ..CdPruner::default() }.build(graph, tokens, score).map(drop)),
    ("dart", |graph, tokens, score, _| Dart { keep: 0.5, image_pivots: 2, floor: 0 }.build(graph, tokens, score, None).map(drop)),
    ("evit", |graph, tokens, _, keys| EVit::default().build(graph, tokens, keys, keys).map(drop)),
    ("evit, by a score", |graph, tokens, score, _| EVit::default().by_score(graph, tokens, score).map(drop)),
    ("fastadasp", |graph, tokens, _, keys| FastAdaSp { choice: PairChoice::Merge(0.2) }.build(graph, tokens, keys, None).map(drop)),
    ("fastadasp, weights", |graph, tokens, score, _| {
        FastAdaSp { choice: PairChoice::Merge(0.2) }.build(graph, tokens, tokens.x, Some(score)).map(drop)
    }),
    ("fastv", |graph, tokens, _, keys| FastV { images: IMAGES, rank: 2, bias: None }.build(graph, tokens, keys, keys).map(drop)),
    ("framefusion", |graph, tokens, score, _| {
        let places = graph.input("places", [2, 9], Elem::U32);
        FrameFusion { tokens_per_frame: 3, ..FrameFusion::default() }.prune(graph, tokens, places, score, 0.5).map(drop)
    }),
    ("hiprune, middle", |graph, tokens, score, _| {
        let deep = graph.input("deep", [2, 9], Elem::F32);
        HiPrune { keep: 0.5, share: 0.5, width: 3, wrap: false, floor: 0 }.build(graph, tokens, score, deep).map(drop)
    }),
    ("hiprune, deep", |graph, tokens, score, _| {
        let middle = graph.input("middle", [2, 9], Elem::F32);
        HiPrune { keep: 0.5, share: 0.5, width: 3, wrap: false, floor: 0 }.build(graph, tokens, middle, score).map(drop)
    }),
    ("holov", |graph, tokens, score, _| HoloV { keep: 3, crops: 2 }.build(graph, tokens, score).map(drop)),
    ("idlevit", |graph, tokens, _, keys| IdleVit { keep: 3, ..IdleVit::default() }.build(graph, tokens, keys, keys).map(drop)),
    ("idlevit, by a score", |graph, tokens, score, _| IdleVit { keep: 3, ..IdleVit::default() }.by_score(graph, tokens, score).map(drop)),
    ("idpruner", |graph, tokens, score, _| IdPruner { keep: 0.5, relevance: 0.5, floor: 0 }.build(graph, tokens, score).map(drop)),
    ("key_tokens", |graph, tokens, _, keys| KeyTokens::default().build(graph, tokens, keys, keys).map(drop)),
    ("key_tokens, marks", |graph, tokens, _, keys| {
        KeyTokens { protect: marked(graph), ..KeyTokens::default() }.build(graph, tokens, keys, keys).map(drop)
    }),
    ("key_tokens, by a score", |graph, tokens, score, _| KeyTokens::default().by_score(graph, tokens, score).map(drop)),
    ("mustdrop", |graph, tokens, _, keys| {
        let key = graph.input("key", [2, 1], Elem::U32);
        let prompt = Prefill::new(graph, *tokens, IMAGES, key)?;
        DualAttention { global: 0.1, individual: 0.1, floor: 0 }.build(graph, &prompt, keys, keys).map(drop)
    }),
    ("mustdrop, marks", |graph, tokens, _, keys| {
        let key = graph.input("key", [2, 1], Elem::U32);
        let images = Images::Marked { marks: graph.input("marks", [9], Elem::U32), others: 4 };
        let prompt = Prefill::new(graph, *tokens, images, key)?;
        DualAttention { global: 0.1, individual: 0.1, floor: 0 }.build(graph, &prompt, keys, keys).map(drop)
    }),
    ("prumerge", |graph, tokens, _, keys| {
        let score = graph.input("other score", [2, 9], Elem::F32);
        PruMerge { neighbours: 2, ..PruMerge::default() }.by_score(graph, tokens, score, keys).map(drop)
    }),
    ("prumerge, marks", |graph, tokens, _, keys| {
        let score = graph.input("other score", [2, 9], Elem::F32);
        PruMerge { neighbours: 2, protect: marked(graph), ..PruMerge::default() }.by_score(graph, tokens, score, keys).map(drop)
    }),
    ("pumer", |graph, tokens, _, keys| PuMer::default().in_prompt(graph, tokens, IMAGES, None, keys, keys).map(drop)),
    ("samp, importance", |graph, tokens, score, _| {
        let relevance = graph.input("relevance", [2, 9], Elem::F32);
        Samp { threshold: 0.5, keep: 0.5, floor: 2 }.build(graph, tokens, score, relevance).map(drop)
    }),
    ("samp, relevance", |graph, tokens, score, _| {
        let importance = graph.input("importance", [2, 9], Elem::F32);
        Samp { threshold: 0.5, keep: 0.5, floor: 2 }.build(graph, tokens, importance, score).map(drop)
    }),
    ("sparsevlm", |graph, tokens, _, keys| {
        let method = SparseVlm { images: IMAGES, rank: 2, recycle: true, bias: None };
        let raters = method.raters(graph, tokens)?;
        method.build(graph, tokens, &raters, keys, keys).map(drop)
    }),
    ("sparsevlm, marks", |graph, tokens, _, keys| {
        let images = Images::Marked { marks: graph.input("marks", [9], Elem::U32), others: 4 };
        let method = SparseVlm { images, rank: 2, recycle: true, bias: None };
        let raters = method.raters(graph, tokens)?;
        method.build(graph, tokens, &raters, keys, keys).map(drop)
    }),
    ("tome", |graph, tokens, _, keys| ToMe { merge: 2, ..ToMe::default() }.build(graph, tokens, keys).map(drop)),
    ("visionzip", |graph, tokens, _, keys| {
        let score = graph.input("other score", [2, 9], Elem::F32);
        VisionZip { dominant: 2, contextual: 2, ..VisionZip::default() }.by_score(graph, tokens, score, keys).map(drop)
    }),
    ("vispruner", |graph, tokens, score, _| VisPruner { keep: 3, important: 0.5 }.build(graph, tokens, score).map(drop)),
];

const IMAGES: Images = Images::Range { start: 1, tokens: 5 };

fn marked(graph: &mut Graph) -> Protect {
    Protect::Marked { marks: graph.input("protected", [9], Elem::U32), most: 3 }
}

#[test]
fn scores_and_keys_are_of_the_tokens() {
    for ((name, build), ragged) in MISMATCHES.iter().flat_map(|method| [(method, false), (method, true)]) {
        for (batch, count) in [(2, 8), (2, 10), (1, 9), (3, 9)] {
            let mut graph = Graph::new();
            let x = graph.input("x", [2, 9, 4], Elem::F32);
            let lengths = if ragged { graph.input("lengths", [2], Elem::U32) } else { graph.constant(HostTensor::u32([2], vec![9; 2])) };
            let tokens = Tokens::ragged(&mut graph, x, lengths).expect("rank 3");
            let score = graph.input("score", [batch, count], Elem::F32);
            let keys = graph.input("keys", [batch, 2, count, 4], Elem::F32);
            let result = build(&mut graph, &tokens, score, keys);
            assert!(result.is_err(), "{name} {batch} {count} {ragged}");
        }
    }
}
