//! Photos in, pictures out.

use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader, Rgb, RgbImage, imageops};
use tokenpress::NONE;

use crate::methods::Patches;

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
    /// Reads a file, or the shipped photo; makes the longer side `size` at most, and cuts it to whole patches.
    pub(crate) fn read(path: Option<&Path>, size: u32, patch: u32) -> Result<Self, String> {
        let image = match path {
            None => image::load_from_memory(include_bytes!("../../assets/coffee.jpg")).map_err(|e| e.to_string())?,
            Some(path) => open(path)?,
        };
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

fn open(path: &Path) -> Result<DynamicImage, String> {
    let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let reader = ImageReader::open(path).map_err(unreadable)?.with_guessed_format().map_err(unreadable)?;
    let not_an_image = |error| match error {
        image::ImageError::Unsupported(_) => format!("{} is not a PNG or JPEG image", path.display()),
        error => format!("cannot read the image {}: {error}", path.display()),
    };
    let mut decoder = reader.into_decoder().map_err(not_an_image)?;
    let orientation = decoder.orientation().map_err(not_an_image)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(not_an_image)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Mean squared difference of two images, in levels of 255.
pub(crate) fn mean_squared_error(a: &RgbImage, b: &RgbImage) -> f64 {
    let sum: f64 = a.as_raw().iter().zip(b.as_raw()).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    sum / a.as_raw().len() as f64
}

/// The photo with the regions that became one token drawn over it, beside the reconstruction.
pub(crate) fn side_by_side(photo: &RgbImage, restored: &RgbImage, patches: Patches, parent: &[u32]) -> RgbImage {
    let scale = 1200u32.div_ceil(2 * photo.width()).clamp(1, 8);
    let enlarge = |image: &RgbImage| imageops::resize(image, image.width() * scale, image.height() * scale, imageops::FilterType::Nearest);
    let (left, right) = (regions(&enlarge(photo), patches, parent), enlarge(restored));
    let gap = 12;
    let mut picture = RgbImage::from_pixel(left.width() + gap + right.width(), left.height(), Rgb([255; 3]));
    imageops::replace(&mut picture, &left, 0, 0);
    imageops::replace(&mut picture, &right, i64::from(left.width() + gap), 0);
    picture
}

/// Dropped patches darkened, a line around every region.
fn regions(photo: &RgbImage, patches: Patches, parent: &[u32]) -> RgbImage {
    let side = photo.width() / patches.columns;
    let at = |x: u32, y: u32| parent[(y / side * patches.columns + x / side) as usize];
    let mut members = std::collections::HashMap::new();
    for p in parent {
        *members.entry(*p).or_insert(0u32) += 1;
    }
    let mut drawn = photo.clone();
    for (x, y, pixel) in drawn.enumerate_pixels_mut() {
        let own = at(x, y);
        if own == NONE {
            *pixel = blend(*pixel, [0; 3], 0.75);
            continue;
        }
        let reach = if members[&own] > 1 { 1 } else { 0 };
        let differs = |dx: i64, dy: i64| {
            let (x, y) = (i64::from(x) + dx, i64::from(y) + dy);
            let inside = x >= 0 && y >= 0 && x < i64::from(photo.width()) && y < i64::from(photo.height());
            inside && at(x as u32, y as u32) != own
        };
        let edge = (0..=reach).any(|d| [(1 + d, 0), (0, 1 + d), (-d, 0), (0, -d)].into_iter().any(|(dx, dy)| differs(dx, dy)));
        if edge {
            *pixel = if members[&own] > 1 { blend(*pixel, colour(own), 0.85) } else { blend(*pixel, [255; 3], 0.35) };
        }
    }
    drawn
}

fn blend(pixel: Rgb<u8>, colour: [u8; 3], share: f32) -> Rgb<u8> {
    Rgb([0, 1, 2].map(|c| (f32::from(pixel.0[c]) * (1.0 - share) + f32::from(colour[c]) * share) as u8))
}

/// A bright colour for a region: hues a golden ratio apart, so that near numbers differ.
fn colour(region: u32) -> [u8; 3] {
    let hue = (f64::from(region) * 0.618_033_988_749_895).fract() * 6.0;
    [5.0, 3.0, 1.0].map(|shift: f64| {
        let k = (shift + hue) % 6.0;
        (255.0 - 175.0 * k.min(4.0 - k).clamp(0.0, 1.0)) as u8
    })
}
