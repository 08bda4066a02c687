//! Random shapes, options and data, all of it from one seed.

use tokenpress::kernels::*;
use tokenpress::methods::*;
use tokenpress::*;

/// Builds a random call of a target, and gives everything that comes out of it.
pub(crate) type Build = fn(&mut Generator, &mut Graph) -> Result<Vec<Tensor>, Error>;

/// Dimensions at which something changes: tiles, workgroups, limits of a grid, ends of integers.
const CORNERS: &[u32] = &[
    0,
    1,
    2,
    3,
    5,
    16,
    17,
    63,
    64,
    65,
    255,
    256,
    257,
    997,
    1024,
    4097,
    65535,
    65536,
    65537,
    1 << 20,
    1 << 24,
    1 << 30,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX - 1,
    u32::MAX,
];
const SMALL: &[u32] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17, 31, 32, 33];

/// A stream of random choices, and the dimensions that the tensors of a case share, so that most of them fit each other.
pub(crate) struct Generator {
    state: u64,
    /// How often a tensor gets another shape or element type than the call asks for.
    mutate: f64,
    /// Any dimension at all: such a graph is built, and not run.
    pub(crate) huge: bool,
    /// Numbers near the ends of f32's range.
    pub(crate) wild: bool,
    inputs: usize,
    /// What was chosen, for whoever reads a finding.
    pub(crate) notes: Vec<String>,
    pub(crate) batch: u32,
    pub(crate) count: u32,
    pub(crate) channels: u32,
    pub(crate) heads: u32,
    pub(crate) key_heads: u32,
    pub(crate) depth: u32,
    pub(crate) rows: u32,
    pub(crate) outputs: u32,
    pub(crate) elem: Elem,
    pub(crate) height: u32,
    pub(crate) width: u32,
}

