//! An image resized, normalized and cut into patches.

use crate::compare::{EPSILON_F32, storage_error};
use crate::reference::Axis;
use crate::tensor::Elem;

/// How an image is resized.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Sampling {
    /// The pixel at `floor((i + 1/2) n / outputs)`: PyTorch's `nearest-exact`.
    Nearest,
    /// Between the two pixels at each side of `(i + 1/2) n / outputs - 1/2`: PyTorch's `bilinear` without aligned corners.
    Bilinear,
    /// The same with wider windows where the image becomes smaller: PyTorch's `antialias=True`, and what Pillow and image processors do.
    #[default]
    Antialiased,
}

/// A batch of images, and how they become patches.
#[derive(Debug, Clone, Copy)]
pub struct Cut<'a> {
    /// `[batch, size[0], size[1], channels]`.
    pub image: &'a [f32],
    /// Images.
    pub batch: usize,
    /// Rows and columns.
    pub size: [u32; 2],
    /// Numbers of a pixel.
    pub channels: usize,
    /// Rows and columns after resizing.
    pub resized: [u32; 2],
    /// How it is resized.
    pub sampling: Sampling,
    /// Rows and columns before the resized image.
    pub offset: [u32; 2],
    /// Rows and columns of patches.
    pub grid: [u32; 2],
    /// Rows and columns of a patch.
    pub patch: [u32; 2],
    /// For each channel of a patch: channel of the image, mean, deviation, and what stands where there is no image.
    pub outputs: &'a [(u32, f32, f32, f32)],
    /// Whether the channels of a patch are its outermost dimension, and not its innermost.
    pub channel_first: bool,
}

impl Cut<'_> {
    /// The pixels of an axis that make pixel i of the resized image, with weights that add up to 1.
    fn window(&self, axis: usize, i: u32) -> Vec<(usize, f64)> {
        let (n, outputs) = (self.size[axis], self.resized[axis]);
        let mut window = match self.sampling {
            Sampling::Nearest => vec![(((2 * u64::from(i) + 1) * u64::from(n) / (2 * u64::from(outputs))) as usize, 1.0)],
            Sampling::Bilinear => Axis::Linear { outputs }.window(i, n),
            Sampling::Antialiased => Axis::Antialiased { outputs }.window(i, n),
        };
        let total: f64 = window.iter().map(|(_, weight)| weight).sum();
        window.iter_mut().for_each(|(_, weight)| *weight /= total);
        window
    }

    /// `f` of the weighted pixels and the channel of each number of each patch; of no pixels where there is no image.
    fn each<T>(&self, mut f: impl FnMut(&[(f64, f64)], usize) -> T) -> Vec<T> {
        let windows: [Vec<_>; 2] = std::array::from_fn(|axis| (0..self.resized[axis]).map(|i| self.window(axis, i)).collect());
        let mut all = Vec::new();
        let [height, width] = self.patch;
        let pixels: Vec<_> = (0..height).flat_map(|dy| (0..width).map(move |dx| (dy, dx))).collect();
        let channels = 0..self.outputs.len();
        let numbers: Vec<_> = if self.channel_first {
            channels.flat_map(|c| pixels.iter().map(move |pixel| (*pixel, c))).collect()
        } else {
            pixels.iter().flat_map(|pixel| channels.clone().map(move |c| (*pixel, c))).collect()
        };
        for b in 0..self.batch {
            for (i, j) in (0..self.grid[0]).flat_map(|i| (0..self.grid[1]).map(move |j| (i, j))) {
                for &((dy, dx), c) in &numbers {
                    let at = |axis: usize, place: u32| {
                        place
                            .checked_sub(self.offset[axis])
                            .filter(|place| *place < self.resized[axis])
                            .map(|place| &windows[axis][place as usize])
                    };
                    let mut terms = Vec::new();
                    if let (Some(down), Some(across)) = (at(0, i * height + dy), at(1, j * width + dx)) {
                        for (y, weight) in down {
                            for (x, weight_x) in across {
                                let texel = (b * self.size[0] as usize + y) * self.size[1] as usize + x;
                                let value = self.image[texel * self.channels + self.outputs[c].0 as usize];
                                terms.push((weight * weight_x, f64::from(value)));
                            }
                        }
                    }
                    all.push(f(&terms, c));
                }
            }
        }
        all
    }

    /// The number that these pixels make.
    fn value(&self, terms: &[(f64, f64)], c: usize) -> f64 {
        let (_, mean, deviation, fill) = self.outputs[c];
        let pixel = if terms.is_empty() { f64::from(fill) } else { terms.iter().map(|(weight, x)| weight * x).sum() };
        (pixel - f64::from(mean)) / f64::from(deviation)
    }
}

