//! Windows of a grid of tokens, each reduced to one token.

use crate::compare::{EPSILON_F32, storage_error};
use crate::tensor::Elem;

/// What becomes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// The mean.
    Average,
    /// The largest; the first of equals; NaN only if all are NaN.
    Max,
}

/// Where the windows of one axis lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Axis {
    /// `i * stride .. i * stride + size`. A window that passes the end does not count. With `partial` it is cut at the end and counts,
    /// unless the window before it reaches the end.
    Strided {
        /// Places of a window, at least 1.
        size: u32,
        /// Places from a window to the next, at least 1.
        stride: u32,
        /// Whether there is a last window which is cut.
        partial: bool,
    },
    /// Strided windows over places with padding at both ends. The padding after the places of a row begins where the row ends.
    Padded {
        /// Places of a window, at least 1.
        size: u32,
        /// Places from a window to the next, at least 1.
        stride: u32,
        /// From one place of a window to its next, at least 1.
        dilation: u32,
        /// Padding before the first place, and after the last.
        padding: [u32; 2],
        /// Whether there is a last window which is cut. It does not begin in the padding at the end.
        partial: bool,
        /// Whether an average divides by the number of a window's places and its padding.
        counted: bool,
    },
    /// `floor(i * n / outputs) .. ceil((i + 1) * n / outputs)` of n places.
    Adaptive {
        /// Number of windows.
        outputs: u32,
    },
    /// The two neighbours of the position `max((i + 1/2) * n / outputs - 1/2, 0)`, with the weights of a linear interpolation. If the
    /// position is a whole number, or the second neighbour is past the end, the first neighbour alone.
    Linear {
        /// Number of positions.
        outputs: u32,
    },
    /// The same for the positions `i * (n - 1) / (outputs - 1)`: the first is the first place, the last the last.
    Aligned {
        /// Number of positions.
        outputs: u32,
    },
    /// Every place j of a weight `1 - |j + 1/2 - (i + 1/2) * n / outputs| / max(n / outputs, 1)` above 0, over the sum of the weights.
    Antialiased {
        /// Number of positions.
        outputs: u32,
    },
}

impl Axis {
    /// Number of windows over n places.
    pub fn outputs(self, n: u32) -> u32 {
        match self {
            Self::Strided { size, stride, partial: false } => n.checked_sub(size).map_or(0, |rest| rest / stride + 1),
            Self::Strided { size, stride, partial: true } => {
                n.min(1) * (n.saturating_sub(size).div_ceil(stride) + 1).min(n.div_ceil(stride))
            }
            Self::Padded { size, stride, dilation, padding, partial, .. } if n > 0 => {
                let [size, stride, dilation, n] = [size, stride, dilation, n].map(u64::from);
                let [before, after] = padding.map(u64::from);
                let (span, room) = ((size - 1) * dilation + 1, before + n + after);
                let windows = match partial {
                    false => room.checked_sub(span).map_or(0, |rest| rest / stride + 1),
                    true => (room.saturating_sub(span).div_ceil(stride) + 1).min((before + n).div_ceil(stride)),
                };
                windows.min(u32::MAX.into()) as u32
            }
            Self::Padded { .. } => 0,
            Self::Adaptive { outputs } | Self::Linear { outputs } | Self::Aligned { outputs } | Self::Antialiased { outputs } => outputs,
        }
    }

    /// By how many an average of window i over n places divides, if not by the weights of its places.
    fn divisor(self, i: u32, n: u32) -> Option<f64> {
        match self {
            Self::Padded { size, stride, dilation, padding, counted: true, .. } if i < self.outputs(n) => {
                let places = (0..size).map(|k| u64::from(i) * u64::from(stride) + u64::from(k) * u64::from(dilation));
                let room = u64::from(padding[0]) + u64::from(n) + u64::from(padding[1]);
                Some(places.filter(|place| *place < room).count() as f64)
            }
            _ => None,
        }
    }

