//! What building a graph refuses: typed errors in place of panics, aborts and wrong numbers.

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenpress::kernels::*;
use tokenpress::methods::*;
use tokenpress::schedule::{Budget, LayerCost};
use tokenpress::{Capabilities, Desc, Elem, Error, Graph, HostTensor, Shape, Tensor, TokenMap, Tokens};

/// An input of four numbers.
fn four(graph: &mut Graph, name: &str) -> Tensor {
    graph.input(name, [4], Elem::F32)
}

fn refuses(graph: &mut Graph, foreign: Tensor, who: &str) {
    let own = four(graph, "own");
    for (what, result) in [
        ("call", add(graph, own, foreign).map(drop)),
        ("call", add(graph, foreign, own).map(drop)),
        ("reshape", graph.reshape(foreign, [2, 2]).map(drop)),
        ("output", graph.output("o", foreign)),
    ] {
        assert!(matches!(result, Err(Error::ForeignTensor { .. })), "{who}: {what} gives {result:?}");
    }
    assert_eq!(graph.constant_value(foreign), None, "{who}");
}

fn takes(graph: &Graph, handle: Tensor, who: &str) {
    let mut graph = graph.clone();
    assert!(graph.reshape(handle, [2, 2]).is_ok(), "{who}: reshape");
    assert!(scale(&mut graph, handle, 2.0).is_ok(), "{who}: call");
    assert!(graph.output("o", handle).is_ok(), "{who}: output");
}

#[test]
fn a_handle_made_after_a_clone_is_foreign_to_the_other_graph() {
    let mut first = Graph::new();
    four(&mut first, "x");
    let mut second = first.clone();
    // Of equal indices: only their owners tell them apart.
    let of_second = four(&mut second, "y");
    let of_first = four(&mut first, "q");
    refuses(&mut first, of_second, "the original");
    refuses(&mut second, of_first, "the clone");
    let constant = second.constant(HostTensor::f32([4], vec![1.0; 4]));
    refuses(&mut first, constant, "the original, of a constant");
    let sum = add(&mut second, of_second, constant).expect("its own");
    refuses(&mut first, sum, "the original, of a sum");
}

#[test]
fn a_handle_made_before_a_clone_is_good_in_both_graphs() {
    let mut first = Graph::new();
    let (x, constant) = (four(&mut first, "x"), first.constant(HostTensor::f32([4], vec![1.0; 4])));
    let sum = add(&mut first, x, constant).expect("its own");
    let mut second = first.clone();
    let third = second.clone();
    for (graph, who) in [(&first, "the original"), (&second, "the clone"), (&third, "the clone's clone")] {
        for handle in [x, constant, sum] {
            takes(graph, handle, who);
        }
        assert!(graph.constant_value(constant).is_some(), "{who}");
    }
    // What both have already is one tensor still, under one handle.
    assert_eq!(second.constant(HostTensor::f32([4], vec![1.0; 4])), constant);
    assert_eq!(add(&mut second, x, constant), Ok(sum));
    let y = scale(&mut second, sum, 10.0).expect("its own");
    second.output("y", y).expect("its own");
    let out = second.run_reference(&[("x".to_owned(), HostTensor::f32([4], vec![1.0, 2.0, 3.0, 4.0]))].into()).expect("a run");
    assert_eq!(out["y"].floats(), [20.0, 30.0, 40.0, 50.0]);
}

