//! What happens to devices, on every adapter of this machine: lost ones, foreign buffers, want of memory, plans that move. No handler of
//! wgpu's errors is set, so that what reaches its own panics.
#![allow(missing_docs, reason = "a test")]

use std::time::Instant;

use tokenpress::kernels::{RunSegments, add, compact, group_tokens, linear, previous_at, row_normalize};
use tokenpress::readback::{Context, HostTensors};
use tokenpress::{Bindings, Elem, Error, Graph, HostTensor, Shape, TensorView, wgpu};

fn adapters() -> Vec<wgpu::Adapter> {
    pollster::block_on(Context::adapters(wgpu::Backends::VULKAN))
}

fn open(adapter: &wgpu::Adapter) -> Context {
    pollster::block_on(Context::new(adapter)).expect("a device")
}

/// `c = a + b`.
fn sum() -> Graph {
    let mut graph = Graph::new();
    let (a, b) = (graph.input("a", [64], Elem::F32), graph.input("b", [64], Elem::F32));
    let c = add(&mut graph, a, b).expect("a call");
    graph.output("c", c).expect("an output");
    graph
}

fn views(context: &Context) -> [TensorView; 3] {
    [1.0, 2.0, 0.0].map(|value| context.upload(&HostTensor::f32([64], vec![value; 64])))
}

fn bound([a, b, c]: [TensorView; 3]) -> Bindings {
    Bindings::new().bind("a", a).bind("b", b).bind("c", c)
}

#[test]
fn a_lost_device_is_an_error_of_every_call() {
    for adapter in adapters() {
        let context = open(&adapter);
        let graph = sum();
        let inputs: HostTensors = [("a", 1.0), ("b", 2.0)].map(|(name, x)| (name.to_owned(), HostTensor::f32([64], vec![x; 64]))).into();
        let bindings = bound(views(&context));
        let plan = graph.plan(&context.gpu, &bindings).expect("a plan");
        let variants = graph.variants(&context.gpu).expect("variants");
        let [view, ..] = views(&context);
        context.device.destroy();
        let (gpu, queue) = (&context.gpu, &context.queue);
        for (call, result) in [
            ("plan", graph.plan(gpu, &bindings).map(|_| ())),
            ("rebind", plan.rebind(gpu, &bindings).map(|_| ())),
            ("warm_up", gpu.warm_up(&variants)),
            ("matrices", gpu.with_cooperative_matrices(queue, &adapter.cooperative_matrix_properties()).map(|_| ())),
            ("tune", pollster::block_on(tokenpress::tune(gpu, queue, Default::default)).map(|_| ())),
            ("run", pollster::block_on(context.run(&graph, &inputs)).map(|_| ())),
            ("read", pollster::block_on(context.read(view.buffer())).map(|_| ())),
        ] {
            let Err(error @ (Error::Device { .. } | Error::UnusableBuffer { .. })) = result else { panic!("{call}: {result:?}") };
            assert!(!error.to_string().contains('\n'), "{call}: {error}");
        }
    }
}

#[test]
fn foreign_and_destroyed_buffers_are_named() {
    for adapter in adapters() {
        let [here, there] = [open(&adapter), open(&adapter)];
        let graph = sum();
        let plan = graph.plan(&here.gpu, &bound(views(&here))).expect("a plan");
        let ([a, b, _], [_, _, foreign]) = (views(&here), views(&there));
        let foreign = bound([a.clone(), b.clone(), foreign]);
        let gone = views(&here);
        gone[0].buffer().destroy();
        for (bindings, tensor) in [(foreign, "c"), (bound(gone), "a")] {
            let expected = Some(Error::UnusableBuffer { tensor: tensor.to_owned() });
            assert_eq!(graph.plan(&here.gpu, &bindings).err(), expected);
            assert_eq!(plan.rebind(&here.gpu, &bindings).err(), expected);
        }
        assert!(matches!(plan.rebind(&there.gpu, &bound(views(&there))), Err(Error::ForeignDevice { .. })));
        let usage = wgpu::BufferUsages::STORAGE;
        let buffer = here.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 64, usage, mapped_at_creation: false });
        assert!(matches!(pollster::block_on(here.read(&buffer)), Err(Error::Usage { required: "COPY_SRC", .. })));
        assert!(matches!(pollster::block_on(here.read(a.buffer())), Ok(bytes) if bytes.len() == 256));
    }
}

