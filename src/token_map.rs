//! Where every token went.

use crate::checks::expect;
use crate::error::Error;
use crate::graph::{Graph, Tensor, expect_listed};
use crate::kernels::{
    Groups, Reduce, concat_rows, gather_rows, group_tokens, invert_index, keep_live, lookup, merge_tokens, merge_with_totals,
};
use crate::pattern::{Pattern, Piece};
use crate::tensor::{Desc, Elem, HostTensor, NONE};

/// A batch of tokens on its way through a model.
#[derive(Debug, Clone, Copy)]
pub struct Tokens {
    /// The tokens' rows, `[batch, tokens, channels]`.
    pub x: Tensor,
    /// How many original tokens each stands for, `[batch, tokens]` f32.
    pub size: Tensor,
    /// Live tokens of each batch row, `[batch]` u32; they are the first ones. A length above the capacity counts as the capacity.
    pub lengths: Tensor,
}

impl Tokens {
    /// Tokens of size 1, all of them live.
    pub fn new(graph: &mut Graph, x: Tensor) -> Result<Self, Error> {
        let [batch, tokens, _] = x.shape().exactly("tokens: x", "[batch, tokens, channels]")?;
        let lengths = graph.filled([batch], tokens);
        Self::ragged(graph, x, lengths)
    }

    /// Tokens of size 1, the first `lengths[b]` of each row live.
    pub fn ragged(graph: &mut Graph, x: Tensor, lengths: Tensor) -> Result<Self, Error> {
        let [batch, tokens, _] = x.shape().exactly("tokens: x", "[batch, tokens, channels]")?;
        expect("tokens: lengths", lengths.desc(), Desc::new([batch], Elem::U32))?;
        let size = graph.filled_f32([batch, tokens], 1.0);
        Ok(Self { x, size, lengths })
    }

    /// Tokens with the sizes that an earlier plan or method gave. So a plan goes on where another one ended.
    ///
    /// `x` is `[batch, tokens, channels]`, `size` f32 `[batch, tokens]`, `lengths` u32 `[batch]`.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other shapes and types.
    pub fn with_sizes(x: Tensor, size: Tensor, lengths: Tensor) -> Result<Self, Error> {
        let tokens = Self { x, size, lengths };
        tokens.checked()?;
        Ok(tokens)
    }

    /// Whether every row is known to be full.
    pub(crate) fn is_full(&self, graph: &Graph) -> bool {
        graph.known(self.lengths).is_some_and(|lengths| lengths.values().all(|live| live >= self.capacity()))
    }

    /// Batch rows; 0 of an `x` without dimensions.
    pub fn batch(&self) -> u32 {
        self.x.shape().dims().first().copied().unwrap_or(0)
    }

    /// Capacity of a row, in tokens; 0 of an `x` of fewer than two dimensions.
    pub fn capacity(&self) -> u32 {
        self.x.shape().dims().get(1).copied().unwrap_or(0)
    }

    /// Batch rows, capacity and channels. Checks the shapes and types of the tensors, and that the host can list the tokens of a row:
    /// methods may count to the capacity.
    pub(crate) fn checked(&self) -> Result<[u32; 3], Error> {
        let [batch, tokens, channels] = self.x.shape().exactly("tokens: x", "[batch, tokens, channels]")?;
        expect("tokens: size", self.size.desc(), Desc::new([batch, tokens], Elem::F32))?;
        expect("tokens: lengths", self.lengths.desc(), Desc::new([batch], Elem::U32))?;
        expect_listed("tokens: x", [tokens].into())?;
        Ok([batch, tokens, channels])
    }

    /// Checks a score of each token, f32 `[batch, tokens]`.
    pub(crate) fn expect_score(&self, argument: &'static str, score: Tensor) -> Result<(), Error> {
        expect(argument, score.desc(), Desc::new([self.batch(), self.capacity()], Elem::F32))
    }

