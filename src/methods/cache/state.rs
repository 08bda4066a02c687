//! The keys and values of a layer, and what an eviction leaves of them.

use crate::checks::expect;
use crate::error::Error;
use crate::graph::{Graph, Tensor, expect_listed};
use crate::kernels::{Rope, concat_rows, gather_rows};
use crate::methods::parts::lists::product;
use crate::tensor::{Desc, Elem, Shape};
use crate::token_map::{TokenMap, capped};

/// The keys and values that a layer remembers: for each head its live tokens, in the order of their positions.
///
/// Heads may remember different tokens, and different numbers of them. All that is computed of a head depends on that head's live tokens
/// alone, and a row of a batch gets what it would get alone.
///
/// [`Attention`](crate::kernels::Attention) reads such a cache as a batch of `B * Hkv` rows of one key head each: queries `[B, H, M, D]` as
/// `[B * Hkv, H / Hkv, M, D]`, keys as `[B * Hkv, 1, N, D]`, and the lengths as `[B * Hkv]`.
///
/// ```
/// use tokenpress::methods::{Cache, CacheBudget, Evict, key_norm};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let keys = graph.constant(HostTensor::f32([1, 1, 4, 1], vec![3.0, 1.0, -4.0, 2.0]));
/// let values = graph.input("values", [1, 1, 4, 2], Elem::F32);
/// let cache = Cache::new(&mut graph, keys, values)?;
/// let scores = key_norm(&mut graph, &cache)?;
/// let half = Evict { budget: CacheBudget::Share(0.5), ..Evict::UNPROTECTED }.build(&mut graph, &cache, scores)?;
/// graph.output("keys'", half.cache.keys)?;
/// graph.output("positions", half.cache.positions)?;
/// let out = graph.run_reference(&[("values".to_owned(), HostTensor::f32([1, 1, 4, 2], vec![0.0; 8]))].into())?;
/// assert_eq!(out["keys'"].floats(), [1.0, 2.0]);
/// assert_eq!(out["positions"].integers(), [1, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("kv_cache", "KVCache", "past_key_values"))]
#[derive(Debug, Clone, Copy)]
pub struct Cache {
    /// `[B, Hkv, N, D]`, f32, f16 or bf16. A tensor `[B, N, Hkv, D]` is such a cache by strides
    /// ([`TensorView`](crate::TensorView)).
    pub keys: Tensor,
    /// `[B, Hkv, N, V]`, of any element type.
    pub values: Tensor,
    /// Live tokens of each head, u32 `[B, Hkv]`; they are the first ones. More than N counts as N.
    pub lengths: Tensor,
    /// The position of each token, u32 `[B, Hkv, N]`: ascending in each head. After the live tokens they do not matter.
    pub positions: Tensor,
}

/// A cache as a batch of its heads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    pub(super) batch: u32,
    pub(super) heads: u32,
    /// Batch times heads.
    pub(super) rows: u32,
    pub(super) tokens: u32,
    pub(super) depth: u32,
    /// `[rows, tokens, depth]`
    pub(super) keys: Tensor,
    /// `[rows]`
    pub(super) lengths: Tensor,
}

impl Cache {
    /// A cache whose tokens are all live, at the positions 0, 1, 2 ...
    pub fn new(graph: &mut Graph, keys: Tensor, values: Tensor) -> Result<Self, Error> {
        let [batch, heads, tokens, _] = keys.shape().exactly("cache: keys", "[B, Hkv, N, D]")?;
        let lengths = graph.filled([batch, heads], tokens);
        Self::ragged(graph, keys, values, lengths)
    }

    /// A cache at the positions 0, 1, 2 ... `lengths` is u32 `[B]`, the same for all heads of a batch row, or `[B, Hkv]`.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for tensors other than [`Cache`] says.
    pub fn ragged(graph: &mut Graph, keys: Tensor, values: Tensor, lengths: Tensor) -> Result<Self, Error> {
        let [batch, heads, tokens, _] = keys.shape().exactly("cache: keys", "[B, Hkv, N, D]")?;
        let lengths = match *lengths.shape().dims() {
            [rows] if rows == batch => {
                expect("cache: lengths", lengths.desc(), Desc::new([batch], Elem::U32))?;
                let lengths = to_heads(graph, lengths, heads)?;
                graph.reshape(lengths, [batch, heads])?
            }
            _ => lengths,
        };
        let positions = graph.counted([batch, heads, tokens], 0, 1);
        let cache = Self { keys, values, lengths, positions };
        cache.rows(graph)?;
        Ok(cache)
    }

