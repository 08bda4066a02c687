//! What the reference takes: this file is a process of its own, with one test.
#![allow(missing_docs, reason = "a test")]

use tokenpress::kernels::{Among, Neighbours};
use tokenpress::{Elem, Graph, HostTensor};

/// The most memory that this process has had, in KiB; none where the system does not say.
fn most() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok())
}

#[test]
fn the_neighbours_of_every_token_do_not_take_the_memory_of_all_pairs() {
    const TOKENS: u32 = 5000;
    let mut graph = Graph::new();
    let x = graph.input("x", [1, TOKENS, 1], Elem::F32);
    let nearest = Neighbours { nearest: 2, exclude_self: true }.closest(&mut graph, x, Among::default()).expect("shapes agree");
    graph.output("indices", nearest.indices).expect("a name");
    let before = most();
    let x = HostTensor::f32([1, TOKENS, 1], (0..TOKENS).map(|i| i as f32).collect());
    let out = graph.run_reference(&[("x".to_owned(), x)].into()).expect("a run");
    assert_eq!(out["indices"].integers()[..6], [1, 2, 0, 2, 1, 3]);
    // All pairs with their values are 200 MB.
    if let (Some(before), Some(after)) = (before, most()) {
        assert!(after - before < 50_000, "from {before} to {after} KiB");
    }
}
