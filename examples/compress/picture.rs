//! Photos in, pictures out.

use std::collections::HashSet;
use std::path::Path;

use image::{DynamicImage, Rgb, RgbImage, imageops};

use crate::photo::{open, regions, shipped};

/// Numbers of a pixel.
pub(crate) const CHANNELS: u32 = 4;

/// The fourth number of every pixel. Without it, similarity of directions would take a dark patch and a very dark
/// one for the same.
const CONSTANT: f32 = 2.0;

/// A photo cut to whole patches, as numbers of mean 0 and deviation 1 in each colour.
pub(crate) struct Photo {
    pub(crate) image: RgbImage,
    mean: [f32; 3],
    deviation: [f32; 3],
}

impl Photo {
    /// [`Photo::new`] of a file, or of the shipped photo.
    pub(crate) fn read(path: Option<&Path>, size: u32, patch: u32) -> Result<Self, String> {
        let image = match path {
            None => shipped()?,
            Some(path) => open(path)?,
        };
        Self::new(image, size, patch)
    }

    /// Makes the longer side `size` at most, and cuts the image to whole patches.
    pub(crate) fn new(image: DynamicImage, size: u32, patch: u32) -> Result<Self, String> {
        let image = if image.width().max(image.height()) > size { image.resize(size, size, imageops::FilterType::Triangle) } else { image };
        let (width, height) = (image.width() - image.width() % patch, image.height() - image.height() % patch);
        if width == 0 || height == 0 {
            let (w, h) = (image.width(), image.height());
            return Err(format!("a patch of {patch} x {patch} is larger than the image of {w} x {h}"));
        }
        let (left, top) = ((image.width() - width) / 2, (image.height() - height) / 2);
        let image = imageops::crop_imm(&image.to_rgb8(), left, top, width, height).to_image();
        let (mut mean, mut deviation) = ([0.0; 3], [0.0; 3]);
        for channel in 0..3 {
            let values = || image.pixels().map(|p| f64::from(p.0[channel]));
            let count = f64::from(width * height);
            let average = values().sum::<f64>() / count;
            let variance = values().map(|v| (v - average).powi(2)).sum::<f64>() / count;
            // A colour that does not vary is 0 throughout.
            (mean[channel], deviation[channel]) = (average as f32, variance.sqrt().max(1.0) as f32);
        }
        Ok(Self { image, mean, deviation })
    }

    /// Rows of pixels, [`CHANNELS`] numbers each: the three colours, and [`CONSTANT`].
    pub(crate) fn normalized(&self) -> Vec<f32> {
        let colour = |p: &Rgb<u8>, c: usize| (f32::from(p.0[c]) - self.mean[c]) / self.deviation[c];
        self.image.pixels().flat_map(|p| [colour(p, 0), colour(p, 1), colour(p, 2), CONSTANT]).collect()
    }

    /// The image of such numbers.
    pub(crate) fn denormalized(&self, values: &[f32]) -> RgbImage {
        let mut image = RgbImage::new(self.image.width(), self.image.height());
        for (pixel, value) in image.pixels_mut().zip(values.chunks(CHANNELS as usize)) {
            // `as` saturates; a NaN becomes 0.
            *pixel = Rgb([0, 1, 2].map(|c| (value[c] * self.deviation[c] + self.mean[c]).round() as u8));
        }
        image
    }
}

/// Mean squared difference of two images, in levels of 255.
pub(crate) fn mean_squared_error(a: &RgbImage, b: &RgbImage) -> f64 {
    let sum: f64 = a.as_raw().iter().zip(b.as_raw()).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    sum / a.as_raw().len() as f64
}

/// Peak signal to noise in decibels; `None` of images that are equal.
pub(crate) fn psnr(error: f64) -> Option<f64> {
    (error > 0.0).then(|| 10.0 * (255.0 * 255.0 / error).log10())
}

/// How many tokens are left, by the token of each patch.
pub(crate) fn tokens(parent: &[u32]) -> usize {
    parent.iter().filter(|p| **p != tokenpress::NONE).collect::<HashSet<_>>().len()
}

/// The photo with the regions that became one token drawn over it, and the reconstruction, both enlarged where they are small.
pub(crate) fn panels(photo: &RgbImage, restored: &RgbImage, columns: u32, parent: &[u32]) -> [RgbImage; 2] {
    let scale = 1200u32.div_ceil(2 * photo.width()).clamp(1, 8);
    let enlarge = |image: &RgbImage| imageops::resize(image, image.width() * scale, image.height() * scale, imageops::FilterType::Nearest);
    [regions(&enlarge(photo), columns, parent), enlarge(restored)]
}

/// The [`panels`] beside each other.
pub(crate) fn side_by_side(photo: &RgbImage, restored: &RgbImage, columns: u32, parent: &[u32]) -> RgbImage {
    let [left, right] = panels(photo, restored, columns, parent);
    let gap = 12;
    let mut picture = RgbImage::from_pixel(left.width() + gap + right.width(), left.height(), Rgb([255; 3]));
    imageops::replace(&mut picture, &left, 0, 0);
    imageops::replace(&mut picture, &right, i64::from(left.width() + gap), 0);
    picture
}
