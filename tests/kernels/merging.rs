//! Normalise, match, assign, group and merge: what they refuse, what must not change a bit, and a chain that was checked
//! by hand.

use crate::support::{adapters, data};
use tokenpress::kernels::{
    AssignInputs, AssignTokens, BipartiteMatch, Groups, Normalized, Order, Partition, Reduce, TopK, TopKInputs, group_tokens, merge_tokens,
    row_normalize,
};
use tokenpress::readback::{Context, HostTensors};
use tokenpress::{Capabilities, Elem, Error, Graph, HostTensor, NONE, Shape, Tensor};

/// Source, or destination, protected leading tokens, and how many sources merge.
#[derive(Clone, Copy)]
struct Options {
    protected: [u32; 2],
    merge: u32,
}

/// A whole merge of `x` `[B, N, C]` by its own cosines: unit rows, similarities and partners, the map, and the mean of each
/// output.
fn chain(shape: [u32; 3], options: Options, order: Order) -> Graph {
    let [batch, tokens, _] = shape;
    let mut graph = Graph::new();
    let x = graph.input("x", shape, Elem::F32);
    let lengths = graph.input("lengths", [batch], Elem::U32);
    let source_lengths = graph.input("source lengths", [batch], Elem::U32);
    let normalized = row_normalize(&mut graph, x, Some(lengths)).expect("a shape");
    let partition = Partition::even_odd(&mut graph, tokens);
    let [protected_sources, protected_destinations] = options.protected;
    let matching = BipartiteMatch { protected_sources, protected_destinations };
    let matches = matching.build(&mut graph, normalized, partition, Some(lengths)).expect("shapes agree");
    let select = TopK { k: options.merge, order: Order::Value, largest: true, complement: Some(order), mask: false };
    let scores = TopKInputs { lengths: Some(source_lengths), ..TopKInputs::new(matches.similarity) };
    let selection = select.build(&mut graph, scores).expect("shapes agree");
    let inputs =
        AssignInputs { partition, lengths: Some(lengths), partner: matches.partner, unmerged: selection.complement.expect("asked for") };
    let assign = AssignTokens { tokens, outputs: tokens, interleave: protected_destinations > 0 };
    let map = assign.build(&mut graph, inputs).expect("shapes agree");
    let groups = group_tokens(&mut graph, map.parent, tokens).expect("a shape");
    let merged = merge_tokens(&mut graph, x, groups, None, Reduce::Mean).expect("shapes agree");
    for (name, tensor) in [
        ("unit", normalized.unit),
        ("similarity", matches.similarity),
        ("partner", matches.partner),
        ("parent", map.parent),
        ("representative", map.representative),
        ("lengths_out", map.lengths),
        ("merged", merged),
    ] {
        graph.output(name, tensor).expect("a name");
    }
    graph
}

fn inputs(shape: [u32; 3], x: Vec<f32>, lengths: &[u32]) -> HostTensors {
    let batch = lengths.len() as u32;
    let sources = lengths.iter().map(|l| l.min(&shape[1]).div_ceil(2)).collect();
    [
        ("x".to_owned(), HostTensor::f32(shape, x)),
        ("lengths".to_owned(), HostTensor::u32([batch], lengths.to_vec())),
        ("source lengths".to_owned(), HostTensor::u32([batch], sources)),
    ]
    .into()
}

fn run(context: &Context, graph: &Graph, inputs: &HostTensors) -> HostTensors {
    pollster::block_on(context.run(graph, inputs)).expect("a plan")
}

/// `x[i][c] = (((5 i^2 + 7 i + 3 c + i c) mod 23) - 11) / 8`.
fn hand() -> Vec<f32> {
    (0..36u32).map(|at| (at / 4, at % 4)).map(|(i, c)| ((5 * i * i + 7 * i + 3 * c + i * c) % 23) as f32 / 8.0 - 1.375).collect()
}