    /// Checks all tensors.
    pub(super) fn rows(&self, graph: &Graph) -> Result<Rows, Error> {
        let [batch, heads, tokens, depth] = self.keys.shape().exactly("cache: keys", "[B, Hkv, N, D]")?;
        if !self.keys.elem().is_float() {
            return Err(Error::Elem { argument: "cache: keys", expected: "f32, f16 or bf16", actual: self.keys.elem() });
        }
        match *self.values.shape().dims() {
            [b, h, n, _] if [b, h, n] == [batch, heads, tokens] => {}
            _ => {
                let expected = format!("[{batch}, {heads}, {tokens}, V]");
                return Err(Error::Shape { argument: "cache: values", expected, actual: self.values.shape() });
            }
        }
        expect("cache: lengths", self.lengths.desc(), Desc::new([batch, heads], Elem::U32))?;
        expect("cache: positions", self.positions.desc(), Desc::new([batch, heads, tokens], Elem::U32))?;
        let rows = product("cache: keys", self.keys.shape(), batch, heads)?;
        // Heads share budgets, and then a batch row's tokens stand in one list; counts are listed by the host.
        product("cache: keys", self.keys.shape(), heads, tokens)?;
        expect_listed("cache: keys", [tokens].into())?;
        let keys = graph.reshape(self.keys, [rows, tokens, depth])?;
        let lengths = graph.reshape(self.lengths, [rows])?;
        Ok(Rows { batch, heads, rows, tokens, depth, keys, lengths })
    }

