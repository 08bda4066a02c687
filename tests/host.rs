//! The host layer on wgpu's `noop` backend, which validates every call and runs nothing: every error, where
//! tensors may lie, limits, splitting, folding, binding again. No call may raise a wgpu error.
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use std::collections::BTreeSet;

use support::cases::methods;
use support::double::Double;
use support::own::{self, Own};
use tokenpress::device::{Access, BindingElem, Shader, Slot, Variant};
use tokenpress::kernels::{Attention, Linear, Order, PixelUnshuffle, QueryKeyValue, Rope, RotaryPairs, TopK, TopKInputs, convert};
use tokenpress::methods::{
    AlwaysKept, Cache, CacheBudget, Evict, LagKV, MergeEvicted, MergeRule, MergeThreshold, ObservedAttention, SnapKV, TopP, key_diff,
    key_norm, recency, tova,
};
use tokenpress::readback::{Context, HostTensors};
use tokenpress::schedule::{Budget, LayerCost, Search};
use tokenpress::wgpu::{self, BufferUsages, Limits};
use tokenpress::{Bindings, Capabilities, Elem, Error, Gpu, Graph, HostTensor, NONE, Plan, Policy, Shape, Tensor, TensorView, TextureView};

const STORAGE: BufferUsages = BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);

/// A noop device.
struct Noop {
    device: wgpu::Device,
    queue: wgpu::Queue,
    gpu: Gpu,
}

fn noop_with(features: wgpu::Features, limits: Limits) -> Noop {
    let descriptor = wgpu::DeviceDescriptor { required_features: features, required_limits: limits, ..Default::default() };
    let (device, queue) = wgpu::Device::noop(&descriptor);
    let gpu = Gpu::new(&device, &device.adapter_info());
    Noop { device, queue, gpu }
}

fn noop() -> Noop {
    noop_with(wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP, Limits::default())
}

impl Noop {
    /// The device as one of a browser.
    fn in_a_browser(&self) -> Gpu {
        let info = wgpu::AdapterInfo { backend: wgpu::Backend::BrowserWebGpu, ..self.device.adapter_info() };
        Gpu::new(&self.device, &info)
    }

    fn buffer(&self, size: u64) -> wgpu::Buffer {
        self.buffer_for(size, STORAGE)
    }

    fn buffer_for(&self, size: u64, usage: BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    }

    /// A view of a new buffer that just holds the tensor.
    fn view(&self, shape: impl Into<Shape>, elem: Elem) -> TensorView {
        let shape = shape.into();
        let bytes = (shape.elements() * elem.size()).next_multiple_of(4).max(4);
        TensorView::new(&self.buffer(bytes), 0, shape, elem)
    }

    /// Runs wgpu calls that must raise no error of any kind.
    fn silently<T>(&self, calls: impl FnOnce() -> T) -> T {
        use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};
        let scopes = [Validation, OutOfMemory, Internal].map(|filter| self.device.push_error_scope(filter));
        let result = calls();
        for scope in scopes.into_iter().rev() {
            if let Some(error) = pollster::block_on(scope.pop()) {
                panic!("wgpu: {error}");
            }
        }
        result
    }

    /// Plans and records, which wgpu must find nothing wrong with.
    fn plan(&self, graph: &Graph, bindings: &Bindings) -> Result<Plan, Error> {
        self.silently(|| {
            let plan = graph.plan(&self.gpu, bindings)?;
            self.record(&[&plan]);
            Ok(plan)
        })
    }

    fn record(&self, plans: &[&Plan]) {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        for plan in plans {
            plan.record_into(&mut encoder, None);
        }
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for plan in plans {
            plan.record(&mut pass);
            (0..plan.calls().len()).for_each(|call| plan.record_call(call, &mut pass));
        }
        drop(pass);
        self.queue.submit([encoder.finish()]);
    }
}

/// `y = 2 x`.
fn doubling(shape: impl Into<Shape>, elem: Elem, kernel: Double) -> Graph {
    let mut graph = Graph::new();
    let x = graph.input("x", shape, elem);
    let y = kernel.call(&mut graph, x).expect("a call");
    graph.output("y", y).expect("an output");
    graph
}

fn bound(x: TensorView, y: TensorView) -> Bindings {
    Bindings::new().bind("x", x).bind("y", y)
}

// --- errors -----------------------------------------------------------------------------------------------

fn failure<T>(result: Result<T, Error>) -> Error {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error,
    }
}

