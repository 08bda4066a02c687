//! A selection is the same whether products are kept, read for each selected token, or made by one invocation for a short row.

use crate::support::adapters::{self, MODES};
use tokenpress::kernels::{GreedyInputs, GreedySelect, Normalized, Objective};
use tokenpress::readback::Context;
use tokenpress::{Gpu, Graph, HostTensor};

/// Unit rows of which all have the same cosine but for rounding: of a vector of equal numbers with any signs, each has one other number
/// enlarged. So rounding, and with it the order of the sums, decides each step.
fn rows(tokens: u32, channels: u32) -> Vec<f32> {
    assert!(tokens <= channels, "each its own channel");
    let (plain, large) = (0.7_f64.sqrt(), 3.1_f64);
    let norm = (f64::from(channels - 1) * plain * plain + large * large).sqrt();
    let number = |i: u32, c: u32| {
        let sign = if c.wrapping_mul(0x9e37_79b9) >> 31 == 1 { -1.0 } else { 1.0 };
        // Channels far apart, so that neighbours are in different parts of a sum.
        let own = i.wrapping_mul(61) % channels == c;
        (sign * if own { large } else { plain } / norm) as f32
    };
    (0..tokens).flat_map(|i| (0..channels).map(move |c| number(i, c))).collect()
}

/// The selection from the rows in places for so many.
fn selected(context: &Context, gpu: &Gpu, objective: Objective, [tokens, channels]: [u32; 2], capacity: u32, k: u32) -> Vec<u32> {
    let mut unit = rows(tokens, channels);
    unit.resize((capacity * channels) as usize, f32::NAN);
    let mut norm = vec![1.0; tokens as usize];
    norm.resize(capacity as usize, f32::NAN);
    let mut graph = Graph::new();
    let normalized = Normalized {
        unit: graph.constant(HostTensor::f32([1, capacity, channels], unit)),
        norm: graph.constant(HostTensor::f32([1, capacity], norm)),
    };
    let lengths = Some(graph.constant(HostTensor::u32([1], vec![tokens])));
    let inputs = GreedyInputs { lengths, ..GreedyInputs::new(normalized) };
    let selected = GreedySelect { objective, k }.build(&mut graph, inputs).expect("shapes agree");
    graph.output("indices", selected.indices).expect("a name");
    let here = Context { gpu: gpu.clone(), ..context.clone() };
    pollster::block_on(here.run(&graph, &[].into())).expect("a plan")["indices"].integers().to_vec()
}

#[test]
fn every_form_selects_the_same() {
    for adapter in adapters::all() {
        let context = &adapter.context;
        for mode in MODES.iter().filter(|mode| !mode.policy.read_write && adapter.lacks(mode, "greedy_select").is_none()) {
            let gpu = context.gpu.with_policy(mode.policy);
            for objective in [Objective::MaxMin, Objective::Determinant] {
                for channels in [212, 203] {
                    let named = |what: &str| format!("{} {} {objective:?} {channels}: {what}", adapter.name, mode.name);
                    let of = |capacity, k| selected(context, &gpu, objective, [200, channels], capacity, k);
                    let kept = of(200, 12);
                    assert_eq!(of(4200, 12), kept, "{}", named("a dispatch for each, which reads rows"));
                    assert_eq!(of(200, 3), kept[..3], "{}", named("one dispatch, which reads rows"));
                }
                for channels in [28, 23] {
                    let of = |capacity| selected(context, &gpu, objective, [20, channels], capacity, 5);
                    assert_eq!(of(20), of(100), "{} {} {objective:?}: a short row", adapter.name, mode.name);
                }
            }
        }
    }
}
