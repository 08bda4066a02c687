//! FrameFusion: chains of similar tokens at one place of successive frames become one.
//!
//! Fu et al., "FrameFusion: Combining Similarity and Importance for Video Token Reduction on Large Vision Language Models" (ICCV 2025).

use super::prune::keep_marked;
use super::runs::collapse;
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Limit, Order, Reduce, Relation, Threshold, ThresholdInputs, TopK, TopKInputs, compact, lookup, mark, pair_similarity, previous_equal,
    row_normalize,
};
use crate::schedule::{Rounding, keep_count};
use crate::tensor::HostTensor;
use crate::token_map::{Compressed, TokenMap, Tokens};

/// Merges each token into the one at the same place of the frame before, where they are similar; later prunes by attention.
///
/// ```text
/// s_i = cos(x_i, x_p(i))     p(i): the last token before i at the same place of its frame
/// merge: the tokens with s_i >= similarity, of these at most int(most n) with the largest s; n video tokens are left so far
/// every chain of such tokens becomes one, at its first token's position: their mean
/// prune: of the n video tokens left round(keep n) by attention; all other tokens stay
/// ```
///
/// `places` says for each token its place in its frame, and [`NONE`](crate::NONE) for tokens that are not the video's. It goes with
/// the tokens: [`TokenMap::gather`] makes it that of the next merge. The published method merges at the first layers until less than
/// a tenth of the tokens did, and prunes at the next by the attention that each token receives from all; its budget of
/// computation decides `most` and `keep` ([`FrameFusion::budget`]). Here the caller says at which layers, since counts stay on the GPU.
/// As published the mean is of the rows, whatever they stand for; sizes add up. Of equal similarities the first merge first; zero rows
/// are similar to nothing, rows with a NaN or an infinity do not merge.
///
/// Cost: a merge reads the tokens twice for the similarities and once to merge; its other dispatches are of integers.
///
/// ```
/// use tokenpress::methods::FrameFusion;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 5, 2], Elem::F32)?;
/// let places = graph.constant(HostTensor::u32([1, 5], vec![tokenpress::NONE, 0, 1, 0, 1]));
/// let merged = FrameFusion { tokens_per_frame: 2, ..Default::default() }.merge(&mut graph, &tokens, places)?;
/// graph.output("x'", merged.tokens.x)?;
/// let x = HostTensor::f32([1, 5, 2], vec![9.0, 9.0, 1.0, 0.0, 0.0, 1.0, 3.0, 0.0, 1.0, 0.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["x'"].floats(), [9.0, 9.0, 2.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameFusion {
    /// Places of a frame.
    pub tokens_per_frame: u32,
    /// Least similarity of tokens that merge.
    pub similarity: f32,
    /// Share of the video tokens that may merge away, 0 to 1.
    pub most: f64,
}

/// The published similarity, and no limit.
impl Default for FrameFusion {
    fn default() -> Self {
        Self { tokens_per_frame: 1, similarity: 0.6, most: 1.0 }
    }
}

impl FrameFusion {
    /// The share of the tokens that has to go next, so that a model of `layers` layers costs `cost` of what it costs with all
    /// tokens, after layers that have removed the shares `removed`, each of what was left.
    pub fn budget(cost: f64, layers: u32, removed: &[f64]) -> f64 {
        let left = |share: &mut f64, removed: &f64| {
            *share *= 1.0 - removed;
            Some(*share)
        };
        let shares: Vec<f64> = removed.iter().scan(1.0, left).collect();
        let rest = f64::from(layers) * cost - shares.iter().sum::<f64>();
        let full = (f64::from(layers) - removed.len() as f64) * shares.last().unwrap_or(&1.0);
        (1.0 - rest / full).clamp(0.0, 1.0)
    }

    /// Where every token goes; `places` is u32 `[batch, tokens]`.
    pub fn decide(&self, graph: &mut Graph, tokens: &Tokens, places: Tensor) -> Result<TokenMap, Error> {
        let (capacity, lengths) = (tokens.capacity(), Some(tokens.lengths));
        check("framefusion: most", self.most)?;
        let normalized = row_normalize(graph, tokens.x, lengths)?;
        let previous = previous_equal(graph, places, lengths)?;
        let similarity = pair_similarity(graph, normalized, previous, lengths)?;
        let threshold = ThresholdInputs { lengths, ..ThresholdInputs::new(similarity, Limit::Constant(self.similarity)) };
        let similar = Threshold { relation: Relation::AtLeast }.mask(graph, threshold)?;
        let joins = if self.most < 1.0 {
            let counts = self.count_video(graph, tokens, places, |n| keep_count(n, self.most, Rounding::Floor))?;
            let marks = graph.constant(HostTensor::u32([2], vec![mark::EXCLUDED, mark::CANDIDATE]));
            let marks = lookup(graph, marks, similar)?;
            select(graph, similarity, tokens, counts, marks)?
        } else {
            similar
        };
        collapse(graph, tokens, joins, previous, false, capacity)
    }

