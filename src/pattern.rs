//! Constants that are not stored: each entry follows from its place.

use crate::tensor::{Desc, Elem, HostTensor, Shape};
use half::{bf16, f16};

/// Entries of every row of a tensor, a row being its last dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Piece {
    /// The first entry after the piece.
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

    /// One number for the first `end` entries, and another number after them.
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
            Elem::BF16 => HostTensor::bf16(shape, all(shape, entries.map(|bits| bf16::from_f32(f32::from_bits(bits))))),
        }
    }

    /// The tensor's bytes as a buffer holds them, a piece at a time.
    pub(crate) fn write(&self, desc: Desc, mut write: impl FnMut(&[u8])) {
        const MOST: usize = 1 << 14;
        let elements = desc.shape.elements();
        let row = u64::from(desc.shape.dims().last().copied().unwrap_or(1));
        let mut words = vec![0u32; elements.min(MOST as u64) as usize];
        let mut halves = vec![0u16; if desc.elem.size() == 2 { words.len() } else { 0 }];
        let mut first = 0;
        while first < elements {
            let count = (elements - first).min(MOST as u64) as usize;
            let mut done = 0;
            while done < count {
                let at = (first + done as u64) % row;
                let end = count.min(done + (row - at).min(MOST as u64) as usize);
                self.fill(at as u32, &mut words[done..end]);
                done = end;
            }
            match desc.elem {
                Elem::U32 | Elem::F32 => write(bytemuck::cast_slice(&words[..count])),
                Elem::F16 | Elem::BF16 => {
                    let half =
                        |number| if desc.elem == Elem::F16 { f16::from_f32(number).to_bits() } else { bf16::from_f32(number).to_bits() };
                    halves.iter_mut().zip(&words[..count]).for_each(|(bits, word)| *bits = half(f32::from_bits(*word)));
                    write(bytemuck::cast_slice(&halves[..count]));
                }
            }
            first += count as u64;
        }
    }

    /// Entries of a row from one on. The loops have no branch for each entry, because long rows are written while a plan is made.
    fn fill(&self, first: u32, entries: &mut [u32]) {
        let count = |entries: &mut [u32], first: u32, step: u32| {
            entries.iter_mut().zip(0u32..).for_each(|(entry, i)| *entry = first.wrapping_add(i.wrapping_mul(step)));
        };
        let end = u64::from(first) + entries.len() as u64;
        let mut done = 0;
        while done < entries.len() {
            let at = first + done as u32;
            // Up to where the entries stop counting in equal steps.
            let (step, stop) = match *self {
                Self::Pieces(pieces) => match pieces[..2].iter().find(|piece| at < piece.end) {
                    Some(piece) => (piece.step, end.min(piece.end.into())),
                    None => (pieces[2].step, end),
                },
                Self::Runs { run, .. } => (1, end.min((u64::from(at / run) + 1) * u64::from(run))),
            };
            let until = (stop - u64::from(first)) as usize;
            count(&mut entries[done..until], self.at(at), step);
            done = until;
        }
    }

    /// Whether a row of this pattern is the start of any longer one, whatever its tensor's shape.
    pub(crate) fn is_prefix(&self, shape: Shape) -> bool {
        self.is_one_number() || shape.dims().last().is_some_and(|row| u64::from(*row) == shape.elements())
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

    /// Every number that occurs, in order. If all entries are the same number, that number once.
    pub(crate) fn values(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::Pattern(pattern, _) if pattern.is_one_number() => Box::new(self.entries().take(1)),
            _ => self.entries(),
        }
    }

    /// The number that all entries are, if all are the same and there is any entry.
    pub(crate) fn one_number(&self) -> Option<u32> {
        let first = self.values().next()?;
        self.values().all(|value| value == first).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_the_entries_are() {
        let piece = |end, first, step| Piece { end, first, step };
        let patterns = [
            Pattern::filled(7),
            Pattern::counted(5, u32::MAX),
            Pattern::split(3, 1, 9),
            Pattern::split(0, 1, 9),
            Pattern::Pieces([piece(2, 0, 1), piece(20_000, 50, 3), piece(u32::MAX, 4, 0)]),
            // The second ends before the first.
            Pattern::Pieces([piece(5, 0, 1), piece(2, 50, 3), piece(u32::MAX, 4, 2)]),
            Pattern::Runs { first: 1, run: 1, jump: 5 },
            Pattern::Runs { first: 3, run: 7, jump: 9 },
        ];
        let shapes: [Shape; 8] =
            [[0].into(), [1].into(), [5, 3].into(), [33_000].into(), [3, 17_000].into(), [0, 4].into(), [4, 0].into(), [].into()];
        for pattern in patterns {
            for (shape, elem) in shapes.iter().flat_map(|shape| [Elem::U32, Elem::F16, Elem::BF16, Elem::F32].map(|elem| (*shape, elem))) {
                let desc = Desc::new(shape, elem);
                let mut written = Vec::new();
                pattern.write(desc, |bytes| written.extend_from_slice(bytes));
                assert_eq!(written, pattern.tensor(desc).bytes(), "{pattern:?} of {desc}");
            }
        }
    }
}
