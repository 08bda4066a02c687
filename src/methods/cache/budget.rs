//! How many tokens of a cache stay, and which stay in any case.

use crate::checks::expect;
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{gather_rows, keep_live, mark};
use crate::methods::cache::Cache;
use crate::methods::cache::state::Rows;
use crate::methods::parts::lists::choose;
use crate::options;
use crate::pattern::{Pattern, Piece};
use crate::schedule::{Rounding, keep_count};
use crate::tensor::{Desc, Elem, NONE};
use crate::token_map::count_by_length;

/// How many tokens each head keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CacheBudget {
    /// So many, or all where there are fewer. [`schedule::PyramidKV`](crate::schedule::PyramidKV) has a number for each layer.
    Tokens(u32),
    /// A share of the live ones, 0 to 1: `int(share n)` in f64, as kvpress counts with the share `1 - ratio`. What is evicted is the rest.
    /// Note that in f64 `1.0 - 0.9` is a little less than a tenth: of 100 tokens 9 stay.
    Share(f64),
    /// As many as keys and values of all heads of a batch row take in so many bytes.
    Bytes(u64),
}

impl CacheBudget {
    pub(super) fn check(self) -> Result<(), Error> {
        match self {
            Self::Share(share) => options::share("cache: share", share),
            Self::Tokens(_) | Self::Bytes(_) => Ok(()),
        }
    }

    /// Of so many tokens of this cache.
    pub(super) fn count(self, cache: &Cache, live: u32) -> u32 {
        match self {
            Self::Tokens(tokens) => tokens.min(live),
            Self::Share(share) => keep_count(live, share, Rounding::Floor),
            Self::Bytes(bytes) => {
                let of = |tensor: Tensor| u64::from(tensor.shape().dims()[3]) * tensor.elem().size();
                let token = u64::from(cache.keys.shape().dims()[1]) * (of(cache.keys) + of(cache.values));
                u32::try_from(bytes.checked_div(token).unwrap_or(u64::MAX)).map_or(live, |tokens| tokens.min(live))
            }
        }
    }
}

/// Tokens that stay whatever their scores: the first ones, which attention rests on (sinks), and the latest.
///
/// A budget below these two is raised to them. They are marked, and not given a high score: no score can push them out, equal ones and
/// infinite ones neither (kvpress pads scores with their maximum, where equal scores once did).
#[derive(Debug, Clone, Copy)]
pub struct AlwaysKept {
    /// So many at the start of each head.
    pub sinks: u32,
    /// So many live ones at the end of each head: at least the window of SnapKV, 1 for TOVA.
    pub recent: u32,
    /// A [`mark`] for each token, u32 `[B, Hkv, N]`, beside these: an excluded token is evicted, unless it is a sink or a recent one; a
    /// protected one stays as long as the budget allows, by position.
    pub marks: Option<Tensor>,
}

/// StreamingLLM's four sinks, and SnapKV's window of 32.
impl Default for AlwaysKept {
    fn default() -> Self {
        Self { sinks: 4, recent: 32, marks: None }
    }
}

impl AlwaysKept {
    /// Nothing: scores alone decide.
    pub const NOTHING: Self = Self { sinks: 0, recent: 0, marks: None };

    /// Sinks and latest tokens of a row of so many.
    pub(super) fn least(&self, live: u32) -> u32 {
        self.sinks.saturating_add(self.recent).min(live)
    }

    /// Whether there is something to mark.
    fn is_nothing(&self) -> bool {
        self.sinks == 0 && self.recent == 0 && self.marks.is_none()
    }

    /// A mark for each token of each head, `[rows, tokens]`.
    pub(super) fn marked(&self, graph: &mut Graph, rows: &Rows) -> Result<Option<Tensor>, Error> {
        let &Rows { batch, heads, tokens, lengths, .. } = rows;
        if let Some(marks) = self.marks {
            expect("cache: marks", marks.desc(), Desc::new([batch, heads, tokens], Elem::U32))?;
        }
        if self.is_nothing() {
            return Ok(None);
        }
        let (end, _) = count_by_length(graph, lengths, tokens, |live| live.saturating_sub(self.recent))?;
        let marks = self.marks.map(|marks| graph.reshape(marks, [rows.rows, tokens])).transpose()?;
        ends_marked(graph, [rows.rows, tokens], self.sinks, end, marks).map(Some)
    }
}

/// Protected marks for the first entries of each row and for those from `end[row]` on; `marks`, or candidates, between.
pub(super) fn ends_marked(
    graph: &mut Graph,
    [rows, entries]: [u32; 2],
    first: u32,
    end: Tensor,
    marks: Option<Tensor>,
) -> Result<Tensor, Error> {
    let first = first.min(entries);
    let between = Piece { end: u32::MAX, first, step: 1 };
    let pattern = Pattern::Pieces([Piece { end: first, first: NONE, step: 0 }, between, between]);
    let own = graph.pattern(Desc::new([rows, entries], Elem::U32), pattern);
    let own = keep_live(graph, own, end)?;
    match marks {
        Some(marks) => {
            let protected = graph.filled([rows, entries], mark::PROTECTED);
            gather_rows(graph, marks, own, Some(protected))
        }
        None => choose(graph, own, entries, [mark::CANDIDATE, mark::PROTECTED]),
    }
}
