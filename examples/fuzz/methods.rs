//! Targets: every method, the layers between, and the schedules.

use crate::kernels::{affinity, distance, parts, selected};
use Elem::{F16, F32, U32};
use tokenpress::kernels::*;
use tokenpress::methods::*;
use tokenpress::*;

use crate::generator::{Build, Generator};

/// Every target by name.
pub(crate) const TARGETS: &[(&str, Build)] = &[
    ("tome", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = ToMe {
            merge: g.number(n / 2 + 1),
            threshold: if g.chance(0.7) { None } else { Some(g.float()) },
            protect: g.protect(graph),
            keep_order: g.coin(),
            matching: match g.below(4) {
                0 | 1 => Matching::EvenOdd,
                2 => Matching::Kth(g.number(5)),
                _ => Matching::Lists(g.partition(graph)?),
            },
        };
        g.note(k);
        let (b, h, d, e) = (g.batch, g.heads, g.depth, g.elem);
        let m = if g.coin() { g.tensor(graph, &[b, n, d], e) } else { g.tensor(graph, &[b, h, n, d], e) };
        Ok(parts(&k.build(graph, &t, m)?))
    }),
    ("tome_block", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = ToMe { merge: g.number(n / 2 + 1), ..Default::default() };
        g.note(k);
        let c = g.channels;
        let bl = g.block(graph, c);
        let p = g.coin();
        Ok(parts(&k.block(graph, &t, &bl, p)?))
    }),
    ("atome", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = AToMe {
            choice: match g.below(3) {
                0 => PairChoice::Merge(g.share()),
                1 => PairChoice::Keep(g.share()),
                _ => PairChoice::Similarity(g.float()),
            },
            pairs: g.pick(&[AdjacentPairs::Disjoint, AdjacentPairs::Overlapping]),
        };
        g.note(k);
        let (b, d, e) = (g.batch, g.depth, g.elem);
        let m = g.tensor(graph, &[b, n, d], e);
        Ok(parts(&k.build(graph, &t, m)?))
    }),
    ("fastadasp", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = FastAdaSp {
            choice: match g.below(3) {
                0 => PairChoice::Merge(g.share()),
                1 => PairChoice::Keep(g.share()),
                _ => PairChoice::Similarity(g.float()),
            },
        };
        g.note(k);
        let (b, d, e) = (g.batch, g.depth, g.elem);
        let m = g.tensor(graph, &[b, n, d], e);
        let w = g.optional(graph, &[b, n], F32);
        Ok(parts(&k.build(graph, &t, m, w)?))
    }),
    ("audio", |g, graph| {
        let (b, n, c, e) = (g.batch, g.count, g.channels, g.elem);
        let x = g.tensor(graph, &[b, n, c], e);
        let l = g.lengths(graph, b);
        let (f, s) = (g.number(5), g.number(5));
        g.note((f, s));
        let (a, z) = if g.coin() { stack_frames(graph, x, l, f)? } else { average_frames(graph, x, l, f, s)? };
        Ok(vec![a, z])
    }),
    ("btp", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n) = (g.batch, g.count);
        let s = {
            let k = g.below(5);
            (0..k).map(|_| g.number(n)).collect::<Vec<_>>()
        };
        let k = BalancedPrune { keep: g.number(n), attention: g.share(), diversity: g.share(), oversample: g.share() * 3.0, spatial: s };
        g.note(&k);
        let sc = g.tensor(graph, &[b, n], F32);
        let r = if g.coin() {
            k.build(graph, &t, sc)?
        } else {
            let images = g.images(graph);
            k.in_prompt(graph, &t, images, sc)?
        };
        let mut v = parts(&r.pruned.compressed);
        v.extend([r.diverse, r.attended]);
        Ok(v)
    }),
    ("cache", |g, graph| {
        let (b, h, hk, n, d, v, e) = (g.batch, g.heads, g.key_heads, g.count, g.depth, g.channels, g.elem);
        let m = if g.coin() { g.count } else { g.rows };
        let (keys, values) = (g.tensor(graph, &[b, hk, n, d], e), g.tensor(graph, &[b, hk, n, v], e));
        let queries = g.tensor(graph, &[b, h, m, d], e);
        let lengths = if g.coin() { g.tensor(graph, &[b, hk], U32) } else { g.tensor(graph, &[b], U32) };
        let cache = if g.coin() { Cache::new(graph, keys, values)? } else { Cache::ragged(graph, keys, values, lengths)? };
        let group = g.pick(&[HeadReduction::Mean, HeadReduction::Sum, HeadReduction::Max]);
        let which = g.below(12);
        let (window, kernel, sinks, lag) = (g.number(9), g.number(4).saturating_mul(2) | 1, g.number(5), g.positive(9));
        let flag = g.coin();
        g.note((which, window, kernel, sinks, lag, flag, group));
        let scores = match which {
            0 => random_scores(graph, &cache, 3)?,
            1 => recency(graph, &cache)?,
            2 => key_norm(graph, &cache)?,
            3 => key_diff(graph, &cache)?,
            4 => tova(graph, &cache, queries)?,
            5 => {
                let smoothing = if flag { Smoothing::Average } else { Smoothing::Maximum };
                SnapKV { window, kernel, smoothing, rows: RowReduction::Mean, group, group_first: g.coin() }
                    .build(graph, &cache, queries)?
            }
            6 => {
                let rows = if flag { RowReduction::Sum } else { RowReduction::MeanVisible };
                ObservedAttention { rows, group }.build(graph, &cache, queries, None)?
            }
            7 => LagKV { sinks, lag, across: flag }.build(graph, &cache)?,
            8 => {
                let filters = g.tensor(graph, &[hk, d], e);
                q_filter(graph, &cache, filters)?
            }
            9 => RKV { window, kernel, importance: g.share(), similarity: g.float() }.build(graph, &cache, queries)?,
            10 => {
                let (scores, weights) = (g.tensor(graph, &[b, hk, n], F32), g.tensor(graph, &[h, m, v], e));
                CriticalKV { first: g.share(), ..CriticalKV::new(CacheBudget::Tokens(lag)) }.build(graph, &cache, scores, weights)?
            }
            _ => {
                let rope = Rope::new(1e4, d, RotaryPairs::Half);
                let expected = ExpectedAttention { future: 5, sinks, covariance: flag, ..ExpectedAttention::new(rope) };
                expected.build(graph, &cache, queries, None)?
            }
        };
        let budget = match g.below(3) {
            0 => CacheBudget::Share(g.share()),
            1 => CacheBudget::Tokens(g.number(n)),
            _ => CacheBudget::Bytes(u64::from(g.number(n)) * 100),
        };
        let always = AlwaysKept { sinks, recent: window, marks: None };
        g.note((budget, always));
        let mut evicted = match g.below(4) {
            0 => Evict { budget, always }.build(graph, &cache, scores)?,
            1 => AdaKV { budget, safeguard: g.share(), always }.build(graph, &cache, scores)?,
            2 => TopP { share: g.share(), most: budget, always }.build(graph, &cache, scores)?,
            _ => ChunkKV { chunk: lag, budget, always }.build(graph, &cache, scores)?,
        };
        let mut others = Vec::new();
        match g.below(4) {
            0 => {
                let rules = [MergeRule::Pivot, MergeRule::Similarity, MergeRule::Scaled, MergeRule::ValueNorm];
                let threshold = if flag { MergeThreshold::Mean } else { MergeThreshold::AtLeast(g.float()) };
                let merged = MergeEvicted { rule: g.pick(&rules), threshold }.build(graph, &cache, &evicted)?;
                evicted = merged.evicted;
                others.push(merged.threshold);
            }
            1 => {
                let (attention, chances) = (g.tensor(graph, &[b, hk, n], F32), g.tensor(graph, &[b, hk, n], F32));
                evicted = CaM { window: g.positive(9) }.build(graph, &cache, &evicted, attention, chances)?;
            }
            2 => {
                let lost = evicted.forgotten(graph, &cache, queries)?;
                others.extend([lost.share, lost.change, lost.norm]);
            }
            _ => {}
        }
        let left = evicted.cache;
        others.extend([scores, left.keys, left.values, left.lengths, left.positions, evicted.map.parent]);
        Ok(others)
    }),
    ("cdpruner", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n, d, e, m) = (g.batch, g.count, g.depth, g.elem, g.rows);
        let k = CdPruner { keep: g.number(n), negated: g.coin(), over_batch: g.coin() };
        g.note(k);
        let s = if g.coin() {
            g.tensor(graph, &[b, n], F32)
        } else {
            let (i, x) = (g.tensor(graph, &[b, n, d], e), g.tensor(graph, &[b, m, d], e));
            let (l1, l2) = (g.lengths(graph, b), g.lengths(graph, b));
            text_similarity(graph, i, x, l1, l2)?
        };
        let r = k.build(graph, &t, s)?;
        let mut v = parts(&r.kept.pruned.compressed);
        v.push(r.relevance);
        Ok(v)
    }),
    ("dart", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n, m, c, e) = (g.batch, g.count.min(70), g.rows, g.channels, g.elem);
        let _ = n;
        let k = Dart { keep: g.share(), image_pivots: g.number(4), floor: g.below(4) };
        g.note(k);
        let n = g.count;
        let s = g.tensor(graph, &[b, n], F32);
        let x = if g.coin() {
            None
        } else {
            let mm = if g.chance(0.8) { m % 4 } else { m };
            Some(g.tensor(graph, &[b, mm, c], e))
        };
        let r = k.build(graph, &t, s, x)?;
        let mut v = parts(&r.pruned.compressed);
        v.push(r.order);
        Ok(v)
    }),
    ("deepseek_ocr", |g, graph| {
        let [h, w] = g.grid();
        let (b, c, o, e) = (g.batch, g.channels.min(16), g.outputs.min(8), g.elem);
        let x = g.tensor(graph, &[b, h.wrapping_mul(w), c], e);
        let k = g.below(3);
        let mut ci = c;
        let ws: Vec<_> = (0..k)
            .map(|_| {
                let kk = if g.chance(0.8) { 3 } else { g.number(4) };
                let t = g.tensor(graph, &[o, ci, kk, kk], e);
                ci = o;
                t
            })
            .collect();
        Ok(vec![deepseek_ocr_compressor(graph, x, [h, w], &ws)?.0])
    }),
    ("density_clusters", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = DensityClusters { clusters: g.number(n), nearest: g.number(6) };
        g.note(k);
        Ok(parts(&k.build(graph, &t)?.compressed))
    }),
    ("divprune", |g, graph| {
        let t = g.tokens(graph)?;
        let k = DivPrune { keep: g.share(), floor: g.below(4) };
        g.note(k);
        Ok(parts(&k.build(graph, &t)?.pruned.compressed))
    }),
    ("dycoke", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = DyCoke { tokens_per_frame: g.number(n), merge: g.share() };
        g.note(k);
        let f = g.dim();
        let _ = k.kept(f);
        Ok(parts(&k.build(graph, &t)?))
    }),
    ("dycoke_cache", |g, graph| {
        let (b, n) = (g.batch, g.count);
        let k = DyCokeCache { keep: g.share(), similarity: g.float() };
        g.note(k);
        let cap = if g.chance(0.6) { (k.keep * f64::from(n)) as u32 } else { g.number(n) };
        let a = g.tensor(graph, &[b, n], F32);
        let l = g.lengths(graph, b);
        let last = DyCokeStep { attention: g.tensor(graph, &[b, n], F32), selected: g.tensor(graph, &[b, cap], U32) };
        let r = k.step(graph, a, l, last)?;
        Ok(vec![r.attention, r.selected])
    }),
    ("dynamic_vit", |g, graph| {
        g.channels = if g.huge { g.channels } else { 4 * (1 + g.channels % 8) };
        let t = g.tokens(graph)?;
        let n = g.count;
        let c = g.channels;
        let k = DynamicVit { keep: g.number(n), protect: g.protect(graph) };
        g.note(k);
        let p = Predictor {
            norm: g.norm(graph, c),
            first: g.affine(graph, c, c),
            last: [g.affine(graph, c / 2, c), g.affine(graph, c / 4, c / 2), g.affine(graph, 2, c / 4)],
        };
        let r = k.build(graph, &t, &p)?;
        let mut v = parts(&r.pruned.compressed);
        v.push(r.score);
        Ok(v)
    }),
    ("evit", |g, graph| {
        let t = g.tokens(graph)?;
        let k = EVit { keep: g.share(), floor: g.below(4), fuse: g.coin(), protect: g.protect(graph) };
        g.note(k);
        let n = g.count;
        let r = match g.below(3) {
            0 => {
                let (q, kk) = g.queries_and_keys(graph, n);
                k.build(graph, &t, q, kk)?
            }
            1 => {
                let c = g.channels;
                let bl = g.block(graph, c);
                k.block(graph, &t, &bl)?
            }
            _ => {
                let b = g.batch;
                let s = g.tensor(graph, &[b, n], F32);
                k.by_score(graph, &t, s)?
            }
        };
        let mut v = parts(&r.compressed);
        v.push(r.score);
        Ok(v)
    }),
    ("evs", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = Evs { tokens_per_frame: g.number(n), prune: g.share(), floor: g.below(4) };
        g.note(k);
        let l = g.dim();
        let _ = k.kept(l);
        let r = k.build(graph, &t)?;
        let mut v = parts(&r.pruned.compressed);
        v.push(r.similarity);
        Ok(v)
    }),
    ("fastv", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = FastV { images: g.images(graph), rank: g.number(n / 3 + 1), bias: g.bias(graph) };
        g.note(k);
        let (q, kk) = g.queries_and_keys(graph, n);
        let r = k.build(graph, &t, q, kk)?;
        let mut v = parts(&r.pruned.compressed);
        v.push(r.score);
        Ok(v)
    }),
    ("pyramiddrop", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = g.below(4);
        let k = PyramidDrop {
            images: g.images(graph),
            ratios: (0..k).map(|_| g.share()).collect(),
            floor: g.below(4),
            bias: g.bias(graph),
            ..PyramidDrop::default()
        };
        g.note(&k);
        let st = if g.chance(0.7) { 0 } else { g.number(3) as usize };
        let (q, kk) = g.queries_and_keys(graph, n);
        let r = k.build(graph, &t, st, q, kk)?;
        let mut v = parts(&r.pruned.compressed);
        v.push(r.score);
        Ok(v)
    }),
    ("sparsevlm", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = SparseVlm { images: g.images(graph), rank: g.number(n / 3 + 1), recycle: g.coin(), bias: g.bias(graph) };
        g.note(k);
        let ra = k.raters(graph, &t)?;
        let (q, kk) = g.queries_and_keys(graph, n);
        let r = k.build(graph, &t, &ra, q, kk)?;
        let mut v = parts(&r.compressed);
        v.push(r.score);
        Ok(v)
    }),
    ("mustdrop", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n) = (g.batch, g.count);
        let kk = g.number(n / 3 + 1);
        let key = g.tensor(graph, &[b, kk], U32);
        let images = g.images(graph);
        let k = DualAttention { global: g.float(), individual: g.float(), floor: g.below(4) };
        g.note((images, k));
        let mut p = Prefill::new(graph, t, images, key)?;
        p.bias = g.bias(graph);
        let (q, kk) = g.queries_and_keys(graph, n);
        let r = k.build(graph, &p, q, kk)?;
        Ok(vec![r.prompt.tokens.x, r.prompt.image, r.prompt.key, r.map.parent, r.unattended])
    }),
    ("framefusion", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n) = (g.batch, g.count);
        let k = FrameFusion { tokens_per_frame: g.number(n), similarity: g.float(), most: g.share(), floor: g.below(4) };
        g.note(k);
        let pl = g.tensor(graph, &[b, n], U32);
        let r = if g.coin() {
            k.merge(graph, &t, pl)?
        } else {
            let a = g.tensor(graph, &[b, n], F32);
            let kp = g.share();
            g.note(kp);
            k.prune(graph, &t, pl, a, kp)?
        };
        let rm = [g.share(), g.share()];
        let _ = FrameFusion::budget(g.share(), g.number(9), &rm);
        Ok(parts(&r))
    }),
    ("hiprune", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n) = (g.batch, g.count);
        let k = HiPrune { keep: g.share(), share: g.share(), width: g.number(8), wrap: g.coin(), floor: g.below(4) };
        g.note(k);
        let (m, d) = (g.tensor(graph, &[b, n], F32), g.tensor(graph, &[b, n], F32));
        Ok(parts(&k.build(graph, &t, m, d)?.compressed))
    }),
    ("holov", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n) = (g.batch, g.count);
        let k = HoloV { keep: g.number(n), crops: g.number(5) };
        g.note(k);
        let s = g.tensor(graph, &[b, n], F32);
        let r = k.build(graph, &t, s)?;
        let mut v = parts(&r.pruned.compressed);
        v.push(r.budgets);
        Ok(v)
    }),
    ("idlevit", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = IdleVit { keep: g.number(n), protect: g.protect(graph) };
        g.note(k);
        if g.coin() {
            let (q, kk) = g.queries_and_keys(graph, n);
            let r = k.build(graph, &t, q, kk)?;
            let x = t.x;
            let sc = r.scatter(graph, r.pruned.compressed.tokens.x, x)?;
            let mut v = parts(&r.pruned.compressed);
            v.push(sc);
            Ok(v)
        } else {
            let c = g.channels;
            let bl = g.block(graph, c);
            let (x, r) = k.block(graph, &t, &bl)?;
            Ok(vec![x, r.score])
        }
    }),
    ("idpruner", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n) = (g.batch, g.count);
        let k = IdPruner { keep: g.share(), relevance: g.float(), floor: g.below(4) };
        g.note(k);
        let s = g.tensor(graph, &[b, n], F32);
        Ok(parts(&k.build(graph, &t, s)?.pruned.compressed))
    }),
    ("key_size", |g, graph| {
        let (b, h, n, d, e) = (g.batch, g.heads, g.count, g.depth, g.elem);
        let k = g.tensor(graph, &[b, h, n, d], e);
        Ok(vec![key_size(graph, k)?])
    }),
    ("key_tokens", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = KeyTokens { share: g.share(), protect: g.protect(graph) };
        g.note(k);
        if g.coin() {
            let b = g.batch;
            let s = g.tensor(graph, &[b, n], F32);
            return Ok(selected(&k.by_score(graph, &t, s)?));
        }
        let (q, kk) = g.queries_and_keys(graph, n);
        Ok(selected(&k.build(graph, &t, q, kk)?))
    }),
    ("prune", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n, e) = (g.batch, g.count, g.elem);
        let k = Prune { order: g.pick(&[Order::Value, Order::Index]) };
        let s = g.tensor(graph, &[b, n], e);
        let m = if g.coin() { g.tensor(graph, &[n], U32) } else { g.tensor(graph, &[b, n], U32) };
        let m = if g.coin() { Some(m) } else { None };
        let c = g.number(n);
        let style = g.below(3);
        g.note((&k, c, style));
        let keep = move |live: u32| match style {
            0 => c,
            1 => live / 2,
            _ => live.wrapping_mul(3),
        };
        Ok(parts(
            &if g.chance(0.8) {
                k.build(graph, &t, s, m, keep)?
            } else {
                let mm = g.rows;
                let i = g.tensor(graph, &[b, mm], U32);
                Prune::listed(graph, &t, i, keep)?
            }
            .compressed,
        ))
    }),
    ("prumerge", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n, d, e) = (g.batch, g.count, g.depth, g.elem);
        let k = PruMerge {
            factor: g.float(),
            floor: g.below(4),
            neighbours: g.number(6),
            spatial: g.coin(),
            spatial_among: if g.coin() { None } else { Some(g.number(n)) },
            count_from_ratio: g.coin(),
            protect: g.protect(graph),
        };
        g.note(k);
        let (q, kk) = (g.tensor(graph, &[b, 1, n.wrapping_add(1), d], e), g.tensor(graph, &[b, 1, n.wrapping_add(1), d], e));
        let r = if g.coin() {
            k.build(graph, &t, q, kk)?
        } else {
            let (s, m) = (g.tensor(graph, &[b, n], F32), g.tensor(graph, &[b, n, d], e));
            k.by_score(graph, &t, s, m)?
        };
        let mut v = parts(&r.compressed);
        v.extend([r.score, r.fence, r.outliers, r.kept.0, r.neighbours.indices]);
        Ok(v)
    }),
    ("pumer", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n) = (g.batch, g.count);
        let k = PuMer {
            prune: g.share(),
            floor: g.below(4),
            merge: g.share(),
            merge_text: g.share(),
            score: g.pick(&[TextScore::MeanOfHeads, TextScore::FirstHead, TextScore::Keys]),
            style: g.pick(&[PuMerMerge::Average, PuMerMerge::Sum, PuMerMerge::ScoreDifference]),
        };
        g.note(k);
        let tx = g.number(n / 2 + 1);
        let (m, l) = (g.tensor(graph, &[b, tx], F32), g.tensor(graph, &[b], U32));
        let (q, kk) = g.queries_and_keys(graph, n);
        let r = if g.coin() {
            k.build(graph, &t, (m, l), q, kk)?
        } else {
            let (images, padding) = (g.images(graph), g.optional(graph, &[b, n], U32));
            k.in_prompt(graph, &t, images, padding, q, kk)?
        };
        let mut v = parts(&r.compressed);
        v.extend([r.mask, r.score, r.text_lengths]);
        Ok(v)
    }),
    ("rebalanced_top_k", |g, graph| {
        let (b, n) = (g.batch, g.count);
        let k = RebalancedTopK { select: g.number(n), oversample: g.share() * 3.0, early: g.number(n) };
        g.note(k);
        let s = g.tensor(graph, &[b, n], F32);
        let l = g.lengths(graph, b);
        Ok(vec![k.build(graph, s, l)?])
    }),
    ("spatial_spread", |g, _| {
        let (h, w, c) = (g.dim() % 5000, g.dim() % 5000, g.dim() % 100000);
        g.note((h, w, c));
        let _ = spatial_spread(h, w, c);
        Ok(vec![])
    }),
    ("samp", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n) = (g.batch, g.count);
        let k = Samp { threshold: g.float(), keep: g.share(), floor: g.below(4) };
        g.note(k);
        let (i, r) = (g.tensor(graph, &[b, n], F32), g.tensor(graph, &[b, n], F32));
        let r = k.build(graph, &t, i, r)?;
        let mut v = parts(&r.compressed);
        v.push(r.relevance);
        Ok(v)
    }),
    ("samp_attention", |g, graph| {
        let (b, h, hk, m, d, e) = (g.batch, g.heads, g.key_heads, g.rows, g.depth, g.elem);
        let (q, k) = (g.tensor(graph, &[b, h, m, d], e), g.tensor(graph, &[b, hk, m, d], e));
        let l = g.lengths(graph, b);
        let p = if g.coin() { 1 } else { g.number(m) };
        let r = Samp::attention(graph, q, k, l, p)?;
        Ok(vec![r.received, r.own])
    }),
    ("difffp", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = DiffFp { tokens_per_frame: g.number(n), threshold: 255.0 * g.float(), floor: g.below(4) };
        g.note(k);
        Ok(parts(&k.build(graph, &t)?))
    }),
    ("scope", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n) = (g.batch, g.count);
        let k = Scope { keep: g.share(), additive: g.coin(), floor: g.below(4) };
        g.note(k);
        let s = g.tensor(graph, &[b, n], F32);
        Ok(parts(&k.build(graph, &t, s)?.pruned.compressed))
    }),
    ("llava_scissor", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = LlavaScissor { tokens_per_frame: g.number(n), threshold: g.float() };
        g.note(k);
        Ok(parts(&k.build(graph, &t)?))
    }),
    ("fastvid", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n) = (g.batch, g.count);
        let k = FastVid {
            tokens_per_frame: g.number(n),
            keep: g.share(),
            segments: g.below(9),
            threshold: g.float(),
            context: g.share(),
            stride: g.number(4),
            own: g.share(),
        };
        g.note(k);
        let s = g.tensor(graph, &[b, n], F32);
        Ok(parts(&k.build(graph, &t, s, None)?))
    }),
    ("holitom", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n) = (g.batch, g.count);
        let k = HoliTom { tokens_per_frame: g.number(n), keep: g.float(), threshold: g.float(), longest: g.number(9), own: g.float() };
        g.note(k);
        let s = g.tensor(graph, &[b, n], F32);
        Ok(parts(&k.build(graph, &t, s)?))
    }),
    ("omnizip", |g, graph| {
        let video = g.tokens(graph)?;
        let (b, n, c, e) = (g.batch, g.count, g.channels, g.elem);
        let k = OmniZip {
            tokens_per_frame: g.number(n),
            frames_per_chunk: g.number(4),
            audio_per_chunk: g.number(n),
            audio: g.share(),
            context: g.share(),
            members: g.number(4),
            video: g.float(),
            least: g.float(),
            most: g.float(),
        };
        g.note(k);
        let x = g.tensor(graph, &[b, n, c], e);
        let audio = Tokens::new(graph, x)?;
        let s = g.tensor(graph, &[b, n], F32);
        let made = k.build(graph, &video, &audio, s)?;
        let mut all = parts(&made.video);
        all.extend(parts(&made.audio));
        all.push(made.drop);
        Ok(all)
    }),
    ("sttm", |g, graph| {
        let [h, w] = g.grid();
        if g.chance(0.8) {
            g.count = h.wrapping_mul(w).wrapping_mul(1 + g.below(3)).wrapping_add(g.below(2));
        }
        let t = g.tokens(graph)?;
        let temporal = if g.coin() { Some(g.float()) } else { None };
        let k = Sttm { height: h, width: w, threshold: g.float(), temporal, root: g.below(3) };
        g.note(k);
        Ok(parts(&k.build(graph, &t)?))
    }),
    ("pact", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n, d, e) = (g.batch, g.count, g.depth, g.elem);
        let k = Pact { keep: g.share(), cutoff: g.float(), reach: g.float() };
        g.note(k);
        let (s, m) = (g.tensor(graph, &[b, n], F32), g.tensor(graph, &[b, n, d], e));
        Ok(parts(&k.build(graph, &t, s, m)?))
    }),
    ("pitome", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = PiToMe { merge: g.number(n / 2 + 1), energy: affinity(g), halves: g.coin(), protect: g.protect(graph) };
        g.note(k);
        let (b, h, d, e) = (g.batch, g.heads, g.depth, g.elem);
        let m = if g.coin() { g.tensor(graph, &[b, n, d], e) } else { g.tensor(graph, &[b, h, n, d], e) };
        Ok(parts(&k.build(graph, &t, m)?))
    }),
    ("tofu", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let fusion = g.pick(&[Fusion::LongestMean, Fusion::Destination]);
        let k = ToFu { merge: g.number(n / 2 + 1), protect: g.protect(graph), fusion };
        g.note(k);
        let (b, d, e) = (g.batch, g.depth, g.elem);
        let m = g.tensor(graph, &[b, n, d], e);
        Ok(parts(&k.build(graph, &t, m)?))
    }),
    ("pixelprune", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = PixelPrune { width: g.number(n), measure: distance(g), threshold: g.float(), anchored: g.coin() };
        g.note(k);
        Ok(parts(&k.build(graph, &t)?))
    }),
    ("vidcom2", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = VidCom2 { tokens_per_frame: g.number(n), base: g.float() };
        g.note(k);
        let r = k.build(graph, &t)?;
        let mut v = parts(&r.compressed);
        v.extend([r.score, r.budgets]);
        Ok(v)
    }),
    ("visionzip", |g, graph| {
        let t = g.tokens(graph)?;
        let n = g.count;
        let k = VisionZip {
            dominant: g.number(n),
            contextual: g.number(n / 3 + 1),
            merge: g.pick(&[Contextual::TargetPlusMean, Contextual::Mean]),
            protect: g.protect(graph),
        };
        g.note(k);
        let (q, kk) = g.queries_and_keys(graph, n);
        let r = if g.coin() {
            k.build(graph, &t, q, kk)?
        } else {
            let b = g.batch;
            let s = g.tensor(graph, &[b, n], F32);
            k.by_score(graph, &t, s, kk)?
        };
        let mut v = parts(&r.compressed);
        v.extend([r.score, r.targets, r.assigned.0, r.assigned.1]);
        Ok(v)
    }),
    ("vispruner", |g, graph| {
        let t = g.tokens(graph)?;
        let (b, n) = (g.batch, g.count);
        let k = VisPruner { keep: g.number(n), important: g.share() };
        g.note(k);
        let s = g.tensor(graph, &[b, n], F32);
        let r = k.build(graph, &t, s)?;
        let mut v = parts(&r.pruned.compressed);
        v.extend([r.important, r.diverse]);
        Ok(v)
    }),
    ("window_merge", |g, graph| {
        let [h, w] = g.grid();
        if g.chance(0.8) {
            g.count = h.wrapping_mul(w).wrapping_add(1)
        }
        let t = g.tokens(graph)?;
        let (window, threshold, shared_count, protect) = (g.positive(4), g.float(), g.coin(), g.protect(graph));
        let k = WindowMerge { height: h, width: w, window, threshold, shared_count, protect };
        g.note(k);
        let r = k.build(graph, &t)?;
        let mut v = parts(&r.compressed);
        v.push(r.score);
        Ok(v)
    }),
    ("mha", |g, graph| {
        let (b, n, c, e) = (g.batch, g.count, g.channels, g.elem);
        let k = g.attention(graph, c);
        let x = g.tensor(graph, &[b, n, c], e);
        let p = k.project(graph, [x, x, x])?;
        let m = KeyMask { bias: g.optional(graph, &[b, n], F32), lengths: g.lengths(graph, b), query_lengths: g.lengths(graph, b) };
        let hf = k.heads_first(graph, x);
        Ok([k.attend(graph, p, m)?].into_iter().chain(hf.ok()).collect())
    }),
    ("transformer", |g, graph| {
        let (b, n, c, e) = (g.batch, g.count, g.channels, g.elem);
        let k = g.block(graph, c);
        let x = g.tensor(graph, &[b, n, c], e);
        let y = k.normalize(graph, x)?;
        let p = k.project(graph, y)?;
        let m = KeyMask { bias: None, lengths: g.lengths(graph, b), query_lengths: None };
        let a = k.attend(graph, x, p, m)?;
        Ok(vec![k.feed_forward(graph, a)?])
    }),
    ("perceiver", |g, graph| {
        let t = g.tokens(graph)?;
        let (c, m, e) = (g.channels, g.rows, g.elem);
        let k = g.below(3);
        let layers = (0..k)
            .map(|_| PerceiverLayer {
                token_norm: g.norm(graph, c),
                latent_norm: g.norm(graph, c),
                attention: g.attention(graph, c),
                feed_forward_norm: g.norm(graph, c),
                feed_forward: g.feed_forward(graph, c),
            })
            .collect();
        let k = PerceiverResampler { layers, norm: g.norm(graph, c) };
        let l = g.tensor(graph, &[m, c], e);
        Ok(vec![k.build(graph, l, &t)?])
    }),
    ("qformer", |g, graph| {
        let (b, n, c, m, o, e) = (g.batch, g.count, g.channels, g.rows, g.outputs, g.elem);
        let tx = g.number(6);
        let nl = g.below(3);
        let layers = (0..nl)
            .map(|_| QFormerLayer {
                attention: (g.attention(graph, c), g.norm(graph, c)),
                cross_attention: if g.coin() {
                    let mut a = g.attention(graph, c);
                    a.projections.keys = g.affine(graph, c, o);
                    a.projections.values = g.affine(graph, c, o);
                    Some((a, g.norm(graph, c)))
                } else {
                    None
                },
                query_feed_forward: (
                    FeedForward { up: g.affine(graph, 8, c), activation: g.activation(), down: g.affine(graph, c, 8) },
                    g.norm(graph, c),
                ),
                text_feed_forward: if g.coin() {
                    Some((
                        FeedForward { up: g.affine(graph, 8, c), activation: g.activation(), down: g.affine(graph, c, 8) },
                        g.norm(graph, c),
                    ))
                } else {
                    None
                },
            })
            .collect();
        let k = QFormer { embedding_norm: g.norm(graph, c), layers, epsilon: g.float() };
        let text = g.optional(graph, &[b, tx, c], e);
        let tt = if text.is_some() { tx } else { 0 };
        let i = QFormerInputs {
            queries: g.tensor(graph, &[m, c], e),
            text,
            mask: g.optional(graph, &[b, m.wrapping_add(tt)], F32),
            image: g.tensor(graph, &[b, n, o], e),
            image_mask: g.optional(graph, &[b, n], F32),
            image_lengths: g.lengths(graph, b),
        };
        let r = k.build(graph, &i)?;
        Ok([r.queries].into_iter().chain(r.text).collect())
    }),
    ("llama_vid", |g, graph| {
        let [h, w] = g.grid();
        let (b, c, o, m, e) = (g.batch, g.channels, g.outputs, g.rows, g.elem);
        let np = g.below(3);
        let k = LlamaVid {
            key: g.affine(graph, c, c),
            value: g.affine(graph, o, c),
            projector: (0..np).map(|_| g.affine(graph, o, o)).collect(),
            content: match g.below(3) {
                0 => Content::Mean,
                1 => Content::Grid(g.number(4)),
                _ => Content::All,
            },
        };
        let mut k = k;
        if np > 0 {
            k.projector[0] = g.affine(graph, o, c)
        }
        g.note(k.content);
        let f = g.tensor(graph, &[b, h.wrapping_mul(w), c], e);
        let t = g.tensor(graph, &[b, m, c], e);
        let l = g.lengths(graph, b);
        let r = k.build(graph, f, [h, w], t, l)?;
        Ok(vec![r.tokens, r.context, r.content, r.weights])
    }),
    ("llava_next", |g, graph| {
        let (b, c, e) = (g.batch, g.channels, g.elem);
        let edge = g.positive(5);
        let tl = if g.chance(0.8) { [1 + g.below(3), 1 + g.below(3)] } else { [g.number(4), g.number(4)] };
        let k = LlavaNext {
            edge,
            tiles: tl,
            image: [g.number(30), g.number(30)],
            unpadding: if g.coin() { Unpadding::Llava } else { Unpadding::Transformers },
            most_tiles: if g.coin() { None } else { Some(g.number(3)) },
            newline: g.optional(graph, &[c], e),
        };
        g.note(k);
        let _ = (k.unpadded(), k.outputs());
        let x = g.tensor(graph, &[b, tl[0].wrapping_mul(tl[1]).wrapping_add(1), edge.wrapping_mul(edge), c], e);
        Ok(vec![k.build(graph, x)?])
    }),
    ("llava_next_pure", |g, _| {
        let k = LlavaNext {
            edge: g.dim(),
            tiles: [g.dim(), g.dim()],
            image: [g.dim(), g.dim()],
            unpadding: if g.coin() { Unpadding::Llava } else { Unpadding::Transformers },
            most_tiles: if g.coin() { None } else { Some(g.dim()) },
            newline: None,
        };
        g.note(k);
        let _ = (k.unpadded(), k.outputs());
        Ok(vec![])
    }),
    ("llava_video", |g, graph| {
        let [h, w] = g.grid();
        let (b, c, e) = (g.batch, g.channels, g.elem);
        let f = g.number(6);
        let k = LlavaVideo {
            mode: g.pick(&[PoolMode::Average, PoolMode::Max, PoolMode::Bilinear]),
            stride: g.positive(3),
            newline: match g.below(4) {
                0 => Newline::None,
                1 => Newline::EachRow(g.tensor(graph, &[c], e)),
                2 => Newline::EachFrame(g.tensor(graph, &[c], e)),
                _ => Newline::End(g.tensor(graph, &[c], e)),
            },
            faster: if g.coin() { None } else { Some(Faster { every: g.number(4), token: g.tensor(graph, &[c], e) }) },
        };
        g.note(k);
        let x = g.tensor(graph, &[b, f, h.wrapping_mul(w), c], e);
        let fr = g.lengths(graph, b);
        let (a, z) = k.build(graph, x, [h, w], fr)?;
        Ok(vec![a, z])
    }),
    ("packed", |g, graph| {
        let (b, c) = (g.batch, g.channels);
        let e = g.pick(&[F32, F16, U32]);
        let k = g.below(4);
        let im: Vec<[u32; 2]> =
            (0..k).map(|_| if g.chance(0.8) { [2 * (1 + g.below(3)), 2 * (1 + g.below(3))] } else { [g.number(5), g.number(5)] }).collect();
        let m = g.positive(3);
        g.note((&im, m));
        let n = im.iter().fold(0u32, |a, i| a.wrapping_add(i[0].wrapping_mul(i[1])));
        let x = g.tensor(graph, &[b, n, c], e);
        Ok(vec![match g.below(3) {
            0 => {
                let [h, w] = g.grid();
                let x = g.tensor(graph, &[b, h.wrapping_mul(w), c], e);
                qwen2_vl_patch_order(graph, x, [h, w], m)?
            }
            1 => nvlm_dynamic_resolution(graph, x, &im, m)?,
            _ => mistral3_packed(graph, x, &im, m)?,
        }])
    }),
    ("sequences", |g, graph| {
        let e = g.pick(&[F32, F16, U32]);
        let counts: Vec<u32> = (0..g.below(4)).map(|_| g.number(9)).collect();
        g.note(&counts);
        let n = counts.iter().fold(0u32, |a, count| a.wrapping_add(*count));
        let shape = if g.coin() { vec![1, n, g.channels] } else { vec![1, n] };
        let x = g.tensor(graph, &shape, e);
        let sequences = if g.coin() {
            Sequences::of_counts(graph, &counts)?
        } else {
            let offsets = g.tensor(graph, &[counts.len() as u32 + 1], U32);
            Sequences::new(graph, offsets, g.number(9))?
        };
        let rows = sequences.rows(graph, x)?;
        let lengths = g.lengths(graph, counts.len() as u32);
        let (packed, total) = pack_sequences(graph, rows, lengths.unwrap_or(sequences.lengths))?;
        Ok(vec![rows, packed, total])
    }),
    ("tile_tags", |g, graph| {
        let k = g.below(4);
        let im: Vec<u32> = (0..k).map(|_| if g.chance(0.9) { 1 + g.below(4) } else { g.number(4) }).collect();
        g.note(&im);
        let tiles = im.iter().fold(0u32, |a, i| a.wrapping_add(*i));
        let (c, m, e) = (g.channels, g.rows, g.elem);
        let tg = g.number(8);
        let tl = g.number(4);
        let v = g.dim();
        let x = g.tensor(graph, &[tiles, m, c], e);
        let em = g.tensor(graph, &[v, c], e);
        let id = g.tensor(graph, &[tg, tl], U32);
        Ok(vec![nvlm_tile_tags(graph, x, em, id, &im)?])
    }),
    ("projector", |g, graph| {
        let [h, w] = g.grid();
        let (b, c, e) = (g.batch, g.channels, g.elem);
        let n = h.wrapping_mul(w);
        let join = match g.below(4) {
            0 => Join::Blocks(g.unshuffle(), [h, w]),
            1 => Join::Packed {
                order: g.pick(&[ChannelOrder::PositionFirst, ChannelOrder::ChannelFirst]),
                images: vec![[h, w]],
                merge: g.positive(3),
            },
            2 => Join::Consecutive(g.number(4)),
            _ => Join::Pooled(g.pool(), [h, w]),
        };
        g.note(&join);
        let x = g.tensor(graph, &[b, n, c], e);
        let tn = if g.coin() { None } else { Some(LearnedNorm { kind: g.layer_norm(), weights: g.norm(graph, c) }) };
        let probe = join.build(graph, x).ok().map(|t| t.shape().dims().last().copied().unwrap_or(0)).unwrap_or(c);
        let nm = if g.coin() { None } else { Some(LearnedNorm { kind: g.layer_norm(), weights: g.norm(graph, probe) }) };
        let o = g.outputs;
        let ly = if g.coin() { vec![] } else { vec![Layer { weights: g.affine(graph, o, probe), activation: g.activation() }] };
        let p = Projector { token_norm: tn, join, norm: nm, layers: ly };
        let r = p.build(graph, x)?;
        Ok(vec![r.joined, r.y])
    }),
    ("gemma3", |g, graph| {
        let (b, c, o, e) = (g.batch, g.channels, g.outputs, g.elem);
        let (ed, ou) = (g.number(9), g.number(5));
        g.note((ed, ou));
        let nm = g.tensor(graph, &[c], e);
        let wt = g.tensor(graph, &[c, o], e);
        let p = Projector::gemma3(graph, ed, ou, nm, wt)?;
        let x = g.tensor(graph, &[b, ed.wrapping_mul(ed), c], e);
        Ok(vec![p.build(graph, x)?.y])
    }),
    ("initial_queries", |g, graph| {
        let [h, w] = g.grid();
        let (b, c, m, e) = (g.batch, g.channels.min(16), g.rows, g.elem);
        let np = h.wrapping_mul(w);
        let q = match g.below(3) {
            0 => InitialQueries::Learned { contents: g.tensor(graph, &[m, c], e), positions: g.tensor(graph, &[m, c], e) },
            1 => InitialQueries::PooledPositions { contents: g.tensor(graph, &[m, c], e), outputs: [g.positive(3), g.positive(3)] },
            _ => InitialQueries::PooledContents { positions: g.tensor(graph, &[m, c], e), outputs: [g.positive(3), g.positive(3)] },
        };
        g.note(q);
        let rf = g.tensor(graph, &[m, 2], F32);
        let mut k = DAbstractor::new([h, w], q, rf);
        k.heads = if g.coin() { 1 } else { g.number(c) };
        k.positions = g.optional(graph, &[1, np, c], e);
        let nl = g.below(2);
        let hp = k.heads.wrapping_mul(2);
        k.layers = (0..nl)
            .map(|_| DeformableLayer {
                attention: g.projections(graph, c),
                attention_norm: g.norm(graph, c),
                offsets: g.affine(graph, hp.wrapping_mul(2), c),
                weights: g.affine(graph, hp, c),
                values: g.affine(graph, c, c),
                output: g.affine(graph, c, c),
                sample_norm: g.norm(graph, c),
                feed_forward: [g.affine(graph, 8, c), g.affine(graph, c, 8)],
                feed_forward_norm: g.norm(graph, c),
            })
            .collect();
        if g.chance(0.3) {
            k.end = Some(g.tensor(graph, &[1, 2, c], e))
        }
        if g.chance(0.3) {
            k.output = Some(g.affine(graph, 5, c))
        }
        let x = g.tensor(graph, &[b, np, c], e);
        Ok(vec![k.build(graph, x)?.y])
    }),
    ("bottleneck", |g, graph| {
        let [h, w] = g.grid();
        let (b, c, e) = (g.batch, g.channels.min(12), g.elem);
        let o = if g.coin() { c } else { g.outputs.min(12) };
        let r = g.positive(4);
        let kk = if g.chance(0.8) { 3 } else { g.number(5) };
        let np = h.wrapping_mul(w);
        fn nc(g: &mut Generator, graph: &mut Graph, d: [u32; 4]) -> NormalizedConvolution {
            let e = g.elem;
            NormalizedConvolution { weight: g.tensor(graph, &d, e), norm: g.norm(graph, d[0]) }
        }
        let k = Bottleneck {
            conv1: nc(g, graph, [o, c, 1, 1]),
            conv2: nc(g, graph, [o, 1, kk, kk]),
            squeeze: g.affine(graph, r, o),
            excite: g.affine(graph, o, r),
            conv3: nc(g, graph, [o, o, 1, 1]),
            shortcut: if o == c && g.coin() { None } else { Some(nc(g, graph, [o, c, 1, 1])) },
        };
        let x = g.tensor(graph, &[b, np, c], e);
        if g.coin() {
            Ok(vec![k.build(graph, x, [h, w])?.y])
        } else {
            let out = [g.positive(4), g.positive(4)];
            let k2 = CAbstractor {
                grid: [h, w],
                outputs: out,
                positions: g.optional(graph, &[1, np, c], e),
                before: vec![k],
                after: vec![],
                readout: if g.coin() { vec![] } else { vec![g.affine(graph, 5, o)] },
                end: if g.chance(0.7) { None } else { Some(g.tensor(graph, &[1, 2, 5], e)) },
            };
            let r = k2.build(graph, x)?;
            Ok(vec![r.y, r.pooled])
        }
    }),
    ("schedule", |g, _| {
        use tokenpress::schedule::*;
        let (l, n, p) = (g.below(40) as usize, g.dim(), g.number(9));
        let ms = match g.below(3) {
            0 => MergeSchedule::Constant(g.dim()),
            1 => MergeSchedule::Linear { merge: g.dim(), inflect: g.share() },
            _ => {
                let k = g.below(6);
                MergeSchedule::List((0..k).map(|_| g.dim()).collect())
            }
        };
        g.note((&ms, l, n, p));
        let _ = ms.counts(l);
        let _ = ms.lengths(l, n, p);
        let _ = keep_count(n, g.share(), g.pick(&[Rounding::Floor, Rounding::Ceil, Rounding::NearestEven]));
        let k = g.below(4);
        let st = StagedKeep {
            stages: (0..k).map(|_| (g.number(20) as usize, g.share())).collect(),
            of: g.pick(&[ShareOf::First, ShareOf::Current]),
            rounding: g.pick(&[Rounding::Floor, Rounding::Ceil, Rounding::NearestEven]),
        };
        g.note(&st);
        let _ = st.lengths(l, n);
        let _ = StagedKeep::evit(g.share()).lengths(l, n);
        let _ = StagedKeep::dynamic_vit(g.share()).lengths(l, n);
        let c = LayerCost { channels: g.dim(), key_channels: g.dim(), hidden: g.dim(), element_bytes: g.dim() };
        let bu = match g.below(3) {
            0 => Budget::Tokens(g.dim()),
            1 => Budget::Flops(g.next() >> g.below(64)),
            _ => Budget::Bytes(g.next() >> g.below(64)),
        };
        g.note((&c, &bu));
        let _ = (c.flops(n), c.bytes(n));
        let ls: Vec<u32> = (0..g.below(5)).map(|_| g.dim()).collect();
        let _ = bu.allows(&c, &ls);
        let _ = bu.merge(&c, l, n, p);
        let ly: Vec<usize> = ls.iter().map(|x| *x as usize).collect();
        let _ = bu.keep(&c, l, n, &ly[..ly.len().min(2)]);
        let sm: Vec<Vec<f32>> = (0..g.below(4)).map(|_| (0..g.below(6)).map(|_| g.float()).collect()).collect();
        let _ = similarity_threshold(&sm, g.share());
        let ms: Vec<f64> = (0..g.below(4)).map(|_| g.share() * 9.0).collect();
        let _ = progressive_thresholds(&ms, |_| Ok::<_, Error>(sm.clone()));
        let df: Vec<f64> = (0..g.below(9)).map(|_| g.share()).collect();
        let _ = drift_stages(&df, g.number(5) as usize);
        let _ = random::random_below(1, 2, n);
        Ok(vec![])
    }),
];
