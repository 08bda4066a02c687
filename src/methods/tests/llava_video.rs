//! LLaVA-Video's newlines and frames.

use crate::methods::{Faster, LlavaVideo, Newline, PoolMode};
use crate::{Elem, Graph, HostTensor, Tensor};

/// Three frames of 4 x 4 tokens `100 f + 10 row + column`, pooled by their maxima; newline -1, faster token -2.
fn tokens(options: impl Fn(Tensor, Tensor) -> LlavaVideo, live: u32) -> (Vec<f32>, u32) {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 3, 16, 1], Elem::F32);
    let frames = graph.input("frames", [1], Elem::U32);
    let [newline, faster] = [-1.0, -2.0].map(|v| graph.constant(HostTensor::f32([1], vec![v])));
    let method = options(newline, faster);
    let (tokens, lengths) = method.build(&mut graph, x, [4, 4], Some(frames)).expect("valid options");
    graph.output("tokens", tokens).expect("a new name");
    graph.output("lengths", lengths).expect("a new name");
    let x = (0..48).map(|i| (i / 16 * 100 + i / 4 % 4 * 10 + i % 4) as f32).collect();
    let inputs = [("x".to_owned(), HostTensor::f32([1, 3, 16, 1], x)), ("frames".to_owned(), HostTensor::u32([1], vec![live]))];
    let outputs = graph.run_reference(&inputs.into()).expect("the graph's own inputs");
    (outputs["tokens"].floats(), outputs["lengths"].integers()[0])
}

const MAX: LlavaVideo = LlavaVideo { mode: PoolMode::Max, stride: 2, newline: Newline::None, faster: None };

#[test]
fn newlines() {
    let all = [11.0, 13.0, 31.0, 33.0, 111.0, 113.0, 131.0, 133.0, 211.0, 213.0, 231.0, 233.0];
    assert_eq!(tokens(|_, _| MAX, 3), (all.to_vec(), 12));
    let (two, length) = tokens(|n, _| LlavaVideo { newline: Newline::End(n), ..MAX }, 2);
    assert_eq!((&two[..9], &two[9..], length), (&[&all[..8], &[-1.0]].concat()[..], &[0.0; 4][..], 9));
    let (one, length) = tokens(|n, _| LlavaVideo { newline: Newline::EachFrame(n), ..MAX }, 1);
    assert_eq!((&one[..5], &one[5..], length), (&[11.0, 13.0, 31.0, 33.0, -1.0][..], &[0.0; 10][..], 5));
    let (one, length) = tokens(|n, _| LlavaVideo { newline: Newline::EachRow(n), ..MAX }, 1);
    assert_eq!((&one[..6], length), (&[11.0, 13.0, -1.0, 31.0, 33.0, -1.0][..], 6));
    assert_eq!(tokens(|_, _| MAX, 0), (vec![0.0; 12], 0));
}

#[test]
fn faster_frames() {
    let method = |every| move |n, token| LlavaVideo { newline: Newline::EachRow(n), faster: Some(Faster { every, token }), ..MAX };
    let first = [11.0, 13.0, -1.0, 31.0, 33.0, -1.0, -2.0];
    let last = [211.0, 213.0, -1.0, 231.0, 233.0, -1.0, -2.0];
    assert_eq!(tokens(method(2), 3), ([&first[..], &[133.0, -1.0, -2.0], &last].concat(), 17));
    assert_eq!(tokens(method(9), 3).0, [&first[..], &[133.0, -1.0, -2.0, 233.0, -1.0, -2.0]].concat());
    assert_eq!(tokens(method(2), 2).1, 10);
    assert_eq!(tokens(method(1), 3).1, 21);
}

#[test]
fn what_is_refused() {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 3, 16, 1], Elem::F32);
    let narrow = graph.input("narrow", [2], Elem::F32);
    let mut refused = |method: LlavaVideo| method.build(&mut graph, x, [4, 4], None).is_err();
    assert!(refused(LlavaVideo { stride: 0, ..MAX }));
    assert!(refused(LlavaVideo { stride: u32::MAX, ..MAX }));
    assert!(refused(LlavaVideo { faster: Some(Faster { every: 0, token: narrow }), ..MAX }));
    assert!(refused(LlavaVideo { newline: Newline::EachRow(narrow), ..MAX }));
}
