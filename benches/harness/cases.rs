//! What is measured: every kernel at the sizes of real models.

use tokenpress::kernels::{
    Affinity, Distance, GridAnchors, NearPairs, Rope, RotaryPairs, StaticWindows, components, cover, cumulative_sum, link_pairs,
    mean_affinity, pair_distance, scaled_deviation,
};
use tokenpress::kernels::{
    Allocate, Among, AssignInputs, AssignTokens, Attention, AttentionInputs, AttentionScore, BipartiteMatch, ChannelOrder, Convolution,
    DeformableInputs, DeformableSample, FrameBudget, GreedyInputs, GreedySelect, LayerNorm, Limit, MinMax, Neighbours, Normalized,
    Objective, Partition, PixelUnshuffle, Points, Pool, PooledAttention, Queries, QueryKeyValue, Reduce, RowReduction, RunSegments,
    Statistic, Threshold, ThresholdInputs, TopK, TopKInputs, Windows, add, compact, concat_rows, density_peaks, fence, gather_rows,
    gaussian_similarity, group_tokens, grow_runs, invert_index, linear, log_size, lookup, merge_tokens, multiply, pair_similarity,
    previous_at, previous_equal, reduce, row_normalize,
};
use tokenpress::methods::{AdaKV, AlwaysKept, Cache, CacheBudget, Evict, PageBounds, Protect, Quest, SnapKV, ToMe, key_diff};
use tokenpress::{Elem, Error, Graph, HostTensor, NONE, Tensor, Tokens};

use super::data;

/// What is measured: a graph whose inputs may hold any numbers. Indices and flags are constants.
pub struct Case {
    pub kernel: &'static str,
    pub name: String,
    pub graph: Graph,
}

/// The table of all cases.
pub struct Cases {
    /// Shapes for a CPU.
    small: bool,
    /// Of tokens, queries and keys.
    elem: Elem,
    list: Vec<Case>,
}

impl Cases {
    fn shapes<T>(&self, gpu: Vec<T>, cpu: Vec<T>) -> Vec<T> {
        if self.small { cpu } else { gpu }
    }

    fn add(&mut self, kernel: &'static str, name: String, build: impl FnOnce(&mut Graph) -> Result<Vec<Tensor>, Error>) {
        let mut graph = Graph::new();
        let outputs = build(&mut graph).expect("shapes agree");
        for (index, tensor) in outputs.into_iter().enumerate() {
            graph.output(&format!("output {index}"), tensor).expect("a tensor of this graph");
        }
        self.list.push(Case { kernel, name, graph });
    }

    fn attention_score(&mut self) {
        let class = vec![[64, 16, 577, 577, 64]];
        for [b, h, m, n, d] in self.shapes(class, vec![[2, 16, 577, 577, 64]]) {
            self.attention("class row", Queries::CLASS, RowReduction::Mean, [b, h, m, n, d]);
        }
        let all = vec![[1, 32, 64, 4096, 128], [64, 16, 577, 577, 64], [1, 32, 4096, 4096, 128]];
        for shape in self.shapes(all, vec![[1, 8, 64, 1024, 128], [1, 12, 577, 577, 64]]) {
            self.attention("all rows", Queries::All, RowReduction::Sum, shape);
        }
    }

    fn attention(&mut self, what: &str, queries: Queries, rows: RowReduction, [b, h, m, n, d]: [u32; 5]) {
        let elem = self.elem;
        self.add("attention_score", format!("{what} {elem} B{b} H{h} M{m} N{n} D{d}"), |graph| {
            let score = AttentionScore { queries, rows, ..AttentionScore::default() };
            let queries = graph.input("queries", [b, h, m, d], elem);
            let keys = graph.input("keys", [b, h, n, d], elem);
            let inputs = AttentionInputs { queries, keys, bias: None, lengths: None, query_lengths: None };
            Ok(vec![score.build(graph, inputs)?.score])
        });
    }

    fn top_k(&mut self) {
        let gpu = vec![[64, 577, 64], [64, 65536, 1024], [1, 1 << 20, 1024], [16, 1 << 20, 1024]];
        for [b, n, k] in self.shapes(gpu, vec![[64, 577, 64], [1, 65536, 1024], [1, 1 << 20, 1024]]) {
            self.add("top_k", format!("f32 B{b} N{n} k{k}"), |graph| {
                let scores = graph.input("scores", [b, n], Elem::F32);
                let selection = TopK { k, ..TopK::default() }.build(graph, TopKInputs::new(scores))?;
                Ok(vec![selection.indices, selection.values])
            });
        }
    }

    fn compact(&mut self) {
        for [b, n] in self.shapes(vec![[64, 577], [64, 65536], [1, 1 << 20]], vec![[16, 577], [1, 65536]]) {
            self.add("compact", format!("B{b} N{n}"), |graph| {
                let flags = graph.constant(HostTensor::u32([b, n], data::integers(1, (b * n) as usize, 2)));
                let compacted = compact(graph, flags, None)?;
                Ok(vec![compacted.indices, compacted.ranks])
            });
        }
    }

