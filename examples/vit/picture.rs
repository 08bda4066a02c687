//! Photos in, pictures out.

use std::path::Path;

use image::{Rgb, RgbImage, imageops};
use tokenpress::HostTensor;

use crate::photo::{open, regions, shipped};

/// Of the photos that the model was trained on: means and deviations of red, green and blue.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// The largest square in the middle of a photo, or of the shipped one, at `size` x `size` pixels.
pub(crate) fn read(path: Option<&Path>, size: u32) -> Result<RgbImage, String> {
    let image = path.map_or_else(shipped, open)?;
    let side = image.width().min(image.height());
    let (left, top) = ((image.width() - side) / 2, (image.height() - side) / 2);
    Ok(image.crop_imm(left, top, side, side).resize_exact(size, size, imageops::FilterType::Triangle).to_rgb8())
}

/// What the model reads: `[1, size, size, 3]`.
pub(crate) fn normalized(image: &RgbImage) -> HostTensor {
    let colours = |pixel: &Rgb<u8>| [0, 1, 2].map(|c| (f32::from(pixel.0[c]) / 255.0 - MEAN[c]) / DEVIATION[c]);
    HostTensor::f32([1, image.height(), image.width(), 3], image.pixels().flat_map(colours).collect())
}

/// In rows of four: the photo, what is salient in it, the same after compression and their difference; then the photo for
/// each layer that compresses, with a line around the patches that are one token and dropped patches darkened.
pub(crate) fn draw(photo: &RgbImage, grid: u32, saliency: [&[f32]; 2], parents: &[Vec<u32>]) -> RgbImage {
    let scale = 448u32.div_ceil(photo.width());
    let large = imageops::resize(photo, photo.width() * scale, photo.height() * scale, imageops::FilterType::Triangle);
    let enlarge = |image: &RgbImage| imageops::resize(image, large.width(), large.height(), imageops::FilterType::Triangle);
    let [whole, compressed] = saliency;
    let difference: Vec<f32> = whole.iter().zip(compressed).map(|(a, b)| (a - b).abs()).collect();
    let mut panels = vec![large.clone(), enlarge(&lit(photo, whole))];
    if !parents.is_empty() {
        panels.extend([enlarge(&lit(photo, compressed)), enlarge(&gray(photo, &difference))]);
    }
    panels.extend(parents.iter().map(|parent| regions(&large, grid, &parent[1..])));
    let (width, gap) = (large.width(), 12);
    let (columns, rows) = (panels.len().min(4) as u32, panels.len().div_ceil(4) as u32);
    let mut picture = RgbImage::from_pixel(columns * (width + gap) - gap, rows * (width + gap) - gap, Rgb([255; 3]));
    for (index, panel) in panels.iter().enumerate() {
        let at = |i: usize| i as i64 * i64::from(width + gap);
        imageops::replace(&mut picture, panel, at(index % 4), at(index / 4));
    }
    picture
}

/// The photo as bright as it is salient.
fn lit(photo: &RgbImage, saliency: &[f32]) -> RgbImage {
    let mut lit = photo.clone();
    for (pixel, value) in lit.pixels_mut().zip(saliency) {
        *pixel = Rgb(pixel.0.map(|c| (f32::from(c) * (0.15 + 0.85 * value)) as u8));
    }
    lit
}

fn gray(photo: &RgbImage, values: &[f32]) -> RgbImage {
    let mut gray = photo.clone();
    for (pixel, value) in gray.pixels_mut().zip(values) {
        *pixel = Rgb([(value * 255.0) as u8; 3]);
    }
    gray
}