#[test]
fn clones_of_clones_keep_every_generation_apart() {
    // Each graph makes a tensor before and after every fork: 0 -> 1 -> 2, and 0 -> 3 later.
    let mut graphs = vec![Graph::new()];
    let mut made: Vec<(usize, Vec<usize>, Tensor)> = Vec::new();
    let make = |graphs: &mut Vec<Graph>, at: usize, good_in: &[usize], made: &mut Vec<_>| {
        let handle = four(&mut graphs[at], &format!("i{}", made.len()));
        made.push((at, good_in.to_vec(), handle));
    };
    make(&mut graphs, 0, &[0, 1, 2, 3], &mut made);
    let next = graphs[0].clone();
    graphs.push(next);
    make(&mut graphs, 0, &[0, 3], &mut made);
    make(&mut graphs, 1, &[1, 2], &mut made);
    let next = graphs[1].clone();
    graphs.push(next);
    make(&mut graphs, 0, &[0, 3], &mut made);
    make(&mut graphs, 1, &[1], &mut made);
    make(&mut graphs, 2, &[2], &mut made);
    let next = graphs[0].clone();
    graphs.push(next);
    for at in 0..4 {
        make(&mut graphs, at, &[at], &mut made);
    }
    for (at, graph) in graphs.iter().enumerate() {
        for (maker, good_in, handle) in &made {
            let who = format!("graph {at}, of a handle of graph {maker}");
            if good_in.contains(&at) { takes(graph, *handle, &who) } else { refuses(&mut graph.clone(), *handle, &who) }
        }
    }
}

#[test]
fn a_handle_of_quite_another_graph_is_foreign_however_long_the_graph_is() {
    let mut other = Graph::new();
    let foreign = (0..3).map(|i| four(&mut other, &format!("i{i}"))).last().expect("three");
    let mut empty = Graph::new();
    assert!(matches!(empty.output("o", foreign), Err(Error::ForeignTensor { .. })));
    refuses(&mut empty, foreign, "an empty graph");
    refuses(&mut Graph::new().clone(), foreign, "a clone of an empty graph");
}

/// Every element type, of a shape of so many dimensions.
fn of_rank(graph: &mut Graph, rank: usize, elem: Elem, size: u32) -> Tensor {
    let shape = Shape::try_from(&[size; 5][..rank]).expect("at most 5");
    graph.input("x", shape, elem)
}

/// Runs what must not panic, and says which it was where it does.
fn without_panic<T>(what: &str, call: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| panic!("{what} panics"))
}