    fn row_normalize(&mut self) {
        let elem = self.elem;
        for [b, h, n, c] in self.shapes(vec![[64, 16, 577, 64], [1, 1, 16384, 640]], vec![[2, 16, 577, 64], [1, 1, 1024, 640]]) {
            self.add("row_normalize", format!("{elem} B{b} H{h} N{n} C{c}"), |graph| {
                let x = graph.input("x", [b, h, n, c], elem);
                let normalized = row_normalize(graph, x, None)?;
                Ok(vec![normalized.unit, normalized.norm])
            });
        }
    }

    fn bipartite_match(&mut self) {
        let gpu = vec![[64, 577, 64], [1, 4096, 640], [1, 16384, 640], [32, 4096, 1024]];
        for [b, n, c] in self.shapes(gpu, vec![[8, 577, 64], [1, 4096, 640]]) {
            self.add("bipartite_match", format!("f32 B{b} N{n} C{c}"), |graph| {
                let unit = graph.input("unit", [b, n, c], Elem::F32);
                let norm = graph.input("norm", [b, n], Elem::F32);
                let partition = Partition::even_odd(graph, n);
                let normalized = Normalized { unit, norm };
                let matches = BipartiteMatch::default().build(graph, normalized, partition, None)?;
                Ok(vec![matches.similarity, matches.partner])
            });
        }
    }

    /// A quarter of the tokens merged away.
    fn merge_tokens(&mut self) {
        let elem = self.elem;
        for [b, n, c] in self.shapes(vec![[64, 577, 1024], [1, 16384, 640]], vec![[8, 577, 1024], [1, 4096, 640]]) {
            let outputs = n - n / 4;
            let parent = HostTensor::u32([b, n], data::integers(2, (b * n) as usize, outputs));
            self.add("merge_tokens", format!("group_tokens B{b} N{n} to {outputs}"), |graph| {
                let parent = graph.constant(parent.clone());
                let groups = group_tokens(graph, parent, outputs)?;
                Ok(vec![groups.offsets, groups.members])
            });
            self.add("merge_tokens", format!("group_tokens, merge_tokens {elem} B{b} N{n} to {outputs} C{c}"), |graph| {
                let x = graph.input("x", [b, n, c], elem);
                let size = graph.input("size", [b, n], Elem::F32);
                let parent = graph.constant(parent);
                let groups = group_tokens(graph, parent, outputs)?;
                Ok(vec![merge_tokens(graph, x, groups, Some(size), Reduce::WeightedMean)?])
            });
        }
    }

    /// From keys to merged tokens.
    fn tome(&mut self) {
        let elem = self.elem;
        for [b, n, d, c] in self.shapes(vec![[64, 577, 64, 1024], [1, 4096, 640, 640]], vec![[8, 577, 64, 1024]]) {
            let merge = n / 4;
            self.add("tome", format!("merge r{merge} {elem} B{b} N{n} D{d} C{c}"), |graph| {
                let (x, metric) = (graph.input("x", [b, n, c], elem), graph.input("metric", [b, n, d], elem));
                let tokens = Tokens::new(graph, x)?;
                let merged = ToMe { merge, protect: Protect::CLASS, ..ToMe::default() }.build(graph, &tokens, metric)?;
                Ok(vec![merged.tokens.x, merged.tokens.size])
            });
        }
    }

    /// Half of the tokens, anywhere.
    fn gather_rows(&mut self) {
        let elem = self.elem;
        for [b, n, c] in self.shapes(vec![[64, 577, 1024], [16, 16384, 1024]], vec![[2, 577, 1024], [1, 16384, 256]]) {
            self.add("gather_rows", format!("{elem} B{b} N{n} C{c}, {} of them", n / 2), |graph| {
                let source = graph.input("source", [b, n, c], elem);
                let index = graph.constant(HostTensor::u32([b, n / 2], data::integers(3, (b * (n / 2)) as usize, n)));
                Ok(vec![gather_rows(graph, source, index, None)?])
            });
        }
    }

    fn invert_index(&mut self) {
        for [b, m, n] in self.shapes(vec![[4096, 288, 577]], vec![[64, 288, 577]]) {
            self.add("invert_index", format!("B{b} {m} of N{n}"), |graph| {
                let index = (0..b).flat_map(|_| (0..m).map(|i| 2 * i)).collect();
                let index = graph.constant(HostTensor::u32([b, m], index));
                Ok(vec![invert_index(graph, index, n)?])
            });
        }
    }

    fn log_size(&mut self) {
        for [b, n] in self.shapes(vec![[4096, 577]], vec![[64, 577]]) {
            self.add("log_size", format!("f32 B{b} N{n}"), |graph| {
                let size = graph.input("size", [b, n], Elem::F32);
                Ok(vec![log_size(graph, size, None)?])
            });
        }
    }