    /// The places of window i over n places, with their weights. A window after the last has none.
    pub(crate) fn window(self, i: u32, n: u32) -> Vec<(usize, f64)> {
        let even = |begin: u64, end: u64| (begin..end.min(n.into())).map(|place| (place as usize, 1.0)).collect();
        let (index, places) = (u64::from(i), u64::from(n));
        match self {
            Self::Strided { size, stride, .. } if i < self.outputs(n) => {
                even(index * u64::from(stride), index * u64::from(stride) + u64::from(size))
            }
            Self::Padded { size, stride, dilation, padding, .. } if i < self.outputs(n) => {
                let at = |k: u32| index * u64::from(stride) + u64::from(k) * u64::from(dilation);
                let inside = (0..size).filter_map(|k| at(k).checked_sub(padding[0].into())).filter(|place| *place < places);
                inside.map(|place| (place as usize, 1.0)).collect()
            }
            Self::Strided { .. } | Self::Padded { .. } => Vec::new(),
            Self::Adaptive { outputs } => {
                let outputs = u64::from(outputs);
                even(index * places / outputs, ((index + 1) * places).div_ceil(outputs))
            }
            _ if places == 0 => Vec::new(),
            Self::Linear { outputs } => {
                // In units of 1 / (2 outputs), so that nothing is rounded.
                let outputs = u64::from(outputs);
                between(((2 * index + 1) * places).saturating_sub(outputs), 2 * outputs, places)
            }
            Self::Aligned { outputs } => between(index * (places - 1), u64::from(outputs.max(2)) - 1, places),
            Self::Antialiased { outputs } => {
                // In units of 1 / (2 outputs).
                let outputs = u64::from(outputs);
                let reach = 2 * places.max(outputs);
                let weight =
                    |j: u64| reach.saturating_sub(((2 * j + 1) * outputs).abs_diff((2 * index + 1) * places)) as f64 / reach as f64;
                (0..places).map(|j| (j as usize, weight(j))).filter(|(_, weight)| *weight > 0.0).collect()
            }
        }
    }
}

/// The neighbours of `position / unit` among so many places, with their weights.
fn between(position: u64, unit: u64, places: u64) -> Vec<(usize, f64)> {
    let (first, rest) = (position / unit, (position % unit) as f64 / unit as f64);
    if rest > 0.0 && first + 1 < places {
        vec![(first as usize, 1.0 - rest), (first as usize + 1, rest)]
    } else {
        vec![(first as usize, 1.0)]
    }
}

/// A batch of grids, and the windows on them.
#[derive(Debug, Clone, Copy)]
pub struct Grids<'a> {
    /// `[batch, size[0] * size[1], channels]`.
    pub x: &'a [f32],
    /// Live columns in the rows of a grid; one number for each grid of the batch.
    pub lengths: &'a [u32],
    /// Rows and columns.
    pub size: [u32; 2],
    /// Channels of a token.
    pub channels: usize,
    /// Windows on the rows, and on the columns.
    pub windows: [Axis; 2],
}

/// One channel of a window.
struct Members {
    /// Weights and values, row by row.
    list: Vec<(f64, f64)>,
    /// What a sum is divided by.
    divisor: f64,
    /// Whether there is such a window, if only of padding.
    is_there: bool,
}

impl Grids<'_> {
    /// `f` of every channel of every window, `[batch, outputs, channels]`.
    fn each<T>(&self, mut f: impl FnMut(&Members) -> T) -> Vec<T> {
        let [rows, columns] = self.size;
        let [down, across] = self.windows;
        let mut all = Vec::new();
        for (b, &live) in self.lengths.iter().enumerate() {
            let live = live.min(columns);
            for (i, j) in (0..down.outputs(rows)).flat_map(|i| (0..across.outputs(columns)).map(move |j| (i, j))) {
                let (rows_of, columns_of) = (down.window(i, rows), across.window(j, live));
                let sum = |weights: &[(usize, f64)]| weights.iter().map(|(_, weight)| weight).sum::<f64>();
                let divisor = down.divisor(i, rows).unwrap_or(sum(&rows_of)) * across.divisor(j, live).unwrap_or(sum(&columns_of));
                let is_there = i < down.outputs(rows) && j < across.outputs(live);
                let mut places = Vec::new();
                for (y, weight_y) in rows_of {
                    for (x, weight_x) in &columns_of {
                        places.push((((b * rows as usize + y) * columns as usize + x) * self.channels, weight_y * weight_x));
                    }
                }
                for c in 0..self.channels {
                    let list = places.iter().map(|(start, weight)| (*weight, f64::from(self.x[start + c]))).collect();
                    all.push(f(&Members { list, divisor, is_there }));
                }
            }
        }
        all
    }

    fn is_padded(&self) -> bool {
        self.windows.iter().any(|axis| matches!(axis, Axis::Padded { .. }))
    }
}

