//! Constants that nothing stores: their entries follow from their places.

use crate::tensor::{Desc, Elem, HostTensor, Shape};
use half::f16;

/// Entries of every row of a tensor, a row being its last dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Up to three pieces, each counting from a number in steps, modulo 2^32. The last one has no end.
    Pieces([Piece; 3]),
    /// `first + i / run * jump + i % run`.
    Runs {
        /// Entry 0.
        first: u32,
        /// Entries that count by one; at least 1.
        run: u32,
        /// From the first entry of a run to that of the next.
        jump: u32,
    },
}

/// Entries up to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The first entry behind the piece.
    pub(crate) end: u32,
    /// Its first entry; for floats the bits.
    pub(crate) first: u32,
    /// From an entry to the next.
    pub(crate) step: u32,
}

impl Pattern {
    /// One number everywhere; for floats its bits.
    pub(crate) const fn filled(value: u32) -> Self {
        Self::counted(value, 0)
    }

    /// `first`, `first + step` ...
    pub(crate) const fn counted(first: u32, step: u32) -> Self {
        Self::Pieces([Piece { end: u32::MAX, first, step }; 3])
    }

    /// One number for the first `end` entries, and another number behind them.
    pub(crate) const fn split(end: u32, below: u32, other: u32) -> Self {
        let other = Piece { end: u32::MAX, first: other, step: 0 };
        Self::Pieces([Piece { end, first: below, step: 0 }, other, other])
    }

    /// Entry `i` of a row.
    pub(crate) fn at(&self, i: u32) -> u32 {
        match *self {
            Self::Pieces(pieces) => {
                let mut start = 0;
                for piece in &pieces[..2] {
                    if i < piece.end {
                        return piece.first.wrapping_add((i - start).wrapping_mul(piece.step));
                    }
                    start = piece.end;
                }
                pieces[2].first.wrapping_add((i - start).wrapping_mul(pieces[2].step))
            }
            Self::Runs { first, run, jump } => first.wrapping_add((i / run).wrapping_mul(jump)).wrapping_add(i % run),
        }
    }

    /// Whether all entries are one number.
    fn is_one_number(&self) -> bool {
        matches!(self, Self::Pieces([first, ..]) if *self == Self::filled(first.first))
    }

    /// The entries of a tensor of this shape, row by row.
    fn entries(self, shape: Shape) -> impl Iterator<Item = u32> {
        let row = shape.dims().last().copied().unwrap_or(1);
        let rows = shape.elements().checked_div(u64::from(row)).unwrap_or(0);
        (0..rows).flat_map(move |_| (0..row).map(move |i| self.at(i)))
    }

    /// The tensor itself.
    pub(crate) fn tensor(&self, desc: Desc) -> HostTensor {
        // The iterator does not know its length.
        fn all<T>(shape: Shape, entries: impl Iterator<Item = T>) -> Vec<T> {
            let mut all = Vec::with_capacity(shape.elements() as usize);
            all.extend(entries);
            all
        }
        let (shape, entries) = (desc.shape, self.entries(desc.shape));
        match desc.elem {
            Elem::U32 => HostTensor::u32(shape, all(shape, entries)),
            Elem::F32 => HostTensor::f32(shape, all(shape, entries.map(f32::from_bits))),
            Elem::F16 => HostTensor::f16(shape, all(shape, entries.map(|bits| f16::from_f32(f32::from_bits(bits))))),
        }
    }

    /// The tensor's bytes as a buffer holds them, a piece at a time.
    pub(crate) fn write(&self, desc: Desc, mut write: impl FnMut(&[u8])) {
        let mut entries = self.entries(desc.shape).peekable();
        while entries.peek().is_some() {
            let piece = entries.by_ref().take(1 << 14);
            match desc.elem {
                Elem::U32 | Elem::F32 => write(bytemuck::cast_slice(&piece.collect::<Vec<u32>>())),
                Elem::F16 => write(bytemuck::cast_slice(&piece.map(|bits| f16::from_f32(f32::from_bits(bits))).collect::<Vec<_>>())),
            }
        }
    }
}

/// Integers that are known while a graph is built.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Known<'a> {
    /// One by one.
    Listed(&'a [u32]),
    /// By a pattern, under this shape.
    Pattern(Pattern, Shape),
}

impl Known<'_> {
    /// Every entry.
    pub(crate) fn entries(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::Listed(list) => Box::new(list.iter().copied()),
            Self::Pattern(pattern, shape) => Box::new(pattern.entries(*shape)),
        }
    }

    /// Every number that occurs, in order; where all are one number, that one once.
    pub(crate) fn values(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::Pattern(pattern, _) if pattern.is_one_number() => Box::new(self.entries().take(1)),
            _ => self.entries(),
        }
    }

    /// The number that all entries are, if they are one, and there is one.
    pub(crate) fn one_number(&self) -> Option<u32> {
        let first = self.values().next()?;
        self.values().all(|value| value == first).then_some(first)
    }
}
