//! Each row of a ragged batch against the row alone.

use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Error, Graph, HostTensor};

use super::cases::methods::{Method, graph, inputs};

/// Rows `0..rows` of batch row `b`, of those tensors that have such rows.
fn live(tensor: &HostTensor, batch: usize, b: usize, rows: usize) -> Vec<u8> {
    let bytes = tensor.bytes();
    let of_row = bytes.len() / batch;
    let dims = tensor.shape();
    let width = if dims.dims().len() > 1 && dims.dims()[1] > 0 { of_row / dims.dims()[1] as usize } else { of_row };
    let end = if dims.dims().len() > 1 { (rows * width).min(of_row) } else { of_row };
    bytes[b * of_row..b * of_row + end].to_vec()
}

/// The inputs' first `rows` tokens of batch row `b`, as a batch of one.
fn alone(inputs: &HostTensors, capacity: u32, b: usize, rows: u32) -> HostTensors {
    let mut single = HostTensors::new();
    for (name, tensor) in inputs.iter().filter(|(name, _)| *name != "lengths") {
        let values = tensor.floats();
        let dims = tensor.shape();
        let (heads, width) = match *dims.dims() {
            [_, _, channels] => (1, channels),
            [_, heads, _, channels] => (heads, channels),
            _ => unreachable!("tokens or heads of tokens"),
        };
        let mut kept = Vec::new();
        for head in 0..heads {
            let start = ((b as u32 * heads + head) * capacity * width) as usize;
            kept.extend_from_slice(&values[start..start + (rows * width) as usize]);
        }
        let value =
            if dims.dims().len() == 3 { HostTensor::f32([1, rows, width], kept) } else { HostTensor::f32([1, heads, rows, width], kept) };
        single.insert(name.clone(), value);
    }
    single
}

/// Whether bytes of floats say nearly the same; never of indices.
fn are_near(tensor: &HostTensor, a: &[u8], b: &[u8]) -> bool {
    let floats = |bytes: &[u8]| bytes.chunks_exact(4).map(|c| f32::from_ne_bytes([c[0], c[1], c[2], c[3]])).collect::<Vec<_>>();
    let near = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (a - b).abs() <= 1e-5 * (1.0 + a.abs());
    tensor.desc().elem == Elem::F32 && a.len() == b.len() && floats(a).iter().zip(&floats(b)).all(near)
}

/// NaN in place of every dead token: nothing may come of it.
fn spoil(given: &mut HostTensors, capacity: u32, lengths: &[u32]) {
    for tensor in given.values_mut() {
        let (shape, mut values) = (tensor.shape(), tensor.floats());
        let (heads, width) = match *shape.dims() {
            [_, heads, _, width] => (heads, width),
            ref dims => (1, dims[2]),
        };
        for (row, tokens) in values.chunks_mut((capacity * width) as usize).enumerate() {
            tokens[(lengths[row / heads as usize] * width) as usize..].fill(f32::NAN);
        }
        *tensor = HostTensor::f32(shape, values);
    }
}

/// Seeded data for a method's rows of at most `capacity` tokens.
pub struct Rows<'a> {
    pub seed: u64,
    pub capacity: u32,
    pub lengths: &'a [u32],
    pub values: fn(u64, usize) -> Vec<f32>,
}

/// The first output of which a row differs from what the row alone gives: bit for bit at the batch's capacity. At a capacity of the row's own
/// length sums may have another form's order, and floats are near. Methods that do not take rows of different lengths get full ones. A method
/// that refuses the capacity, or a row's length as one, is right for that row.
pub fn differing(
    method: &Method,
    rows: &Rows<'_>,
    run: impl Fn(&Graph, &HostTensors) -> Result<HostTensors, Error>,
) -> Result<Option<String>, Error> {
    let Rows { seed, capacity, values, .. } = *rows;
    let batch = rows.lengths.len();
    let lengths = if method.ragged { rows.lengths.to_vec() } else { vec![capacity; batch] };
    let batched = graph(method, batch as u32, capacity, Elem::F32, method.ragged)?;
    let mut given = inputs(seed, batch as u32, capacity, Elem::F32, values);
    if method.ragged {
        spoil(&mut given, capacity, &lengths);
        given.insert("lengths".into(), HostTensor::u32([batch as u32], lengths.clone()));
    }
    let together = run(&batched, &given)?;
    for (b, &rows) in lengths.iter().enumerate().filter(|(_, rows)| **rows > 0) {
        let single = graph(method, 1, rows, Elem::F32, false)?;
        let expected = run(&single, &alone(&given, capacity, b, rows))?;
        let padded = || {
            let graph = graph(method, 1, capacity, Elem::F32, method.ragged)?;
            let mut given = alone(&given, capacity, b, capacity);
            if method.ragged {
                given.insert("lengths".into(), HostTensor::u32([1], vec![rows]));
            }
            run(&graph, &given)
        };
        let left = expected.get("lengths'").map_or(rows, |l| l.integers()[0]) as usize;
        for (name, value) in &expected {
            let count = match name.as_str() {
                // The sound has as many tokens as the video.
                "parent" | "audio parent" | "restored" | "scattered" | "score" => rows as usize,
                // One entry for each chunk that the row alone has.
                "drop" => value.shape().dims()[1] as usize,
                _ => left,
            };
            let same = live(&together[name], batch, b, count);
            if same != live(value, 1, 0, count)
                && (!are_near(value, &same, &live(value, 1, 0, count)) || same != live(&padded()?[name], 1, 0, count))
            {
                return Ok(Some(format!("{} {}: {name} of row {b} with {rows} tokens", method.subject, method.options)));
            }
        }
    }
    Ok(None)
}
