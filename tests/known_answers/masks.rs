//! Softmax, masks, and rows that see nothing.

use tokenpress::kernels::{
    Attention, AttentionInputs, AttentionScore, HeadReduction, Norm, PooledAttention, Queries, QueryKeyValue, RowReduction,
};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor, Tensor};

use super::Known;

const HIDDEN: f32 = f32::NEG_INFINITY;

/// One head of one channel: a query, key and value is a number.
#[derive(Clone, Copy, Default)]
struct Row<'a> {
    queries: &'a [f32],
    keys: &'a [f32],
    bias: Option<&'a [f32]>,
    lengths: Option<u32>,
    causal: bool,
}

impl Row<'_> {
    fn input(graph: &mut Graph, inputs: &mut HostTensors, name: &str, values: &[f32]) -> Tensor {
        let shape = [1, 1, values.len() as u32, 1];
        inputs.insert(name.to_owned(), HostTensor::f32(shape, values.to_vec()));
        graph.input(name, shape, Elem::F32)
    }

    fn lengths(&self, graph: &mut Graph, inputs: &mut HostTensors) -> Option<Tensor> {
        self.lengths.map(|live| {
            inputs.insert("lengths".to_owned(), HostTensor::u32([1], vec![live]));
            graph.input("lengths", [1], Elem::U32)
        })
    }

    /// The importance of the keys, with the rows' log-sum-exp.
    fn score(&self, name: &'static str, kernel: AttentionScore, score: &[f64], lse: &[f64], tolerance: f64) -> Known {
        let (mut graph, mut inputs) = (Graph::new(), HostTensors::new());
        let queries = Self::input(&mut graph, &mut inputs, "queries", self.queries);
        let keys = Self::input(&mut graph, &mut inputs, "keys", self.keys);
        let lengths = self.lengths(&mut graph, &mut inputs);
        let bias = self.bias.map(|bias| {
            inputs.insert("bias".to_owned(), HostTensor::f32([1, bias.len() as u32], bias.to_vec()));
            graph.input("bias", [1, bias.len() as u32], Elem::F32)
        });
        let kernel = AttentionScore { lse: true, causal: self.causal, ..kernel };
        let read = AttentionInputs { queries, keys, bias, lengths, query_lengths: None };
        let importance = kernel.build(&mut graph, read).expect("shapes agree");
        graph.output("score", importance.score).expect("a name");
        graph.output("lse", importance.lse.expect("asked for")).expect("a name");
        Known { name, graph, inputs, outputs: vec![("score", score.to_vec(), tolerance), ("lse", lse.to_vec(), tolerance)] }
    }

    /// The attention of the queries to these values. The bias is of `[1, 1, 1 or M, N]`.
    fn attend(&self, name: &'static str, values: &[f32], rows: &[f64], lse: &[f64], tolerance: f64) -> Known {
        let (mut graph, mut inputs) = (Graph::new(), HostTensors::new());
        let queries = Self::input(&mut graph, &mut inputs, "queries", self.queries);
        let keys = Self::input(&mut graph, &mut inputs, "keys", self.keys);
        let values = Self::input(&mut graph, &mut inputs, "values", values);
        let lengths = self.lengths(&mut graph, &mut inputs);
        let count = self.keys.len();
        let bias = self.bias.map(|bias| {
            let shape = [1, 1, (bias.len() / count) as u32, count as u32];
            inputs.insert("bias".to_owned(), HostTensor::f32(shape, bias.to_vec()));
            graph.input("bias", shape, Elem::F32)
        });
        let kernel = Attention { lse: true, causal: self.causal, ..Attention::default() };
        let read = QueryKeyValue { queries, keys, values, bias, lengths, query_lengths: None };
        let attended = kernel.build(&mut graph, read).expect("shapes agree");
        graph.output("rows", attended.rows).expect("a name");
        graph.output("lse", attended.lse.expect("asked for")).expect("a name");
        Known { name, graph, inputs, outputs: vec![("rows", rows.to_vec(), tolerance), ("lse", lse.to_vec(), tolerance)] }
    }
}

pub fn all() -> Vec<Known> {
    [scores(), attention(), pooled()].into_iter().flatten().collect()
}

