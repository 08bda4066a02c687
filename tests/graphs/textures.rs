//! Textures as inputs and outputs of a plan, on every adapter.

use std::collections::BTreeSet;

use half::{bf16, f16};
use tokenpress::kernels::{ChannelOrder, HeatMap, Patches, PixelUnshuffle, Pool, Resize, Sampling, TokenOrder, Windows, add};
use tokenpress::readback::{Context, HostTensors};
use tokenpress::wgpu::TextureFormat::{
    self, Bgra8Unorm, Depth32Float, R8Unorm, R32Float, Rg16Float, Rgba8Unorm, Rgba8UnormSrgb, Rgba16Float, Rgba32Float,
};
use tokenpress::{Bindings, Elem, Error, Graph, HostTensor, Plan, Shape, TextureView, wgpu};

use crate::support::textures::{download, storage, upload};
use crate::support::{adapters, data};

/// Plans a graph over these textures and tensors, runs it, and gives the outputs that lie in buffers.
fn run(context: &Context, graph: &Graph, textures: &[(&str, &wgpu::Texture)], inputs: &HostTensors) -> (Plan, HostTensors) {
    let mut bindings: Bindings = inputs.iter().map(|(name, tensor)| (name.clone(), context.upload(tensor))).collect();
    let mut views = Vec::new();
    for (name, desc) in graph.outputs().filter(|(name, _)| textures.iter().all(|(texture, _)| texture != name)) {
        let view = context.empty(desc);
        views.push((name.to_owned(), view.clone()));
        bindings = bindings.bind(name, view);
    }
    for (name, texture) in textures {
        bindings = bindings.bind_texture(name, TextureView::new(texture));
    }
    let plan = graph.plan(&context.gpu, &bindings).unwrap_or_else(|e| panic!("{e}"));
    let mut encoder = context.device.create_command_encoder(&Default::default());
    plan.record_into(&mut encoder, None);
    context.queue.submit([encoder.finish()]);
    let downloaded = |(name, view)| (name, pollster::block_on(context.download(&view)).expect("a tensor"));
    (plan, views.into_iter().map(downloaded).collect())
}

/// An input and the same as an output: what a plan reads of a texture, or writes.
fn identity(shape: impl Into<Shape>, elem: Elem) -> Graph {
    let mut graph = Graph::new();
    let x = graph.input("x", shape, elem);
    graph.output("y", x).expect("a name");
    graph
}

/// The numbers of a texture.
fn loaded(context: &Context, texture: &wgpu::Texture, channels: u32) -> Vec<f32> {
    let graph = identity([1, texture.height() * texture.width(), channels], Elem::F32);
    run(context, &graph, &[("x", texture)], &HostTensors::new()).1["y"].floats()
}

