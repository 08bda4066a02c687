//! Class tokens, registers and prompts that stay as they are, and encoders that have none of them.

use tokenpress::kernels::{AttentionInputs, AttentionScore, Queries};
use tokenpress::methods::{
    Contextual, Dart, DivPrune, DualAttention, EVit, Evs, HiPrune, IdPruner, Images, Prefill, Protect, PruMerge, ToMe, VisionZip,
};
use tokenpress::{Compressed, Elem, Graph, HostTensor, NONE};

use super::Known;

pub fn all() -> Vec<Known> {
    vec![
        registers("ToMe leaves a class token and four registers in front", |_| Protect::Leading(5)),
        registers("ToMe leaves listed registers in front", |graph| Protect::Listed(graph.input("protect", [5], Elem::U32))),
        registers("ToMe leaves marked registers in front", |graph| Protect::Marked {
            marks: graph.input("marks", [9], Elem::F32),
            most: 5,
        }),
        own_of_each_row(),
        without_class(),
        evit_without_class(),
        order(),
        floors(),
        floor_of_outliers(),
        floor_of_a_prompt(),
    ]
}

fn name(graph: &mut Graph, compressed: Compressed) {
    graph.output("parent", compressed.map.parent).expect("a name");
    graph.output("x'", compressed.tokens.x).expect("a name");
    graph.output("lengths'", compressed.tokens.lengths).expect("a name");
}

/// Five tokens that are like all others stay; of the four behind them two pairs merge.
fn registers(name_of: &'static str, protect: fn(&mut Graph) -> Protect) -> Known {
    let mut graph = Graph::new();
    let tokens = graph.tokens("x", [1, 9, 2], Elem::F32).expect("a shape");
    let protect = protect(&mut graph);
    let merged = ToMe { merge: 2, protect, ..ToMe::default() }.build(&mut graph, &tokens, tokens.x).expect("valid options");
    name(&mut graph, merged);
    let x = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [1.0, 0.0], [1.0, 0.5], [0.0, 1.0], [0.0, 2.0]].concat();
    let inputs = [
        ("x".to_owned(), HostTensor::f32([1, 9, 2], x)),
        ("protect".to_owned(), HostTensor::u32([5], vec![3, 0, 4, 2, 1])),
        ("marks".to_owned(), HostTensor::f32([9], vec![1.0, 1.0, 0.5, 2.0, f32::INFINITY, 0.0, f32::NAN, -1.0, -0.0])),
    ];
    let inputs = inputs.into_iter().filter(|(name, _)| graph.inputs().any(|(input, _)| input == name)).collect();
    let outputs = vec![
        ("parent", vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 6.0, 6.0], 0.0),
        ("x'", vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 2.0, 3.0, 0.0, 1.0, 0.25, 0.0, 1.5], 1e-6),
        ("lengths'", vec![7.0], 0.0),
    ];
    Known { name: name_of, graph, inputs, outputs }
}

/// The first row protects its tokens 1 and 4, the second none, of the third all are protected, and the fourth has two tokens.
fn own_of_each_row() -> Known {
    let mut graph = Graph::new();
    let x = graph.input("x", [4, 5, 1], Elem::F32);
    let lengths = graph.input("lengths", [4], Elem::U32);
    let tokens = tokenpress::Tokens::ragged(&mut graph, x, lengths).expect("shapes agree");
    let marks = graph.input("marks", [4, 5], Elem::U32);
    let protect = Protect::Marked { marks, most: u32::MAX };
    let merged = ToMe { merge: 2, protect, ..ToMe::default() }.build(&mut graph, &tokens, x).expect("valid options");
    name(&mut graph, merged);
    let inputs = [
        ("x".to_owned(), HostTensor::f32([4, 5, 1], (1..=20).map(|i| i as f32).collect())),
        ("lengths".to_owned(), HostTensor::u32([4], vec![5, 5, 5, 2])),
        ("marks".to_owned(), HostTensor::u32([4, 5], vec![0, 7, 0, 0, 9, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0])),
    ];
    // One dimension: all are alike, so that the first sources merge into the first destination. Of the first row 0 and 3 are sources.
    let none = f64::from(NONE);
    let outputs = vec![
        ("parent", vec![3.0, 0.0, 3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 2.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 1.0, 0.0, none, none, none], 0.0),
        ("x'", vec![2.0, 5.0, 4.0, 2.0, 0.0, 10.0, 7.0, 9.0, 0.0, 0.0, 11.0, 12.0, 13.0, 14.0, 15.0, 17.0, 16.0, 0.0, 0.0, 0.0], 1e-6),
        ("lengths'", vec![4.0, 3.0, 5.0, 2.0], 0.0),
    ];
    Known { name: "each row of a batch protects tokens of its own", graph, inputs: inputs.into(), outputs }
}

