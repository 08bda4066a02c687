//! PACT beside a second formulation.

use super::video::{cosine, positions, run, video};
use crate::methods::Pact;
use crate::{HostTensor, NONE};

/// Centres in ascending position, and the place of each token's centre among them, by the published rule.
fn clusters(keys: &[Vec<f32>], importance: &[f32], method: &Pact) -> (Vec<usize>, Vec<Option<usize>>) {
    let distance = |i: usize, j: usize| (1.0 - cosine(&keys[i], &keys[j])).max(0.0);
    let mut candidates: Vec<usize> = (0..keys.len()).collect();
    candidates.sort_by(|i, j| importance[*j].total_cmp(&importance[*i]));
    candidates.truncate((keys.len() as f64 * method.keep) as usize);
    candidates.sort_unstable();
    let density = |i: usize| candidates.iter().map(|j| (-(distance(i, *j) / 2.0).powi(2)).exp()).sum::<f64>();
    let mut dense = candidates.clone();
    dense.sort_by(|i, j| density(*j).total_cmp(&density(*i)));
    // As published: the densest that is left is a centre, and takes what is near.
    let (mut centres, cutoff) = (Vec::new(), f64::from(method.cutoff));
    while let Some(&centre) = dense.first() {
        centres.push(centre);
        dense.retain(|i| *i != centre && distance(centre, *i) > cutoff);
    }
    centres.sort_unstable();
    let nearest = |i: usize| {
        if let Some(own) = centres.iter().position(|c| *c == i) {
            return Some(own);
        }
        let mut best = None;
        for (place, c) in centres.iter().enumerate() {
            if best.is_none_or(|(_, least)| distance(i, *c) < least) {
                best = Some((place, distance(i, *c)));
            }
        }
        let (place, least) = best?;
        (candidates.contains(&i) || least <= f64::from(method.reach) * cutoff).then_some(place)
    };
    let all = (0..keys.len()).map(nearest).collect();
    (centres, all)
}

#[test]
fn a_second_formulation() {
    let lengths = [48, 29, 1, 0, 7];
    let (x, keys) = (video(11, [5, 48, 4]), video(13, [5, 48, 4]));
    let importance: Vec<f32> = video(6, [5, 48, 1]);
    let (mut dropped, mut left) = (0, Vec::new());
    for method in [
        Pact::default(),
        Pact { keep: 0.3, cutoff: 0.1, reach: 1.0 },
        Pact { keep: 1.0, ..Pact::default() },
        Pact { keep: 0.6, cutoff: 2.0, reach: 0.0 },
    ] {
        let out = run(&x, &lengths, |graph, tokens| {
            let importance = graph.constant(HostTensor::f32([5, 48], importance.clone()));
            let keys = graph.constant(HostTensor::f32([5, 48, 4], keys.clone()));
            let merged = method.build(graph, tokens, importance, keys)?;
            graph.output("parent", merged.map.parent)?;
            graph.output("size", merged.tokens.size)?;
            Ok(merged)
        });
        let width = out["x'"].shape().dims()[1] as usize;
        for (b, &live) in lengths.iter().enumerate() {
            let row = |x: &[f32], i: usize| x[(b * 48 + i) * 4..][..4].to_vec();
            let keys: Vec<_> = (0..live as usize).map(|i| row(&keys, i)).collect();
            let (centres, places) = clusters(&keys, &importance[b * 48..][..live as usize], &method);
            assert_eq!(positions(&out)[b], centres.iter().map(|c| *c as u32).collect::<Vec<_>>(), "row {b}, {method:?}");
            for (i, place) in places.iter().enumerate() {
                assert_eq!(out["parent"].integers()[b * 48 + i], place.map_or(NONE, |place| place as u32), "token {i}, {method:?}");
            }
            for place in 0..centres.len() {
                let members: Vec<usize> = (0..places.len()).filter(|i| places[*i] == Some(place)).collect();
                let mean = |c: usize| members.iter().map(|i| f64::from(row(&x, *i)[c])).sum::<f64>() / members.len() as f64;
                let actual = &out["x'"].floats()[(b * width + place) * 4..][..4];
                assert!((0..4).all(|c| (f64::from(actual[c]) - mean(c)).abs() < 1e-5));
                assert_eq!(out["size"].floats()[b * width + place], members.len() as f32);
            }
            dropped += places.iter().filter(|place| place.is_none()).count();
            left.push(centres.len());
        }
    }
    assert!(dropped > 0 && left.iter().any(|left| *left > 4), "{dropped} dropped, {left:?} left");
}

#[test]
fn the_importance_is_attention_times_length() {
    let lengths = [48, 20];
    let (x, heads) = (video(3, [2, 48, 6]), video(5, [2, 96, 5]));
    let keys = video(8, [2, 96, 5]);
    let out = run(&x, &lengths, |graph, tokens| {
        let [queries, keys] = [&heads, &keys].map(|v| graph.constant(HostTensor::f32([2, 2, 48, 5], v.clone())));
        let importance = Pact::importance(graph, tokens, queries, keys)?;
        graph.output("importance", importance)?;
        let map = crate::TokenMap::identity(graph, tokens)?;
        Ok(crate::Compressed { tokens: *tokens, map })
    });
    for (b, &live) in lengths.iter().enumerate() {
        let live = live as usize;
        let of = |values: &[f32], h: usize, i: usize, d: usize| f64::from(values[((b * 2 + h) * 48 + i) * 5 + d]);
        let mut received = vec![0.0; live];
        for h in 0..2 {
            let mean: Vec<f64> = (0..5).map(|d| (0..live).map(|i| of(&heads, h, i, d)).sum::<f64>() / live as f64).collect();
            let logits: Vec<f64> = (0..live).map(|i| (0..5).map(|d| mean[d] * of(&keys, h, i, d)).sum::<f64>() / 5f64.sqrt()).collect();
            let total: f64 = logits.iter().map(|l| l.exp()).sum();
            received.iter_mut().zip(&logits).for_each(|(sum, l)| *sum += l.exp() / total / 2.0);
        }
        for (i, received) in received.iter().enumerate() {
            let length = x[(b * 48 + i) * 6..][..6].iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            let actual = f64::from(out["importance"].floats()[b * 48 + i]);
            assert!((actual - received * length).abs() < 1e-6, "{actual} {}", received * length);
        }
    }
}