    /// Merges similar tokens.
    pub fn merge(&self, graph: &mut Graph, tokens: &Tokens, places: Tensor) -> Result<Compressed, Error> {
        let map = self.decide(graph, tokens, places)?;
        map.compress(graph, tokens, None, Reduce::Mean)
    }

    /// Keeps the share `keep` of the video's tokens, those of the highest `attention` `[batch, tokens]` f32: what each receives, a mean
    /// over heads and queries.
    pub fn prune(&self, graph: &mut Graph, tokens: &Tokens, places: Tensor, attention: Tensor, keep: f64) -> Result<Compressed, Error> {
        check("framefusion: keep", keep)?;
        let counts = self.count_video(graph, tokens, places, |n| keep_count(n, keep, Rounding::NearestEven))?;
        let marks = self.by_place(graph, places, mark::CANDIDATE, mark::EXCLUDED)?;
        let best = select(graph, attention, tokens, counts, marks)?;
        // And everything that is not the video's.
        let marks = self.by_place(graph, places, mark::CANDIDATE, mark::PROTECTED)?;
        let any = ThresholdInputs::new(tokens.size, Limit::Constant(f32::NEG_INFINITY));
        let inputs = ThresholdInputs { lengths: Some(tokens.lengths), marks: Some(marks), among: Some(best), ..any };
        let mask = Threshold { relation: Relation::AtLeast }.mask(graph, inputs)?;
        keep_marked(graph, tokens, mask, tokens.capacity())
    }

    /// `video` for the video's tokens and `other` for all others, u32 `[batch, tokens]`.
    fn by_place(&self, graph: &mut Graph, places: Tensor, video: u32, other: u32) -> Result<Tensor, Error> {
        let mut table = vec![video; self.tokens_per_frame as usize];
        table.push(other);
        let table = graph.constant(HostTensor::u32([table.len() as u32], table));
        lookup(graph, table, places)
    }

    /// `count` of each row's live video tokens, u32 `[batch]`.
    fn count_video(&self, graph: &mut Graph, tokens: &Tokens, places: Tensor, count: impl Fn(u32) -> u32) -> Result<Tensor, Error> {
        let video = self.by_place(graph, places, 1, 0)?;
        let video = compact(graph, video, Some(tokens.lengths))?.counts;
        let table = (0..=tokens.capacity()).map(count).collect();
        let table = graph.constant(HostTensor::u32([tokens.capacity() + 1], table));
        lookup(graph, table, video)
    }
}

