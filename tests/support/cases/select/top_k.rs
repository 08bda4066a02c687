use tokenpress::kernels::{Order, TopK, TopKInputs, mark};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor, Shape};

use crate::support::{Case, data};

/// What a case has besides its shape and options.
#[derive(Clone, Copy)]
struct Extra {
    data: Data,
    elem: Elem,
    lengths: PerRow,
    counts: PerRow,
    marks: Marks,
}

const PLAIN: Extra = Extra { data: Data::Normal, elem: Elem::F32, lengths: PerRow::No, counts: PerRow::No, marks: Marks::No };

#[derive(Clone, Copy, Debug)]
enum Data {
    Normal,
    Softmax,
    Ties,
    Equal,
    Awkward,
    Ascending,
    AllNan,
    Denormal,
}

#[derive(Clone, Copy, PartialEq)]
enum PerRow {
    No,
    Batch,
    Row,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Marks {
    No,
    Shared,
    PerRow,
    ClassToken,
    AllProtected,
    AllExcluded,
}

fn scores(data: Data, len: usize, row: usize) -> Vec<f32> {
    match data {
        Data::Normal => data::normal(11, len),
        Data::Softmax => data::normal(12, len).into_iter().map(|x| (x - 6.0).exp()).collect(),
        Data::Ties => data::ties(13, len),
        Data::Equal => vec![-0.25; len],
        Data::Awkward => data::awkward(14, len),
        Data::Ascending => (0..len).map(|i| (i % row.max(1)) as f32).collect(),
        Data::AllNan => vec![f32::NAN; len],
        // Denormals in f16 (below 2^-14) and, further down, in f32.
        Data::Denormal => data::integers(15, len, 4000)
            .into_iter()
            .map(|i| (i as f32 - 2000.0) * 2f32.powi(if i % 2 == 0 { -24 } else { -149 }))
            .collect(),
    }
}

fn case(shape: impl Into<Shape>, options: TopK, extra: Extra) -> Case {
    let shape = shape.into();
    let (tokens, outer) = shape.dims().split_last().expect("a shape of scores");
    let (batch, rows) = (outer[0], outer.iter().product::<u32>());
    let mut graph = Graph::new();
    let mut inputs = HostTensors::new();
    let mut input = |graph: &mut Graph, name: &str, value: HostTensor| {
        let tensor = graph.input(name, value.shape(), value.desc().elem);
        inputs.insert(name.to_owned(), value);
        tensor
    };
    let elements = (rows * tokens) as usize;
    let values = scores(extra.data, elements, *tokens as usize);
    let scores = input(&mut graph, "scores", data::tensor(shape, extra.elem, &values));
    let mut per_row = |graph: &mut Graph, name: &str, kind: PerRow, of: [u32; 5]| {
        let count = if kind == PerRow::Batch { batch } else { rows };
        let shape: Shape = if kind == PerRow::Row && outer.len() == 2 { [outer[0], outer[1]].into() } else { [count].into() };
        (kind != PerRow::No).then(|| input(graph, name, HostTensor::u32(shape, (0..count).map(|r| of[r as usize % 5]).collect())))
    };
    let lengths = per_row(&mut graph, "lengths", extra.lengths, [tokens / 2, *tokens, 1, 0, u32::MAX]);
    let counts = per_row(&mut graph, "counts", extra.counts, [u32::MAX, options.k / 2, 0, 1, options.k]);
    let marks = match extra.marks {
        Marks::No => None,
        Marks::Shared => {
            let marks = (0..*tokens).map(|i| [0, 1, 2, 9, 0, 0, 2][i as usize % 7]).collect();
            Some(input(&mut graph, "marks", HostTensor::u32([*tokens], marks)))
        }
        Marks::PerRow => Some(input(&mut graph, "marks", HostTensor::u32(shape, data::integers(16, elements, 5)))),
        Marks::ClassToken => {
            let marks = (0..*tokens).map(|i| if i == 0 { mark::PROTECTED } else { mark::CANDIDATE }).collect();
            Some(graph.constant(HostTensor::u32([*tokens], marks)))
        }
        Marks::AllProtected => Some(graph.constant(HostTensor::u32([*tokens], vec![mark::PROTECTED; *tokens as usize]))),
        Marks::AllExcluded => Some(graph.constant(HostTensor::u32([*tokens], vec![mark::EXCLUDED; *tokens as usize]))),
    };
    let selection = options.build(&mut graph, TopKInputs { scores, lengths, counts, marks }).expect("valid options");
    graph.output("indices", selection.indices).expect("a name");
    graph.output("values", selection.values).expect("a name");
    graph.output("kept", selection.kept).expect("a name");
    for (name, tensor) in [("complement", selection.complement), ("mask", selection.mask)] {
        if let Some(tensor) = tensor {
            graph.output(name, tensor).expect("a name");
        }
    }
    let flags = [
        (extra.lengths == PerRow::Batch, "lengths"),
        (extra.lengths == PerRow::Row, "lengths a row"),
        (extra.counts == PerRow::Batch, "counts"),
        (extra.counts == PerRow::Row, "counts a row"),
    ];
    let flags: Vec<_> = flags.into_iter().filter_map(|(is, name)| is.then_some(name)).collect();
    let name = format!("{}{shape} {options:?} {:?} marks {:?} {}", extra.elem, extra.data, extra.marks, flags.join(" "));
    Case { subject: "top_k", name, heavy: elements > 24_000, graph, inputs }
}

/// Scores and marks behind the lengths, and scores that marks exclude; none where all count.
fn broken(case: &Case) -> Option<Case> {
    let tokens = *case.inputs["scores"].shape().dims().last()?;
    let marks = case.inputs.get("marks").map(|marks| marks.integers().to_vec());
    let excluded = |i: usize| marks.as_ref().is_some_and(|marks| marks[i % marks.len()] == mark::EXCLUDED);
    let per_row = marks.as_ref().is_some_and(|marks| marks.len() > tokens as usize);
    if marks.is_none() && !case.is_ragged() {
        return None;
    }
    let case = if marks.is_some() { case.clone().broken("scores", 1, excluded) } else { case.clone() };
    let lists = [("scores", tokens, 1), ("marks", tokens, 1)];
    Some(if case.is_ragged() { case.broken_behind(if per_row { &lists } else { &lists[..1] }) } else { case })
}

/// Options that together reach every way of giving the outputs.
fn every_output(k: u32) -> [TopK; 6] {
    let top = TopK { k, ..TopK::default() };
    [
        top,
        TopK { order: Order::Index, mask: true, ..top },
        TopK { complement: Some(Order::Index), largest: false, ..top },
        TopK { complement: Some(Order::Value), mask: true, ..top },
        TopK { order: Order::Index, complement: Some(Order::Index), mask: true, ..top },
        TopK { order: Order::Index, complement: Some(Order::Value), largest: false, ..top },
    ]
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let elems = [Elem::F32, Elem::F16];

    // Every size with every k that is special, in turns of options, data and element type.
    let mut turn = 0;
    let data = [Data::Normal, Data::Ties, Data::Awkward, Data::Softmax, Data::Equal, Data::Denormal, Data::Ascending, Data::AllNan];
    for tokens in [0u32, 1, 2, 31, 32, 33, 64, 65, 127, 129, 256, 257, 577, 1024, 1025, 2048, 2049, 4097] {
        let mut ks = vec![0, 1, tokens / 3, tokens.saturating_sub(1), tokens];
        ks.retain(|k| *k <= tokens);
        ks.dedup();
        for k in ks {
            for options in [every_output(k)[turn % 6], every_output(k)[(turn + 3) % 6]] {
                let extra = Extra { data: data[turn / 2 % data.len()], elem: elems[turn % 2], ..PLAIN };
                cases.push(case([2, tokens], options, extra));
                turn += 1;
            }
            turn += 1;
        }
    }
    // A short row that has to be sorted, and long ones that have not.
    cases.push(case([2, 200], every_output(60)[3], PLAIN));
    cases.push(case([2, 4100], every_output(1000)[1], Extra { elem: Elem::F16, ..PLAIN }));
    // Every kind of data in both element types, for each way of selecting: counted, sorted, by digits.
    for (turn, data) in data.into_iter().enumerate() {
        for elem in elems {
            for tokens in [40, 600, 2300] {
                cases.push(case([2, tokens], every_output(tokens / 2)[turn % 6], Extra { data, elem, ..PLAIN }));
            }
        }
    }
    // Marks, counts and lengths, short and long rows.
    for (shape, k) in [([5, 1, 40], 13), ([5, 2, 300], 64), ([5, 1, 2500], 700)] {
        for (index, options) in every_output(k).into_iter().enumerate() {
            for (turn, marks) in [Marks::No, Marks::Shared, Marks::PerRow, Marks::ClassToken].into_iter().enumerate() {
                let per_row = [PerRow::No, PerRow::Batch, PerRow::Row];
                let extra = Extra {
                    data: data[(index + turn) % 4],
                    elem: elems[(index + turn / 2) % 2],
                    lengths: per_row[(index + turn) % 3],
                    counts: per_row[(index + turn / 2) % 3],
                    marks,
                };
                cases.push(case(shape, options, extra));
            }
        }
    }
    for tokens in [50, 2100] {
        for marks in [Marks::AllProtected, Marks::AllExcluded] {
            for options in every_output(20) {
                cases.push(case([2, tokens], options, Extra { marks, ..PLAIN }));
            }
        }
    }
    let broken: Vec<_> = cases.iter().filter(|case| !case.heavy).filter_map(broken).collect();
    cases.extend(broken);
    // Several runs to merge, an odd number of them, ties across runs, and every kind of float.
    for (turn, (tokens, k)) in [(9000, 9000), (9000, 4500), (6200, 6199), (4500, 2049)].into_iter().enumerate() {
        for (index, options) in every_output(k).into_iter().enumerate() {
            let data = [Data::Ties, Data::Awkward, Data::Normal, Data::Equal][(turn + index) % 4];
            cases.push(case([1, tokens], options, Extra { data, elem: elems[index % 2], ..PLAIN }));
        }
    }
    // Many rows, and rows as long as anybody has.
    for options in every_output(1) {
        cases.push(case([333, 3], options, Extra { data: Data::Ties, ..PLAIN }));
    }
    for tokens in [3, 65] {
        for options in [every_output(1)[0], every_output(1)[3]] {
            cases.push(case([70_000, tokens], options, Extra { data: Data::Ties, ..PLAIN }));
        }
    }
    // Chunks of which some list their tokens and some are looked at whole, and more of them than are looked at together.
    for (data, options) in [Data::Equal, Data::Ties, Data::Awkward, Data::Ascending].into_iter().zip(every_output(2000)) {
        cases.push(case([2, 70_000], options, Extra { data, ..PLAIN }));
    }
    for (tokens, k) in [(65_537, 500), (1 << 20, 100_000), (1 << 20, 1 << 20), (3_000_000, 1)] {
        for options in every_output(k) {
            cases.push(case([1, tokens], options, Extra { data: Data::Softmax, ..PLAIN }));
        }
    }
    cases
}
