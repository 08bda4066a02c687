//! HoliTom beside a second formulation.

use super::{cosine, positions, run, video};
use crate::methods::HoliTom;
use crate::{HostTensor, NONE};

/// Places by descending score, the lowest of equals first, of which so many stay, in order.
fn best(scores: &[f64], most: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|i, j| scores[*j].total_cmp(&scores[*i]));
    order.truncate(most);
    order.sort_unstable();
    order
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
}

/// The published score of density peaks over so many neighbours.
fn peaks(rows: &[Vec<f64>], nearest: usize) -> Vec<f64> {
    let all: Vec<Vec<f64>> = rows.iter().map(|a| rows.iter().map(|b| distance(a, b)).collect()).collect();
    let density: Vec<f64> = all
        .iter()
        .map(|row| {
            let mut near = row.clone();
            near.sort_by(f64::total_cmp);
            near.truncate(nearest);
            (-near.iter().map(|d| d * d).sum::<f64>() / near.len() as f64).exp()
        })
        .collect();
    let farthest = all.iter().flatten().copied().fold(0.0, f64::max);
    let separation = |i: usize| (0..rows.len()).filter(|j| density[*j] > density[i]).map(|j| all[i][j]).fold(farthest, f64::min);
    (0..rows.len()).map(|i| separation(i) * density[i]).collect()
}

/// Kept positions in order, their rows, and the position whose row each token goes to.
fn merged(x: &[Vec<f32>], score: &[f32], method: &HoliTom) -> (Vec<usize>, Vec<Vec<f64>>, Vec<Option<usize>>) {
    let n = method.tokens_per_frame as usize;
    let frames = x.len().div_ceil(n);
    let joins = |t: usize, l: usize| x.get(t * n + l).is_some_and(|row| cosine(row, &x[(t - 1) * n + l]) > f64::from(method.threshold));
    let is_static = |s: usize, e: usize, l: usize| s < e && (s + 1..=e).all(|t| joins(t, l));
    let gain = |s: usize, e: usize| (0..n).filter(|l| is_static(s, e, *l)).count() * (e - s);
    // The largest sum of the first frames, and where the last of their windows begins.
    let mut sums = vec![(0, 0)];
    for e in 0..frames {
        let mut found = (sums[e].0, e);
        for s in (0..e).rev().take_while(|s| e - s < method.longest as usize) {
            if sums[s].0 + gain(s, e) > found.0 {
                found = (sums[s].0 + gain(s, e), s);
            }
        }
        sums.push(found);
    }
    let (mut windows, mut end) = (Vec::new(), frames);
    while end > 0 {
        windows.push((sums[end].1, end - 1));
        end = sums[end].1;
    }
    let ratio = (f64::from(method.keep) * x.len() as f64 / (x.len() - sums[frames].0) as f64).min(1.0);
    let slack = 1.0 / 1024.0;

    let mut rows: Vec<Vec<f64>> = x.iter().map(|row| row.iter().map(|v| f64::from(*v)).collect()).collect();
    let mut parent: Vec<Option<usize>> = vec![None; x.len()];
    for (s, e) in windows {
        let fixed: Vec<usize> = (0..n).filter(|l| is_static(s, e, *l)).collect();
        let mean = |l: &usize| -> Vec<f64> {
            (0..4).map(|c| (s..=e).map(|t| f64::from(x[t * n + l][c])).sum::<f64>() / (e - s + 1) as f64).collect()
        };
        let means: Vec<Vec<f64>> = fixed.iter().map(mean).collect();
        let many = (fixed.len() as f64 * ratio + 0.5 - slack) as usize;
        let centres = best(&peaks(&means, many.min(7)), many);
        let nearest = |i: usize| match centres.iter().position(|c| *c == i) {
            Some(own) => own,
            None => (0..centres.len())
                .fold(0, |to, a| if distance(&means[i], &means[centres[a]]) < distance(&means[i], &means[centres[to]]) { a } else { to }),
        };
        for (a, centre) in centres.iter().enumerate() {
            let mine: Vec<usize> = (0..fixed.len()).filter(|i| nearest(*i) == a).collect();
            let others: Vec<usize> = mine.iter().copied().filter(|i| i != centre).collect();
            let at = s * n + fixed[*centre];
            mine.iter().for_each(|i| (s..=e).for_each(|t| parent[t * n + fixed[*i]] = Some(at)));
            let own = if others.is_empty() { 1.0 } else { f64::from(method.own) };
            for c in 0..4 {
                let mean = others.iter().map(|i| means[*i][c]).sum::<f64>() / others.len().max(1) as f64;
                rows[at][c] = own * means[*centre][c] + (1.0 - own) * mean;
            }
        }
        for t in s..=e {
            let changing: Vec<usize> = (0..n).filter(|l| !fixed.contains(l) && t * n + l < x.len()).map(|l| t * n + l).collect();
            let many = (changing.len() as f64 * ratio + 1.0 - slack) as usize;
            for place in best(&changing.iter().map(|i| f64::from(score[*i])).collect::<Vec<_>>(), many) {
                parent[changing[place]] = Some(changing[place]);
            }
        }
    }
    let kept: Vec<usize> = (0..x.len()).filter(|i| parent[*i] == Some(*i)).collect();
    let rows = kept.iter().map(|i| rows[*i].clone()).collect();
    (kept, rows, parent)
}

