//! PACT: the important tokens are clustered by density, and the others join what is near.
//!
//! Dhouib et al., "PACT: Pruning and Clustering-Based Token Reduction for Faster Visual Language Models" (CVPR 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Affinity, AttentionInputs, AttentionScore, BipartiteMatch, Limit, NearPairs, Order, Partition, Queries, Reduce, Relation, Statistic,
    Threshold, ThresholdInputs, TopK, TopKInputs, compact, cover, gather_rows, invert_index, keep_live, mark, mean_affinity, multiply,
    reduce, row_normalize,
};
use crate::methods::parts::lists::{either, first_entries, marks_of, product};
use crate::methods::parts::prune::Prune;
use crate::options;
use crate::schedule::{Rounding, keep_count};
use crate::tensor::NONE;
use crate::token_map::{Compressed, TokenMap, Tokens};

/// Clusters of a bounded radius around the densest of the important tokens.
///
/// ```text
/// candidates = the int(keep N) tokens of highest importance               d_ij = 1 - cos(key_i, key_j)
/// density_i = sum_j exp(-(d_ij / 2)^2) over the candidates
/// in descending density: a candidate is a centre iff no earlier centre lies within `cutoff`
/// a candidate joins the nearest centre, any other token too if d <= reach cutoff, or else it is dropped
/// x' = the mean of a centre and all that joined it, at the centre's position
/// ```
///
/// So every candidate is within the cutoff of a centre, and no two centres are. Equal densities go by position, and equal distances to the
/// first centre. The output is in ascending position. Attention to it is meant to be proportional to sizes, which add up:
/// [`log_size`](crate::kernels::log_size). How many clusters there are is on the GPU.
///
/// Tokens whose keys have a NaN or an infinity are centres if they are candidates, and are dropped otherwise; none joins them. Zero keys have
/// cosine 0 to all.
///
/// Cost: for k candidates and K centres `4 k^2 C` operations for densities and links, `2 N K C` to join; one selection and one sort, a walk of
/// one workgroup a row over the candidates, about fifteen small dispatches, one read of the tokens for the means.
///
/// ```
/// use tokenpress::methods::Pact;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 2], Elem::F32)?;
/// let importance = graph.constant(HostTensor::f32([1, 4], vec![4.0, 3.0, 2.0, 1.0]));
/// let merged = Pact { keep: 0.75, ..Default::default() }.build(&mut graph, &tokens, importance, tokens.x)?;
/// graph.output("parent", merged.map.parent)?;
/// let x = HostTensor::f32([1, 4, 2], vec![1.0, 0.0, 1.0, 0.2, 0.0, 1.0, -1.0, 0.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["parent"].integers(), [0, 0, 1, tokenpress::NONE]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("dbdpc", "density_clustering"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pact {
    /// Share of the tokens that are candidates, 0 to 1.
    pub keep: f64,
    /// Radius of a cluster, as a distance of cosines, from 0 to 2.
    pub cutoff: f32,
    /// How many times as far a token may be that is no candidate; at least 0.
    pub reach: f32,
}

/// The published setting for LLaVA-OneVision.
impl Default for Pact {
    fn default() -> Self {
        Self { keep: 0.55, cutoff: 0.21, reach: 1.5 }
    }
}

