//! PixelPrune beside a second formulation, which copies values where the method follows indices.

use super::video::{positions, run};
use crate::kernels::Distance;
use crate::methods::PixelPrune;
use crate::random::random_below;

/// Flat areas with edges, and noise of so many steps; all numbers are exact.
fn image(noise: u32, rows: usize) -> Vec<f32> {
    let level = |i: usize| ((i / 24 + i % 8 / 3) % 3) as f32;
    let value = |at: usize| level(at / 5 % 48) + random_below(7, at as u64, noise + 1) as f32 / 64.0;
    (0..rows * 48 * 5).map(value).collect()
}

fn near(a: &[f64], b: &[f64], method: &PixelPrune) -> bool {
    let apart: Vec<f64> = a.iter().zip(b).map(|(a, b)| (a - b).abs()).collect();
    let distance = match method.measure {
        Distance::Largest => apart.iter().copied().fold(0.0, f64::max),
        Distance::MeanAbsolute => apart.iter().sum::<f64>() / apart.len() as f64,
        Distance::RootMeanSquare => (apart.iter().map(|d| d * d).sum::<f64>() / apart.len() as f64).sqrt(),
    };
    distance <= f64::from(method.threshold)
}

/// Positions that are kept, and what every place holds once it is filled again.
fn pruned(image: &[Vec<f64>], width: usize, method: &PixelPrune) -> (Vec<u32>, Vec<Vec<f64>>) {
    let mut kept = vec![0];
    // What the decoder has.
    let mut decoded: Vec<Vec<f64>> = vec![image[0].clone()];
    for (i, x) in image.iter().enumerate().skip(1) {
        let seen = |at: usize| if method.anchored { &decoded[at] } else { &image[at] };
        let predictor = match (i / width, i % width) {
            (0, _) => i - 1,
            (_, 0) => i - width,
            _ => {
                let (a, b, c) = (seen(i - 1), seen(i - width), seen(i - width - 1));
                if near(c, a, method) && !near(c, b, method) { i - width } else { i - 1 }
            }
        };
        if near(x, seen(predictor), method) {
            decoded.push(decoded[predictor].clone());
        } else {
            kept.push(i as u32);
            decoded.push(x.clone());
        }
    }
    (kept, decoded)
}

#[test]
fn a_second_formulation() {
    let lengths = [48, 30, 1, 0];
    let mut all = Vec::new();
    for (noise, threshold) in [(0, 0.0), (2, 0.0), (2, 1.6 / 64.0), (6, 3.1 / 64.0)] {
        for (measure, anchored) in [
            (Distance::Largest, true),
            (Distance::Largest, false),
            (Distance::MeanAbsolute, true),
            (Distance::MeanAbsolute, false),
            (Distance::RootMeanSquare, true),
        ] {
            let (x, method) = (image(noise, 4), PixelPrune { width: 8, measure, threshold, anchored });
            let out = run(&x, &lengths, |graph, tokens| {
                let kept = method.build(graph, tokens)?;
                let filled = kept.map.unmerge(graph, kept.tokens.x, None)?;
                graph.output("filled", filled)?;
                graph.output("size", kept.tokens.size)?;
                Ok(kept)
            });
            for (b, &live) in lengths.iter().enumerate() {
                let row = |i: usize| x[(b * 48 + i) * 5..][..5].iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
                let image: Vec<_> = (0..live as usize).map(row).collect();
                let (kept, decoded) = if live == 0 { (Vec::new(), Vec::new()) } else { pruned(&image, 8, &method) };
                assert_eq!(positions(&out)[b], kept, "{method:?} of row {b}");
                let filled: Vec<f64> = out["filled"].floats()[b * 240..][..live as usize * 5].iter().map(|v| f64::from(*v)).collect();
                assert_eq!(filled, decoded.concat(), "{method:?} of row {b}");
                assert_eq!(out["size"].floats()[b * 48..][..48].iter().sum::<f32>(), live as f32);
                all.push(kept.len());
            }
        }
    }
    // Neither everything nor nothing is kept.
    assert!(all.iter().any(|kept| (2..10).contains(kept)) && all.contains(&48), "{all:?}");
}
