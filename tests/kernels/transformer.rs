//! What the layers of a transformer refuse, and what they agree on.

use tokenpress::kernels::{
    Attention, AttentionInputs, AttentionScore, Heads, LayerNorm, Linear, Norm, Queries, QueryKeyValue, RowReduction,
};
use tokenpress::kernels::{HeadReduction, add, multiply};
use tokenpress::methods::{Affine, Content, DynamicVit, LlamaVid, MultiHeadAttention, Predictor, Projections};
use tokenpress::{Elem, Error, Graph, HostTensor, Shape, Tensor};

fn tensor(graph: &mut Graph, shape: impl Into<Shape>) -> Tensor {
    graph.input("a tensor", shape, Elem::F32)
}

/// The argument that an error names.
fn refused<T>(result: Result<T, Error>) -> &'static str {
    match result.err() {
        Some(Error::Shape { argument, .. } | Error::Elem { argument, .. } | Error::Value { argument, .. }) => argument,
        Some(error) => panic!("{error}"),
        None => panic!("nothing was refused"),
    }
}

#[test]
fn attention_refuses() {
    let mut graph = Graph::new();
    let [queries, keys, values] = [[2, 4, 5, 8], [2, 2, 7, 8], [2, 2, 7, 3]].map(|shape: [u32; 4]| tensor(&mut graph, shape));
    let good = QueryKeyValue { queries, keys, values, bias: None, lengths: None, query_lengths: None };
    let mut attend = |attention: Attention, change: &dyn Fn(&mut Graph, &mut QueryKeyValue)| {
        let mut inputs = good;
        change(&mut graph, &mut inputs);
        attention.build(&mut graph, inputs)
    };
    let plain = Attention { lse: true, ..Attention::default() };
    let attended = attend(plain, &|_, _| ()).expect("shapes agree");
    assert_eq!((attended.rows.shape(), attended.lse.map(|t| t.shape())), ([2, 4, 5, 3].into(), Some([2, 4, 5].into())));
    for shape in [[2, 1, 1, 7], [1, 1, 5, 7], [2, 4, 5, 7]] {
        assert!(attend(plain, &|g, i| i.bias = Some(tensor(g, shape))).is_ok(), "{shape:?}");
    }
    for shape in [[2, 2, 5, 7], [2, 1, 1, 1], [2, 4, 7, 5]] {
        assert_eq!(refused(attend(plain, &|g, i| i.bias = Some(tensor(g, shape)))), "attention: bias", "{shape:?}");
    }
    assert_eq!(refused(attend(plain, &|g, i| i.bias = Some(tensor(g, [2, 7])))), "attention: bias");
    assert_eq!(refused(attend(plain, &|g, i| i.queries = tensor(g, [2, 5, 32]))), "attention: queries");
    assert_eq!(refused(attend(plain, &|g, i| i.queries = g.input("integers", [2, 4, 5, 8], Elem::U32))), "attention: queries");
    assert_eq!(refused(attend(plain, &|g, i| i.keys = tensor(g, [2, 3, 7, 8]))), "attention: keys");
    assert_eq!(refused(attend(plain, &|g, i| i.keys = tensor(g, [2, 2, 7, 9]))), "attention: keys");
    assert_eq!(refused(attend(plain, &|g, i| i.keys = g.input("half", [2, 2, 7, 8], Elem::F16))), "attention: keys");
    assert_eq!(refused(attend(plain, &|g, i| i.values = tensor(g, [2, 4, 7, 3]))), "attention: values");
    assert_eq!(refused(attend(plain, &|g, i| i.lengths = Some(tensor(g, [2])))), "attention: lengths");
    assert_eq!(refused(attend(plain, &|g, i| i.query_lengths = Some(g.input("three", [3], Elem::U32)))), "attention: query_lengths");
    assert_eq!(refused(attend(Attention { heads: Heads::Last, ..plain }, &|_, _| ())), "attention: keys");
    let causal = Attention { causal: true, ..plain };
    assert_eq!(refused(attend(causal, &|g, i| i.queries = tensor(g, [2, 4, 8, 8]))), "attention: causal");
}