    /// The same with the tokens of a step behind the live ones of each head: keys `[B, Hkv, M, D]` and values `[B, Hkv, M, V]` of the same
    /// element types, at the positions `at`, u32 `[B, M]`, the same for all heads. The capacity becomes `N + M`.
    ///
    /// A step of decoding is an append, the attention over it, a score, and an eviction to N tokens, which takes nothing while there is room:
    /// the cache that leaves the step has the shapes of the one that came. So one plan serves every step, with two sets of buffers that change
    /// places, and nothing is read back:
    ///
    /// ```
    /// use tokenpress::kernels::{Attention, QueryKeyValue};
    /// use tokenpress::methods::{AlwaysKept, Cache, CacheBudget, Evict, ObservedAttention};
    /// use tokenpress::{Elem, Graph};
    ///
    /// let [batch, heads, key_heads, room, depth] = [2, 8, 2, 512, 64];
    /// let mut graph = Graph::new();
    /// let [keys, values] = ["keys", "values"].map(|name| graph.input(name, [batch, key_heads, room, depth], Elem::F32));
    /// let [new_keys, new_values] = ["new keys", "new values"].map(|name| graph.input(name, [batch, key_heads, 1, depth], Elem::F32));
    /// let queries = graph.input("queries", [batch, heads, 1, depth], Elem::F32);
    /// let sums = graph.input("sums", [batch, key_heads, room], Elem::F32);
    /// let lengths = graph.input("lengths", [batch, key_heads], Elem::U32);
    /// let positions = graph.input("positions", [batch, key_heads, room], Elem::U32);
    /// let at = graph.input("at", [batch, 1], Elem::U32);
    ///
    /// let before = Cache { keys, values, lengths, positions };
    /// let cache = before.append(&mut graph, new_keys, new_values, at)?;
    /// // What H2O adds up goes with the tokens; that of a new one is 0.
    /// let sums = before.append_scores(&mut graph, sums, 1)?;
    /// let sums = ObservedAttention::H2O.accumulate(&mut graph, &cache, queries, sums)?;
    /// let evict = Evict { budget: CacheBudget::Tokens(room), always: AlwaysKept { sinks: 4, recent: 64, marks: None } };
    /// let left = evict.build(&mut graph, &cache, sums)?;
    /// let sums = left.gather(&mut graph, sums)?;
    /// assert_eq!(left.cache.keys.shape(), keys.shape());
    ///
    /// // The attention of the step: each key head is a row of a batch.
    /// let rows = batch * key_heads;
    /// let inputs = QueryKeyValue {
    ///     queries: graph.reshape(queries, [rows, heads / key_heads, 1, depth])?,
    ///     keys: graph.reshape(cache.keys, [rows, 1, room + 1, depth])?,
    ///     values: graph.reshape(cache.values, [rows, 1, room + 1, depth])?,
    ///     bias: None,
    ///     lengths: Some(graph.reshape(cache.lengths, [rows])?),
    ///     query_lengths: None,
    /// };
    /// let attended = Attention::default().build(&mut graph, inputs)?.rows;
    /// for (name, tensor) in [("rows", attended), ("keys'", left.cache.keys), ("values'", left.cache.values), ("sums'", sums)] {
    ///     graph.output(name, tensor)?;
    /// }
    /// graph.output("lengths'", left.cache.lengths)?;
    /// graph.output("positions'", left.cache.positions)?;
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    ///
    /// Cost: a copy of keys, values and positions. A caller that writes new rows into spare room of its own cache has no need of it.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other tensors.
    pub fn append(&self, graph: &mut Graph, keys: Tensor, values: Tensor, at: Tensor) -> Result<Self, Error> {
        let Rows { batch, heads, rows, tokens, lengths, .. } = self.rows(graph)?;
        let [_, _, new, _] = keys.shape().exactly("cache: new keys", "[B, Hkv, M, D]")?;
        let mut behind = |argument, old: Tensor, now: Tensor| {
            let [_, _, _, width] = old.shape().exactly("cache: keys", "[B, Hkv, N, D]")?;
            expect(argument, now.desc(), Desc::new([batch, heads, new, width], old.elem()))?;
            let old = graph.reshape(old, [rows, tokens, width])?;
            let now = graph.reshape(now, [rows, new, width])?;
            let (both, _) = concat_rows(graph, (old, Some(lengths)), (now, None))?;
            graph.reshape(both, [batch, heads, both.shape().dims()[1], width])
        };
        let keys = behind("cache: new keys", self.keys, keys)?;
        let values = behind("cache: new values", self.values, values)?;
        expect("cache: at", at.desc(), Desc::new([batch, new], Elem::U32))?;
        let at = to_heads(graph, at, heads)?;
        let positions = graph.reshape(self.positions, [rows, tokens])?;
        let (positions, lengths) = concat_rows(graph, (positions, Some(lengths)), (at, None))?;
        let positions = graph.reshape(positions, [batch, heads, keys.shape().dims()[2]])?;
        let lengths = graph.reshape(lengths, [batch, heads])?;
        Ok(Self { keys, values, lengths, positions })
    }

    /// Scores of this cache, f32 `[B, Hkv, N]`, with zeros for so many tokens that [`Cache::append`] puts behind the live ones.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other scores.
    pub fn append_scores(&self, graph: &mut Graph, scores: Tensor, new: u32) -> Result<Tensor, Error> {
        let rows = self.rows(graph)?;
        let scores = rows.scores(graph, "cache: scores", scores)?;
        let zeros = graph.filled_f32([rows.rows, new], 0.0);
        let (both, _) = concat_rows(graph, (scores, Some(rows.lengths)), (zeros, None))?;
        graph.reshape(both, [rows.batch, rows.heads, both.shape().dims()[1]])
    }

    /// What a map of its heads leaves: row `b * Hkv + h` of the map is head h of batch row b. The map may come from
    /// [`TokenMap::selection`], for a choice of your own.
    pub fn keep(&self, graph: &mut Graph, map: TokenMap) -> Result<Evicted, Error> {
        let Rows { batch, heads, .. } = self.rows(graph)?;
        let [_, left] = map.representative.shape().exactly("cache: representative", "[B * Hkv, new]")?;
        let evicted = Evicted { cache: *self, map };
        let [keys, values, positions] = [self.keys, self.values, self.positions].map(|tensor| evicted.gather(graph, tensor));
        let (keys, values, positions) = (keys?, values?, positions?);
        let lengths = capped(graph, map.lengths, left)?;
        let lengths = graph.reshape(lengths, [batch, heads])?;
        Ok(Evicted { cache: Self { keys, values, lengths, positions }, map })
    }

