//! Compresses a rendered frame between two render passes.
//!
//! ```text
//! cargo run --release --example frame -- -o frame.png
//! cargo run --release --example frame -- --measure
//! ```
//!
//! One encoder has it all: a pass renders a scene into a texture; a plan of tokenpress reads the texture as blocks of 8 x 8 pixels, merges
//! those that are alike, and writes what is left into a second texture, and how many blocks share a token into a third; another pass draws
//! the three side by side. Nothing goes through the host, and no texture is copied into a buffer.

#[path = "../shared/device.rs"]
#[allow(dead_code, reason = "it times with copies of textures between")]
mod device;
#[path = "../shared/output.rs"]
#[macro_use]
mod output;
mod measure;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use device::{Backend, Failure, choose, exit};
use tokenpress::kernels::{HeatMap, PixelUnshuffle, scale};
use tokenpress::methods::ToMe;
use tokenpress::readback::Context;
use tokenpress::{Bindings, Elem, Error, Graph, TextureView, TokenMap, Tokens, wgpu};

/// Compresses a rendered frame between two render passes, and draws the frame before and after, and where detail was kept.
#[derive(Parser)]
struct Options {
    /// The picture: before, after, and bright where a block has a token of its own
    #[arg(short, long, value_name = "PNG", default_value = "frame.png")]
    output: PathBuf,
    /// Rows and columns of the frame
    #[arg(long, num_args = 2, value_names = ["ROWS", "COLUMNS"], default_values_t = [288, 512], value_parser = clap::value_parser!(u32).range(8..=4096))]
    size: Vec<u32>,
    /// How often half of the tokens merge away
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=8))]
    halvings: u32,
    /// Part of the adapter's name
    #[arg(long)]
    adapter: Option<String>,
    #[arg(long)]
    backend: Option<Backend>,
    /// Only measure what textures cost, beside a copy of one
    #[arg(long)]
    measure: bool,
}

const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;
const BLOCK: u32 = 8;

/// Inputs and outputs are named after the textures that they are bound to.
fn graph([h, w]: [u32; 2], halvings: u32) -> Result<(Graph, [usize; 2]), Error> {
    let mut graph = Graph::new();
    let frame = graph.input("before", [1, h * w, 4], Elem::F32);
    let blocks = PixelUnshuffle { factor: [BLOCK, BLOCK], pad: true, ..Default::default() };
    let x = blocks.unshuffle_tokens(&mut graph, frame, [h, w])?;
    let first = Tokens::new(&mut graph, x)?;
    let mut map = TokenMap::identity(&mut graph, &first)?;
    let mut tokens = first;
    for _ in 0..halvings {
        let merged = ToMe { merge: tokens.capacity() / 2, ..Default::default() }.build(&mut graph, &tokens, tokens.x)?;
        (tokens, map) = (merged.tokens, map.then(&mut graph, &merged.map)?);
    }
    // Every block takes the token that it went to.
    let restored = map.unmerge(&mut graph, tokens.x, None)?;
    let after = blocks.shuffle_tokens(&mut graph, restored, [h, w])?;
    graph.output("after", after)?;
    // Bright where few blocks share a token.
    let size = graph.reshape(tokens.size, [1, tokens.capacity(), 1])?;
    let share = map.unmerge(&mut graph, size, None)?;
    let share = scale(&mut graph, share, -1.0)?;
    let grid = [h, w].map(|edge| edge.div_ceil(BLOCK));
    let scores = graph.reshape(share, [1, grid[0] * grid[1]])?;
    let heat = HeatMap { range: [-12.0, -1.0], strength: 0.7, smooth: false }.build(&mut graph, frame, [h, w], scores, grid)?;
    graph.output("heat", heat)?;
    Ok((graph, [first.capacity() as usize, tokens.capacity() as usize]))
}

