//! A row of a ragged batch gets exactly what it gets alone: same bits, on the reference and on an adapter.

use crate::support::cases::methods;
use crate::support::data;
use crate::support::ragged::{Rows, differing};
use proptest::prelude::*;
use tokenpress::readback::{Context, HostTensors};
use tokenpress::{Elem, Error, Graph, HostTensor, wgpu};

const CAPACITY: u32 = 40;

/// `lengths` are those of methods that take rows of different lengths; others get full ones.
fn check(
    seed: u64,
    lengths: [u32; 5],
    values: fn(u64, usize) -> Vec<f32>,
    run: impl Fn(&Graph, &HostTensors) -> Result<HostTensors, Error>,
) {
    let rows = Rows { seed, capacity: CAPACITY, lengths: &lengths, values };
    // A random partition is another one for each row.
    for method in methods::all().filter(|m| m.options != "random") {
        assert_eq!(differing(method, &rows, &run).expect("valid options"), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn on_the_reference(seed in 0..1000u64, lengths in prop::array::uniform5(0..=CAPACITY), ties in any::<bool>()) {
        let values = if ties { data::ties } else { data::normal };
        check(seed, lengths, values, |graph, inputs| graph.run_reference(inputs));
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
    check(11, [29, CAPACITY, 1, 0, 7], data::normal, |graph, inputs| pollster::block_on(context.run(graph, inputs)));
}

/// A length above the capacity, which a GPU's buffer may hold whatever the host knows, counts as the capacity.
fn check_lengths_above(run: impl Fn(&Graph, &HostTensors) -> HostTensors) {
    const TOKENS: u32 = 33;
    for method in methods::all().filter(|m| m.ragged) {
        let graph = methods::graph(method, 4, TOKENS, Elem::F32, true).expect("valid options");
        let mut given = methods::inputs(17, 4, TOKENS, Elem::F32, data::normal);
        let mut with = |lengths: [u32; 4]| {
            given.insert("lengths".into(), HostTensor::u32([4], lengths.to_vec()));
            run(&graph, &given)
        };
        let expected = with([TOKENS, TOKENS, 18, TOKENS]);
        let actual = with([TOKENS + 1, 2 * TOKENS, 18, u32::MAX]);
        for (name, value) in &expected {
            assert_eq!(actual[name].bytes(), value.bytes(), "{} {}: {name}", method.subject, method.options);
        }
    }
}

#[test]
fn lengths_above_the_capacity_on_the_reference() {
    check_lengths_above(|graph, inputs| graph.run_reference(inputs).expect("the graph's own inputs"));
}

#[test]
fn lengths_above_the_capacity_on_every_adapter() {
    let adapters = pollster::block_on(Context::adapters(wgpu::Backends::VULKAN | wgpu::Backends::GL));
    assert!(!adapters.is_empty() || std::env::var("REQUIRE_GPU").is_err(), "no adapter");
    for adapter in adapters {
        let context = pollster::block_on(Context::new(&adapter)).expect("a device");
        check_lengths_above(|graph, inputs| pollster::block_on(context.run(graph, inputs)).expect("a plan"));
    }
}