/// Token positions that each output row stands for, and where each token went, of nine tokens that were worked out by
/// hand: tokens 2, 4 and 6 merge into 1, 3 and 3, or into 5, 3 and 3 where 1 is protected.
fn check_hand(run: impl Fn(&Graph, &HostTensors) -> HostTensors) {
    let shape = [1, 9, 4];
    for (protected, merge, order, representative, parent) in [
        ([0, 0], 3, Order::Value, vec![0, 8, 1, 3, 5, 7], [0, 2, 2, 3, 3, 4, 3, 5, 1]),
        ([1, 0], 3, Order::Index, vec![0, 8, 1, 3, 5, 7], [0, 2, 2, 3, 3, 4, 3, 5, 1]),
        ([1, 1], 3, Order::Index, vec![0, 1, 8, 3, 5, 7], [0, 1, 4, 3, 3, 4, 3, 5, 2]),
        ([1, 0], 4, Order::Index, vec![0, 1, 3, 5, 7], [0, 1, 1, 2, 2, 3, 2, 4, 2]),
    ] {
        let graph = chain(shape, Options { protected, merge }, order);
        let outputs = run(&graph, &inputs(shape, hand(), &[9]));
        let live = 9 - merge as usize;
        assert_eq!(outputs["lengths_out"].integers(), [live as u32], "{protected:?}");
        assert_eq!(outputs["representative"].integers()[..live], representative, "{protected:?}");
        assert_eq!(outputs["representative"].integers()[live..], vec![NONE; merge as usize], "{protected:?}");
        assert_eq!(outputs["parent"].integers(), parent, "{protected:?}");
        let (x, merged) = (hand(), outputs["merged"].floats());
        for row in 0..9 {
            let members: Vec<usize> = (0..9).filter(|i| parent[*i] == row as u32).collect();
            for c in 0..4 {
                let mean = members.iter().map(|i| x[i * 4 + c]).sum::<f32>() / members.len().max(1) as f32;
                assert!((merged[row * 4 + c] - mean).abs() < 1e-6, "{protected:?} row {row}");
            }
        }
    }
}

#[test]
fn hand_checked_on_the_reference() {
    check_hand(|graph, inputs| graph.run_reference(inputs).expect("inputs of the graph"));
}

/// The first `tokens` tokens of one batch row.
fn cut(x: &[f32], shape: [u32; 3], b: usize, tokens: u32) -> Vec<f32> {
    let [_, capacity, channels] = shape.map(|d| d as usize);
    x[b * capacity * channels..][..tokens as usize * channels].to_vec()
}

/// Elements of a batch row, without what is behind `entries` in each of its lists.
fn row(tensor: &HostTensor, b: usize, entries: usize) -> Vec<u32> {
    let dims: Vec<usize> = tensor.shape().dims().iter().map(|&d| d as usize).collect();
    let width = dims.get(2).copied().unwrap_or(1);
    let length = dims.get(1).copied().unwrap_or(1);
    let words: &[u32] = bytemuck::cast_slice(tensor.bytes());
    words[b * length * width..][..entries.min(length) * width].to_vec()
}

fn a_row_gets_what_it_gets_alone(context: &Context) {
    for channels in [12, 7] {
        let (shape, lengths) = ([5, 131, channels], [131, 40, 0, 1, 97]);
        let options = Options { protected: [1, 0], merge: 15 };
        let x = data::normal(71, (5 * 131 * channels) as usize);
        let together = run(context, &chain(shape, options, Order::Index), &inputs(shape, x.clone(), &lengths));
        for (b, &length) in lengths.iter().enumerate().filter(|(_, length)| **length > 30) {
            let shape_alone = [1, length, channels];
            let graph = chain(shape_alone, options, Order::Index);
            let alone = run(context, &graph, &inputs(shape_alone, cut(&x, shape, b, length), &[length]));
            for (name, output) in &alone {
                let entries = if ["similarity", "partner"].contains(&name.as_str()) { length.div_ceil(2) } else { length };
                assert_eq!(row(output, 0, entries as usize), row(&together[name], b, entries as usize), "{name} of row {b}");
            }
        }
    }
}

fn powers_of_two_change_nothing(context: &Context) {
    let shape = [1, 65, 9];
    // Numbers between 2^-20 and 2^20 in one row: what is scaled down below stays normal.
    let x: Vec<f32> = data::normal(72, 65 * 9).iter().enumerate().map(|(i, v)| v * 2f32.powi(i as i32 * 7 % 41 - 20)).collect();
    let graph = chain(shape, Options { protected: [0, 0], merge: 20 }, Order::Value);
    let expected = run(context, &graph, &inputs(shape, x.clone(), &[65]));
    for power in [-95, -40, -1, 1, 50, 104] {
        let scaled = x.iter().map(|v| v * 2f32.powi(power)).collect();
        let actual = run(context, &graph, &inputs(shape, scaled, &[65]));
        for name in ["unit", "similarity", "partner", "parent", "representative"] {
            assert_eq!(row(&expected[name], 0, 65), row(&actual[name], 0, 65), "{name} times 2^{power}");
        }
    }
}

