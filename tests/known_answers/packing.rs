//! Several sequences in one row, and frames with text between them.

use tokenpress::kernels::{AttentionInputs, AttentionScore, Queries, TopK, TopKInputs};
use tokenpress::methods::{Evs, Sequences, pack_sequences};
use tokenpress::{Elem, Graph, HostTensor, NONE};

use super::Known;

pub fn all() -> Vec<Known> {
    vec![importance(), budgets(), frames(), between()]
}

/// Two images of 2 and 3 patches.
fn packed(graph: &mut Graph) -> Sequences {
    let offsets = graph.input("cu_seqlens", [3], Elem::U32);
    Sequences::new(graph, offsets, 4).expect("offsets")
}

fn offsets() -> (String, HostTensor) {
    ("cu_seqlens".to_owned(), HostTensor::u32([3], vec![0, 2, 5]))
}

fn importance() -> Known {
    let mut graph = Graph::new();
    let sequences = packed(&mut graph);
    let x = graph.input("x", [1, 5, 2], Elem::F32);
    let rows = sequences.rows(&mut graph, x).expect("tokens");
    let rows = graph.reshape(rows, [2, 1, 4, 2]).expect("one head");
    let inputs = AttentionInputs { lengths: Some(sequences.lengths), ..AttentionInputs::new(rows, rows) };
    let score =
        AttentionScore { queries: Queries::All, ..AttentionScore::default() }.build(&mut graph, inputs).expect("shapes agree").score;
    let (score, count) = pack_sequences(&mut graph, score, sequences.lengths).expect("shapes agree");
    graph.output("score", score).expect("a name");
    graph.output("count", count).expect("a name");
    let third = 1.0 / 3.0;
    Known {
        name: "no row of a packed image sees another image",
        graph,
        inputs: [offsets(), ("x".to_owned(), HostTensor::f32([1, 5, 2], vec![0.0; 10]))].into(),
        outputs: vec![("score", vec![0.5, 0.5, third, third, third, 0.0, 0.0, 0.0], 1e-6), ("count", vec![5.0], 0.0)],
    }
}

fn budgets() -> Known {
    let mut graph = Graph::new();
    let sequences = packed(&mut graph);
    let scores = graph.input("scores", [1, 5], Elem::F32);
    let scores = sequences.rows(&mut graph, scores).expect("scores");
    let counts = graph.constant(HostTensor::u32([2], vec![1, 2]));
    let inputs = TopKInputs { lengths: Some(sequences.lengths), counts: Some(counts), ..TopKInputs::new(scores) };
    let best = TopK { k: 2, ..TopK::default() }.build(&mut graph, inputs).expect("shapes agree");
    graph.output("indices", best.indices).expect("a name");
    Known {
        name: "each packed sequence has a budget of its own",
        graph,
        inputs: [offsets(), ("scores".to_owned(), HostTensor::f32([1, 5], vec![1.0, 2.0, 5.0, 9.0, 7.0]))].into(),
        outputs: vec![("indices", vec![1.0, f64::from(NONE), 1.0, 2.0], 0.0)],
    }
}

/// Frames of two tokens, of which the second frame's second and the third's first changed.
fn frames() -> Known {
    let mut graph = Graph::new();
    let tokens = graph.tokens("x", [1, 6, 2], Elem::F32).expect("tokens");
    let kept = Evs { tokens_per_frame: 2, prune: 1.0 / 3.0, floor: 0 }.build(&mut graph, &tokens).expect("frames");
    graph.output("kept", kept.pruned.selection.indices).expect("a name");
    graph.output("counts", kept.frame_counts).expect("a name");
    let x = vec![1.0, 0.0, 0.0, 1.0, /**/ 1.0, 0.0, 1.0, 0.0, /**/ 0.0, 1.0, 1.0, 0.0];
    Known {
        name: "EVS says how many tokens of each frame stayed",
        graph,
        inputs: [("x".to_owned(), HostTensor::f32([1, 6, 2], x))].into(),
        outputs: vec![("kept", vec![0.0, 1.0, 3.0, 4.0], 0.0), ("counts", vec![2.0, 1.0, 1.0], 0.0)],
    }
}

/// The same with a word before each frame, and one after the last.
fn between() -> Known {
    let mut graph = Graph::new();
    let tokens = graph.tokens("x", [1, 10, 2], Elem::F32).expect("tokens");
    let kept = Evs { tokens_per_frame: 2, prune: 1.0 / 3.0, floor: 0 }.build_between(&mut graph, &tokens, &[1, 4, 7]).expect("frames");
    graph.output("kept", kept.pruned.selection.indices).expect("a name");
    graph.output("counts", kept.frame_counts).expect("a name");
    let word = [5.0, 5.0];
    let x = [word, [1.0, 0.0], [0.0, 1.0], word, [1.0, 0.0], [1.0, 0.0], word, [0.0, 1.0], [1.0, 0.0], word];
    Known {
        name: "text between the frames of EVS stays",
        graph,
        inputs: [("x".to_owned(), HostTensor::f32([1, 10, 2], x.concat()))].into(),
        outputs: vec![("kept", vec![0.0, 1.0, 2.0, 3.0, 5.0, 6.0, 7.0, 9.0], 0.0), ("counts", vec![2.0, 1.0, 1.0], 0.0)],
    }
}
