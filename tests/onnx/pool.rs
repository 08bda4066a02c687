//! AveragePool and MaxPool. A channel is a batch row, so that nothing moves. Three dimensions are two calls: over the last two, and then
//! over the first with the others as channels.

use libtest_mimic::Failed;
use tokenpress::kernels::{PaddedWindows, Pool, Windows};

use crate::test::{Asked, Test};

pub fn pool(test: &Test, asked: &mut Asked) -> Result<(), Failed> {
    let dims = test.input(0)?.dims.clone();
    let places = &dims[2..];
    let axes = places.len();
    let size = test.integers("kernel_shape").ok_or("no kernel_shape")?;
    let stride = test.integers("strides").unwrap_or(vec![1; axes]);
    let dilation = test.integers("dilations").unwrap_or(vec![1; axes]);
    let padding = padding(test, &size, &stride, places);
    let windows = |first: usize, axes: usize| {
        let pair = |list: &[u32], other: u32| if axes == 2 { [list[first], list[first + 1]] } else { [other, list[first]] };
        let windows = Windows::Padded(PaddedWindows {
            size: pair(&size, 1),
            stride: pair(&stride, 1),
            dilation: pair(&dilation, 1),
            before: pair(&padding, 0),
            after: pair(&padding[places.len()..], 0),
            partial: test.flag("ceil_mode"),
            count_padding: test.flag("count_include_pad"),
        });
        if test.operator == "MaxPool" { Pool::Max(windows) } else { Pool::Average(windows) }
    };
    let rows = dims[0] * dims[1];
    let y = match *places {
        [w] => {
            let x = asked.input(test, 0, &[rows, w, 1])?;
            windows(0, 1).build(&mut asked.graph, x, [1, w], None)?
        }
        [h, w] => {
            let x = asked.input(test, 0, &[rows, h * w, 1])?;
            windows(0, 2).build(&mut asked.graph, x, [h, w], None)?
        }
        [d, h, w] => {
            let x = asked.input(test, 0, &[rows * d, h * w, 1])?;
            let planes = windows(1, 2).build(&mut asked.graph, x, [h, w], None)?;
            let channels = planes.shape().dims()[1];
            let planes = asked.graph.reshape(planes, [rows, d, channels])?;
            windows(0, 1).build(&mut asked.graph, planes, [1, d], None)?
        }
        _ => return Err("one, two or three dimensions".into()),
    };
    asked.output(test, 0, y)
}

/// Padding before each axis, and then after each.
fn padding(test: &Test, size: &[u32], stride: &[u32], places: &[u32]) -> Vec<u32> {
    let needed = |i: usize| ((places[i].div_ceil(stride[i]) - 1) * stride[i] + size[i]).saturating_sub(places[i]);
    let axes = 0..places.len();
    match test.text("auto_pad", "NOTSET") {
        "SAME_UPPER" => axes.clone().map(|i| needed(i) / 2).chain(axes.map(|i| needed(i).div_ceil(2))).collect(),
        "SAME_LOWER" => axes.clone().map(|i| needed(i).div_ceil(2)).chain(axes.map(|i| needed(i) / 2)).collect(),
        _ => test.integers("pads").unwrap_or(vec![0; 2 * places.len()]),
    }
}