/// All look at all tokens alike but token 4, which looks at token 3 alone.
fn received(graph: &mut Graph) -> (tokenpress::Tensor, tokenpress::Tensor, tokenpress::readback::HostTensors) {
    let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 5, 1], Elem::F32));
    let score = AttentionScore { queries: Queries::All, ..Default::default() };
    let score = score.build(graph, AttentionInputs::new(queries, keys)).expect("shapes agree").score;
    graph.output("score", score).expect("a name");
    let inputs = [
        ("q".to_owned(), HostTensor::f32([1, 1, 5, 1], vec![0.0, 0.0, 0.0, 0.0, 100.0])),
        ("k".to_owned(), HostTensor::f32([1, 1, 5, 1], vec![0.0, 1.0, 0.0, 2.0, 0.0])),
    ];
    (score, keys, inputs.into())
}

const RECEIVED: [f64; 5] = [0.16, 0.16, 0.16, 0.36, 0.16];

fn without_class() -> Known {
    let mut graph = Graph::new();
    let tokens = graph.tokens("x", [1, 5, 1], Elem::F32).expect("a shape");
    let (score, _, mut inputs) = received(&mut graph);
    let method = VisionZip { dominant: 2, contextual: 1, merge: Contextual::Mean, protect: Protect::NONE };
    let zipped = method.by_score(&mut graph, &tokens, score, tokens.x).expect("valid options");
    name(&mut graph, zipped.compressed);
    inputs.insert("x".to_owned(), HostTensor::f32([1, 5, 1], vec![1.0, 2.0, 4.0, 8.0, 16.0]));
    let outputs = vec![
        ("score", RECEIVED.to_vec(), 1e-6),
        ("parent", vec![0.0, 2.0, 2.0, 1.0, 2.0], 0.0),
        ("x'", vec![1.0, 8.0, 22.0 / 3.0], 1e-5),
        ("lengths'", vec![3.0], 0.0),
    ];
    Known { name: "VisionZip takes five patches without a class token by the attention that they receive", graph, inputs, outputs }
}

fn evit_without_class() -> Known {
    let mut graph = Graph::new();
    let tokens = graph.tokens("x", [1, 5, 1], Elem::F32).expect("a shape");
    let (score, _, mut inputs) = received(&mut graph);
    let kept = EVit { keep: 0.4, protect: Protect::NONE, ..EVit::default() }.by_score(&mut graph, &tokens, score).expect("valid options");
    name(&mut graph, kept.compressed);
    inputs.insert("x".to_owned(), HostTensor::f32([1, 5, 1], vec![1.0, 2.0, 4.0, 8.0, 16.0]));
    let outputs =
        vec![("parent", vec![1.0, 2.0, 2.0, 0.0, 2.0], 0.0), ("x'", vec![8.0, 1.0, 22.0 * 0.16], 1e-5), ("lengths'", vec![3.0], 0.0)];
    Known { name: "EViT keeps patches without a class token by the attention that they receive", graph, inputs, outputs }
}

/// Token 0 merges into token 3; the others stay where they are.
fn order() -> Known {
    let mut graph = Graph::new();
    let tokens = graph.tokens("x", [1, 6, 2], Elem::F32).expect("a shape");
    let merged = ToMe { merge: 1, keep_order: true, ..ToMe::default() }.build(&mut graph, &tokens, tokens.x).expect("valid options");
    name(&mut graph, merged);
    let x = [[1.0, 0.0], [0.0, 1.0], [0.0, 2.0], [3.0, 0.0], [3.0, 0.0], [5.0, 5.0]].concat();
    let outputs = vec![
        ("parent", vec![2.0, 0.0, 1.0, 2.0, 3.0, 4.0], 0.0),
        ("x'", vec![0.0, 1.0, 0.0, 2.0, 2.0, 0.0, 3.0, 0.0, 5.0, 5.0], 1e-6),
        ("lengths'", vec![5.0], 0.0),
    ];
    let inputs = [("x".to_owned(), HostTensor::f32([1, 6, 2], x))].into();
    Known { name: "ToMe keeps the order of tokens if it is told to", graph, inputs, outputs }
}

