//! DyCoke beside a second formulation.

use super::{cosine, positions, run, video};
use crate::methods::{DyCoke, DyCokeCache, DyCokeStep};
use crate::{Graph, HostTensor, NONE};

#[test]
fn a_second_formulation() {
    let (frame, lengths) = (6, [30, 48, 6, 0, 20]);
    let method = DyCoke { tokens_per_frame: frame, merge: 0.6 };
    let x = video(3, [5, 48, 5]);
    let kept = positions(&run(&x, &lengths, |graph, tokens| method.build(graph, tokens)));
    for (b, &live) in lengths.iter().enumerate() {
        let row = |i: u32| &x[(b * 48 + i as usize) * 5..][..5];
        let mut expected = Vec::new();
        for first in (0..live).step_by(frame as usize) {
            let places = first..(first + frame).min(live);
            let back = match first / frame % 4 {
                0 => {
                    expected.extend(places);
                    continue;
                }
                2 => 2 * frame,
                _ => frame,
            };
            let mut order: Vec<u32> = places.collect();
            order.sort_by(|&i, &j| cosine(row(i), row(i - back)).total_cmp(&cosine(row(j), row(j - back))));
            order.truncate(2);
            order.sort_unstable();
            expected.extend(order);
        }
        assert_eq!(kept[b], expected);
    }
}

#[test]
fn a_selection_stays_while_the_attention_does() {
    // Three rows: the same attention but for little, another, and none before.
    let mut graph = Graph::new();
    let tensor = |values: [[f32; 4]; 3]| HostTensor::f32([3, 4], values.concat());
    let now = graph.constant(tensor([[0.1, 0.5, 0.3, 0.05], [0.1, 0.5, 0.3, 0.05], [0.1, 0.5, 0.3, 0.7]]));
    let before = graph.constant(tensor([[0.1, 0.4, 0.35, 0.05], [0.9, 0.0, 0.1, 0.0], [0.0; 4]]));
    let selected = graph.constant(HostTensor::u32([3, 2], vec![2, 1, 0, 2, NONE, NONE]));
    let lengths = graph.constant(HostTensor::u32([3], vec![4, 4, 3]));
    let method = DyCokeCache { keep: 0.5, similarity: 0.9 };
    let step = method.step(&mut graph, now, Some(lengths), DyCokeStep { attention: before, selected }).expect("shapes agree");
    graph.output("selected", step.selected).expect("a name");
    let out = graph.run_reference(&[].into()).expect("no inputs");
    assert_eq!(out["selected"].integers(), [2, 1, 1, 2, 1, NONE]);
}