fn permuted_channels_keep_the_plan(context: &Context) {
    let shape = [1, 65, 16];
    let x = data::normal(73, 65 * 16);
    let permuted = x.chunks(16).flat_map(|row| (0..16).map(|c| row[(c * 5 + 3) % 16])).collect();
    let graph = chain(shape, Options { protected: [0, 0], merge: 20 }, Order::Value);
    let [expected, actual] = [x, permuted].map(|x| run(context, &graph, &inputs(shape, x, &[65])));
    for name in ["partner", "parent", "representative"] {
        assert_eq!(expected[name], actual[name], "{name}");
    }
}

fn f16_means_of_large_values_are_finite(context: &Context) {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 64, 4], Elem::F16);
    let sizes = graph.constant(HostTensor::f32([1, 64], vec![3.0; 64]));
    let parent = graph.constant(HostTensor::u32([1, 64], vec![0; 64]));
    let groups = group_tokens(&mut graph, parent, 1).expect("a shape");
    for (name, weights, reduce) in [("mean", None, Reduce::Mean), ("weighted", Some(sizes), Reduce::WeightedMean)] {
        let merged = merge_tokens(&mut graph, x, groups, weights, reduce).expect("shapes agree");
        graph.output(name, merged).expect("a name");
    }
    let outputs = run(context, &graph, &[("x".to_owned(), data::tensor([1, 64, 4], Elem::F16, &[60000.0; 256]))].into());
    assert_eq!(outputs["mean"].floats(), [60000.0; 4]);
    assert_eq!(outputs["weighted"].floats(), [60000.0; 4]);
}

#[test]
fn on_every_adapter() {
    for adapter in adapters::all() {
        let context = &adapter.context;
        check_hand(|graph, inputs| run(context, graph, inputs));
        a_row_gets_what_it_gets_alone(context);
        powers_of_two_change_nothing(context);
        permuted_channels_keep_the_plan(context);
        if adapter.f16() {
            f16_means_of_large_values_are_finite(context);
        }
    }
}