/// A pipeline that draws the triangle, coloured by this entry point.
fn pipeline(context: &Context, shader: &wgpu::ShaderModule, fragment: &str) -> wgpu::RenderPipeline {
    let compilation_options = wgpu::PipelineCompilationOptions::default();
    context.device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: Some(fragment),
        layout: None,
        vertex: wgpu::VertexState {
            module: shader,
            entry_point: Some("corner"),
            compilation_options: compilation_options.clone(),
            buffers: &[],
        },
        primitive: wgpu::PrimitiveState::default(),
        depth_stencil: None,
        multisample: wgpu::MultisampleState::default(),
        fragment: Some(wgpu::FragmentState {
            module: shader,
            entry_point: Some(fragment),
            compilation_options,
            targets: &[Some(FORMAT.into())],
        }),
        multiview_mask: None,
        cache: None,
    })
}

fn draw(encoder: &mut wgpu::CommandEncoder, pipeline: &wgpu::RenderPipeline, group: Option<&wgpu::BindGroup>, target: &wgpu::Texture) {
    let view = target.create_view(&Default::default());
    let attachment =
        wgpu::RenderPassColorAttachment { view: &view, depth_slice: None, resolve_target: None, ops: wgpu::Operations::default() };
    let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor { color_attachments: &[Some(attachment)], ..Default::default() });
    pass.set_pipeline(pipeline);
    pass.set_bind_group(0, group, &[]);
    pass.draw(0..3, 0..1);
}

fn run(options: &Options) -> Result<(), Failure> {
    let size = [options.size[0], options.size[1]];
    if !options.measure {
        output::writable([options.output.as_path()]).map_err(Failure::Request)?;
    }
    let Some(context) = choose(options.adapter.as_deref(), options.backend)? else {
        return Err(Failure::Request("a frame is rendered on a GPU: the reference has none".to_owned()));
    };
    if options.measure {
        return Ok(measure::table(&context, size)?);
    }
    let (graph, [before, after]) = graph(size, options.halvings)?;

    // What the renderer has anyway.
    use wgpu::TextureUsages as Usage;
    let frame = context.texture(FORMAT, size, Usage::RENDER_ATTACHMENT | Usage::TEXTURE_BINDING);
    let [compressed, heat] = [(); 2].map(|()| context.texture(FORMAT, size, Usage::STORAGE_BINDING | Usage::TEXTURE_BINDING));
    let shown = context.texture(FORMAT, [size[0], 3 * size[1]], Usage::RENDER_ATTACHMENT | Usage::COPY_SRC);
    let shader = context.device.create_shader_module(wgpu::include_wgsl!("scene.wgsl"));
    let [scene, side_by_side] = ["scene", "side_by_side"].map(|fragment| pipeline(&context, &shader, fragment));
    let views = [&frame, &compressed, &heat].map(|texture| texture.create_view(&Default::default()));
    let entry = |(binding, view)| wgpu::BindGroupEntry { binding: binding as u32, resource: wgpu::BindingResource::TextureView(view) };
    let group = context.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &side_by_side.get_bind_group_layout(0),
        entries: &views.iter().enumerate().map(entry).collect::<Vec<_>>(),
    });

    // What tokenpress adds: textures bound by name.
    let bindings = [("before", &frame), ("after", &compressed), ("heat", &heat)]
        .into_iter()
        .fold(Bindings::new(), |bindings, (name, texture)| bindings.bind_texture(name, TextureView::new(texture)));
    let plan = graph.plan(&context.gpu, &bindings)?;

    // Every frame.
    let mut encoder = context.device.create_command_encoder(&Default::default());
    draw(&mut encoder, &scene, None, &frame);
    plan.record_into(&mut encoder, None);
    draw(&mut encoder, &side_by_side, Some(&group), &shown);
    context.queue.submit([encoder.finish()]);

    let [h, w] = [shown.height(), shown.width()];
    let picture = image::RgbaImage::from_raw(w, h, pollster::block_on(context.read_texture(&shown))?)
        .ok_or_else(|| Failure::Run("the picture has another size".to_owned()))?;
    picture
        .save_with_format(&options.output, image::ImageFormat::Png)
        .map_err(|e| Failure::Run(format!("cannot write {}: {e}", options.output.display())))?;
    println!("{}", context.describe());
    println!(
        "{before} blocks became {after} tokens in {} dispatches between two render passes: {}",
        plan.dispatches(),
        options.output.display()
    );
    Ok(())
}

fn main() -> ExitCode {
    exit(run(&Options::parse()))
}
