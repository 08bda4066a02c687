//! Tokens that a method must not touch.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::methods::parts::places::{Images, Protected};
use crate::token_map::{Compressed, Tokens};

/// Tokens that a method leaves as they are: class tokens, registers, prompts.
///
/// A protected token is neither dropped nor merged, and nothing merges into it. It is a row of its own in the output, the same to the bit,
/// and of the same size. How many others stay is counted without it. The methods that have this option put protected tokens first, in
/// ascending position; those that keep the order of tokens leave them in it.
///
/// Each row of a batch may have its own. Tokens at or behind a row's live ones are none's. A row whose tokens are all protected stays as it
/// is.
///
/// Cost: none for leading tokens. For a list or marks about twenty small dispatches of integers in [`ToMe`](crate::methods::ToMe), and
/// about ten in others, whatever the number of channels.
///
/// ```
/// use tokenpress::methods::{Protect, ToMe};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [2, 5, 1], Elem::F32)?;
/// // Token 0 of the first row, tokens 1 and 4 of the second.
/// let marks = graph.input("marks", [2, 5], Elem::U32);
/// let protect = Protect::Marked { marks, most: 2 };
/// let merged = ToMe { merge: 1, protect, ..Default::default() }.build(&mut graph, &tokens, tokens.x)?;
/// graph.output("x'", merged.tokens.x)?;
/// let x = HostTensor::f32([2, 5, 1], vec![9.0, 1.0, 3.0, -1.0, -2.0, 1.0, 9.0, 3.0, -1.0, 8.0]);
/// let marks = HostTensor::u32([2, 5], vec![1, 0, 0, 0, 0, 0, 1, 0, 0, 1]);
/// let out = graph.run_reference(&[("x".to_owned(), x), ("marks".to_owned(), marks)].into())?;
/// assert_eq!(out["x'"].floats(), [9.0, -2.0, 2.0, -1.0, /**/ 9.0, 8.0, -1.0, 2.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("class_token", "cls", "registers", "prefix_tokens"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Protect {
    /// The first so many tokens of each row. DINOv2 with registers has five: its class token and four.
    Leading(u32),
    /// The tokens at these positions, u32 `[entries]` for all rows or `[batch, entries]`. A position that is no live token's, such as
    /// [`NONE`](crate::NONE), is passed over. One that is listed twice counts once.
    Listed(Tensor),
    /// The tokens that are marked, by a tensor `[tokens]` for all rows or `[batch, tokens]`. In u32 any number but 0 is a mark, in f32,
    /// f16 and bf16 any number above 0.
    Marked {
        /// The marks.
        marks: Tensor,
        /// How many a row has at most. Of a row that has more, the first so many are protected.
        ///
        /// How many there are is on the GPU: outputs have room for what is left of a row with so many. `u32::MAX` protects any number, and
        /// outputs then have room for all tokens.
        most: u32,
    },
    /// All tokens but an image's. So a method with this option changes the image tokens of a prompt alone, wherever they are.
    AllBut(Images),
}

impl Protect {
    /// No token is protected.
    pub const NONE: Self = Self::Leading(0);
    /// Token 0 is a class token.
    pub const CLASS: Self = Self::Leading(1);

    /// The protected tokens, and all others: what a method without this option is given.
    ///
    /// Put the two together with [`Compressed::then`] and [`Compressed::append`]. Cost: beside what it takes to know which they are, a copy
    /// of the tokens.
    ///
    /// ```
    /// use tokenpress::methods::{DivPrune, Protect};
    /// use tokenpress::{Elem, Graph, HostTensor};
    ///
    /// let mut graph = Graph::new();
    /// let tokens = graph.tokens("x", [1, 5, 2], Elem::F32)?;
    /// let [class, patches] = Protect::CLASS.apart(&mut graph, &tokens)?;
    /// let kept = DivPrune { keep: 0.5, floor: 0 }.build(&mut graph, &patches.tokens)?.pruned.compressed;
    /// let kept = patches.then(&mut graph, &kept)?;
    /// let out = class.append(&mut graph, &kept)?;
    /// graph.output("kept", out.map.representative)?;
    /// let x = HostTensor::f32([1, 5, 2], vec![5.0, 5.0, 1.0, 0.1, 1.0, 0.0, 1.0, 0.2, 0.0, 1.0]);
    /// assert_eq!(graph.run_reference(&[("x".to_owned(), x)].into())?["kept"].integers(), [0, 2, 4]);
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for lists and marks of other shapes and types.
    pub fn apart(self, graph: &mut Graph, tokens: &Tokens) -> Result<[Compressed; 2], Error> {
        Protected::of(graph, tokens, self)?.apart(graph, tokens)
    }
}

/// No token.
impl Default for Protect {
    fn default() -> Self {
        Self::NONE
    }
}