/// One error of each kind, each by a mistake that a caller can make.
fn errors() -> Vec<Error> {
    let noop = noop();
    let graph = || doubling([64], Elem::F32, Double::default());
    let x = || noop.view([64], Elem::F32);
    let plan = |x, y| failure(noop.plan(&graph(), &bound(x, y)));
    let buffer = noop.buffer(4096);
    let at = |offset| TensorView::new(&buffer, offset, [64], Elem::F32);
    let mut other = Graph::new();
    let foreign = other.input("x", [64], Elem::F32);
    let integers = other.input("i", [4], Elem::U32);
    let small = noop_with(
        wgpu::Features::empty(),
        Limits {
            max_storage_buffer_binding_size: 1024,
            max_buffer_size: 4096,
            max_compute_workgroups_per_dimension: 4,
            ..Limits::default()
        },
    );

    let texture = noop.device.create_texture(&wgpu::TextureDescriptor {
        label: None,
        size: wgpu::Extent3d { width: 4, height: 4, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::R32Float,
        usage: wgpu::TextureUsages::TEXTURE_BINDING,
        view_formats: &[],
    });

    vec![
        failure(graph().plan(&noop.gpu, &Bindings::new().bind_texture("x", TextureView::new(&texture)).bind("y", x()))),
        failure({
            let mut graph = graph();
            let z = graph.input("z", [64], Elem::F32);
            graph.reshape(z, [63])
        }),
        failure(other.call(Linear::default(), &[foreign])),
        failure(Double::default().call(&mut other, integers)),
        failure(unshuffle(&mut Graph::new(), [0, 0])),
        failure({
            let cost = LayerCost { channels: 8, key_channels: 8, hidden: 32, element_bytes: 4 };
            Search { losses: &[[0.0, 1.0]], tokens: 9, left: |_: usize, tokens: u32| tokens, cost }.best(&Budget::Tokens(4))
        }),
        failure(graph().output("again", foreign)),
        failure({
            let mut graph = graph();
            let twice = graph.input("x", [64], Elem::F32);
            graph.output("z", twice).expect("found when planned");
            noop.plan(&graph, &bound(x(), x()))
        }),
        failure(noop.plan(&graph(), &Bindings::new().bind("x", x()))),
        failure(noop.plan(&graph(), &bound(x(), x()).bind("z", x()))),
        plan(noop.view([63], Elem::F32), x()),
        plan(at(4096 - 128), x()),
        plan(TensorView::new(&buffer, 2, [64], Elem::F32), x()),
        plan(TensorView::new(&noop.buffer_for(256, BufferUsages::COPY_DST), 0, [64], Elem::F32), x()),
        plan(at(0), at(252)),
        failure(
            small.plan(&doubling([512], Elem::F32, Double::default()), &bound(small.view([512], Elem::F32), small.view([512], Elem::F32))),
        ),
        failure({
            let kernel = Double { batched: true, ..Double::default() };
            let mut graph = Graph::new();
            let mut y = graph.input("x", [4, 200], Elem::F32);
            for scratch in 1..4 {
                y = Double { scratch, ..kernel }.call(&mut graph, y).expect("a call");
            }
            graph.output("y", y).expect("an output");
            small.plan(&graph, &bound(small.view([4, 200], Elem::F32), small.view([4, 200], Elem::F32)))
        }),
        failure(
            noop_with(wgpu::Features::empty(), Limits { max_compute_workgroups_per_dimension: 1, ..Limits::default() })
                .plan(&doubling([65], Elem::F32, Double::default()), &bound(small.view([65], Elem::F32), small.view([65], Elem::F32))),
        ),
        {
            let halves = noop_with(wgpu::Features::SHADER_F16, Limits::default());
            let variants = doubling([2], Elem::F16, Double::default()).variants(&halves.gpu).expect("variants");
            failure(small.gpu.warm_up(&variants))
        },
        plan(destroyed(noop.view([64], Elem::F32)), x()),
        plan(noop.view([64], Elem::F32).with_strides(&[1, 1]), x()),
        {
            let [here, there] = two_devices();
            let plan = graph().plan(&here.gpu, &bound(here.view([64], Elem::F32), here.view([64], Elem::F32))).expect("a plan");
            failure(plan.rebind(&there.gpu, &bound(there.view([64], Elem::F32), there.view([64], Elem::F32))))
        },
        failure(noop.plan(&Own::new(&WRONG_TEXT).graph(), &bound(x(), x()))),
        failure({
            let buffer = noop.buffer(1024);
            let at = |offset| TensorView::new(&buffer, offset, [64], Elem::F32);
            doubling([64], Elem::F32, Double::default()).plan(&noop.in_a_browser(), &bound(at(4), at(260)))
        }),
        failure({
            let context = Context {
                device: small.device.clone(),
                queue: small.queue.clone(),
                info: small.device.adapter_info(),
                gpu: small.gpu.clone(),
            };
            let buffer = context.buffer(&[0; 4]);
            let scope = context.device.push_error_scope(wgpu::ErrorFilter::Validation);
            context.device.destroy();
            let result = pollster::block_on(context.read(&buffer));
            drop(scope);
            result
        }),
    ]
}

fn unshuffle(graph: &mut Graph, factor: [u32; 2]) -> Result<Tensor, Error> {
    let x = graph.input("x", [1, 4, 4, 1], Elem::F32);
    PixelUnshuffle { factor, ..PixelUnshuffle::default() }.unshuffle_tokens(graph, x, [4, 4])
}

/// Names of the variants of `Error`, from its source.
fn variants_of_error() -> BTreeSet<String> {
    let source = include_str!("../src/error.rs");
    let body = &source[source.find("pub enum Error {").expect("the enum")..];
    body.lines()
        .filter_map(|line| line.strip_prefix("    ")?.strip_suffix(" {"))
        .filter(|name| name.chars().all(char::is_alphanumeric))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_error_is_reached() {
    let mut reached: BTreeSet<String> =
        errors().iter().map(|e| format!("{e:?}").split([' ', '(']).next().unwrap_or_default().to_owned()).collect();
    assert!(!reached.is_empty());
    // In a process of its own: `a_plan_that_there_is_no_memory_for_is_an_error`.
    reached.insert("OutOfMemory".to_owned());
    assert_eq!(reached, variants_of_error());
}

#[test]
fn errors_say_what_and_where() {
    for error in errors() {
        let text = error.to_string();
        assert!(text.len() > 20, "{error:?}: {text}");
    }
    let texts: Vec<_> = errors().iter().map(Error::to_string).collect();
    let all = texts.join("\n");
    for part in ["\"x\"", "\"y\"", "0..256", "252..508", "3968", "128", "STORAGE", "SHADER_F16", "double", "1024", "2048"] {
        assert!(all.contains(part), "{part} is nowhere in\n{all}");
    }
}

// --- where tensors may lie --------------------------------------------------------------------------------

#[test]
fn any_offset_that_is_a_multiple_of_the_element_binds() {
    let noop = noop();
    for (elem, step) in [(Elem::F32, 4), (Elem::F16, 2)] {
        let graph = doubling([63], elem, Double::default());
        let buffer = noop.buffer(4096);
        for offset in (0..600).step_by(step) {
            let x = TensorView::new(&buffer, offset, [63], elem);
            let y = TensorView::new(&buffer, 2048 + offset, [63], elem);
            noop.plan(&graph, &bound(x, y)).expect("a plan");
        }
        for offset in [1, 2, 3, 258].into_iter().filter(|o| o % step as u64 != 0) {
            let error = failure(noop.plan(&graph, &bound(TensorView::new(&buffer, offset, [63], elem), noop.view([63], elem))));
            assert!(matches!(error, Error::Misaligned { alignment, .. } if alignment == elem.size()), "{error}");
        }
    }
}

#[test]
fn an_odd_f16_tensor_may_end_the_buffer_in_whole_words_only() {
    let noop = noop();
    let graph = doubling([3], Elem::F16, Double::default());
    let y = || noop.view([3], Elem::F16);
    // 6 bytes at offset 2 end with the word; at offset 4 they need bytes 4..12 of 12, and of 8 there are too few.
    noop.plan(&graph, &bound(TensorView::new(&noop.buffer(8), 2, [3], Elem::F16), y())).expect("a plan");
    noop.plan(&graph, &bound(TensorView::new(&noop.buffer(12), 4, [3], Elem::F16), y())).expect("a plan");
    let short = TensorView::new(&noop.buffer(8), 4, [3], Elem::F16);
    let error = failure(noop.plan(&graph, &bound(short, y())));
    assert_eq!(error, Error::BufferTooSmall { tensor: "x".to_owned(), offset: 4, required: 8, actual: 4 });
    // The last byte of a buffer whose size is no multiple of 4 cannot be bound.
    let odd = TensorView::new(&noop.buffer(6), 0, [3], Elem::F16);
    let error = failure(noop.plan(&graph, &bound(odd, y())));
    assert_eq!(error, Error::BufferTooSmall { tensor: "x".to_owned(), offset: 0, required: 8, actual: 6 });
}

#[test]
fn a_view_may_not_exceed_its_buffer_or_its_own_size() {
    let noop = noop();
    let graph = doubling([64], Elem::F32, Double::default());
    let y = || noop.view([64], Elem::F32);
    for (size, offset) in [(255, 0), (256, 4), (256, 256), (256, 1 << 40), (256, u64::MAX - 3), (0, 0)] {
        let view = TensorView::new(&noop.buffer(size), offset, [64], Elem::F32);
        assert!(matches!(failure(noop.plan(&graph, &bound(view, y()))), Error::BufferTooSmall { .. }), "{size} {offset}");
    }
    let view = noop.view([64], Elem::F32).with_size(252);
    let error = failure(noop.plan(&graph, &bound(view, y())));
    assert_eq!(error, Error::BufferTooSmall { tensor: "x".to_owned(), offset: 0, required: 256, actual: 252 });
    let roomy = TensorView::new(&noop.buffer(4096), 0, [64], Elem::F32).with_size(4096);
    noop.plan(&graph, &bound(roomy, y())).expect("a view longer than needed");
    for size in [4097, 4100, u64::MAX] {
        let long = TensorView::new(&noop.buffer(4096), 0, [64], Elem::F32).with_size(size);
        assert!(matches!(failure(noop.plan(&graph, &bound(long, y()))), Error::BufferTooSmall { actual: 4096, .. }), "{size}");
    }
    // More than a binding holds may belong to a view.
    let buffer = noop.buffer(256 << 20);
    let long = |offset| TensorView::new(&buffer, offset, [64], Elem::F32).with_size(128 << 20);
    noop.plan(&graph, &bound(long(4), y())).expect("a view longer than a binding");
    noop.plan(&graph, &bound(long(0), long(128 << 20))).expect("two of them");
    assert!(
        matches!(failure(noop.plan(&graph, &bound(long(0), long((128 << 20) - 4)))), Error::Overlap { .. }),
        "what belongs to a view counts"
    );
}

#[test]
fn overlap_is_refused_with_both_names_and_touching_is_not() {
    let noop = noop();
    let graph = doubling([64], Elem::F32, Double::default());
    let buffer = noop.buffer(4096);
    let at = |offset| TensorView::new(&buffer, offset, [64], Elem::F32);
    for (x, y) in [(0, 0), (0, 4), (4, 0), (512, 260), (512, 764)] {
        let error = failure(noop.plan(&graph, &bound(at(x), at(y))));
        let Error::Overlap { first, first_range, second, second_range } = &error else { panic!("{error}") };
        let named: BTreeSet<_> = [(first.as_str(), first_range.clone().start), (second.as_str(), second_range.clone().start)].into();
        assert_eq!(named, [("x", x), ("y", y)].into());
    }
    for (x, y) in [(0, 256), (256, 0), (4, 260)] {
        noop.plan(&graph, &bound(at(x), at(y))).expect("touching ranges");
    }
}

/// A binding begins at a multiple of 256, so that those of tensors in one such block overlap.
#[test]
fn what_browsers_refuse_is_an_error_there_alone() {
    let noop = noop();
    let graph = doubling([64], Elem::F32, Double::default());
    let buffer = noop.buffer(4096);
    let at = |offset| TensorView::new(&buffer, offset, [64], Elem::F32);
    let browser = noop.in_a_browser();
    for (x, y) in [(4, 260), (260, 4), (4, 300)] {
        noop.plan(&graph, &bound(at(x), at(y))).expect("tensors that touch no other");
        let error = failure(graph.plan(&browser, &bound(at(x), at(y))));
        assert!(matches!(error, Error::Aliasing { .. }), "{error}");
    }
    for (x, y) in [(0, 256), (256, 0), (4, 512), (516, 8)] {
        graph.plan(&browser, &bound(at(x), at(y))).expect("blocks of their own");
    }
}

#[test]
fn two_outputs_may_not_overlap_and_two_inputs_may() {
    let noop = noop();
    let mut graph = Graph::new();
    for (input, output) in [("a", "p"), ("b", "q")] {
        let x = graph.input(input, [64], Elem::F32);
        let y = Double::default().call(&mut graph, x).expect("a call");
        graph.output(output, y).expect("an output");
    }
    let buffer = noop.buffer(4096);
    let at = |offset| TensorView::new(&buffer, offset, [64], Elem::F32);
    let bindings = |p, q| Bindings::new().bind("a", at(0)).bind("b", at(128)).bind("p", at(p)).bind("q", at(q));
    noop.plan(&graph, &bindings(1024, 1280)).expect("overlapping inputs");
    let Error::Overlap { first, second, .. } = failure(noop.plan(&graph, &bindings(1024, 1276))) else { panic!("no overlap") };
    assert_eq!(BTreeSet::from([first.as_str(), second.as_str()]), ["p", "q"].into());
}

#[test]
fn a_shared_buffer_makes_inputs_read_write() {
    let noop = noop();
    let graph = doubling([64], Elem::F32, Double::default());
    let buffer = noop.buffer(4096);
    let at = |offset| TensorView::new(&buffer, offset, [64], Elem::F32);
    let apart = noop.plan(&graph, &bound(at(0), noop.view([64], Elem::F32))).expect("a plan");
    let shared = noop.plan(&graph, &bound(at(0), at(256))).expect("a plan");
    assert_eq!(apart.variants().collect::<Vec<_>>(), ["double.f32"]);
    assert_eq!(shared.variants().collect::<Vec<_>>(), ["double.f32.read_write"]);
    let forced = noop.gpu.with_policy(Policy::forced(false, true));
    let forced = graph.plan(&forced, &bound(at(0), noop.view([64], Elem::F32))).expect("a plan");
    assert_eq!(forced.variants().collect::<Vec<_>>(), ["double.f32.read_write"]);
}

/// Three calls with scratch, two of whose intermediate tensors are alive at once, and the size of their workspace.
fn three_doubles(noop: &Noop) -> (Graph, u64) {
    let mut graph = Graph::new();
    let mut y = graph.input("x", [64], Elem::F32);
    for scratch in 0..3 {
        y = Double { scratch, ..Double::default() }.call(&mut graph, y).expect("a call");
    }
    graph.output("y", y).expect("an output");
    let bytes = graph.workspace_size(&noop.gpu).expect("a size");
    (graph, bytes)
}

#[test]
fn a_callers_workspace_is_checked() {
    let noop = noop();
    let (graph, bytes) = three_doubles(&noop);
    assert!(bytes >= 512, "two intermediate tensors are alive at once, {bytes} bytes");
    let buffer = noop.buffer(8192);
    let at = |offset| TensorView::new(&buffer, offset, [64], Elem::F32);
    let with = |buffer: &wgpu::Buffer, offset, size| noop.plan(&graph, &bound(at(0), at(256)).workspace(buffer, offset, size));

    let plan = with(&buffer, 1024, bytes).expect("a workspace in the same buffer");
    assert_eq!(plan.workspace_size(), bytes);
    with(&noop.buffer(bytes), 0, bytes).expect("a workspace of its own");
    noop.plan(&graph, &bound(at(0), at(256))).expect("the plan's own workspace");
    assert!(matches!(failure(with(&buffer, 1024, bytes - 1)), Error::BufferTooSmall { tensor, .. } if tensor == "workspace"));
    assert!(matches!(failure(with(&noop.buffer(bytes - 4), 0, bytes)), Error::BufferTooSmall { .. }));
    assert!(matches!(failure(with(&buffer, 1028, bytes)), Error::Misaligned { alignment: 256, .. }));
    assert!(matches!(failure(with(&noop.buffer_for(8192, BufferUsages::COPY_DST), 0, bytes)), Error::Usage { .. }));
    let Error::Overlap { first, second, .. } = failure(with(&buffer, 256, bytes)) else { panic!("no overlap") };
    assert_eq!((first.as_str(), second.as_str()), ("workspace", "y"));
}

// --- limits -----------------------------------------------------------------------------------------------

#[test]
fn more_groups_than_one_dimension_holds_are_folded() {
    let noop = noop();
    // 64 elements a group: 65536 groups, of which the last holds one element.
    let elements = 64 * 65535 + 1;
    let graph = doubling([elements], Elem::F32, Double::default());
    noop.plan(&graph, &bound(noop.view([elements], Elem::F32), noop.view([elements], Elem::F32))).expect("a folded grid");

    let narrow = noop_with(wgpu::Features::empty(), Limits { max_compute_workgroups_per_dimension: 4, ..Limits::default() });
    let plan = |elements: u32| {
        let graph = doubling([elements], Elem::F32, Double::default());
        narrow.plan(&graph, &bound(narrow.view([elements], Elem::F32), narrow.view([elements], Elem::F32)))
    };
    plan(64 * 16).expect("16 groups in 4 x 4");
    assert_eq!(failure(plan(64 * 16 + 1)), Error::TooManyGroups { kernel: "double", groups: 17, limit: 16 });
}

#[test]
fn a_tensor_above_the_binding_limit_is_split_over_the_batch() {
    let noop = noop();
    // 3 x 64 MiB: as a whole above 128 MiB, a pair within.
    let shape = [3, 16 << 20];
    let graph = doubling(shape, Elem::F32, Double { batched: true, ..Double::default() });
    let (x, y) = (noop.view(shape, Elem::F32), noop.view(shape, Elem::F32));
    let plan = noop.plan(&graph, &bound(x.clone(), y.clone())).expect("a split plan");
    assert_eq!(plan.dispatches(), 2);
    assert_eq!(graph.cost(noop.gpu.capabilities()).expect("a cost").dispatches(), 2);

    let whole = doubling(shape, Elem::F32, Double::default());
    let expected = Error::BindingTooLarge { kernel: "double", tensor: "f32[3, 16777216]".to_owned(), bytes: 192 << 20, limit: 128 << 20 };
    assert_eq!(failure(noop.plan(&whole, &bound(x, y))), expected);
    // One row that is too large cannot be split further.
    let shape = [2, 40 << 20];
    let graph = doubling(shape, Elem::F32, Double { batched: true, ..Double::default() });
    let wide = noop_with(wgpu::Features::empty(), Limits { max_buffer_size: 1 << 30, ..Limits::default() });
    let error = failure(wide.plan(&graph, &bound(wide.view(shape, Elem::F32), wide.view(shape, Elem::F32))));
    assert!(matches!(error, Error::BindingTooLarge { bytes, .. } if bytes == 160 << 20), "{error}");
}

#[test]
fn splitting_counts_a_misaligned_view_s_residue() {
    let limits = Limits { max_storage_buffer_binding_size: 1024, ..Limits::default() };
    let noop = noop_with(wgpu::Features::empty(), limits);
    let graph = doubling([2, 128], Elem::F32, Double { batched: true, ..Double::default() });
    let buffer = noop.buffer(8192);
    let plan = |offset| noop.plan(&graph, &bound(TensorView::new(&buffer, offset, [2, 128], Elem::F32), noop.view([2, 128], Elem::F32)));
    assert_eq!(plan(256).expect("a plan").dispatches(), 1);
    assert_eq!(plan(260).expect("a plan").dispatches(), 2);
}

#[test]
fn a_long_row_takes_few_dispatches() {
    let noop = noop_with(wgpu::Features::empty(), Limits::default());
    let dispatches = |tokens, k, order| {
        let mut graph = Graph::new();
        let scores = graph.input("scores", [1, tokens], Elem::F32);
        let best = TopK { k, order, ..TopK::default() }.build(&mut graph, TopKInputs::new(scores)).expect("a shape");
        graph.output("indices", best.indices).expect("a name");
        graph.cost(noop.gpu.capabilities()).expect("a cost").dispatches()
    };
    assert_eq!(dispatches(1 << 20, 1024, Order::Value), 5);
    assert_eq!(dispatches(1 << 20, 1024, Order::Index), 4);
    assert_eq!(dispatches(1 << 20, 4096, Order::Value), 7);
    assert_eq!(dispatches(2048, 1024, Order::Value), 1);
}

#[test]
fn scratch_above_the_binding_limit_is_split_too() {
    let limits = Limits { max_storage_buffer_binding_size: 1024, ..Limits::default() };
    let noop = noop_with(wgpu::Features::empty(), limits);
    let kernel = Double { batched: true, scratch: 8, ..Double::default() };
    let plan =
        |kernel| noop.plan(&doubling([4, 64], Elem::F32, kernel), &bound(noop.view([4, 64], Elem::F32), noop.view([4, 64], Elem::F32)));
    assert_eq!(plan(kernel).expect("a plan").dispatches(), 2);
    let error = failure(plan(Double { scratch: 32, ..kernel }));
    assert!(matches!(&error, Error::BindingTooLarge { tensor, bytes: 2048, .. } if tensor == "scratch"), "{error}");
}

#[test]
fn absurd_shapes_are_errors() {
    let noop = noop();
    let shape = [u32::MAX; 5];
    let graph = doubling(shape, Elem::F32, Double { batched: true, ..Double::default() });
    let view = || TensorView::new(&noop.buffer(256), 0, shape, Elem::F32);
    assert!(matches!(failure(noop.plan(&graph, &bound(view(), view()))), Error::BufferTooSmall { .. }));
    assert!(graph.workspace_size(&noop.gpu).is_err());
    assert!(graph.cost(&Capabilities::portable()).is_err());
}

#[test]
fn constants_above_the_buffer_limit_are_an_error() {
    let noop =
        noop_with(wgpu::Features::empty(), Limits { max_buffer_size: 4096, max_storage_buffer_binding_size: 4096, ..Limits::default() });
    let plan = |count: u32| {
        let mut graph = Graph::new();
        let mut bindings = Bindings::new();
        for index in 0..count {
            let constant = graph.constant(HostTensor::f32([256], vec![index as f32; 256]));
            let name = index.to_string();
            graph.output(&name, constant).expect("an output");
            bindings = bindings.bind(&name, noop.view([256], Elem::F32));
        }
        noop.plan(&graph, &bindings)
    };
    plan(4).expect("constants that fit");
    assert!(matches!(failure(plan(5)), Error::BindingTooLarge { bytes: 5120, limit: 4096, .. }));
}

// --- zero sizes -------------------------------------------------------------------------------------------

#[test]
fn empty_tensors_need_no_bytes() {
    let noop = noop();
    for shape in [Shape::from([0]), [0, 3].into(), [3, 0].into(), [2, 0, 4].into()] {
        let graph = doubling(shape, Elem::F32, Double::default());
        let buffer = noop.buffer(16);
        let view = |offset| TensorView::new(&buffer, offset, shape, Elem::F32);
        let plan = noop.plan(&graph, &bound(view(16), view(16))).expect("a plan of nothing");
        assert_eq!((plan.dispatches(), plan.workspace_size()), (0, 0));
    }
}

#[test]
fn a_dispatch_may_have_an_empty_input() {
    let noop = noop();
    // Rows gathered from no rows are all absent: the kernel runs, and one of its inputs is empty.
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 0, 4], Elem::F32);
    let index = graph.input("index", [1, 3], Elem::U32);
    let y = tokenpress::kernels::gather_rows(&mut graph, x, index, None).expect("a call");
    graph.output("y", y).expect("an output");
    let bindings = Bindings::new().bind("x", noop.view([1, 0, 4], Elem::F32)).bind("index", noop.view([1, 3], Elem::U32));
    let bindings = bindings.bind("y", noop.view([1, 3, 4], Elem::F32));
    for policy in [Policy::AUTO, Policy::forced(true, true)] {
        let gpu = noop.gpu.with_policy(policy);
        noop.silently(|| noop.record(&[&graph.plan(&gpu, &bindings).expect("a plan")]));
    }
    let inputs: HostTensors =
        [("x".to_owned(), HostTensor::f32([1, 0, 4], vec![])), ("index".to_owned(), HostTensor::u32([1, 3], vec![0, 7, NONE]))].into();
    let outputs = graph.run_reference(&inputs).expect("a run");
    assert_eq!(outputs["y"].floats(), [0.0; 12]);
}

