//! Target: views, sizes and workspaces of any kind. What is refused is an error; what is accepted writes nothing outside its outputs.

use tokenpress::kernels::add;
use tokenpress::{Bindings, Graph, TensorView, wgpu};

use crate::generator::Generator;
use crate::support::adapters::Adapter;

/// A number of bytes near these.
fn offset(g: &mut Generator, size: u64) -> u64 {
    let inside = u64::from(g.below(size as u32 + 8));
    match g.below(8) {
        0 => inside,
        1 => g.pick(&[u64::MAX, u64::MAX - 3, 1 << 63, size, size - 4, size + 4]),
        2 => inside / 2 * 2,
        _ => inside / 4 * 4,
    }
}

/// Binds a small graph at random, runs what is accepted, and binds it anew.
pub(crate) fn bindings(g: &mut Generator, adapter: Option<&Adapter>) -> Result<(), String> {
    let Some(adapter) = adapter else { return Ok(()) };
    let context = &adapter.context;
    let elem = g.pick(&crate::case::FLOATS);
    let n = g.pick(&[0, 1, 2, 3, 17, 64, 65]);
    let mut graph = Graph::new();
    let (a, b) = (graph.input("a", [n], elem), graph.input("b", [n], elem));
    let built = add(&mut graph, a, b).and_then(|x| Ok((x, add(&mut graph, x, b)?)));
    let (x, y) = built.map_err(|e| e.to_string())?;
    graph.output("x", x).and_then(|()| graph.output("y", y)).map_err(|e| e.to_string())?;

    let size = g.pick(&[16u64, 64, 512, 1024, 4096]);
    let all = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let usages: Vec<_> =
        (0..4).map(|_| g.pick(&[all, all, all, all, all, wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST])).collect();
    let make = |usage| context.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
    let buffers: Vec<_> = usages.into_iter().map(make).collect();
    let before: Vec<u8> = (0..size).map(|i| (i * 7 + 3) as u8 & 0x3f).collect();
    for buffer in &buffers {
        context.queue.write_buffer(buffer, 0, &before);
    }
    let mut written: Vec<(usize, u64)> = Vec::new();
    let one = g.coin();
    let mut bindings = |g: &mut Generator| {
        let mut bindings = Bindings::new();
        for name in ["a", "b", "x", "y"] {
            let buffer = if one { 0 } else { g.below(4) as usize };
            let at = offset(g, size);
            let mut view = TensorView::new(&buffers[buffer], at, [n], elem);
            if g.chance(0.25) {
                let bytes = u64::from(n) * elem.size();
                view = view.with_size(g.pick(&[0, 4, bytes, bytes + 8, size, u64::MAX]));
            }
            if ["x", "y"].contains(&name) {
                written.push((buffer, at));
            }
            bindings = bindings.bind(name, view);
        }
        if g.chance(0.2) {
            let buffer = &buffers[g.below(4) as usize];
            bindings = bindings.workspace(buffer, g.pick(&[0, 256, 64, 4, u64::MAX - 255, size]), g.pick(&[0, 256, 1024, u64::MAX]));
        }
        bindings
    };
    let submit = |plan: &tokenpress::Plan| {
        let mut encoder = context.device.create_command_encoder(&Default::default());
        plan.record_into(&mut encoder, None);
        context.queue.submit([encoder.finish()]);
    };
    let Ok(plan) = graph.plan(&context.gpu, &bindings(g)) else { return Ok(()) };
    submit(&plan);
    if let Ok(plan) = plan.rebind(&context.gpu, &bindings(g)) {
        submit(&plan);
    }
    let bytes = u64::from(n) * elem.size();
    for (index, buffer) in buffers.iter().enumerate() {
        let after = pollster::block_on(context.read(buffer)).map_err(|e| e.to_string())?;
        let allowed = |byte: u64| written.iter().any(|(b, at)| *b == index && (*at..at.saturating_add(bytes)).contains(&byte));
        if let Some(byte) = (0..size).find(|&i| before[i as usize] != after[i as usize] && !allowed(i)) {
            return Err(format!("byte {byte} of buffer {index} changed, and belongs to no output: {written:?}"));
        }
    }
    Ok(())
}