/// Every number of every patch.
pub fn patches(cut: &Cut<'_>) -> Vec<f64> {
    cut.each(|terms, c| cut.value(terms, c))
}

/// How far [`patches`] in f32, stored as `elem`, may be from the reference.
///
/// For n pixels: a weight is a quotient of whole numbers and, antialiased, of a sum of them: at most `n + 12 eps` on each axis. Products and
/// the sum add `n + 3 eps`. The mean adds `eps` of what is subtracted, and the division `5 eps`. A denormal number may be flushed to 0.
pub fn patches_bound(cut: &Cut<'_>, elem: Elem) -> Vec<f64> {
    cut.each(|terms, c| {
        let (_, mean, deviation, fill) = cut.outputs[c];
        let magnitude: f64 =
            terms.iter().map(|(weight, x)| (weight * x).abs()).sum::<f64>().max(if terms.is_empty() { fill.abs().into() } else { 0.0 });
        if !magnitude.is_finite() {
            return 0.0;
        }
        let n = terms.len() as f64;
        let pixel = (3.0 * n + 30.0) * EPSILON_F32 * magnitude + (2.0 * n + 2.0) * f64::from(f32::MIN_POSITIVE);
        let difference = pixel + 2.0 * EPSILON_F32 * (magnitude + f64::from(mean.abs()));
        let deviation = f64::from(deviation);
        let value = cut.value(terms, c).abs();
        let error = difference / deviation + 6.0 * EPSILON_F32 * value + f64::from(f32::MIN_POSITIVE);
        error + storage_error(elem, value + error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[(u32, f32, f32, f32)] = &[(0, 0.0, 1.0, 9.0)];

    fn cut(image: &[f32], size: [u32; 2]) -> Cut<'_> {
        let (sampling, offset) = (Sampling::Antialiased, [0, 0]);
        let (grid, patch) = ([1, 1], size);
        Cut { image, batch: 1, size, channels: 1, resized: size, sampling, offset, grid, patch, outputs: PLAIN, channel_first: false }
    }

    #[test]
    fn an_image_of_its_own_size_is_cut() {
        let image: Vec<f32> = (0..8).map(|i| i as f32).collect();
        for sampling in [Sampling::Nearest, Sampling::Bilinear, Sampling::Antialiased] {
            let two = Cut { sampling, grid: [1, 2], patch: [2, 2], ..cut(&image, [2, 4]) };
            assert_eq!(patches(&two), [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
        }
        // Past the image stands the fill.
        let three = Cut { grid: [1, 2], patch: [2, 3], ..cut(&image, [2, 4]) };
        assert_eq!(patches(&three), [0.0, 1.0, 2.0, 4.0, 5.0, 6.0, 3.0, 9.0, 9.0, 7.0, 9.0, 9.0]);
    }

    #[test]
    fn channels_are_chosen_normalized_and_ordered() {
        // Two pixels of three channels, as blue, green, red.
        let image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let outputs = [(2, 1.0, 2.0, 0.0), (1, 0.0, 1.0, 0.0), (0, 0.0, 0.5, 0.0)];
        let inner = Cut { channels: 3, outputs: &outputs, ..cut(&image, [1, 2]) };
        assert_eq!(patches(&inner), [1.0, 2.0, 2.0, 2.5, 5.0, 8.0]);
        assert_eq!(patches(&Cut { channel_first: true, ..inner }), [1.0, 2.5, 2.0, 5.0, 2.0, 8.0]);
    }

    #[test]
    fn sizes_change_as_pytorch_has_it() {
        let image = [1.0, 5.0, 2.0, 8.0];
        let to = |sampling, outputs| {
            let cut = Cut { sampling, resized: [1, outputs], patch: [1, outputs], ..cut(&image, [1, 4]) };
            patches(&cut)
        };
        // torch.nn.functional.interpolate of [1, 5, 2, 8], size 2 and 3.
        assert_eq!(to(Sampling::Nearest, 2), [5.0, 8.0]);
        assert_eq!(to(Sampling::Bilinear, 2), [3.0, 5.0]);
        let smooth = to(Sampling::Antialiased, 2);
        let expected = [(0.75 + 0.75 * 5.0 + 0.25 * 2.0) / 1.75, (0.25 * 5.0 + 0.75 * 2.0 + 0.75 * 8.0) / 1.75];
        smooth.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-12));
    }
}
