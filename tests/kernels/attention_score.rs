//! `attention_score`: what it refuses, and that neither batch nor padding changes a bit.

use crate::support::{adapters, data};
use tokenpress::kernels::{AttentionInputs, AttentionScore, HeadReduction, Norm, Queries, RowReduction};
use tokenpress::readback::{Context, HostTensors};
use tokenpress::{Elem, Error, Graph, HostTensor, Shape};

/// The first `tokens` of each row of `[B, H, N, D]`, of the batch rows in `batch`.
fn cut(tensor: &HostTensor, batch: std::ops::Range<usize>, tokens: usize) -> HostTensor {
    let dims: Vec<usize> = tensor.shape().dims().iter().map(|&d| d as usize).collect();
    let values = tensor.floats();
    let rows = batch.start * dims[1]..batch.end * dims[1];
    let cut = rows.flat_map(|row| values[row * dims[2] * dims[3]..][..tokens * dims[3]].to_vec()).collect();
    HostTensor::f32([batch.len() as u32, dims[1] as u32, tokens as u32, dims[3] as u32], cut)
}

fn run(context: &Context, score: &AttentionScore, queries: HostTensor, keys: HostTensor, lengths: &[u32]) -> Vec<Vec<f32>> {
    let mut graph = Graph::new();
    let batch = lengths.len() as u32;
    let inputs = AttentionInputs {
        queries: graph.input("queries", queries.shape(), Elem::F32),
        keys: graph.input("keys", keys.shape(), Elem::F32),
        bias: None,
        lengths: Some(graph.input("lengths", [batch], Elem::U32)),
        query_lengths: None,
    };
    let importance = score.clone().build(&mut graph, inputs).expect("shapes agree");
    graph.output("score", importance.score).expect("a name");
    let host: HostTensors =
        [("queries".to_owned(), queries), ("keys".to_owned(), keys), ("lengths".to_owned(), HostTensor::u32([batch], lengths.to_vec()))]
            .into();
    let values = pollster::block_on(context.run(&graph, &host)).expect("a plan")["score"].floats();
    values.chunks(values.len() / lengths.len()).map(<[f32]>::to_vec).collect()
}

#[test]
fn a_ragged_row_gets_what_it_gets_alone() {
    let shape: Shape = [4, 2, 300, 8].into();
    let (queries, keys) = (
        HostTensor::f32(shape, data::normal(1, shape.elements() as usize)),
        HostTensor::f32(shape, data::normal(2, shape.elements() as usize)),
    );
    let lengths = [300, 41, 0, 258];
    for adapter in adapters::all() {
        let context = &adapter.context;
        for queries_asked in [Queries::All, Queries::CLASS, Queries::Last] {
            for (causal, rows) in [(false, RowReduction::Sum), (true, RowReduction::MeanVisible), (true, RowReduction::Max)] {
                let score = AttentionScore { queries: queries_asked.clone(), causal, rows, ..Default::default() };
                let together = run(context, &score, queries.clone(), keys.clone(), &lengths);
                for (b, &length) in lengths.iter().enumerate() {
                    let name = format!("{} {score:?} row {b}", adapter.name);
                    let alone = |tokens| run(context, &score, cut(&queries, b..b + 1, tokens), cut(&keys, b..b + 1, tokens), &[length]);
                    assert_eq!(together[b], alone(300)[0], "{name}");
                    // Nor does padding matter.
                    if length > 0 {
                        let live = length as usize;
                        assert_eq!(together[b][..live], alone(live)[0], "{name}, cut");
                        assert!(together[b][live..].iter().all(|&v| v == 0.0), "{name}");
                    }
                }
            }
        }
    }
}

/// A row of stored logits is made by one workgroup or by several, as long as it may be: both give the same bits.
#[test]
fn long_padding_changes_nothing() {
    let shape: Shape = [1, 2, 5000, 4].into();
    let tensor = |seed| HostTensor::f32(shape, data::normal(seed, shape.elements() as usize));
    let (queries, keys) = (tensor(1), tensor(2));
    for adapter in adapters::all() {
        let cut_to =
            |tokens| run(&adapter.context, &AttentionScore::default(), cut(&queries, 0..1, tokens), cut(&keys, 0..1, tokens), &[4000]);
        assert_eq!(cut_to(5000)[0][..4000], cut_to(4000)[0], "{}", adapter.name);
    }
}