    /// Checks what says how alike tokens are: rows of each, or the keys of its heads.
    pub(crate) fn expect_metric(&self, argument: &'static str, metric: Tensor) -> Result<(), Error> {
        let (batch, capacity) = (self.batch(), self.capacity());
        match *metric.shape().dims() {
            [rows, tokens, _] | [rows, _, tokens, _] if rows == batch && tokens == capacity => Ok(()),
            _ => {
                let expected = format!("[{batch}, (heads,) {capacity}, channels]");
                Err(Error::Shape { argument, expected, actual: metric.shape() })
            }
        }
    }
}

impl Graph {
    /// An input of tokens `[batch, tokens, channels]`, all live, of size 1.
    pub fn tokens(&mut self, name: &str, shape: [u32; 3], elem: Elem) -> Result<Tokens, Error> {
        let x = self.input(name, shape, elem);
        Tokens::new(self, x)
    }
}

/// Which position an output token has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Positions {
    /// That of the token which represents it: rotary embeddings keep their gaps (FastV).
    Keep,
    /// Its index in the output (MustDrop, PyramidDrop).
    Compact,
}

/// For every old token, where it went; for every new one, what it stands for.
///
/// Pruning, merging and idling (where dropped tokens skip a layer) are all token maps. A map is applied to tensors of any width, undone,
/// or composed with the map of the next layer. A field that no output needs costs nothing.
///
/// [`unmerge`](Self::unmerge) reads only `parent`, and [`gather`](Self::gather) only `representative`. [`merge`](Self::merge) and
/// [`sizes`](Self::sizes) read `parent` and the shape of `representative`. If you have one tensor, make the map with
/// [`from_parent`](Self::from_parent) or [`selection`](Self::selection). Do not fill the other fields with something else.
#[derive(Debug, Clone, Copy)]
pub struct TokenMap {
    /// New row of each old token, `[batch, old]` u32, or [`NONE`] for dropped and dead ones.
    pub parent: Tensor,
    /// Old token that stands for each new row, `[batch, new]` u32, or [`NONE`] after the live ones.
    pub representative: Tensor,
    /// Live new rows, `[batch]` u32.
    pub lengths: Tensor,
}

impl TokenMap {
    /// Every live token stays where it is.
    pub fn identity(graph: &mut Graph, tokens: &Tokens) -> Result<Self, Error> {
        let own = first_rows(graph, tokens.lengths, tokens.capacity())?;
        let lengths = capped(graph, tokens.lengths, tokens.capacity())?;
        Ok(Self { parent: own, representative: own, lengths })
    }

    /// Only the selected tokens stay, in the order of `indices` `[batch, new]`. The first `kept[b]` of these are live and the
    /// rest [`NONE`]. `old` is the capacity that the indices refer to.
    pub fn selection(graph: &mut Graph, indices: Tensor, kept: Tensor, old: u32) -> Result<Self, Error> {
        let parent = invert_index(graph, indices, old)?;
        Ok(Self { parent, representative: indices, lengths: kept })
    }

    /// The map with these parents, such as those that an earlier plan gave. Each new row is represented by the first of its old tokens.
    ///
    /// `parent` is u32 `[batch, old]`, [`NONE`] for dropped tokens. There are `new` rows, of which the first `lengths[b]` are live (u32
    /// `[batch]`). Each live row must have a token.
    ///
    /// ```
    /// use tokenpress::{Elem, Graph, HostTensor, NONE, TokenMap};
    ///
    /// let mut graph = Graph::new();
    /// let parent = graph.constant(HostTensor::u32([1, 5], vec![0, NONE, 1, 0, 1]));
    /// let lengths = graph.constant(HostTensor::u32([1], vec![2]));
    /// let map = TokenMap::from_parent(&mut graph, parent, lengths, 3)?;
    /// let y = graph.input("y", [1, 3, 1], Elem::F32);
    /// let dense = map.unmerge(&mut graph, y, None)?;
    /// graph.output("dense", dense)?;
    /// graph.output("representative", map.representative)?;
    /// let out = graph.run_reference(&[("y".to_owned(), HostTensor::f32([1, 3, 1], vec![7.0, 8.0, 9.0]))].into())?;
    /// assert_eq!(out["dense"].floats(), [7.0, 0.0, 8.0, 7.0, 8.0]);
    /// assert_eq!(out["representative"].integers(), [0, 2, NONE]);
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other shapes and types.
    pub fn from_parent(graph: &mut Graph, parent: Tensor, lengths: Tensor, new: u32) -> Result<Self, Error> {
        let [batch, _] = parent.shape().exactly("token map: parent", "[batch, old]")?;
        expect("token map: lengths", lengths.desc(), Desc::new([batch], Elem::U32))?;
        let groups = group_tokens(graph, parent, new)?;
        let rows = graph.counted([batch, new], 0, 1);
        let firsts = gather_rows(graph, groups.offsets, rows, None)?;
        let representative = gather_rows(graph, groups.members, firsts, None)?;
        let lengths = capped(graph, lengths, new)?;
        let representative = keep_live(graph, representative, lengths)?;
        Ok(Self { parent, representative, lengths })
    }