/// None of the shares is a whole token; the second row has fewer tokens than are to stay.
fn floors() -> Known {
    let mut graph = Graph::new();
    let x = graph.input("x", [2, 8, 1], Elem::F32);
    let lengths = graph.input("lengths", [2], Elem::U32);
    let tokens = tokenpress::Tokens::ragged(&mut graph, x, lengths).expect("shapes agree");
    let score = graph.input("score", [2, 8], Elem::F32);
    let (keep, floor) = (0.0, 3);
    let kept = [
        ("divprune", DivPrune { keep, floor }.build(&mut graph, &tokens).expect("valid").pruned.compressed),
        ("idpruner", IdPruner { keep, relevance: 1.0, floor }.build(&mut graph, &tokens, score).expect("valid").pruned.compressed),
        ("dart", Dart { keep, image_pivots: 1, floor }.build(&mut graph, &tokens, score, None).expect("valid").pruned.compressed),
        (
            "hiprune",
            HiPrune { keep, share: 0.0, width: 4, wrap: false, floor }.build(&mut graph, &tokens, score, score).expect("valid").compressed,
        ),
        ("evs", Evs { tokens_per_frame: 1, prune: 1.0, floor }.build(&mut graph, &tokens).expect("valid").pruned.compressed),
        (
            "evit",
            EVit { keep: 1e-9, floor, fuse: false, protect: Protect::NONE }.by_score(&mut graph, &tokens, score).expect("valid").compressed,
        ),
    ];
    for (name, compressed) in kept {
        graph.output(name, compressed.tokens.lengths).expect("a name");
    }
    let inputs = [
        ("x".to_owned(), HostTensor::f32([2, 8, 1], (1..=16).map(|i| i as f32).collect())),
        ("lengths".to_owned(), HostTensor::u32([2], vec![8, 2])),
        ("score".to_owned(), HostTensor::f32([2, 8], (0..16).map(|i| (i * 5 % 7) as f32).collect())),
    ];
    let outputs = kept.map(|(name, _)| (name, vec![3.0, 2.0], 0.0)).to_vec();
    Known { name: "at least as many tokens stay as a floor says", graph, inputs: inputs.into(), outputs }
}

/// All attention is equal, so that none stands out.
fn floor_of_outliers() -> Known {
    let mut graph = Graph::new();
    let patches = graph.tokens("x", [1, 4, 1], Elem::F32).expect("a shape");
    let heads = graph.input("heads", [1, 1, 5, 1], Elem::F32);
    let method = PruMerge { floor: 2, neighbours: 0, ..PruMerge::default() };
    let merged = method.build(&mut graph, &patches, heads, heads).expect("valid options");
    name(&mut graph, merged.compressed);
    let inputs = [
        ("x".to_owned(), HostTensor::f32([1, 4, 1], vec![1.0, 2.0, 4.0, 8.0])),
        ("heads".to_owned(), HostTensor::f32([1, 1, 5, 1], vec![0.0; 5])),
    ];
    let outputs = vec![("parent", vec![0.0, 1.0, 2.0, 2.0], 0.0), ("x'", vec![1.0, 2.0, 2.4], 1e-6), ("lengths'", vec![3.0], 0.0)];
    Known { name: "PruMerge keeps patches though none stands out", graph, inputs: inputs.into(), outputs }
}

/// The text looks at all alike, and never enough.
fn floor_of_a_prompt() -> Known {
    let mut graph = Graph::new();
    let tokens = graph.tokens("x", [1, 6, 1], Elem::F32).expect("a shape");
    let heads = graph.input("heads", [1, 1, 6, 1], Elem::F32);
    let key = graph.constant(HostTensor::u32([1, 1], vec![2]));
    let prompt = Prefill::new(&mut graph, tokens, Images::Range { start: 1, tokens: 4 }, key).expect("shapes agree");
    let method = DualAttention { global: 10.0, individual: 0.5, floor: 3 };
    let kept = method.build(&mut graph, &prompt, heads, heads).expect("valid options");
    graph.output("parent", kept.map.parent).expect("a name");
    let inputs =
        [("x".to_owned(), HostTensor::f32([1, 6, 1], vec![1.0; 6])), ("heads".to_owned(), HostTensor::f32([1, 1, 6, 1], vec![0.0; 6]))];
    // Image token 3 is key; the first two of the others stay beside it.
    let outputs = vec![("parent", vec![0.0, 1.0, 2.0, 3.0, f64::from(NONE), 4.0], 0.0)];
    Known { name: "MustDrop keeps image tokens though no word looks at them", graph, inputs: inputs.into(), outputs }
}