#[test]
fn an_empty_graph_plans() {
    let noop = noop();
    let plan = noop.plan(&Graph::new(), &Bindings::new()).expect("a plan of nothing");
    assert_eq!((plan.dispatches(), plan.calls().len()), (0, 0));
}

// --- plans ------------------------------------------------------------------------------------------------

#[test]
fn two_plans_in_one_encoder_do_not_meet() {
    let noop = noop();
    let graph = doubling([64], Elem::F32, Double::default());
    let [a, b, c] = [(); 3].map(|()| noop.view([64], Elem::F32));
    noop.silently(|| {
        let first = graph.plan(&noop.gpu, &bound(a, b.clone())).expect("a plan");
        let second = graph.plan(&noop.gpu, &bound(b, c)).expect("a plan");
        noop.record(&[&first, &second, &first]);
    });
}

#[test]
fn a_plan_binds_again_wherever_its_tensors_lie() {
    let noop = noop();
    let mut graph = doubling([64], Elem::F32, Double::default());
    let z = graph.input("z", [64], Elem::F32);
    let w = Double { scratch: 4, ..Double::default() }.call(&mut graph, z).expect("a call");
    let w = Double::default().call(&mut graph, w).expect("a call");
    graph.output("w", w).expect("an output");
    let all = |x, y, z, w| bound(x, y).bind("z", z).bind("w", w);
    let own = || noop.view([64], Elem::F32);
    let buffer = noop.buffer(4096);
    let at = |offset| TensorView::new(&buffer, offset, [64], Elem::F32);

    let plan = noop.plan(&graph, &all(at(4), own(), own(), own())).expect("a plan");
    let again = |bindings: &Bindings| {
        noop.silently(|| {
            let plan = plan.rebind(&noop.gpu, bindings)?;
            noop.record(&[&plan]);
            Ok(plan)
        })
    };
    let other = noop.buffer(1024);
    again(&all(TensorView::new(&other, 260, [64], Elem::F32), own(), own(), own())).expect("the same residue");
    again(&all(at(4), own(), at(512), own())).expect("two inputs in one buffer");

    again(&all(at(8), own(), own(), own())).expect("another residue");
    let shared = again(&all(at(4), at(512), own(), own())).expect("read and written in one buffer now");
    assert!(shared.variants().any(|label| label.ends_with(".read_write")));
    assert!(matches!(failure(again(&bound(at(4), own()))), Error::MissingBinding { .. }));
    assert!(matches!(failure(again(&all(at(4), own(), own(), own()).bind("v", own()))), Error::UnknownBinding { .. }));
    assert!(matches!(failure(again(&all(at(4), own(), own(), noop.view([63], Elem::F32)))), Error::BindingMismatch { .. }));
    assert!(matches!(failure(again(&all(at(4), at(8), own(), own()))), Error::Overlap { .. }));
    let bytes = plan.workspace_size();
    again(&all(at(4), own(), own(), own()).workspace(&noop.buffer(bytes), 0, bytes)).expect("another workspace");
    assert!(matches!(failure(again(&all(at(4), own(), own(), own()).workspace(&noop.buffer(4), 0, bytes))), Error::BufferTooSmall { .. }));

    // A plan made for a shared buffer may have its tensors anywhere.
    let shared = noop.plan(&graph, &all(at(4), at(512), at(1024), at(2048))).expect("a plan");
    shared.rebind(&noop.gpu, &all(at(4), own(), own(), own())).expect("apart");

    // Of a pool, either way.
    let gpu = noop.gpu.with_policy(Policy::POOLED);
    let pooled = graph.plan(&gpu, &all(at(4), own(), own(), own())).expect("a plan");
    let together = noop.silently(|| pooled.rebind(&gpu, &all(at(4), at(512), at(1024), at(2048)))).expect("together");
    noop.record(&[&together]);
}