    /// This map, then the map of the next layer.
    ///
    /// `parent[i] = next.parent[self.parent[i]]`, `representative[j] = self.representative[next.representative[j]]`.
    pub fn then(&self, graph: &mut Graph, next: &Self) -> Result<Self, Error> {
        let parent = gather_rows(graph, next.parent, self.parent, None)?;
        let representative = gather_rows(graph, self.representative, next.representative, None)?;
        Ok(Self { parent, representative, lengths: next.lengths })
    }

    /// This map's rows, and after them those of another map of the same tokens. The other map says where the tokens go that this one drops.
    /// So some tokens, such as the class token and registers, can stay apart from the rest.
    pub fn append(&self, graph: &mut Graph, other: &Self) -> Result<Self, Error> {
        let [batch, rows] = self.representative.shape().exactly("token map: representative", "[batch, new]")?;
        let [_, more] = other.representative.shape().exactly("token map: representative", "[batch, new]")?;
        let nowhere = graph.filled([batch, rows], NONE);
        let [first, second] = [rows, more].map(|rows| graph.counted([batch, rows], 0, 1));
        let (kept, added) = (Some(self.lengths), Some(other.lengths));
        let (representative, lengths) = concat_rows(graph, (self.representative, kept), (other.representative, added))?;
        let (places, _) = concat_rows(graph, (nowhere, kept), (second, added))?;
        let row_of_second = invert_index(graph, places, more)?;
        let moved = gather_rows(graph, row_of_second, other.parent, None)?;
        let parent = gather_rows(graph, first, self.parent, Some(moved))?;
        Ok(Self { parent, representative, lengths })
    }

    /// The representatives' rows of a tensor `[batch, old, ..]`: keys, values, masks, positions. Rows after the
    /// live ones are 0, or [`NONE`] for integers. Bit-exact.
    pub fn gather(&self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        gather_rows(graph, x, self.representative, None)
    }

    /// Every new row, reduced over its old tokens in ascending order of position. `weights`, f32 `[batch, old]`, are for the weighted
    /// reductions.
    pub fn merge(&self, graph: &mut Graph, x: Tensor, weights: Option<Tensor>, reduce: Reduce) -> Result<Tensor, Error> {
        let groups = self.groups(graph)?;
        merge_tokens(graph, x, groups, weights, reduce)
    }

    /// The old tokens of every new row.
    fn groups(&self, graph: &mut Graph) -> Result<Groups, Error> {
        let [_, new] = self.representative.shape().exactly("token map: representative", "[batch, new]")?;
        group_tokens(graph, self.parent, new)
    }

    /// The new tokens: rows as [`TokenMap::merge`] makes them, sizes added up.
    pub fn compress(&self, graph: &mut Graph, tokens: &Tokens, weights: Option<Tensor>, reduce: Reduce) -> Result<Compressed, Error> {
        let [x, size] = match weights {
            // Sizes add up beside the rows, unless other weights do.
            Some(weights) if weights != tokens.size => {
                [self.merge(graph, tokens.x, Some(weights), reduce)?, self.sizes(graph, tokens.size)?]
            }
            _ => {
                let groups = self.groups(graph)?;
                merge_with_totals(graph, tokens.x, groups, tokens.size, reduce)?
            }
        };
        Ok(Compressed { tokens: Tokens { x, size, lengths: self.lengths }, map: *self })
    }

