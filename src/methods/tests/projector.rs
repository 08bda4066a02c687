//! How projectors join tokens.

use crate::kernels::{ChannelOrder, PixelUnshuffle};
use crate::methods::{Join, Projector, qwen2_vl_patch_order};
use crate::{Elem, Error, Graph, HostTensor};

#[test]
fn patches_that_follow_each_other_are_blocks() {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 24, 2], Elem::U32);
    let patches = qwen2_vl_patch_order(&mut graph, x, [4, 6], 2).expect("whole blocks");
    let joins = [
        (Join::Consecutive(4), patches),
        (Join::Blocks(PixelUnshuffle::idefics3(2), [4, 6]), x),
        (Join::Packed { order: ChannelOrder::PositionFirst, images: vec![[4, 6]], merge: 2 }, x),
    ];
    for (i, (join, x)) in joins.iter().enumerate() {
        let joined = join.build(&mut graph, *x).expect("whole blocks");
        graph.output(&i.to_string(), joined).expect("a new name");
    }
    let x = HostTensor::u32([1, 24, 2], (0..48).collect());
    let outputs = graph.run_reference(&[("x".to_owned(), x)].into()).expect("the graph's own inputs");
    assert_eq!(outputs["0"], outputs["1"]);
    assert_eq!(outputs["0"], outputs["2"]);
    assert_eq!(outputs["0"].integers()[8..16], [4, 5, 6, 7, 16, 17, 18, 19]);
}

#[test]
fn what_fills_no_block_is_dropped() {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 12, 1], Elem::U32);
    let join = Join::Packed { order: ChannelOrder::ChannelFirst, images: vec![[3, 2], [1, 3], [0, 7], [1, 3]], merge: 2 };
    assert_eq!(join.build(&mut graph, x).expect("12 tokens").shape(), [1, 1, 4].into());
    let join = Join::Packed { order: ChannelOrder::ChannelFirst, images: vec![[2, 3], [3, 2]], merge: 2 };
    let joined = join.build(&mut graph, x).expect("12 tokens");
    graph.output("joined", joined).expect("a new name");
    let x = HostTensor::u32([1, 12, 1], (0..12).collect());
    let outputs = graph.run_reference(&[("x".to_owned(), x)].into()).expect("the graph's own inputs");
    assert_eq!(outputs["joined"].integers(), [0, 1, 3, 4, 6, 7, 8, 9]);
}

#[test]
fn what_is_refused() {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 6, 2], Elem::F32);
    for count in [0, 4, u32::MAX] {
        assert!(matches!(Join::Consecutive(count).build(&mut graph, x), Err(Error::Shape { .. })));
    }
    let norm = graph.input("norm", [2], Elem::F32);
    let weight = graph.input("weight", [3, 2], Elem::F32);
    for outputs in [0, 5] {
        assert!(matches!(Projector::gemma3(&mut graph, 4, outputs, norm, weight), Err(Error::Value { .. })));
    }
    let error = Projector::gemma3(&mut graph, 64, 15, norm, weight).map(|_| ()).expect_err("no divisor").to_string();
    assert!(error.contains("1, 2, 4, 8, 16, 32, 64"), "{error}");
    let error = Projector::gemma3(&mut graph, 12, 5, norm, weight).map(|_| ()).expect_err("no divisor").to_string();
    assert!(error.contains("a divisor of 12: 1, 2, 3, 4, 6, 12,"), "{error}");
    let odd = Projector::gemma3(&mut graph, 4, 2, norm, weight).expect("valid options");
    assert!(matches!(odd.build(&mut graph, x), Err(Error::Shape { .. })));
}