fn halves(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| f16::from_f32(*x).to_bits().to_le_bytes()).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn texels_are_what_wgsl_loads() {
    let bytes: Vec<u8> = (0..=255).collect();
    let unorm: Vec<f32> = bytes.iter().map(|b| f32::from(*b) / 255.0).collect();
    let linear = |x: f32| if x <= 0.04045 { x / 12.92 } else { ((x + 0.055) / 1.055).powf(2.4) };
    let near = |expected: &[f32], actual: &[f32], bound: f32| {
        assert_eq!(expected.len(), actual.len());
        expected.iter().zip(actual).all(|(e, a)| (e - a).abs() <= bound)
    };
    for adapter in adapters::all() {
        let (context, name) = (&adapter.context, &adapter.name);
        let rgba = |format| loaded(context, &upload(context, format, [4, 16], &bytes), 4);
        assert!(near(&unorm, &rgba(Rgba8Unorm), 1e-7), "{name}");
        let exchanged: Vec<f32> = unorm.chunks(4).flat_map(|t| [t[2], t[1], t[0], t[3]]).collect();
        assert!(near(&exchanged, &rgba(Bgra8Unorm), 1e-7), "{name}");
        // A device may compute the curve of srgb roughly; alpha has none.
        let curved: Vec<f32> = unorm.chunks(4).flat_map(|t| [linear(t[0]), linear(t[1]), linear(t[2]), t[3]]).collect();
        let srgb = rgba(Rgba8UnormSrgb);
        assert!(near(&curved, &srgb, 2e-3) && srgb[0] == 0.0 && srgb[255] == 1.0, "{name}");
        // The first channels alone.
        let [three, one] = [3, 1].map(|channels| loaded(context, &upload(context, Rgba8Unorm, [4, 16], &bytes), channels));
        let first = |n: usize| unorm.chunks(4).flat_map(|t| t[..n].to_vec()).collect::<Vec<_>>();
        assert!(near(&first(3), &three, 1e-7) && near(&first(1), &one, 1e-7), "{name}");
        assert!(near(&unorm, &loaded(context, &upload(context, R8Unorm, [16, 16], &bytes), 1), 1e-7), "{name}");

        let odd = [0.5, -0.0, 65504.0, -6.1e-5, f32::INFINITY, 1.0 / 3.0, 5.9e-8, f32::NEG_INFINITY];
        let rounded: Vec<f32> = odd.iter().map(|x| f16::from_f32(*x).to_f32()).collect();
        assert_eq!(bits(&loaded(context, &upload(context, Rgba16Float, [1, 2], &halves(&odd)), 4)), bits(&rounded), "{name}");
        assert_eq!(bits(&loaded(context, &upload(context, Rg16Float, [2, 2], &halves(&odd)), 2)), bits(&rounded), "{name}");
        let single = [1.5f32, -0.0, f32::MAX, f32::MIN_POSITIVE, f32::INFINITY, 1e-20, -7.25, 3.0];
        let words: Vec<u8> = bytemuck::cast_slice(&single).to_vec();
        for (format, size, channels) in [(Rgba32Float, [2, 1], 4), (R32Float, [2, 4], 1)] {
            assert_eq!(bits(&loaded(context, &upload(context, format, size, &words), channels)), bits(&single), "{name}");
        }
        // Planes, and the other element types.
        let red = upload(context, Rgba32Float, [1, 2], &words);
        let planes = run(context, &identity([1, 4, 1, 2], Elem::F32), &[("x", &red)], &HostTensors::new()).1;
        assert_eq!(planes["y"].floats(), [1.5, f32::INFINITY, -0.0, 1e-20, f32::MAX, -7.25, f32::MIN_POSITIVE, 3.0], "{name}");
        let short = upload(context, Rgba16Float, [1, 2], &halves(&odd));
        let half = run(context, &identity([1, 2, 4], Elem::F16), &[("x", &short)], &HostTensors::new()).1;
        assert_eq!(half["y"].bytes(), halves(&odd), "{name}");
        let brain = run(context, &identity([1, 2, 4], Elem::BF16), &[("x", &short)], &HostTensors::new()).1;
        let expected: Vec<f32> = rounded.iter().map(|x| bf16::from_f32(*x).to_f32()).collect();
        assert_eq!(bits(&brain["y"].floats()), bits(&expected), "{name}");
    }
}

#[test]
fn depth_is_a_channel() {
    for adapter in adapters::all() {
        let context = &adapter.context;
        let usage = wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::TEXTURE_BINDING;
        let depth = context.texture(Depth32Float, [3, 5], usage);
        let view = depth.create_view(&Default::default());
        let mut encoder = context.device.create_command_encoder(&Default::default());
        encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            depth_stencil_attachment: Some(wgpu::RenderPassDepthStencilAttachment {
                view: &view,
                depth_ops: Some(wgpu::Operations { load: wgpu::LoadOp::Clear(0.625), store: wgpu::StoreOp::Store }),
                stencil_ops: None,
            }),
            ..Default::default()
        });
        context.queue.submit([encoder.finish()]);
        assert_eq!(loaded(context, &depth, 1), [0.625; 15], "{}", adapter.name);
    }
}