    /// Gigabytes on a GPU.
    fn pixel_unshuffle(&mut self) {
        let elem = self.elem;
        for [b, side, c] in self.shapes(vec![[512, 32, 1024]], vec![[4, 32, 1024]]) {
            for channels in [ChannelOrder::PositionFirst, ChannelOrder::ChannelFirst] {
                self.add("pixel_unshuffle", format!("tokens {channels:?} {elem} B{b} {side}x{side} C{c}"), |graph| {
                    let x = graph.input("x", [b, side * side, c], elem);
                    Ok(vec![PixelUnshuffle { channels, ..PixelUnshuffle::default() }.unshuffle_tokens(graph, x, [side, side])?])
                });
            }
        }
        for [b, c, side] in self.shapes(vec![[64, 3, 1024], [64, 1024, 32]], vec![[1, 3, 1024], [8, 1024, 32]]) {
            for factor in [2, 4] {
                self.add("pixel_unshuffle", format!("planar f32 B{b} C{c} {side}x{side} by {factor}"), |graph| {
                    let x = graph.input("x", [b, c, side, side], Elem::F32);
                    Ok(vec![PixelUnshuffle::pytorch(factor).unshuffle_planar(graph, x)?])
                });
            }
        }
    }

    fn linear(&mut self) {
        let elem = self.elem;
        for [rows, k, o] in self.shapes(
            vec![[36928, 1024, 64], [4096, 4096, 4096], [1, 4096, 4096], [8, 4096, 4096]],
            vec![[577, 1024, 64], [577, 256, 256], [1024, 1024, 1024], [1, 4096, 4096], [8, 4096, 4096]],
        ) {
            self.add("linear", format!("{elem} {rows} rows K{k} O{o}"), |graph| {
                let (x, weight) = (graph.input("x", [rows, k], elem), graph.input("weight", [o, k], elem));
                let bias = graph.input("bias", [o], elem);
                Ok(vec![linear(graph, x, weight, Some(bias))?])
            });
        }
    }

    fn joins(&mut self) {
        let elem = self.elem;
        for [b, n, c] in self.shapes(vec![[64, 577, 1024]], vec![[2, 577, 1024]]) {
            self.add("concat_rows", format!("{elem} B{b} N{n} and 64 more C{c}"), |graph| {
                let (first, second) = (graph.input("first", [b, n, c], elem), graph.input("second", [b, 64, c], elem));
                Ok(vec![concat_rows(graph, (first, None), (second, None))?.0])
            });
            // Random numbers as lengths: all rows are full.
            self.add("lookup", format!("{b} x {n} of a table of {n}"), |graph| {
                let table = graph.constant(HostTensor::u32([n], (0..n).collect()));
                let index = graph.constant(HostTensor::u32([b, n], data::integers(5, (b * n) as usize, n)));
                Ok(vec![lookup(graph, table, index)?])
            });
            self.add("assign_tokens", format!("B{b} N{n}, a quarter merged"), |graph| {
                let (sources, destinations, merged) = (n.div_ceil(2), n / 2, n / 4);
                let mut each = |count: u32, value: &dyn Fn(u32) -> u32| {
                    graph.constant(HostTensor::u32([b, count], (0..b).flat_map(|_| (0..count).map(value)).collect()))
                };
                let partner = each(sources, &|i| i.min(destinations - 1));
                let unmerged = each(sources - merged, &|i| merged + i);
                let partition = Partition::even_odd(graph, n);
                let inputs = AssignInputs { partition, lengths: None, partner, unmerged };
                let assigned = AssignTokens { tokens: n, outputs: n - merged, interleave: false }.build(graph, inputs)?;
                Ok(vec![assigned.parent, assigned.representative])
            });
        }
    }

    fn statistics(&mut self) {
        let elem = self.elem;
        for [b, n, c] in self.shapes(vec![[64, 577, 1024]], vec![[2, 577, 1024]]) {
            for statistic in [Statistic::Mean, Statistic::Variance, Statistic::Max] {
                for axis in [1, 2] {
                    self.add("reduce", format!("{statistic:?} over axis {axis} {elem} B{b} N{n} C{c}"), |graph| {
                        let x = graph.input("x", [b, n, c], elem);
                        Ok(vec![reduce(graph, x, axis, statistic, None)?])
                    });
                }
            }
        }
        for [b, n] in self.shapes(vec![[4096, 577]], vec![[64, 577]]) {
            self.add("threshold", format!("f32 B{b} N{n}"), |graph| {
                let scores = graph.input("scores", [b, n], Elem::F32);
                Ok(vec![Threshold::default().build(graph, ThresholdInputs::new(scores, Limit::Constant(0.0)))?])
            });
        }
    }

    fn neighbours(&mut self) {
        for [b, n, c] in self.shapes(vec![[16, 1500, 1280]], vec![[1, 1500, 384]]) {
            self.add("pair_similarity", format!("f32 B{b} N{n} C{c}"), |graph| {
                let (unit, norm) = (graph.input("unit", [b, n, c], Elem::F32), graph.input("norm", [b, n], Elem::F32));
                let previous = previous_at(graph, n, 1);
                Ok(vec![pair_similarity(graph, Normalized { unit, norm }, previous, None)?])
            });
            self.add("pair_distance", format!("mean f32 B{b} N{n} C{c}"), |graph| {
                let x = graph.input("x", [b, n, c], Elem::F32);
                let previous = previous_at(graph, n, 1);
                Ok(vec![pair_distance(graph, x, previous, Distance::MeanAbsolute, None)?])
            });
            self.add("grid_anchors", format!("of 30 columns f32 B{b} N{n} C{c}"), |graph| {
                let x = graph.input("x", [b, n, c], Elem::F32);
                let options = GridAnchors { width: 30, measure: Distance::MeanAbsolute, threshold: 0.1 };
                Ok(vec![options.build(graph, x, None)?])
            });
            self.add("run_segments", format!("B{b} N{n}"), |graph| {
                let joins = graph.constant(HostTensor::u32([b, n], data::integers(6, (b * n) as usize, 2)));
                let previous = previous_at(graph, n, 1);
                let segments = RunSegments { pairs: false }.build(graph, joins, previous, None)?;
                Ok(vec![segments.start, segments.starts])
            });
        }
    }

