use tokenpress::kernels::{Align, Attention, Heads, QueryKeyValue};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

/// Shapes and optional inputs of a case.
#[derive(Clone)]
struct Setup {
    batch: u32,
    heads: [u32; 2],
    queries: u32,
    keys: u32,
    channels: [u32; 2],
    elem: Elem,
    /// Dimensions of a bias, of which every fifth number is negative infinity.
    bias: Option<[u32; 4]>,
    lengths: Option<Vec<u32>>,
    query_lengths: Option<Vec<u32>>,
    /// Floats of every kind in the first batch row; NaN in the other rows' keys and values that are not alive.
    awkward: bool,
    /// Infinite, NaN and large values, and keys of the same kinds in the second batch row. All else as it is.
    broken: bool,
    /// A bias of every third key, and of all in the second batch row; keys and values that it hides are NaN. All numbers are whole, the queries
    /// times the second number: no logit is rounded.
    mask: Option<(f32, f32)>,
}

fn setup(queries: u32, keys: u32, channels: [u32; 2]) -> Setup {
    let (bias, lengths, query_lengths) = (None, None, None);
    Setup {
        batch: 1,
        heads: [2, 2],
        queries,
        keys,
        channels,
        elem: Elem::F32,
        bias,
        lengths,
        query_lengths,
        awkward: false,
        broken: false,
        mask: None,
    }
}

