//! How ToMe divides tokens into sources and destinations.

use crate::kernels::Partition;

/// Which tokens are sources, which may merge into another token, and which are destinations, into which they merge.
///
/// Protected tokens ([`ToMe::protect`](crate::methods::ToMe::protect)) are neither.
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
    ///
    /// Where others than leading tokens are protected, sources and destinations alternate among the rest. The first of the rest is a source
    /// if the number of protected tokens is even.
    #[default]
    EvenOdd,
    /// The last of every group of this many tokens is a destination, the others are sources, and all sources
    /// merge. Tokens past the last whole group are dropped. Groups are of tokens that are not protected.
    /// [`ToMe::merge`](crate::methods::ToMe::merge) plays no part.
    Kth(u32),
    /// The caller's lists, such as [`Partition::grid2d_random`] of tomesd or [`Partition::random`]. In a ragged row only live entries
    /// count. If none of them is a destination, nothing merges.
    ///
    /// **A token in neither list is dropped**, unless it is protected: its [`parent`](crate::TokenMap::parent) is [`NONE`](crate::NONE). A
    /// protected token stays, whether or not it is in a list. With a [`merge`](crate::methods::ToMe::merge) of 0 every token stays where
    /// it is.
    Lists(Partition),
}