type Kernels = (&'static str, RangeInclusive<usize>, fn(&mut Graph, &[Tensor]) -> Result<Vec<Tensor>, Error>);

const KERNELS: &[Kernels] = &[
    ("allocate", 3..=3, |g, x| g.call(Allocate::default(), x)),
    ("assign_tokens", 5..=5, |g, x| g.call(AssignTokens { tokens: 3, outputs: 2, interleave: false }, x)),
    ("attention", 5..=6, |g, x| g.call(Attention { lse: true, ..Default::default() }, x)),
    ("attention_score", 6..=6, |g, x| g.call(AttentionScore::default(), x)),
    ("bipartite_match", 5..=5, |g, x| g.call(BipartiteMatch::default(), x)),
    ("deformable_sample", 4..=5, |g, x| g.call(DeformableSample { levels: vec![[1, 3]], softmax: true }, x)),
    ("elementwise", 2..=2, |g, x| g.call(Elementwise::default(), x)),
    ("frame_budget", 2..=2, |g, x| g.call(FrameBudget { base: 0.5, temperature: 1.0 }, x)),
    ("greedy_select", 6..=6, |g, x| g.call(GreedySelect { objective: Objective::MaxMin, k: 1 }, x)),
    ("linear", 2..=3, |g, x| g.call(Linear::default(), x)),
    ("min_max", 4..=4, |g, x| g.call(MinMax::default(), x)),
    ("pooled_attention", 3..=3, |g, x| g.call(PooledAttention { pool: 1, scale: None }, x)),
    ("run_segments", 3..=3, |g, x| g.call(RunSegments::default(), x)),
    ("threshold", 5..=5, |g, x| g.call(Threshold::default(), x)),
];

#[test]
fn a_call_with_another_number_of_inputs_or_dimensions_is_an_error_and_no_panic() {
    for (name, count, call) in KERNELS {
        for inputs in 0..9 {
            for (rank, elem) in (0..=5).flat_map(|rank| [Elem::F32, Elem::F16, Elem::U32].map(|elem| (rank, elem))) {
                let mut graph = Graph::new();
                let tensors: Vec<_> = (0..inputs).map(|_| of_rank(&mut graph, rank, elem, 3)).collect();
                let what = format!("{name} of {inputs} inputs of rank {rank}");
                let result = without_panic(&what, || call(&mut graph, &tensors));
                if !count.contains(&inputs) {
                    assert!(matches!(result, Err(Error::Inputs { .. })), "{what}: {result:?}");
                }
            }
        }
        // One after the other of another rank or type, beside a first of each rank.
        for (odd, first) in (0..*count.end()).flat_map(|odd| (0..=5).map(move |first| (odd, first))) {
            for (rank, elem) in (0..=5).flat_map(|rank| [Elem::F32, Elem::U32].map(|elem| (rank, elem))) {
                let mut graph = Graph::new();
                let tensors: Vec<_> = (0..*count.end())
                    .map(|i| if i == odd { of_rank(&mut graph, rank, elem, 3) } else { of_rank(&mut graph, first, Elem::F32, 3) })
                    .collect();
                let _ = without_panic(&format!("{name} with input {odd} of rank {rank}"), || call(&mut graph, &tensors));
            }
        }
    }
}

#[test]
fn tokens_of_another_rank_or_type_are_an_error_of_every_method() {
    type Method = (&'static str, fn(&mut Graph, &Tokens, Tensor, Tensor) -> Result<(), Error>);
    let methods: &[Method] = &[
        ("tome", |g, t, m, _| ToMe { merge: 1, ..Default::default() }.build(g, t, m).map(drop)),
        ("atome", |g, t, m, _| AToMe { choice: PairChoice::Merge(0.5), ..Default::default() }.build(g, t, m).map(drop)),
        ("divprune", |g, t, _, _| DivPrune { keep: 0.5, floor: 0 }.build(g, t).map(drop)),
        ("dycoke", |g, t, _, _| DyCoke { tokens_per_frame: 2, merge: 0.5 }.build(g, t).map(drop)),
        ("evs", |g, t, _, _| Evs { tokens_per_frame: 2, prune: 0.5, floor: 0 }.build(g, t).map(drop)),
        ("fastv", |g, t, q, k| FastV { images: Images::Range { start: 0, tokens: 2 }, rank: 1, bias: None }.build(g, t, q, k).map(drop)),
        ("prumerge", |g, t, q, k| PruMerge::default().build(g, t, q, k).map(drop)),
        ("key_tokens", |g, t, q, k| KeyTokens::default().build(g, t, q, k).map(drop)),
        ("window_merge", |g, t, _, _| {
            WindowMerge { height: 2, width: 2, window: 2, threshold: 0.5, ..WindowMerge::default() }.build(g, t).map(drop)
        }),
        ("dart", |g, t, s, x| Dart { keep: 0.5, image_pivots: 1, floor: 0 }.build(g, t, s, Some(x)).map(drop)),
        ("prune", |g, t, s, _| Prune { order: Order::Index }.build(g, t, s, None, |live| live / 2).map(drop)),
        ("listed", |g, t, s, _| Prune::listed(g, t, s, |live| live / 2).map(drop)),
        ("density_clusters", |g, t, _, _| DensityClusters { clusters: 1, nearest: 1 }.build(g, t).map(drop)),
        ("identity", |g, t, _, _| TokenMap::identity(g, t).map(drop)),
        ("stack_frames", |g, t, _, _| stack_frames(g, t.x, Some(t.lengths), 2).map(drop)),
    ];
    for (name, build) in methods {
        for (rank, field) in (0..=5).flat_map(|rank| (0..4).map(move |field| (rank, field))) {
            for elem in [Elem::F32, Elem::U32] {
                let mut graph = Graph::new();
                let mut tokens = graph.tokens("x", [3, 4, 4], Elem::F32).expect("tokens");
                let heads = graph.input("heads", [3, 1, 4, 4], Elem::F32);
                let odd = of_rank(&mut graph, rank, elem, 3);
                match field {
                    0 => tokens.x = odd,
                    1 => tokens.size = odd,
                    2 => tokens.lengths = odd,
                    _ => tokens.lengths = graph.constant(HostTensor::f32([3], vec![4.0; 3])),
                }
                let what = format!("{name} with field {field} of rank {rank}, {elem}");
                let result = without_panic(&what, || build(&mut graph, &tokens, heads, heads));
                let whole = field == 2 && rank == 1 && elem == Elem::U32;
                assert!(result.is_err() || whole || ["identity", "stack_frames"].contains(name), "{what} passes");
                // The other tensors of another rank.
                let tokens = graph.tokens("t", [3, 4, 4], Elem::F32).expect("tokens");
                let _ = without_panic(&what, || build(&mut graph, &tokens, odd, heads));
                let _ = without_panic(&what, || build(&mut graph, &tokens, heads, odd));
            }
        }
    }
}

#[test]
fn shapes_that_no_memory_holds_take_none_while_a_graph_is_built() {
    for shape in
        [[1 << 31, 1 << 31, 1], [u32::MAX; 3], [u32::MAX, 1, 1], [1, u32::MAX, 1], [u32::MAX, u32::MAX, 0], [0, u32::MAX, u32::MAX]]
    {
        let mut graph = Graph::new();
        let what = format!("{shape:?}");
        let tokens = without_panic(&what, || graph.tokens("x", shape, Elem::F32)).expect("a tensor of any shape");
        assert_eq!([tokens.batch(), tokens.capacity()], [shape[0], shape[1]]);
        without_panic(&what, || {
            let g = &mut graph;
            drop(row_normalize(g, tokens.x, None));
            drop(reduce(g, tokens.x, 1, Statistic::Max, None));
            drop(top_k(g, tokens.size));
            drop(Threshold::default().build(g, ThresholdInputs::new(tokens.size, Limit::Constant(0.5))));
            drop(concat_rows(g, (tokens.x, None), (tokens.x, None)));
            let _ = previous_at(g, shape[1], 7);
            let _ = Partition::even_odd(g, shape[1]);
            let _ = Partition::strided(g, shape[1], 3);
            drop(Partition::random(g, shape[0], shape[1], 1, 0));
            drop(TokenMap::identity(g, &tokens).and_then(|map| map.append(g, &map)));
            drop(ToMe { merge: 1, ..Default::default() }.build(g, &tokens, tokens.x));
            drop(DivPrune { keep: 0.5, floor: 0 }.build(g, &tokens));
            drop(spatial_spread(shape[0], shape[1], 1));
        });
    }
}

#[test]
fn a_list_of_nothing_takes_no_time_of_every_row_and_token() {
    let start = std::time::Instant::now();
    for shape in [[1 << 20, 1 << 20, 1], [u32::MAX, 1 << 26, 1]] {
        let mut graph = Graph::new();
        let tokens = graph.tokens("x", shape, Elem::F32).expect("a tensor of any shape");
        let heads = graph.input("heads", [shape[0], 1, shape[1], 1], Elem::F32);
        let zip = VisionZip { dominant: 0, contextual: 0, ..VisionZip::default() };
        assert!(zip.build(&mut graph, &tokens, heads, heads).is_err(), "{shape:?}: what is left is a list of more than a host makes");
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn equal_constants_and_calls_are_found_at_once_among_many() {
    let start = std::time::Instant::now();
    let mut graph = Graph::new();
    let x = four(&mut graph, "x");
    // Compared with each other they would be 5 10^9 pairs.
    for round in 0..2 {
        for i in 0..100_000u32 {
            let constant = graph.constant(HostTensor::u32([2], vec![i, 7]));
            assert_eq!(graph.constant_value(constant).map(|value| value.integers().to_vec()), Some(vec![i, 7]), "{round}");
            scale(&mut graph, x, i as f32).expect("a call");
        }
        assert_eq!(graph.calls(), 100_000, "{round}");
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(30), "{:?}", start.elapsed());
}

fn top_k(graph: &mut Graph, scores: Tensor) -> Result<(), Error> {
    TopK { k: 1, ..Default::default() }.build(graph, TopKInputs::new(scores)).map(drop)
}

#[test]
fn sizes_whose_products_overflow_are_errors_or_the_largest_number() {
    let mut graph = Graph::new();
    let huge = graph.input("a", [u32::MAX; 3], Elem::F32);
    assert!(without_panic("elementwise", || scale(&mut graph, huge, 2.0)).is_err());
    let layer = LayerCost { channels: u32::MAX, key_channels: u32::MAX, hidden: u32::MAX, element_bytes: u32::MAX };
    assert_eq!([layer.flops(u32::MAX), layer.bytes(u32::MAX)], [u64::MAX; 2]);
    assert_eq!(layer.flops(1), u64::MAX);
    assert!(!Budget::Flops(u64::MAX - 1).allows(&layer, &[1, 1]));
    // No heads, and the rest as large as it can be.
    let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [2, 0, u32::MAX, u32::MAX], Elem::F32));
    let inputs = QueryKeyValue { queries, keys, values: keys, bias: None, lengths: None, query_lengths: None };
    let attended = Attention::default().build(&mut graph, inputs).expect("a tensor of no elements");
    graph.output("rows", attended.rows).expect("an output");
    let _ = without_panic("attention", || graph.cost(&Capabilities::portable()));
    // As many heads as can be counted, of no channels.
    let layer = Affine { weight: graph.input("w", [0, 0], Elem::F32), bias: None };
    let projections = Projections { queries: layer, keys: layer, values: layer, output: layer };
    let rows = graph.input("rows", [u32::MAX, u32::MAX, 0], Elem::F32);
    let heads = MultiHeadAttention { heads: u32::MAX, projections };
    let projected = Projected { queries: rows, keys: rows, values: rows };
    let _ = without_panic("multi_head_attention", || heads.attend(&mut graph, projected, KeyMask::default()));
    let _ = without_panic("heads first", || heads.heads_first(&mut graph, rows));
    // The largest window of no grid, and the largest number to be selected.
    let tokens = graph.tokens("none", [1, 0, 4], Elem::F32).expect("tokens");
    let windows = WindowMerge { height: 0, width: 0, window: u32::MAX, threshold: 0.5, ..WindowMerge::default() };
    let _ = without_panic("window_merge", || windows.build(&mut graph, &tokens));
    let scores = graph.input("scores", [1, u32::MAX], Elem::F32);
    let balanced = RebalancedTopK { select: u32::MAX, oversample: 2.0, early: u32::MAX };
    let _ = without_panic("rebalanced_top_k", || balanced.build(&mut graph, scores, None));
}

#[test]
fn too_few_bytes_are_an_error_and_floats_become_whole_numbers() {
    let desc = Desc::new([3], Elem::U32);
    assert!(matches!(HostTensor::from_bytes(desc, &[0; 11]), Err(Error::BufferTooSmall { required: 12, actual: 11, .. })));
    assert!(HostTensor::from_bytes(Desc::new([u32::MAX; 5], Elem::F32), &[0; 11]).is_err());
    assert_eq!(HostTensor::from_bytes(desc, &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 9]), Ok(HostTensor::u32([3], vec![1, 2, 3])));
    assert_eq!(HostTensor::from_floats(desc, vec![2.5, -1.0, f32::NAN]), HostTensor::u32([3], vec![2, 0, 0]));
}