fn scores() -> Vec<Known> {
    let class = AttentionScore::default();
    let all = AttentionScore { queries: Queries::All, rows: RowReduction::Sum, ..AttentionScore::default() };
    let none = f64::NEG_INFINITY;
    let lse = |largest: f64, keys: f64| vec![largest + keys.ln()];
    let zero = Row { queries: &[0.0], keys: &[0.0; 4], ..Row::default() };
    let lowest = f64::from(f32::MIN);
    let mut known = vec![
        zero.score("four keys share a row", class.clone(), &[0.25; 4], &lse(0.0, 4.0), 1e-6),
        Row { bias: Some(&[-1e4; 4]), ..zero }.score(
            "four keys masked by -1e4 share a row",
            class.clone(),
            &[0.25; 4],
            &lse(-1e4, 4.0),
            2e-3,
        ),
        Row { bias: Some(&[-1e9; 4]), ..zero }
            .score("four keys masked by -1e9 share a row", class.clone(), &[0.25; 4], &lse(-1e9, 4.0), 64.0)
            .sharp("score"),
        Row { bias: Some(&[f32::MIN; 4]), ..zero }
            .score("four keys masked by f32::MIN share a row", class.clone(), &[0.25; 4], &[lowest], 1e32)
            .sharp("score"),
        Row { bias: Some(&[HIDDEN; 4]), ..zero }.score("keys hidden by -infinity get nothing", class.clone(), &[0.0; 4], &[none], 0.0),
        Row { bias: Some(&[HIDDEN, 0.0, HIDDEN, 0.0]), ..zero }.score(
            "hidden keys leave a row to the others",
            class.clone(),
            &[0.0, 0.5, 0.0, 0.5],
            &lse(0.0, 2.0),
            1e-6,
        ),
        Row { lengths: Some(0), ..zero }.score("a row of no keys sees nothing", class.clone(), &[0.0; 4], &[none], 0.0),
        Row { queries: &[1.0], keys: &[0.0, f32::NAN], bias: Some(&[0.0, HIDDEN]), ..Row::default() }.score(
            "a NaN in a hidden key does not matter",
            class.clone(),
            &[1.0, 0.0],
            &[0.0],
            1e-6,
        ),
        Row { queries: &[1.0], keys: &[0.0, f32::INFINITY, f32::NAN], lengths: Some(1), ..Row::default() }.score(
            "what lies behind the length does not matter",
            class.clone(),
            &[1.0, 0.0, 0.0],
            &[0.0],
            1e-6,
        ),
        Row { queries: &[1.0], keys: &[0.0, f32::NAN, 1.0], ..Row::default() }.score(
            "a NaN in a key makes its row NaN",
            class.clone(),
            &[f64::NAN; 3],
            &[f64::NAN],
            0.0,
        ),
        Row { queries: &[1.0], keys: &[0.0, f32::INFINITY, 1.0], ..Row::default() }.score(
            "an infinite logit takes all",
            class.clone(),
            &[0.0, 1.0, 0.0],
            &[f64::from(f32::MAX)],
            0.0,
        ),
        Row { queries: &[3e38], keys: &[1.0, 0.0, 1.0], bias: Some(&[3e38, 0.0, 3e38]), ..Row::default() }.score(
            "logits saturate at the largest float",
            class.clone(),
            &[0.5, 0.0, 0.5],
            &[f64::from(f32::MAX)],
            1e-6,
        ),
    ];
    for (name, logit) in [("1e3", 1e3f32), ("5e4", 5e4), ("1e6", 1e6), ("1e7", 1e7), ("1e30", 1e30), ("-1e7", -1e7)] {
        let name: &'static str = format!("two equal logits of {name} share a row").leak();
        let lse = lse(f64::from(logit), 2.0);
        let tolerance = f64::from(logit.abs()) * 2e-7;
        known.push(
            Row { queries: &[1.0], keys: &[logit; 2], ..Row::default() }
                .score(name, class.clone(), &[0.5; 2], &lse, tolerance)
                .sharp("score"),
        );
        let rows: &'static str = format!("{name}, of many").leak();
        let (queries, keys) = ([1.0; 20], [logit; 20]);
        let lse = vec![f64::from(logit) + 20f64.ln(); 20];
        known.push(
            Row { queries: &queries, keys: &keys, ..Row::default() }.score(rows, all.clone(), &[1.0; 20], &lse, tolerance).sharp("score"),
        );
    }
    // Rows of a causal mask.
    let causal = Row { queries: &[0.0; 4], keys: &[0.0; 4], causal: true, ..Row::default() };
    let with_bias = Row { bias: Some(&[-1e9, -1e9, 0.0, 0.0]), ..causal };
    let lses = [-1e9, -1e9 + 2f64.ln(), 0.0, 2f64.ln()];
    known.push(
        with_bias.score("a causal row of masked keys only shares them", all.clone(), &[1.5, 0.5, 1.5, 0.5], &lses, 64.0).sharp("score"),
    );
    let hidden = Row { bias: Some(&[HIDDEN, HIDDEN, 0.0, 0.0]), ..causal };
    let lses = [none, none, 0.0, 2f64.ln()];
    known.push(hidden.score("a causal row of hidden keys only sees nothing", all.clone(), &[0.0, 0.0, 1.5, 0.5], &lses, 1e-6));
    let mean = AttentionScore { rows: RowReduction::MeanVisible, ..all.clone() };
    known.push(hidden.score("no row counts as seeing a hidden key", mean, &[0.0, 0.0, 0.75, 0.5], &lses, 1e-6));
    let behind = Row { queries: &[1.0; 2], keys: &[0.0, f32::NAN], causal: true, ..Row::default() };
    let kept = AttentionScore { rows: RowReduction::None, ..all.clone() };
    known.push(behind.score("a NaN in a later key is its own row's", kept, &[1.0, 0.0, f64::NAN, f64::NAN], &[0.0, f64::NAN], 0.0));
    let most = AttentionScore { rows: RowReduction::Max, heads: HeadReduction::Max, ..all.clone() };
    known.push(behind.score("a NaN wins in a maximum", most, &[f64::NAN; 2], &[0.0, f64::NAN], 0.0));
    let logits = AttentionScore { norm: Norm::Logits, ..all.clone() };
    let biased = Row { queries: &[2.0], keys: &[3.0, f32::NAN], bias: Some(&[-1e9, HIDDEN]), ..Row::default() };
    known.push(biased.score("a hidden key has no logit either", logits, &[6.0, 0.0], &[-1e9], 64.0).sharp("score"));
    // More rows than are stored one by one.
    let (queries, keys, bias) = ([0.0; 100], [0.0; 100], [f32::MIN; 100]);
    let many = Row { queries: &queries, keys: &keys, bias: Some(&bias), ..Row::default() };
    known.push(
        many.score("a hundred keys masked by f32::MIN share a hundred rows", all.clone(), &[1.0; 100], &[lowest; 100], 1e32).sharp("score"),
    );
    let mut keys = [0.0; 100];
    let mut bias = [0.0; 100];
    (keys[70], bias[70]) = (f32::NAN, HIDDEN);
    let mut expected = [100.0 / 99.0; 100];
    expected[70] = 0.0;
    let many = Row { queries: &queries, keys: &keys, bias: Some(&bias), ..Row::default() };
    known.push(many.score("a hidden NaN does not matter to a hundred rows", all.clone(), &expected, &[99f64.ln(); 100], 1e-5));
    let most = AttentionScore { rows: RowReduction::Max, ..all };
    keys[70] = f32::INFINITY;
    let shown = Row { queries: &[1.0; 100], keys: &keys, bias: None, ..Row::default() };
    let mut expected = [0.0; 100];
    expected[70] = 1.0;
    known.push(shown.score("an infinite key takes all of a hundred rows", most, &expected, &[f64::from(f32::MAX); 100], 0.0));
    known
}