    fn selections(&mut self) {
        for [b, n, c, k] in self.shapes(vec![[16, 577, 1024, 64], [1, 4096, 1024, 256]], vec![[1, 577, 256, 64]]) {
            for objective in [Objective::MaxMin, Objective::Determinant, Objective::FacilityLocation { additive: false }] {
                self.add("greedy_select", format!("{objective:?} f32 B{b} N{n} C{c} k{k}"), |graph| {
                    let normalized =
                        Normalized { unit: graph.input("unit", [b, n, c], Elem::F32), norm: graph.input("norm", [b, n], Elem::F32) };
                    let weights = Some(graph.constant(HostTensor::f32([b, n], vec![1.0; (b * n) as usize])));
                    let inputs = GreedyInputs { weights, ..GreedyInputs::new(normalized) };
                    Ok(vec![GreedySelect { objective, k }.build(graph, inputs)?.indices])
                });
            }
        }
        for [b, n, c] in self.shapes(vec![[16, 577, 1024]], vec![[1, 577, 256]]) {
            self.add("neighbours", format!("32 by cosine f32 B{b} N{n} C{c}"), |graph| {
                let normalized =
                    Normalized { unit: graph.input("unit", [b, n, c], Elem::F32), norm: graph.input("norm", [b, n], Elem::F32) };
                let search = Neighbours { nearest: 32, exclude_self: true };
                Ok(vec![search.most_similar(graph, normalized, Among::default())?.indices])
            });
            let unit = move |graph: &mut Graph| Normalized {
                unit: graph.input("unit", [b, n, c], Elem::F32),
                norm: graph.input("norm", [b, n], Elem::F32),
            };
            self.add("mean_affinity", format!("f32 B{b} N{n} C{c}"), |graph| {
                let normalized = unit(graph);
                Ok(vec![mean_affinity(graph, normalized, Affinity::Elu { margin: 0.5 }, None)?])
            });
            self.add("near_pairs", format!("f32 B{b} N{n} C{c}"), |graph| {
                let normalized = unit(graph);
                Ok(vec![NearPairs { threshold: 0.9, or_equal: false }.build(graph, normalized, None)?.pairs])
            });
            // A chain, so that each token has to be found before the next.
            let chain = move |graph: &mut Graph| {
                let [from, to] =
                    [0, 1].map(|first| graph.constant(HostTensor::u32([b, n], (0..b).flat_map(|_| first..first + n).collect())));
                link_pairs(graph, from, to, n, None)
            };
            self.add("link_pairs", format!("B{b} N{n}"), |graph| Ok(vec![chain(graph)?]));
            self.add("components", format!("a chain, with its links B{b} N{n}"), |graph| {
                let pairs = chain(graph)?;
                Ok(vec![components(graph, pairs, None)?])
            });
            self.add("cover", format!("a chain, with its links B{b} N{n}"), |graph| {
                let pairs = chain(graph)?;
                let order = graph.constant(HostTensor::u32([b, n], (0..b).flat_map(|_| 0..n).collect()));
                Ok(vec![cover(graph, pairs, order, None)?])
            });
            // Of every five places four join.
            self.add("static_windows", format!("32 frames B{b} N{n}"), |graph| {
                let joins = (0..b * 32 * n).map(|i| u32::from(i.wrapping_mul(2_654_435_761) >> 16 > 13_107)).collect();
                let joins = graph.constant(HostTensor::u32([b, 32, n], joins));
                Ok(vec![StaticWindows::default().build(graph, joins, None)?])
            });
            self.add("density_peaks", format!("of 8 nearest f32 B{b} N{n} C{c}"), |graph| {
                let x = graph.input("x", [b, n, c], Elem::F32);
                Ok(vec![density_peaks(graph, x, 8, None)?.score])
            });
        }
        for [b, n] in self.shapes(vec![[4096, 577]], vec![[64, 577]]) {
            self.add("quantile", format!("fence f32 B{b} N{n}"), |graph| {
                let scores = graph.input("scores", [b, n], Elem::F32);
                Ok(vec![fence(graph, scores, 1.5, None)?])
            });
            self.add("min_max", format!("f32 B{b} N{n}"), |graph| {
                let scores = graph.input("scores", [b, n], Elem::F32);
                Ok(vec![MinMax::default().build(graph, scores, None)?])
            });
            self.add("allocate", format!("B{b}, 16 segments"), |graph| {
                let weights =
                    graph.constant(HostTensor::f32([b, 16], data::integers(7, 16 * b as usize, 9).iter().map(|w| *w as f32).collect()));
                let totals = graph.constant(HostTensor::u32([b], vec![n / 4; b as usize]));
                let capacities = graph.constant(HostTensor::u32([b, 16], vec![n / 16; 16 * b as usize]));
                Ok(vec![Allocate::default().build(graph, weights, totals, capacities)?])
            });
        }
    }