/// The parts of a batch that is too large for one binding.
#[test]
fn large_batches_are_split() {
    let shape = [8, 64, 32];
    let graph = chain(shape, Options { protected: [0, 0], merge: 8 }, Order::Value);
    let whole = Capabilities::portable();
    let small = Capabilities { max_binding: 20 << 10, ..whole.clone() };
    let dispatches = |capabilities: &Capabilities, kernel: &str| {
        let cost = graph.cost(capabilities).expect("a split for every call");
        cost.steps.iter().filter(|s| s.kernel == kernel).map(|s| s.dispatches).sum::<u32>()
    };
    // Two rows of x and of unit go into one binding; everything else does as a whole.
    for kernel in ["row_normalize", "bipartite_match", "merge_tokens"] {
        assert_eq!((dispatches(&whole, kernel), dispatches(&small, kernel)), (1, 4), "{kernel}");
    }
    for kernel in ["assign_tokens", "group_tokens"] {
        assert_eq!((dispatches(&whole, kernel), dispatches(&small, kernel)), (1, 1), "{kernel}");
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>, argument: &str) {
    let error = result.expect_err(argument);
    let named = match error {
        Error::Shape { argument, .. } | Error::Elem { argument, .. } | Error::Value { argument, .. } => argument,
        other => panic!("{argument}: {other}"),
    };
    assert_eq!(named, argument);
}

fn tensor(graph: &mut Graph, shape: impl Into<Shape>, elem: Elem) -> Tensor {
    graph.input("x", shape, elem)
}

#[test]
fn row_normalize_refuses() {
    let graph = &mut Graph::new();
    let [x, short] = [tensor(graph, [2, 3, 4], Elem::F32), tensor(graph, [3], Elem::U32)];
    let floats = tensor(graph, [2], Elem::F32);
    for shape in [Shape::from([2, 3]), Shape::from([1, 2, 3, 4, 5]), Shape::from([2, 0, 3, 4])] {
        let x = tensor(graph, shape, Elem::F32);
        refused(row_normalize(graph, x, None), "row_normalize: x");
    }
    let integers = tensor(graph, [2, 3, 4], Elem::U32);
    refused(row_normalize(graph, integers, None), "row_normalize: x");
    refused(row_normalize(graph, x, Some(short)), "row_normalize: lengths");
    refused(row_normalize(graph, x, Some(floats)), "row_normalize: lengths");
}

#[test]
fn bipartite_match_refuses() {
    let graph = &mut Graph::new();
    let [unit, norm] = [tensor(graph, [2, 6, 4], Elem::F32), tensor(graph, [2, 6], Elem::F32)];
    let normalized = Normalized { unit, norm };
    let partition = Partition::even_odd(graph, 6);
    let [half, flat] = [tensor(graph, [2, 6, 4], Elem::F16), tensor(graph, [12, 4], Elem::F32)];
    let [short, of_three, floats] = [tensor(graph, [2, 5], Elem::F32), tensor(graph, [3, 3], Elem::U32), tensor(graph, [3], Elem::F32)];
    let mut find = |normalized, partition, lengths| BipartiteMatch::default().build(graph, normalized, partition, lengths);
    refused(find(Normalized { unit: half, norm }, partition, None), "bipartite_match: unit");
    refused(find(Normalized { unit: flat, norm }, partition, None), "bipartite_match: unit");
    refused(find(Normalized { unit, norm: short }, partition, None), "bipartite_match: norm");
    refused(find(normalized, Partition { sources: of_three, ..partition }, None), "bipartite_match: sources");
    refused(find(normalized, Partition { destinations: floats, ..partition }, None), "bipartite_match: destinations");
    refused(find(normalized, partition, Some(of_three)), "bipartite_match: lengths");
}

#[test]
fn assign_tokens_refuses() {
    let graph = &mut Graph::new();
    let partition = Partition::even_odd(graph, 6);
    let list = tensor(graph, [2, 3], Elem::U32);
    let good = AssignInputs { partition, lengths: None, partner: list, unmerged: list };
    let [other_batch, flat, floats] = [tensor(graph, [3, 3], Elem::U32), tensor(graph, [3], Elem::U32), tensor(graph, [2, 3], Elem::F32)];
    let mut assign = |inputs| AssignTokens { tokens: 6, outputs: 6, interleave: false }.build(graph, inputs);
    assign(good).expect("shapes agree");
    refused(assign(AssignInputs { partner: flat, ..good }), "assign_tokens: partner");
    refused(assign(AssignInputs { partner: floats, ..good }), "assign_tokens: partner");
    refused(assign(AssignInputs { unmerged: other_batch, ..good }), "assign_tokens: unmerged");
    refused(assign(AssignInputs { unmerged: floats, ..good }), "assign_tokens: unmerged");
    refused(assign(AssignInputs { lengths: Some(flat), ..good }), "assign_tokens: lengths");
    refused(assign(AssignInputs { partition: Partition { sources: other_batch, ..partition }, ..good }), "assign_tokens: sources");
    refused(
        assign(AssignInputs { partition: Partition { destinations: other_batch, ..partition }, ..good }),
        "assign_tokens: destinations",
    );
}

#[test]
fn group_and_merge_refuse() {
    let graph = &mut Graph::new();
    let [flat, floats] = [tensor(graph, [6], Elem::U32), tensor(graph, [2, 6], Elem::F32)];
    refused(group_tokens(graph, flat, 3), "group_tokens: parent");
    refused(group_tokens(graph, floats, 3), "group_tokens: parent");
    let parent = tensor(graph, [2, 6], Elem::U32);
    refused(group_tokens(graph, parent, u32::MAX), "group_tokens: outputs");
    let groups = group_tokens(graph, parent, 3).expect("a shape");
    let [x, integers, other_batch] =
        [tensor(graph, [2, 6, 4], Elem::F32), tensor(graph, [2, 6, 4], Elem::U32), tensor(graph, [3, 6, 4], Elem::F32)];
    let empty = tensor(graph, [2, 0], Elem::U32);
    let mut merge = |x, groups, weights, reduce| merge_tokens(graph, x, groups, weights, reduce);
    refused(merge(flat, groups, None, Reduce::Sum), "merge_tokens: x");
    refused(merge(integers, groups, None, Reduce::Sum), "merge_tokens: x");
    refused(merge(other_batch, groups, None, Reduce::Sum), "merge_tokens: offsets");
    refused(merge(x, Groups { offsets: empty, ..groups }, None, Reduce::Sum), "merge_tokens: offsets");
    refused(merge(x, Groups { members: floats, ..groups }, None, Reduce::Sum), "merge_tokens: members");
    refused(merge(x, groups, None, Reduce::WeightedMean), "merge_tokens: weights");
    refused(merge(x, groups, Some(floats), Reduce::Mean), "merge_tokens: weights");
    refused(merge(x, groups, Some(parent), Reduce::WeightedSum), "merge_tokens: weights");
}
