//! Tensors whose elements lie apart, on every adapter.

use tokenpress::kernels::{Attention, Heads, QueryKeyValue, add};
use tokenpress::readback::{Context, HostTensors};
use tokenpress::{Bindings, Elem, Error, Graph, HostTensor, TensorView, wgpu};

use crate::support::{adapters, data};

/// Runs a plan, and gives these buffers' bytes.
fn record(context: &Context, graph: &Graph, bindings: &Bindings, buffers: &[&wgpu::Buffer]) -> Vec<Vec<u8>> {
    let plan = graph.plan(&context.gpu, bindings).expect("a plan");
    let mut encoder = context.device.create_command_encoder(&Default::default());
    plan.record_into(&mut encoder, None);
    context.queue.submit([encoder.finish()]);
    buffers.iter().map(|buffer| pollster::block_on(context.read(buffer)).expect("bytes")).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(bytes)
}

const B: usize = 2;
const N: usize = 5;
const H: usize = 3;
const D: usize = 4;

fn attention(heads: Heads) -> Graph {
    let mut graph = Graph::new();
    let shape = [B as u32, H as u32, N as u32, D as u32];
    let [queries, keys, values] = ["q", "k", "v"].map(|name| graph.input(name, shape, Elem::F32));
    let inputs = QueryKeyValue { queries, keys, values, bias: None, lengths: None, query_lengths: None };
    let attended = Attention { heads, ..Attention::default() }.build(&mut graph, inputs).expect("shapes agree");
    graph.output("rows", attended.rows).expect("a name");
    graph
}

/// The queries, keys and values of an attention stand in one projection `[B, N, 3, H, D]`, and its result goes into a cache with room for more.
#[test]
fn a_packed_projection_and_a_larger_cache_need_no_copy_by_the_caller() {
    let graph = attention(Heads::default());
    let packed = data::normal(3, B * N * 3 * H * D);
    let part = |which: usize| {
        let mut part = Vec::new();
        for (b, h, n) in (0..B).flat_map(|b| (0..H).flat_map(move |h| (0..N).map(move |n| (b, h, n)))) {
            part.extend_from_slice(&packed[((((b * N + n) * 3) + which) * H + h) * D..][..D]);
        }
        HostTensor::f32([B as u32, H as u32, N as u32, D as u32], part)
    };
    let inputs: HostTensors = [("q", 0), ("k", 1), ("v", 2)].map(|(name, which)| (name.to_owned(), part(which))).into();
    let capacity = N + 3;
    for adapter in adapters::all() {
        let context = &adapter.context;
        let dense = pollster::block_on(context.run(&graph, &inputs)).expect("a run")["rows"].floats();
        let projection = context.upload(&HostTensor::f32([packed.len() as u32], packed.clone()));
        let cache = context.upload(&HostTensor::f32([(B * H * capacity * D) as u32], vec![7.0; B * H * capacity * D]));
        let [b, n, h, d] = [B, N, H, D].map(|dim| dim as u32);
        let view = |which: u32| {
            TensorView::new(projection.buffer(), u64::from(which * h * d) * 4, [b, h, n, d], Elem::F32).with_strides(&[
                3 * n * h * d,
                d,
                3 * h * d,
                1,
            ])
        };
        let room = capacity as u32;
        // After the cache's first two tokens.
        let rows =
            TensorView::new(cache.buffer(), 2 * u64::from(d) * 4, [b, h, n, d], Elem::F32).with_strides(&[h * room * d, room * d, d, 1]);
        let bindings: Bindings = [("q", view(0)), ("k", view(1)), ("v", view(2)), ("rows", rows)].into_iter().collect();
        let after = floats(&record(context, &graph, &bindings, &[cache.buffer()])[0]);
        for (head, tokens) in after.chunks(capacity * D).enumerate() {
            let (before, rest) = tokens.split_at(2 * D);
            let (new, behind) = rest.split_at(N * D);
            assert_eq!(new, &dense[head * N * D..][..N * D], "{}", adapter.name);
            assert!(before.iter().chain(behind).all(|x| *x == 7.0), "{}", adapter.name);
        }
        let capabilities = context.gpu.capabilities();
        let [copied, plain] = [graph.cost_of(capabilities, &bindings), graph.cost(capabilities)].map(|cost| cost.expect("a cost"));
        assert_eq!(copied.dispatches(), plain.dispatches() + 4);
        assert!(copied.bytes() > plain.bytes());
    }
}

