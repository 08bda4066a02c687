//! VidCom2 beside a second formulation.

use super::{positions, run, video};
use crate::methods::VidCom2;

/// The published definition, with vectors of vectors.
fn kept(x: &[Vec<f64>], frame: usize, base: f64) -> Vec<u32> {
    let channels = x.first().map_or(0, Vec::len);
    let mean = |rows: &[Vec<f64>]| -> Vec<f64> {
        let width = rows.first().map_or(0, Vec::len);
        (0..width).map(|c| rows.iter().map(|row| row[c]).sum::<f64>() / rows.len() as f64).collect()
    };
    let center = mean(x);
    let variance = |c: usize| x.iter().map(|row| (row[c] - center[c]).powi(2)).sum::<f64>();
    let mut steady: Vec<usize> = (0..channels).collect();
    steady.sort_by(|&a, &b| variance(a).total_cmp(&variance(b)));
    steady.truncate(channels / 2);
    let unit: Vec<Vec<f64>> = x
        .iter()
        .map(|row| {
            let norm = steady.iter().map(|&c| row[c] * row[c]).sum::<f64>().sqrt();
            steady.iter().map(|&c| row[c] / norm).collect()
        })
        .collect();
    let near = |row: &[f64], center: &[f64]| -> f64 {
        let distance: f64 = row.iter().zip(center).map(|(a, b)| (a - b) * (a - b)).sum();
        [0.125, 0.25, 0.5, 1.0, 2.0].iter().map(|a| (-distance / (2.0 * a)).exp()).sum()
    };
    let video = mean(&unit);
    let frames: Vec<&[Vec<f64>]> = unit.chunks(frame).collect();
    let uniqueness: Vec<f64> = frames.iter().map(|f| -f.iter().map(|row| near(row, &video)).sum::<f64>() / f.len() as f64).collect();
    let largest = uniqueness.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = uniqueness.iter().map(|s| ((s - largest) / 0.01).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut kept = Vec::new();
    for (index, rows) in frames.iter().enumerate() {
        let share = base * (1.0 + weights[index] / total - 1.0 / frames.len() as f64);
        let budget = ((share.min(1.0) * rows.len() as f64).round_ties_even() as usize).max(1);
        let own = mean(rows);
        let score = |i: usize| near(&rows[i], &video) + near(&rows[i], &own);
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by(|&a, &b| score(a).total_cmp(&score(b)));
        order.truncate(budget);
        order.sort_unstable();
        kept.extend(order.iter().map(|i| (index * frame + i) as u32));
    }
    kept
}

#[test]
fn a_second_formulation() {
    let lengths = [30, 48, 6, 0, 20];
    let x = video(5, [5, 48, 8]);
    for base in [0.4, 0.95] {
        let method = VidCom2 { tokens_per_frame: 6, base };
        let out = positions(&run(&x, &lengths, |graph, tokens| Ok(method.build(graph, tokens)?.compressed)));
        for (b, &live) in lengths.iter().enumerate() {
            let rows: Vec<Vec<f64>> =
                (0..live as usize).map(|i| x[(b * 48 + i) * 8..][..8].iter().map(|v| f64::from(*v)).collect()).collect();
            assert_eq!(out[b], kept(&rows, 6, f64::from(base)), "row {b}, base {base}");
        }
    }
}