/// Every window reduced, `[batch, outputs, channels]`. On axes with weights it is the weighted sum over the sum of the weights. A window
/// that is not there gives 0, and a maximum of padding alone is negative infinity.
pub fn pool(grids: &Grids<'_>, pooling: Pooling) -> Vec<f64> {
    let padded = grids.is_padded();
    grids.each(|members| match (pooling, &members.list[..]) {
        (Pooling::Max, []) if padded && members.is_there => f64::NEG_INFINITY,
        (_, []) => 0.0,
        (Pooling::Average, list) => list.iter().map(|(w, x)| w * x).sum::<f64>() / members.divisor,
        (Pooling::Max, [(_, first), rest @ ..]) => {
            rest.iter().fold(*first, |largest, (_, x)| if *x > largest || largest.is_nan() { *x } else { largest })
        }
    })
}

/// How far [`pool`] in f32, stored as `elem`, may be from the reference.
///
/// For n members:
///
/// - The weights of each axis are quotients of whole numbers. Each errs by `2 + 2 + 5 eps`: two conversions, and a division of 2.5 ulp.
///   The product of two weights and the product with the value bring this to `20 eps`.
/// - Sums add `n eps`, and the division of the mean adds `5 eps`.
/// - The sum of antialiased weights errs as much as the sum above it.
/// - A denormal member or product may be flushed to 0.
/// - If a sum leaves f32's range, its terms are scaled down by a power of two. That loses less than what is to spare here.
/// - Maxima are exact.
///
/// An average beyond f16's range is checked by [`Comparison::ranged`](crate::compare::Comparison::ranged).
pub fn pool_bound(grids: &Grids<'_>, pooling: Pooling, elem: Elem) -> Vec<f64> {
    let sums = if grids.windows.iter().any(|axis| matches!(axis, Axis::Antialiased { .. })) { 2.0 } else { 1.0 };
    grids.each(|members| {
        let magnitude: f64 = members.list.iter().map(|(w, x)| (w * x).abs()).sum();
        if pooling == Pooling::Max || members.list.is_empty() || !magnitude.is_finite() {
            return 0.0;
        }
        let n = members.list.len() as f64;
        let error = sums * ((n + 25.0) * EPSILON_F32 * magnitude + 2.0 * n * f64::from(f32::MIN_POSITIVE)) / members.divisor;
        let value = magnitude / members.divisor + error;
        error + storage_error(elem, value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRIDED: Axis = Axis::Strided { size: 3, stride: 2, partial: false };
    const PARTIAL: Axis = Axis::Strided { size: 3, stride: 2, partial: true };

    fn places(axis: Axis, i: u32, n: u32) -> Vec<usize> {
        axis.window(i, n).into_iter().map(|(place, _)| place).collect()
    }

    #[test]
    fn numbers_of_windows() {
        let counts = |axis: Axis| [0, 1, 2, 3, 4, 5, 6, 7].map(|n| axis.outputs(n));
        assert_eq!(counts(STRIDED), [0, 0, 0, 1, 1, 2, 2, 3]);
        assert_eq!(counts(PARTIAL), [0, 1, 1, 1, 2, 2, 3, 3]);
        // Strides that skip places: no window begins past the end.
        assert_eq!(counts(Axis::Strided { size: 1, stride: 3, partial: true }), [0, 1, 1, 1, 2, 2, 2, 3]);
        assert_eq!(counts(Axis::Strided { size: 1, stride: 3, partial: false }), [0, 1, 1, 1, 2, 2, 2, 3]);
        assert_eq!(counts(Axis::Strided { size: 4, stride: 4, partial: true }), [0, 1, 1, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn windows_of_each_kind() {
        assert_eq!(places(STRIDED, 1, 5), [2, 3, 4]);
        assert!(places(STRIDED, 2, 6).is_empty());
        assert_eq!(places(PARTIAL, 2, 6), [4, 5]);
        let adaptive = |i| places(Axis::Adaptive { outputs: 12 }, i, 27);
        assert_eq!([adaptive(0), adaptive(1), adaptive(4)], [vec![0, 1, 2], vec![2, 3, 4], vec![9, 10, 11]]);
        assert_eq!(places(Axis::Adaptive { outputs: 3 }, 1, 2), [0, 1]);
        assert_eq!(places(Axis::Adaptive { outputs: 3 }, 1, 0), []);
    }

    #[test]
    fn bilinear_positions_without_aligned_corners() {
        let linear = |i, n, outputs| Axis::Linear { outputs }.window(i, n);
        for (i, place, weight) in [(0, 0, 13.0 / 28.0), (1, 2, 11.0 / 28.0), (6, 12, 1.0 / 28.0), (7, 13, 27.0 / 28.0)] {
            let [first, second] = linear(i, 27, 14)[..] else { panic!("two neighbours") };
            assert_eq!((first.0, second.0), (place, place + 1));
            assert!((second.1 - weight).abs() < 1e-12 && (first.1 + second.1 - 1.0).abs() < 1e-12);
        }
        assert_eq!(linear(5, 9, 9), [(5, 1.0)]);
        // Enlarged: the outermost positions are before the first place, and after the last.
        assert_eq!(linear(0, 2, 4), [(0, 1.0)]);
        assert_eq!(linear(3, 2, 4), [(1, 1.0)]);
        assert_eq!(linear(1, 2, 4), [(0, 0.75), (1, 0.25)]);
        assert_eq!(linear(1, 0, 4), []);
    }

    #[test]
    fn padded_windows() {
        let padded = |size, stride, dilation, padding, partial| Axis::Padded { size, stride, dilation, padding, partial, counted: true };
        // Without padding they are the strided ones.
        for (size, stride, partial) in [(3, 2, false), (3, 2, true), (1, 3, true), (4, 4, true), (2, 1, false)] {
            let (plain, other) = (Axis::Strided { size, stride, partial }, padded(size, stride, 1, [0, 0], partial));
            for n in 0..9 {
                assert_eq!(plain.outputs(n), other.outputs(n), "{n} places, size {size}, stride {stride}");
                (0..5).for_each(|i| assert_eq!(places(plain, i, n), places(other, i, n)));
            }
        }
        let same = padded(3, 1, 1, [1, 1], false);
        assert_eq!((same.outputs(4), places(same, 0, 4), places(same, 3, 4), same.divisor(0, 4)), (4, vec![0, 1], vec![2, 3], Some(3.0)));
        // Only one window begins before the padding at the end; it is cut where that padding ends.
        let cut = padded(3, 3, 1, [1, 1], true);
        assert_eq!((cut.outputs(2), places(cut, 0, 2), cut.outputs(3), places(cut, 1, 3)), (1, vec![0, 1], 2, vec![2]));
        assert_eq!((cut.divisor(1, 3), cut.outputs(0)), (Some(2.0), 0));
        // Every other place; a window of padding alone.
        let wide = padded(2, 1, 4, [2, 2], false);
        assert_eq!(
            (wide.outputs(1), places(wide, 0, 1), wide.outputs(3), places(wide, 0, 3), places(wide, 1, 3)),
            (1, vec![], 3, vec![2], vec![])
        );
        let grids = Grids { x: &[5.0], lengths: &[1], size: [1, 1], channels: 1, windows: [padded(1, 1, 1, [0, 0], false), wide] };
        assert_eq!((pool(&grids, Pooling::Max), pool(&grids, Pooling::Average)), (vec![f64::NEG_INFINITY], vec![0.0]));
    }

    #[test]
    fn aligned_and_antialiased_positions() {
        let aligned = |i, n, outputs| Axis::Aligned { outputs }.window(i, n);
        assert_eq!([aligned(0, 2, 4), aligned(3, 2, 4)], [[(0, 1.0)], [(1, 1.0)]]);
        assert_eq!(aligned(1, 5, 3), [(2, 1.0)]);
        assert_eq!(aligned(1, 4, 3), [(1, 0.5), (2, 0.5)]);
        assert_eq!((aligned(0, 5, 1), aligned(2, 1, 4), aligned(1, 0, 4)), (vec![(0, 1.0)], vec![(0, 1.0)], vec![]));
        let smooth = |i, n, outputs| Axis::Antialiased { outputs }.window(i, n);
        assert_eq!(smooth(0, 4, 2), [(0, 0.75), (1, 0.75), (2, 0.25)]);
        assert_eq!(smooth(1, 4, 2), [(1, 0.25), (2, 0.75), (3, 0.75)]);
        assert_eq!((smooth(0, 4, 1).len(), smooth(1, 3, 3), smooth(0, 0, 2)), (4, vec![(1, 1.0)], vec![]));
        // Enlarged it is the plain interpolation.
        let grids = |axis| Grids { x: &[1.0, 5.0, 2.0], lengths: &[3], size: [1, 3], channels: 1, windows: [axis, axis] };
        let enlarged = |axis| pool(&grids(axis), Pooling::Average);
        let both = enlarged(Axis::Antialiased { outputs: 6 }).into_iter().zip(enlarged(Axis::Linear { outputs: 6 }));
        both.for_each(|(a, b)| assert!((a - b).abs() < 1e-12, "{a} and {b}"));
    }

    #[test]
    fn a_hand_made_grid() {
        // 2 x 3 places; the second grid has one live column.
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -1.0, 9.0, 9.0, f32::NAN, 9.0, 9.0];
        let two = Axis::Strided { size: 2, stride: 2, partial: true };
        let grids = Grids { x: &x, lengths: &[7, 1], size: [2, 3], channels: 1, windows: [two, two] };
        let average = pool(&grids, Pooling::Average);
        assert_eq!((average[0], average[1], average[2].is_nan(), average[3]), (3.0, 4.5, true, 0.0));
        assert_eq!(pool(&grids, Pooling::Max), [5.0, 6.0, -1.0, 0.0]);
        let all = pool_bound(&grids, Pooling::Average, Elem::F32);
        assert!(all[0] > 0.0 && all[0] < 1e-5 && all[2] == 0.0 && all[3] == 0.0);
    }
    #[test]
    fn different_windows_that_agree() {
        let x: Vec<f32> = (0..2 * 4 * 6 * 3).map(|i| (i * i % 23) as f32 - 11.0).collect();
        let grids = |windows| Grids { x: &x, lengths: &[6, 4], size: [4, 6], channels: 3, windows };
        let average = |down, across| pool(&grids([down, across]), Pooling::Average);
        let strided = |size, stride| Axis::Strided { size, stride, partial: false };
        let partial = |size, stride| Axis::Strided { size, stride, partial: true };
        // Whole cells, three ways; of the second grid the last cell is dead, or cut from fewer columns.
        let cells = average(strided(2, 2), strided(3, 3));
        assert_eq!(cells, average(Axis::Adaptive { outputs: 2 }, strided(3, 3)));
        assert_eq!(cells[..12], average(Axis::Linear { outputs: 2 }, Axis::Adaptive { outputs: 2 })[..12]);
        assert_eq!(cells[..12], average(partial(2, 2), partial(3, 3))[..12]);
        // The grid itself.
        let same: Vec<f64> = x[..72].iter().map(|v| f64::from(*v)).collect();
        for axis in [strided(1, 1), partial(1, 1), Axis::Linear { outputs: 4 }, Axis::Adaptive { outputs: 4 }] {
            assert_eq!(average(axis, strided(1, 1))[..72], same);
            assert_eq!(pool(&grids([axis, partial(1, 1)]), Pooling::Max)[..72], same);
        }
    }
}
