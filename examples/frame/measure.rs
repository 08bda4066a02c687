//! What the kernels for images take, beside a copy of the texture in the same run.

use std::time::Instant;

use tokenpress::kernels::{ChannelOrder, HeatMap, Patches, PixelUnshuffle, Resize, Sampling};
use tokenpress::readback::Context;
use tokenpress::{Bindings, Elem, Error, Graph, Plan, TextureView, wgpu};

use crate::FORMAT;

/// Rounds, of which the least time of each counts; copies and kernels take turns.
const ROUNDS: usize = 15;

type Build = fn(&mut Graph, [u32; 2]) -> Result<(), Error>;

fn unshuffle(graph: &mut Graph, size: [u32; 2], factor: u32, elem: Elem, channels: ChannelOrder) -> Result<(), Error> {
    let frame = graph.input("frame", [1, size[0] * size[1], 4], elem);
    let options = PixelUnshuffle { factor: [factor, factor], pad: true, channels, ..Default::default() };
    let blocks = options.unshuffle_tokens(graph, frame, size)?;
    graph.output("tokens", blocks)
}

fn shuffle(graph: &mut Graph, [h, w]: [u32; 2], factor: u32) -> Result<(), Error> {
    let [rows, columns] = [h, w].map(|edge| edge.div_ceil(factor));
    let blocks = graph.input("tokens", [1, rows * columns, factor * factor * 4], Elem::F32);
    let options = PixelUnshuffle { factor: [factor, factor], pad: true, ..Default::default() };
    let shown = options.shuffle_tokens(graph, blocks, [h, w])?;
    graph.output("shown", shown)
}

fn patches(graph: &mut Graph, size: [u32; 2], resize: Option<Resize>) -> Result<(), Error> {
    let frame = graph.input("frame", [1, size[0] * size[1], 3], Elem::F32);
    let options = Patches { resize, mean: [0.5; 4], deviation: [0.25; 4], ..Patches::new([16, 16]) };
    let tokens = options.build(graph, frame, size)?;
    graph.output("tokens", tokens)
}

const CASES: [(&str, Build); 9] = [
    ("read as it is", |graph, size| {
        let frame = graph.input("frame", [1, size[0] * size[1], 4], Elem::F32);
        graph.output("tokens", frame)
    }),
    ("unshuffle by 2", |graph, size| unshuffle(graph, size, 2, Elem::F32, ChannelOrder::PositionFirst)),
    ("unshuffle by 8", |graph, size| unshuffle(graph, size, 8, Elem::F32, ChannelOrder::PositionFirst)),
    ("unshuffle by 4, channels first", |graph, size| unshuffle(graph, size, 4, Elem::F32, ChannelOrder::ChannelFirst)),
    ("shuffle by 2", |graph, size| shuffle(graph, size, 2)),
    ("shuffle by 8", |graph, size| shuffle(graph, size, 8)),
    ("patches of 16", |graph, size| patches(graph, size, None)),
    ("patches of a letterbox of 384", |graph, size| {
        patches(graph, size, Some(Resize { size: [384, 384], sampling: Sampling::Antialiased, letterbox: true }))
    }),
    ("heat map", |graph, [h, w]| {
        let frame = graph.input("frame", [1, h * w, 4], Elem::F32);
        let scores = graph.input("scores", [1, 64], Elem::F32);
        let shown = HeatMap::default().build(graph, frame, [h, w], scores, [8, 8])?;
        graph.output("shown", shown)
    }),
];

/// Milliseconds from a submission to its end.
fn milliseconds(context: &Context, record: impl FnOnce(&mut wgpu::CommandEncoder)) -> Result<f64, Error> {
    let mut encoder = context.device.create_command_encoder(&Default::default());
    record(&mut encoder);
    let start = Instant::now();
    context.queue.submit([encoder.finish()]);
    context.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| Error::Device { message: e.to_string() })?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// Prints each kernel's time, and its ratio to a copy from texture to texture, and to one that moves as many bytes between buffers.
pub(crate) fn table(context: &Context, size: [u32; 2]) -> Result<(), Error> {
    use wgpu::TextureUsages as Usage;
    let usage = Usage::TEXTURE_BINDING | Usage::COPY_SRC | Usage::COPY_DST | Usage::STORAGE_BINDING;
    let [frame, shown] = [(); 2].map(|()| context.texture(FORMAT, size, usage));
    println!("{}, {} x {} texels of rgba8unorm, least of {ROUNDS}", context.describe(), size[0], size[1]);
    println!("{:32} {:>9} {:>16} {:>16}", "", "ms", "texture copies", "buffer copies");
    for (name, build) in CASES {
        let mut graph = Graph::new();
        build(&mut graph, size)?;
        let tensors = graph.inputs().chain(graph.outputs()).map(|(name, desc)| (name.to_owned(), desc)).collect::<Vec<_>>();
        let mut bindings = Bindings::new();
        // What the kernel reads and writes: four bytes a texel, and the tensors.
        let mut bytes = 0;
        for (name, desc) in tensors {
            let place = match name.as_str() {
                "frame" => Some(&frame),
                "shown" => Some(&shown),
                _ => None,
            };
            bytes += place.map_or(desc.bytes(), |_| u64::from(size[0]) * u64::from(size[1]) * 4);
            bindings = match place {
                Some(texture) => bindings.bind_texture(&name, TextureView::new(texture)),
                None => bindings.bind(&name, context.empty(desc)),
            };
        }
        let plan: Plan = graph.plan(&context.gpu, &bindings)?;
        let half = (bytes / 2).next_multiple_of(4);
        let [from, to] = [(); 2].map(|()| context.buffer(&vec![1; half as usize]));
        let mut least = [f64::INFINITY; 3];
        for _ in 0..ROUNDS {
            let times = [
                milliseconds(context, |encoder| plan.record_into(encoder, None))?,
                milliseconds(context, |encoder| {
                    encoder.copy_texture_to_texture(frame.as_image_copy(), shown.as_image_copy(), frame.size())
                })?,
                milliseconds(context, |encoder| encoder.copy_buffer_to_buffer(&from, 0, &to, 0, half))?,
            ];
            least.iter_mut().zip(times).for_each(|(least, time)| *least = least.min(time));
        }
        let [kernel, texture, buffer] = least;
        println!("{name:32} {kernel:9.2} {:16.2} {:16.2}", kernel / texture, kernel / buffer);
    }
    Ok(())
}
