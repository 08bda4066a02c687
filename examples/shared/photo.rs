//! What the examples share: photos, and the patches drawn over them.

use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader, Rgb, RgbImage};
use tokenpress::NONE;

/// The photo that comes with tokenpress.
pub(crate) fn shipped() -> Result<DynamicImage, String> {
    image::load_from_memory(include_bytes!("../../assets/coffee.jpg")).map_err(|e| e.to_string())
}

/// A PNG or JPEG file, turned as its camera was.
pub(crate) fn open(path: &Path) -> Result<DynamicImage, String> {
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

/// Dropped patches darkened, a line around every region. `parent` has the token of each patch, in rows of `columns`.
pub(crate) fn regions(photo: &RgbImage, columns: u32, parent: &[u32]) -> RgbImage {
    let side = photo.width() / columns;
    let at = |x: u32, y: u32| parent[(y / side * columns + x / side) as usize];
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