    fn frames(&mut self) {
        let elem = self.elem;
        for [b, n, c, of_frame] in self.shapes(vec![[8, 3136, 1152, 196]], vec![[1, 3136, 128, 196]]) {
            self.add("previous_equal", format!("B{b} N{n}, frames of {of_frame}"), |graph| {
                let places = (0..b).flat_map(|_| (0..n).map(|i| i % of_frame)).collect();
                let places = graph.constant(HostTensor::u32([b, n], places));
                Ok(vec![previous_equal(graph, places, None)?])
            });
            self.add("gaussian_similarity", format!("f32 B{b} N{n} C{c}"), |graph| {
                let (x, centers) = (graph.input("x", [b, n, c], Elem::F32), graph.input("centers", [b, c], Elem::F32));
                Ok(vec![gaussian_similarity(graph, x, centers, None)?])
            });
        }
        for [b, frames] in self.shapes(vec![[256, 64]], vec![[8, 16]]) {
            self.add("frame_budget", format!("B{b}, {frames} frames"), |graph| {
                let scores = graph.input("scores", [b, frames], Elem::F32);
                let sizes = graph.constant(HostTensor::u32([b, frames], vec![196; (b * frames) as usize]));
                Ok(vec![FrameBudget { base: 0.25, temperature: 0.01 }.build(graph, scores, sizes)?])
            });
        }
        for [b, h, n, d] in self.shapes(vec![[16, 20, 1500, 64]], vec![[1, 6, 256, 64]]) {
            self.add("grow_runs", format!("f32 B{b} N{n} C{}", h * d), |graph| {
                let (unit, norm) = (graph.input("unit", [b, n, h * d], Elem::F32), graph.input("norm", [b, n], Elem::F32));
                Ok(vec![grow_runs(graph, Normalized { unit, norm }, 0.5, None)?])
            });
            self.add("pooled_attention", format!("pools of 2 {elem} B{b} H{h} N{n} D{d}"), |graph| {
                let (queries, keys) = (graph.input("queries", [b, h, n, d], elem), graph.input("keys", [b, h, n, d], elem));
                Ok(vec![PooledAttention { pool: 2, scale: None }.build(graph, queries, keys, None)?.received])
            });
        }
    }

    /// Batches of many rows of two tokens: what a row costs beside its numbers.
    fn short_rows(&mut self) {
        const B: u32 = 66_000;
        let filled =
            |graph: &mut Graph, width: u32, value: u32| graph.constant(HostTensor::u32([B, width], vec![value; (B * width) as usize]));
        let name = |what: &str| format!("short rows{what} B{B} N2");
        let unit = |graph: &mut Graph| Normalized {
            unit: graph.input("unit", [B, 2, 16], Elem::F32),
            norm: graph.input("norm", [B, 2], Elem::F32),
        };
        for objective in [Objective::MaxMin, Objective::Determinant] {
            self.add("greedy_select", name(&format!(" {objective:?}")) + " C16 k2", |graph| {
                let inputs = GreedyInputs::new(unit(graph));
                Ok(vec![GreedySelect { objective, k: 2 }.build(graph, inputs)?.indices])
            });
        }
        self.add("density_peaks", name("") + " C16", |graph| {
            let x = graph.input("x", [B, 2, 16], Elem::F32);
            Ok(vec![density_peaks(graph, x, 2, None)?.score])
        });
        self.add("neighbours", name("") + " C16", |graph| {
            let search = Neighbours { nearest: 1, exclude_self: true };
            let normalized = unit(graph);
            Ok(vec![search.most_similar(graph, normalized, Among::default())?.indices])
        });
        self.add("bipartite_match", name("") + " C16", |graph| {
            let (normalized, partition) = (unit(graph), Partition::even_odd(graph, 2));
            Ok(vec![BipartiteMatch::default().build(graph, normalized, partition, None)?.partner])
        });
        self.add("grow_runs", name("") + " C16", |graph| {
            let normalized = unit(graph);
            Ok(vec![grow_runs(graph, normalized, 0.5, None)?])
        });
        self.add("attention_score", name("") + " H1 D16", |graph| {
            let (queries, keys) = (graph.input("queries", [B, 1, 2, 16], Elem::F32), graph.input("keys", [B, 1, 2, 16], Elem::F32));
            let inputs = AttentionInputs { queries, keys, bias: None, lengths: None, query_lengths: None };
            Ok(vec![AttentionScore { queries: Queries::All, ..AttentionScore::default() }.build(graph, inputs)?.score])
        });
        self.add("pooled_attention", name("") + " H1 D16", |graph| {
            let (queries, keys) = (graph.input("queries", [B, 1, 2, 16], Elem::F32), graph.input("keys", [B, 1, 2, 16], Elem::F32));
            Ok(vec![PooledAttention { pool: 2, scale: None }.build(graph, queries, keys, None)?.received])
        });
        self.add("frame_budget", name(""), |graph| {
            let (scores, sizes) = (graph.input("scores", [B, 2], Elem::F32), filled(graph, 2, 196));
            Ok(vec![FrameBudget { base: 0.25, temperature: 0.01 }.build(graph, scores, sizes)?])
        });
        self.add("allocate", name(""), |graph| {
            let weights = graph.input("weights", [B, 2], Elem::F32);
            let (totals, capacities) = (graph.constant(HostTensor::u32([B], vec![9; B as usize])), filled(graph, 2, 8));
            Ok(vec![Allocate::default().build(graph, weights, totals, capacities)?])
        });
        self.add("assign_tokens", name(""), |graph| {
            let partition = Partition::even_odd(graph, 2);
            let (partner, unmerged) = (filled(graph, 1, 0), filled(graph, 1, NONE));
            let assign = AssignTokens { tokens: 2, outputs: 1, interleave: false };
            let assigned = assign.build(graph, AssignInputs { partition, lengths: None, partner, unmerged })?;
            Ok(vec![assigned.parent, assigned.representative])
        });
    }

