//! A linear layer gives a row the same bits, however many rows there are: few have shaders of their own.

use crate::support::adapters::{self, MODES};
use crate::support::data;
use tokenpress::kernels::{Activation, Linear};
use tokenpress::readback::Context;
use tokenpress::{Elem, Gpu, Graph, HostTensor, Shape};

const ROWS: u32 = 70;

/// Bytes of the result for rows of this shape, the first of all.
fn layer(context: &Context, gpu: &Gpu, elem: Elem, shape: impl Into<Shape>, outputs: u32) -> Vec<u8> {
    let shape = shape.into();
    let channels = *shape.dims().last().expect("x has dimensions");
    let mut numbers = data::normal(1, (ROWS * channels) as usize);
    numbers.truncate(shape.elements() as usize);
    let weights = data::normal(2, (outputs * channels) as usize);
    let mut graph = Graph::new();
    let x = graph.constant(data::tensor(shape, elem, &numbers));
    let weight = graph.constant(data::tensor([outputs, channels], elem, &weights));
    let bias = graph.constant(HostTensor::f32([outputs], data::normal(3, outputs as usize)));
    let y = Linear { activation: Activation::Silu }.build(&mut graph, x, weight, Some(bias)).expect("shapes agree");
    graph.output("y", y).expect("a name");
    let here = Context { gpu: gpu.clone(), ..context.clone() };
    pollster::block_on(here.run(&graph, &[].into())).expect("a plan")["y"].bytes().to_vec()
}

#[test]
fn few_rows_have_the_bits_of_many() {
    for adapter in adapters::all() {
        let context = &adapter.context;
        for mode in MODES.iter().filter(|mode| !mode.policy.read_write && adapter.lacks(mode, "linear").is_none()) {
            let gpu = context.gpu.with_policy(mode.policy);
            for (elem, channels) in [(Elem::F32, 5), (Elem::F32, 132), (Elem::F32, 77), (Elem::F16, 77), (Elem::F16, 132)] {
                if elem == Elem::F16 && !adapter.f16() {
                    continue;
                }
                let all = layer(context, &gpu, elem, [ROWS, channels], 37);
                for rows in [1, 2, 3, 5, 8, 9, 16, 17] {
                    let few = layer(context, &gpu, elem, [rows, channels], 37);
                    assert!(all.starts_with(&few), "{} {}: {rows} rows of {channels} {elem}", adapter.name, mode.name);
                }
                // With matrices a token of its own has another order, in every batch.
                let single = layer(context, &gpu, elem, [ROWS, 1, channels], 37);
                for rows in [1, 2, 8, 17] {
                    let few = layer(context, &gpu, elem, [rows, 1, channels], 37);
                    assert!(single.starts_with(&few), "{} {}: {rows} tokens of {channels} {elem}", adapter.name, mode.name);
                }
            }
        }
    }
}