#[test]
fn a_kept_workspace_is_checked_when_a_plan_is_bound_again() {
    let noop = noop();
    let (graph, bytes) = three_doubles(&noop);
    let buffer = noop.buffer(8192);
    let at = |offset| TensorView::new(&buffer, offset, [64], Elem::F32);
    let plan = noop.plan(&graph, &bound(at(4096), at(4352)).workspace(&buffer, 0, bytes)).expect("a plan");
    assert!(matches!(failure(plan.rebind(&noop.gpu, &bound(at(4096), at(0)))), Error::Overlap { .. }));
}

#[test]
fn a_cast_to_the_type_that_a_tensor_has_is_a_copy() {
    let noop = noop();
    let mut graph = Graph::new();
    let x = graph.input("x", [6], Elem::F16);
    let y = convert(&mut graph, x, Elem::BF16).expect("any types");
    graph.output("y", y).expect("an output");
    let labels = |graph: &Graph| graph.variants(&noop.gpu).expect("variants").iter().map(|v| v.label()).collect::<Vec<_>>();
    assert_eq!(labels(&graph), ["convert.u32.FROM=1.TO=2", "convert.u32.read_write.FROM=1.TO=2"]);
    let graph = graph.converted(Elem::F16, Elem::BF16).expect("a graph");
    assert_eq!(labels(&graph), ["copy.u32", "copy.u32.read_write"]);
}