    fn attend(&mut self) {
        let elem = self.elem;
        let gpu = vec![[64, 16, 577, 577, 64], [1, 32, 4096, 4096, 128], [64, 12, 32, 257, 64], [1, 32, 1, 8192, 128]];
        for [b, h, m, n, d] in self.shapes(gpu, vec![[1, 4, 577, 577, 64], [1, 12, 32, 257, 64], [1, 32, 1, 8192, 128]]) {
            self.add("attention", format!("{elem} B{b} H{h} M{m} N{n} D{d}"), |graph| {
                let queries = graph.input("queries", [b, h, m, d], elem);
                let (keys, values) = (graph.input("keys", [b, h, n, d], elem), graph.input("values", [b, h, n, d], elem));
                let inputs = QueryKeyValue { queries, keys, values, bias: None, lengths: None, query_lengths: None };
                Ok(vec![Attention::default().build(graph, inputs)?.rows])
            });
        }
    }

    fn grids(&mut self) {
        let elem = self.elem;
        for [b, side, c] in self.shapes(vec![[64, 27, 1152]], vec![[2, 27, 1152]]) {
            let pools = [
                ("average 2 x 2", Pool::Average(Windows::cells(2))),
                ("maximum 2 x 2", Pool::Max(Windows::cells(2))),
                ("bilinear to 14 x 14", Pool::Bilinear([14, 14])),
                ("adaptive to 12 x 12", Pool::Average(Windows::Adaptive { outputs: [12, 12] })),
            ];
            for (what, pool) in pools {
                self.add("pool", format!("{what} {elem} B{b} {side}x{side} C{c}"), |graph| {
                    let x = graph.input("x", [b, side * side, c], elem);
                    Ok(vec![pool.build(graph, x, [side, side], None)?])
                });
            }
        }
        for [b, side, c] in self.shapes(vec![[64, 24, 1024]], vec![[1, 24, 256]]) {
            let same = Convolution { padding: [1, 1], ..Convolution::default() };
            self.add("convolution", format!("depthwise 3 x 3 {elem} B{b} {side}x{side} C{c}"), |graph| {
                let (x, weight) = (graph.input("x", [b, side * side, c], elem), graph.input("weight", [c, 1, 3, 3], elem));
                Ok(vec![same.depthwise(graph, x, [side, side], weight, None)?])
            });
            self.add("convolution", format!("dense 3 x 3, stride 2 {elem} B{b} {side}x{side} C{c}"), |graph| {
                let (x, weight) = (graph.input("x", [b, side * side, c], elem), graph.input("weight", [c, c, 3, 3], elem));
                Ok(vec![Convolution { stride: [2, 2], ..same }.dense(graph, x, [side, side], weight, None)?])
            });
            let (queries, heads) = (144, 8);
            self.add("deformable_sample", format!("4 points {elem} B{b} {side}x{side} Q{queries} H{heads} C{c}"), |graph| {
                let value = graph.input("value", [b, side * side, heads, c / heads], elem);
                let points = Points::Locations(graph.input("locations", [b, queries, heads, 4, 2], elem));
                let weights = graph.input("weights", [b, queries, heads, 4], elem);
                let sample = DeformableSample { levels: vec![[side, side]], softmax: true };
                Ok(vec![sample.build(graph, DeformableInputs { value, points, weights })?])
            });
        }
    }

    fn blocks(&mut self) {
        let elem = self.elem;
        for [b, n, c] in self.shapes(vec![[64, 577, 1024]], vec![[2, 577, 1024]]) {
            for (what, norm) in [("LayerNorm", LayerNorm::default()), ("RMSNorm", LayerNorm::root_mean_square(1e-6))] {
                self.add("layer_norm", format!("{what} {elem} B{b} N{n} C{c}"), |graph| {
                    let (x, weight) = (graph.input("x", [b, n, c], elem), graph.input("weight", [c], elem));
                    Ok(vec![norm.build(graph, x, Some(weight), None)?])
                });
            }
            self.add("elementwise", format!("sum {elem} B{b} N{n} C{c}"), |graph| {
                let (x, y) = (graph.input("x", [b, n, c], elem), graph.input("y", [b, n, c], elem));
                Ok(vec![add(graph, x, y)?])
            });
            self.add("elementwise", format!("gated channels {elem} B{b} N{n} C{c}"), |graph| {
                let (x, gate) = (graph.input("x", [b, n, c], elem), graph.input("gate", [b, 1, c], elem));
                Ok(vec![multiply(graph, x, gate)?])
            });
        }
    }

