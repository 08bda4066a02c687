//! Resize. Nearest neighbours are a gather by constant indices. The others are linear maps from the places of an image to those of another:
//! a linear layer whose weight is that matrix, as exporters write it for embeddings of positions. Where [`Pool`] has the same definition it
//! is asked for.

use libtest_mimic::Failed;
use tokenpress::HostTensor;
use tokenpress::kernels::{Pool, gather_rows, linear};

use crate::rows::constant_list;
use crate::test::{Asked, Test};

/// One axis of an image.
struct Axis {
    from: u32,
    to: u32,
    scale: f64,
    /// Begin and end of the region, in parts of the axis.
    region: [f64; 2],
}

/// The axes that are resized, the last two.
fn axes(test: &Test) -> Result<[Axis; 2], Failed> {
    let dims = &test.input(0)?.dims;
    let listed: Vec<usize> = test.integers("axes").map_or((0..4).collect(), |axes| axes.iter().map(|a| *a as usize).collect());
    let place = |axis: usize| listed.iter().position(|a| *a == axis).ok_or("an axis that is not listed");
    let (scales, sizes) = (test.optional(2), test.optional(3));
    let mut axes = Vec::new();
    for axis in [2, 3] {
        let from = dims[axis];
        let place = place(axis)?;
        let (to, scale) = match (scales, sizes) {
            (Some(scales), None) => ((scales.numbers[place] * f64::from(from)).floor() as u32, scales.numbers[place]),
            (None, Some(sizes)) => (sizes.numbers[place] as u32, sizes.numbers[place] / f64::from(from)),
            _ => return Err("scales or sizes".into()),
        };
        let region = test.optional(1).map_or([0.0, 1.0], |roi| [roi.numbers[place], roi.numbers[listed.len() + place]]);
        axes.push(Axis { from, to, scale, region });
    }
    let scale = match test.text("keep_aspect_ratio_policy", "stretch") {
        "not_larger" => Some(axes[0].scale.min(axes[1].scale)),
        "not_smaller" => Some(axes[0].scale.max(axes[1].scale)),
        _ => None,
    };
    if let Some(scale) = scale {
        axes.iter_mut().for_each(|axis| (axis.scale, axis.to) = (scale, (scale * f64::from(axis.from) + 0.5).floor() as u32));
    }
    axes.try_into().map_err(|_| "two axes".into())
}

impl Axis {
    /// Where output i lies among the places.
    fn position(&self, test: &Test, i: u32) -> Result<f64, Failed> {
        let (i, from, to) = (f64::from(i), f64::from(self.from), f64::from(self.from) * self.scale);
        let half_pixel = (i + 0.5) / self.scale - 0.5;
        Ok(match test.text("coordinate_transformation_mode", "half_pixel") {
            "half_pixel" => half_pixel,
            "half_pixel_symmetric" => from / 2.0 * (1.0 - f64::from(self.to) / to) + half_pixel,
            "pytorch_half_pixel" => {
                if to > 1.0 {
                    half_pixel
                } else {
                    -0.5
                }
            }
            "align_corners" => {
                if to == 1.0 {
                    0.0
                } else {
                    i * (from - 1.0) / (to - 1.0)
                }
            }
            "asymmetric" => i / self.scale,
            "tf_crop_and_resize" => {
                let [begin, end] = self.region;
                (begin + if to == 1.0 { (end - begin) / 2.0 } else { i * (end - begin) / (to - 1.0) }) * (from - 1.0)
            }
            other => return Err(format!("the positions {other}").into()),
        })
    }

    /// The nearest place to output i.
    fn nearest(&self, test: &Test, i: u32) -> Result<u32, Failed> {
        let position = self.position(test, i)?;
        let nearest = match test.text("nearest_mode", "round_prefer_floor") {
            "floor" => position.floor(),
            "ceil" => position.ceil(),
            "round_prefer_ceil" => (position + 0.5).floor(),
            _ => (position - 0.5).ceil(),
        };
        Ok(nearest.clamp(0.0, f64::from(self.from - 1)) as u32)
    }