    /// The same tokens at the positions 0, 1, 2 .. of each head: keys are turned by their [`Rope`] from where they were.
    ///
    /// The queries to come then have the positions from the head's number of live tokens on. This is StreamingLLM's cache, and kvpress's
    /// `KeyRerotationPress`. Without it keys keep their positions, and the queries theirs.
    ///
    /// ```
    /// use tokenpress::kernels::{Rope, RotaryPairs};
    /// use tokenpress::methods::Cache;
    /// use tokenpress::{Elem, Graph, HostTensor};
    ///
    /// let mut graph = Graph::new();
    /// let keys = graph.constant(HostTensor::f32([1, 1, 2, 2], vec![1.0, 0.0, 1.0, 0.0]));
    /// let positions = graph.constant(HostTensor::u32([1, 1, 2], vec![0, 7]));
    /// let cache = Cache { positions, ..Cache::new(&mut graph, keys, keys)? };
    /// let compact = cache.compact_positions(&mut graph, &Rope::new(10_000.0, 2, RotaryPairs::Half))?;
    /// graph.output("keys'", compact.keys)?;
    /// let keys = graph.run_reference(&[].into())?["keys'"].floats();
    /// // Six positions back.
    /// assert!((keys[2] - 6f32.cos()).abs() < 1e-6 && (keys[3] + 6f32.sin()).abs() < 1e-6);
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Rope::rotate`] has them.
    pub fn compact_positions(&self, graph: &mut Graph, rope: &Rope) -> Result<Self, Error> {
        let Rows { batch, heads, tokens, .. } = self.rows(graph)?;
        let places = graph.counted([batch, heads, tokens], 0, 1);
        self.move_to(graph, rope, places)
    }

    /// The same tokens at other positions, u32 `[B, Hkv, N]`.
    ///
    /// # Errors
    /// As [`Rope::rotate`] has them.
    pub fn move_to(&self, graph: &mut Graph, rope: &Rope, positions: Tensor) -> Result<Self, Error> {
        let Rows { rows, tokens, keys, lengths, .. } = self.rows(graph)?;
        expect("cache: positions", positions.desc(), self.positions.desc())?;
        let from = graph.reshape(self.positions, [rows, tokens])?;
        let to = graph.reshape(positions, [rows, tokens])?;
        let turned = rope.rotate(graph, keys, Some(from), to, Some(lengths))?;
        Ok(Self { keys: graph.reshape(turned, self.keys.shape())?, positions, ..*self })
    }
}

impl Rows {
    /// A tensor of each of its tokens as a batch of heads, `[rows, tokens]`.
    pub(super) fn scores(&self, graph: &Graph, argument: &'static str, scores: Tensor) -> Result<Tensor, Error> {
        expect(argument, scores.desc(), Desc::new([self.batch, self.heads, self.tokens], Elem::F32))?;
        graph.reshape(scores, [self.rows, self.tokens])
    }

    /// `[rows, tokens]` as the caller has them.
    pub(super) fn by_head(&self, graph: &Graph, scores: Tensor) -> Result<Tensor, Error> {
        graph.reshape(scores, [self.batch, self.heads, self.tokens])
    }

    /// Queries `[B, H, M, D]` as a batch of the heads that read one key head each, `[rows, H / Hkv, M, D]`.
    pub(super) fn queries(&self, graph: &Graph, queries: Tensor) -> Result<Tensor, Error> {
        let refused = || {
            let expected = format!("[{}, H, M, {}] with H a multiple of {}", self.batch, self.depth, self.heads);
            Error::Shape { argument: "cache: queries", expected, actual: queries.shape() }
        };
        let [batch, heads, count, depth] = queries.shape().exactly("cache: queries", "[B, H, M, D]")?;
        let group = heads.checked_div(self.heads).unwrap_or(0);
        if group * self.heads != heads || [batch, depth] != [self.batch, self.depth] {
            return Err(refused());
        }
        if queries.elem() != self.keys.elem() {
            return Err(Error::Elem { argument: "cache: queries", expected: "the keys' element type", actual: queries.elem() });
        }
        graph.reshape(queries, [self.rows, group, count, depth])
    }

    /// The keys as those of one head.
    pub(super) fn one_head(&self, graph: &Graph) -> Result<Tensor, Error> {
        graph.reshape(self.keys, [self.rows, 1, self.tokens, self.depth])
    }

    /// Live query rows of each head, where they are given for each batch row.
    pub(super) fn query_lengths(&self, graph: &mut Graph, lengths: Option<Tensor>) -> Result<Option<Tensor>, Error> {
        let Some(lengths) = lengths else { return Ok(None) };
        expect("cache: query_lengths", lengths.desc(), Desc::new([self.batch], Elem::U32))?;
        to_heads(graph, lengths, self.heads).map(Some)
    }
}

/// What is there once for each batch row, `[batch]` or `[batch, entries]`, once for each of its heads: `[batch * heads, ..]`.
pub(super) fn to_heads(graph: &mut Graph, x: Tensor, heads: u32) -> Result<Tensor, Error> {
    if heads == 1 {
        return Ok(x);
    }
    let (batch, entries) = match *x.shape().dims() {
        [batch, entries] => (batch, entries),
        _ => x.shape().exactly("cache", "[batch]").map(|[batch]| (batch, 1))?,
    };
    let rows = product("cache", x.shape(), batch, heads)?;
    let shape: Shape = if x.shape().dims().len() == 1 { [rows].into() } else { [rows, entries].into() };
    if let Some(number) = graph.known(x).and_then(|known| known.one_number()) {
        return Ok(graph.filled(shape, number));
    }
    let index = graph.listed("cache", [1, rows], || (0..batch).flat_map(|b| std::iter::repeat_n(b, heads as usize)).collect())?;
    let x = graph.reshape(x, [1, batch, entries])?;
    let spread = gather_rows(graph, x, index, None)?;
    graph.reshape(spread, shape)
}

/// What an eviction leaves of a cache, and where every token went.
#[derive(Debug, Clone, Copy)]
pub struct Evicted {
    /// What is left.
    pub cache: Cache,
    /// Where the tokens of each head went: row `b * Hkv + h` is head h of batch row b.
    pub map: TokenMap,
}

impl Evicted {
    /// Another tensor of the old cache, `[B, Hkv, N]` or `[B, Hkv, N, W]`, for the tokens that are left: accumulated scores, for
    /// instance. Bit-exact; after the live tokens it is 0, or [`NONE`](crate::NONE) for integers.
    pub fn gather(&self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        let [rows, left] = self.map.representative.shape().exactly("cache: representative", "[B * Hkv, new]")?;
        let [_, old] = self.map.parent.shape().exactly("cache: parent", "[B * Hkv, old]")?;
        let refused = || {
            let expected = format!("[B, Hkv, {old}] or [B, Hkv, {old}, W] with B * Hkv = {rows}");
            Error::Shape { argument: "cache: tensor of the tokens", expected, actual: x.shape() }
        };
        let (flat, shape): (Shape, Shape) = match *x.shape().dims() {
            [b, h, n] if n == old => ([rows, n].into(), [b, h, left].into()),
            [b, h, n, w] if n == old => ([rows, n, w].into(), [b, h, left, w].into()),
            _ => return Err(refused()),
        };
        if x.shape().dims()[0].checked_mul(x.shape().dims()[1]) != Some(rows) {
            return Err(refused());
        }
        let flat = graph.reshape(x, flat)?;
        let gathered = self.map.gather(graph, flat)?;
        graph.reshape(gathered, shape)
    }

    /// Two evictions as one: the cache of `next`, which was made of this one's, and a map from this one's old tokens to it.
    pub fn then(&self, graph: &mut Graph, next: &Self) -> Result<Self, Error> {
        Ok(Self { cache: next.cache, map: self.map.then(graph, &next.map)? })
    }
}
