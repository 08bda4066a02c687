//! Targets: every kernel, and token maps.

use Elem::{F16, F32, U32};
use tokenpress::kernels::Norm as ScoreNorm;
use tokenpress::kernels::*;
use tokenpress::*;

use crate::generator::{Build, Generator};

/// Everything that a compression gives.
pub(crate) fn parts(c: &Compressed) -> Vec<Tensor> {
    vec![c.tokens.x, c.tokens.size, c.tokens.lengths, c.map.parent, c.map.representative, c.map.lengths]
}

/// Everything that a selection gives.
pub(crate) fn selected(s: &Selection) -> Vec<Tensor> {
    [s.indices, s.values, s.kept, s.places].into_iter().chain(s.complement).chain(s.mask).collect()
}

/// A measure of distances.
pub(crate) fn distance(g: &mut Generator) -> Distance {
    g.pick(&[Distance::Largest, Distance::MeanAbsolute, Distance::RootMeanSquare])
}

/// A function of cosines.
pub(crate) fn affinity(g: &mut Generator) -> Affinity {
    if g.coin() { Affinity::Elu { margin: g.float() } } else { Affinity::Gaussian { width: g.float() } }
}

fn float(g: &mut Generator) -> Elem {
    if g.chance(0.25) { F16 } else { F32 }
}

/// Previous tokens of one kind or another.
fn previous(g: &mut Generator, graph: &mut Graph) -> Tensor {
    let (b, n) = (g.batch, g.count);
    match g.below(3) {
        0 if n < 1 << 24 => {
            let offset = g.number(n);
            previous_at(graph, n, offset)
        }
        1 => g.tensor(graph, &[n], U32),
        _ => g.tensor(graph, &[b, n], U32),
    }
}

