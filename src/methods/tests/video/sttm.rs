//! STTM beside a second formulation, which descends into each frame and joins sets.

use super::{positions, run};
use crate::NONE;
use crate::methods::Sttm;
use crate::random::random_below;

/// Rows and columns of a node, without the last ones, and its average.
#[derive(Clone)]
struct Node {
    rows: [usize; 2],
    columns: [usize; 2],
    row: Vec<f64>,
    below: Vec<Node>,
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Where the nodes above a side of so many nodes begin.
fn starts(side: usize) -> Vec<usize> {
    if side.is_multiple_of(2) { (0..side).step_by(2).collect() } else { [0].into_iter().chain((1..side).step_by(2)).collect() }
}

/// The nodes above a grid of them.
fn above(grid: &[Vec<Node>]) -> Vec<Vec<Node>> {
    let (rows, columns) = (starts(grid.len()), starts(grid[0].len()));
    let part = |list: &[usize], i: usize, all: usize| list[i]..list.get(i + 1).copied().unwrap_or(all);
    let node = |i: usize, j: usize| {
        let below: Vec<Node> =
            part(&rows, i, grid.len()).flat_map(|r| part(&columns, j, grid[0].len()).map(move |c| grid[r][c].clone())).collect();
        let (first, last) = (&below[0], &below[below.len() - 1]);
        let mean = |c: usize| below.iter().map(|node| node.row[c]).sum::<f64>() / below.len() as f64;
        let row = (0..first.row.len()).map(mean).collect();
        Node { rows: [first.rows[0], last.rows[1]], columns: [first.columns[0], last.columns[1]], row, below: below.clone() }
    };
    (0..rows.len()).map(|i| (0..columns.len()).map(|j| node(i, j)).collect()).collect()
}

fn leaves(node: &Node, threshold: f64, found: &mut Vec<Node>) {
    if node.below.iter().all(|child| cosine(&node.row, &child.row) >= threshold) {
        found.push(node.clone());
    } else {
        node.below.iter().for_each(|child| leaves(child, threshold, found));
    }
}

fn contains(a: &Node, b: &Node) -> bool {
    let within = |a: [usize; 2], b: [usize; 2]| a[0] <= b[0] && b[1] <= a[1];
    within(a.rows, b.rows) && within(a.columns, b.columns)
}

/// For each token the position that stands for it, and for each of these the merged row.
fn merged(x: &[Vec<f64>], method: &Sttm) -> (Vec<usize>, Vec<(usize, Vec<f64>)>) {
    let (height, width) = (method.height as usize, method.width as usize);
    // Every leaf with its frame.
    let mut all: Vec<(usize, Node)> = Vec::new();
    for (t, frame) in x.chunks_exact(height * width).enumerate() {
        let leaf =
            |r: usize, c: usize| Node { rows: [r, r + 1], columns: [c, c + 1], row: frame[r * width + c].clone(), below: Vec::new() };
        let mut levels = vec![(0..height).map(|r| (0..width).map(|c| leaf(r, c)).collect()).collect::<Vec<Vec<Node>>>()];
        while levels[levels.len() - 1].len() > 2 && levels[levels.len() - 1][0].len() > 2 {
            levels.push(above(&levels[levels.len() - 1]));
        }
        let top = levels.len().saturating_sub(1 + method.root as usize);
        let mut found = Vec::new();
        levels[top].iter().flatten().for_each(|node| leaves(node, f64::from(method.threshold), &mut found));
        found.sort_by_key(|node| (node.rows[0], node.columns[0]));
        all.extend(found.into_iter().map(|node| (t, node)));
    }
    let mut set: Vec<usize> = (0..all.len()).collect();
    for (i, j) in (0..all.len()).flat_map(|i| (i + 1..all.len()).map(move |j| (i, j))) {
        let (a, b) = (&all[i], &all[j]);
        let linked = b.0 == a.0 + 1 && (contains(&a.1, &b.1) || contains(&b.1, &a.1));
        if method.temporal.is_some_and(|least| linked && cosine(&a.1.row, &b.1.row) >= f64::from(least)) {
            let (low, high) = (set[i].min(set[j]), set[i].max(set[j]));
            set.iter_mut().filter(|s| **s == high).for_each(|s| *s = low);
        }
    }
    let position = |leaf: usize| {
        let (t, node) = &all[leaf];
        (t * height + node.rows[0]) * width + node.columns[0]
    };
    let mut stands = vec![0; x.len() / (height * width) * height * width];
    for (leaf, (t, node)) in all.iter().enumerate() {
        for (r, c) in (node.rows[0]..node.rows[1]).flat_map(|r| (node.columns[0]..node.columns[1]).map(move |c| (r, c))) {
            stands[(t * height + r) * width + c] = position(set[leaf]);
        }
    }
    let mut rows = Vec::new();
    for leaf in (0..all.len()).filter(|leaf| set[*leaf] == *leaf) {
        let members: Vec<&Node> = (0..all.len()).filter(|other| set[*other] == leaf).map(|other| &all[other].1).collect();
        let mean = |c: usize| members.iter().map(|node| node.row[c]).sum::<f64>() / members.len() as f64;
        rows.push((position(leaf), (0..x[0].len()).map(mean).collect()));
    }
    (stands, rows)
}

/// A video of areas that move, with noise.
fn areas(rows: usize) -> Vec<f32> {
    let value = |at: usize| {
        let (token, c) = (at / 4 % 48, at % 4);
        let area = (token / 24 + token % 24 / 9 + token % 5 / 3) % 4;
        let noise = random_below(5, at as u64, 1 << 16) as f32 / (1 << 16) as f32 - 0.5;
        if area == c { 1.0 + noise } else { 0.7 * noise }
    };
    (0..rows * 48 * 4).map(value).collect()
}

#[test]
fn a_second_formulation() {
    let lengths = [48, 31, 20, 0, 3];
    let x = areas(5);
    let mut left = Vec::new();
    for (height, width, threshold, temporal, root) in [
        (4, 4, 0.8, Some(0.6), 0),
        (4, 4, 0.9, None, 0),
        (5, 3, 0.75, Some(0.7), 0),
        (3, 5, 0.7, Some(0.8), 0),
        (6, 8, 0.6, Some(0.6), 0),
        (6, 8, 0.6, None, 1),
        (5, 9, 0.5, None, 0),
        (1, 6, 0.8, Some(0.5), 0),
        (2, 3, 0.7, Some(0.9), 3),
        (9, 9, 0.7, Some(0.9), 0),
    ] {
        let method = Sttm { height, width, threshold, temporal, root };
        let out = run(&x, &lengths, |graph, tokens| {
            let merged = method.build(graph, tokens)?;
            graph.output("parent", merged.map.parent)?;
            graph.output("size", merged.tokens.size)?;
            Ok(merged)
        });
        if height * width > 48 {
            assert!(out["kept"].integers().iter().all(|kept| *kept == 0) && out["parent"].integers().iter().all(|p| *p == NONE));
            continue;
        }
        let room = out["x'"].shape().dims()[1] as usize;
        for (b, &live) in lengths.iter().enumerate() {
            let rows: Vec<Vec<f64>> =
                (0..live as usize).map(|i| x[(b * 48 + i) * 4..][..4].iter().map(|v| f64::from(*v)).collect()).collect();
            let (stands, expected) = merged(&rows, &method);
            assert_eq!(positions(&out)[b], expected.iter().map(|row| row.0 as u32).collect::<Vec<_>>(), "row {b}, {method:?}");
            for i in 0..48 {
                let place = stands.get(i).map(|stand| expected.iter().position(|row| row.0 == *stand).expect("a row") as u32);
                assert_eq!(out["parent"].integers()[b * 48 + i], place.unwrap_or(NONE), "token {i} of row {b}, {method:?}");
            }
            for (place, (position, row)) in expected.iter().enumerate() {
                let actual = &out["x'"].floats()[(b * room + place) * 4..][..4];
                assert!(actual.iter().zip(row).all(|(a, e)| (f64::from(*a) - e).abs() < 1e-5), "{method:?}: {actual:?} {row:?}");
                let size = stands.iter().filter(|stand| *stand == position).count();
                assert_eq!(out["size"].floats()[b * room + place], size as f32);
            }
            left.push((expected.len(), stands.len()));
        }
    }
    assert!(left.iter().any(|(left, all)| *left > 2 && 3 * left < *all) && left.iter().any(|(left, all)| 2 * left > *all), "{left:?}");
}