#[test]
fn a_second_formulation() {
    let lengths = [48, 31, 1, 0, 13];
    let (x, score) = (video(11, [5, 48, 4]), video(6, [5, 48, 1]));
    let (mut merges, mut left) = (0, Vec::new());
    let setting = HoliTom { tokens_per_frame: 6, keep: 0.4, threshold: 0.5, longest: 1024, own: 0.6 };
    for method in [
        setting,
        HoliTom { threshold: 0.0, keep: 0.3, ..setting },
        HoliTom { threshold: -1.0, keep: 0.2, own: 0.3, ..setting },
        HoliTom { threshold: 0.2, longest: 3, keep: 1.0, ..setting },
        HoliTom { tokens_per_frame: 12, threshold: -0.2, keep: 0.25, ..setting },
        HoliTom { tokens_per_frame: 16, threshold: -1.0, keep: 0.2, ..setting },
        HoliTom { tokens_per_frame: 4, threshold: 2.0, ..setting },
        HoliTom { tokens_per_frame: 60, keep: 0.0, ..setting },
    ] {
        let out = run(&x, &lengths, |graph, tokens| {
            let score = graph.constant(HostTensor::f32([5, 48], score.clone()));
            let merged = method.build(graph, tokens, score)?;
            graph.output("parent", merged.map.parent)?;
            graph.output("size", merged.tokens.size)?;
            Ok(merged)
        });
        let width = out["x'"].shape().dims()[1] as usize;
        for (b, &live) in lengths.iter().enumerate() {
            let live = live as usize;
            let rows: Vec<Vec<f32>> = (0..live).map(|i| x[(b * 48 + i) * 4..][..4].to_vec()).collect();
            let (kept, rows, parent) = merged(&rows, &score[b * 48..][..live], &method);
            assert_eq!(positions(&out)[b], kept.iter().map(|i| *i as u32).collect::<Vec<_>>(), "row {b}, {method:?}");
            let place = |i: usize| parent[i].map_or(NONE, |to| kept.iter().position(|k| *k == to).expect("kept") as u32);
            for i in 0..48 {
                let expected = if i < live { place(i) } else { NONE };
                assert_eq!(out["parent"].integers()[b * 48 + i], expected, "token {i} of row {b}, {method:?}");
            }
            for (p, row) in rows.iter().enumerate() {
                let actual = &out["x'"].floats()[(b * width + p) * 4..][..4];
                assert!(actual.iter().zip(row).all(|(a, e)| (f64::from(*a) - e).abs() < 1e-5), "{actual:?} {row:?}, {method:?}");
                let members = (0..live).filter(|i| place(*i) == p as u32).count();
                assert_eq!(out["size"].floats()[b * width + p], members as f32);
                merges += members - 1;
            }
            left.push(kept.len());
        }
    }
    assert!(merges > 100 && left.iter().any(|left| (10..30).contains(left)), "{merges}, {left:?}");
}

#[test]
fn a_broken_token_is_not_static() {
    let mut x: Vec<f32> = (0..48 * 4).map(|i| (i % 24) as f32 + 1.0).collect();
    x[4 * 9 + 1] = f32::NAN;
    let score = HostTensor::f32([1, 48], (0..48).map(|i| if i == 9 { 1.0 } else { 0.0 }).collect());
    let out = run(&x, &[48], |graph, tokens| {
        let score = graph.constant(score.clone());
        let merged = HoliTom { tokens_per_frame: 6, keep: 0.5, ..Default::default() }.build(graph, tokens, score)?;
        graph.output("parent", merged.map.parent)?;
        Ok(merged)
    });
    let (parent, rows) = (out["parent"].integers(), out["x'"].floats());
    let broken: Vec<usize> = (0..out["kept"].integers()[0] as usize).filter(|p| rows[p * 4..][..4].iter().any(|v| v.is_nan())).collect();
    assert_eq!(broken.len(), 1);
    assert!(broken.iter().all(|p| parent.iter().enumerate().all(|(i, to)| *to as usize != *p || i == 9)), "{broken:?} {parent:?}");
}
