//! DynamicViT: pruning by a small network that looks at each token and at all of them.
//!
//! Rao et al., "DynamicViT: Efficient Vision Transformers with Dynamic Token Sparsification" (NeurIPS 2021),
//! `https://arxiv.org/abs/2106.02034`.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, Elementwise, LayerNorm, Order, Statistic, concat_rows, gather_rows, previous_at, reduce};
use crate::methods::parts::affine::Affine;
use crate::methods::parts::lists::{product, rows_of};
use crate::methods::parts::places::{Protect, Protected};
use crate::methods::parts::prune::{Prune, Pruned};
use crate::token_map::Tokens;

/// Keeps the protected tokens and the `keep` patches that the [`Predictor`] rates highest, in descending score.
///
/// Patches are the tokens that are not protected; by default token 0 is, the class token. Ties go to the lowest position.
///
/// Between the stages of the paper, the fourth, seventh and tenth block, `keep` is `floor(patches ratio^stage)` of the first block's
/// patches: `keep_count(patches, ratio, Rounding::Floor)`.
///
/// Cost: about `3.3 N C^2` operations for the predictor's layers on N patches of C channels, then one selection and one copy of
/// the kept tokens. No attention is read.
///
/// ```
/// use tokenpress::methods::{Affine, DynamicVit, Predictor};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 2], Elem::F32)?;
/// let mut layer = |o, k| Affine { weight: graph.constant(HostTensor::f32([o, k], (0..o * k).map(|i| 1.0 - i as f32).collect())), bias: None };
/// let (first, last) = (layer(2, 2), [layer(1, 2), layer(1, 1), layer(2, 1)]);
/// let norm = Affine { weight: graph.constant(HostTensor::f32([2], vec![1.0; 2])), bias: None };
/// let kept = DynamicVit { keep: 1, ..Default::default() }.build(&mut graph, &tokens, &Predictor { norm, first, last })?;
/// graph.output("kept", kept.pruned.selection.indices)?;
/// let x = HostTensor::f32([1, 4, 2], vec![0.0, 0.0, 0.0, 1.0, 2.0, 1.0, 0.0, 3.0]);
/// assert_eq!(graph.run_reference(&[("x".to_owned(), x)].into())?["kept"].integers(), [0, 2]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DynamicVit {
    /// Patches that stay.
    pub keep: u32,
    /// Tokens that are no patches: the class token, registers. The predictor does not see them.
    pub protect: Protect,
}

/// No patch stays; token 0 is a class token.
impl Default for DynamicVit {
    fn default() -> Self {
        Self { keep: 0, protect: Protect::CLASS }
    }
}

/// The layers that rate patches of C channels, C a multiple of 4 in the paper.
///
/// ```text
/// h      = gelu(first(norm(x)))                            the first half of its channels local, the other one global
/// z      = last2(gelu(last1(gelu(last0([local_i, mean of the live patches' global])))))
/// score  = z[0] - z[1]
/// ```
///
/// The published score is `log softmax(z)[0]`, which grows with ours but is rounded to 0 for many patches at once.
///
/// Cost: a norm, four linear layers of about `3.3 N C^2` operations together, one mean, and copies that put local and global
/// halves side by side.
#[derive(Debug, Clone, Copy)]
pub struct Predictor {
    /// LayerNorm, epsilon 1e-5.
    pub norm: Affine,
    /// `[C, C]`.
    pub first: Affine,
    /// `[C / 2, C]`, `[C / 4, C / 2]`, `[2, C / 4]`.
    pub last: [Affine; 3],
}

/// Tokens after DynamicViT, and the score that chose them.
#[derive(Debug, Clone, Copy)]
pub struct DynamicVitOutput {
    /// The protected tokens, then the patches that are left.
    pub pruned: Pruned,
    /// `[batch, tokens]`; 0 for protected tokens.
    pub score: Tensor,
}

impl DynamicVit {
    /// Prunes `tokens` before a block.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, predictor: &Predictor) -> Result<DynamicVitOutput, Error> {
        let [_, capacity, _] = tokens.checked()?;
        let protected = Protected::of(graph, tokens, self.protect)?;
        let (patches, lengths, places) = match protected {
            Protected::Leading(leading) => {
                let patches = if leading == 0 { tokens.x } else { rows_of(graph, tokens.x, leading..capacity)? };
                (patches, protected.of_others(graph, tokens, |others| others)?.0, previous_at(graph, capacity, leading))
            }
            _ => {
                let others = protected.others(graph, tokens)?;
                (gather_rows(graph, tokens.x, others.indices, None)?, others.counts, others.ranks)
            }
        };
        let score = predictor.score(graph, patches, lengths)?;
        let score = gather_rows(graph, score, places, None)?;
        let keep = self.keep;
        let pruned = Prune { order: Order::Value }.beside(graph, tokens, score, protected, |others| others.min(keep))?;
        Ok(DynamicVitOutput { pruned, score })
    }
}

impl Predictor {
    /// Rates `patches` `[B, N, C]`: `[B, N]`. The first `lengths[b]` of a row are alive.
    pub fn score(&self, graph: &mut Graph, patches: Tensor, lengths: Tensor) -> Result<Tensor, Error> {
        let x = self.norm.norm(graph, patches, LayerNorm::default())?;
        let x = self.first.linear(graph, x, Activation::Gelu)?;
        let [batch, count, channels] = x.shape().exactly("dynamic_vit: patches", "[B, N, C]")?;
        let half = channels / 2;
        if channels != 2 * half {
            return Err(Error::Shape { argument: "dynamic_vit: first", expected: "an even C".to_owned(), actual: x.shape() });
        }
        let every_second = |graph: &mut Graph, x: Tensor, from: u32| {
            let places = graph.counted([count], from, 2);
            gather_rows(graph, x, places, None)
        };
        let twice = product("dynamic_vit: patches", x.shape(), 2, count)?;
        let halves = graph.reshape(x, [batch, twice, half])?;
        let (local, global) = (every_second(graph, halves, 0)?, every_second(graph, halves, 1)?);
        let mean = reduce(graph, global, 1, Statistic::Mean, Some(lengths))?;
        let mean = graph.reshape(mean, [batch, 1, half])?;
        let (both, _) = concat_rows(graph, (local, None), (mean, None))?;
        let order = || (0..twice).map(|i| if i % 2 == 0 { i / 2 } else { count }).collect();
        let order = graph.listed("dynamic_vit: patches", [twice], order)?;
        let both = gather_rows(graph, both, order, None)?;
        let mut x = graph.reshape(both, [batch, count, channels])?;
        for (index, layer) in self.last.iter().enumerate() {
            x = layer.linear(graph, x, if index < 2 { Activation::Gelu } else { Activation::None })?;
        }
        let classes = graph.reshape(x, [batch, twice])?;
        let (keep, drop) = (every_second(graph, classes, 0)?, every_second(graph, classes, 1)?);
        Elementwise { scale: -1.0, ..Elementwise::default() }.build(graph, keep, drop)
    }
}