    /// The tokens of a map that only picks: each row that of its representative, and as large.
    pub(crate) fn pick(&self, graph: &mut Graph, tokens: &Tokens) -> Result<Compressed, Error> {
        let [batch, new] = self.representative.shape().exactly("token map: representative", "[batch, new]")?;
        let offsets = graph.counted([batch, plus_one("token map: representative", new)?], 0, 1);
        let groups = Groups { offsets, members: self.representative };
        let [x, size] = merge_with_totals(graph, tokens.x, groups, tokens.size, Reduce::Max)?;
        Ok(Compressed { tokens: Tokens { x, size, lengths: self.lengths }, map: *self })
    }

    /// Number of original tokens that each new row stands for, f32 `[batch, new]`: the sum of the old tokens' sizes.
    pub fn sizes(&self, graph: &mut Graph, size: Tensor) -> Result<Tensor, Error> {
        self.merge(graph, size, None, Reduce::Sum)
    }

    /// Undoes the map on `y` `[batch, new, ..]`: every old token takes the row that it went to. A dropped token takes its row of `fallback`
    /// (idling), or 0.
    pub fn unmerge(&self, graph: &mut Graph, y: Tensor, fallback: Option<Tensor>) -> Result<Tensor, Error> {
        gather_rows(graph, y, self.parent, fallback)
    }

    /// Position id of every new row, u32 `[batch, new]`. `positions` `[batch, old]` are the old ids; `None` stands for 0, 1, 2 ...
    pub fn positions(&self, graph: &mut Graph, positions: Option<Tensor>, kind: Positions) -> Result<Tensor, Error> {
        match (kind, positions) {
            (Positions::Keep, None) => Ok(self.representative),
            (Positions::Keep, Some(positions)) => self.gather(graph, positions),
            (Positions::Compact, _) => {
                let [_, new] = self.representative.shape().exactly("token map: representative", "[batch, new]")?;
                first_rows(graph, self.lengths, new)
            }
        }
    }
}

/// What came out of a method: the tokens that are left, and where all the others went.
#[derive(Debug, Clone, Copy)]
pub struct Compressed {
    /// The tokens that are left.
    pub tokens: Tokens,
    /// Where every token went.
    pub map: TokenMap,
}

impl Compressed {
    /// Two steps as one: the tokens of `next`, which was made of these tokens, and a map from the first step's old tokens to them.
    pub fn then(&self, graph: &mut Graph, next: &Self) -> Result<Self, Error> {
        Ok(Self { map: self.map.then(graph, &next.map)?, ..*next })
    }

    /// These tokens, and after them others that were made of the same old ones ([`TokenMap::append`]).
    pub fn append(&self, graph: &mut Graph, other: &Self) -> Result<Self, Error> {
        let (kept, added) = (Some(self.tokens.lengths), Some(other.tokens.lengths));
        let (x, lengths) = concat_rows(graph, (self.tokens.x, kept), (other.tokens.x, added))?;
        let (size, _) = concat_rows(graph, (self.tokens.size, kept), (other.tokens.size, added))?;
        let map = self.map.append(graph, &other.map)?;
        Ok(Self { tokens: Tokens { x, size, lengths }, map })
    }
}

/// Batch rows of lengths or counts, one a row.
fn rows_of_lengths(lengths: Tensor) -> Result<u32, Error> {
    let [batch] = lengths.shape().exactly("tokens: lengths", "[batch]")?;
    expect("tokens: lengths", lengths.desc(), Desc::new([batch], Elem::U32))?;
    Ok(batch)
}

/// One more than a size, where that is a size too.
pub(crate) fn plus_one(argument: &'static str, size: u32) -> Result<u32, Error> {
    size.checked_add(1).ok_or_else(|| Error::Value { argument, expected: "a size below 2^32 - 1".to_owned(), actual: size.to_string() })
}

