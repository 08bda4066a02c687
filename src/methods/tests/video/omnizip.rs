//! OmniZip beside a second formulation.

use super::{cosine, video};
use crate::methods::OmniZip;
use crate::readback::HostTensors;
use crate::{Elem, Graph, HostTensor, NONE, Tokens};

/// Places by descending score, the lowest of equals first, of which so many stay, in order.
fn best(scores: &[f64], most: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|i, j| scores[*j].total_cmp(&scores[*i]));
    order.truncate(most);
    order.sort_unstable();
    order
}

/// What is left of the sound: positions, rows, and the position that each token went to.
fn sound(audio: &[Vec<f32>], video: &[Vec<f32>], score: &[f32], method: &OmniZip) -> (Vec<usize>, Vec<Vec<f64>>, Vec<Option<usize>>) {
    let n = audio.len();
    let salient =
        best(&score.iter().map(|s| f64::from(*s)).collect::<Vec<_>>(), ((1.0 - method.audio) * n as f64).round_ties_even() as usize);
    let rest: Vec<usize> = (0..n).filter(|i| !salient.contains(i)).collect();
    let many = ((method.context * n as f64).round_ties_even() as usize).min(rest.len());
    let step = rest.len().checked_div(many).unwrap_or(1);
    let anchors: Vec<usize> = rest.iter().copied().step_by(step).take(many).collect();
    let mut rows: Vec<Vec<f64>> = audio.iter().map(|row| row.iter().map(|v| f64::from(*v)).collect()).collect();
    let mut parent: Vec<Option<usize>> = (0..n).map(|i| (salient.contains(&i) || anchors.contains(&i)).then_some(i)).collect();
    let pool: Vec<usize> = rest.into_iter().filter(|i| !anchors.contains(i)).collect();
    let to = |i: usize| {
        (0..anchors.len())
            .fold(0, |to, a| if cosine(&audio[i], &audio[anchors[a]]) > cosine(&audio[i], &audio[anchors[to]]) { a } else { to })
    };
    for (a, &anchor) in anchors.iter().enumerate() {
        let mine: Vec<usize> = pool.iter().copied().filter(|i| to(*i) == a).collect();
        let likeness = |i: &usize| match video.iter().map(|row| cosine(&audio[*i], row)).max_by(f64::total_cmp) {
            Some(most) => most,
            None => cosine(&audio[*i], &audio[anchor]),
        };
        let all: Vec<f64> = mine.iter().map(likeness).collect();
        let chosen = best(&all, method.members as usize);
        let total: f64 = chosen.iter().map(|p| all[*p].exp()).sum();
        for p in &chosen {
            parent[mine[*p]] = Some(anchor);
        }
        for (c, v) in rows[anchor].iter_mut().enumerate().filter(|_| !chosen.is_empty()) {
            *v = (*v + chosen.iter().map(|p| all[*p].exp() / total * f64::from(audio[mine[*p]][c])).sum::<f64>()) / 2.0;
        }
    }
    let kept: Vec<usize> = (0..n).filter(|i| parent[*i] == Some(*i)).collect();
    let rows = kept.iter().map(|i| rows[*i].clone()).collect();
    (kept, rows, parent)
}

