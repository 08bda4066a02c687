//! LLaVA-Scissor beside a second formulation, with sets that merge in place of a walk.

use super::{cosine, positions, run, video};
use crate::NONE;
use crate::methods::LlavaScissor;

/// A row, and the original token that represents it.
type Row = (Vec<f32>, usize);

/// Every component's mean, in the order of its token with the most links.
fn components(rows: &[Row], threshold: f64) -> Vec<Row> {
    let linked = |i: usize, j: usize| i != j && cosine(&rows[i].0, &rows[j].0) > threshold;
    let mut sets: Vec<Vec<usize>> = Vec::new();
    for i in 0..rows.len() {
        let (mut touched, rest): (Vec<_>, Vec<_>) = sets.into_iter().partition(|set| set.iter().any(|j| linked(i, *j)));
        sets = rest;
        touched.push(vec![i]);
        sets.push(touched.concat());
    }
    let degree = |i: usize| (0..rows.len()).filter(|j| linked(i, *j)).count();
    let mut all: Vec<(usize, Vec<f32>)> = Vec::new();
    for mut set in sets {
        set.sort_unstable();
        let most = set.iter().map(|i| degree(*i)).max().expect("a member");
        let first = *set.iter().find(|i| degree(**i) == most).expect("a member");
        let mean = |c: usize| (set.iter().map(|i| f64::from(rows[*i].0[c])).sum::<f64>() / set.len() as f64) as f32;
        all.push((first, (0..rows[0].0.len()).map(mean).collect()));
    }
    all.sort_by_key(|(first, _)| *first);
    all.into_iter().map(|(first, mean)| (mean, rows[first].1)).collect()
}

#[test]
fn a_second_formulation() {
    let lengths = [48, 31, 1, 0, 12];
    let x = video(11, [5, 48, 4]);
    let mut left = Vec::new();
    for (frame, threshold) in [(6, 0.9), (7, 0.8), (48, 0.95), (60, 0.9), (6, 0.5), (6, 2.0)] {
        let method = LlavaScissor { tokens_per_frame: frame, threshold };
        let out = run(&x, &lengths, |graph, tokens| {
            let merged = method.build(graph, tokens)?;
            graph.output("parent", merged.map.parent)?;
            graph.output("size", merged.tokens.size)?;
            Ok(merged)
        });
        let width = out["x'"].shape().dims()[1] as usize;
        for (b, &live) in lengths.iter().enumerate() {
            let rows: Vec<Row> = (0..live as usize).map(|i| (x[(b * 48 + i) * 4..][..4].to_vec(), i)).collect();
            let means: Vec<Row> = rows.chunks(frame as usize).flat_map(|frame| components(frame, f64::from(threshold))).collect();
            let all = components(&means, f64::from(threshold));
            let (mut sums, mut counts) = (all.iter().map(|row| row.0.clone()).collect::<Vec<_>>(), vec![1.0; all.len()]);
            for (row, i) in &rows {
                let mut best = 0;
                for (c, other) in all.iter().enumerate() {
                    if cosine(row, &other.0) > cosine(row, &all[best].0) {
                        best = c;
                    }
                }
                assert_eq!(out["parent"].integers()[b * 48 + i] as usize, best, "token {i} of row {b}, {method:?}");
                sums[best].iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                counts[best] += 1.0f32;
            }
            assert_eq!(positions(&out)[b], all.iter().map(|row| row.1 as u32).collect::<Vec<_>>(), "row {b}, {method:?}");
            for (c, (sum, count)) in sums.iter().zip(&counts).enumerate() {
                let actual = &out["x'"].floats()[(b * width + c) * 4..][..4];
                assert!(actual.iter().zip(sum).all(|(a, s)| (a - s / count).abs() < 1e-5), "{actual:?} {sum:?} {count}");
                assert_eq!(out["size"].floats()[b * width + c], count - 1.0);
            }
            assert!(out["parent"].integers()[b * 48 + live as usize..(b + 1) * 48].iter().all(|parent| *parent == NONE));
            left.push(all.len());
        }
    }
    assert!(left.iter().any(|left| (2..24).contains(left)) && left.contains(&48), "{left:?}");
}

#[test]
fn a_broken_token_stays_alone() {
    let mut x = video(12, [1, 48, 4]);
    x[4 * 9 + 1] = f32::NAN;
    let out = run(&x, &[48], |graph, tokens| {
        let merged = LlavaScissor { tokens_per_frame: 8, threshold: 0.8 }.build(graph, tokens)?;
        graph.output("parent", merged.map.parent)?;
        Ok(merged)
    });
    let (parent, rows) = (out["parent"].integers(), out["x'"].floats());
    let of_nan = parent[9];
    assert_eq!(parent.iter().filter(|place| **place == of_nan).count(), 1);
    let broken: Vec<usize> = (0..out["kept"].integers()[0] as usize).filter(|c| rows[c * 4..][..4].iter().any(|v| v.is_nan())).collect();
    assert_eq!(broken, [of_nan as usize]);
}