fn attention() -> Vec<Known> {
    let none = f64::NEG_INFINITY;
    let (nan, lowest) = (f32::NAN, f64::from(f32::MIN));
    let one = Row { queries: &[1.0], keys: &[0.0; 4], ..Row::default() };
    let two = Row { queries: &[1.0], keys: &[0.0; 2], ..Row::default() };
    let causal = Row { queries: &[0.0; 2], keys: &[0.0; 2], causal: true, ..Row::default() };
    let values = [1.0, 2.0, 3.0, 6.0];
    // Of a hundred keys the first 64 are far below the others.
    let far: Vec<f32> = (0..100).map(|key| if key < 64 { -1000.0 } else { 0.0 }).collect();
    let of_far: Vec<f32> = (0..100).map(|key| if key == 3 { nan } else { 1.0 }).collect();
    let hidden: Vec<f32> = (0..100).map(|key| if key == 3 { HIDDEN } else { 0.0 }).collect();
    vec![
        Row { bias: Some(&[f32::MIN; 4]), ..one }
            .attend("values masked by f32::MIN are averaged", &values, &[3.0], &[lowest], 1e32)
            .sharp("rows"),
        Row { bias: Some(&[-1e9; 4]), ..one }.attend("values masked by -1e9 are averaged", &values, &[3.0], &[-1e9], 64.0).sharp("rows"),
        Row { bias: Some(&[HIDDEN; 4]), ..one }.attend("a row that sees nothing is 0", &values, &[0.0], &[none], 0.0),
        Row { lengths: Some(0), ..one }.attend("a row of no keys is 0", &values, &[0.0], &[none], 0.0),
        Row { bias: Some(&[0.0, HIDDEN]), ..two }.attend("a NaN in a hidden value does not matter", &[3.0, nan], &[3.0], &[0.0], 1e-6),
        Row { bias: Some(&[0.0, HIDDEN]), keys: &[0.0, nan], ..two }.attend(
            "a NaN in a hidden key does not matter",
            &[3.0, 5.0],
            &[3.0],
            &[0.0],
            1e-6,
        ),
        causal.attend(
            "an infinite value of a later key does not matter",
            &[3.0, f32::INFINITY],
            &[3.0, f64::INFINITY],
            &[0.0, 2f64.ln()],
            1e-6,
        ),
        causal.attend("a NaN value of a later key does not matter", &[3.0, nan], &[3.0, f64::NAN], &[0.0, 2f64.ln()], 1e-6),
        Row { lengths: Some(1), ..two }.attend("values behind the length do not matter", &[3.0, nan], &[3.0], &[0.0], 1e-6),
        Row { queries: &[3e38], keys: &[1.0, 0.0], bias: Some(&[3e38, 0.0]), ..two }.attend(
            "a logit beyond the largest float takes all",
            &[2.0, 4.0],
            &[2.0],
            &[f64::from(f32::MAX)],
            0.0,
        ),
        Row { keys: &[0.0; 3], ..two }.attend(
            "an infinite last value of three makes the row infinite",
            &[1.0, 2.0, f32::INFINITY],
            &[f64::INFINITY],
            &[3f64.ln()],
            1e-6,
        ),
        Row { keys: &[0.0, -1000.0, 0.0], ..two }.attend(
            "an infinite value is in its row, however small its weight",
            &[1.0, f32::INFINITY, 2.0],
            &[f64::INFINITY],
            &[2f64.ln()],
            1e-6,
        ),
        Row { bias: Some(&[0.0, f32::MIN]), ..two }.attend(
            "f32::MIN hides no infinite value",
            &[3.0, f32::INFINITY],
            &[f64::INFINITY],
            &[0.0],
            1e-6,
        ),
        Row { keys: &far, ..two }.attend(
            "a NaN value is in its row, however far the others grow",
            &of_far,
            &[f64::NAN],
            &[36f64.ln()],
            1e-5,
        ),
        Row { keys: &far, bias: Some(&hidden), ..two }.attend(
            "a hidden NaN value is in no row, however far the others grow",
            &of_far,
            &[1.0],
            &[36f64.ln()],
            1e-5,
        ),
        Row { keys: &[nan, 0.0], ..two }.attend("a NaN in a key makes its row NaN", &[2.0, 4.0], &[f64::NAN], &[f64::NAN], 0.0),
        Row { keys: &[1e7, 1e7], ..two }
            .attend("two equal logits of 1e7 share a row", &[2.0, 4.0], &[3.0], &[1e7 + 2f64.ln()], 1.0)
            .sharp("rows"),
    ]
}

