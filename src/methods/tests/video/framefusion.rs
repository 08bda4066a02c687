//! FrameFusion beside a second formulation.

use super::{cosine, positions, run, video};
use crate::methods::FrameFusion;
use crate::{Compressed, Graph, HostTensor, NONE, Tensor};

const LENGTHS: [u32; 4] = [33, 48, 3, 0];

/// Three tokens of a text, then frames of six.
fn place(i: u32) -> u32 {
    if i < 3 { NONE } else { (i - 3) % 6 }
}

fn places(graph: &mut Graph) -> Tensor {
    graph.constant(HostTensor::u32([4, 48], (0..4).flat_map(|_| (0..48).map(place)).collect()))
}

/// Chains of a list of tokens, each a position and a row: those that go on, and the mean of each chain.
fn merged(tokens: &[(u32, Vec<f32>)], similarity: f64, most: usize) -> Vec<(u32, Vec<f32>)> {
    let before = |at: usize| (0..at).rev().find(|&j| place(tokens[j].0) != NONE && place(tokens[j].0) == place(tokens[at].0));
    let mut pairs: Vec<(f64, usize, usize)> =
        (0..tokens.len()).filter_map(|i| before(i).map(|j| (cosine(&tokens[i].1, &tokens[j].1), i, j))).collect();
    pairs.retain(|pair| pair.0 >= similarity);
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    pairs.truncate(most);
    let mut chains: Vec<(usize, Vec<usize>)> = Vec::new();
    for i in 0..tokens.len() {
        match pairs.iter().find(|pair| pair.1 == i) {
            Some(&(_, _, j)) => chains.iter_mut().find(|chain| chain.1.contains(&j)).expect("an earlier chain").1.push(i),
            None => chains.push((i, vec![i])),
        }
    }
    let mean = |members: &[usize], c: usize| members.iter().map(|&m| tokens[m].1[c]).sum::<f32>() / members.len() as f32;
    chains.iter().map(|(first, members)| (tokens[*first].0, (0..5).map(|c| mean(members, c)).collect())).collect()
}

#[test]
fn a_second_formulation() {
    let x = video(3, [4, 48, 5]);
    let method = FrameFusion { tokens_per_frame: 6, similarity: 0.5, most: 0.2, floor: 0 };
    for (second, most) in [(false, 1.0), (false, 0.2), (true, 1.0)] {
        let out = run(&x, &LENGTHS, |graph, tokens| {
            let places = places(graph);
            let method = FrameFusion { most, ..method };
            let first = method.merge(graph, tokens, places)?;
            if !second {
                return Ok(first);
            }
            let places = first.map.gather(graph, places)?;
            let second = FrameFusion { similarity: 0.3, ..method }.merge(graph, &first.tokens, places)?;
            Ok(Compressed { map: first.map.then(graph, &second.map)?, ..second })
        });
        for (b, &live) in LENGTHS.iter().enumerate() {
            let tokens: Vec<_> = (0..live).map(|i| (i, x[(b * 48 + i as usize) * 5..][..5].to_vec())).collect();
            let limit = if most < 1.0 { (f64::from(live.saturating_sub(3)) * most) as usize } else { 48 };
            let mut expected = merged(&tokens, 0.5, limit);
            if second {
                expected = merged(&expected, 0.3, 48);
            }
            assert_eq!(positions(&out)[b], expected.iter().map(|t| t.0).collect::<Vec<_>>());
            let rows = &out["x'"].floats()[b * 48 * 5..];
            for (got, want) in rows.iter().zip(expected.iter().flat_map(|t| &t.1)) {
                assert!((got - want).abs() < 1e-5, "{got} {want}");
            }
        }
    }
}

#[test]
fn pruning_leaves_the_text() {
    let x = video(4, [4, 48, 5]);
    let score = |i: u32| (i * 7 % 48) as f32;
    let out = run(&x, &LENGTHS, |graph, tokens| {
        let places = places(graph);
        let attention = graph.constant(HostTensor::f32([4, 48], (0..4).flat_map(|_| (0..48).map(score)).collect()));
        FrameFusion { tokens_per_frame: 6, ..Default::default() }.prune(graph, tokens, places, attention, 0.25)
    });
    for (b, &live) in LENGTHS.iter().enumerate() {
        let mut video: Vec<u32> = (3..live).collect();
        video.sort_by(|&i, &j| score(j).total_cmp(&score(i)));
        video.truncate((f64::from(live.saturating_sub(3)) * 0.25).round_ties_even() as usize);
        video.sort_unstable();
        assert_eq!(positions(&out)[b], (0..live.min(3)).chain(video).collect::<Vec<_>>());
    }
}

#[test]
fn budgets() {
    // 28 layers at 30 %: at first 70 % have to go; after layers that removed nothing, more.
    assert!((FrameFusion::budget(0.3, 28, &[]) - 0.7).abs() < 1e-12);
    assert!((FrameFusion::budget(0.3, 28, &[0.0, 0.5]) - (1.0 - (8.4 - 1.5) / 13.0)).abs() < 1e-12);
    assert_eq!(FrameFusion::budget(2.0, 28, &[0.1]), 0.0);
    assert_eq!(FrameFusion::budget(0.01, 4, &[0.0]), 1.0);
}