#[test]
fn numbers_are_stored_as_the_nearest_with_ties_to_even() {
    let mut numbers: Vec<f32> = (0..255u8).map(|b| (f32::from(b) + 0.5) / 255.0).collect();
    numbers.extend((0..=255u8).map(|b| f32::from(b) / 255.0));
    numbers.extend([f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, -1.0, 2.0, 1e-40, 0.999, 0.2, 0.4, 0.6, 0.8]);
    let mut random = data::Random::new(11);
    numbers.extend((numbers.len()..4096).map(|_| f32::from_bits(random.next_u64() as u32)));
    let eight = |x: f32| if x.is_nan() { 0 } else { (x.clamp(0.0, 1.0) * 255.0).round_ties_even() as u8 };
    let same = |expected: &[f32], actual: &[f32]| {
        expected.iter().zip(actual).all(|(e, a)| e.to_bits() == a.to_bits() || (e.is_nan() && a.is_nan()))
    };
    for adapter in adapters::all() {
        let (context, name) = (&adapter.context, &adapter.name);
        let stored = |format, channels: u32, elem: Elem, numbers: &[f32]| {
            let texture = storage(context, format, [16, 4096 / 16 / channels]);
            let input = HostTensor::from_floats(tokenpress::Desc::new([1, 4096 / channels, channels], elem), numbers.to_vec());
            run(context, &identity([1, 4096 / channels, channels], elem), &[("y", &texture)], &[("x".to_owned(), input)].into());
            download(context, &texture)
        };
        let bytes: Vec<u8> = numbers.iter().map(|x| eight(*x)).collect();
        assert_eq!(stored(Rgba8Unorm, 4, Elem::F32, &numbers), bytes, "{name}");
        if context.device.features().contains(wgpu::Features::BGRA8UNORM_STORAGE) {
            let exchanged: Vec<u8> = bytes.chunks(4).flat_map(|t| [t[2], t[1], t[0], t[3]]).collect();
            assert_eq!(stored(Bgra8Unorm, 4, Elem::F32, &numbers), exchanged, "{name}");
        }
        // SwiftShader spoils a texel of f16 where it stores an infinity or a NaN.
        let mut in_range = numbers.clone();
        if name == "swiftshader" {
            in_range.iter_mut().filter(|x| !f16::from_f32(**x).is_finite()).for_each(|x| *x = 0.75);
        }
        let halves: Vec<f32> = in_range.iter().map(|x| f16::from_f32(*x).to_f32()).collect();
        let to_floats = |bytes: &[u8]| bytes.chunks(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect::<Vec<_>>();
        for elem in [Elem::F32, Elem::F16] {
            assert!(same(&halves, &to_floats(&stored(Rgba16Float, 4, elem, &in_range))), "{name} {elem}");
        }
        let words = |bytes: &[u8]| bytemuck::pod_collect_to_vec::<u8, f32>(bytes);
        assert!(same(&numbers, &words(&stored(Rgba32Float, 4, Elem::F32, &numbers))), "{name}");
        assert!(same(&numbers, &words(&stored(R32Float, 1, Elem::F32, &numbers))), "{name}");
        let brain: Vec<f32> = numbers.iter().map(|x| bf16::from_f32(*x).to_f32()).collect();
        assert!(same(&brain, &words(&stored(Rgba32Float, 4, Elem::BF16, &numbers))), "{name}");
        // Channels that the tensor lacks.
        let texture = storage(context, Rgba8Unorm, [1, 2]);
        let two = HostTensor::f32([1, 2, 2], vec![1.0, 0.0, 0.2, 1.0]);
        run(context, &identity([1, 2, 2], Elem::F32), &[("y", &texture)], &[("x".to_owned(), two)].into());
        assert_eq!(download(context, &texture), [255, 0, 0, 255, 51, 255, 0, 255], "{name}");
    }
}

/// Labels of the variants that ran on an adapter, of shaders that bind a texture; `read_write` inputs make no other text for a texture.
fn note(ran: &mut BTreeSet<String>, plan: &Plan) {
    ran.extend(plan.variants().map(|label| label.replace(".read_write", "")));
}

#[test]
fn unshuffle_and_shuffle_need_no_copy() {
    for adapter in adapters::all() {
        let (context, name) = (&adapter.context, &adapter.name);
        for (channels, factor, order, planar, elem) in [
            (4, [2, 2], ChannelOrder::PositionFirst, false, Elem::F32),
            (4, [8, 8], ChannelOrder::PositionFirst, false, Elem::F16),
            (4, [4, 4], ChannelOrder::ChannelFirst, false, Elem::F32),
            (3, [3, 3], ChannelOrder::PositionFirst, false, Elem::F32),
            (3, [2, 4], ChannelOrder::ChannelFirst, true, Elem::F16),
            (1, [3, 2], ChannelOrder::PositionFirst, true, Elem::F32),
            (2, [2, 3], ChannelOrder::ChannelFirst, false, Elem::BF16),
        ] {
            let [h, w] = [11u32, 26];
            let tokens = if planar { TokenOrder::RowMajor } else { TokenOrder::Transposed };
            let unshuffle = PixelUnshuffle { factor, channels: order, tokens, pad: true, skip: 0 };
            let shape = if planar { Shape::from([1, channels, h, w]) } else { Shape::from([1, h * w, channels]) };
            let mut graph = Graph::new();
            let x = graph.input("x", shape, elem);
            let blocks = match planar {
                true => unshuffle.unshuffle_planar(&mut graph, x),
                false => unshuffle.unshuffle_tokens(&mut graph, x, [h, w]),
            };
            let blocks = blocks.expect("valid options");
            graph.output("blocks", blocks).expect("a name");
            let mut back = Graph::new();
            let b = back.input("blocks", blocks.shape(), elem);
            let image = match planar {
                true => unshuffle.shuffle_planar(&mut back, b, [h, w]),
                false => unshuffle.shuffle_tokens(&mut back, b, [h, w]),
            };
            back.output("image", image.expect("valid options")).expect("a name");

            // Whole numbers of 8 bits, so that every type has them.
            let texels: Vec<f32> = data::integers(5, (h * w * 4) as usize, 256).into_iter().map(|x| x as f32).collect();
            let frame = upload(context, Rgba32Float, [h, w], bytemuck::cast_slice(&texels));
            let at = |row: u32, column: u32, c: u32| texels[((row * w + column) * 4 + c) as usize];
            let places = (0..channels * h * w).map(|i| match planar {
                true => at(i / w % h, i % w, i / (h * w)),
                false => at(i / channels / w, i / channels % w, i % channels),
            });
            let dense = HostTensor::from_floats(tokenpress::Desc::new(shape, elem), places.collect());
            let expected = graph.run_reference(&[("x".to_owned(), dense)].into()).expect("a run");
            let (plan, found) = run(context, &graph, &[("x", &frame)], &HostTensors::new());
            assert_eq!(found["blocks"].bytes(), expected["blocks"].bytes(), "{name} {unshuffle:?} {shape}");
            let native = elem == Elem::F32 || (elem == Elem::F16 && adapter.f16());
            assert!(!native || plan.dispatches() == 1, "{name} {plan:?}");
            for format in [Rgba32Float, Rgba16Float] {
                let shown = storage(context, format, [h, w]);
                let (plan, _) = run(context, &back, &[("image", &shown)], &expected);
                let bytes = download(context, &shown);
                let numbers: Vec<f32> = match format {
                    Rgba32Float => bytemuck::pod_collect_to_vec(&bytes),
                    _ => bytes.chunks(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
                };
                let lacking = [0.0, 0.0, 0.0, 1.0];
                for (place, texel) in numbers.chunks(4).enumerate() {
                    for c in 0..4 {
                        let right = if c < channels as usize { texels[place * 4 + c] } else { lacking[c] };
                        assert_eq!(texel[c], right, "{name} {unshuffle:?} {shape} {format:?} texel {place}");
                    }
                }
                assert!(!native || plan.dispatches() == 1, "{name} {plan:?}");
            }
        }
    }
}

/// Patches, heat maps and other kernels over textures of 8 bits are what the reference makes of the numbers in them.
#[test]
fn kernels_read_and_write_textures() {
    let [h, w] = [13u32, 22];
    let frame: Vec<u8> = data::integers(7, (h * w * 4) as usize, 256).into_iter().map(|x| x as u8).collect();
    let near = |expected: &HostTensor, actual: &[f32], bound: f32| {
        let expected = expected.floats();
        expected.len() == actual.len() && expected.iter().zip(actual).all(|(e, a)| (e - a).abs() <= bound)
    };
    for adapter in adapters::all() {
        let (context, name) = (&adapter.context, &adapter.name);
        let frame = upload(context, Rgba8Unorm, [h, w], &frame);
        for (channels, elem) in [(4, Elem::F32), (3, Elem::F32), (4, Elem::F16)] {
            let numbers = loaded(context, &frame, channels);
            let dense = HostTensor::from_floats(tokenpress::Desc::new([1, h * w, channels], elem), numbers);
            let bound = if elem == Elem::F16 { 4e-3 } else { 4e-6 };
            for sampling in [None, Some(Sampling::Nearest), Some(Sampling::Bilinear), Some(Sampling::Antialiased)] {
                let resize = sampling.map(|sampling| Resize { size: [7, 9], sampling, letterbox: true });
                let patches = Patches { resize, mean: [0.5; 4], deviation: [0.25; 4], ..Patches::new([4, 4]) };
                let mut graph = Graph::new();
                let x = graph.input("x", [1, h * w, channels], elem);
                let y = patches.build(&mut graph, x, [h, w]).expect("valid options");
                graph.output("y", y).expect("a name");
                let expected = graph.run_reference(&[("x".to_owned(), dense.clone())].into()).expect("a run");
                let (plan, found) = run(context, &graph, &[("x", &frame)], &HostTensors::new());
                assert!(near(&expected["y"], &found["y"].floats(), bound), "{name} {patches:?}");
                assert!(elem != Elem::F32 || plan.dispatches() == 1, "{name} {plan:?}");
            }
            let scores = HostTensor::f32([1, 6], vec![0.1, 0.9, f32::NAN, 0.5, 0.3, 0.7]);
            for smooth in [false, true] {
                let mut graph = Graph::new();
                let x = graph.input("x", [1, h * w, channels], elem);
                let s = graph.input("scores", [1, 6], Elem::F32);
                let y = HeatMap { smooth, ..HeatMap::default() }.build(&mut graph, x, [h, w], s, [2, 3]).expect("valid options");
                graph.output("y", y).expect("a name");
                let scores: HostTensors = [("scores".to_owned(), scores.clone())].into();
                let given = [("x".to_owned(), dense.clone())].into_iter().chain(scores.clone()).collect();
                let expected = graph.run_reference(&given).expect("a run");
                let (_, found) = run(context, &graph, &[("x", &frame)], &scores);
                assert!(near(&expected["y"], &found["y"].floats(), bound), "{name}");
                let shown = storage(context, Rgba32Float, [h, w]);
                for (textures, inputs) in [(vec![("x", &frame), ("y", &shown)], &scores), (vec![("y", &shown)], &given)] {
                    let (plan, _) = run(context, &graph, &textures, inputs);
                    let texels: Vec<f32> = bytemuck::pod_collect_to_vec(&download(context, &shown));
                    let first: Vec<f32> = texels.chunks(4).flat_map(|t| t[..channels as usize].to_vec()).collect();
                    assert!(near(&expected["y"], &first, bound), "{name}");
                    assert!(elem != Elem::F32 || plan.dispatches() == 1, "{name} {plan:?}");
                }
            }
            // Kernels that know nothing of textures, and one that is read twice.
            let mut graph = Graph::new();
            let x = graph.input("x", [1, h, w, channels], elem);
            let x = graph.reshape(x, [1, h * w, channels]).expect("the same elements");
            let pooled = Pool::Average(Windows::Adaptive { outputs: [4, 6] }).build(&mut graph, x, [h, w], None).expect("valid options");
            let doubled = add(&mut graph, pooled, pooled).expect("one shape");
            graph.output("pooled", pooled).expect("a name");
            graph.output("doubled", doubled).expect("a name");
            let buffers = run(context, &graph, &[], &[("x".to_owned(), dense.clone().reshaped([1, h, w, channels]))].into()).1;
            // The texture rounds what is written there; what is added was not.
            let (small, numbers) = (storage(context, Rgba8Unorm, [4, 6]), buffers["pooled"].floats());
            let (_, found) = run(context, &graph, &[("x", &frame), ("pooled", &small)], &HostTensors::new());
            assert_eq!(found["doubled"].bytes(), buffers["doubled"].bytes(), "{name}");
            let bytes = download(context, &small);
            let right =
                |(i, x): (usize, &f32)| bytes[i / channels as usize * 4 + i % channels as usize] == (x * 255.0).round_ties_even() as u8;
            assert!(numbers.iter().enumerate().all(right), "{name}");
        }
    }
}

/// A result in a texture of 8 bits is read again by a kernel that could read the texture: it reads what was computed.
#[test]
fn a_result_that_is_read_again_is_not_rounded() {
    let adapter = adapters::all().swap_remove(0);
    let context = &adapter.context;
    let unshuffle = PixelUnshuffle::default();
    let mut graph = Graph::new();
    let blocks = graph.input("blocks", [1, 4, 16], Elem::F32);
    let image = unshuffle.shuffle_tokens(&mut graph, blocks, [4, 4]).expect("valid options");
    let again = unshuffle.unshuffle_tokens(&mut graph, image, [4, 4]).expect("valid options");
    graph.output("image", image).expect("a name");
    graph.output("again", again).expect("a name");
    let values: Vec<f32> = (0..64).map(|i| i as f32 / 64.0 + 1e-3).collect();
    let input = HostTensor::f32([1, 4, 16], values.clone());
    let shown = storage(context, Rgba8Unorm, [4, 4]);
    let (_, found) = run(context, &graph, &[("image", &shown)], &[("blocks".to_owned(), input)].into());
    assert_eq!(found["again"].floats(), values);
    assert!(download(context, &shown).iter().any(|byte| *byte > 0));
}

/// Every variant of a shader that binds a texture, on every adapter: one call of each kernel for each format and element type.
#[test]
fn every_texture_variant_runs() {
    for adapter in adapters::all() {
        let (context, name) = (&adapter.context, &adapter.name);
        let mut ran = BTreeSet::new();
        let elems = if adapter.f16() { vec![Elem::F32, Elem::F16] } else { vec![Elem::F32] };
        let bgra = context.device.features().contains(wgpu::Features::BGRA8UNORM_STORAGE);
        let formats =
            [Rgba8Unorm, Bgra8Unorm, Rgba16Float, Rgba32Float, R32Float].into_iter().filter(|format| *format != Bgra8Unorm || bgra);
        let formats: Vec<TextureFormat> = formats.collect();
        let frame = upload(context, Rgba32Float, [4, 4], bytemuck::cast_slice(&data::normal(3, 64)));
        let scores: HostTensors = [("scores".to_owned(), HostTensor::f32([1, 4], vec![0.0, 0.3, 0.6, 1.0]))].into();
        for (elem, channels) in elems.iter().flat_map(|elem| [1, 4].map(|channels| (*elem, channels))) {
            let image = HostTensor::from_floats(tokenpress::Desc::new([1, 16, channels], elem), data::normal(4, 16 * channels as usize));
            note(&mut ran, &run(context, &identity([1, 16, channels], elem), &[("x", &frame)], &HostTensors::new()).0);
            for sampling in [Sampling::Nearest, Sampling::Bilinear, Sampling::Antialiased] {
                let resize = Some(Resize { size: [2, 2], sampling, letterbox: false });
                let mut graph = Graph::new();
                let x = graph.input("x", [1, 16, channels], elem);
                let y = Patches { resize, channels: vec![0], ..Patches::new([2, 2]) }.build(&mut graph, x, [4, 4]).expect("valid options");
                graph.output("y", y).expect("a name");
                note(&mut ran, &run(context, &graph, &[("x", &frame)], &HostTensors::new()).0);
            }
            for format in formats.iter().filter(|format| u32::from(format.components()) >= channels) {
                let shown = storage(context, *format, [4, 4]);
                let input = [("x".to_owned(), image.clone())].into();
                note(&mut ran, &run(context, &identity([1, 16, channels], elem), &[("y", &shown)], &input).0);
            }
            for smooth in [false, true] {
                let mut graph = Graph::new();
                let x = graph.input("x", [1, 16, channels], elem);
                let s = graph.input("scores", [1, 4], Elem::F32);
                let y = HeatMap { smooth, ..HeatMap::default() }.build(&mut graph, x, [4, 4], s, [2, 2]).expect("valid options");
                graph.output("y", y).expect("a name");
                note(&mut ran, &run(context, &graph, &[("x", &frame)], &scores).0);
                for format in formats.iter().filter(|format| u32::from(format.components()) >= channels) {
                    let shown = storage(context, *format, [4, 4]);
                    note(&mut ran, &run(context, &graph, &[("x", &frame), ("y", &shown)], &scores).0);
                    let given = [("x".to_owned(), image.clone())].into_iter().chain(scores.clone()).collect();
                    note(&mut ran, &run(context, &graph, &[("y", &shown)], &given).0);
                }
            }
        }
        let owed = tokenpress::kernels::shaders().into_iter().filter(|shader| shader.binds_textures()).flat_map(|shader| shader.variants());
        let owed = owed.filter(|variant| context.gpu.supports(variant)).map(|variant| variant.label().replace(".read_write", ""));
        let unrun: BTreeSet<_> = owed.filter(|label| !ran.contains(label)).collect();
        assert!(unrun.is_empty(), "{name}: no call runs {unrun:?}");
    }
}

#[test]
fn what_a_texture_cannot_be_is_refused() {
    let adapter = adapters::all().swap_remove(0);
    let context = &adapter.context;
    let graph = identity([1, 6, 4], Elem::F32);
    let plan = |graph: &Graph, x: TextureView, y: TextureView| {
        graph.plan(&context.gpu, &Bindings::new().bind_texture("x", x).bind_texture("y", y)).map(drop)
    };
    let [read, written] = [upload(context, Rgba8Unorm, [2, 3], &[0; 24]), storage(context, Rgba8Unorm, [2, 3])];
    let view = TextureView::new;
    assert_eq!(plan(&graph, view(&read), view(&written)), Ok(()));
    let wrong = |result: Result<(), Error>, name: &str| {
        assert!(matches!(&result, Err(Error::Texture { tensor, .. }) if tensor == name), "{result:?}")
    };
    // Another size, more channels than there are, integers, levels and layers that there are not, formats that are not for this.
    wrong(plan(&graph, view(&upload(context, Rgba8Unorm, [2, 2], &[0; 16])), view(&written)), "x");
    wrong(plan(&graph, view(&read), view(&storage(context, R32Float, [2, 3]))), "y");
    wrong(plan(&identity([1, 6, 4], Elem::U32), view(&read), view(&written)), "x");
    wrong(plan(&graph, view(&read).with_level(1), view(&written)), "x");
    wrong(plan(&graph, view(&read).with_layer(1), view(&written)), "x");
    let usage = wgpu::TextureUsages::TEXTURE_BINDING;
    wrong(plan(&graph, view(&context.texture(TextureFormat::Rgba8Uint, [2, 3], usage)), view(&written)), "x");
    let usages = |result| matches!(result, Err(Error::Usage { .. }));
    assert!(usages(plan(&graph, view(&written), view(&written))) && usages(plan(&graph, view(&read), view(&read))));
    let both = context.texture(Rgba8Unorm, [2, 3], usage | wgpu::TextureUsages::STORAGE_BINDING);
    wrong(plan(&graph, view(&both), view(&both)), "y");
    let unread = |texture| pollster::block_on(context.read_texture(&texture));
    assert!(matches!(unread(context.texture(Rgba8Unorm, [2, 3], usage)), Err(Error::Usage { .. })));
    let stencil = context.texture(TextureFormat::Depth24PlusStencil8, [2, 3], wgpu::TextureUsages::COPY_SRC);
    assert!(matches!(unread(stencil), Err(Error::Texture { .. })));
    let srgb = view(&read).with_format(Rgba8UnormSrgb);
    assert!(matches!(plan(&graph, srgb, view(&written)), Err(Error::UnusableBuffer { tensor }) if tensor == "x"));
    read.destroy();
    assert!(plan(&graph, view(&read), view(&written)).is_err());
}

#[test]
fn a_plan_is_bound_to_the_next_frame() {
    let adapter = adapters::all().swap_remove(0);
    let context = &adapter.context;
    let graph = identity([1, 2, 4], Elem::F32);
    let frames = [10, 20].map(|byte| upload(context, Rgba8Unorm, [1, 2], &[byte; 8]));
    let wide = upload(context, Rgba32Float, [1, 2], bytemuck::cast_slice(&[0.25f32; 8]));
    let shown = storage(context, Rgba8Unorm, [1, 2]);
    let bindings = |frame| Bindings::new().bind_texture("x", TextureView::new(frame)).bind_texture("y", TextureView::new(&shown));
    let mut plan = graph.plan(&context.gpu, &bindings(&frames[0])).expect("a plan");
    let mut show = |frame| {
        plan = plan.rebind(&context.gpu, &bindings(frame)).expect("a plan");
        let mut encoder = context.device.create_command_encoder(&Default::default());
        plan.record_into(&mut encoder, None);
        context.queue.submit([encoder.finish()]);
        download(context, &shown)
    };
    assert_eq!([show(&frames[1]), show(&frames[0]), show(&wide)], [[20; 8], [10; 8], [64; 8]].map(|bytes| bytes.to_vec()));
}
