//! `top_k` and `compact`: what they refuse, how much room a complement has, rows split over several bindings.

use crate::support::{adapters, data};
use tokenpress::kernels::{Order, TopK, TopKInputs, compact, mark};
use tokenpress::readback::{Context, HostTensors};
use tokenpress::verify::{Placement, run_guarded};
use tokenpress::{Elem, Error, Graph, HostTensor, wgpu};

/// The error of a selection from scores `[2, 4, 9]`, changed by `change`.
fn refused(k: u32, change: impl Fn(&mut Graph, &mut TopKInputs)) -> Error {
    let mut graph = Graph::new();
    let mut inputs = TopKInputs::new(graph.input("scores", [2, 4, 9], Elem::F32));
    change(&mut graph, &mut inputs);
    TopK { k, ..TopK::default() }.build(&mut graph, inputs).expect_err("a refusal")
}

#[test]
fn wrong_tensors_and_options_are_refused() {
    let shape = |argument: &str, error: Error| assert!(matches!(&error, Error::Shape { argument: a, .. } if *a == argument), "{error}");
    let elem = |argument: &str, error: Error| assert!(matches!(&error, Error::Elem { argument: a, .. } if *a == argument), "{error}");
    shape("top_k: scores", refused(1, |g, i| i.scores = g.input("s", [9], Elem::F32)));
    shape("top_k: scores", refused(1, |g, i| i.scores = g.input("s", [1, 2, 4, 9], Elem::F32)));
    shape("top_k: lengths", refused(1, |g, i| i.lengths = Some(g.input("l", [3], Elem::U32))));
    shape("top_k: lengths", refused(1, |g, i| i.lengths = Some(g.input("l", [4, 2], Elem::U32))));
    shape("top_k: counts", refused(1, |g, i| i.counts = Some(g.input("c", [2, 4, 1], Elem::U32))));
    shape("top_k: marks", refused(1, |g, i| i.marks = Some(g.input("m", [8], Elem::U32))));
    shape("top_k: marks", refused(1, |g, i| i.marks = Some(g.input("m", [2, 9], Elem::U32))));
    elem("top_k: scores", refused(1, |g, i| i.scores = g.input("s", [2, 9], Elem::U32)));
    elem("top_k: lengths", refused(1, |g, i| i.lengths = Some(g.input("l", [2], Elem::F32))));
    elem("top_k: counts", refused(1, |g, i| i.counts = Some(g.input("c", [2, 4], Elem::F16))));
    elem("top_k: marks", refused(1, |g, i| i.marks = Some(g.input("m", [9], Elem::F32))));
    elem("top_k: marks", refused(1, |g, i| i.marks = Some(g.constant(HostTensor::f32([9], vec![0.0; 9])))));
    let error = refused(10, |_, _| {});
    assert!(matches!(error, Error::Value { argument: "top_k: k", .. }), "{error}");
    let mut other = Graph::new();
    let foreign = other.input("a", [9], Elem::U32);
    let constant = other.constant(HostTensor::u32([9], vec![0; 9]));
    for marks in [foreign, constant] {
        let error = refused(1, |_, i| i.marks = Some(marks));
        assert!(matches!(error, Error::ForeignTensor { argument: "top_k" }), "{error}");
    }

    let mut graph = Graph::new();
    let flags = graph.input("flags", [2, 9], Elem::U32);
    let floats = graph.input("floats", [2, 9], Elem::F32);
    let lengths = graph.input("lengths", [3], Elem::U32);
    shape("compact: flags", compact(&mut graph, lengths, None).expect_err("a refusal"));
    elem("compact: flags", compact(&mut graph, floats, None).expect_err("a refusal"));
    shape("compact: lengths", compact(&mut graph, flags, Some(lengths)).expect_err("a refusal"));
}