    /// The weights of the places for output i, and what is added.
    fn weights(&self, test: &Test, i: u32) -> Result<(Vec<f64>, f64), Failed> {
        let position = self.position(test, i)?;
        let last = f64::from(self.from - 1);
        if test.text("coordinate_transformation_mode", "") == "tf_crop_and_resize" && !(0.0..=last).contains(&position) {
            return Ok((vec![0.0; self.from as usize], test.float("extrapolation_value").unwrap_or(0.0)));
        }
        let shrunk = if test.flag("antialias") { self.scale.min(1.0) } else { 1.0 };
        let a = test.float("cubic_coeff_a").unwrap_or(-0.75);
        let cubic = test.text("mode", "nearest") == "cubic";
        let filter = |x: f64| match (cubic, x.abs()) {
            (false, x) => (1.0 - x).max(0.0),
            (true, x) if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            (true, x) if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
            _ => 0.0,
        };
        let reach = ((if cubic { 2.0 } else { 1.0 }) / shrunk).ceil() as i64 + 1;
        let (mut weights, mut sum) = (vec![0.0; self.from as usize], 0.0);
        for place in position.floor() as i64 - reach..=position.floor() as i64 + reach {
            let inside = place.clamp(0, i64::from(self.from) - 1);
            if inside == place || !test.flag("exclude_outside") {
                let weight = filter((place as f64 - position) * shrunk);
                weights[inside as usize] += weight;
                sum += weight;
            }
        }
        Ok((weights.into_iter().map(|weight| weight / sum).collect(), 0.0))
    }
}

pub fn resize(test: &Test, asked: &mut Asked) -> Result<(), Failed> {
    let dims = test.input(0)?.dims.clone();
    let [down, across] = axes(test)?;
    let (planes, from, to) = (dims[0] * dims[1], down.from * across.from, down.to * across.to);
    let mode = test.text("mode", "nearest");
    let places = |axis: &Axis| (0..axis.to).map(|i| axis.nearest(test, i)).collect::<Result<Vec<_>, _>>();
    let y = if mode == "nearest" {
        let x = asked.input(test, 0, &[planes, from])?;
        let columns = places(&across)?;
        let index = places(&down)?.iter().flat_map(|row| columns.iter().map(move |column| row * across.from + column)).collect();
        let index = constant_list(asked, index);
        gather_rows(&mut asked.graph, x, index, None)?
    } else if let Some(pool) = pool(test, &[&down, &across]) {
        let x = asked.input(test, 0, &[planes, from, 1])?;
        pool.build(&mut asked.graph, x, [down.from, across.from], None)?
    } else {
        let x = asked.input(test, 0, &[planes, from])?;
        let (mut matrix, mut added) = (Vec::new(), Vec::new());
        for i in 0..down.to {
            let (rows, outside_down) = down.weights(test, i)?;
            for j in 0..across.to {
                let (columns, outside_across) = across.weights(test, j)?;
                matrix.extend(rows.iter().flat_map(|row| columns.iter().map(move |column| (row * column) as f32)));
                added.push(outside_down.max(outside_across) as f32);
            }
        }
        let weight = asked.graph.constant(HostTensor::f32([to, from], matrix));
        let bias = asked.graph.constant(HostTensor::f32([to], added));
        linear(&mut asked.graph, x, weight, Some(bias))?
    };
    asked.output(test, 0, y)
}

/// The interpolation that has the same definition, if one has. Antialiasing is another one here: what lies outside counts in ONNX, as if
/// the last place went on.
fn pool(test: &Test, [down, across]: &[&Axis; 2]) -> Option<Pool> {
    let outputs = [down.to, across.to];
    let whole = [down, across].iter().all(|axis| axis.scale * f64::from(axis.from) == f64::from(axis.to));
    if test.text("mode", "nearest") != "linear" || test.flag("antialias") || !whole {
        return None;
    }
    match test.text("coordinate_transformation_mode", "half_pixel") {
        "half_pixel" => Some(Pool::Bilinear(outputs)),
        "align_corners" => Some(Pool::BilinearAligned(outputs)),
        _ => None,
    }
}
