//! The first tab: a photo's tokens, compressed.

use std::time::Duration;

use image::{DynamicImage, RgbImage, RgbaImage};
use serde::Serialize;
use tokenpress::{Bindings, HostTensor};
use wasm_bindgen::prelude::*;

use crate::chain::{Wish, build, chain, stages};
use crate::device::Device;
use crate::harness::timer::Timer;
use crate::methods::{Layout, METHODS, Method, Patches};
use crate::picture::{CHANNELS, Photo, mean_squared_error, panels, psnr, tokens};

/// Longer side of a photo; a larger one is reduced.
const SIZE: u32 = 768;

/// What is timed.
const SAMPLE: Duration = Duration::from_millis(5);

/// What became of a photo.
#[wasm_bindgen(getter_with_clone)]
pub struct Compressed {
    /// Of both pictures.
    pub width: u32,
    pub height: u32,
    pub columns: u32,
    pub rows: u32,
    pub before: u32,
    pub after: u32,
    /// Decibels; none where nothing is lost.
    pub psnr: Option<f64>,
    /// What a run takes.
    pub milliseconds: f64,
    /// By which clock.
    pub clock: String,
    pub dispatches: u32,
    /// The photo with the regions that became one token: red, green, blue and opacity of each pixel.
    pub regions: Vec<u8>,
    /// What can be made of the tokens that are left.
    pub restored: Vec<u8>,
}

/// A method as the page offers it.
#[derive(Serialize)]
struct Offer {
    name: &'static str,
    about: &'static str,
    /// Whether it leaves the share that is asked for.
    shares: bool,
    /// Whether that share can only be 1, 1/4, 1/9 and so on.
    squares: bool,
}

/// The methods, as JSON: name, what it does, and whether it leaves the share that is asked for, and which.
#[wasm_bindgen]
pub fn methods() -> Result<String, JsError> {
    let grid = Layout::grid(12, 12);
    let leaves = |method: &Method, share: f64| (method.left)(grid, share).is_ok();
    let offer = |m: &Method| Offer { name: m.name, about: m.about, shares: m.shares, squares: leaves(m, 0.25) && !leaves(m, 0.3) };
    let offers: Vec<_> = METHODS.iter().map(offer).collect();
    crate::json(&offers)
}

#[wasm_bindgen]
impl Device {
    /// Compresses a photo, four bytes a pixel, by a chain of methods that leave this share of the patches.
    pub async fn compress(
        &self,
        pixels: Vec<u8>,
        width: u32,
        height: u32,
        method: String,
        keep: Option<f64>,
        patch: u32,
    ) -> Result<Compressed, JsError> {
        let said = |text: String| JsError::new(&text);
        let image = RgbaImage::from_raw(width, height, pixels).ok_or_else(|| JsError::new("the photo has too few bytes"))?;
        let photo = Photo::new(DynamicImage::from(image).to_rgb8().into(), SIZE, patch).map_err(said)?;
        let (width, height) = photo.image.dimensions();
        let patches = Patches { rows: height / patch, columns: width / patch };
        let wish = Wish { keep, merge: None, patch, layers: 12, width: None };
        let stages = stages(&wish, &chain(&method).map_err(said)?, patches).map_err(said)?;
        let failure = |error| self.failure(error);
        let graph = build(&wish, &stages, patches).map_err(failure)?;

        let context = self.context();
        let input = HostTensor::f32([1, height, width, CHANNELS], photo.normalized());
        let [parent, restored] = ["parent", "restored"].map(|name| {
            let desc = graph.outputs().find(|(output, _)| *output == name).map(|(_, desc)| desc);
            desc.map(|desc| context.empty(desc)).ok_or_else(|| JsError::new("the graph lacks an output"))
        });
        let (parent, restored) = (parent?, restored?);
        let mut bindings = Bindings::new();
        for (name, desc) in graph.outputs() {
            let view = match name {
                "parent" => parent.clone(),
                "restored" => restored.clone(),
                _ => context.empty(desc),
            };
            bindings = bindings.bind(name, view);
        }
        let plan = graph.plan(&context.gpu, &bindings.bind("photo", context.upload(&input))).map_err(failure)?;
        let timer = Timer::new(context);
        // The first run makes the pipelines.
        timer.time(&[&plan], 1).await.map_err(failure)?;
        let mut time = timer.time(&[&plan], 1).await.map_err(failure)?;
        // A browser's clock is coarse: so many runs are timed that it does not matter.
        if time < SAMPLE {
            let runs = timer.filling(&[&plan], SAMPLE).await.map_err(failure)?;
            time = timer.time(&[&plan], runs).await.map_err(failure)?.div_f64(runs as f64);
        }
        let parent = timer.context.download(&parent).await.map_err(failure)?;
        let restored = timer.context.download(&restored).await.map_err(failure)?;
        if let Some(trouble) = self.trouble() {
            return Err(JsError::new(&trouble));
        }
        let restored = photo.denormalized(&restored.floats());
        let [drawn, shown] = panels(&photo.image, &restored, patches.columns, parent.integers());
        Ok(Compressed {
            width: drawn.width(),
            height: drawn.height(),
            columns: patches.columns,
            rows: patches.rows,
            before: patches.columns * patches.rows,
            after: tokens(parent.integers()) as u32,
            psnr: psnr(mean_squared_error(&photo.image, &restored)),
            milliseconds: time.as_secs_f64() * 1e3,
            clock: timer.clock().to_owned(),
            dispatches: plan.dispatches() as u32,
            regions: opaque(drawn),
            restored: opaque(shown),
        })
    }
}

/// As a canvas takes pixels.
pub(crate) fn opaque(image: RgbImage) -> Vec<u8> {
    DynamicImage::from(image).into_rgba8().into_raw()
}
