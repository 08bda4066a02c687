//! A score shown over an image.

use crate::compare::{EPSILON_F32, storage_error};
use crate::reference::Axis;
use crate::tensor::Elem;

/// A batch of images, and the scores over them.
#[derive(Debug, Clone, Copy)]
pub struct Heat<'a> {
    /// `[batch, size[0], size[1], channels]`.
    pub image: &'a [f32],
    /// `[batch, grid[0], grid[1]]`.
    pub scores: &'a [f32],
    /// Images.
    pub batch: usize,
    /// Rows and columns of an image.
    pub size: [u32; 2],
    /// Numbers of a pixel: 1, 3 or 4.
    pub channels: usize,
    /// Rows and columns of the scores.
    pub grid: [u32; 2],
    /// The scores that are black and white.
    pub range: [f32; 2],
    /// Part of the colour.
    pub strength: f32,
    /// Whether the scores are interpolated.
    pub smooth: bool,
}

impl Heat<'_> {
    /// Where a score lies in the range, from 0 to 1.
    fn share(&self, place: usize) -> f64 {
        let [low, high] = self.range.map(f64::from);
        let score = f64::from(self.scores[place]);
        if score.is_nan() { 0.0 } else { (score.clamp(low, high) - low) / (high - low) }
    }

    /// The colour's number of a channel.
    fn colour(&self, t: f64, channel: usize) -> f64 {
        if self.channels == 1 { t } else { (3.0 * t - channel as f64).clamp(0.0, 1.0) }
    }

    /// `f` of each number of each image, and of its colour's; none of alpha.
    fn each<T>(&self, mut f: impl FnMut(f64, Option<f64>) -> T) -> Vec<T> {
        let [rows, columns] = self.grid.map(|n| n as usize);
        let window = |axis: usize, i: u32| match self.smooth {
            true => Axis::Linear { outputs: self.size[axis] }.window(i, self.grid[axis]),
            false => vec![((u64::from(i) * u64::from(self.grid[axis]) / u64::from(self.size[axis])) as usize, 1.0)],
        };
        let mut all = Vec::new();
        for b in 0..self.batch {
            for (row, column) in (0..self.size[0]).flat_map(|row| (0..self.size[1]).map(move |column| (row, column))) {
                let across = window(1, column);
                let cells = window(0, row).into_iter().flat_map(|(y, weight)| across.iter().map(move |(x, by)| (y, *x, weight * by)));
                let t = cells.map(|(y, x, weight)| weight * self.share((b * rows + y) * columns + x)).sum();
                for c in 0..self.channels {
                    let x = f64::from(self.image[all.len()]);
                    all.push(f(x, (c < 3).then(|| self.colour(t, c))));
                }
            }
        }
        all
    }
}

/// Every number of every image.
pub fn heat_map(heat: &Heat<'_>) -> Vec<f64> {
    heat.each(|x, colour| colour.map_or(x, |colour| x + f64::from(heat.strength) * (colour - x)))
}

/// How far [`heat_map`] in f32, stored as `elem`, may be from the reference.
///
/// A share errs by `8 eps`, interpolated by `20 eps` more, and its colour by three times that. The blend adds `4 eps` of what it adds up. Alpha
/// is a copy.
pub fn heat_map_bound(heat: &Heat<'_>, elem: Elem) -> Vec<f64> {
    heat.each(|x, colour| match colour {
        Some(colour) if x.is_finite() => {
            let error = EPSILON_F32 * (100.0 * f64::from(heat.strength) + 4.0 * (x.abs() + colour)) + 4.0 * f64::from(f32::MIN_POSITIVE);
            error + storage_error(elem, x.abs() + colour + error)
        }
        _ => 0.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_scores() {
        let scores = [f32::NAN, 0.0, 1.0, 1.5, 2.0, 3.0, 4.0, f32::INFINITY];
        let heat = Heat {
            image: &[0.5; 32],
            scores: &scores,
            batch: 1,
            size: [1, 8],
            channels: 4,
            grid: [1, 8],
            range: [0.0, 3.0],
            strength: 1.0,
            smooth: false,
        };
        let shown = heat_map(&heat);
        let colours: Vec<_> = shown.chunks(4).map(|texel| [texel[0], texel[1], texel[2], texel[3]]).collect();
        let [black, red, yellow, white] = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0]].map(|[r, g]| [r, g, 0.0, 0.5]);
        let white = [1.0, white[1], 1.0, 0.5];
        let orange = [1.0, 0.5, 0.0, 0.5];
        assert_eq!(colours, [black, black, red, orange, yellow, white, white, white]);
        // Half of it over a grey image, two columns a cell, then between the cells.
        let grey = Heat { image: &[1.0; 4], scores: &[0.0, 3.0], size: [1, 4], channels: 1, grid: [1, 2], strength: 0.5, ..heat };
        assert_eq!(heat_map(&grey), [0.5, 0.5, 1.0, 1.0]);
        assert_eq!(heat_map(&Heat { smooth: true, ..grey }), [0.5, 0.625, 0.875, 1.0]);
    }
}