/// The error of a call on queries `[2, 4, 6, 8]` and keys `[2, 2, 9, 8]`, changed by `change`.
fn refused(score: AttentionScore, change: impl Fn(&mut Graph, &mut AttentionInputs)) -> Error {
    let mut graph = Graph::new();
    let mut inputs = AttentionInputs {
        queries: graph.input("queries", [2, 4, 6, 8], Elem::F32),
        keys: graph.input("keys", [2, 2, 9, 8], Elem::F32),
        bias: None,
        lengths: None,
        query_lengths: None,
    };
    change(&mut graph, &mut inputs);
    score.build(&mut graph, inputs).expect_err("a refusal")
}

#[test]
fn wrong_tensors_and_options_are_refused() {
    let class = AttentionScore::default();
    let shape = |argument: &str, error: Error| assert!(matches!(&error, Error::Shape { argument: a, .. } if *a == argument), "{error}");
    let elem = |argument: &str, error: Error| assert!(matches!(&error, Error::Elem { argument: a, .. } if *a == argument), "{error}");
    let value = |argument: &str, score| {
        let error = refused(score, |_, _| {});
        assert!(matches!(&error, Error::Value { argument: a, .. } if *a == argument), "{error}");
    };
    shape("attention_score: queries", refused(class.clone(), |g, i| i.queries = g.input("q", [2, 6, 8], Elem::F32)));
    for keys in [[2, 3, 9, 8], [1, 2, 9, 8], [2, 2, 9, 7], [2, 0, 9, 8]] {
        shape("attention_score: keys", refused(class.clone(), |g, i| i.keys = g.input("k", keys, Elem::F32)));
    }
    shape("attention_score: keys", refused(class.clone(), |g, i| i.keys = g.input("k", [2, 9, 8], Elem::F32)));
    shape("attention_score: bias", refused(class.clone(), |g, i| i.bias = Some(g.input("b", [2, 6], Elem::F32))));
    shape("attention_score: bias", refused(class.clone(), |g, i| i.bias = Some(g.input("b", [1], Elem::F32))));
    shape("attention_score: lengths", refused(class.clone(), |g, i| i.lengths = Some(g.input("l", [3], Elem::U32))));
    shape("attention_score: query_lengths", refused(class.clone(), |g, i| i.query_lengths = Some(g.input("l", [2, 1], Elem::U32))));
    elem("attention_score: queries", refused(class.clone(), |g, i| i.queries = g.input("q", [2, 4, 6, 8], Elem::U32)));
    elem("attention_score: keys", refused(class.clone(), |g, i| i.keys = g.input("k", [2, 2, 9, 8], Elem::F16)));
    elem("attention_score: bias", refused(class.clone(), |g, i| i.bias = Some(g.input("b", [2, 9], Elem::F16))));
    elem("attention_score: lengths", refused(class.clone(), |g, i| i.lengths = Some(g.input("l", [2], Elem::F32))));
    elem("attention_score: query_lengths", refused(class.clone(), |g, i| i.query_lengths = Some(g.input("l", [2], Elem::F32))));
    value("attention_score: queries", AttentionScore { queries: Queries::Row(6), ..class.clone() });
    value("attention_score: queries", AttentionScore { queries: Queries::List(vec![0, u32::MAX]), ..class.clone() });
    value("attention_score: heads", AttentionScore { heads: HeadReduction::One(4), ..class.clone() });
    value("attention_score: columns", AttentionScore { columns: Some(3..10), norm: Norm::Logits, ..class.clone() });
    #[allow(clippy::reversed_empty_ranges, reason = "that is what is refused")]
    value("attention_score: columns", AttentionScore { columns: Some(3..2), ..class.clone() });
    let more_queries = |g: &mut Graph, i: &mut AttentionInputs| i.queries = g.input("q", [2, 4, 10, 8], Elem::F32);
    let causal = refused(AttentionScore { causal: true, ..class }, more_queries);
    assert!(matches!(causal, Error::Value { argument: "attention_score: causal", .. }), "{causal}");
}
