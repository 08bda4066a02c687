//! What the examples share: how fast a device is at what models are made of.

use std::time::Instant;

use tokenpress::kernels::linear;
use tokenpress::readback::Context;
use tokenpress::{Bindings, Elem, Error, Graph, Rates, wgpu};

/// Measured by a matrix product of `[rows, inputs]` and `[outputs, inputs]`, by a copy of 32 MB, and by copies of a word.
pub(crate) fn measure(context: &Context, [rows, inputs, outputs]: [u32; 3]) -> Result<Rates, Error> {
    let mut product = Graph::new();
    let x = product.input("x", [1, rows, inputs], Elem::F32);
    let weight = product.input("weight", [outputs, inputs], Elem::F32);
    let y = linear(&mut product, x, weight, None)?;
    product.output("y", y)?;
    let copy_of = |elements: u32| {
        let mut graph = Graph::new();
        let x = graph.input("x", [elements], Elem::F32);
        graph.output("y", x)?;
        Ok::<_, Error>(graph)
    };
    let capabilities = context.gpu.capabilities();
    let dispatch = seconds(context, &copy_of(1)?, 256)?;
    let (product_cost, copy, copy_cost) = (product.cost(capabilities)?, copy_of(1 << 22)?, copy_of(1 << 22)?.cost(capabilities)?);
    Ok(Rates {
        flops: product_cost.flops() as f64 / seconds(context, &product, 8)?,
        bytes: copy_cost.bytes() as f64 / seconds(context, &copy, 8)?,
        dispatches: 1.0 / dispatch,
    })
}

/// Seconds of one run among so many, each of which waits for the one before; the median of seven times.
fn seconds(context: &Context, graph: &Graph, runs: usize) -> Result<f64, Error> {
    let views = graph.inputs().chain(graph.outputs()).map(|(name, desc)| (name.to_owned(), context.empty(desc)));
    let bindings = views.fold(Bindings::new(), |bindings, (name, view)| bindings.bind(&name, view));
    let plan = graph.plan(&context.gpu, &bindings)?;
    let mut times = Vec::new();
    for _ in 0..8 {
        let mut encoder = context.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            (0..runs).for_each(|_| plan.record(&mut pass));
        }
        let start = Instant::now();
        context.queue.submit([encoder.finish()]);
        context.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| Error::Device { message: e.to_string() })?;
        times.push(start.elapsed().as_secs_f64() / runs as f64);
    }
    // The first one compiles.
    times.remove(0);
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
