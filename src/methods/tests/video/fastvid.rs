//! FastVID beside a second formulation.

use super::{cosine, positions, run, video};
use crate::methods::FastVid;
use crate::{HostTensor, NONE};

/// Kept positions in order, their rows, and the position whose row each token goes to.
type Merged = (Vec<usize>, Vec<Vec<f64>>, Vec<Option<usize>>);

/// Places by descending score, the lowest of equals first.
fn best(scores: &[f64], most: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|i, j| scores[*j].total_cmp(&scores[*i]));
    order.truncate(most);
    order.sort_unstable();
    order
}

/// The published score of density peaks.
fn peaks(rows: &[&[f32]]) -> Vec<f64> {
    let distance =
        |a: &[f32], b: &[f32]| (a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>() / a.len() as f64).sqrt();
    let all: Vec<Vec<f64>> = rows.iter().map(|a| rows.iter().map(|b| distance(a, b)).collect()).collect();
    let density: Vec<f64> = all
        .iter()
        .map(|row| {
            let mut near = row.clone();
            near.sort_by(f64::total_cmp);
            near.truncate(4);
            (-near.iter().map(|d| d * d).sum::<f64>() / near.len() as f64).exp()
        })
        .collect();
    let farthest = all.iter().flatten().copied().fold(0.0, f64::max);
    let separation = |i: usize| (0..rows.len()).filter(|j| density[*j] > density[i]).map(|j| all[i][j]).fold(farthest, f64::min);
    (0..rows.len()).map(|i| separation(i) * density[i]).collect()
}

fn merged(x: &[Vec<f32>], score: &[f32], features: &[Vec<f32>], method: &FastVid) -> Merged {
    let frames: Vec<Vec<usize>> =
        (0..x.len()).collect::<Vec<_>>().chunks(method.tokens_per_frame as usize).map(<[usize]>::to_vec).collect();
    let near: Vec<f64> = (1..frames.len()).map(|f| cosine(&features[f - 1], &features[f])).collect();
    let lowest = best(&near.iter().map(|c| -c).collect::<Vec<_>>(), method.segments as usize - 1);
    let cut = |f: usize| f == frames.len() || lowest.contains(&(f - 1)) || near[f - 1] < f64::from(method.threshold);
    let mut segments: Vec<Vec<usize>> = vec![Vec::new()];
    for f in 0..frames.len() {
        segments.last_mut().expect("a segment").push(f);
        if cut(f + 1) {
            segments.push(Vec::new());
        }
    }
    segments.pop();

    let budget = (f64::from(method.tokens_per_frame) * method.keep) as usize;
    let context = (budget as f64 * method.context) as usize;
    let mut parent: Vec<Option<usize>> = vec![None; x.len()];
    let mut rests: Vec<Vec<usize>> = Vec::new();
    for frame in &frames {
        let salient = best(&frame.iter().map(|i| f64::from(score[*i])).collect::<Vec<_>>(), budget - context);
        salient.iter().for_each(|place| parent[frame[*place]] = Some(frame[*place]));
        rests.push(frame.iter().copied().filter(|i| parent[*i].is_none()).collect());
    }
    let mut rows: Vec<Vec<f64>> = x.iter().map(|row| row.iter().map(|v| f64::from(*v)).collect()).collect();
    for segment in &segments {
        let last = *segment.last().expect("a frame");
        let members: Vec<usize> = segment.iter().flat_map(|f| rests[*f].clone()).collect();
        let many = context * segment.len() / segment.len().div_ceil(method.stride as usize);
        let mut anchors_of_last = Vec::new();
        for f in segment.iter().copied().filter(|f| (last - f).is_multiple_of(method.stride as usize)) {
            let rest = &rests[f];
            let scores = peaks(&rest.iter().map(|i| &x[*i][..]).collect::<Vec<_>>());
            let anchors: Vec<usize> = best(&scores, many).into_iter().map(|place| rest[place]).collect();
            let mut joined: Vec<Vec<usize>> = vec![Vec::new(); anchors.len()];
            for &i in members.iter().filter(|_| !anchors.is_empty()) {
                let mut to = 0;
                for (a, anchor) in anchors.iter().enumerate() {
                    if cosine(&x[i], &x[*anchor]) > cosine(&x[i], &x[anchors[to]]) {
                        to = a;
                    }
                }
                joined[to].push(i);
                if f == last {
                    parent[i] = Some(anchors[to]);
                }
            }
            for (anchor, joined) in anchors.iter().zip(&joined) {
                let weight = method.own.max(1.0 / (1.0 + joined.len() as f64));
                for (c, v) in rows[*anchor].iter_mut().enumerate() {
                    let mean = joined.iter().map(|i| f64::from(x[*i][c])).sum::<f64>() / (joined.len().max(1)) as f64;
                    *v = weight * f64::from(x[*anchor][c]) + (1.0 - weight) * mean;
                }
            }
            anchors_of_last.extend(anchors);
        }
        anchors_of_last.iter().for_each(|anchor| parent[*anchor] = Some(*anchor));
    }
    let kept: Vec<usize> = (0..x.len()).filter(|i| parent[*i] == Some(*i)).collect();
    let rows = kept.iter().map(|i| rows[*i].clone()).collect();
    (kept, rows, parent)
}