#[test]
fn a_cast_to_a_type_that_a_graph_loses_becomes_one_to_the_other() {
    let mut graph = Graph::new();
    let x = graph.input("x", [6], Elem::F32);
    let y = convert(&mut graph, x, Elem::F16).expect("any types");
    graph.output("y", y).expect("an output");
    let graph = graph.converted(Elem::F16, Elem::BF16).expect("a graph");
    assert_eq!(graph.outputs().next().expect("an output").1.elem, Elem::BF16);
    // Beyond f16's range.
    let x = HostTensor::f32([6], vec![1.0, 1e5, -1e30, 0.0, 3.0, f32::INFINITY]);
    let y = graph.run_reference(&[("x".to_owned(), x)].into()).expect("a run")["y"].floats();
    assert!(y[..5].iter().all(|number| number.is_finite()));
}

#[test]
fn variants_can_be_made_ahead() {
    let noop = noop();
    let mut graph = doubling([64], Elem::F32, Double::default());
    let z = graph.input("z", [64], Elem::F16);
    let w = Double::default().call(&mut graph, z).expect("a call");
    graph.output("w", w).expect("an output");
    let variants = graph.variants(&noop.gpu).expect("variants");
    let labels: BTreeSet<_> = variants.iter().map(|v| v.label()).collect();
    assert_eq!(labels, ["double.f32", "double.f32.read_write", "double.f16", "double.f16.read_write"].map(str::to_owned).into());
    noop.silently(|| noop.gpu.warm_up(&variants)).expect("pipelines");
    assert!(variants.iter().all(|v| noop.gpu.supports(v)));

    let plain = noop_with(wgpu::Features::empty(), Limits::default());
    assert!(variants.iter().any(|v| !plain.gpu.supports(v)));
    let expected = Error::MissingFeature { kernel: "double", feature: "SHADER_F16" };
    assert_eq!(failure(plain.gpu.warm_up(&variants)), expected);
    assert!(variants.iter().any(|v| v.access == Access::ReadWrite));
}

/// All that this device runs, which has no cooperative matrices.
fn supported(gpu: &Gpu) -> Vec<Variant> {
    let all = tokenpress::kernels::shaders().into_iter().flat_map(|s| s.variants());
    all.filter(|variant| gpu.supports(variant)).collect()
}

#[test]
fn every_shader_compiles_and_a_pipeline_cache_is_taken() {
    let noop = noop();
    let all = supported(&noop.gpu);
    noop.silently(|| noop.gpu.warm_up(&all)).expect("pipelines");
    let cached = Gpu::with_pipeline_cache(&noop.device, &noop.device.adapter_info(), None);
    noop.silently(|| cached.warm_up(&all[..1])).expect("a pipeline");
}

#[test]
fn pipelines_can_be_made_on_many_threads() {
    let noop = noop();
    let all = supported(&noop.gpu);
    std::thread::scope(|scope| {
        for part in all.chunks(all.len().div_ceil(4)) {
            scope.spawn(|| noop.gpu.warm_up(part).expect("pipelines"));
        }
    });
}

// --- kernels of an application's own ----------------------------------------------------------------------

static RIGHT: Shader = own::shader("right", own_shader!("y[params.y_base + lane.index] = x[params.x_base + lane.index];"));
static WRONG_TEXT: Shader = own::shader("wrong_text", own_shader!("y[0] = not_there;"));

#[test]
fn a_shader_that_is_not_what_its_kernel_says_is_an_error_of_plan() {
    static WRONG_TYPE: Shader = own::shader("wrong_type", own_shader!("let a: u32 = 1u; y[0] = a;"));
    static NO_MAIN: Shader = own::shader("no_main", "@compute @workgroup_size(1) fn other() { y[0] = x[0] * elem(params.elements); }");
    static UNKNOWN_PARAM: Shader = own::shader("unknown_param", own_shader!("y[0] = elem(params.nothing);"));
    static SECOND_PARAMS: Shader = own::shader("second_params", own_shader!("} struct Params { a: u32 } fn other() {"));
    static WIDE: Shader = Shader { params: &[("elements", "vec2<u32>")], ..own::shader("wide", own_shader!("y[0] = x[0];")) };
    static OTHER_ELEMENTS: Shader =
        Shader { inputs: &[("x", BindingElem::F32x4)], ..own::shader("other_elements", own_shader!("y[0] = x[0];")) };
    static TOO_MANY_INVOCATIONS: Shader =
        own::shader("too_many_invocations", "@compute @workgroup_size(1024) fn main() { y[params.y_base] = x[params.x_base]; }");
    let noop = noop();
    let plan = |own: Own| noop.plan(&own.graph(), &bound(noop.view([64], Elem::F32), noop.view([64], Elem::F32)));
    plan(Own::new(&RIGHT)).expect("a shader that is right");
    let all = [
        (Own::new(&WRONG_TEXT), "line 2"),
        (Own::new(&WRONG_TYPE), "wrong_type"),
        (Own::new(&NO_MAIN), "main"),
        (Own::new(&UNKNOWN_PARAM), "nothing"),
        (Own::new(&SECOND_PARAMS), "Params"),
        (Own::new(&WIDE), "elements"),
        (Own::new(&OTHER_ELEMENTS), "other_elements"),
        (Own::new(&TOO_MANY_INVOCATIONS), "1024"),
        (Own { params: 2, ..Own::new(&RIGHT) }, "the call 2"),
        (Own { params: 0, ..Own::new(&RIGHT) }, "the call 0"),
        (Own { slots: &[Slot::Output(0)], ..Own::new(&RIGHT) }, "1"),
        (Own { slots: &[Slot::Input(0), Slot::Output(1)], ..Own::new(&RIGHT) }, "Output(1)"),
        (Own { slots: &[Slot::Input(1), Slot::Output(0)], ..Own::new(&RIGHT) }, "Input(1)"),
        (Own { slots: &[Slot::Input(0), Slot::Scratch(0)], ..Own::new(&RIGHT) }, "Scratch(0)"),
        (Own { constants: &[("nobody", 3)], ..Own::new(&RIGHT) }, "nobody"),
    ];
    for (own, part) in all {
        let Err(error) = plan(own) else { panic!("{part}: no error") };
        let Error::Shader { kernel: "own", shader, .. } = &error else { panic!("{}: {error}", own.shader.name) };
        let text = error.to_string();
        assert!(shader.starts_with(own.shader.name) && text.contains(part) && !text.contains('\n'), "{}: {text}", own.shader.name);
    }
    let variants = Own::new(&WRONG_TEXT).graph().variants(&noop.gpu).expect("variants");
    let error = noop.silently(|| failure(noop.gpu.warm_up(&variants)));
    assert!(matches!(&error, Error::Shader { shader, .. } if shader.starts_with("wrong_text")), "{error}");
}

/// The second would run as the first if pipelines were kept by name alone.
#[test]
fn two_shaders_of_one_name_are_two() {
    static TWIN: Shader = own::shader("right", own_shader!("y[params.y_base + lane.index] = 2 * x[params.x_base + lane.index];"));
    static WRONG_TWIN: Shader = own::shader("right", own_shader!("y[0] = not_there;"));
    let noop = noop();
    let plan = |own: Own| noop.plan(&own.graph(), &bound(noop.view([64], Elem::F32), noop.view([64], Elem::F32)));
    plan(Own::new(&RIGHT)).expect("a shader that is right");
    plan(Own::new(&TWIN)).expect("another");
    assert!(matches!(failure(plan(Own::new(&WRONG_TWIN))), Error::Shader { .. }));
    let variant = |shader| Own::new(shader).graph().variants(&noop.gpu).expect("variants")[0];
    assert_eq!(variant(&RIGHT), variant(&RIGHT));
    assert_ne!(variant(&RIGHT), variant(&TWIN));
}