fn check(argument: &'static str, share: f64) -> Result<(), Error> {
    if (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    Err(Error::Value { argument, expected: "0 to 1".to_owned(), actual: share.to_string() })
}

/// 1 for the `counts[b]` candidates of the highest score, u32 `[batch, tokens]`.
fn select(graph: &mut Graph, scores: Tensor, tokens: &Tokens, counts: Tensor, marks: Tensor) -> Result<Tensor, Error> {
    let select = TopK { k: tokens.capacity(), order: Order::Index, largest: true, complement: None, mask: true };
    let inputs = TopKInputs { scores, lengths: Some(tokens.lengths), counts: Some(counts), marks: Some(marks) };
    let selection = select.select(graph, inputs)?;
    Ok(selection.mask.unwrap_or(selection.indices))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::video::tests::{cosine, positions, run, video};
    use crate::tensor::NONE;

    const LENGTHS: [u32; 4] = [33, 48, 3, 0];

    /// Three tokens of a text, then frames of six.
    fn place(i: u32) -> u32 {
        if i < 3 { NONE } else { (i - 3) % 6 }
    }

    fn places(graph: &mut Graph) -> Tensor {
        graph.constant(HostTensor::u32([4, 48], (0..4).flat_map(|_| (0..48).map(place)).collect()))
    }

    /// Chains of a list of tokens, each a position and a row: those that go on, and the mean of each chain.
    fn merged(tokens: &[(u32, Vec<f32>)], similarity: f64, most: usize) -> Vec<(u32, Vec<f32>)> {
        let before = |at: usize| (0..at).rev().find(|&j| place(tokens[j].0) != NONE && place(tokens[j].0) == place(tokens[at].0));
        let mut pairs: Vec<(f64, usize, usize)> =
            (0..tokens.len()).filter_map(|i| before(i).map(|j| (cosine(&tokens[i].1, &tokens[j].1), i, j))).collect();
        pairs.retain(|pair| pair.0 >= similarity);
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        pairs.truncate(most);
        let mut chains: Vec<(usize, Vec<usize>)> = Vec::new();
        for i in 0..tokens.len() {
            match pairs.iter().find(|pair| pair.1 == i) {
                Some(&(_, _, j)) => chains.iter_mut().find(|chain| chain.1.contains(&j)).expect("an earlier chain").1.push(i),
                None => chains.push((i, vec![i])),
            }
        }
        let mean = |members: &[usize], c: usize| members.iter().map(|&m| tokens[m].1[c]).sum::<f32>() / members.len() as f32;
        chains.iter().map(|(first, members)| (tokens[*first].0, (0..5).map(|c| mean(members, c)).collect())).collect()
    }

    #[test]
    fn a_second_formulation() {
        let x = video(3, [4, 48, 5]);
        let method = FrameFusion { tokens_per_frame: 6, similarity: 0.5, most: 0.2 };
        for (second, most) in [(false, 1.0), (false, 0.2), (true, 1.0)] {
            let out = run(&x, &LENGTHS, |graph, tokens| {
                let places = places(graph);
                let method = FrameFusion { most, ..method };
                let first = method.merge(graph, tokens, places)?;
                if !second {
                    return Ok(first);
                }
                let places = first.map.gather(graph, places)?;
                let second = FrameFusion { similarity: 0.3, ..method }.merge(graph, &first.tokens, places)?;
                Ok(Compressed { map: first.map.then(graph, &second.map)?, ..second })
            });
            for (b, &live) in LENGTHS.iter().enumerate() {
                let tokens: Vec<_> = (0..live).map(|i| (i, x[(b * 48 + i as usize) * 5..][..5].to_vec())).collect();
                let limit = if most < 1.0 { (f64::from(live.saturating_sub(3)) * most) as usize } else { 48 };
                let mut expected = merged(&tokens, 0.5, limit);
                if second {
                    expected = merged(&expected, 0.3, 48);
                }
                assert_eq!(positions(&out)[b], expected.iter().map(|t| t.0).collect::<Vec<_>>());
                let rows = &out["x'"].floats()[b * 48 * 5..];
                for (got, want) in rows.iter().zip(expected.iter().flat_map(|t| &t.1)) {
                    assert!((got - want).abs() < 1e-5, "{got} {want}");
                }
            }
        }
    }

    #[test]
    fn pruning_leaves_the_text() {
        let x = video(4, [4, 48, 5]);
        let score = |i: u32| (i * 7 % 48) as f32;
        let out = run(&x, &LENGTHS, |graph, tokens| {
            let places = places(graph);
            let attention = graph.constant(HostTensor::f32([4, 48], (0..4).flat_map(|_| (0..48).map(score)).collect()));
            FrameFusion { tokens_per_frame: 6, ..Default::default() }.prune(graph, tokens, places, attention, 0.25)
        });
        for (b, &live) in LENGTHS.iter().enumerate() {
            let mut video: Vec<u32> = (3..live).collect();
            video.sort_by(|&i, &j| score(j).total_cmp(&score(i)));
            video.truncate((f64::from(live.saturating_sub(3)) * 0.25).round_ties_even() as usize);
            video.sort_unstable();
            assert_eq!(positions(&out)[b], (0..live.min(3)).chain(video).collect::<Vec<_>>());
        }
    }

    #[test]
    fn budgets() {
        // 28 layers at 30 %: at first 70 % have to go; after layers that removed nothing, more.
        assert!((FrameFusion::budget(0.3, 28, &[]) - 0.7).abs() < 1e-12);
        assert!((FrameFusion::budget(0.3, 28, &[0.0, 0.5]) - (1.0 - (8.4 - 1.5) / 13.0)).abs() < 1e-12);
        assert_eq!(FrameFusion::budget(2.0, 28, &[0.1]), 0.0);
        assert_eq!(FrameFusion::budget(0.01, 4, &[0.0]), 1.0);
    }
}
