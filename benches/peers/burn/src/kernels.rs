//! Our kernels, as a user of burn would write them with its tensors.

use std::any::Any;

use burn::tensor::activation::softmax;
use burn::tensor::module::{adaptive_avg_pool2d, attention, avg_pool2d, conv2d, interpolate, layer_norm, linear, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, InterpolateMode, InterpolateOptions, MaxPoolOptions};
use burn::tensor::{DType, Device, IndexingUpdateOp, Int, Tensor, TensorData, s};

use crate::cases::{Case, floats, integers};

/// Does the work once and keeps what comes of it.
pub(crate) type Run = Box<dyn Fn() -> Box<dyn Any>>;

/// The ways to do it that burn has.
pub(crate) fn ways(kernel: &str) -> &'static [&'static str] {
    match kernel {
        "top_k" => &["", "argsort"],
        "gather_rows" => &["", "select"],
        "attention_score" | "compact" | "row_normalize" | "bipartite_match" | "tome" | "merge_tokens" | "pixel_unshuffle" | "linear"
        | "concat_rows" | "reduce" | "threshold" | "pair_similarity" | "attention" | "pool" | "convolution" | "layer_norm"
        | "elementwise" => &[""],
        _ => &[],
    }
}

/// One for each set of buffers; `None` where burn has nothing for the case.
pub(crate) fn runs(case: &Case, way: &str, device: &Device) -> Option<Vec<Run>> {
    (0..case.turns).map(|_| run(&Maker { case, device }, way)).collect()
}

/// Makes the inputs of a case.
struct Maker<'a> {
    case: &'a Case,
    device: &'a Device,
}

impl Maker<'_> {
    fn floats<const D: usize>(&self, shape: [usize; D]) -> Tensor<D> {
        let dtype = if self.case.half() { DType::F16 } else { DType::F32 };
        Tensor::from_data(TensorData::new(floats(shape.iter().product()), shape), (self.device, dtype))
    }

    fn integers<const D: usize>(&self, seed: u64, below: usize, shape: [usize; D]) -> Tensor<D, Int> {
        Tensor::from_data(TensorData::new(integers(seed, shape.iter().product(), below), shape), self.device)
    }
}

fn boxed<T: 'static>(work: impl Fn() -> T + 'static) -> Option<Run> {
    Some(Box::new(move || -> Box<dyn Any> { Box::new(work()) }))
}

