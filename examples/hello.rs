//! The first program: merges 16 of the 197 tokens of a ViT-B/16 layer on the best GPU that is here.
//!
//! `cargo run --release --example hello`

use tokenpress::methods::{Protect, ToMe};
use tokenpress::readback::Context;
use tokenpress::{Bindings, Elem, Error, Graph, HostTensor, wgpu};

async fn run() -> Result<(), Error> {
    // What is computed. Shapes and options are checked here.
    let mut graph = Graph::new();
    let tokens = graph.tokens("x", [1, 197, 768], Elem::F32)?;
    let keys = graph.input("keys", [1, 12, 197, 64], Elem::F32);
    let tome = ToMe { merge: 16, protect: Protect::CLASS, ..Default::default() };
    let out = tome.build(&mut graph, &tokens, keys)?;
    graph.output("merged", out.tokens.x)?;
    graph.output("parent", out.map.parent)?;

    // Where it runs. An application brings its own device and buffers.
    let adapters = Context::adapters(wgpu::Backends::all()).await;
    let context = Context::new(adapters.first().expect("a GPU, or a software adapter such as lavapipe")).await?;
    let noise = |n: u64| (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e7).collect();
    let input = |shape: tokenpress::Shape| context.upload(&HostTensor::f32(shape, noise(shape.elements())));
    let (merged, parent) = (context.empty(out.tokens.x.desc()), context.empty(out.map.parent.desc()));
    let bindings = Bindings::new().bind("x", input(tokens.x.shape())).bind("keys", input(keys.shape()));
    let plan = graph.plan(&context.gpu, &bindings.bind("merged", merged.clone()).bind("parent", parent.clone()))?;

    // Every time. Recording allocates nothing and cannot fail.
    let mut encoder = context.device.create_command_encoder(&Default::default());
    plan.record_into(&mut encoder, None);
    context.queue.submit([encoder.finish()]);

    let (merged, parent) = (context.download(&merged).await?, context.download(&parent).await?);
    println!("{} became {}; the first tokens are now rows {:?}", tokens.x.desc(), merged.desc(), &parent.integers()[..8]);
    Ok(())
}

fn main() -> Result<(), Error> {
    pollster::block_on(run())
}
