//! A row of a ragged batch gets exactly what it gets alone: same bits, on the reference and on an adapter.
#![allow(missing_docs, reason = "a test")]

mod support;

use proptest::prelude::*;
use support::cases::methods;
use support::data;
use support::ragged::{Rows, differing};
use tokenpress::readback::{Context, HostTensors};
use tokenpress::{Error, Graph, wgpu};

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