/// The share of every chunk's video that goes.
fn shares(stays: &[bool], sizes: &[usize], method: &OmniZip) -> Vec<f64> {
    let (least, most) = (f64::from(method.least), f64::from(method.most));
    let clamp = |v: f64| v.clamp(least, most);
    let heard: Vec<f64> =
        stays.chunks(method.audio_per_chunk as usize).map(|c| c.iter().filter(|s| **s).count() as f64 / c.len() as f64).collect();
    let guided = heard.len().min(sizes.len());
    let base: Vec<f64> = heard[..guided].iter().map(|share| clamp(most + (least - most) * share)).collect();
    let mut new = base.clone();
    if guided > 2 {
        let first = |wanted: f64| base.iter().position(|v| *v == wanted).expect("one of them");
        let low = first(base.iter().copied().fold(f64::INFINITY, f64::min));
        let high = first(base.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        let free: Vec<usize> = (0..guided).filter(|i| *i != low && *i != high).collect();
        let size = |i: usize| sizes[i] as f64;
        let wanted = f64::from(method.video) * (0..guided).map(size).sum::<f64>();
        let factor = (wanted - base[low] * size(low) - base[high] * size(high)) / free.iter().map(|i| base[*i] * size(*i)).sum::<f64>();
        free.iter().for_each(|i| new[*i] = clamp(base[*i] * factor));
        let missing = wanted - (0..guided).map(|i| new[i] * size(i)).sum::<f64>();
        let shift = missing / free.iter().map(|i| size(*i)).sum::<f64>();
        free.iter().for_each(|i| new[*i] = clamp(new[*i] + shift));
    }
    new.resize(sizes.len(), f64::from(method.video));
    new
}

/// What is left of the video.
fn pictures(x: &[Vec<f32>], drop: &[f64], method: &OmniZip) -> Vec<usize> {
    let frames: Vec<Vec<usize>> =
        (0..x.len()).collect::<Vec<_>>().chunks(method.tokens_per_frame as usize).map(<[usize]>::to_vec).collect();
    let mut kept = Vec::new();
    for (f, frame) in frames.iter().enumerate() {
        let chunk = f / method.frames_per_chunk as usize;
        let count = (frame.len() as f64 * (1.0 - drop[chunk]) + 1.0 / 1024.0) as usize;
        let scores: Vec<f64> = if f % method.frames_per_chunk as usize % 2 == 1 {
            frame.iter().map(|i| -cosine(&x[*i], &x[*i - method.tokens_per_frame as usize])).collect()
        } else {
            let distance: Vec<Vec<f64>> = frame.iter().map(|i| frame.iter().map(|j| 1.0 - cosine(&x[*i], &x[*j])).collect()).collect();
            let density: Vec<f64> = (0..frame.len())
                .map(|i| {
                    let mut others: Vec<f64> = (0..frame.len()).filter(|j| *j != i).map(|j| distance[i][j]).collect();
                    others.sort_by(f64::total_cmp);
                    others.truncate(5);
                    (-others.iter().sum::<f64>() / (others.len().max(1)) as f64).exp()
                })
                .collect();
            (0..frame.len())
                .map(|i| {
                    let denser = (0..frame.len()).filter(|j| density[*j] > density[i]).map(|j| distance[i][j]).min_by(f64::total_cmp);
                    let farthest = (0..frame.len()).filter(|j| *j != i).map(|j| distance[i][j]).fold(0.0, f64::max);
                    density[i] * denser.unwrap_or(farthest)
                })
                .collect()
        };
        kept.extend(best(&scores, count).into_iter().map(|place| frame[place]));
    }
    kept
}

/// A ragged batch of video and sound, 48 and 40 tokens a row.
fn run(method: &OmniZip, tensors: [&[f32]; 3], lengths: [&[u32]; 2]) -> HostTensors {
    let batch = lengths[0].len() as u32;
    let mut graph = Graph::new();
    let mut inputs = HostTensors::new();
    let mut input = |graph: &mut Graph, name: &str, tensor: HostTensor| {
        let handle = graph.input(name, tensor.shape(), tensor.desc().elem);
        inputs.insert(name.to_owned(), tensor);
        handle
    };
    let [x, sound] = [("video", 48, 0), ("audio", 40, 1)].map(|(name, tokens, i)| {
        let channels = tensors[i].len() as u32 / batch / tokens;
        let x = input(&mut graph, name, HostTensor::f32([batch, tokens, channels], tensors[i].to_vec()));
        let live = input(&mut graph, &format!("{name} lengths"), HostTensor::u32([batch], lengths[i].to_vec()));
        Tokens::ragged(&mut graph, x, live).expect("shapes agree")
    });
    let score = input(&mut graph, "score", HostTensor::f32([batch, 40], tensors[2].to_vec()));
    assert_eq!(score.elem(), Elem::F32);
    let kept = method.build(&mut graph, &x, &sound, score).expect("valid options");
    for (name, of) in [("video'", kept.video), ("audio'", kept.audio)] {
        for (what, tensor) in [
            ("x", of.tokens.x),
            ("size", of.tokens.size),
            ("parent", of.map.parent),
            ("kept", of.map.representative),
            ("count", of.map.lengths),
        ] {
            graph.output(&format!("{name} {what}"), tensor).expect("a name");
        }
    }
    graph.output("drop", kept.drop).expect("a name");
    graph.run_reference(&inputs).expect("the graph's own inputs")
}

#[test]
fn a_second_formulation() {
    let lengths: [[u32; 6]; 2] = [[48, 31, 1, 0, 48, 13], [40, 23, 9, 17, 0, 40]];
    let (x, audio, score) = (video(11, [6, 48, 4]), video(3, [6, 40, 4]), video(6, [6, 40, 1]));
    let setting = OmniZip {
        tokens_per_frame: 6,
        frames_per_chunk: 2,
        audio_per_chunk: 8,
        audio: 0.5,
        context: 0.1,
        video: 0.5,
        ..Default::default()
    };
    let mut moved = 0;
    for method in [
        setting,
        OmniZip { frames_per_chunk: 1, audio_per_chunk: 5, ..setting },
        OmniZip { tokens_per_frame: 4, frames_per_chunk: 3, audio: 0.8, context: 0.2, members: 2, ..setting },
        OmniZip { tokens_per_frame: 12, audio_per_chunk: 11, video: 0.6, least: 0.1, most: 0.9, ..setting },
        OmniZip { members: 0, video: 0.36, ..setting },
        OmniZip { tokens_per_frame: 60, frames_per_chunk: 9, audio: 1.0, context: 0.0, ..setting },
        OmniZip { tokens_per_frame: 3, audio: 0.0, ..setting },
    ] {
        let out = run(&method, [&x, &audio, &score], [&lengths[0], &lengths[1]]);
        for b in 0..6 {
            let [pictured, heard] = lengths.map(|lengths| lengths[b] as usize);
            let rows = |x: &[f32], capacity: usize, live: usize| -> Vec<Vec<f32>> {
                (0..live).map(|i| x[(b * capacity + i) * 4..][..4].to_vec()).collect()
            };
            let (x, audio) = (rows(&x, 48, pictured), rows(&audio, 40, heard));
            let context = if method.members == 0 { 0.0 } else { method.context };
            let (kept, merged, parent) = sound(&audio, &x, &score[b * 40..][..heard], &OmniZip { context, ..method });
            let listed = |name: &str, capacity: usize| {
                let all = out[name].integers();
                all[b * all.len() / 6..][..all.len() / 6]
                    .iter()
                    .copied()
                    .take(capacity)
                    .filter(|i| *i != NONE)
                    .map(|i| i as usize)
                    .collect::<Vec<_>>()
            };
            assert_eq!(listed("audio' kept", 40), kept, "row {b}, {method:?}");
            assert_eq!(out["audio' count"].integers()[b] as usize, kept.len());
            let place = |i: usize| parent[i].map_or(NONE, |to| kept.iter().position(|k| *k == to).expect("kept") as u32);
            let width = out["audio' size"].shape().dims()[1] as usize;
            for i in 0..40 {
                let expected = if i < heard { place(i) } else { NONE };
                assert_eq!(out["audio' parent"].integers()[b * 40 + i], expected, "token {i} of row {b}, {method:?}");
            }
            for (p, row) in merged.iter().enumerate() {
                let actual = &out["audio' x"].floats()[(b * width + p) * 4..][..4];
                assert!(actual.iter().zip(row).all(|(a, e)| (f64::from(*a) - e).abs() < 1e-5), "{actual:?} {row:?}, {method:?}");
                let members = (0..heard).filter(|i| place(*i) == p as u32).count();
                assert_eq!(out["audio' size"].floats()[b * width + p], members as f32);
                moved += members - 1;
            }

            let stays: Vec<bool> = (0..heard).map(|i| kept.contains(&i)).collect();
            let chunk = (method.tokens_per_frame * method.frames_per_chunk) as usize;
            let sizes: Vec<usize> = x.chunks(chunk).map(<[_]>::len).collect();
            let drop = shares(&stays, &sizes, &method);
            let chunks = out["drop"].shape().dims()[1] as usize;
            for (g, share) in drop.iter().enumerate() {
                let actual = f64::from(out["drop"].floats()[b * chunks + g]);
                assert!((actual - share).abs() < 1e-5, "{actual} {share}, chunk {g} of row {b}, {method:?}");
            }
            let left = pictures(&x, &drop, &method);
            assert_eq!(listed("video' kept", 48), left, "row {b}, {method:?}");
            for (p, i) in left.iter().enumerate() {
                assert_eq!(out["video' x"].floats()[(b * 48 + p) * 4..][..4], x[*i]);
                assert_eq!(out["video' parent"].integers()[b * 48 + i], p as u32);
            }
        }
    }
    assert!(moved > 20, "{moved}");
}

#[test]
fn a_broken_sound_joins_nothing() {
    let (x, mut audio) = (video(11, [1, 48, 4]), video(3, [1, 40, 4]));
    audio[4 * 39] = f32::INFINITY;
    let score: Vec<f32> = (0..40).map(|i| -(i as f32)).collect();
    let method = OmniZip { tokens_per_frame: 6, audio_per_chunk: 10, audio: 0.5, context: 0.2, members: 9, ..Default::default() };
    let out = run(&method, [&x, &audio, &score], [&[48], &[40]]);
    assert_eq!(out["audio' parent"].integers()[39], NONE);
    assert!(out["audio' x"].floats().iter().all(|v| v.is_finite()));
}