fn run(make: &Maker, way: &str) -> Option<Run> {
    let case = make.case;
    match case.kernel.as_str() {
        "attention_score" => attention_score(make),
        "attention" => {
            let [b, h, m, n, d] = case.sizes("BHMND")?;
            let (q, k, v) = (make.floats([b, h, m, d]), make.floats([b, h, n, d]), make.floats([b, h, n, d]));
            boxed(move || attention(q.clone(), k.clone(), v.clone(), None, None, Default::default()))
        }
        "top_k" => {
            let [b, n, k] = case.sizes("BNk")?;
            let scores = make.floats([b, n]);
            match way {
                "argsort" => boxed(move || scores.clone().argsort_descending(1).slice(s![.., 0..k])),
                _ => boxed(move || scores.clone().topk_with_indices(k, 1)),
            }
        }
        "row_normalize" => {
            let [b, h, n, c] = case.sizes("BHNC")?;
            let x = make.floats([b, h, n, c]);
            boxed(move || {
                let norm = x.clone().square().sum_dim(3).sqrt();
                (x.clone() / norm.clone(), norm)
            })
        }
        "bipartite_match" => {
            let [b, n, c] = case.sizes("BNC")?;
            let unit = make.floats([b, n, c]);
            boxed(move || best_partners(unit.clone()))
        }
        // Its result has as many rows as there are set flags, so that it reads them back.
        "compact" => {
            let flags = make.integers(4, 2, case.sizes::<2>("BN")?).equal_elem(1);
            boxed(move || flags.clone().argwhere())
        }
        "tome" => tome(make),
        "merge_tokens" => merge_tokens(make),
        "gather_rows" => {
            let [b, n, c] = case.sizes("BNC")?;
            let source = make.floats([b, n, c]);
            let index = make.integers(3, n, [b, n / 2]);
            match way {
                "select" => boxed(move || {
                    let first = Tensor::<1, Int>::arange(0..b as i64, &index.device()).mul_scalar(n as i64).reshape([b, 1]);
                    let rows = (index.clone() + first).reshape([-1]);
                    source.clone().reshape([b * n, c]).select(0, rows).reshape([b, n / 2, c])
                }),
                _ => boxed(move || source.clone().gather(1, wide(index.clone(), c))),
            }
        }
        "pixel_unshuffle" => pixel_unshuffle(make),
        "linear" => {
            let rows = case.name.split(' ').nth(1)?.parse().ok()?;
            let [k, o] = case.sizes("KO")?;
            // As burn's own layer keeps it.
            let (x, weight, bias) = (make.floats([rows, k]), make.floats([k, o]), make.floats([o]));
            boxed(move || linear(x.clone(), weight.clone(), Some(bias.clone())))
        }
        "concat_rows" => {
            let [b, n, c] = case.sizes("BNC")?;
            let (first, second) = (make.floats([b, n, c]), make.floats([b, 64, c]));
            boxed(move || Tensor::cat(vec![first.clone(), second.clone()], 1))
        }
        "reduce" => {
            let x = make.floats(case.sizes::<3>("BNC")?);
            let axis = case.after("axis")?;
            match case.name.split(' ').next()? {
                "Mean" => boxed(move || x.clone().mean_dim(axis)),
                "Variance" => boxed(move || x.clone().var_bias(axis)),
                _ => boxed(move || x.clone().max_dim(axis)),
            }
        }
        "threshold" => {
            let scores = make.floats(case.sizes::<2>("BN")?);
            boxed(move || scores.clone().greater_elem(0.0).int())
        }
        "pair_similarity" => {
            let [b, n, c] = case.sizes("BNC")?;
            let unit = make.floats([b, n, c]);
            boxed(move || (unit.clone().slice(s![.., 1..n, ..]) * unit.clone().slice(s![.., 0..n - 1, ..])).sum_dim(2))
        }
        "pool" => pool(make),
        "convolution" => {
            let ([h, w], [b, c]) = (case.grid()?, case.sizes("BC")?);
            let (groups, stride) = if case.has("depthwise") { (c, 1) } else { (1, 2) };
            let (x, weight) = (make.floats([b, h * w, c]), make.floats([c, c / groups, 3, 3]));
            let options = ConvOptions::new([stride, stride], [1, 1], [1, 1], groups);
            boxed(move || tokens(conv2d(planes(x.clone(), [h, w]), weight.clone(), None, options.clone())))
        }
        "layer_norm" => {
            let [b, n, c] = case.sizes("BNC")?;
            let (x, weight) = (make.floats([b, n, c]), make.floats([c]));
            if case.has("LayerNorm") {
                return boxed(move || layer_norm(x.clone(), weight.clone(), None, 1e-5));
            }
            boxed(move || {
                let norm = (x.clone().square().mean_dim(2) + 1e-6).sqrt();
                x.clone() / norm * weight.clone().unsqueeze::<3>()
            })
        }
        "elementwise" => {
            let [b, n, c] = case.sizes("BNC")?;
            let x = make.floats([b, n, c]);
            if case.has("gated") {
                let gate = make.floats([b, 1, c]);
                return boxed(move || x.clone() * gate.clone());
            }
            let y = make.floats([b, n, c]);
            boxed(move || x.clone() + y.clone())
        }
        _ => None,
    }
}

fn attention_score(make: &Maker) -> Option<Run> {
    let [b, h, m, n, d] = make.case.sizes("BHMND")?;
    let (queries, keys) = (make.floats([b, h, m, d]), make.floats([b, h, n, d]));
    let weights = move |queries: Tensor<4>, keys: Tensor<4>| softmax(queries.matmul(keys.swap_dims(2, 3)).div_scalar((d as f32).sqrt()), 3);
    if make.case.has("class row") {
        return boxed(move || weights(queries.clone().slice(s![.., .., 0..1, ..]), keys.clone()).mean_dim(1));
    }
    boxed(move || weights(queries.clone(), keys.clone()).mean_dim(1).sum_dim(2))
}

/// Indices of tokens, for all channels of each.
fn wide(index: Tensor<2, Int>, channels: usize) -> Tensor<3, Int> {
    let [b, n] = index.dims();
    index.unsqueeze_dim::<3>(2).expand([b, n, channels])
}

/// The most similar odd token of every even one.
fn best_partners(unit: Tensor<3>) -> (Tensor<3>, Tensor<3, Int>) {
    let (sources, destinations) = alternate(unit);
    sources.matmul(destinations.swap_dims(1, 2)).max_dim_with_indices(2)
}

/// Even tokens and odd ones.
fn alternate(x: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    (x.clone().slice(s![.., 0..;2, ..]), x.slice(s![.., 1..;2, ..]))
}