/// Bound again at other residues, and to one buffer, a plan gives what one made there gives.
#[test]
fn a_plan_that_moves_gives_the_same() {
    for adapter in adapters() {
        let context = open(&adapter);
        let mut graph = Graph::new();
        let x = graph.input("x", [1, 16, 24], Elem::F32);
        let weight = graph.input("weight", [24, 24], Elem::F32);
        let unit = row_normalize(&mut graph, x, None).expect("a call").unit;
        let y = linear(&mut graph, unit, weight, None).expect("a call");
        graph.output("y", y).expect("an output");
        let sizes = [
            ("x", 16 * 24usize, Shape::from([1, 16, 24])),
            ("weight", 24 * 24, Shape::from([24, 24])),
            ("y", 16 * 24, Shape::from([1, 16, 24])),
        ];
        let run = |plan: &tokenpress::Plan, y: &TensorView| {
            let mut encoder = context.device.create_command_encoder(&Default::default());
            plan.record_into(&mut encoder, None);
            context.queue.submit([encoder.finish()]);
            pollster::block_on(context.download(y)).expect("a result")
        };
        let place = |gaps: [usize; 3], together: bool| {
            let mut contents: Vec<Vec<u8>> = Vec::new();
            let mut places = Vec::new();
            for (index, (_, count, _)) in sizes.iter().enumerate() {
                if !together || contents.is_empty() {
                    contents.push(Vec::new());
                }
                let which = contents.len() - 1;
                let bytes = contents.last_mut().expect("a buffer");
                bytes.resize(bytes.len().next_multiple_of(256) + 4 * gaps[index], 0);
                places.push((which, bytes.len() as u64));
                let number = |i: usize| ((i * 37 + index * 11) % 101) as f32 / 50.0 - 1.0;
                bytes.extend((0..*count).flat_map(|i| number(i).to_le_bytes()));
            }
            let buffers: Vec<_> = contents.iter().map(|bytes| context.buffer(bytes)).collect();
            let views: Vec<_> = sizes
                .iter()
                .zip(places)
                .map(|((_, _, shape), (buffer, offset))| TensorView::new(&buffers[buffer], offset, *shape, Elem::F32))
                .collect();
            let bindings = sizes.iter().zip(&views).fold(Bindings::new(), |all, ((name, ..), view)| all.bind(name, view.clone()));
            (bindings, views[2].clone())
        };
        let (bindings, y) = place([0; 3], false);
        let first = graph.plan(&context.gpu, &bindings).expect("a plan");
        let expected = run(&first, &y);
        for (gaps, together) in
            [([1, 0, 0], false), ([0, 3, 0], false), ([0, 0, 1], false), ([1, 2, 3], true), ([0; 3], true), ([0; 3], false)]
        {
            let (bindings, y) = place(gaps, together);
            let moved = first.rebind(&context.gpu, &bindings).expect("a plan that moves");
            assert_eq!(run(&moved, &y), expected, "{gaps:?} {together}");
            let back = moved.rebind(&context.gpu, &place([0; 3], false).0).expect("a plan that moves back");
            assert_eq!(back.dispatches(), first.dispatches());
        }
    }
}

/// They took 5 to 15 seconds, a workgroup each; they take milliseconds where rows share one.
#[test]
fn many_short_rows_do_not_take_seconds() {
    const ROWS: u32 = 66_000;
    let mut graph = Graph::new();
    let numbers = graph.input("numbers", [ROWS, 2], Elem::U32);
    let previous = previous_at(&mut graph, 2, 1);
    let compacted = compact(&mut graph, numbers, None).expect("a shape");
    let groups = group_tokens(&mut graph, numbers, 2).expect("a shape");
    let segments = RunSegments { pairs: false }.build(&mut graph, numbers, previous, None).expect("a shape");
    for (name, tensor) in [("indices", compacted.indices), ("members", groups.members), ("start", segments.start)] {
        graph.output(name, tensor).expect("a name");
    }
    let inputs = [("numbers".to_owned(), HostTensor::u32([ROWS, 2], (0..2 * ROWS).map(|i| i / 3 % 2).collect()))].into();
    let expected = graph.run_reference(&inputs).expect("the graph's own inputs");
    for adapter in adapters() {
        let context = open(&adapter);
        let run = || pollster::block_on(context.run(&graph, &inputs)).expect("a plan");
        // The first run makes the pipelines.
        assert!(run() == expected, "{}", adapter.get_info().name);
        let start = Instant::now();
        run();
        let taken = start.elapsed();
        assert!(taken.as_secs() < 3, "{}: {taken:?}", adapter.get_info().name);
    }
}

/// Runs itself once more in a process of 1.15 GB, so that the machine keeps its memory. What drivers take of it varies
/// with their threads.
#[cfg(unix)]
#[test]
fn want_of_memory_is_an_error() {
    const LITTLE: &str = "TOKENPRESS_TEST_HAS_LITTLE_MEMORY";
    if std::env::var_os(LITTLE).is_none() {
        let test = std::env::current_exe().expect("a path");
        let child = "ulimit -v 1150000 && exec \"$0\" --exact want_of_memory_is_an_error --nocapture";
        let output = std::process::Command::new("sh").args(["-c", child]).arg(test).env(LITTLE, "1").output().expect("it runs");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    // A GPU has memory of its own, which this does not limit.
    for adapter in adapters().into_iter().filter(|adapter| adapter.get_info().device_type == wgpu::DeviceType::Cpu) {
        let context = open(&adapter);
        // Nine products of 96 MiB are alive at once: more than there is, and less than the largest buffer.
        let rows = 1536;
        let mut graph = Graph::new();
        let x = graph.input("x", [rows, 1], Elem::F32);
        let weights: Vec<_> = (0..8).map(|i| graph.input(&format!("w{i}"), [16384, 1], Elem::F32)).collect();
        let products: Vec<_> = weights.iter().map(|w| linear(&mut graph, x, *w, None).expect("a call")).collect();
        let all = products[1..].iter().fold(products[0], |all, p| add(&mut graph, all, *p).expect("a call"));
        let least = tokenpress::kernels::reduce(&mut graph, all, 1, tokenpress::kernels::Statistic::Sum, None).expect("a call");
        graph.output("y", least).expect("an output");
        let mut inputs: HostTensors = [("x".to_owned(), HostTensor::f32([rows, 1], vec![1.0; rows as usize]))].into();
        inputs.extend((0..8).map(|i| (format!("w{i}"), HostTensor::f32([16384, 1], vec![1.0; 16384]))));
        let bytes = graph.workspace_size(&context.gpu).expect("a size");
        assert!(bytes > 800 << 20 && bytes <= context.gpu.capabilities().max_buffer, "{bytes}");
        let expected = Some(Error::OutOfMemory { what: format!("workspace of {bytes} bytes") });
        assert_eq!(pollster::block_on(context.run(&graph, &inputs)).err(), expected, "{}", context.info.name);
        // The device is still there.
        let [view, ..] = views(&context);
        assert!(pollster::block_on(context.read(view.buffer())).is_ok());
    }
}