impl Pact {
    /// The published importance of tokens, f32 `[batch, tokens]`: the attention that they receive from the mean of their queries, mean over the
    /// heads, times their length. `queries` and `keys` are `[batch, heads, tokens, channels]`, of these tokens alone.
    ///
    /// Cost: one read of queries and keys each, one read of the tokens.
    ///
    /// ```
    /// use tokenpress::methods::Pact;
    /// use tokenpress::{Elem, Graph, HostTensor};
    ///
    /// let mut graph = Graph::new();
    /// let tokens = graph.tokens("x", [1, 2, 1], Elem::F32)?;
    /// let heads = graph.constant(HostTensor::f32([1, 1, 2, 1], vec![0.0, 0.0]));
    /// let importance = Pact::importance(&mut graph, &tokens, heads, heads)?;
    /// graph.output("importance", importance)?;
    /// let x = HostTensor::f32([1, 2, 1], vec![-3.0, 4.0]);
    /// assert_eq!(graph.run_reference(&[("x".to_owned(), x)].into())?["importance"].floats(), [1.5, 2.0]);
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    pub fn importance(graph: &mut Graph, tokens: &Tokens, queries: Tensor, keys: Tensor) -> Result<Tensor, Error> {
        tokens.checked()?;
        let [batch, heads, _, channels] = queries.shape().exactly("pact: queries", "[batch, heads, tokens, channels]")?;
        tokens.expect_metric("pact: queries", queries)?;
        tokens.expect_metric("pact: keys", keys)?;
        let mean = reduce(graph, queries, 2, Statistic::Mean, Some(tokens.lengths))?;
        let queries = graph.reshape(mean, [batch, heads, 1, channels])?;
        let attention = AttentionScore { queries: Queries::Row(0), ..Default::default() };
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: Some(tokens.lengths), query_lengths: None };
        let received = attention.build(graph, inputs)?.score;
        let length = row_normalize(graph, tokens.x, Some(tokens.lengths))?.norm;
        multiply(graph, received, length)
    }

    /// Merges `tokens` by their importance f32 `[batch, tokens]`, such as [`Pact::importance`], and by the keys of all heads side by side,
    /// `[batch, tokens, channels]`.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, importance: Tensor, keys: Tensor) -> Result<Compressed, Error> {
        let [batch, capacity, _] = tokens.checked()?;
        options::share("pact: keep", self.keep)?;
        options::between("pact: cutoff", 0.0, 2.0, self.cutoff.into())?;
        options::at_least("pact: reach", 0.0, self.reach.into())?;
        tokens.expect_score("pact: importance", importance)?;
        tokens.expect_metric("pact: keys", keys)?;
        keys.shape().exactly::<3>("pact: keys", "[batch, tokens, channels]")?;
        let all = product("pact: x", tokens.x.shape(), batch, capacity)?;
        let keep = |live: u32| keep_count(live, self.keep, Rounding::Floor);
        let candidates = Prune { order: Order::Index }.decide(graph, tokens, importance, None, keep)?;
        let (listed, lengths) = (candidates.indices, Some(candidates.kept));

        let among = gather_rows(graph, keys, listed, None)?;
        let normalized = row_normalize(graph, among, lengths)?;
        // (d / 2)^2 = (d / sqrt(2))^2 / 2
        let density = mean_affinity(graph, normalized, Affinity::Gaussian { width: std::f32::consts::SQRT_2 }, lengths)?;
        let [_, entries] = listed.shape().exactly("pact: candidates", "[batch, entries]")?;
        let sort = TopK { k: entries, order: Order::Value, ..Default::default() };
        let order = sort.build(graph, TopKInputs { lengths, ..TopKInputs::new(density) })?.indices;
        let within = |radius: f32| (1.0 - f64::from(radius)) as f32;
        let near = NearPairs { threshold: within(self.cutoff), or_equal: true }.build(graph, normalized, lengths)?;
        let centres = cover(graph, near.pairs, order, lengths)?;
        let centres = compact(graph, centres, lengths)?;
        let positions = gather_rows(graph, listed, centres.indices, None)?;

        let normalized = row_normalize(graph, keys, Some(tokens.lengths))?;
        let own = graph.counted([batch, capacity], 0, 1);
        let sources = keep_live(graph, own, tokens.lengths)?;
        let partition = Partition { sources, destinations: positions };
        let matches = BipartiteMatch::default().build(graph, normalized, partition, Some(tokens.lengths))?;
        let marks = Some(marks_of(graph, listed, capacity, mark::PROTECTED)?);
        let limit = Limit::Constant((1.0 - f64::from(self.reach) * f64::from(self.cutoff)) as f32);
        let inputs = ThresholdInputs { lengths: Some(tokens.lengths), marks, ..ThresholdInputs::new(matches.similarity, limit) };
        let joins = Threshold { relation: Relation::AtLeast }.build(graph, inputs)?;
        let (joins, partner) = (graph.reshape(joins, [all, 1])?, graph.reshape(matches.partner, [all, 1])?);
        let nowhere = graph.filled([all, 1], NONE);
        let nearest = either(graph, joins, [nowhere, partner])?;
        let nearest = graph.reshape(nearest, [batch, capacity])?;
        // A centre is its own.
        let place = invert_index(graph, positions, capacity)?;
        let rows = graph.counted([batch, entries], 0, 1);
        let parent = gather_rows(graph, rows, place, Some(nearest))?;
        let representative = first_entries(graph, positions, entries)?;
        let map = TokenMap { parent, representative, lengths: centres.counts };
        map.compress(graph, tokens, None, Reduce::Mean)
    }
}
