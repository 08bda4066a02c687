//! Pruning by greedy selection: what DivPrune, CDPruner, IDPruner and Balanced Token Pruning share.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Among, GreedyInputs, GreedySelect, GreedySelected, Neighbours, Objective, row_normalize};
use crate::methods::parts::prune::{Prune, Pruned};
use crate::token_map::{Tokens, count_by_length};

/// What greedy selection kept.
#[derive(Debug, Clone, Copy)]
pub struct Diverse {
    /// The tokens left, in ascending position, and where the others went.
    pub pruned: Pruned,
    /// The same in order of selection.
    pub selected: GreedySelected,
}

/// Keeps `keep(live)` tokens of each row by the cosines of their own rows and by weights `[batch, tokens]`. Without weights
/// [`Objective::MaxMin`] starts from the token that is farthest from its nearest other one.
pub(crate) fn diverse(
    graph: &mut Graph,
    tokens: &Tokens,
    objective: Objective,
    weights: Option<Tensor>,
    keep: impl Fn(u32) -> u32,
) -> Result<Diverse, Error> {
    let lengths = Some(tokens.lengths);
    let normalized = row_normalize(graph, tokens.x, lengths)?;
    let weights = match (weights, objective) {
        (None, Objective::MaxMin) => {
            let nearest = Neighbours { nearest: 1, exclude_self: true };
            let nearest = nearest.most_similar(graph, normalized, Among { lengths, ..Default::default() })?;
            Some(graph.reshape(nearest.values, [tokens.batch(), tokens.capacity()])?)
        }
        _ => weights,
    };
    let (counts, k) = count_by_length(graph, tokens.lengths, tokens.capacity(), |live| keep(live).min(live))?;
    let inputs = GreedyInputs { weights, lengths, counts: Some(counts), ..GreedyInputs::new(normalized) };
    let selected = GreedySelect { objective, k }.build(graph, inputs)?;
    Ok(Diverse { pruned: Prune::listed(graph, tokens, selected.indices, keep)?, selected })
}
