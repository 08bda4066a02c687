use tokenpress::kernels::{AttentionInputs, AttentionScore, HeadReduction, Norm, Queries, RowReduction};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

/// Shapes and optional inputs of a case.
#[derive(Clone)]
pub struct Setup {
    pub batch: u32,
    pub heads: u32,
    pub key_heads: u32,
    pub queries: u32,
    pub keys: u32,
    pub channels: u32,
    pub elem: Elem,
    pub bias: bool,
    pub lengths: Option<Vec<u32>>,
    pub query_lengths: Option<Vec<u32>>,
    /// Floats of every kind in the first batch row; NaN in the other rows' queries and keys that are not alive.
    pub awkward: bool,
    /// A bias of every third key, and of all in the second batch row; hidden keys are NaN. Queries and keys are whole numbers, the former times
    /// the second number: no logit is rounded.
    pub mask: Option<(f32, f32)>,
}

pub fn setup(queries: u32, keys: u32, channels: u32) -> Setup {
    Setup {
        batch: 1,
        heads: 2,
        key_heads: 2,
        queries,
        keys,
        channels,
        elem: Elem::F32,
        bias: false,
        lengths: None,
        query_lengths: None,
        awkward: false,
        mask: None,
    }
}

pub fn case(setup: &Setup, score: AttentionScore) -> Case {
    let Setup { batch, heads, key_heads, queries, keys, channels, elem, .. } = *setup;
    let name = format!(
        "{elem} B{batch} H{heads}/{key_heads} M{queries} N{keys} D{channels}{}{}{}{} {score:?}",
        setup.mask.map_or(if setup.bias { " bias".to_owned() } else { String::new() }, |mask| format!(" mask {mask:?}")),
        if setup.awkward { " awkward" } else { "" },
        setup.lengths.as_ref().map_or(String::new(), |l| format!(" lengths {l:?}")),
        setup.query_lengths.as_ref().map_or(String::new(), |l| format!(" query lengths {l:?}")),
    );
    let mut graph = Graph::new();
    let mut host = HostTensors::new();
    let floats = |seed, shape: [u32; 4], lengths: &Option<Vec<u32>>| {
        let len = shape.iter().product::<u32>() as usize;
        let mut values = data::normal(seed, len);
        if setup.awkward {
            let (row, token) = ((shape[1] * shape[2] * shape[3]) as usize, shape[3] as usize);
            values[..row].copy_from_slice(&data::awkward(seed, row));
            for (i, value) in values.iter_mut().enumerate().skip(row) {
                let live = lengths.as_ref().map_or(shape[2], |l| l[i / row]);
                if i / token % shape[2] as usize >= live as usize {
                    *value = f32::NAN;
                }
            }
        }
        if let Some((bias, factor)) = setup.mask {
            let numbers = data::integers(seed, len, 7).into_iter().map(|n| n as f32 - 3.0);
            values = numbers.map(|n| if seed == 1 { factor * n } else { n }).collect();
            let keys = seed == 2 && bias == f32::NEG_INFINITY;
            let row = (shape[1] * shape[2] * shape[3]) as usize;
            let hidden = |i: usize| i / row == 1 || (i / shape[3] as usize % shape[2] as usize).is_multiple_of(3);
            values.iter_mut().enumerate().filter(|(i, _)| keys && hidden(*i)).for_each(|(_, v)| *v = f32::NAN);
        }
        data::tensor(shape, elem, &values)
    };
    let mut input = |name: &str, tensor: HostTensor| {
        let handle = graph.input(name, tensor.shape(), tensor.desc().elem);
        host.insert(name.to_owned(), tensor);
        handle
    };
    let inputs = AttentionInputs {
        queries: input("queries", floats(1, [batch, heads, queries, channels], &setup.lengths)),
        keys: input("keys", floats(2, [batch, key_heads, keys, channels], &setup.lengths)),
        bias: (setup.bias || setup.mask.is_some()).then(|| {
            if let Some((bias, _)) = setup.mask {
                let of_key = |i: u32| if i / keys == 1 || (i % keys).is_multiple_of(3) { bias } else { 0.0 };
                return input("bias", HostTensor::f32([batch, keys], (0..batch * keys).map(of_key).collect()));
            }
            let sizes = data::integers(3, (batch * keys) as usize, 9);
            input("bias", HostTensor::f32([batch, keys], sizes.into_iter().map(|s| ((s + 1) as f32).ln()).collect()))
        }),
        lengths: setup.lengths.clone().map(|l| input("lengths", HostTensor::u32([batch], l))),
        query_lengths: setup.query_lengths.clone().map(|l| input("query_lengths", HostTensor::u32([batch], l))),
    };
    let importance = score.build(&mut graph, inputs).expect("shapes agree");
    graph.output("score", importance.score).expect("a name");
    if let Some(lse) = importance.lse {
        graph.output("lse", lse).expect("a name");
    }
    Case { subject: "attention_score", name, heavy: false, graph, inputs: host }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let all = AttentionScore { queries: Queries::All, lse: true, ..Default::default() };
    let class = AttentionScore { lse: true, ..Default::default() };

    // Sizes around those of tiles, chunks and workgroups; one path and the other.
    for (queries, keys, channels) in [
        (1, 1, 1),
        (2, 2, 3),
        (7, 31, 4),
        (16, 33, 8),
        (17, 7, 8),
        (31, 31, 3),
        (33, 65, 20),
        (65, 33, 4),
        (129, 129, 8),
        (300, 2, 4),
        (33, 1, 1),
    ] {
        cases.push(case(&setup(queries, keys, channels), all.clone()));
    }
    for (keys, channels) in [(1, 1), (2, 4), (127, 3), (128, 64), (129, 1), (257, 8), (577, 64)] {
        cases.push(case(&setup(keys, keys, channels), class.clone()));
    }
    // An invocation for a row: more than a workgroup of them, and the longest; the next have a workgroup.
    for bias in [false, true] {
        let lengths = Some((0..70).map(|b| [2, 1, 0, u32::MAX][b % 4]).collect());
        cases.push(case(&Setup { batch: 70, bias, lengths, ..setup(2, 2, 16) }, AttentionScore { lse: true, ..all.clone() }));
    }
    for (keys, channels) in [(64, 112), (64, 113), (65, 4)] {
        cases.push(case(&setup(keys, keys, channels), class.clone()));
    }
    cases.push(case(&setup(33, 65, 256), AttentionScore { rows: RowReduction::Sum, ..all.clone() }));
    cases.push(case(&setup(1, 70, 256), class.clone()));

    // Every norm and reduction, few rows and many.
    for queries in [5, 40] {
        for norm in [Norm::Logits, Norm::Magnitude, Norm::ScaledLogits, Norm::Softmax] {
            for rows in [RowReduction::Mean, RowReduction::MeanVisible, RowReduction::Sum, RowReduction::Max] {
                let s = Setup { heads: 3, key_heads: 3, bias: true, ..setup(queries, 45, 4) };
                let score = AttentionScore { norm, rows, causal: true, queries: Queries::All, ..Default::default() };
                cases.push(case(&s, score));
            }
            for heads in [HeadReduction::Mean, HeadReduction::Sum, HeadReduction::Max, HeadReduction::One(4), HeadReduction::None] {
                let s = Setup { heads: 6, key_heads: 2, batch: 2, ..setup(queries, 37, 8) };
                let score = AttentionScore { norm, heads, queries: Queries::All, ..Default::default() };
                cases.push(case(&s, score));
            }
        }
    }
    let grouped = Setup { heads: 6, key_heads: 3, batch: 2, ..setup(37, 37, 8) };
    cases.push(case(&grouped, AttentionScore { heads: HeadReduction::One(5), ..all.clone() }));
    cases.push(case(&grouped, AttentionScore { heads: HeadReduction::One(5), norm: Norm::Logits, ..class.clone() }));

    // Rows.
    let many: Vec<u32> = (0..50).map(|i| i * 7 % 60).collect();
    for queries in [Queries::Row(59), Queries::Last, Queries::List(vec![3, 59, 3, 0]), Queries::List(vec![]), Queries::List(many)] {
        for causal in [false, true] {
            for rows in [RowReduction::Mean, RowReduction::MeanVisible, RowReduction::Max] {
                let s = Setup { batch: 3, lengths: Some(vec![61, 40, 1]), query_lengths: Some(vec![60, 41, 0]), ..setup(60, 66, 4) };
                let score = AttentionScore { queries: queries.clone(), causal, rows, lse: true, ..Default::default() };
                cases.push(case(&s, score));
            }
        }
    }

    // Each row by itself.
    for heads in [HeadReduction::Mean, HeadReduction::Max, HeadReduction::None] {
        let s = Setup { batch: 3, lengths: Some(vec![33, 20, 0]), query_lengths: Some(vec![19, 20, 3]), ..setup(20, 33, 4) };
        let score = AttentionScore { rows: RowReduction::None, causal: true, heads, columns: Some(3..33), ..all.clone() };
        cases.push(case(&s, score));
        let list = Queries::List(vec![19, 2, 2]);
        cases.push(case(&s, AttentionScore { rows: RowReduction::None, queries: list, heads, ..Default::default() }));
    }

    // Ragged batches, causal, bias, and a slice of the keys.
    for causal in [false, true] {
        for queries in [9, 65] {
            for bias in [false, true] {
                for columns in [None, Some(35..65), Some(4..4)] {
                    let s = Setup { batch: 5, bias, lengths: Some(vec![65, 0, 1, 33, 99]), ..setup(queries, 65, 4) };
                    let score = AttentionScore { causal, columns, rows: RowReduction::MeanVisible, ..all.clone() };
                    cases.push(case(&s, score));
                }
            }
            let lengths = Some(vec![65, 8, 40]);
            let s = Setup { batch: 3, lengths, query_lengths: Some(vec![queries, 9, 0]), ..setup(queries, 65, 4) };
            cases.push(case(&s, AttentionScore { causal, ..all.clone() }));
        }
    }

    // f16, and a scale of the caller's.
    for channels in [3, 8, 4] {
        let half = Setup { elem: Elem::F16, bias: true, lengths: Some(vec![60]), ..setup(61, 61, channels) };
        // An odd number of cases, so that those of 8 channels and of 4 lie differently.
        cases.push(case(&half, class.clone()));
        cases.push(case(&half, AttentionScore { causal: true, ..all.clone() }));
        cases.push(case(&half, AttentionScore { scale: Some(-0.5), ..class.clone() }));
        cases.push(case(
            &Setup { lengths: Some(vec![69]), ..Setup { elem: Elem::F16, bias: true, ..setup(70, 70, channels) } },
            class.clone(),
        ));
        cases.push(case(&half, AttentionScore { queries: Queries::Last, norm: Norm::Logits, ..class.clone() }));
    }

    cases.push(case(&Setup { elem: Elem::F16, ..setup(61, 61, 16) }, all.clone()));

    // Nothing to read, nothing to write.
    for (queries, keys, channels) in [(0, 0, 4), (0, 5, 4), (5, 0, 4), (40, 0, 4), (5, 5, 0), (40, 40, 0)] {
        for score in [all.clone(), class.clone()] {
            cases.push(case(&setup(queries, keys, channels), score));
        }
    }
    for s in [Setup { batch: 0, ..setup(5, 5, 4) }, Setup { heads: 0, key_heads: 0, ..setup(5, 5, 4) }] {
        cases.push(case(&s, all.clone()));
    }

    // A row of logits that several workgroups make.
    for bias in [false, true] {
        let long = Setup { batch: 2, bias, lengths: Some(vec![4100, 2001]), ..setup(4100, 4100, 8) };
        cases.push(case(&long, AttentionScore { lse: true, ..class.clone() }));
    }

    // More logits than are kept.
    for (channels, elem) in [(3, Elem::F32), (4, Elem::F32), (3, Elem::F16), (4, Elem::F16)] {
        cases.push(case(&Setup { elem, ..setup(2049, 2049, channels) }, all.clone()));
    }

    // Many keys for few rows, few keys for many rows, and many of both.
    let heavy = |case: Case| Case { heavy: true, ..case };
    let few = AttentionScore { queries: Queries::List((0..16).collect()), rows: RowReduction::Sum, lse: true, ..Default::default() };
    cases.push(heavy(case(&setup(16, 65536, 4), few)));
    cases.push(heavy(case(&setup(5000, 3, 4), AttentionScore { rows: RowReduction::Sum, ..all.clone() })));
    cases.push(heavy(case(&setup(1025, 1100, 64), AttentionScore { causal: true, rows: RowReduction::MeanVisible, ..all.clone() })));

    // NaN and infinities: no crash, and no effect on the other batch rows. The first is spoilt.
    for norm in [Norm::Logits, Norm::Softmax] {
        let spoilt = Setup { awkward: true, batch: 4, lengths: Some(vec![40, 0, 21, 40]), ..setup(40, 40, 4) };
        cases.push(case(&spoilt, AttentionScore { norm, ..all.clone() }));
        cases.push(case(&spoilt, AttentionScore { norm, ..class.clone() }));
        let longer = Setup { queries: 80, keys: 80, lengths: Some(vec![80, 0, 21, 80]), ..spoilt };
        cases.push(case(&longer, AttentionScore { norm, ..class.clone() }));
    }
    // Masks of every kind, and logits that leave no room for the logarithm of a sum.
    for mask in [-1e4, -1e9, f32::MIN, f32::NEG_INFINITY] {
        for (factor, norm) in [(1.0, Norm::Softmax), (1e3, Norm::Softmax), (1e6, Norm::Softmax), (1.0, Norm::Logits)] {
            let masked = Setup { batch: 2, mask: Some((mask, factor)), ..setup(40, 40, 4) };
            for (rows, heads) in [(RowReduction::Sum, HeadReduction::None), (RowReduction::Max, HeadReduction::Max)] {
                cases.push(case(&masked, AttentionScore { norm, rows, heads, causal: true, scale: Some(1.0), ..all.clone() }));
            }
            cases.push(case(&masked, AttentionScore { norm, scale: Some(1.0), ..class.clone() }));
            let longer = Setup { queries: 80, keys: 80, ..masked };
            cases.push(case(&longer, AttentionScore { norm, scale: Some(1.0), ..class.clone() }));
        }
    }
    // Large logits: one key has nearly all the weight, and most weights are 0.
    for score in [all, class] {
        cases.push(case(&setup(40, 150, 4), AttentionScore { scale: Some(40.0), ..score }));
    }
    cases
}