#[test]
fn a_complement_has_room_for_what_it_may_hold() {
    let capacity = |change: &dyn Fn(&mut Graph, &mut TopKInputs)| {
        let mut graph = Graph::new();
        let mut inputs = TopKInputs::new(graph.input("scores", [2, 9], Elem::F16));
        change(&mut graph, &mut inputs);
        let select = TopK { k: 4, complement: Some(Order::Index), ..TopK::default() };
        select.build(&mut graph, inputs).expect("valid options").complement.expect("a complement").shape().dims()[1]
    };
    let excluding = |count: u32| (0..9).map(|i| if i < count { mark::EXCLUDED } else { mark::PROTECTED }).collect::<Vec<_>>();
    assert_eq!(capacity(&|_, _| {}), 5);
    assert_eq!(capacity(&|g, i| i.marks = Some(g.constant(HostTensor::u32([9], excluding(5))))), 5);
    assert_eq!(capacity(&|g, i| i.marks = Some(g.constant(HostTensor::u32([9], excluding(6))))), 9);
    assert_eq!(capacity(&|g, i| i.marks = Some(g.input("m", [9], Elem::U32))), 9);
    assert_eq!(capacity(&|g, i| i.lengths = Some(g.input("l", [2], Elem::U32))), 9);
    assert_eq!(capacity(&|g, i| i.counts = Some(g.input("c", [2], Elem::U32))), 9);
}

/// A device that binds 64 KiB at a time: less than the scores, than two heads' outputs, than scratch memory.
fn small_bindings(adapter: &wgpu::Adapter) -> Option<Context> {
    let limits = wgpu::Limits { max_storage_buffer_binding_size: 65536, ..wgpu::Limits::default().or_worse_values_from(&adapter.limits()) };
    let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).ok()?;
    let info = adapter.get_info();
    let gpu = tokenpress::Gpu::new(&device, &info);
    Some(Context { device, queue, info, gpu })
}

#[test]
fn rows_split_over_several_bindings_are_the_same() {
    let adapters = pollster::block_on(Context::adapters(wgpu::Backends::VULKAN));
    let Some(context) = adapters.first().and_then(small_bindings) else {
        assert!(!adapters::required(), "no Vulkan device");
        return;
    };
    for (heads, tokens, k) in [(2, 3000, 700), (3, 300, 50), (700, 20, 3)] {
        let mut graph = Graph::new();
        let batch = 8;
        let scores = graph.input("scores", [batch, heads, tokens], Elem::F32);
        let lengths = graph.input("lengths", [batch], Elem::U32);
        let counts = graph.input("counts", [batch, heads], Elem::U32);
        let marks = graph.input("marks", [tokens], Elem::U32);
        let select = TopK { k, complement: Some(Order::Index), mask: true, ..TopK::default() };
        let inputs = TopKInputs { scores, lengths: Some(lengths), counts: Some(counts), marks: Some(marks) };
        let selection = select.build(&mut graph, inputs).expect("valid options");
        for (name, tensor) in [
            ("indices", Some(selection.indices)),
            ("values", Some(selection.values)),
            ("kept", Some(selection.kept)),
            ("complement", selection.complement),
            ("mask", selection.mask),
        ] {
            graph.output(name, tensor.expect("asked for")).expect("a name");
        }
        let elements = (batch * heads * tokens) as usize;
        let mut inputs = HostTensors::new();
        inputs.insert("scores".to_owned(), HostTensor::f32([batch, heads, tokens], data::ties(1, elements)));
        inputs.insert("lengths".to_owned(), HostTensor::u32([batch], data::integers(2, batch as usize, tokens + 1)));
        inputs.insert("counts".to_owned(), HostTensor::u32([batch, heads], data::integers(3, (batch * heads) as usize, k + 2)));
        inputs.insert("marks".to_owned(), HostTensor::u32([tokens], data::integers(4, tokens as usize, 4)));
        let expected = graph.run_reference(&inputs).expect("inputs that fit");
        let run = pollster::block_on(run_guarded(&context, &context.gpu, &graph, &inputs, Placement::default())).expect("a split plan");
        assert!(run.guards.passed(), "{:?}", run.guards);
        assert!(expected == run.outputs, "[{batch}, {heads}, {tokens}]");
    }
}