fn sum(shape: [u32; 3], elem: Elem) -> Graph {
    let mut graph = Graph::new();
    let (a, b) = (graph.input("a", shape, elem), graph.input("b", shape, elem));
    let c = add(&mut graph, a, b).expect("a call");
    graph.output("c", c).expect("an output");
    graph
}

/// Odd channels of padded rows in bf16 and f16, one row for all tokens, and a result in every other number.
#[test]
fn slices_of_channels_and_repeated_rows() {
    for adapter in adapters::all() {
        let context = &adapter.context;
        for elem in [Elem::F16, Elem::BF16, Elem::F32] {
            let of = |values: Vec<f32>| HostTensor::from_floats(tokenpress::Desc::new([values.len() as u32], elem), values);
            let graph = sum([2, 3, 5], elem);
            // Rows of 9 numbers, of which the second to the sixth count.
            let rows = context.upload(&of((0..54).map(|i| i as f32).collect()));
            let one = context.upload(&of(vec![100.0, 200.0, 300.0, 400.0, 500.0]));
            let result = context.upload(&of(vec![-1.0; 61]));
            let size = elem.size();
            let bindings: Bindings = [
                ("a", TensorView::new(rows.buffer(), size, [2, 3, 5], elem).with_strides(&[27, 9, 1])),
                ("b", TensorView::new(one.buffer(), 0, [2, 3, 5], elem).with_strides(&[0, 0, 1])),
                ("c", TensorView::new(result.buffer(), size, [2, 3, 5], elem).with_strides(&[30, 10, 2])),
            ]
            .into_iter()
            .collect();
            let bytes = &record(context, &graph, &bindings, &[result.buffer()])[0];
            let after = HostTensor::from_bytes(tokenpress::Desc::new([61], elem), bytes).expect("bytes").floats();
            for (i, actual) in after.iter().enumerate() {
                let place = i.checked_sub(1).filter(|place| place % 2 == 0 && place / 2 < 30).map(|place| place / 2);
                let expected = place.map_or(-1.0, |e| ((e / 5) * 9 + 1 + e % 5) as f32 + 100.0 * (e % 5 + 1) as f32);
                let expected = of(vec![expected]).floats()[0];
                assert_eq!(*actual, expected, "{} {elem} at {i}", adapter.name);
            }
        }
    }
}

/// What a plan refuses, and that another layout is planned anew.
#[test]
fn strides_are_checked_and_bound_again() {
    for adapter in adapters::all() {
        checked_and_bound_again(&adapter.context);
    }
}

fn checked_and_bound_again(context: &Context) {
    let graph = sum([2, 3, 4], Elem::F32);
    let [a, b, c] = [1.0, 2.0, 0.0].map(|x| context.upload(&HostTensor::f32([64], vec![x; 64])));
    let view = |of: &TensorView, strides: &[u32]| TensorView::new(of.buffer(), 0, [2, 3, 4], Elem::F32).with_strides(strides);
    let bound = |strides: [&[u32]; 3]| -> Bindings {
        [("a", view(&a, strides[0])), ("b", view(&b, strides[1])), ("c", view(&c, strides[2]))].into_iter().collect()
    };
    let plan = |strides| graph.plan(&context.gpu, &bound(strides));
    let dense: &[u32] = &[12, 4, 1];
    for wrong in [[&[4, 1], dense, dense], [dense, dense, &[12, 4, 0]], [dense, dense, &[4, 4, 1]]] {
        assert!(matches!(plan(wrong), Err(Error::Strides { .. })));
    }
    assert!(matches!(plan([&[48, 12, 1], dense, dense]), Err(Error::BufferTooSmall { .. })));
    assert!(matches!(plan([&[u32::MAX; 3], dense, dense]), Err(Error::BufferTooSmall { .. })));
    let strided = plan([&[24, 4, 1], dense, dense]).expect("a plan");
    let plain = strided.rebind(&context.gpu, &bound([dense; 3])).expect("a plan");
    assert_eq!((strided.dispatches(), plain.dispatches()), (2, 1));
}
