//! Choices among scores of which some are no numbers.

use tokenpress::kernels::{
    Activation, AssignInputs, AssignTokens, Partition, Pool, Reduce, Statistic, TopK, TopKInputs, Windows, activate, group_tokens,
    log_size, merge_tokens, reduce,
};
use tokenpress::methods::EVit;
use tokenpress::{Elem, Error, Graph, HostTensor, NONE, Tensor};

use super::Known;

pub fn all() -> Vec<Known> {
    vec![
        evit("a patch whose key has a NaN is not chosen for it", f32::NAN, [0.0, 1.0, 2.0]),
        evit("a patch whose logit is infinite is chosen first", f32::INFINITY, [0.0, 7.0, 1.0]),
        top_k(),
        equal_scores(),
        maxima("a maximum along an axis skips NaN", |graph, x| {
            let max = reduce(graph, x, 1, Statistic::Max, None)?;
            graph.reshape(max, [3])
        }),
        maxima("a pooled maximum skips NaN", |graph, x| {
            let x = graph.reshape(x, [3, 3, 1])?;
            let max = Pool::Max(Windows::Strided { size: [1, 3], stride: [1, 3], partial: false }).build(graph, x, [1, 3], None)?;
            graph.reshape(max, [3])
        }),
        maxima("a maximum of merged tokens skips NaN", |graph, x| {
            let x = graph.reshape(x, [3, 3, 1])?;
            let parent = graph.constant(HostTensor::u32([3, 3], vec![0; 9]));
            let groups = group_tokens(graph, parent, 1)?;
            let max = merge_tokens(graph, x, groups, None, Reduce::Max)?;
            graph.reshape(max, [3])
        }),
        activation("ReLU of a NaN is 0", Activation::Relu, 0.0),
        activation("GELU of a NaN is NaN", Activation::Gelu, f64::NAN),
        activation("the approximation of GELU of a NaN is NaN", Activation::GeluTanh, f64::NAN),
        activation("CLIP's GELU of a NaN is NaN", Activation::QuickGelu, f64::NAN),
        activation("SiLU of a NaN is NaN", Activation::Silu, f64::NAN),
        activation("the sigmoid of a NaN is NaN", Activation::Sigmoid, f64::NAN),
        sizes(),
        listed_twice(),
    ]
}

/// Token 0 is the first and the third destination, and token 1 two sources, which merge into the second and the first.
fn listed_twice() -> Known {
    let mut graph = Graph::new();
    let mut list = |name: &str, length: u32| graph.input(name, [1, length], Elem::U32);
    let partition = Partition { sources: list("sources", 2), destinations: list("destinations", 3) };
    let (partner, unmerged) = (list("partner", 2), list("unmerged", 1));
    let assign = AssignInputs { partition, lengths: None, partner, unmerged };
    let assigned = AssignTokens { tokens: 3, outputs: 3, interleave: false }.build(&mut graph, assign).expect("shapes agree");
    graph.output("parent", assigned.parent).expect("a name");
    graph.output("representative", assigned.representative).expect("a name");
    let lists = [("sources", vec![1, 1]), ("destinations", vec![0, 2, 0]), ("partner", vec![1, 0]), ("unmerged", vec![NONE])];
    let inputs = lists.map(|(name, list)| (name.to_owned(), HostTensor::u32([1, list.len() as u32], list)));
    let outputs = vec![("parent", vec![0.0, 0.0, 1.0], 0.0), ("representative", vec![0.0, 2.0, 0.0], 0.0)];
    Known { name: "a token that is listed twice has the lowest of its rows", graph, inputs: inputs.into(), outputs }
}

type Build = fn(&mut Graph, Tensor) -> Result<Tensor, Error>;

/// Three rows of three, of which one has a NaN first, one last, and one nothing else.
fn maxima(name: &'static str, build: Build) -> Known {
    let mut graph = Graph::new();
    let x = graph.input("x", [3, 3], Elem::F32);
    let max = build(&mut graph, x).expect("a shape");
    graph.output("max", max).expect("a name");
    let nan = f32::NAN;
    let x = HostTensor::f32([3, 3], vec![nan, -3.0, -2.0, f32::NEG_INFINITY, -5.0, nan, nan, nan, nan]);
    Known { name, graph, inputs: [("x".to_owned(), x)].into(), outputs: vec![("max", vec![-2.0, -5.0, f64::NAN], 0.0)] }
}

