//! How ToMe divides tokens into sources and destinations.

use crate::kernels::Partition;

/// Leading tokens that no merge may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Protect {
    /// Token 0 is a class token: it is never a source (and, being even, never a destination). Unmerged tokens
    /// then keep their order.
    ///
    /// For more leading tokens, such as registers, see [`Matching::Lists`].
    pub class: bool,
    /// Token 1 is a distillation token: it is never a destination. The output starts with tokens 0 and 1.
    pub distillation: bool,
}

impl Protect {
    /// Every token may merge.
    pub const NONE: Self = Self { class: false, distillation: false };
    /// Token 0 is a class token.
    pub const CLASS: Self = Self { class: true, distillation: false };
    /// Token 0 is a class token, token 1 a distillation token.
    pub const CLASS_AND_DISTILLATION: Self = Self { class: true, distillation: true };
}

/// Which tokens are sources, which may merge into another token, and which are destinations, into which they merge.
///
/// ```
/// use tokenpress::kernels::Partition;
/// use tokenpress::methods::{Matching, ToMe};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 1], Elem::F32)?;
/// // A grid of 2 x 2 tokens, of which the first is a destination.
/// let matching = Matching::Lists(Partition::grid2d(&mut graph, 2, 2, 2, 2, &[])?);
/// let merged = ToMe { merge: 2, matching, ..Default::default() }.build(&mut graph, &tokens, tokens.x)?;
/// graph.output("x'", merged.tokens.x)?;
/// let x = HostTensor::f32([1, 4, 1], vec![1.0, 2.0, -5.0, 3.0]);
/// assert_eq!(graph.run_reference(&[("x".to_owned(), x)].into())?["x'"].floats(), [-5.0, 2.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub enum Matching {
    /// Even positions are sources, odd ones destinations.
    #[default]
    EvenOdd,
    /// The last of every group of this many tokens is a destination, the others are sources, and all sources
    /// merge. Tokens past the last whole group are dropped. [`ToMe::merge`](crate::methods::ToMe::merge) and
    /// [`ToMe::protect`](crate::methods::ToMe::protect) play no part.
    Kth(u32),
    /// The caller's lists, such as [`Partition::grid2d_random`] of tomesd or [`Partition::random`]. In a ragged row only live entries
    /// count. If none of them is a destination, nothing merges. [`ToMe::protect`](crate::methods::ToMe::protect) plays no part.
    ///
    /// **A token in neither list is dropped:** its [`parent`](crate::TokenMap::parent) is [`NONE`](crate::NONE). To keep leading tokens
    /// apart, such as registers, leave them out of the lists, and put them in front with [`Tokens::keep`](crate::Tokens::keep) and
    /// [`Compressed::append`](crate::Compressed::append). The guide shows this for DINOv2.
    Lists(Partition),
}