#[test]
fn a_second_formulation() {
    let lengths = [48, 31, 1, 0, 13];
    let (x, score) = (video(11, [5, 48, 4]), video(6, [5, 48, 1]));
    let mut left = Vec::new();
    let setting = FastVid { tokens_per_frame: 4, keep: 0.6, segments: 2, threshold: 0.3, context: 0.5, stride: 2, own: 0.6 };
    for method in [
        setting,
        FastVid { tokens_per_frame: 6, keep: 0.5, context: 0.7, own: 0.2, ..setting },
        FastVid { segments: 1, threshold: -1.0, own: 0.0, ..setting },
        FastVid { tokens_per_frame: 12, keep: 0.5, segments: 9, ..setting },
        FastVid { tokens_per_frame: 3, keep: 1.0, context: 1.0, stride: 1, segments: 3, ..setting },
        FastVid { tokens_per_frame: 7, context: 0.0, ..setting },
        // As far apart as no video is long.
        FastVid { segments: 1, threshold: -1.0, stride: 1 << 30, ..setting },
        FastVid { tokens_per_frame: 60, keep: 0.2, stride: 9, ..setting },
    ] {
        for given in [false, true] {
            let frames = 48_u32.div_ceil(method.tokens_per_frame);
            let features = video(9, [5, frames, 3]);
            let out = run(&x, &lengths, |graph, tokens| {
                let score = graph.constant(HostTensor::f32([5, 48], score.clone()));
                let features = given.then(|| graph.constant(HostTensor::f32([5, frames, 3], features.clone())));
                let merged = method.build(graph, tokens, score, features)?;
                graph.output("parent", merged.map.parent)?;
                graph.output("size", merged.tokens.size)?;
                Ok(merged)
            });
            let width = out["x'"].shape().dims()[1] as usize;
            for (b, &live) in lengths.iter().enumerate() {
                let live = live as usize;
                let rows: Vec<Vec<f32>> = (0..live).map(|i| x[(b * 48 + i) * 4..][..4].to_vec()).collect();
                let means = rows.chunks(method.tokens_per_frame as usize).map(|frame| {
                    (0..4).map(|c| (frame.iter().map(|row| f64::from(row[c])).sum::<f64>() / frame.len() as f64) as f32).collect()
                });
                let own = (0..frames as usize).map(|f| features[(b * frames as usize + f) * 3..][..3].to_vec());
                let features: Vec<Vec<f32>> = if given { own.collect() } else { means.collect() };
                let (kept, rows, parent) = merged(&rows, &score[b * 48..][..live], &features, &method);
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
                }
                left.push(kept.len());
            }
        }
    }
    assert!(left.iter().any(|left| (10..30).contains(left)), "{left:?}");
}

#[test]
fn a_broken_token_joins_nothing() {
    let mut x = video(12, [1, 48, 4]);
    x[4 * 9 + 1] = f32::NAN;
    let score = HostTensor::f32([1, 48], (0..48).map(|i| if i == 9 { 0.0 } else { 1.0 }).collect());
    let method = FastVid { tokens_per_frame: 6, keep: 0.5, context: 0.7, segments: 1, threshold: -1.0, ..Default::default() };
    let out = run(&x, &[48], |graph, tokens| {
        let score = graph.constant(score.clone());
        let merged = method.build(graph, tokens, score, None)?;
        graph.output("parent", merged.map.parent)?;
        Ok(merged)
    });
    assert_eq!(out["parent"].integers()[9], NONE);
    assert!(out["x'"].floats().iter().all(|v| v.is_finite()));
}
