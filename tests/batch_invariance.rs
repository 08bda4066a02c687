//! A row of a ragged batch gets exactly what it gets alone: same bits, on the reference and on an adapter.
#![allow(missing_docs, reason = "a test")]

mod support;

use proptest::prelude::*;
use support::cases::methods::{self, graph, inputs};
use support::data;
use tokenpress::readback::{Context, HostTensors};
use tokenpress::{Elem, Graph, HostTensor, wgpu};

const CAPACITY: u32 = 40;

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
fn alone(inputs: &HostTensors, b: usize, rows: u32) -> HostTensors {
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
            let start = ((b as u32 * heads + head) * CAPACITY * width) as usize;
            kept.extend_from_slice(&values[start..start + (rows * width) as usize]);
        }
        let value =
            if dims.dims().len() == 3 { HostTensor::f32([1, rows, width], kept) } else { HostTensor::f32([1, heads, rows, width], kept) };
        single.insert(name.clone(), value);
    }
    single
}

/// NaN in place of every dead token: nothing may come of it.
fn spoil(given: &mut HostTensors, lengths: &[u32]) {
    for tensor in given.values_mut() {
        let (shape, mut values) = (tensor.shape(), tensor.floats());
        let (heads, width) = match *shape.dims() {
            [_, heads, _, width] => (heads, width),
            ref dims => (1, dims[2]),
        };
        for (row, tokens) in values.chunks_mut((CAPACITY * width) as usize).enumerate() {
            tokens[(lengths[row / heads as usize] * width) as usize..].fill(f32::NAN);
        }
        *tensor = HostTensor::f32(shape, values);
    }
}

/// `lengths` are those of methods that take rows of different lengths; others get full ones.
fn check(seed: u64, lengths: [u32; 5], values: fn(u64, usize) -> Vec<f32>, run: impl Fn(&Graph, &HostTensors) -> HostTensors) {
    // A random partition is another one for each row.
    for method in methods::all().filter(|m| m.options != "random") {
        let lengths = if method.ragged { lengths } else { [CAPACITY; 5] };
        let batch = lengths.len();
        let batched = graph(method, batch as u32, CAPACITY, Elem::F32, method.ragged).expect("valid options");
        let mut given = inputs(seed, batch as u32, CAPACITY, Elem::F32, values);
        if method.ragged {
            spoil(&mut given, &lengths);
            given.insert("lengths".into(), HostTensor::u32([batch as u32], lengths.to_vec()));
        }
        let together = run(&batched, &given);
        for (b, &rows) in lengths.iter().enumerate().filter(|(_, rows)| **rows > 0) {
            let single = graph(method, 1, rows, Elem::F32, false).expect("valid options");
            let expected = run(&single, &alone(&given, b, rows));
            let left = expected.get("lengths'").map_or(rows, |l| l.integers()[0]) as usize;
            for (name, value) in &expected {
                let count = if ["parent", "restored", "scattered", "score"].contains(&name.as_str()) { rows as usize } else { left };
                let context = format!("{} {}: {name} of row {b} with {rows} tokens", method.subject, method.options);
                assert_eq!(live(&together[name], batch, b, count), live(value, 1, 0, count), "{context}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn on_the_reference(seed in 0..1000u64, lengths in prop::array::uniform5(0..=CAPACITY), ties in any::<bool>()) {
        let values = if ties { data::ties } else { data::normal };
        check(seed, lengths, values, |graph, inputs| graph.run_reference(inputs).expect("the graph's own inputs"));
    }
}

#[test]
fn on_the_first_adapter() {
    let adapters = pollster::block_on(Context::adapters(wgpu::Backends::VULKAN));
    let Some(adapter) = adapters.first() else {
        assert!(std::env::var("REQUIRE_GPU").is_err(), "no Vulkan adapter");
        return;
    };
    let context = pollster::block_on(Context::new(adapter)).expect("a device");
    check(11, [29, CAPACITY, 1, 0, 7], data::normal, |graph, inputs| pollster::block_on(context.run(graph, inputs)).expect("a plan"));
}