/// Every target by name.
pub(crate) const TARGETS: &[(&str, Build)] = &[
    ("allocate", |g, graph| {
        let k = Allocate { minimum: g.number(5), leftover: g.pick(&[Leftover::LargestRemainder, Leftover::LargestWeight]) };
        g.note(k);
        let (b, n) = (g.batch, g.count);
        let (w, t, c) = (g.tensor(graph, &[b, n], F32), g.tensor(graph, &[b], U32), g.tensor(graph, &[b, n], U32));
        Ok(vec![k.build(graph, w, t, c)?])
    }),
    ("assign_tokens", |g, graph| {
        let p = g.partition(graph)?;
        let (b, n) = (g.batch, g.count);
        let k = AssignTokens { tokens: if g.chance(0.8) { n } else { g.number(n) }, outputs: g.number(n), interleave: g.coin() };
        g.note(k);
        let ns = p.sources.shape().dims().last().copied().unwrap_or(0);
        let u = g.number(ns);
        let (partner, unmerged) = (g.tensor(graph, &[b, ns], U32), g.list(graph, b, u, ns));
        let l = g.lengths(graph, b);
        let a = k.build(graph, AssignInputs { partition: p, lengths: l, partner, unmerged })?;
        Ok(vec![a.parent, a.representative, a.lengths])
    }),
    ("attention", |g, graph| {
        let k = Attention {
            causal: g.coin(),
            scale: if g.coin() { None } else { Some(g.float()) },
            heads: g.pick(&[Heads::First, Heads::Last]),
            lse: g.coin(),
            soft_cap: if g.chance(0.7) { None } else { Some(g.float().abs()) },
            window: [0, 1].map(|_| if g.chance(0.7) { None } else { Some(g.number(40)) }),
            align: if g.chance(0.7) { Align::End } else { Align::From(g.number(40)) },
        };
        g.note(k);
        let (b, h, hk, m, n, d, v, e) =
            (g.batch, g.heads, g.key_heads, if g.coin() { g.count } else { g.rows }, g.count, g.depth, g.channels, g.elem);
        let s = |h, n, d| if k.heads == Heads::First { [b, h, n, d] } else { [b, n, h, d] };
        let (q, kk, vv) = (g.tensor(graph, &s(h, m, d), e), g.tensor(graph, &s(hk, n, d), e), g.tensor(graph, &s(hk, n, v), e));
        let bias = match g.below(4) {
            0 => Some(g.tensor(graph, &[b, h, m, n], F32)),
            1 => Some(g.tensor(graph, &[b, 1, 1, n], F32)),
            2 => Some(g.tensor(graph, &[1, h, m, n], F32)),
            _ => None,
        };
        let (l, ql) = (g.lengths(graph, b), g.lengths(graph, b));
        let a = k.build(graph, QueryKeyValue { queries: q, keys: kk, values: vv, bias, lengths: l, query_lengths: ql })?;
        Ok([a.rows].into_iter().chain(a.lse).collect())
    }),
    ("attention_score", |g, graph| {
        let n = g.count;
        let m = if g.coin() { g.count } else { g.rows };
        let queries = match g.below(4) {
            0 => Queries::Row(g.number(m)),
            1 => Queries::Last,
            2 => {
                let k = g.below(6);
                Queries::List((0..k).map(|_| g.number(m)).collect())
            }
            _ => Queries::All,
        };
        let k = AttentionScore {
            queries,
            norm: g.pick(&[ScoreNorm::Logits, ScoreNorm::Magnitude, ScoreNorm::ScaledLogits, ScoreNorm::Softmax]),
            rows: g.pick(&[RowReduction::Mean, RowReduction::MeanVisible, RowReduction::Sum, RowReduction::Max, RowReduction::None]),
            heads: match g.below(5) {
                0 => HeadReduction::Mean,
                1 => HeadReduction::Sum,
                2 => HeadReduction::Max,
                3 => HeadReduction::One(g.number(g.heads)),
                _ => HeadReduction::None,
            },
            causal: g.coin(),
            scale: if g.coin() { None } else { Some(g.float()) },
            columns: if g.chance(0.7) {
                None
            } else {
                let (a, b) = (g.number(n), g.number(n));
                Some(a..b)
            },
            lse: g.coin(),
        };
        g.note(&k);
        let (b, h, hk, d, e) = (g.batch, g.heads, g.key_heads, g.depth, g.elem);
        let (q, kk) = (g.tensor(graph, &[b, h, m, d], e), g.tensor(graph, &[b, hk, n, d], e));
        let bias = g.optional(graph, &[b, n], F32);
        let (l, ql) = (g.lengths(graph, b), g.lengths(graph, b));
        let i = k.build(graph, AttentionInputs { queries: q, keys: kk, bias, lengths: l, query_lengths: ql })?;
        Ok([i.score].into_iter().chain(i.lse).collect())
    }),
    ("bipartite_match", |g, graph| {
        let p = g.partition(graph)?;
        let nn = g.normalized(graph)?;
        let k = BipartiteMatch { protected_sources: g.number(3), protected_destinations: g.number(3) };
        g.note(k);
        let b = g.batch;
        let l = g.lengths(graph, b);
        let m = k.build(graph, nn, p, l)?;
        Ok(vec![m.similarity, m.partner])
    }),
    ("compact", |g, graph| {
        let (b, n) = (g.batch, g.count);
        let f = g.tensor(graph, &[b, n], U32);
        let l = g.lengths(graph, b);
        let c = compact(graph, f, l)?;
        Ok(vec![c.indices, c.counts, c.ranks])
    }),
    ("concat_rows", |g, graph| {
        let (b, n, m, c) = (g.batch, g.count, g.rows, g.channels);
        let e = g.pick(&[F32, F16, U32]);
        let t3 = g.coin();
        let d = |n| if t3 { vec![b, n, c] } else { vec![b, n] };
        let (a, z) = (g.tensor(graph, &d(n), e), g.tensor(graph, &d(m), e));
        let (l, k) = (g.lengths(graph, b), g.lengths(graph, b));
        let (x, y) = concat_rows(graph, (a, l), (z, k))?;
        Ok(vec![x, y])
    }),
    ("convolution", |g, graph| {
        let k = Convolution { stride: [g.positive(3), g.positive(3)], padding: [g.number(3), g.number(3)] };
        g.note(k);
        let [h, w] = g.grid();
        let (b, c, o) = (g.batch, g.channels.min(17), g.outputs.min(9));
        let e = float(g);
        let x = g.tensor(graph, &[b, h.wrapping_mul(w), c], e);
        let (kh, kw) = (g.positive(4), g.positive(4));
        if g.coin() {
            let (wt, bi) = (g.tensor(graph, &[o, c, kh, kw], e), g.optional(graph, &[o], e));
            let _ = k.places([h, w], wt);
            Ok(vec![k.dense(graph, x, [h, w], wt, bi)?])
        } else {
            let (wt, bi) = (g.tensor(graph, &[c, 1, kh, kw], e), g.optional(graph, &[c], e));
            Ok(vec![k.depthwise(graph, x, [h, w], wt, bi)?])
        }
    }),
    ("deformable_sample", |g, graph| {
        let nl = g.below(3);
        let mut levels: Vec<[u32; 2]> = (0..nl).map(|_| [g.number(6), g.number(6)]).collect();
        if g.chance(0.8) {
            levels = vec![[g.height, g.width]];
            if g.coin() {
                levels.push([g.positive(4), g.positive(4)])
            }
        }
        let k = DeformableSample { levels: levels.clone(), softmax: g.coin() };
        g.note(&k);
        let n: u32 = levels.iter().fold(0u32, |a, l| a.wrapping_add(l[0].wrapping_mul(l[1])));
        let e = float(g);
        let (b, h, d, q) = (g.batch, g.heads, g.depth, g.rows);
        let s = g.positive(3).wrapping_mul(levels.len() as u32);
        let value = g.tensor(graph, &[b, n, h, d], e);
        let weights = g.tensor(graph, &[b, q, h, s], e);
        let points = if g.coin() {
            Points::Locations(g.tensor(graph, &[b, q, h, s, 2], e))
        } else {
            Points::Offsets {
                offsets: g.tensor(graph, &[b, q, h, s, 2], e),
                reference: if g.coin() { g.tensor(graph, &[q, 2], F32) } else { g.tensor(graph, &[b, q, 2], F32) },
            }
        };
        Ok(vec![k.build(graph, DeformableInputs { value, points, weights })?])
    }),
    ("density_peaks", |g, graph| {
        let (b, n, c) = (g.batch, g.count, g.channels);
        let e = float(g);
        let x = g.tensor(graph, &[b, n, c], e);
        let k = g.number(8);
        g.note(k);
        let l = g.lengths(graph, b);
        let p = density_peaks(graph, x, k, l)?;
        Ok(vec![p.density, p.separation, p.score])
    }),
    ("elementwise", |g, graph| {
        let k = Elementwise { operation: g.pick(&[Operation::Add, Operation::Multiply]), scale: g.float(), activation: g.activation() };
        g.note(k);
        let (b, n, c) = (g.batch, g.count, g.channels);
        let e = g.elem;
        let a = g.tensor(graph, &[b, n, c], e);
        let e2 = if g.coin() { F32 } else { e };
        let d: Vec<u32> = match g.below(6) {
            0 => vec![b, n, c],
            1 => vec![c],
            2 => vec![1, n, c],
            3 => vec![b, 1, c],
            4 => vec![b, n, 1],
            _ => vec![1],
        };
        let z = g.tensor(graph, &d, e2);
        Ok(vec![k.build(graph, a, z)?])
    }),
    ("frame_budget", |g, graph| {
        let k = FrameBudget { base: g.float(), temperature: g.float() };
        g.note(k);
        let (b, n) = (g.batch, g.count);
        let (s, z) = (g.tensor(graph, &[b, n], F32), g.tensor(graph, &[b, n], U32));
        Ok(vec![k.build(graph, s, z)?])
    }),
    ("gather_rows", |g, graph| {
        let (b, n, m, c) = (g.batch, g.count, g.rows, g.channels);
        let e = g.pick(&[F32, F16, U32]);
        let r = g.below(3);
        let d = |n| match r {
            0 => vec![b, n],
            1 => vec![b, n, c],
            _ => vec![b, 2, n, c],
        };
        let s = g.tensor(graph, &d(n), e);
        let i = if g.chance(0.3) { g.tensor(graph, &[m], U32) } else { g.tensor(graph, &[b, m], U32) };
        let f = g.optional(graph, &d(m), e);
        Ok(vec![gather_rows(graph, s, i, f)?])
    }),
    ("scatter_rows", |g, graph| {
        let (b, n, m, c) = (g.batch, g.count, g.rows, g.channels);
        let e = g.pick(&[F32, F16, U32]);
        let (s, r) = (g.tensor(graph, &[b, n, c], e), g.tensor(graph, &[b, m, c], e));
        let i = if g.chance(0.3) { g.tensor(graph, &[m], U32) } else { g.tensor(graph, &[b, m], U32) };
        Ok(vec![scatter_rows(graph, s, r, i)?])
    }),
    ("gaussian_similarity", |g, graph| {
        let (b, n, c) = (g.batch, g.count, g.channels);
        let (x, z) = (g.tensor(graph, &[b, n, c], F32), g.tensor(graph, &[b, c], F32));
        let l = g.lengths(graph, b);
        Ok(vec![gaussian_similarity(graph, x, z, l)?])
    }),
    ("greedy_select", |g, graph| {
        let nn = g.normalized(graph)?;
        let (b, n) = (g.batch, g.count);
        let k = GreedySelect {
            objective: match g.below(3) {
                0 => Objective::MaxMin,
                1 => Objective::MarginalRelevance { relevance: g.float() },
                2 => Objective::FacilityLocation { additive: g.coin() },
                _ => Objective::Determinant,
            },
            k: g.number(n),
        };
        g.note(k);
        let j = g.number(n);
        let inputs = GreedyInputs {
            normalized: nn,
            weights: g.optional(graph, &[b, n], F32),
            given: g.optional(graph, &[b, j], U32),
            lengths: g.lengths(graph, b),
            counts: g.optional(graph, &[b], U32),
        };
        let s = k.build(graph, inputs)?;
        Ok(vec![s.indices, s.kept])
    }),
    ("group_tokens", |g, graph| {
        let (b, n) = (g.batch, g.count);
        let p = g.tensor(graph, &[b, n], U32);
        let o = g.number(n);
        g.note(o);
        let x = group_tokens(graph, p, o)?;
        Ok(vec![x.offsets, x.members])
    }),
    ("grid_anchors", |g, graph| {
        let (b, n, c, e) = (g.batch, g.count, g.channels, g.elem);
        let k = GridAnchors { width: g.number(n), measure: distance(g), threshold: g.float() };
        g.note(k);
        let x = g.tensor(graph, &[b, n, c], e);
        let l = g.lengths(graph, b);
        Ok(vec![k.build(graph, x, l)?])
    }),
    ("grow_runs", |g, graph| {
        let nn = g.normalized(graph)?;
        let s = g.float();
        g.note(s);
        let b = g.batch;
        let l = g.lengths(graph, b);
        Ok(vec![grow_runs(graph, nn, s, l)?])
    }),
    ("invert_index", |g, graph| {
        let (b, m) = (g.batch, g.rows);
        let i = g.tensor(graph, &[b, m], U32);
        let n = g.count;
        let o = g.number(n);
        g.note(o);
        Ok(vec![invert_index(graph, i, o)?])
    }),
    ("layer_norm", |g, graph| {
        let k = g.layer_norm();
        g.note(k);
        let e = g.elem;
        let c = g.channels;
        if g.coin() {
            let (b, n) = (g.batch, g.count);
            let x = g.tensor(graph, &[b, n, c], e);
            let (w, z) = (g.optional(graph, &[c], e), g.optional(graph, &[c], e));
            Ok(vec![k.build(graph, x, w, z)?])
        } else {
            let u = g.unshuffle();
            g.note(u);
            let [h, w] = g.grid();
            let b = g.batch;
            let x = if g.chance(0.3) {
                g.tensor(graph, &[b, h, w, c], e)
            } else {
                let sk = u.skip;
                g.tensor(graph, &[b, h.wrapping_mul(w).wrapping_add(sk), c], e)
            };
            let cc = c.wrapping_mul(u.factor[0]).wrapping_mul(u.factor[1]);
            let (wt, z) = (g.optional(graph, &[cc], e), g.optional(graph, &[cc], e));
            Ok(vec![k.apply_to_blocks(graph, u, x, [h, w], wt, z)?])
        }
    }),
    ("linear", |g, graph| {
        let k = Linear { activation: g.activation() };
        g.note(k);
        let (b, n, c, o, e) = (g.batch, g.count, g.channels, g.outputs, g.elem);
        let x = if g.coin() { g.tensor(graph, &[b, n, c], e) } else { g.tensor(graph, &[n, c], e) };
        let (w, z) = (g.tensor(graph, &[o, c], e), g.optional(graph, &[o], e));
        Ok(vec![k.build(graph, x, w, z)?])
    }),
    ("float_ratio", |g, graph| {
        let b = g.batch;
        let (n, m) = (g.tensor(graph, &[b], U32), g.tensor(graph, &[b], U32));
        let most = if g.coin() { g.number(1 << 26) } else { g.dim() };
        let r = float_ratio(graph, n, m, most)?;
        Ok(vec![r.product, r.inverse])
    }),
    ("multiples", |g, graph| {
        let (b, n) = (g.batch, g.count);
        let s = g.tensor(graph, &[b], U32);
        Ok(vec![multiples(graph, s, n)?])
    }),
    ("ends", |g, graph| {
        let b = g.batch;
        let lengths = g.tensor(graph, &[b], U32);
        let k = Ends { first: g.number(9), last: g.number(9), capacity: g.count };
        g.note(k);
        let ends = k.build(graph, lengths)?;
        Ok(vec![ends.indices, ends.kept])
    }),
    ("ranges", |g, graph| {
        let (s, n) = (g.batch, g.number(9));
        let offsets = g.tensor(graph, &[s], U32);
        let r = ranges(graph, offsets, n)?;
        Ok(vec![r.indices, r.lengths])
    }),
    ("convert", |g, graph| {
        let (b, n) = (g.batch, g.count);
        let all = [F32, F16, Elem::BF16, U32];
        let (from, to) = (g.pick(&all), g.pick(&all));
        let x = g.tensor(graph, &[b, n], from);
        Ok(vec![convert(graph, x, to)?])
    }),
    ("log_size", |g, graph| {
        let (b, n) = (g.batch, g.count);
        let s = g.tensor(graph, &[b, n], F32);
        let l = g.lengths(graph, b);
        Ok(vec![log_size(graph, s, l)?])
    }),
    ("lookup", |g, graph| {
        let (b, n, m) = (g.batch, g.count, g.rows);
        let t = g.tensor(graph, &[m], U32);
        let i = g.tensor(graph, &[b, n], U32);
        Ok(vec![lookup(graph, t, i)?])
    }),
    ("merge_tokens", |g, graph| {
        let (b, n, c) = (g.batch, g.count, g.channels);
        let e = g.elem;
        let x = g.tensor(graph, &[b, n, c], e);
        let gs = if g.coin() {
            let p = g.tensor(graph, &[b, n], U32);
            let o = g.number(n);
            group_tokens(graph, p, o)?
        } else {
            let o = g.rows;
            let mm = g.number(n);
            let mm = if g.chance(0.7) { n } else { mm };
            Groups { offsets: g.tensor(graph, &[b, o.wrapping_add(1)], U32), members: g.tensor(graph, &[b, mm], U32) }
        };
        let r = g.pick(&[Reduce::Mean, Reduce::Sum, Reduce::Max, Reduce::WeightedMean, Reduce::WeightedSum]);
        g.note(r);
        if g.coin() {
            let w = g.optional(graph, &[b, n], F32);
            Ok(vec![merge_tokens(graph, x, gs, w, r)?])
        } else {
            let w = g.tensor(graph, &[b, n], F32);
            Ok(merge_with_totals(graph, x, gs, w, r)?.to_vec())
        }
    }),
    ("min_max", |g, graph| {
        let k = MinMax { descending: g.coin(), over_batch: g.coin(), offset: g.float(), epsilon: g.float() };
        g.note(k);
        let (b, n) = (g.batch, g.count);
        let s = g.tensor(graph, &[b, n], F32);
        let l = g.lengths(graph, b);
        Ok(vec![k.build(graph, s, l)?])
    }),
    ("neighbours", |g, graph| {
        let k = Neighbours { nearest: g.number(8), exclude_self: g.coin() };
        g.note(k);
        let (b, n, c, m) = (g.batch, g.count, g.channels, g.rows);
        let q = if g.coin() {
            None
        } else if g.coin() {
            Some(g.tensor(graph, &[m], U32))
        } else {
            Some(g.tensor(graph, &[b, m], U32))
        };
        let ca = if g.coin() {
            None
        } else if g.coin() {
            Some(g.tensor(graph, &[m], U32))
        } else {
            Some(g.tensor(graph, &[b, m], U32))
        };
        let a = Among { queries: q, candidates: ca, lengths: g.lengths(graph, b) };
        let r = if g.coin() {
            let nn = g.normalized(graph)?;
            k.most_similar(graph, nn, a)?
        } else {
            let e = g.elem;
            let x = g.tensor(graph, &[b, n, c], e);
            k.closest(graph, x, a)?
        };
        Ok(vec![r.indices, r.values])
    }),
    ("mean_affinity", |g, graph| {
        let nn = g.normalized(graph)?;
        let k = affinity(g);
        g.note(k);
        let b = g.batch;
        let l = g.lengths(graph, b);
        Ok(vec![mean_affinity(graph, nn, k, l)?])
    }),
    ("near_pairs", |g, graph| {
        let nn = g.normalized(graph)?;
        let k = NearPairs { threshold: g.float(), or_equal: g.coin() };
        g.note(k);
        let b = g.batch;
        let l = g.lengths(graph, b);
        let near = k.build(graph, nn, l)?;
        Ok(vec![near.pairs, near.degree, near.last])
    }),
    ("link_pairs", |g, graph| {
        let (b, m) = (g.batch, g.rows);
        let n = g.number(m);
        let (f, t) = (g.tensor(graph, &[b, m], U32), g.tensor(graph, &[b, m], U32));
        let l = g.lengths(graph, b);
        Ok(vec![link_pairs(graph, f, t, n, l)?])
    }),
    ("components", |g, graph| {
        let (b, n) = (g.batch, g.count);
        let p = g.tensor(graph, &[b, n, n.div_ceil(32)], U32);
        let l = g.lengths(graph, b);
        Ok(vec![components(graph, p, l)?])
    }),
    ("cover", |g, graph| {
        let (b, n, m) = (g.batch, g.count, g.rows);
        let p = g.tensor(graph, &[b, n, n.div_ceil(32)], U32);
        let o = g.tensor(graph, &[b, m], U32);
        let l = g.lengths(graph, b);
        Ok(vec![cover(graph, p, o, l)?])
    }),
    ("static_windows", |g, graph| {
        let (b, n, m) = (g.batch, g.count, g.rows);
        let j = g.tensor(graph, &[b, n, m], U32);
        let k = StaticWindows { longest: g.number(1024) };
        g.note(k);
        let l = g.lengths(graph, b);
        Ok(vec![k.build(graph, j, l)?])
    }),
    ("pair_distance", |g, graph| {
        let (b, n, c, e) = (g.batch, g.count, g.channels, g.elem);
        let x = g.tensor(graph, &[b, n, c], e);
        let p = previous(g, graph);
        let measure = distance(g);
        g.note(measure);
        let l = g.lengths(graph, b);
        Ok(vec![pair_distance(graph, x, p, measure, l)?])
    }),
    ("pair_similarity", |g, graph| {
        let nn = g.normalized(graph)?;
        let b = g.batch;
        let p = previous(g, graph);
        let l = g.lengths(graph, b);
        Ok(vec![pair_similarity(graph, nn, p, l)?])
    }),
    ("pixel_unshuffle", |g, graph| {
        let k = g.unshuffle();
        g.note(k);
        let [h, w] = g.grid();
        g.note([h, w]);
        let (b, c) = (g.batch, g.channels);
        let e = g.pick(&[F32, F16, U32]);
        let up = |a: u32, f: u32| {
            if f == 0 {
                a
            } else if k.pad {
                a.div_ceil(f)
            } else {
                a / f
            }
        };
        let (ph, pw) = (up(h, k.factor[0]), up(w, k.factor[1]));
        let f = k.factor[0].wrapping_mul(k.factor[1]);
        Ok(vec![match g.below(5) {
            0 => {
                let x = g.tensor(graph, &[b, h.wrapping_mul(w).wrapping_add(k.skip), c], e);
                k.unshuffle_tokens(graph, x, [h, w])?
            }
            1 => {
                let x = g.tensor(graph, &[b, h, w, c], e);
                k.unshuffle_tokens(graph, x, [h, w])?
            }
            2 => {
                let x = g.tensor(graph, &[b, ph.wrapping_mul(pw), c.wrapping_mul(f)], e);
                k.shuffle_tokens(graph, x, [h, w])?
            }
            3 => {
                let x = g.tensor(graph, &[b, c, h, w], e);
                k.unshuffle_planar(graph, x)?
            }
            _ => {
                let x = if g.coin() {
                    g.tensor(graph, &[b, c.wrapping_mul(f), ph, pw], e)
                } else {
                    g.tensor(graph, &[b, ph.wrapping_mul(pw), c.wrapping_mul(f)], e)
                };
                k.shuffle_planar(graph, x, [h, w])?
            }
        }])
    }),
    ("patches", |g, graph| {
        let [h, w] = g.grid();
        let sampling = g.pick(&[Sampling::Nearest, Sampling::Bilinear, Sampling::Antialiased]);
        let resize = if g.coin() { None } else { Some(Resize { size: g.grid(), sampling, letterbox: g.coin() }) };
        let c = if g.chance(0.9) { 1 + g.below(4) } else { g.channels };
        let channels = (0..if g.chance(0.9) { 1 + g.below(4) } else { g.below(6) }).map(|_| g.number(c.max(1) - 1)).collect();
        let [mean, fill] = [(); 2].map(|()| [(); 4].map(|()| g.float()));
        let deviation = [(); 4].map(|()| if g.chance(0.9) { 0.25 + g.share() as f32 } else { g.float() });
        let order = if g.coin() { ChannelOrder::ChannelFirst } else { ChannelOrder::PositionFirst };
        let k = Patches { patch: [g.positive(9), g.positive(9)], resize, channels, mean, deviation, fill, order };
        g.note(&k);
        let (b, e) = (g.batch, g.elem);
        let x = g.tensor(graph, &[b, h.wrapping_mul(w), c], e);
        let _ = k.grid([h, w]);
        Ok(vec![k.build(graph, x, [h, w])?])
    }),
    ("heat_map", |g, graph| {
        let ([h, w], [rows, columns]) = (g.grid(), g.grid());
        let range = if g.chance(0.9) { [-1.0, 0.5 + g.share() as f32] } else { [g.float(), g.float()] };
        let k = HeatMap { range, strength: if g.chance(0.9) { g.share() as f32 } else { g.float() }, smooth: g.coin() };
        g.note(k);
        let (b, e) = (g.batch, g.elem);
        let c = if g.chance(0.9) { g.pick(&[1, 3, 4]) } else { g.channels };
        let x = g.tensor(graph, &[b, h.wrapping_mul(w), c], e);
        let s = g.tensor(graph, &[b, rows.wrapping_mul(columns)], F32);
        Ok(vec![k.build(graph, x, [h, w], s, [rows, columns])?])
    }),
    ("pool", |g, graph| {
        let k = g.pool();
        g.note(k);
        let [h, w] = g.grid();
        g.note([h, w]);
        let (b, c) = (g.batch, g.channels);
        let e = g.elem;
        let _ = k.outputs([h, w]);
        let x = if g.chance(0.8) { g.tensor(graph, &[b, h.wrapping_mul(w), c], e) } else { g.tensor(graph, &[b, h, w, c], e) };
        let l = if g.chance(0.7) { None } else { g.lengths(graph, b) };
        Ok(vec![k.build(graph, x, [h, w], l)?])
    }),
    ("pool_outputs", |g, _| {
        let k = g.pool();
        g.note(k);
        let gd = [g.dim(), g.dim()];
        g.note(gd);
        let _ = k.outputs(gd);
        let w = Window { size: [g.dim(), g.dim()], stride: [g.dim(), g.dim()], padding: [g.dim(), g.dim()] };
        g.note(w);
        let _ = w.places(gd);
        Ok(vec![])
    }),
    ("pooled_attention", |g, graph| {
        let m = g.rows;
        let k = PooledAttention { pool: if g.coin() { 1 } else { g.positive(4) }, scale: if g.coin() { None } else { Some(g.float()) } };
        g.note(k);
        let (b, h, hk, d, e) = (g.batch, g.heads, g.key_heads, g.depth, g.elem);
        let m = if g.chance(0.7) { (m % 100).wrapping_mul(k.pool) } else { m };
        let (q, kk) = (g.tensor(graph, &[b, h, m, d], e), g.tensor(graph, &[b, hk, m, d], e));
        let l = g.lengths(graph, b);
        let r = k.build(graph, q, kk, l)?;
        Ok(vec![r.received, r.own])
    }),
    ("previous_equal", |g, graph| {
        let (b, n) = (g.batch, g.count);
        let x = g.tensor(graph, &[b, n], U32);
        let l = g.lengths(graph, b);
        Ok(vec![previous_equal(graph, x, l)?])
    }),
    ("quantile", |g, graph| {
        let (b, n) = (g.batch, g.count);
        let s = g.tensor(graph, &[b, n], F32);
        let l = g.lengths(graph, b);
        if g.coin() {
            let k = g.below(5);
            let p: Vec<f32> = (0..k).map(|_| g.float()).collect();
            g.note(&p);
            Ok(vec![quantile(graph, s, &p, l)?])
        } else {
            let f = g.float();
            g.note(f);
            Ok(vec![fence(graph, s, f, l)?])
        }
    }),
    ("reduce", |g, graph| {
        let r = g.below(6) as usize;
        let all = [g.batch, g.count, g.channels.min(33), 2, 3];
        let e = g.pick(&[F32, F16, U32, F32]);
        let x = g.tensor(graph, &all[..r.min(5)], e);
        let axis = if g.chance(0.9) { g.below(5) as usize } else { usize::MAX };
        let st = g.pick(&[Statistic::Mean, Statistic::Sum, Statistic::Max, Statistic::Min, Statistic::Variance, Statistic::SampleVariance]);
        g.note((axis, st));
        let l = if g.coin() {
            None
        } else {
            let k = all[..axis.min(r).min(5)].iter().fold(1u32, |a, d| a.wrapping_mul(*d));
            let k = if g.coin() { g.batch } else { k };
            g.lengths(graph, k)
        };
        Ok(vec![reduce(graph, x, axis, st, l)?])
    }),
    ("rotate", |g, graph| {
        let (b, n, d, e) = (g.batch, g.count, g.depth, float(g));
        let rotated = if g.chance(0.8) { d } else { g.number(d) };
        let rope = Rope::new(1e4, rotated, g.pick(&[RotaryPairs::Half, RotaryPairs::Interleaved]));
        g.note((rotated, rope.pairs));
        let (x, to) = (g.tensor(graph, &[b, n, d], e), g.tensor(graph, &[b, n], U32));
        let from = g.optional(graph, &[b, n], U32);
        let l = g.lengths(graph, b);
        Ok(vec![rope.rotate(graph, x, from, to, l)?])
    }),
    ("row_normalize", |g, graph| {
        let (b, n, c, h, e) = (g.batch, g.count, g.channels, g.heads, g.elem);
        let x = if g.coin() { g.tensor(graph, &[b, n, c], e) } else { g.tensor(graph, &[b, h, n, c], e) };
        let l = g.lengths(graph, b);
        let r = row_normalize(graph, x, l)?;
        Ok(vec![r.unit, r.norm])
    }),
    ("run_segments", |g, graph| {
        let k = RunSegments { pairs: g.coin() };
        g.note(k);
        let (b, n) = (g.batch, g.count);
        let j = g.tensor(graph, &[b, n], U32);
        let p = previous(g, graph);
        let l = g.lengths(graph, b);
        let s = k.build(graph, j, p, l)?;
        Ok(vec![s.start, s.starts])
    }),
    ("paged_attention", |g, graph| {
        let (b, n, e) = (g.batch, g.count, float(g));
        let (heads, group, m, width) = (1 + g.below(2), 1 + g.below(2), g.below(4), g.channels);
        let k = PagedAttention { page: g.pick(&[1, 2, 4, 16, 3, 0]), lse: g.coin(), scale: None };
        g.note(k);
        let queries = g.tensor(graph, &[b, heads * group, m, g.channels], e);
        let keys = g.tensor(graph, &[b, heads, n, g.channels], e);
        let values = g.tensor(graph, &[b, heads, n, width], e);
        let lists = if g.coin() { 1 } else { heads * group };
        let entries = g.below(9);
        let pages = g.tensor(graph, &[b, lists, entries], U32);
        let (counts, lengths) = (g.lengths(graph, b), g.lengths(graph, b));
        let attended = k.build(graph, PagedInputs { queries, keys, values, pages, counts, lengths })?;
        Ok([attended.rows].into_iter().chain(attended.lse).collect())
    }),
    ("cumulative_sum", |g, graph| {
        let x = g.tensor(graph, &[g.batch, g.count], F32);
        let lengths = g.lengths(graph, g.batch);
        Ok(vec![cumulative_sum(graph, x, lengths)?])
    }),
    ("scaled_deviation", |g, graph| {
        let (b, n, c, e) = (g.batch, g.count, g.channels, float(g));
        let (x, low, high) = (g.tensor(graph, &[b, n, c], e), g.tensor(graph, &[b, c], e), g.tensor(graph, &[b, c], e));
        Ok(vec![scaled_deviation(graph, x, low, high)?])
    }),
    ("threshold", |g, graph| {
        let k = Threshold { relation: g.pick(&[Relation::Above, Relation::AtLeast, Relation::Below, Relation::AtMost]) };
        g.note(k);
        let (b, n, e) = (g.batch, g.count, g.elem);
        let s = g.tensor(graph, &[b, n], e);
        let lim = if g.coin() { Limit::Constant(g.float()) } else { Limit::PerRow(g.tensor(graph, &[b], F32)) };
        let marks = match g.below(3) {
            0 => Some(g.tensor(graph, &[n], U32)),
            1 => Some(g.tensor(graph, &[b, n], U32)),
            _ => None,
        };
        let among = match g.below(3) {
            0 => Some(g.tensor(graph, &[n], U32)),
            1 => Some(g.tensor(graph, &[b, n], U32)),
            _ => None,
        };
        let i = ThresholdInputs { lengths: g.lengths(graph, b), marks, among, ..ThresholdInputs::new(s, lim) };
        Ok(vec![k.build(graph, i)?])
    }),
    ("top_k", |g, graph| {
        let (b, h, n, e) = (g.batch, g.heads, g.count, g.elem);
        let k = TopK {
            k: g.number(n),
            order: g.pick(&[Order::Value, Order::Index]),
            largest: g.coin(),
            complement: g.pick(&[None, Some(Order::Value), Some(Order::Index)]),
            mask: g.coin(),
        };
        g.note(k);
        let three = g.coin();
        let s = if three { g.tensor(graph, &[b, h, n], e) } else { g.tensor(graph, &[b, n], e) };
        let counts = match g.below(4) {
            0 => Some(g.tensor(graph, &[b], U32)),
            1 => Some(g.tensor(graph, &[b, h], U32)),
            2 => Some(g.tensor(graph, &[b.wrapping_mul(h)], U32)),
            _ => None,
        };
        let marks = match g.below(4) {
            0 => Some(g.tensor(graph, &[n], U32)),
            1 => Some(g.tensor(graph, &[b, n], U32)),
            2 if three => Some(g.tensor(graph, &[b, h, n], U32)),
            _ => None,
        };
        let l = g.lengths(graph, b);
        Ok(selected(&k.build(graph, TopKInputs { scores: s, lengths: l, counts, marks })?))
    }),
    ("unfold", |g, graph| {
        let k =
            Window { size: [g.positive(4), g.positive(4)], stride: [g.positive(3), g.positive(3)], padding: [g.number(3), g.number(3)] };
        g.note(k);
        let [h, w] = g.grid();
        let (b, c) = (g.batch, g.channels);
        let e = g.pick(&[F32, F16, U32]);
        let x = if g.chance(0.8) { g.tensor(graph, &[b, h.wrapping_mul(w), c], e) } else { g.tensor(graph, &[b, h, w, c], e) };
        Ok(vec![k.build(graph, x, [h, w])?])
    }),
    ("partition", |g, graph| {
        let p = g.partition(graph)?;
        g.note(p);
        Ok(vec![p.sources, p.destinations])
    }),
    ("small_ops", |g, graph| {
        let (b, n, c, e) = (g.batch, g.count, g.channels, g.elem);
        let x = g.tensor(graph, &[b, n, c], e);
        let z = g.tensor(graph, &[b, n, c], e);
        let f = g.float();
        let act = g.activation();
        let dims = [g.dim(), g.dim(), g.dim()];
        let _ = graph.reshape(x, dims);
        let _ = graph.reshape(x, [b, n.wrapping_mul(c)]);
        Ok(vec![add(graph, x, z)?, multiply(graph, x, z)?, scale(graph, x, f)?, activate(graph, x, act)?, x, x])
    }),
    ("token_map", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n, m) = (g.batch, g.count, g.rows);
        let mut out = vec![];
        let a = match g.below(3) {
            0 => TokenMap::identity(graph, &t)?,
            1 => {
                let i = g.tensor(graph, &[b, m], U32);
                let k = g.tensor(graph, &[b], U32);
                TokenMap::selection(graph, i, k, n)?
            }
            _ => TokenMap {
                parent: g.tensor(graph, &[b, n], U32),
                representative: g.tensor(graph, &[b, m], U32),
                lengths: g.tensor(graph, &[b], U32),
            },
        };
        let w = g.optional(graph, &[b, n], F32);
        let r = g.pick(&[Reduce::Mean, Reduce::Sum, Reduce::Max, Reduce::WeightedMean, Reduce::WeightedSum]);
        let c = a.compress(graph, &t, w, r)?;
        out.extend(parts(&c));
        let un = a.unmerge(graph, c.tokens.x, Some(t.x))?;
        out.push(un);
        let k = g.number(n);
        let z = TokenMap {
            parent: g.tensor(graph, &[b, m], U32),
            representative: g.tensor(graph, &[b, k], U32),
            lengths: g.tensor(graph, &[b], U32),
        };
        let th = a.then(graph, &z)?;
        out.extend([th.parent, th.representative]);
        out.push(a.positions(graph, None, Positions::Compact)?);
        out.push(a.gather(graph, t.x)?);
        let ap = a.append(graph, &TokenMap { parent: a.parent, ..z })?;
        out.extend([ap.parent, ap.representative, ap.lengths]);
        Ok(out)
    }),
];
