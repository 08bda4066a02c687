//! The tokens under a sliding window.

/// A window that slides over a grid of tokens: `[rows, columns]` each.
#[derive(Debug, Clone, Copy)]
pub struct Sliding {
    /// The grid.
    pub grid: [usize; 2],
    /// The window.
    pub window: [usize; 2],
    /// From one place to the next.
    pub stride: [usize; 2],
    /// Beyond each edge of the grid.
    pub padding: [usize; 2],
}

impl Sliding {
    /// Places of the window, row by row: their rows and columns.
    pub fn places(&self) -> [usize; 2] {
        std::array::from_fn(|i| match (self.grid[i] + 2 * self.padding[i]).checked_sub(self.window[i]) {
            Some(room) => room / self.stride[i] + 1,
            None => 0,
        })
    }

    /// The token under each tap of the window at a place, row by row; `None` in the padding.
    pub fn tokens(&self, place: [usize; 2]) -> impl Iterator<Item = Option<usize>> + Clone + use<> {
        let Self { grid, window, stride, padding } = *self;
        let inside = move |i: usize, tap: usize| (place[i] * stride[i] + tap).checked_sub(padding[i]).filter(|at| *at < grid[i]);
        let taps = (0..window[0]).flat_map(move |dy| (0..window[1]).map(move |dx| (dy, dx)));
        taps.map(move |(dy, dx)| Some(inside(0, dy)? * grid[1] + inside(1, dx)?))
    }

    /// [`Sliding::tokens`] of every place, of every image of a batch: tokens are counted over the batch.
    pub fn windows(&self, batch: usize) -> impl Iterator<Item = impl Iterator<Item = Option<usize>> + Clone> {
        let [rows, columns] = self.places();
        let places = move || (0..rows).flat_map(move |y| (0..columns).map(move |x| [y, x]));
        let size = self.grid[0] * self.grid[1];
        (0..batch).flat_map(move |image| places().map(move |place| self.tokens(place).map(move |token| Some(image * size + token?))))
    }
}

/// `y[b, place, c * taps + tap] = x[b, token under the tap, c]`, `zero` in the padding.
pub fn unfold<T: Copy>(x: &[T], [batch, channels]: [usize; 2], sliding: &Sliding, zero: T) -> Vec<T> {
    let mut y = Vec::new();
    for window in sliding.windows(batch) {
        for c in 0..channels {
            y.extend(window.clone().map(|token| token.map_or(zero, |token| x[token * channels + c])));
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_made_window() {
        let sliding = Sliding { grid: [2, 3], window: [2, 2], stride: [2, 1], padding: [0, 1] };
        assert_eq!(sliding.places(), [1, 4]);
        // Two channels: 1 to 6 and 10 times that.
        let x = [1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60];
        let y = unfold(&x, [1, 2], &sliding, 0);
        assert_eq!(y[..8], [0, 1, 0, 4, 0, 10, 0, 40]);
        assert_eq!(y[8..16], [1, 2, 4, 5, 10, 20, 40, 50]);
        assert_eq!(y[24..], [3, 0, 6, 0, 30, 0, 60, 0]);
        // A window larger than the padded grid has no place.
        assert_eq!(Sliding { window: [3, 1], ..sliding }.places(), [0, 5]);
    }
}
