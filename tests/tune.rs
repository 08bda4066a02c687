//! `tune`: what it finds is a policy that plans follow.
#![allow(missing_docs, reason = "a test")]

mod support;

use support::adapters;
use tokenpress::kernels::linear;
use tokenpress::{Elem, Graph, Policy, Tuning, tune};

/// The first adapter with subgroups is measured: one is enough, and a slow one takes half a minute.
#[test]
fn a_device_is_measured() {
    let adapters = adapters::all();
    let with_subgroups = adapters.iter().find(|adapter| adapter.subgroups());
    for adapter in adapters.iter().filter(|adapter| !adapter.subgroups()).chain(with_subgroups) {
        let start = std::time::Instant::now();
        let tuning = tune(&adapter.context.gpu, &adapter.context.queue, || start.elapsed());
        let tuning = pollster::block_on(tuning).expect("a device that works");
        let info = &adapter.context.info;
        assert_eq!(Tuning::from_json(&tuning.to_json(info), info), Ok(tuning), "{}", adapter.name);
        assert!(adapter.subgroups() || tuning == Tuning::default(), "{}: there was nothing to choose", adapter.name);
    }
}

#[test]
fn plans_follow_a_tuning() {
    let mut graph = Graph::new();
    let (x, weight) = (graph.input("x", [8, 16], Elem::F32), graph.input("weight", [4, 16], Elem::F32));
    let y = linear(&mut graph, x, weight, None).expect("shapes agree");
    graph.output("y", y).expect("a name");
    for adapter in adapters::all() {
        let gpu = &adapter.context.gpu;
        let subgroups =
            |policy| graph.variants(&gpu.with_policy(policy)).expect("a plan").iter().any(|variant| variant.form.uses_subgroups());
        let info = &adapter.context.info;
        let tuned = |name: &str| {
            let text = Tuning::default().to_json(info).replace("\"portable\": [", &format!("\"portable\": [\"{name}\""));
            Policy::AUTO.with_tuning(Tuning::from_json(&text, info).expect("a tuning"))
        };
        assert!(!subgroups(tuned("linear")), "{}", adapter.name);
        assert_eq!(subgroups(tuned("compact.tally")), subgroups(Policy::AUTO), "{}", adapter.name);
    }
}
