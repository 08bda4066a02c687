//! AveragePool and MaxPool. A channel is a batch row, so that nothing moves. Three dimensions are two calls: over the last two, and then
//! over the first with the others as channels.

use libtest_mimic::Failed;
use tokenpress::kernels::{Pool, Windows};

use crate::test::{Asked, Test};

pub fn pool(test: &Test, asked: &mut Asked) -> Result<(), Failed> {
    let dims = test.input(0)?.dims.clone();
    let places = &dims[2..];
    let axes = places.len();
    let size = test.integers("kernel_shape").ok_or("no kernel_shape")?;
    let stride = test.integers("strides").unwrap_or(vec![1; axes]);
    let dilation = test.integers("dilations").unwrap_or(vec![1; axes]);
    let padding = test.integers("pads").unwrap_or(vec![0; 2 * axes]);
    if padding.iter().any(|p| *p > 0) || test.text("auto_pad", "NOTSET").starts_with("SAME") {
        return Err("padding".into());
    }
    if dilation.iter().any(|d| *d > 1) {
        return Err("dilation".into());
    }
    let windows = |i: usize, axes: usize| {
        let pair = |list: &[u32]| if axes == 2 { [list[i], list[i + 1]] } else { [1, list[i]] };
        let windows = Windows::Strided { size: pair(&size), stride: pair(&stride), partial: test.flag("ceil_mode") };
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
