//! Cosines against thresholds.

use tokenpress::kernels::{Among, Neighbours, grow_runs, pair_similarity, previous_at, row_normalize};
use tokenpress::methods::{AToMe, AdjacentPairs, PairChoice, ToMe, WindowMerge};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use super::Known;
use crate::support::data;

/// Few channels, a workgroup's worth and more, multiples of four and not.
const WIDTHS: [u32; 23] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 31, 33, 48, 64, 70, 127, 128, 129, 768, 1024, 2049];

pub fn all() -> Vec<Known> {
    let mut all = Vec::new();
    let random = |width: usize| data::normal(width as u64, width);
    let constant = |width: usize| vec![0.3; width];
    let counted = |width: usize| (1..=width).map(|c| c as f32).collect::<Vec<_>>();
    for width in WIDTHS {
        let rows = |row: Vec<f32>, factors: [f32; 8]| factors.iter().flat_map(|f| row.iter().map(move |x| x * f)).collect::<Vec<_>>();
        let c = width as usize;
        all.push(one_direction("eight equal rows", width, rows(random(c), [1.0; 8])));
        all.push(one_direction("eight rows that count", width, rows(counted(c), [1.0; 8])));
        all.push(one_direction("eight constant rows", width, rows(constant(c), [1.0; 8])));
        let factors = [1.0, 2.0, 0.5, 4096.0, 2f32.powi(-100), 2f32.powi(90), 1.0, 8.0];
        all.push(one_direction("rows that differ by powers of two", width, rows(random(c), factors)));
        all.push(one_direction("rows of one direction", width, rows(random(c), [1.0, 3.0, 5.0, 0.7, 1e-20, 1e20, 9.0, 0.1])));
        if width > 1 {
            all.push(apart(width, random(c)));
        }
    }
    all.push(zero_rows());
    all
}

/// Whatever takes a cosine takes 1, and merges at a threshold of 1.
fn one_direction(what: &str, width: u32, values: Vec<f32>) -> Known {
    let mut graph = Graph::new();
    let x = graph.tokens("x", [1, 8, width], Elem::F32).expect("a shape");
    let merged = ToMe { merge: u32::MAX, threshold: Some(1.0), ..ToMe::default() }.build(&mut graph, &x, x.x).expect("a shape");
    let pairs = AToMe { choice: PairChoice::Similarity(1.0), pairs: AdjacentPairs::Disjoint }.build(&mut graph, &x, x.x).expect("a shape");
    let unit = row_normalize(&mut graph, x.x, None).expect("a shape");
    let previous = previous_at(&mut graph, 8, 1);
    let similarity = pair_similarity(&mut graph, unit, previous, None).expect("a shape");
    let near = Neighbours { nearest: 7, exclude_self: true }.most_similar(&mut graph, unit, Among::default()).expect("a shape");
    let joins = grow_runs(&mut graph, unit, 1.0, None).expect("a shape");
    // A class token before the patches of a grid of 2 x 4.
    let class = graph.tokens("class", [1, 9, width], Elem::F32).expect("a shape");
    let windows = WindowMerge { height: 2, width: 4, window: 2, threshold: 1.0, ..WindowMerge::default() };
    let windows = windows.build(&mut graph, &class).expect("a shape");
    for (name, tensor) in [
        ("left", merged.tokens.lengths),
        ("pairs left", pairs.tokens.lengths),
        ("similarity", similarity),
        ("neighbours", near.indices),
        ("nearness", near.values),
        ("joins", joins),
        ("windows", windows.score),
        ("windows left", windows.compressed.tokens.lengths),
    ] {
        graph.output(name, tensor).expect("a name");
    }
    let with_class = [vec![1.0; width as usize], values.clone()].concat();
    let inputs: HostTensors =
        [("x".to_owned(), HostTensor::f32([1, 8, width], values)), ("class".to_owned(), HostTensor::f32([1, 9, width], with_class))].into();
    let others: Vec<f64> = (0..8).flat_map(|i| (0..8).filter(move |j| *j != i).map(f64::from)).collect();
    let outputs = vec![
        ("left", vec![4.0], 0.0),
        ("pairs left", vec![4.0], 0.0),
        ("similarity", [vec![f64::NEG_INFINITY], vec![1.0; 7]].concat(), 0.0),
        ("neighbours", others, 0.0),
        ("nearness", vec![1.0; 56], 0.0),
        ("joins", [vec![0.0], vec![1.0; 7]].concat(), 0.0),
        ("windows", vec![1.0; 2], 0.0),
        ("windows left", vec![3.0], 0.0),
    ];
    Known { name: format!("{what} of {width} channels are alike").leak(), graph, inputs, outputs }
}

/// Rows at angles of 0.004 from each other, which is 8e-6 of a cosine: nothing merges at a threshold of 1, all does just below.
fn apart(width: u32, row: Vec<f32>) -> Known {
    let mut graph = Graph::new();
    let x = graph.tokens("x", [1, 8, width], Elem::F32).expect("a shape");
    for (name, threshold) in [("at 1", 1.0), ("below 1", 0.999_99)] {
        let merged = ToMe { merge: u32::MAX, threshold: Some(threshold), ..ToMe::default() }.build(&mut graph, &x, x.x).expect("a shape");
        graph.output(name, merged.tokens.lengths).expect("a name");
    }
    // Turned in the plane of the row and its two first channels, swapped: they are large enough.
    let row = [vec![3.0, 1.0], row[2..].iter().map(|x| x * 1e-3).collect()].concat();
    let turned = |i: usize| {
        let angle = if i.is_multiple_of(2) { 0.0f32 } else { 0.004 };
        let (sin, cos) = angle.sin_cos();
        [vec![3.0 * cos - sin, 3.0 * sin + cos], row[2..].to_vec()].concat()
    };
    let inputs = [("x".to_owned(), HostTensor::f32([1, 8, width], (0..8).flat_map(turned).collect()))].into();
    let name = format!("rows of {width} channels that are nearly alike are not alike").leak();
    Known { name, graph, inputs, outputs: vec![("at 1", vec![8.0], 0.0), ("below 1", vec![4.0], 0.0)] }
}

/// A zero row is like nothing, another zero row among it.
fn zero_rows() -> Known {
    let mut graph = Graph::new();
    let x = graph.tokens("x", [1, 5, 2], Elem::F32).expect("a shape");
    let unit = row_normalize(&mut graph, x.x, None).expect("a shape");
    let previous = previous_at(&mut graph, 5, 1);
    let similarity = pair_similarity(&mut graph, unit, previous, None).expect("a shape");
    let joins = grow_runs(&mut graph, unit, 0.5, None).expect("a shape");
    let windows = WindowMerge { height: 2, width: 2, window: 2, threshold: 1.0, ..WindowMerge::default() };
    let windows = windows.build(&mut graph, &x).expect("a shape");
    graph.output("similarity", similarity).expect("a name");
    graph.output("joins", joins).expect("a name");
    graph.output("windows", windows.score).expect("a name");
    let inputs = [("x".to_owned(), HostTensor::f32([1, 5, 2], vec![1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 5.0, 0.0, -1.0, 0.0]))].into();
    let outputs = vec![
        ("similarity", vec![f64::NEG_INFINITY, 0.0, 0.0, 1.0, -1.0], 0.0),
        ("joins", vec![0.0, 0.0, 0.0, 1.0, 0.0], 0.0),
        // Patches 0, x, x, -x: of six pairs one has cosine 1 and two have -1.
        ("windows", vec![-1.0 / 6.0], 1e-6),
    ];
    Known { name: "zero rows are like nothing", graph, inputs, outputs }
}
