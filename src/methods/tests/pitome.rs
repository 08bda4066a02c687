//! PiToMe and ToFu beside second formulations.

use super::video::{cosine, run, video};
use crate::methods::{Fusion, PiToMe, Protect, ToFu};
use crate::readback::HostTensors;

const LENGTHS: [u32; 6] = [48, 31, 2, 1, 0, 17];

/// Groups of members with a row each, as they come out.
type Groups = Vec<(Vec<usize>, Vec<f64>)>;

fn mean(x: &[Vec<f32>], members: &[usize]) -> Vec<f64> {
    (0..x[0].len()).map(|c| members.iter().map(|m| f64::from(x[*m][c])).sum::<f64>() / members.len() as f64).collect()
}

/// The first of the largest.
fn nearest(x: &[Vec<f32>], source: usize, destinations: &[usize]) -> usize {
    let mut best = 0;
    for j in 1..destinations.len() {
        if cosine(&x[source], &x[destinations[j]]) > cosine(&x[source], &x[destinations[best]]) {
            best = j;
        }
    }
    best
}

/// The published rule on one row, the first `protected` tokens apart.
fn pitome(x: &[Vec<f32>], merge: usize, protected: usize, margin: f64, text: bool) -> Groups {
    let first = protected.min(x.len());
    let mut groups: Vec<Vec<usize>> = (0..first).map(|i| vec![i]).collect();
    let others: Vec<usize> = (first..x.len()).collect();
    let energy = |i: usize| -> f64 {
        let of = |j: &usize| {
            let c = cosine(&x[i], &x[*j]);
            let sigma = 1.0 - margin;
            match text {
                true => (-((1.0 - c) / sigma).powi(2) / 2.0).exp() / (sigma * std::f64::consts::TAU.sqrt()),
                false if c > margin => c - margin,
                false => (c - margin).exp() - 1.0,
            }
        };
        others.iter().map(of).sum::<f64>() / others.len() as f64
    };
    let mut order: Vec<(f64, usize)> = others.iter().map(|i| (energy(*i), *i)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let r = merge.min(others.len() / 2);
    let at = |places: Vec<usize>| places.into_iter().map(|p| order[p].1).collect::<Vec<_>>();
    let (sources, destinations) = match text {
        true => (at((0..r).collect()), at((r..2 * r).collect())),
        false => (at((0..r).map(|p| 2 * p).collect()), at((0..r).map(|p| 2 * p + 1).collect())),
    };
    groups.extend(order[2 * r..].iter().map(|(_, i)| vec![*i]));
    let start = groups.len();
    groups.extend(destinations.iter().map(|i| vec![*i]));
    for source in sources {
        groups[start + nearest(x, source, &destinations)].push(source);
    }
    groups.into_iter().map(|members| (members.clone(), mean(x, &members))).collect()
}

/// ToMe's match without protected tokens: which source goes to which destination, and the groups in ToMe's order.
fn tofu(x: &[Vec<f32>], merge: usize, fusion: Fusion) -> Groups {
    let (even, odd): (Vec<usize>, Vec<usize>) = (0..x.len()).partition(|i| i % 2 == 0);
    let r = merge.min(x.len() / 2);
    let mut matched: Vec<(f64, usize, usize)> = Vec::new();
    for &i in &even {
        if odd.is_empty() {
            matched.push((f64::NEG_INFINITY, i, 0));
        } else {
            let j = nearest(x, i, &odd);
            matched.push((cosine(&x[i], &x[odd[j]]), i, j));
        }
    }
    matched.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut groups: Vec<Vec<usize>> = matched[r..].iter().map(|(_, i, _)| vec![*i]).collect();
    let start = groups.len();
    groups.extend(odd.iter().map(|i| vec![*i]));
    for (_, i, j) in &matched[..r] {
        groups[start + j].push(*i);
    }
    let length = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>().sqrt();
    let wide = |i: usize| x[i].iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    let row = |members: &[usize]| match (fusion, members.len()) {
        (_, 1) | (Fusion::Destination, _) => wide(members[0]),
        (Fusion::LongestMean, _) => {
            let mean = mean(x, members);
            let longest = members.iter().map(|m| length(&wide(*m))).fold(0.0, f64::max);
            mean.iter().map(|v| v / length(&mean) * longest).collect()
        }
    };
    groups.iter().map(|members| (members.clone(), row(members))).collect()
}

fn check(out: &HostTensors, b: usize, expected: &Groups, what: &str) {
    let [_, width, channels] = out["x'"].shape().dims().iter().map(|d| *d as usize).collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!(out["kept"].integers()[b] as usize, expected.len(), "{what}");
    for (place, (members, row)) in expected.iter().enumerate() {
        for member in members {
            assert_eq!(out["parent"].integers()[b * 48 + member] as usize, place, "{what}: token {member}");
        }
        assert_eq!(out["size"].floats()[b * width + place], members.len() as f32, "{what}");
        let actual = &out["x'"].floats()[(b * width + place) * channels..][..channels];
        assert!(actual.iter().zip(row).all(|(a, e)| (f64::from(*a) - e).abs() < 2e-5), "{what}: {actual:?} {row:?}");
    }
}

fn rows(x: &[f32], b: usize) -> Vec<Vec<f32>> {
    (0..LENGTHS[b] as usize).map(|i| x[(b * 48 + i) * 6..][..6].to_vec()).collect()
}

#[test]
fn pitome_beside_a_second_formulation() {
    let x = video(8, [6, 48, 6]);
    for (merge, protected, text) in [(9, 0, false), (100, 0, false), (9, 2, false), (7, 0, true), (50, 1, true), (0, 1, false)] {
        let protect = Protect::Leading(protected);
        let method = if text { PiToMe::text(merge, 0.4) } else { PiToMe { merge, ..Default::default() } };
        let method = PiToMe { protect, ..method };
        let out = run(&x, &LENGTHS, |graph, tokens| {
            let merged = method.build(graph, tokens, tokens.x)?;
            graph.output("parent", merged.map.parent)?;
            graph.output("size", merged.tokens.size)?;
            Ok(merged)
        });
        for (b, &live) in LENGTHS.iter().enumerate() {
            let margin = if text { 0.4 } else { 0.5 };
            let expected = match merge {
                // Without a merge all stay in order.
                0 => (0..live as usize).map(|i| (vec![i], mean(&rows(&x, b), &[i]))).collect(),
                _ => pitome(&rows(&x, b), merge as usize, protected as usize, margin, text),
            };
            check(&out, b, &expected, &format!("row {b}, {method:?}"));
        }
    }
}

#[test]
fn tofu_beside_a_second_formulation() {
    let x = video(8, [6, 48, 6]);
    for (merge, fusion) in [(9, Fusion::LongestMean), (100, Fusion::LongestMean), (12, Fusion::Destination)] {
        let out = run(&x, &LENGTHS, |graph, tokens| {
            let merged = ToFu { merge, fusion, protect: Protect::NONE }.build(graph, tokens, tokens.x)?;
            graph.output("parent", merged.map.parent)?;
            graph.output("size", merged.tokens.size)?;
            Ok(merged)
        });
        for b in 0..LENGTHS.len() {
            check(&out, b, &tofu(&rows(&x, b), merge as usize, fusion), &format!("row {b}, {merge} {fusion:?}"));
        }
        // Tokens that stay alone are the same to the bit.
        let (parent, merged) = (out["parent"].integers(), out["x'"].floats());
        let width = out["x'"].shape().dims()[1] as usize;
        for (at, &place) in parent.iter().enumerate().filter(|(_, place)| **place != crate::NONE) {
            let b = at / 48;
            if parent[b * 48..][..48].iter().filter(|other| **other == place).count() == 1 {
                assert_eq!(merged[(b * width + place as usize) * 6..][..6], x[at * 6..][..6]);
            }
        }
    }
}