    /// Caches of a long context: scores, and what stays by them.
    fn caches(&mut self) {
        let elem = self.elem;
        for [b, h, n, d] in self.shapes(vec![[1, 8, 131_072, 128]], vec![[1, 8, 16_384, 128]]) {
            let cache = |graph: &mut Graph| {
                let [keys, values] = ["keys", "values"].map(|name| graph.input(name, [b, h, n, d], elem));
                Cache::new(graph, keys, values)
            };
            let left = |graph: &mut Graph, cache: &Cache, scores: Tensor| {
                let evict = Evict { budget: CacheBudget::Share(0.25), always: AlwaysKept::default() };
                let cache = evict.build(graph, cache, scores)?.cache;
                Ok(vec![cache.keys, cache.values, cache.positions])
            };
            let shape = format!("{elem} B{b} H{h} N{n} D{d}");
            self.add("cache", format!("SnapKV, a quarter stays {shape}"), |graph| {
                let cache = cache(graph)?;
                let queries = graph.input("queries", [b, 4 * h, 32, d], elem);
                let scores = SnapKV::AUTHORS.build(graph, &cache, queries)?;
                left(graph, &cache, scores)
            });
            self.add("cache", format!("KeyDiff, a quarter stays {shape}"), |graph| {
                let cache = cache(graph)?;
                let scores = key_diff(graph, &cache)?;
                left(graph, &cache, scores)
            });
            self.add("cache", format!("AdaKV of given scores, a quarter stays {shape}"), |graph| {
                let cache = cache(graph)?;
                let scores = graph.input("scores", [b, h, n], Elem::F32);
                let ada = AdaKV { budget: CacheBudget::Share(0.25), safeguard: 0.2, always: AlwaysKept::default() };
                let cache = ada.build(graph, &cache, scores)?.cache;
                Ok(vec![cache.lengths, cache.positions])
            });
            self.add("attention", format!("one query of 32 heads {shape}"), |graph| {
                let query = graph.input("query", [b, 4 * h, 1, d], elem);
                let [keys, values] = ["keys", "values"].map(|name| graph.input(name, [b, h, n, d], elem));
                let inputs = QueryKeyValue { queries: query, keys, values, bias: None, lengths: None, query_lengths: None };
                Ok(vec![Attention::default().build(graph, inputs)?.rows])
            });
            self.add("paged_attention", format!("Quest, one query of 32 heads, 64 pages of 16 of {shape}"), |graph| {
                let cache = cache(graph)?;
                let query = graph.input("query", [b, 4 * h, 1, d], elem);
                let [high, minus_low] = ["high", "low"].map(|name| graph.input(name, [b * h, n / 16, d], elem));
                Ok(vec![Quest::default().attend(graph, &cache, &PageBounds { high, minus_low }, query)?.rows])
            });
            self.add("cumulative_sum", format!("B{} N{n}", b * h), |graph| {
                let x = graph.input("x", [b * h, n], Elem::F32);
                Ok(vec![cumulative_sum(graph, x, None)?])
            });
            self.add("rotate", shape.clone(), |graph| {
                let x = graph.input("x", [b * h, n, d], elem);
                let to = graph.constant(HostTensor::u32([b * h, n], data::integers(4, (b * h * n) as usize, n)));
                Ok(vec![Rope::new(10_000.0, d, RotaryPairs::Half).rotate(graph, x, None, to, None)?])
            });
            self.add("scaled_deviation", shape, |graph| {
                let x = graph.input("x", [b * h * n / 128, 128, d], elem);
                let [low, high] = ["low", "high"].map(|name| graph.input(name, [b * h * n / 128, d], elem));
                Ok(vec![scaled_deviation(graph, x, low, high)?])
            });
        }
    }

    /// At the sizes of real models; smaller where a CPU does the work.
    pub fn all(small: bool, elem: Elem) -> Vec<Case> {
        let mut cases = Self { small, elem, list: Vec::new() };
        cases.attention_score();
        cases.top_k();
        cases.compact();
        cases.row_normalize();
        cases.bipartite_match();
        cases.merge_tokens();
        cases.tome();
        cases.gather_rows();
        cases.invert_index();
        cases.log_size();
        cases.pixel_unshuffle();
        cases.linear();
        cases.joins();
        cases.statistics();
        cases.neighbours();
        cases.selections();
        cases.frames();
        cases.attend();
        cases.grids();
        cases.blocks();
        cases.short_rows();
        cases.caches();
        cases.list
    }
}

/// A kernel over a decade of sizes.
pub struct Family {
    pub kernel: &'static str,
    /// What its size is.
    pub over: &'static str,
    pub sizes: &'static [u32],
    pub build: fn(&mut Graph, u32) -> Result<(), Error>,
}