fn case(setup: &Setup, attention: Attention) -> Case {
    let Setup { batch, heads, queries, keys, channels, elem, .. } = *setup;
    let name = format!(
        "{elem} B{batch} H{heads:?} M{queries} N{keys} D{channels:?} bias {:?} lengths {:?} query lengths {:?}{} {attention:?}",
        setup.bias,
        setup.lengths,
        setup.query_lengths,
        setup.mask.map_or(
            if setup.awkward {
                " awkward"
            } else if setup.broken {
                " broken"
            } else {
                ""
            }
            .to_owned(),
            |mask| format!(" mask {mask:?}")
        ),
    );
    let mut graph = Graph::new();
    let mut host = HostTensors::new();
    let mut input = |name: &str, tensor: HostTensor| {
        let handle = graph.input(name, tensor.shape(), tensor.desc().elem);
        host.insert(name.to_owned(), tensor);
        handle
    };
    let floats = |seed, heads: u32, rows: u32, channels: u32| {
        let len = (batch * heads * rows * channels) as usize;
        let mut values = data::normal(seed, len);
        if setup.awkward {
            let row = len / batch as usize;
            values[..row].copy_from_slice(&data::awkward(seed, row));
            for (i, value) in values.iter_mut().enumerate().skip(row) {
                let live = setup.lengths.as_ref().map_or(rows, |l| l[i / row]);
                if i as u32 / channels % rows >= live {
                    *value = f32::NAN;
                }
            }
        }
        if setup.broken && seed != 1 {
            let row = len / batch as usize;
            let special = data::awkward(seed + 4, len);
            let broken = values.iter_mut().zip(special).enumerate().skip(if seed == 2 { row } else { 0 });
            broken.filter(|(i, _)| i % 41 == 7).for_each(|(_, (value, special))| *value = special);
        }
        if let Some((bias, factor)) = setup.mask {
            let numbers = data::integers(seed, len, 7).into_iter().map(|n| n as f32 - 3.0);
            values = numbers.map(|n| if seed == 1 { factor * n } else { n }).collect();
            let row = (heads * rows * channels) as usize;
            // Heads come first in these cases.
            let hidden = |i: usize| i / row == 1 || (i / channels as usize % rows as usize).is_multiple_of(3);
            let keys = seed > 1 && bias == f32::NEG_INFINITY;
            values.iter_mut().enumerate().filter(|(i, _)| keys && hidden(*i)).for_each(|(_, v)| *v = f32::NAN);
        }
        let shape = match attention.heads {
            Heads::First => [batch, heads, rows, channels],
            Heads::Last => [batch, rows, heads, channels],
        };
        data::tensor(shape, elem, &values)
    };
    let inputs = QueryKeyValue {
        queries: input("queries", floats(1, heads[0], queries, channels[0])),
        keys: input("keys", floats(2, heads[1], keys, channels[0])),
        values: input("values", floats(3, heads[1], keys, channels[1])),
        bias: setup.bias.map(|shape| {
            if let Some((bias, _)) = setup.mask {
                let of_key = |i: u32| if i / keys == 1 || (i % keys).is_multiple_of(3) { bias } else { 0.0 };
                return input("bias", HostTensor::f32(shape, (0..batch * keys).map(of_key).collect()));
            }
            let mut values = data::normal(4, shape.iter().product::<u32>() as usize);
            values.iter_mut().step_by(5).for_each(|v| *v = f32::NEG_INFINITY);
            input("bias", HostTensor::f32(shape, values))
        }),
        lengths: setup.lengths.clone().map(|l| input("lengths", HostTensor::u32([batch], l))),
        query_lengths: setup.query_lengths.clone().map(|l| input("query_lengths", HostTensor::u32([batch], l))),
    };
    let attended = attention.build(&mut graph, inputs).expect("shapes agree");
    graph.output("rows", attended.rows).expect("a name");
    if let Some(lse) = attended.lse {
        graph.output("lse", lse).expect("a name");
    }
    Case { subject: "attention", name, heavy: false, graph, inputs: host }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let plain = Attention { lse: true, ..Default::default() };
    let last = Attention { heads: Heads::Last, ..plain };
    let causal = Attention { causal: true, ..plain };
    for (queries, keys, channels) in [
        (1, 1, [1, 1]),
        (2, 33, [3, 5]),
        (33, 31, [4, 4]),
        (32, 32, [8, 64]),
        (31, 65, [20, 68]),
        (5, 129, [64, 132]),
        (65, 7, [5, 17]),
        (0, 5, [4, 4]),
        (5, 0, [4, 4]),
        (3, 4, [0, 4]),
        (3, 4, [4, 0]),
    ] {
        cases.push(case(&setup(queries, keys, channels), plain));
        cases.push(case(&Setup { heads: [6, 3], batch: 2, ..setup(queries, keys, channels) }, Attention { lse: false, ..last }));
    }
    for s in [Setup { batch: 0, ..setup(5, 5, [4, 4]) }, Setup { heads: [0, 0], ..setup(5, 5, [4, 4]) }] {
        cases.push(case(&s, plain));
    }
    cases.push(case(&Setup { heads: [2, 1], ..setup(70, 577, [64, 64]) }, causal));
    // Ragged batches, aligned with the last keys where causal.
    let ragged = Setup { batch: 5, lengths: Some(vec![65, 0, 1, 33, 99]), ..setup(65, 65, [8, 8]) };
    let fewer = Setup { batch: 3, lengths: Some(vec![66, 40, 1]), query_lengths: Some(vec![40, 41, 0]), ..setup(40, 66, [4, 8]) };
    for attention in [plain, causal, Attention { causal: true, ..last }] {
        cases.push(case(&ragged, attention));
        cases.push(case(&fewer, attention));
    }
    // Biases of keys, rows, heads, and all.
    for bias in [[3, 1, 1, 45], [1, 1, 9, 45], [3, 1, 9, 45], [1, 4, 1, 45], [3, 4, 9, 45]] {
        let s = Setup { batch: 3, heads: [4, 2], bias: Some(bias), lengths: Some(vec![45, 2, 37]), ..setup(9, 45, [4, 12]) };
        cases.push(case(&s, plain));
    }
    for channels in [[8, 8], [3, 5]] {
        cases.push(case(&Setup { bias: Some([1, 2, 45, 45]), ..setup(45, 45, channels) }, causal));
    }
    // f16, and scales of the caller's: one key has nearly all the weight, and most weights are 0.
    for channels in [[3, 3], [8, 64]] {
        let half = Setup { elem: Elem::F16, lengths: Some(vec![60]), ..setup(61, 61, channels) };
        cases.push(case(&half, causal));
        for attention in [plain, last] {
            cases.push(case(&Setup { bias: Some([1, 1, 1, 61]), ..half.clone() }, attention));
        }
        cases.push(case(&half, Attention { scale: Some(-0.5), ..last }));
        cases.push(case(&setup(40, 150, channels), Attention { scale: Some(40.0), ..plain }));
    }
    // Masks of every kind, and logits that leave no room for the logarithm of a sum.
    for mask in [-1e4, -1e9, f32::MIN, f32::NEG_INFINITY] {
        for factor in [1.0, 1e3, 1e6] {
            let masked = Setup { batch: 2, bias: Some([2, 1, 1, 40]), mask: Some((mask, factor)), ..setup(40, 40, [4, 4]) };
            cases.push(case(&masked, Attention { scale: Some(1.0), ..causal }));
            cases.push(case(&masked, Attention { scale: Some(1.0), ..plain }));
        }
    }
    // Few queries and many keys, which are split: rows, chunks and channels that are not whole, and rows that see some chunks.
    for (queries, keys, channels) in [(1, 257, [4, 4]), (3, 700, [5, 17]), (1, 1025, [3, 5]), (4, 513, [64, 140]), (9, 300, [8, 8])] {
        for elem in [Elem::F32, Elem::F16] {
            let few = Setup { heads: [4, 2], batch: 2, elem, ..setup(queries, keys, channels) };
            cases.push(case(&few, plain));
            let mut others = vec![case(&few, Attention { causal: true, ..last })];
            let bias = Some([1, 4, queries, keys]);
            let lengths = Some(vec![keys, 258]);
            cases.push(case(&Setup { bias, lengths, ..few.clone() }, plain));
            let shorter = Some(vec![queries - 1, 1]);
            others.push(case(&Setup { lengths: Some(vec![0, 3]), query_lengths: shorter, ..few.clone() }, causal));
            for scale in [None, Some(40.0)] {
                let broken = Setup { broken: true, heads: [2, 2], ..few.clone() };
                others.push(case(&broken, Attention { scale, ..plain }));
                others.push(case(&Setup { bias: Some([2, 1, queries, keys]), ..broken }, Attention { scale, ..plain }));
            }
            // One shape with everything: each further one takes as long.
            cases.extend(others.into_iter().map(|case| Case { heavy: keys != 700, ..case }));
        }
    }
    for mask in [-1e9, f32::MIN, f32::NEG_INFINITY] {
        for factor in [1.0, 1e6] {
            let masked = Setup { batch: 2, bias: Some([2, 1, 1, 300]), mask: Some((mask, factor)), ..setup(3, 300, [4, 4]) };
            cases.push(case(&masked, Attention { scale: Some(1.0), ..causal }));
            cases.push(case(&masked, Attention { scale: Some(1.0), ..plain }));
        }
    }
    let spoilt = Setup { awkward: true, batch: 4, lengths: Some(vec![400, 0, 321, 257]), ..setup(4, 400, [4, 4]) };
    cases.push(case(&spoilt, plain));
    let spoilt = Setup { awkward: true, batch: 4, lengths: Some(vec![40, 0, 21, 40]), ..setup(40, 40, [4, 4]) };
    cases.push(case(&spoilt, plain));
    // Values and keys that are no numbers: seen with any weight, hidden, behind the length, and of later queries.
    for channels in [[8, 8], [3, 5]] {
        for elem in [Elem::F32, Elem::F16] {
            let broken = Setup { broken: true, batch: 2, elem, ..setup(40, 70, channels) };
            let masked = Setup { bias: Some([2, 1, 40, 70]), lengths: Some(vec![61, 70]), ..broken.clone() };
            for scale in [None, Some(40.0)] {
                cases.push(case(&broken, Attention { scale, ..plain }));
                cases.push(case(&broken, Attention { scale, ..causal }));
                cases.push(case(&masked, Attention { scale, ..plain }));
            }
        }
    }
    cases.extend(limited(plain));
    cases
}