fn activation(name: &'static str, activation: Activation, of_nan: f64) -> Known {
    let mut graph = Graph::new();
    let x = graph.input("x", [2], Elem::F32);
    let y = activate(&mut graph, x, activation).expect("a shape");
    graph.output("y", y).expect("a name");
    let x = HostTensor::f32([2], vec![f32::NAN, -f32::NAN]);
    Known { name, graph, inputs: [("x".to_owned(), x)].into(), outputs: vec![("y", vec![of_nan; 2], 0.0)] }
}

fn sizes() -> Known {
    let mut graph = Graph::new();
    let size = graph.input("size", [1, 5], Elem::F32);
    let bias = log_size(&mut graph, size, None).expect("a shape");
    graph.output("bias", bias).expect("a name");
    let size = HostTensor::f32([1, 5], vec![0.0, -0.0, 1.0, -1.0, f32::INFINITY]);
    let none = f64::NEG_INFINITY;
    let outputs = vec![("bias", vec![none, none, 0.0, f64::NAN, f64::INFINITY], 1e-6)];
    Known { name: "a token of size 0 is hidden", graph, inputs: [("size".to_owned(), size)].into(), outputs }
}

/// Ten patches behind a class token, the seventh with a broken key, of which two stay. A NaN makes all scores of the class token's row
/// NaN: then the first patches stay. An infinite logit saturates, and takes all.
fn evit(name: &'static str, broken: f32, expected: [f64; 3]) -> Known {
    let mut graph = Graph::new();
    let x = graph.tokens("x", [1, 11, 2], Elem::F32).expect("a shape");
    let queries = graph.input("queries", [1, 1, 11, 2], Elem::F32);
    let keys = graph.input("keys", [1, 1, 11, 2], Elem::F32);
    let chosen = EVit { keep: 0.2, fuse: false, ..EVit::default() }.build(&mut graph, &x, queries, keys).expect("shapes agree");
    graph.output("chosen", chosen.selection.indices).expect("a name");
    let mut key = vec![0.5; 22];
    key[14] = broken;
    let inputs = [
        ("x".to_owned(), HostTensor::f32([1, 11, 2], vec![1.0; 22])),
        ("queries".to_owned(), HostTensor::f32([1, 1, 11, 2], vec![1.0; 22])),
        ("keys".to_owned(), HostTensor::f32([1, 1, 11, 2], key)),
    ];
    Known { name, graph, inputs: inputs.into(), outputs: vec![("chosen", expected.to_vec(), 0.0)] }
}

/// Infinities are numbers, and NaN comes last.
fn top_k() -> Known {
    let mut graph = Graph::new();
    let scores = graph.input("scores", [1, 6], Elem::F32);
    let selection = TopK { k: 6, ..TopK::default() }.build(&mut graph, TopKInputs::new(scores)).expect("a shape");
    graph.output("order", selection.indices).expect("a name");
    let scores = vec![f32::NAN, f32::NEG_INFINITY, 3.0, f32::INFINITY, -f32::NAN, -3.0];
    let inputs = [("scores".to_owned(), HostTensor::f32([1, 6], scores))].into();
    Known { name: "NaN is chosen last", graph, inputs, outputs: vec![("order", vec![3.0, 2.0, 5.0, 1.0, 0.0, 4.0], 0.0)] }
}

/// The last key is one that all of a long row have: whichever workgroup comes first, the lowest indices are chosen.
fn equal_scores() -> Known {
    let (tokens, k) = (70_000u32, 1500);
    let mut graph = Graph::new();
    let scores = graph.input("scores", [1, tokens], Elem::F32);
    let selection = TopK { k, ..TopK::default() }.build(&mut graph, TopKInputs::new(scores)).expect("a shape");
    graph.output("order", selection.indices).expect("a name");
    let score = |i| if i == 69_000 { 0.25 } else { 0.125 };
    let inputs = [("scores".to_owned(), HostTensor::f32([1, tokens], (0..tokens).map(score).collect()))].into();
    let order = std::iter::once(69_000.0).chain((0..k - 1).map(f64::from)).collect();
    Known { name: "of equal scores of a long row the first are chosen", graph, inputs, outputs: vec![("order", order, 0.0)] }
}