/// Two frames, a pool each, whose queries and keys these are.
fn pooled() -> Vec<Known> {
    let find = |name, queries: [f32; 2], keys: [f32; 2], live: u32, received: [f64; 2], own: [f64; 2]| {
        let (mut graph, mut inputs) = (Graph::new(), HostTensors::new());
        let queries = Row::input(&mut graph, &mut inputs, "queries", &queries);
        let keys = Row::input(&mut graph, &mut inputs, "keys", &keys);
        inputs.insert("lengths".to_owned(), HostTensor::u32([1], vec![live]));
        let lengths = graph.input("lengths", [1], Elem::U32);
        let found = PooledAttention { pool: 1, scale: None }.build(&mut graph, queries, keys, Some(lengths)).expect("shapes agree");
        graph.output("received", found.received).expect("a name");
        graph.output("own", found.own).expect("a name");
        Known { name, graph, inputs, outputs: vec![("received", received.to_vec(), 1e-6), ("own", own.to_vec(), 1e-6)] }
    };
    vec![
        find("pools of equal logits of 1e7 receive the same", [1.0; 2], [1e7; 2], 2, [0.5; 2], [0.5; 2]),
        find("pools of equal logits of -1e9 receive the same", [1.0; 2], [-1e9; 2], 2, [0.5; 2], [0.5; 2]),
        find("a NaN behind the live frames does not matter", [1.0, f32::NAN], [1.0, f32::NAN], 1, [1.0, 0.0], [1.0, 0.0]),
        find("no live frame receives nothing", [1.0; 2], [1.0; 2], 0, [0.0; 2], [0.0; 2]),
        find("a NaN key makes all weights NaN", [1.0; 2], [1.0, f32::NAN], 2, [f64::NAN; 2], [f64::NAN; 2]),
    ]
}