/// Soft caps, windows, and rows that stand anywhere.
fn limited(plain: Attention) -> Vec<Case> {
    let mut cases = Vec::new();
    let window = |before: u32, after: u32| Attention { window: [Some(before), Some(after)], ..plain };
    let capped = Attention { soft_cap: Some(2.0), ..plain };
    for channels in [[8, 8], [3, 5]] {
        let ragged = Setup { batch: 4, lengths: Some(vec![150, 0, 71, 9]), ..setup(70, 150, channels) };
        let biased = Setup { bias: Some([1, 2, 70, 150]), ..ragged.clone() };
        for attention in [
            capped,
            Attention { causal: true, soft_cap: Some(30.0), scale: Some(20.0), ..plain },
            window(3, 0),
            Attention { causal: true, window: [Some(66), None], ..plain },
            Attention { window: [None, Some(5)], ..plain },
            Attention { causal: true, align: Align::From(0), ..plain },
            Attention { align: Align::From(100), soft_cap: Some(5.0), ..window(40, 2) },
            Attention { align: Align::From(200), heads: Heads::Last, ..window(10, 10) },
        ] {
            let heavy = channels[0] == 3 && attention.causal;
            cases.push(Case { heavy, ..case(if channels[0] == 8 { &ragged } else { &biased }, attention) });
        }
    }
    // Few queries of many keys, of which a window sees some chunks.
    for (queries, channels) in [(1, [4, 4]), (3, [5, 17]), (1, [3, 5]), (4, [8, 4])] {
        let few = Setup { heads: [4, 2], batch: 2, lengths: Some(vec![700, 290]), ..setup(queries, 700, channels) };
        cases.push(case(&few, Attention { soft_cap: Some(2.0), ..window(300, 0) }));
        cases.push(case(
            &Setup { bias: Some([1, 4, queries, 700]), elem: Elem::F16, ..few },
            Attention { align: Align::From(400), ..window(20, 1) },
        ));
    }
    // More queries than keys, of which the first see nothing.
    let fewer = Setup { batch: 3, lengths: Some(vec![7, 3, 0]), query_lengths: Some(vec![40, 2, 33]), ..setup(40, 7, [4, 4]) };
    cases.push(case(&fewer, window(1, 1)));
    cases.push(case(&fewer, Attention { causal: true, align: Align::From(2), ..plain }));
    for channels in [[3, 3], [8, 64]] {
        let half = Setup { elem: Elem::F16, bias: Some([1, 1, 1, 61]), lengths: Some(vec![60]), ..setup(61, 61, channels) };
        cases.push(case(&half, Attention { soft_cap: Some(0.5), ..window(20, 0) }));
    }
    // Logits from 1e-6 to beyond the largest float, and what is hidden or no number.
    let awkward = Setup { awkward: true, batch: 4, lengths: Some(vec![40, 0, 21, 40]), ..setup(40, 40, [4, 4]) };
    let broken = Setup { broken: true, batch: 2, bias: Some([2, 1, 40, 70]), lengths: Some(vec![61, 70]), ..setup(40, 70, [8, 8]) };
    for attention in [capped, Attention { scale: Some(1e-6), ..capped }, window(4, 1)] {
        cases.push(case(&awkward, attention));
        cases.push(case(&broken, attention));
    }
    cases
}
