//! Two layers of a vision transformer in burn, and ToMe in burn's own operations.

use burn::module::Module;
use burn::nn::{Gelu, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, s};

/// A layer: attention, then a perceptron, each after a normalisation and with its input added.
#[derive(Module, Debug)]
pub(crate) struct Layer {
    attention_norm: LayerNorm,
    queries: Linear,
    keys: Linear,
    values: Linear,
    output: Linear,
    norm: LayerNorm,
    up: Linear,
    down: Linear,
    heads: usize,
}

impl Layer {
    pub(crate) fn new(channels: usize, heads: usize, device: &Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        Self {
            attention_norm: LayerNormConfig::new(channels).init(device),
            queries: linear(channels, channels),
            keys: linear(channels, channels),
            values: linear(channels, channels),
            output: linear(channels, channels),
            norm: LayerNormConfig::new(channels).init(device),
            up: linear(channels, 4 * channels),
            down: linear(4 * channels, channels),
            heads,
        }
    }

    /// Tokens after attention, in which each counts as often as its size `[batch, tokens]`, and the mean of the heads' keys
    /// `[batch, tokens, channels / heads]`.
    pub(crate) fn attend(&self, x: Tensor<3>, sizes: Tensor<2>) -> (Tensor<3>, Tensor<3>) {
        let [batch, tokens, channels] = x.dims();
        let width = channels / self.heads;
        let heads = |x: Tensor<3>| x.reshape([batch, tokens, self.heads, width]);
        let normed = self.attention_norm.forward(x.clone());
        let queries = heads(self.queries.forward(normed.clone())).swap_dims(1, 2);
        let keys = heads(self.keys.forward(normed.clone()));
        let values = heads(self.values.forward(normed)).swap_dims(1, 2);
        let metric = keys.clone().mean_dim(2).reshape([batch, tokens, width]);
        let scores = queries.matmul(keys.permute([0, 2, 3, 1])) / (width as f32).sqrt() + sizes.log().reshape([batch, 1, 1, tokens]);
        let mixed = softmax(scores, 3).matmul(values).swap_dims(1, 2).reshape([batch, tokens, channels]);
        (x + self.output.forward(mixed), metric)
    }

    pub(crate) fn feed_forward(&self, x: Tensor<3>) -> Tensor<3> {
        x.clone() + self.down.forward(Gelu::new().forward(self.up.forward(self.norm.forward(x))))
    }
}

/// `merge` of the even tokens become one with the odd tokens that they are most similar to, but for token 0; what is left of the even
/// tokens comes first. Gives tokens and sizes.
pub(crate) fn tome(x: Tensor<3>, sizes: Tensor<2>, metric: Tensor<3>, merge: usize) -> (Tensor<3>, Tensor<2>) {
    let [batch, tokens, channels] = x.dims();
    let (sources, destinations) = (tokens.div_ceil(2), tokens / 2);
    let unit = metric.clone() / metric.square().sum_dim(2).sqrt();
    let (even, odd) = alternate(unit);
    let (similarity, partner) = even.matmul(odd.swap_dims(1, 2)).max_dim_with_indices(2);
    let class = Tensor::<2>::full([batch, 1], -2.0, &similarity.device());
    let similarity = similarity.reshape([batch, sources]).slice_assign(s![.., 0..1], class);
    let order = similarity.argsort_descending(1);
    let merged = order.clone().slice(s![.., 0..merge]);
    let rest = order.slice(s![.., merge..]).sort(1);
    let into = partner.reshape([batch, sources]).gather(1, merged.clone());

    let size = sizes.reshape([batch, tokens, 1]);
    let (from, to) = alternate(x * size.clone());
    let (from_size, to_size) = alternate(size);
    let add = |to: Tensor<3>, from: Tensor<3>, wide: usize| {
        let from = from.gather(1, rows(merged.clone(), wide));
        to.scatter(1, rows(into.clone(), wide), from, IndexingUpdateOp::Add)
    };
    let stay = |from: Tensor<3>, wide: usize| from.gather(1, rows(rest.clone(), wide));
    let total = Tensor::cat(vec![stay(from.clone(), channels), add(to, from, channels)], 1);
    let size = Tensor::cat(vec![stay(from_size.clone(), 1), add(to_size, from_size, 1)], 1);
    (total / size.clone(), size.reshape([batch, sources - merge + destinations]))
}

/// Even tokens and odd ones.
fn alternate(x: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    (x.clone().slice(s![.., 0..;2, ..]), x.slice(s![.., 1..;2, ..]))
}

/// Indices of tokens, for all channels of each.
fn rows(index: Tensor<2, Int>, channels: usize) -> Tensor<3, Int> {
    let [batch, count] = index.dims();
    index.unsqueeze_dim::<3>(2).expand([batch, count, channels])
}