#[test]
fn layers_refuse() {
    let mut graph = Graph::new();
    let (x, four, integers) = (tensor(&mut graph, [2, 3, 4]), tensor(&mut graph, [4]), graph.input("integers", [2, 3, 4], Elem::U32));
    for epsilon in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
        assert_eq!(refused(LayerNorm::new(epsilon).build(&mut graph, x, None, None)), "layer_norm: epsilon", "{epsilon}");
    }
    let norm = LayerNorm::default();
    assert_eq!(refused(norm.build(&mut graph, x, Some(x), None)), "layer_norm: weight");
    assert_eq!(refused(norm.build(&mut graph, x, None, Some(x))), "layer_norm: bias");
    assert_eq!(refused(norm.build(&mut graph, integers, None, None)), "layer_norm: x");
    assert_eq!(refused(add(&mut graph, integers, integers)), "elementwise: a");
    assert_eq!(refused(add(&mut graph, x, integers)), "elementwise: b");
    let three = tensor(&mut graph, [3]);
    assert_eq!(refused(multiply(&mut graph, x, three)), "elementwise: b");
    assert_eq!(refused(Linear::default().build(&mut graph, x, four, None)), "linear: weight");
    assert_eq!(refused(Linear::default().build(&mut graph, integers, x, None)), "linear: weight");
}

#[test]
fn methods_refuse() {
    let mut graph = Graph::new();
    let mut layer = |shape: [u32; 2]| Affine { weight: tensor(&mut graph, shape), bias: None };
    let (four, [first, second, third]) = (layer([4, 4]), [[3, 5], [2, 3], [2, 2]].map(&mut layer));
    let odd = layer([5, 4]);
    let projections = Projections { queries: four, keys: four, values: four, output: four };
    let norm = Affine { weight: tensor(&mut graph, [4]), bias: None };
    let x = tensor(&mut graph, [2, 9, 4]);
    let attention = MultiHeadAttention { heads: 3, projections };
    let projected = attention.project(&mut graph, [x; 3]).expect("shapes agree");
    assert_eq!(refused(attention.attend(&mut graph, projected, Default::default())), "heads");
    assert_eq!(refused(attention.heads_first(&mut graph, x)), "heads");
    let tokens = tokenpress::Tokens::new(&mut graph, x).expect("tokens");
    let predictor = Predictor { norm, first: odd, last: [first, second, third] };
    assert_eq!(refused(DynamicVit { keep: 3, ..DynamicVit::default() }.build(&mut graph, &tokens, &predictor)), "dynamic_vit: first");
    for cells in [0, 4] {
        let method = LlamaVid { key: four, value: four, projector: vec![four], content: Content::Grid(cells) };
        assert_eq!(refused(method.build(&mut graph, x, [3, 3], x, None)), "llama_vid: grid");
    }
}

/// The log-sum-exp of one pass is that of the score's; and a score's weights make the rows of one pass.
#[test]
fn attention_agrees_with_its_score() {
    let mut graph = Graph::new();
    let values = |seed: u32, len: u32| (0..len).map(|i| ((i * 37 + seed * 101) % 89) as f32 / 30.0 - 1.5).collect::<Vec<_>>();
    let mut constant = |seed, shape: [u32; 4]| graph.constant(HostTensor::f32(shape, values(seed, shape.iter().product())));
    let (queries, keys, of_keys) = (constant(1, [1, 2, 6, 4]), constant(2, [1, 1, 9, 4]), constant(3, [1, 1, 9, 1]));
    let inputs = QueryKeyValue { queries, keys, values: of_keys, bias: None, lengths: None, query_lengths: None };
    let attended = Attention { causal: true, lse: true, ..Attention::default() }.build(&mut graph, inputs).expect("shapes agree");
    let score = AttentionScore {
        queries: Queries::Row(4),
        norm: Norm::Softmax,
        rows: RowReduction::Sum,
        heads: HeadReduction::None,
        causal: true,
        lse: true,
        ..AttentionScore::default()
    };
    let inputs = AttentionInputs { queries, keys, bias: None, lengths: None, query_lengths: None };
    let score = score.build(&mut graph, inputs).expect("shapes agree");
    for (name, tensor) in [("rows", Some(attended.rows)), ("lse", attended.lse), ("weights", Some(score.score)), ("row lse", score.lse)] {
        graph.output(name, tensor.expect("asked for")).expect("a name");
    }
    let out = graph.run_reference(&[].into()).expect("no inputs");
    let (rows, lse, weights, row_lse) = (out["rows"].floats(), out["lse"].floats(), out["weights"].floats(), out["row lse"].floats());
    for head in 0..2 {
        assert_eq!(lse[head * 6 + 4], row_lse[head]);
        let sum: f32 = weights[head * 9..][..9].iter().zip(values(3, 9)).map(|(w, v)| w * v).sum();
        assert!((sum - rows[head * 6 + 4]).abs() < 1e-5, "{sum} is not {}", rows[head * 6 + 4]);
    }
}