/// 0, 1, 2 .. for the live tokens of every batch row, [`NONE`] after them: u32 `[batch, tokens]`.
fn first_rows(graph: &mut Graph, lengths: Tensor, tokens: u32) -> Result<Tensor, Error> {
    let batch = rows_of_lengths(lengths)?;
    let shape = [batch, tokens];
    let known = graph.known(lengths);
    if let Some(live) = known.and_then(|known| known.one_number()) {
        let none = Piece { end: u32::MAX, first: NONE, step: 0 };
        let pattern = Pattern::Pieces([Piece { end: live, first: 0, step: 1 }, none, none]);
        return Ok(graph.pattern(Desc::new(shape, Elem::U32), pattern));
    }
    if let Some(known) = known.filter(|_| expect_listed("tokens", shape.into()).is_ok()) {
        let rows = known.entries().flat_map(|live| (0..tokens).map(move |i| if i < live { i } else { NONE })).collect();
        return Ok(graph.constant(HostTensor::u32(shape, rows)));
    }
    let all = graph.counted(shape, 0, 1);
    keep_live(graph, all, lengths)
}

/// Lengths of which those above the capacity count as the capacity, u32 `[batch]`.
pub(crate) fn capped(graph: &mut Graph, lengths: Tensor, capacity: u32) -> Result<Tensor, Error> {
    Ok(count_by_length(graph, lengths, capacity, |live| live)?.0)
}

/// `row(lengths[b])` for every batch row, whose lengths are known now: `[batch, width]` u32, `None` where they are not. A length above the
/// capacity counts as the capacity.
pub(crate) fn rows_by_known_length(
    graph: &mut Graph,
    lengths: Tensor,
    capacity: u32,
    width: u32,
    row: impl Fn(u32) -> Vec<u32>,
) -> Result<Option<Tensor>, Error> {
    let batch = rows_of_lengths(lengths)?;
    let shape = [batch, width];
    let Some(known) = graph.known(lengths) else { return Ok(None) };
    if shape.contains(&0) {
        return Ok(Some(graph.filled(shape, 0)));
    }
    expect_listed("tokens: lengths", shape.into())?;
    let rows = match known.one_number() {
        Some(live) => row(live.min(capacity)).repeat(batch as usize),
        None => known.entries().flat_map(|live| row(live.min(capacity))).collect(),
    };
    Ok(Some(graph.constant(HostTensor::u32(shape, rows))))
}

/// `count(lengths[b])` for every batch row, `[batch]` u32, and the largest count that any row can have. A length above the capacity counts
/// as the capacity.
///
/// Where the lengths are known now, so is the result. Otherwise the host tabulates every possible length, in its own f64 arithmetic, and
/// the GPU looks its row up: counts are exact on every device.
pub(crate) fn count_by_length(
    graph: &mut Graph,
    lengths: Tensor,
    capacity: u32,
    count: impl Fn(u32) -> u32,
) -> Result<(Tensor, u32), Error> {
    let batch = rows_of_lengths(lengths)?;
    let count_of = |live: u32| count(live.min(capacity));
    if let Some(known) = graph.known(lengths) {
        if let Some(live) = known.one_number() {
            let all = count_of(live);
            return Ok((graph.filled([batch], all), all));
        }
        expect_listed("tokens: lengths", [batch].into())?;
        let counts: Vec<u32> = known.entries().map(count_of).collect();
        let largest = counts.iter().copied().max().unwrap_or(0);
        return Ok((graph.constant(HostTensor::u32([batch], counts)), largest));
    }
    let entries = plus_one("tokens: capacity", capacity)?;
    expect_listed("tokens: a table of every length", [entries].into())?;
    let table: Vec<u32> = (0..=capacity).map(count).collect();
    let largest = table.iter().copied().max().unwrap_or(0);
    let table = graph.constant(HostTensor::u32([entries], table));
    // A length above the capacity reads the last entry.
    Ok((lookup(graph, table, lengths)?, largest))
}