#[test]
fn a_tensor_shorter_than_an_element_of_its_binding_is_an_error_of_plan() {
    static FOURS: Shader = Shader {
        inputs: &[("x", BindingElem::F32x4)],
        ..own::shader("fours", "@compute @workgroup_size(1) fn main() { y[params.y_base] = x[params.x_base].w; }")
    };
    let noop = noop();
    let mut graph = Graph::new();
    let x = graph.input("x", [2], Elem::F32);
    let y = Own::new(&FOURS).call(&mut graph, x);
    graph.output("y", y).expect("an output");
    let error = failure(noop.plan(&graph, &bound(noop.view([2], Elem::F32), noop.view([64], Elem::F32))));
    assert!(matches!(&error, Error::Shader { reason, .. } if reason.contains("8 bytes")), "{error}");
}

// --- devices ----------------------------------------------------------------------------------------------

/// Two devices of one instance, as an application with two cards has.
fn two_devices() -> [Noop; 2] {
    let options = wgpu::BackendOptions { noop: wgpu::NoopBackendOptions::enabled(), ..Default::default() };
    let descriptor = wgpu::InstanceDescriptor {
        backends: wgpu::Backends::NOOP,
        backend_options: options,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    };
    let adapter = pollster::block_on(wgpu::Instance::new(descriptor).request_adapter(&Default::default())).expect("a noop adapter");
    [0; 2].map(|_| {
        let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).expect("a noop device");
        let gpu = Gpu::new(&device, &device.adapter_info());
        Noop { device, queue, gpu }
    })
}

fn destroyed(view: TensorView) -> TensorView {
    view.buffer().destroy();
    view
}

/// `y` of `x`, one number each, through an intermediate tensor of so many bytes.
fn through(bytes: u64) -> Graph {
    let mut graph = Graph::new();
    let x = graph.input("x", [1], Elem::F32);
    let vast = Own { output: [1 << 16, (bytes >> 18) as u32].into(), ..Own::new(&RIGHT) }.call(&mut graph, x);
    let y = Own { output: [1].into(), ..Own::new(&RIGHT) }.call(&mut graph, vast);
    graph.output("y", y).expect("an output");
    graph
}

#[test]
fn foreign_and_destroyed_buffers_are_named() {
    let [here, there] = two_devices();
    let graph = doubling([64], Elem::F32, Double::default());
    let own = || here.view([64], Elem::F32);
    let foreign = || there.view([64], Elem::F32);
    let unusable = |name: &str| Error::UnusableBuffer { tensor: name.to_owned() };
    let plan = here.plan(&graph, &bound(own(), own())).expect("a plan");
    for (bindings, name) in [
        (bound(foreign(), own()), "x"),
        (bound(own(), foreign()), "y"),
        (bound(own(), destroyed(own())), "y"),
        (bound(destroyed(own()), own()), "x"),
    ] {
        assert_eq!(failure(here.plan(&graph, &bindings)), unusable(name));
        assert_eq!(here.silently(|| failure(plan.rebind(&here.gpu, &bindings))), unusable(name));
    }
    let through = through(1 << 18);
    let bytes = through.workspace_size(&here.gpu).expect("a size");
    let one = || here.view([1], Elem::F32);
    let bindings = bound(one(), one()).workspace(&there.buffer(bytes), 0, bytes);
    assert_eq!(failure(here.plan(&through, &bindings)), unusable("workspace"));
    let error = here.silently(|| failure(plan.rebind(&there.gpu, &bound(own(), own()))));
    assert_eq!(error, Error::ForeignDevice { argument: "rebind: gpu" });
}

#[test]
fn a_lost_device_is_an_error_of_every_call() {
    let lost = || {
        let noop = noop();
        let graph = doubling([64], Elem::F32, Double::default());
        let [x, y] = [0; 2].map(|_| noop.view([64], Elem::F32));
        let plan = noop.plan(&graph, &bound(x.clone(), y.clone())).expect("a plan");
        noop.device.destroy();
        let bindings = bound(x, y);
        let context =
            Context { device: noop.device.clone(), queue: noop.queue.clone(), info: noop.device.adapter_info(), gpu: noop.gpu.clone() };
        (noop, context, graph, plan, bindings)
    };
    let inputs: HostTensors = [("x".to_owned(), HostTensor::f32([64], vec![1.0; 64]))].into();
    let (noop, context, graph, plan, bindings) = lost();
    let reference = tokenpress::verify::Reference::new(&graph, &inputs).expect("a reference");
    let fresh = Gpu::new(&noop.device, &noop.device.adapter_info());
    let variants = graph.variants(&noop.gpu).expect("variants");
    let view = noop.silently(|| noop.view([64], Elem::F32));
    // No handler of errors is set here: what reached wgpu's own would panic.
    for (call, result) in [
        ("plan", graph.plan(&noop.gpu, &bindings).map(|_| ())),
        ("plan without pipelines", graph.plan(&fresh, &bindings).map(|_| ())),
        ("rebind", plan.rebind(&noop.gpu, &bindings).map(|_| ())),
        ("warm_up", noop.gpu.warm_up(&variants)),
        ("warm_up of what is there", fresh.warm_up(&variants)),
        ("with_cooperative_matrices", noop.gpu.with_cooperative_matrices(&noop.queue, &[]).map(|_| ())),
        ("tune", pollster::block_on(tokenpress::tune(&noop.gpu, &noop.queue, Default::default)).map(|_| ())),
        ("run", pollster::block_on(context.run(&graph, &inputs)).map(|_| ())),
        ("read", pollster::block_on(context.read(view.buffer())).map(|_| ())),
        ("download", pollster::block_on(context.download(&view)).map(|_| ())),
        ("verify", pollster::block_on(reference.steps(&context, &context.gpu, Default::default())).map(|_| ())),
        ("whole", pollster::block_on(tokenpress::verify::whole(&context, &context.gpu, &graph, &inputs)).map(|_| ())),
    ] {
        match result {
            Err(error @ (Error::Device { .. } | Error::UnusableBuffer { .. })) => {
                assert!(!error.to_string().contains('\n'), "{call}: {error}")
            }
            other => panic!("{call}: {other:?}"),
        }
    }
}

#[test]
fn a_graph_whose_constants_are_not_stored_is_verified_whole() {
    let noop = noop();
    let context =
        Context { device: noop.device.clone(), queue: noop.queue.clone(), info: noop.device.adapter_info(), gpu: noop.gpu.clone() };
    // Lengths of more than 64 KiB that are all the same.
    let rows = 20_000;
    let mut graph = Graph::new();
    let flags = graph.input("flags", [rows, 1], Elem::U32);
    let counts = tokenpress::kernels::compact(&mut graph, flags, None).expect("a shape").counts;
    graph.output("counts", counts).expect("a name");
    let inputs: HostTensors = [("flags".to_owned(), HostTensor::u32([rows, 1], vec![1; rows as usize]))].into();
    assert!(pollster::block_on(tokenpress::verify::whole(&context, &context.gpu, &graph, &inputs)).is_ok());
}

#[test]
fn what_is_read_back_is_checked() {
    let noop = noop();
    let context =
        Context { device: noop.device.clone(), queue: noop.queue.clone(), info: noop.device.adapter_info(), gpu: noop.gpu.clone() };
    let read = |buffer: &wgpu::Buffer| noop.silently(|| pollster::block_on(context.read(buffer)));
    assert!(matches!(failure(read(&noop.buffer_for(64, BufferUsages::STORAGE))), Error::Usage { required: "COPY_SRC", .. }));
    assert_eq!(read(&noop.buffer(0)), Ok(Vec::new()));
    assert_eq!(read(&noop.buffer(64)).map(|bytes| bytes.len()), Ok(64));
    let gone = noop.buffer(64);
    gone.destroy();
    assert!(matches!(failure(read(&gone)), Error::Device { message } if !message.contains('\n')));
    let [here, there] = two_devices();
    let context =
        Context { device: here.device.clone(), queue: here.queue.clone(), info: here.device.adapter_info(), gpu: here.gpu.clone() };
    assert!(matches!(failure(here.silently(|| pollster::block_on(context.read(&there.buffer(64))))), Error::Device { .. }));
    let past = TensorView::new(&here.buffer(64), 128, [64], Elem::F32);
    let error = failure(pollster::block_on(context.download(&past)));
    assert_eq!(error, Error::BufferTooSmall { tensor: "download: view".to_owned(), offset: 128, required: 256, actual: 0 });
}