/// One or two for each kernel whose time should grow as its definition does.
pub fn families() -> Vec<Family> {
    fn output(graph: &mut Graph, tensors: &[Tensor]) -> Result<(), Error> {
        tensors.iter().enumerate().try_for_each(|(index, tensor)| graph.output(&format!("output {index}"), *tensor))
    }
    const TOKENS: &[u32] = &[1024, 2048, 4096, 8192, 10240];
    vec![
        Family {
            kernel: "attention_score",
            over: "keys, class row, H4 D64",
            sizes: &[4096, 8192, 16384, 32768, 40960],
            build: |graph, n| {
                let queries = graph.input("queries", [1, 4, 1, 64], Elem::F32);
                let keys = graph.input("keys", [1, 4, n, 64], Elem::F32);
                let inputs = AttentionInputs { queries, keys, bias: None, lengths: None, query_lengths: None };
                let score = AttentionScore { queries: Queries::CLASS, ..AttentionScore::default() }.build(graph, inputs)?.score;
                output(graph, &[score])
            },
        },
        Family {
            kernel: "attention_score",
            over: "queries and keys, all rows, H1 D64",
            sizes: &[512, 1024, 2048, 4096, 5120],
            build: |graph, n| {
                let tensor = graph.input("x", [1, 1, n, 64], Elem::F32);
                let inputs = AttentionInputs { queries: tensor, keys: tensor, bias: None, lengths: None, query_lengths: None };
                let score = AttentionScore { queries: Queries::All, rows: RowReduction::Sum, ..AttentionScore::default() };
                let score = score.build(graph, inputs)?.score;
                output(graph, &[score])
            },
        },
        Family {
            kernel: "top_k",
            over: "entries of a row, k = 64",
            sizes: &[16384, 32768, 65536, 131072, 163840],
            build: |graph, n| {
                let scores = graph.input("scores", [8, n], Elem::F32);
                let indices = TopK { k: 64, ..TopK::default() }.build(graph, TopKInputs::new(scores))?.indices;
                output(graph, &[indices])
            },
        },
        Family {
            kernel: "bipartite_match",
            over: "tokens, C64",
            sizes: &[512, 1024, 2048, 4096, 5120],
            build: |graph, n| {
                let normalized =
                    Normalized { unit: graph.input("unit", [1, n, 64], Elem::F32), norm: graph.input("norm", [1, n], Elem::F32) };
                let partition = Partition::even_odd(graph, n);
                let matches = BipartiteMatch::default().build(graph, normalized, partition, None)?;
                output(graph, &[matches.partner])
            },
        },
        Family {
            kernel: "merge_tokens",
            over: "tokens, C256",
            sizes: TOKENS,
            build: |graph, n| {
                let x = graph.input("x", [2, n, 256], Elem::F32);
                let parent = graph.constant(HostTensor::u32([2, n], data::integers(2, 2 * n as usize, n / 2)));
                let groups = group_tokens(graph, parent, n / 2)?;
                let merged = merge_tokens(graph, x, groups, None, Reduce::Mean)?;
                output(graph, &[merged])
            },
        },
        Family {
            kernel: "gather_rows",
            over: "tokens, C256",
            sizes: TOKENS,
            build: |graph, n| {
                let x = graph.input("x", [2, n, 256], Elem::F32);
                let index = graph.constant(HostTensor::u32([2, n / 2], data::integers(3, n as usize, n)));
                let gathered = gather_rows(graph, x, index, None)?;
                output(graph, &[gathered])
            },
        },
        Family {
            kernel: "compact",
            over: "flags",
            sizes: &[65536, 131072, 262144, 524288, 655360],
            build: |graph, n| {
                let flags = graph.constant(HostTensor::u32([1, n], data::integers(1, n as usize, 2)));
                let indices = compact(graph, flags, None)?.indices;
                output(graph, &[indices])
            },
        },
        Family {
            kernel: "cache",
            over: "keys, SnapKV, a quarter stays, f16 H8 D128",
            sizes: &[8192, 16_384, 32_768, 65_536, 131_072],
            build: |graph, n| {
                let [keys, values] = ["keys", "values"].map(|name| graph.input(name, [1, 8, n, 128], Elem::F16));
                let queries = graph.input("queries", [1, 8, 32, 128], Elem::F16);
                let cache = Cache::new(graph, keys, values)?;
                let scores = SnapKV::AUTHORS.build(graph, &cache, queries)?;
                let evict = Evict { budget: CacheBudget::Share(0.25), always: AlwaysKept::default() };
                let left = evict.build(graph, &cache, scores)?.cache;
                output(graph, &[left.keys, left.values])
            },
        },
        Family {
            kernel: "pixel_unshuffle",
            over: "rows of a grid of 64 columns, C64",
            sizes: &[64, 128, 256, 512, 640],
            build: |graph, n| {
                let x = graph.input("x", [1, n * 64, 64], Elem::F32);
                let y = PixelUnshuffle::default().unshuffle_tokens(graph, x, [n, 64])?;
                output(graph, &[y])
            },
        },
        Family {
            kernel: "linear",
            over: "rows, K256 O256",
            sizes: &[256, 512, 1024, 2048, 2560],
            build: |graph, n| {
                let (x, weight) = (graph.input("x", [n, 256], Elem::F32), graph.input("weight", [256, 256], Elem::F32));
                let y = linear(graph, x, weight, None)?;
                output(graph, &[y])
            },
        },
    ]
}