impl Generator {
    pub(crate) fn new(target: &str, seed: u64, wild: bool) -> Self {
        // FNV-1a: each target has a stream of its own.
        let name = target.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let mut g = Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ name,
            mutate: 0.0,
            huge: false,
            wild,
            inputs: 0,
            notes: Vec::new(),
            batch: 1,
            count: 1,
            channels: 1,
            heads: 1,
            key_heads: 1,
            depth: 1,
            rows: 1,
            outputs: 1,
            elem: Elem::F32,
            height: 1,
            width: 1,
        };
        match g.below(8) {
            0 => (g.huge, g.mutate) = (true, 0.0),
            1 => (g.huge, g.mutate) = (true, 0.1),
            2 => g.mutate = 0.05,
            _ => {}
        }
        g.batch = if g.huge { g.dim() } else { g.pick(&[1, 1, 2, 2, 3, 0]) };
        [g.count, g.channels, g.depth, g.rows, g.outputs] = [(); 5].map(|()| g.dim());
        if !g.huge && g.chance(0.3) {
            g.count = g.pick(&[0, 1, 2, 63, 64, 65, 97, 255, 257]);
        }
        g.heads = if g.huge { g.dim() } else { g.pick(&[1, 2, 3, 4, 0, 6]) };
        g.key_heads = if g.chance(0.5) { g.heads } else { g.pick(&[1, 1, 2, 3, 0]) };
        [g.height, g.width] = [(); 2].map(|()| if g.huge { g.dim() } else { g.pick(&[1, 2, 3, 4, 5, 6, 7, 8, 0]) });
        if g.chance(0.25) {
            g.elem = g.pick(&[Elem::F16, Elem::BF16]);
        }
        g
    }

    /// SplitMix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u32) -> u32 {
        (((self.next() >> 32) * u64::from(n)) >> 32) as u32
    }

    /// Uniform between 0 and 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.chance(0.5)
    }

    pub(crate) fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len() as u32) as usize]
    }

    /// A dimension.
    pub(crate) fn dim(&mut self) -> u32 {
        if self.huge && self.coin() {
            self.pick(CORNERS)
        } else if self.chance(0.06) {
            0
        } else {
            self.pick(SMALL)
        }
    }

    /// A number that an option may be that counts something of n.
    pub(crate) fn number(&mut self, n: u32) -> u32 {
        let (inside, corner) = (self.below(n.clamp(1, 1000)), self.pick(CORNERS));
        match self.below(20) {
            0 => 0,
            1 => 1,
            2 => n,
            3 => n.wrapping_add(1),
            4 => n.wrapping_sub(1),
            5 => u32::MAX,
            6 => corner,
            7 => n / 2,
            8 => n.wrapping_mul(2),
            _ => inside,
        }
    }

    pub(crate) fn positive(&mut self, n: u32) -> u32 {
        let value = self.number(n);
        if self.chance(0.8) { value.max(1) } else { value }
    }

    pub(crate) fn grid(&mut self) -> [u32; 2] {
        if self.chance(0.05) { [self.number(8), self.number(8)] } else { [self.height, self.width] }
    }

    /// A share: mostly between 0 and 1.
    pub(crate) fn share(&mut self) -> f64 {
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300, 5e-324, -0.0, 2.0, 1.000_000_1, -1e-9, 4_294_967_296.0];
        match self.below(12) {
            0 => self.pick(&odd),
            1 => 0.0,
            2 => 1.0,
            3 => 0.5,
            _ => self.unit(),
        }
    }

    pub(crate) fn float(&mut self) -> f32 {
        self.share() as f32
    }

    pub(crate) fn note(&mut self, what: impl std::fmt::Debug) {
        let text = format!("{what:?}");
        self.notes.push(text.chars().take(600).collect());
    }

    /// A tensor of this shape: an input, sometimes a constant, and sometimes of another shape.
    pub(crate) fn tensor(&mut self, graph: &mut Graph, dims: &[u32], mut elem: Elem) -> Tensor {
        let mut dims = dims.to_vec();
        if self.chance(self.mutate) {
            match self.below(6) {
                0 => _ = dims.pop(),
                1 if dims.len() < 5 => dims.push(self.dim()),
                2 if dims.len() < 5 => dims.insert(0, 1),
                3 if !dims.is_empty() => {
                    let index = self.below(dims.len() as u32) as usize;
                    dims[index] = self.dim();
                }
                4 => elem = self.pick(&[Elem::F16, Elem::BF16, Elem::F32, Elem::U32]),
                _ => dims.clear(),
            }
        }
        let shape = Shape::try_from(&dims[..]).unwrap_or_else(|_| Shape::from([1]));
        if !self.huge && self.chance(0.03) && shape.elements() < 100_000 {
            let value = self.data(Desc::new(shape, elem));
            return graph.constant(value);
        }
        self.inputs += 1;
        graph.input(&format!("i{}", self.inputs), shape, elem)
    }

    pub(crate) fn optional(&mut self, graph: &mut Graph, dims: &[u32], elem: Elem) -> Option<Tensor> {
        if self.coin() { Some(self.tensor(graph, dims, elem)) } else { None }
    }

    pub(crate) fn lengths(&mut self, graph: &mut Graph, batch: u32) -> Option<Tensor> {
        match self.below(5) {
            0 | 1 => None,
            2 | 3 => Some(self.tensor(graph, &[batch], Elem::U32)),
            _ if batch < 1000 => {
                let n = self.count;
                let of_row = |g: &mut Self| {
                    let inside = g.below(n.min(9999) + 2);
                    g.pick(&[0, n, inside, n.wrapping_add(1), u32::MAX, inside])
                };
                let values = (0..batch).map(|_| of_row(self)).collect();
                Some(graph.constant(HostTensor::u32([batch], values)))
            }
            _ => None,
        }
    }

    /// A list for each row of numbers below n, none of them twice; NONE behind.
    pub(crate) fn list(&mut self, graph: &mut Graph, batch: u32, entries: u32, n: u32) -> Tensor {
        if u64::from(batch) * u64::from(entries.max(n).max(1)) > 100_000 {
            return self.tensor(graph, &[batch, entries], Elem::U32);
        }
        let mut values = Vec::new();
        for _ in 0..batch {
            let mut row: Vec<u32> = (0..n).collect();
            for i in (1..row.len()).rev() {
                row.swap(i, self.below(i as u32 + 1) as usize);
            }
            row.truncate(self.below(n.min(entries) + 1) as usize);
            row.resize(entries as usize, NONE);
            values.extend(row);
        }
        graph.constant(HostTensor::u32([batch, entries], values))
    }

    pub(crate) fn tokens(&mut self, graph: &mut Graph) -> Result<Tokens, Error> {
        let (batch, n) = (self.batch, self.count);
        let x = self.tensor(graph, &[batch, n, self.channels], self.elem);
        match self.lengths(graph, batch) {
            None => Tokens::new(graph, x),
            Some(lengths) if self.coin() => Tokens::ragged(graph, x, lengths),
            Some(lengths) => Ok(Tokens { x, size: self.tensor(graph, &[batch, n], Elem::F32), lengths }),
        }
    }

    /// Mostly leading tokens, also lists and marks of any contents.
    pub(crate) fn protect(&mut self, graph: &mut Graph) -> Protect {
        let (batch, n) = (self.batch, self.count);
        match self.below(9) {
            8 => Protect::AllBut(self.images(graph)),
            0 | 1 => Protect::NONE,
            2 => Protect::CLASS,
            3 => Protect::Leading(self.number(n)),
            4 | 5 => {
                let entries = self.number(5);
                Protect::Listed(if self.coin() {
                    self.tensor(graph, &[batch, entries], Elem::U32)
                } else {
                    self.tensor(graph, &[entries], Elem::U32)
                })
            }
            _ => {
                let elem = self.pick(&[Elem::U32, Elem::U32, Elem::F32, Elem::F16]);
                let marks = if self.coin() { self.tensor(graph, &[batch, n], elem) } else { self.tensor(graph, &[n], elem) };
                Protect::Marked { marks, most: self.number(n) }
            }
        }
    }

    /// Mostly a range, also marks of any contents.
    pub(crate) fn images(&mut self, graph: &mut Graph) -> Images {
        let (batch, n) = (self.batch, self.count);
        if self.coin() {
            return Images::Range { start: self.number(n / 4 + 1), tokens: self.number(n / 2 + 1) };
        }
        let elem = self.pick(&[Elem::U32, Elem::U32, Elem::F32, Elem::F16]);
        let marks = if self.chance(0.7) { self.tensor(graph, &[batch, n], elem) } else { self.tensor(graph, &[n], elem) };
        Images::Marked { marks, others: self.number(n) }
    }

    /// Added to the logits of keys.
    pub(crate) fn bias(&mut self, graph: &mut Graph) -> Option<Tensor> {
        if self.chance(0.7) { None } else { Some(self.tensor(graph, &[self.batch, self.count], Elem::F32)) }
    }

    pub(crate) fn queries_and_keys(&mut self, graph: &mut Graph, rows: u32) -> (Tensor, Tensor) {
        let queries = self.tensor(graph, &[self.batch, self.heads, rows, self.depth], self.elem);
        (queries, self.tensor(graph, &[self.batch, self.key_heads, self.count, self.depth], self.elem))
    }

    pub(crate) fn affine(&mut self, graph: &mut Graph, outputs: u32, inputs: u32) -> Affine {
        Affine { weight: self.tensor(graph, &[outputs, inputs], self.elem), bias: self.optional(graph, &[outputs], self.elem) }
    }

    pub(crate) fn norm(&mut self, graph: &mut Graph, channels: u32) -> Affine {
        Affine { weight: self.tensor(graph, &[channels], self.elem), bias: self.optional(graph, &[channels], self.elem) }
    }

    pub(crate) fn projections(&mut self, graph: &mut Graph, c: u32) -> Projections {
        let [queries, keys, values, output] = [(); 4].map(|()| self.affine(graph, c, c));
        Projections { queries, keys, values, output }
    }

    pub(crate) fn attention(&mut self, graph: &mut Graph, c: u32) -> MultiHeadAttention {
        let heads = if self.chance(0.6) { self.pick(&[1, 2, 4]) } else { self.number(c) };
        MultiHeadAttention { heads, projections: self.projections(graph, c) }
    }

    pub(crate) fn feed_forward(&mut self, graph: &mut Graph, c: u32) -> FeedForward {
        let hidden = self.outputs;
        FeedForward { up: self.affine(graph, hidden, c), activation: self.activation(), down: self.affine(graph, c, hidden) }
    }

    pub(crate) fn activation(&mut self) -> Activation {
        use Activation::{Gelu, GeluTanh, None, QuickGelu, Relu, Sigmoid, Silu};
        self.pick(&[None, Relu, Gelu, GeluTanh, QuickGelu, Silu, Sigmoid])
    }

    pub(crate) fn block(&mut self, graph: &mut Graph, c: u32) -> TransformerBlock {
        TransformerBlock {
            norm: self.layer_norm(),
            attention_norm: self.norm(graph, c),
            attention: self.attention(graph, c),
            feed_forward_norm: self.norm(graph, c),
            feed_forward: self.feed_forward(graph, c),
        }
    }

    pub(crate) fn layer_norm(&mut self) -> LayerNorm {
        LayerNorm { subtract_mean: self.coin(), epsilon: if self.chance(0.7) { 1e-5 } else { self.float() } }
    }

    pub(crate) fn windows(&mut self) -> Windows {
        let (size, stride, partial) = ([self.positive(4), self.positive(4)], [self.positive(4), self.positive(4)], self.coin());
        match self.below(3) {
            0 => Windows::Strided { size, stride, partial },
            1 => Windows::Padded(PaddedWindows {
                size,
                stride,
                dilation: [self.positive(3), self.positive(3)],
                before: [self.number(4), self.number(4)],
                after: [self.number(4), self.number(4)],
                partial,
                count_padding: self.coin(),
            }),
            _ => Windows::Adaptive { outputs: [self.positive(5), self.positive(5)] },
        }
    }

    pub(crate) fn pool(&mut self) -> Pool {
        let outputs = [self.positive(6), self.positive(6)];
        match self.below(6) {
            0 | 1 => Pool::Average(self.windows()),
            2 => Pool::Max(self.windows()),
            3 => Pool::Bilinear(outputs),
            4 => Pool::BilinearAligned(outputs),
            _ => Pool::BilinearAntialiased(outputs),
        }
    }

    pub(crate) fn unshuffle(&mut self) -> PixelUnshuffle {
        let any = [self.number(4), self.number(4)];
        PixelUnshuffle {
            factor: if self.chance(0.7) { self.pick(&[[1, 1], [2, 2], [2, 1], [3, 2]]) } else { any },
            channels: self.pick(&[ChannelOrder::PositionFirst, ChannelOrder::ChannelFirst]),
            tokens: self.pick(&[TokenOrder::RowMajor, TokenOrder::Transposed]),
            pad: self.coin(),
            skip: if self.chance(0.7) { 0 } else { self.number(3) },
        }
    }

    pub(crate) fn normalized(&mut self, graph: &mut Graph) -> Result<Normalized, Error> {
        // Norms and unit rows as the kernel makes them: others break the contract of those who read them.
        let x = self.tensor(graph, &[self.batch, self.count, self.channels], self.elem);
        let lengths = self.lengths(graph, self.batch);
        row_normalize(graph, x, lengths)
    }

    /// No position twice: a contract of everything that takes a partition.
    pub(crate) fn partition(&mut self, graph: &mut Graph) -> Result<Partition, Error> {
        let n = self.count;
        match self.below(6) {
            0 => Ok(Partition::even_odd(graph, n)),
            1 => {
                let stride = self.number(n);
                Ok(Partition::strided(graph, n, stride))
            }
            2 => {
                let count = self.below(n.clamp(1, 40));
                let mut positions: Vec<u32> = (0..count).map(|_| self.below(n.max(1))).collect();
                positions.sort_unstable();
                positions.dedup();
                let (sources, destinations) = positions.split_at(positions.len() / 2);
                Partition::lists(graph, sources, destinations)
            }
            3 => {
                let cell = [self.positive(3), self.positive(3)];
                let count = self.below(6);
                let offsets: Vec<u32> = (0..count).map(|_| self.number(cell[0].saturating_mul(cell[1]))).collect();
                Partition::grid2d(graph, self.height, self.width, cell[0], cell[1], &offsets)
            }
            4 => {
                let cell = [self.positive(3), self.positive(3)];
                Partition::grid2d_random(graph, self.height, self.width, cell[0], cell[1], 5)
            }
            _ => {
                let destinations = self.number(n);
                if u64::from(self.batch) * u64::from(n) > 1 << 22 {
                    return Ok(Partition::even_odd(graph, n)); // permutations of so many take minutes
                }
                Partition::random(graph, self.batch, n, destinations, 7)
            }
        }
    }

    /// Contents of a tensor: of one of several kinds.
    pub(crate) fn data(&mut self, desc: Desc) -> HostTensor {
        let len = desc.shape.elements() as usize;
        if desc.elem == Elem::U32 {
            let most = desc.shape.dims().iter().copied().max().unwrap_or(1).max(self.count).min(1 << 20);
            let kind = self.below(9);
            let number = |g: &mut Self, i: usize| match kind {
                0 => 0,
                1 => i as u32,
                2 => NONE,
                3 => g.next() as u32,
                4 => most,
                5 => {
                    let inside = g.below(most + 2);
                    g.pick(&[0, 1, 2, 3, inside, NONE, u32::MAX - 1, most, most + 1, 1 << 31])
                }
                6 => g.below(3),
                _ => g.below(most.max(1)),
            };
            let values = (0..len).map(|i| number(self, i)).collect();
            return HostTensor::u32(desc.shape, values);
        }
        let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let extreme = [1e-40, -1e-40, 65504.0, -65504.0, 3e38, -3e38, f32::MIN_POSITIVE];
        let kind = self.below(if self.wild { 14 } else { 10 });
        let number = |g: &mut Self| {
            let centred = (g.unit() as f32 - 0.5) * 3.0;
            match kind {
                0 => 0.0,
                1 => g.pick(&[-1.0, 0.0, 0.5, -0.0]), // ties
                2 if g.chance(0.1) => g.pick(&special),
                3 => g.pick(&special),
                10 => g.pick(&extreme),
                11 => centred * 1e38,
                12 => centred * 1e-40,
                13 if g.chance(0.1) => g.pick(&extreme),
                _ => centred,
            }
        };
        let values = (0..len).map(|_| number(self)).collect();
        HostTensor::from_floats(desc, values)
    }
}