/// Tokens become the means of those that merge; token 0 is a class token.
fn tome(make: &Maker) -> Option<Run> {
    let [b, n, c, d, r] = make.case.sizes("BNCDr")?;
    let (x, metric) = (make.floats([b, n, c]), make.floats([b, n, d]));
    boxed(move || {
        let norm = metric.clone().square().sum_dim(2).sqrt();
        let (similarity, partner) = best_partners(metric.clone() / norm);
        let sources = n.div_ceil(2);
        let similarity = similarity.reshape([b, sources]);
        let lowest = Tensor::<2>::full([b, 1], -2.0, (&similarity.device(), similarity.dtype()));
        let order = similarity.slice_assign(s![.., 0..1], lowest).argsort_descending(1);
        let merged = order.clone().slice(s![.., 0..r]);
        let unmerged = order.slice(s![.., r..sources]).sort(1);
        let into = partner.reshape([b, sources]).gather(1, merged.clone());
        let (from, to) = alternate(x.clone());
        let total = to.clone().scatter(1, wide(into.clone(), c), from.clone().gather(1, wide(merged, c)), IndexingUpdateOp::Add);
        let ones = Tensor::<3>::ones([b, r, 1], (&to.device(), to.dtype()));
        let size = Tensor::<3>::ones([b, n / 2, 1], (&to.device(), to.dtype())).scatter(1, wide(into, 1), ones, IndexingUpdateOp::Add);
        let stay = from.gather(1, wide(unmerged, c));
        let alone = Tensor::<3>::ones([b, sources - r, 1], (&to.device(), to.dtype()));
        (Tensor::cat(vec![stay, total / size.clone()], 1), Tensor::cat(vec![alone, size], 1))
    })
}

fn merge_tokens(make: &Maker) -> Option<Run> {
    let ([b, n], outputs) = (make.case.sizes("BN")?, make.case.after("to")?);
    let c = make.case.size('C')?;
    let (x, size) = (make.floats([b, n, c]), make.floats([b, n]));
    let parent = make.integers(2, outputs, [b, n]);
    boxed(move || {
        let size = size.clone().unsqueeze_dim::<3>(2);
        let zeros = |channels| Tensor::<3>::zeros([b, outputs, channels], (&x.device(), x.dtype()));
        let total = zeros(c).scatter(1, wide(parent.clone(), c), x.clone() * size.clone(), IndexingUpdateOp::Add);
        total / zeros(1).scatter(1, wide(parent.clone(), 1), size, IndexingUpdateOp::Add)
    })
}

fn pixel_unshuffle(make: &Maker) -> Option<Run> {
    let (case, [h, w]) = (make.case, make.case.grid()?);
    let [b, c] = case.sizes("BC")?;
    if case.has("planar") {
        let (f, x) = (case.after("by")?, make.floats([b, c, h, w]));
        return boxed(move || {
            let blocks = x.clone().reshape([b, c, h / f, f, w / f, f]).permute([0, 1, 3, 5, 2, 4]);
            blocks.reshape([b, c * f * f, h / f, w / f])
        });
    }
    let x = make.floats([b, h * w, c]);
    let order = if case.has("ChannelFirst") { [0, 1, 3, 5, 2, 4] } else { [0, 1, 3, 2, 4, 5] };
    boxed(move || x.clone().reshape([b, h / 2, 2, w / 2, 2, c]).permute(order).reshape([b, h * w / 4, 4 * c]))
}

/// Tokens as planes: the same memory.
fn planes(x: Tensor<3>, [h, w]: [usize; 2]) -> Tensor<4> {
    let [b, _, c] = x.dims();
    x.reshape([b, h, w, c]).permute([0, 3, 1, 2])
}

fn tokens(planes: Tensor<4>) -> Tensor<3> {
    let [b, c, h, w] = planes.dims();
    planes.permute([0, 2, 3, 1]).reshape([b, h * w, c])
}

fn pool(make: &Maker) -> Option<Run> {
    let (case, [h, w]) = (make.case, make.case.grid()?);
    let [b, c] = case.sizes("BC")?;
    let x = make.floats([b, h * w, c]);
    let to = case.after("to").unwrap_or_default();
    let bilinear = InterpolateOptions::new(InterpolateMode::Bilinear).with_align_corners(false).with_output_size([to, to]);
    let pooled: Box<dyn Fn(Tensor<4>) -> Tensor<4>> = match case.name.split(' ').next()? {
        "average" => Box::new(|x| avg_pool2d(x, AvgPoolOptions::new([2, 2]))),
        "maximum" => Box::new(|x| max_pool2d(x, MaxPoolOptions::new([2, 2]))),
        "adaptive" => Box::new(move |x| adaptive_avg_pool2d(x, [to, to])),
        _ => Box::new(move |x| interpolate(x, bilinear.clone())),
    };
    boxed(move || tokens(pooled(planes(x.clone(), [h, w]))))
}