/// Runs itself once more in a process of 1 GB, so that the machine keeps its memory.
#[cfg(unix)]
#[test]
fn a_plan_that_there_is_no_memory_for_is_an_error() {
    const LITTLE: &str = "TOKENPRESS_TEST_HAS_LITTLE_MEMORY";
    if std::env::var_os(LITTLE).is_none() {
        let test = std::env::current_exe().expect("a path");
        let child = "ulimit -v 1000000 && exec \"$0\" --exact a_plan_that_there_is_no_memory_for_is_an_error";
        let output = std::process::Command::new("sh").args(["-c", child]).arg(test).env(LITTLE, "1").output().expect("it runs");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let limit = 1 << 30;
    let noop =
        noop_with(wgpu::Features::empty(), Limits { max_buffer_size: limit, max_storage_buffer_binding_size: limit, ..Limits::default() });
    let one = || noop.view([1], Elem::F32);
    let error = failure(noop.plan(&through(1 << 30), &bound(one(), one())));
    assert_eq!(error, Error::OutOfMemory { what: format!("workspace of {} bytes", 1u64 << 30) });
    noop.plan(&through(1 << 18), &bound(one(), one())).expect("the device is still there");
}

// --- graphs -----------------------------------------------------------------------------------------------

#[test]
fn a_graph_says_what_it_costs_and_shows_itself() {
    let mut graph = doubling([64], Elem::F32, Double::default());
    let cost = graph.cost(&Capabilities::portable()).expect("a cost");
    assert_eq!((cost.dispatches(), cost.bytes(), cost.flops()), (1, 512, 64));
    assert_eq!(cost.steps.iter().map(|s| s.kernel).collect::<Vec<_>>(), ["double"]);
    let constant = graph.constant(HostTensor::u32([2], vec![1, 2]));
    graph.output("c", constant).expect("an output");
    let text = graph.to_string();
    for part in ["%0: f32[64] = input \"x\"", "%1: f32[64] = Double", "(%0: f32[64])", "u32[2] = constant", "output \"y\" = %1: f32[64]"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn equal_calls_are_made_once_and_unneeded_ones_not_at_all() {
    let noop = noop();
    let mut graph = Graph::new();
    let x = graph.input("x", [64], Elem::F32);
    let y = Double::default().call(&mut graph, x).expect("a call");
    assert_eq!(Double::default().call(&mut graph, x).expect("a call"), y);
    Double { scratch: 4, ..Double::default() }.call(&mut graph, x).expect("a call");
    graph.output("y", y).expect("an output");
    let plan = noop.plan(&graph, &bound(noop.view([64], Elem::F32), noop.view([64], Elem::F32))).expect("a plan");
    assert_eq!(plan.dispatches(), 1);
}

#[test]
fn constants_are_told_apart_by_their_bits() {
    let mut graph = Graph::new();
    let constant = |graph: &mut Graph, value: f32| graph.constant(HostTensor::f32([1], vec![value]));
    let zero = constant(&mut graph, 0.0);
    assert_eq!(constant(&mut graph, 0.0), zero);
    assert_ne!(constant(&mut graph, -0.0), zero);
    let nan = constant(&mut graph, f32::NAN);
    assert_eq!(constant(&mut graph, f32::NAN), nan);
    assert_eq!(graph.constant_value(zero).map(|t| t.floats()), Some(vec![0.0]));
}

#[test]
fn inputs_constants_and_outputs_can_be_outputs() {
    let noop = noop();
    let mut graph = Graph::new();
    let x = graph.input("x", [3], Elem::F32);
    let y = Double::default().call(&mut graph, x).expect("a call");
    let c = graph.constant(HostTensor::f32([3], vec![1.0, 2.0, 3.0]));
    for (name, tensor) in [("same", x), ("y", y), ("y again", y), ("constant", c)] {
        graph.output(name, tensor).expect("an output");
    }
    let reshaped = graph.reshape(y, [1, 3]).expect("a shape");
    graph.output("row", reshaped).expect("an output");
    let mut bindings = Bindings::new();
    for (name, desc) in graph.inputs().chain(graph.outputs()) {
        bindings = bindings.bind(name, noop.view(desc.shape, desc.elem));
    }
    assert_eq!(noop.plan(&graph, &bindings).expect("a plan").dispatches(), 5);
    let outputs = graph.run_reference(&[("x".to_owned(), HostTensor::f32([3], vec![4.0, 5.0, 6.0]))].into()).expect("a run");
    assert_eq!(outputs["row"].shape(), Shape::from([1, 3]));
    assert_eq!(outputs["y again"].floats(), [8.0, 10.0, 12.0]);
    assert_eq!(outputs["same"].floats(), [4.0, 5.0, 6.0]);
}

/// A method is one compute pass: nothing is submitted, mapped or waited for between its steps, or before the caller's own submission.
#[test]
fn every_method_is_recorded_into_one_pass() {
    let noop = noop();
    for method in methods::all() {
        for ragged in [false, true].into_iter().filter(|ragged| method.ragged || !ragged) {
            let graph = methods::graph(method, 3, 36, Elem::F32, ragged).expect("valid options");
            let mut bindings = Bindings::new();
            for (name, desc) in graph.inputs().chain(graph.outputs()) {
                bindings = bindings.bind(name, noop.view(desc.shape, desc.elem));
            }
            let plan = noop.silently(|| graph.plan(&noop.gpu, &bindings)).expect("a plan");
            noop.silently(|| {
                let mut encoder = noop.device.create_command_encoder(&Default::default());
                plan.record(&mut encoder.begin_compute_pass(&Default::default()));
                noop.queue.submit([encoder.finish()]);
            });
            assert_eq!(plan.dispatches() as u32, graph.cost(noop.gpu.capabilities()).expect("a cost").dispatches(), "{}", method.subject);
        }
    }
}

/// Methods whose definition is a relation between all pairs of a row's tokens, in several rounds: a bit of memory for each pair, or a float.
const OF_ALL_PAIRS: [&str; 4] = ["scope", "llava_scissor", "sttm", "pact"];

/// What a method's plan takes grows with its rows: no memory for every pair of tokens, of a length and a token, or of a round and a token.
#[test]
fn long_rows_are_planned_in_proportion_to_their_length() {
    let noop = noop();
    let mut wrong = Vec::new();
    for (method, ragged) in methods::all().flat_map(|m| [false, true].map(|ragged| (m, ragged))).filter(|(m, ragged)| m.ragged || !ragged) {
        let name = format!("{} {}{}", method.subject, method.options, if ragged { ", ragged" } else { "" });
        let of_all_pairs = OF_ALL_PAIRS.contains(&method.subject);
        let [short, long] = if of_all_pairs { [1024, 4096] } else { [16384, 65536] }.map(|tokens| {
            let start = std::time::Instant::now();
            let plan = methods::graph(method, 1, tokens, Elem::F32, ragged).and_then(|graph| {
                let tensors = graph.inputs().chain(graph.outputs());
                let bindings = tensors.fold(Bindings::new(), |all, (name, desc)| all.bind(name, noop.view(desc.shape, desc.elem)));
                noop.silently(|| graph.plan(&noop.gpu, &bindings))
            });
            let sizes = plan.map(|plan| [plan.workspace_size(), plan.constants_size()]);
            (start.elapsed(), sizes.map_err(|error| format!("{name}, {tokens} tokens: {error}")))
        });
        match (short.1, long.1) {
            (Ok(of_short), Ok(of_long)) => {
                // Four times as many, and what does not grow; their square.
                let factor = if of_all_pairs { 33 } else { 9 };
                let within = |i: usize| 2 * of_long[i] <= factor * of_short[i] + (1 << 16);
                if !within(0) || !within(1) {
                    wrong.push(format!("{name}: workspace and constants grow from {of_short:?} to {of_long:?}"));
                }
            }
            (short, long) => wrong.extend(short.err().into_iter().chain(long.err())),
        }
        // Machines are shared: a square would take 16 times as long.
        if !of_all_pairs && long.0 > 9 * short.0 + std::time::Duration::from_secs(1) {
            wrong.push(format!("{name}: takes {:?}, and {:?} for four times as many tokens", short.0, long.0));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reference_checks_its_inputs() {
    let graph = doubling([3], Elem::F32, Double::default());
    let run = |name: &str, tensor| failure(graph.run_reference(&[(name.to_owned(), tensor)].into()));
    assert!(matches!(run("z", HostTensor::f32([3], vec![0.0; 3])), Error::UnknownBinding { .. }));
    assert!(matches!(run("x", HostTensor::f32([4], vec![0.0; 4])), Error::BindingMismatch { .. }));
    assert!(matches!(run("x", HostTensor::u32([3], vec![0; 3])), Error::BindingMismatch { .. }));
    assert!(matches!(failure(graph.run_reference(&HostTensors::new())), Error::MissingBinding { .. }));
}

/// Checked when this file is compiled.
#[test]
fn everything_crosses_threads() {
    const fn crosses<T: Send + Sync>() {}
    const {
        crosses::<Gpu>();
        crosses::<Plan>();
        crosses::<Graph>();
        crosses::<Bindings>();
        crosses::<TensorView>();
        crosses::<HostTensor>();
        crosses::<Error>();
        crosses::<Context>();
        crosses::<Variant>();
    }
}

#[test]
fn what_is_shown_of_a_plan_is_a_summary() {
    let noop = noop();
    let mut graph = Graph::new();
    let tokens = graph.tokens("x", [2, 64, 8], Elem::F32).expect("rank 3");
    let merged = tokenpress::methods::ToMe { merge: 8, ..Default::default() }.build(&mut graph, &tokens, tokens.x).expect("valid options");
    graph.output("y", merged.tokens.x).expect("a name");
    let bindings = Bindings::new().bind("x", noop.view([2, 64, 8], Elem::F32)).bind("y", noop.view([2, 56, 8], Elem::F32));
    let plan = noop.plan(&graph, &bindings).expect("a plan");
    let shown = format!("{plan:?}");
    assert!(shown.len() < 4096 && !shown.contains("fn main"), "{} bytes: {shown}", shown.len());
    for part in plan.calls().iter().map(ToString::to_string).chain(plan.variants()).chain([plan.workspace_size().to_string()]) {
        assert!(shown.contains(&part), "{part} is not in {shown}");
    }
    for variant in graph.variants(&noop.gpu).expect("variants") {
        assert_eq!(format!("{variant:?}"), format!("Variant({})", variant.label()));
        assert_eq!(format!("{:?}", variant.shader), format!("Shader({})", variant.shader.name));
    }
}

#[test]
fn what_a_graph_needs_can_be_made_ahead_whatever_it_is() {
    let noop = noop();
    for method in methods::all() {
        let graph = methods::graph(method, 2, 36, Elem::F32, false).expect("valid options");
        let variants = graph.variants(&noop.gpu).expect("variants");
        noop.silently(|| noop.gpu.warm_up(&variants)).expect("pipelines");
    }
}

#[test]
fn a_call_whose_results_are_empty_has_no_dispatch() {
    let mut graph = Graph::new();
    let heads = 1 << 28;
    let [queries, keys, values] = ["q", "k", "v"].map(|name| graph.input(name, [1, heads, 1, 0], Elem::F32));
    let inputs = QueryKeyValue { queries, keys, values, bias: None, lengths: None, query_lengths: None };
    let attended = Attention::default().build(&mut graph, inputs).expect("no channels");
    graph.output("rows", attended.rows).expect("a name");
    let noop = noop();
    assert_eq!(graph.variants(&noop.gpu).expect("a plan").len(), 0);
    // Nor does checking it take time.
    let nothing = ["q", "k", "v"].map(|name| (name.to_owned(), HostTensor::f32([1, heads, 1, 0], Vec::new())));
    let reference = tokenpress::verify::Reference::new(&graph, &nothing.into()).expect("a reference");
    let context =
        Context { device: noop.device.clone(), queue: noop.queue.clone(), info: noop.device.adapter_info(), gpu: noop.gpu.clone() };
    let steps = pollster::block_on(reference.steps(&context, &noop.gpu, Default::default())).expect("steps");
    assert!(steps.iter().all(|step| step.passed()));
}

// --- decoding ---------------------------------------------------------------------------------------------

/// A step of decoding over a cache of a fixed size by one of the scores: append, attend, score, evict.
fn step(elem: Elem, score: usize) -> Result<Graph, Error> {
    let [batch, heads, key_heads, room, depth] = [2, 4, 2, 24, 8];
    let rows = batch * key_heads;
    let mut graph = Graph::new();
    let [keys, values] = ["keys", "values"].map(|name| graph.input(name, [batch, key_heads, room, depth], elem));
    let [new_keys, new_values] = ["new keys", "new values"].map(|name| graph.input(name, [batch, key_heads, 1, depth], elem));
    let queries = graph.input("queries", [batch, heads, 1, depth], elem);
    let sums = graph.input("sums", [batch, key_heads, room], Elem::F32);
    let lengths = graph.input("lengths", [batch, key_heads], Elem::U32);
    let positions = graph.input("positions", [batch, key_heads, room], Elem::U32);
    let at = graph.input("at", [batch, 1], Elem::U32);

    let before = Cache { keys, values, lengths, positions };
    let cache = before.append(&mut graph, new_keys, new_values, at)?;
    let sums = before.append_scores(&mut graph, sums, 1)?;
    let sums = ObservedAttention::H2O.accumulate(&mut graph, &cache, queries, sums)?;
    let scores = match score {
        0 => sums,
        1 => recency(&mut graph, &cache)?,
        2 => key_norm(&mut graph, &cache)?,
        3 => key_diff(&mut graph, &cache)?,
        4 => tova(&mut graph, &cache, queries)?,
        5 => SnapKV { window: 1, ..SnapKV::KVPRESS }.build(&mut graph, &cache, queries)?,
        _ => LagKV { sinks: 1, lag: 4, across: false }.build(&mut graph, &cache)?,
    };
    let always = AlwaysKept { sinks: 2, recent: 4, marks: None };
    let evict = Evict { budget: CacheBudget::Tokens(room), always };
    let left = evict.build(&mut graph, &cache, scores)?;
    let lost = left.forgotten(&mut graph, &cache, queries)?;
    let merge = MergeEvicted { rule: MergeRule::Pivot, threshold: MergeThreshold::All };
    let merged = merge.build(&mut graph, &cache, &left)?.evicted;
    let scores = merged.gather(&mut graph, scores)?;
    let left = TopP { share: 0.99, most: CacheBudget::Tokens(room), always }.build(&mut graph, &merged.cache, scores)?;
    let left = merged.then(&mut graph, &left)?;
    let rope = Rope::new(10_000.0, depth, RotaryPairs::Half);
    let compact = left.cache.compact_positions(&mut graph, &rope)?;
    let sums = left.gather(&mut graph, sums)?;

    let inputs = QueryKeyValue {
        queries: graph.reshape(queries, [rows, heads / key_heads, 1, depth])?,
        keys: graph.reshape(cache.keys, [rows, 1, room + 1, depth])?,
        values: graph.reshape(cache.values, [rows, 1, room + 1, depth])?,
        bias: None,
        lengths: Some(graph.reshape(cache.lengths, [rows])?),
        query_lengths: None,
    };
    let rows = Attention::default().build(&mut graph, inputs)?.rows;
    let outputs = [
        ("rows", rows),
        ("lost", lost.change),
        ("keys'", compact.keys),
        ("values'", left.cache.values),
        ("sums'", sums),
        ("lengths'", left.cache.lengths),
        ("positions'", left.cache.positions),
    ];
    outputs.into_iter().try_for_each(|(name, tensor)| graph.output(name, tensor))?;
    Ok(graph)
}

/// Steps of decoding follow each other in one pass, with two sets of buffers that change places: nothing is read back, and no shape changes.
#[test]
fn steps_of_decoding_are_one_pass() {
    let noop = noop();
    for elem in [Elem::F32, Elem::F16, Elem::BF16] {
        for score in 0..7 {
            let graph = step(elem, score).expect("shapes agree");
            let state = ["keys", "values", "sums", "lengths", "positions"];
            let descs: std::collections::BTreeMap<_, _> =
                graph.inputs().chain(graph.outputs()).map(|(name, desc)| (name.to_owned(), desc)).collect();
            let set = || state.map(|name| noop.view(descs[name].shape, descs[name].elem));
            let sets = [set(), set()];
            let plan = |from: usize| {
                let mut bindings = Bindings::new();
                for (name, desc) in &descs {
                    let view = match state.iter().position(|of_state| name.trim_end_matches('\'') == *of_state) {
                        Some(place) if name.ends_with('\'') => sets[1 - from][place].clone(),
                        Some(place) => sets[from][place].clone(),
                        None => noop.view(desc.shape, desc.elem),
                    };
                    bindings = bindings.bind(name, view);
                }
                noop.plan(&graph, &bindings).expect("a plan")
            };
            let plans = [plan(0), plan(1)];
            noop.silently(|| {
                let mut encoder = noop.device.create_command_encoder(&Default::default());
                let mut pass = encoder.begin_compute_pass(&Default::default());
                (0..6).for_each(|step| plans[step % 2].record(&mut pass));
                drop(pass);
                noop.queue.submit([encoder.finish()]);
            });
        }
    }
}
