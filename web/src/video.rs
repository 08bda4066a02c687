//! The first tab with a camera: of every frame the patches that changed most since the frame before it.

use image::{DynamicImage, RgbImage};
use tokenpress::kernels::PixelUnshuffle;
use tokenpress::methods::Evs;
use tokenpress::{Bindings, Elem, Error, Graph, HostTensor, NONE, Plan, TensorView, Tokens};
use wasm_bindgen::prelude::*;

use crate::compress::{Compressed, opaque};
use crate::device::{Device, Trouble};
use crate::harness::timer::Timer;
use crate::photo::regions;
use crate::picture::{mean_squared_error, psnr};

/// Numbers of a pixel: three colours, and a constant that makes a cosine of the brightness.
const CHANNELS: u32 = 4;

/// A camera's frames on their way through EVS.
#[wasm_bindgen]
pub struct Video {
    timer: Timer,
    trouble: Trouble,
    plan: Plan,
    frames: TensorView,
    parent: TensorView,
    side: u32,
    before: Option<RgbImage>,
    /// What a model has seen so far: of every place the last patch that came.
    restored: RgbImage,
}

/// Two frames `[2, height, width, 4]` to the token of each patch, frame after frame.
fn graph([height, width]: [u32; 2], side: u32, keep: f64) -> Result<Graph, Error> {
    let mut graph = Graph::new();
    let frames = graph.input("frames", [2, height, width, CHANNELS], Elem::F32);
    let cut = PixelUnshuffle { factor: [side, side], ..Default::default() };
    let patches = cut.unshuffle_tokens(&mut graph, frames, [height, width])?;
    let (count, channels) = ((height / side) * (width / side), side * side * CHANNELS);
    let patches = graph.reshape(patches, [1, 2 * count, channels])?;
    let tokens = Tokens::new(&mut graph, patches)?;
    // The first frame stays whole.
    let pruned = Evs { tokens_per_frame: count, prune: (1.0 - keep) / 2.0, floor: 0 }.build(&mut graph, &tokens)?.pruned;
    graph.output("tokens", pruned.compressed.tokens.x)?;
    graph.output("parent", pruned.compressed.map.parent)?;
    Ok(graph)
}

#[wasm_bindgen]
impl Video {
    /// Frames of this size in pixels, of whole patches; `keep` is the share of the patches that stays of a frame.
    pub fn open(device: &Device, width: u32, height: u32, side: u32, keep: f64) -> Result<Self, JsError> {
        if side == 0 || width < side || height < side || !width.is_multiple_of(side) || !height.is_multiple_of(side) {
            return Err(JsError::new(&format!("a frame of {width} x {height} has no whole patches of {side} x {side}")));
        }
        let (context, failure) = (device.context(), |error| device.failure(error));
        let graph = graph([height, width], side, keep).map_err(failure)?;
        let frames = context.upload(&HostTensor::f32([2, height, width, CHANNELS], vec![0.0; (2 * height * width * CHANNELS) as usize]));
        let mut bindings = Bindings::new().bind("frames", frames.clone());
        let mut parent = frames.clone();
        for (name, desc) in graph.outputs() {
            let view = context.empty(desc);
            if name == "parent" {
                parent = view.clone();
            }
            bindings = bindings.bind(name, view);
        }
        let plan = graph.plan(&context.gpu, &bindings).map_err(failure)?;
        let restored = RgbImage::new(width, height);
        Ok(Self { timer: Timer::new(context), trouble: device.trouble.clone(), plan, frames, parent, side, before: None, restored })
    }

    /// The next frame, four bytes a pixel.
    pub async fn frame(&mut self, pixels: Vec<u8>) -> Result<Compressed, JsError> {
        let (width, height) = self.restored.dimensions();
        let frame = image::RgbaImage::from_raw(width, height, pixels).ok_or_else(|| JsError::new("the frame has too few bytes"))?;
        let frame = DynamicImage::from(frame).into_rgb8();
        let count = (width / self.side * (height / self.side)) as usize;
        let failure = |error: Error| self.trouble.failure(&error);
        let (parent, time) = match &self.before {
            None => ((0..count as u32).collect::<Vec<_>>(), 0.0),
            Some(before) => {
                let pixels = before.pixels().chain(frame.pixels());
                let numbers: Vec<_> = pixels.flat_map(|p| p.0.map(|c| f32::from(c) / 255.0).into_iter().chain([1.0])).collect();
                let context = &self.timer.context;
                context.queue.write_buffer(self.frames.buffer(), 0, HostTensor::f32([numbers.len() as u32], numbers).bytes());
                let time = self.timer.pass(1, |pass| self.plan.record(pass)).await.map_err(failure)?;
                let parent = context.download(&self.parent).await.map_err(failure)?;
                (parent.integers()[count..].to_vec(), time.as_secs_f64())
            }
        };
        if let Some(trouble) = self.trouble.take() {
            return Err(JsError::new(&trouble));
        }
        let columns = width / self.side;
        for (x, y, pixel) in self.restored.enumerate_pixels_mut() {
            if parent[(y / self.side * columns + x / self.side) as usize] != NONE {
                *pixel = *frame.get_pixel(x, y);
            }
        }
        let seen = Compressed {
            width,
            height,
            columns,
            rows: height / self.side,
            before: count as u32,
            after: parent.iter().filter(|token| **token != NONE).count() as u32,
            psnr: psnr(mean_squared_error(&frame, &self.restored)),
            milliseconds: time * 1e3,
            clock: self.timer.clock().to_owned(),
            dispatches: self.plan.dispatches() as u32,
            regions: opaque(regions(&frame, columns, &parent)),
            restored: opaque(self.restored.clone()),
        };
        self.before = Some(frame);
        Ok(seen)
    }
}
