//! What VisionZip makes of the tokens that it merges.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Reduce, add};
use crate::token_map::{TokenMap, Tokens};

/// What a contextual token is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Contextual {
    /// The target plus the mean of the tokens assigned to it, as the published code has it: about twice as long as a token.
    #[default]
    TargetPlusMean,
    /// The mean of the target and the tokens assigned to it: the paper's average.
    Mean,
}

impl Contextual {
    /// The rows of `map`, whose representatives are the targets; `assigned` `[batch, tokens]` says where all others go.
    pub(crate) fn apply(self, graph: &mut Graph, tokens: &Tokens, map: &TokenMap, assigned: Tensor) -> Result<Tensor, Error> {
        match self {
            Self::Mean => map.merge(graph, tokens.x, None, Reduce::Mean),
            Self::TargetPlusMean => {
                let mean = TokenMap { parent: assigned, ..*map }.merge(graph, tokens.x, None, Reduce::Mean)?;
                let own = map.gather(graph, tokens.x)?;
                add(graph, own, mean)
            }
        }
    }
}
