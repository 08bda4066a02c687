//! Space to depth, and back.

/// How the elements of an image and of its blocks lie in memory.
///
/// The image is `[batch, skip + height * width, channels]`, or planar `[batch, channels, height, width]`. A block has `factor[0]` rows
/// and `factor[1]` columns. At the right and at the bottom a part of a block counts as one. The blocks are `[batch, blocks, block
/// elements]`, or planar `[batch, block elements, block rows, block columns]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockLayout {
    /// Images.
    pub batch: usize,
    /// Height and width of an image.
    pub size: [usize; 2],
    /// Channels of an image.
    pub channels: usize,
    /// Height and width of a block.
    pub factor: [usize; 2],
    /// Tokens before the image's first: class tokens.
    pub skip: usize,
    /// Whether the image is planar: channels come before rows and columns.
    pub planar: bool,
    /// Whether the order within a block is (channel, dy, dx), not (dy, dx, channel).
    pub channel_first: bool,
    /// Whether the blocks are listed column by column, not row by row.
    pub transposed: bool,
}

impl BlockLayout {
    /// Rows and columns of blocks.
    pub fn blocks(&self) -> [usize; 2] {
        [self.size[0].div_ceil(self.factor[0]), self.size[1].div_ceil(self.factor[1])]
    }

    fn image_index(&self, b: usize, y: usize, x: usize, c: usize) -> usize {
        let ([height, width], channels) = (self.size, self.channels);
        if self.planar {
            ((b * channels + c) * height + y) * width + x
        } else {
            (b * (self.skip + height * width) + self.skip + y * width + x) * channels + c
        }
    }

    fn block_index(&self, b: usize, [row, column]: [usize; 2], [dy, dx]: [usize; 2], c: usize) -> usize {
        let ([rows, columns], [high, wide]) = (self.blocks(), self.factor);
        let elements = high * wide * self.channels;
        let element = if self.channel_first { (c * high + dy) * wide + dx } else { (dy * wide + dx) * self.channels + c };
        let block = if self.transposed { column * rows + row } else { row * columns + column };
        if self.planar { (b * elements + element) * rows * columns + block } else { (b * rows * columns + block) * elements + element }
    }

    /// Every element of every block: its index among the blocks, and its index in the image unless it is padding.
    fn each(&self, mut visit: impl FnMut(usize, Option<usize>)) {
        let ([rows, columns], [high, wide]) = (self.blocks(), self.factor);
        for b in 0..self.batch {
            for row in 0..rows {
                for column in 0..columns {
                    for dy in 0..high {
                        for dx in 0..wide {
                            for c in 0..self.channels {
                                let (y, x) = (row * high + dy, column * wide + dx);
                                let inside = y < self.size[0] && x < self.size[1];
                                let image = inside.then(|| self.image_index(b, y, x, c));
                                visit(self.block_index(b, [row, column], [dy, dx], c), image);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The blocks of an image, with `zero` as padding.
pub fn pixel_unshuffle<T: Copy>(image: &[T], layout: BlockLayout, zero: T) -> Vec<T> {
    let [rows, columns] = layout.blocks();
    let elements = layout.batch * rows * columns * layout.factor[0] * layout.factor[1] * layout.channels;
    let mut blocks = vec![zero; elements];
    layout.each(|block, pixel| {
        if let Some(pixel) = pixel {
            blocks[block] = image[pixel];
        }
    });
    blocks
}

/// The image of these blocks, without padding. Skipped tokens are `zero`.
pub fn pixel_shuffle<T: Copy>(blocks: &[T], layout: BlockLayout, zero: T) -> Vec<T> {
    let mut image = vec![zero; layout.batch * (layout.skip + layout.size[0] * layout.size[1]) * layout.channels];
    layout.each(|block, pixel| {
        if let Some(pixel) = pixel {
            image[pixel] = blocks[block];
        }
    });
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUARE: BlockLayout = BlockLayout {
        batch: 1,
        size: [4, 4],
        channels: 1,
        factor: [2, 2],
        skip: 0,
        planar: false,
        channel_first: false,
        transposed: false,
    };

    #[test]
    fn internvl_tables() {
        let image: Vec<u32> = (0..16).collect();
        assert_eq!(pixel_unshuffle(&image, SQUARE, 0), [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]);
        let transposed = BlockLayout { transposed: true, ..SQUARE };
        assert_eq!(pixel_unshuffle(&image, transposed, 0), [0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15]);
    }

    #[test]
    fn channel_orders() {
        // Two tokens side by side: (0, 100), (1, 101).
        let pair = BlockLayout { size: [1, 2], factor: [1, 2], channels: 2, ..SQUARE };
        assert_eq!(pixel_unshuffle(&[0, 100, 1, 101], pair, 0), [0, 100, 1, 101]);
        assert_eq!(pixel_unshuffle(&[0, 100, 1, 101], BlockLayout { channel_first: true, ..pair }, 0), [0, 1, 100, 101]);
    }

    #[test]
    fn padding_and_class_token() {
        let odd = BlockLayout { size: [3, 3], skip: 1, ..SQUARE };
        let image = [99, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        let blocks = pixel_unshuffle(&image, odd, 0);
        assert_eq!(blocks, [1, 2, 4, 5, 3, 0, 6, 0, 7, 8, 0, 0, 9, 0, 0, 0]);
        assert_eq!(pixel_shuffle(&blocks, BlockLayout { skip: 0, ..odd }, 0), image[1..]);
    }

    /// As in the definition of PyTorch: view as [B, C, H/r, r, W/r, r], permute to (0, 1, 3, 5, 2, 4).
    #[test]
    fn planar_is_a_permutation_of_a_view() {
        let layout = BlockLayout { batch: 2, size: [4, 6], channels: 3, planar: true, channel_first: true, ..SQUARE };
        let image: Vec<usize> = (0..2 * 3 * 4 * 6).collect();
        let mut permuted = Vec::new();
        for bc in 0..6 {
            for (r, s) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                for i in 0..2 {
                    permuted.extend((0..3).map(|j| bc * 24 + (2 * i + r) * 6 + 2 * j + s));
                }
            }
        }
        let blocks = pixel_unshuffle(&image, layout, 0);
        assert_eq!(blocks, permuted);
        assert_eq!(pixel_shuffle(&blocks, layout, 0), image);
    }

    #[test]
    fn shuffle_undoes_unshuffle() {
        for bits in 0..8 {
            let [planar, channel_first, transposed] = [1, 2, 4].map(|b| bits & b != 0);
            for (size, factor) in [([4, 6], [2, 2]), ([5, 7], [2, 3]), ([1, 1], [4, 4]), ([6, 9], [3, 3]), ([0, 4], [2, 2])] {
                let layout = BlockLayout { batch: 2, size, channels: 3, factor, skip: 0, planar, channel_first, transposed };
                let image: Vec<usize> = (1..=2 * 3 * size[0] * size[1]).collect();
                let blocks = pixel_unshuffle(&image, layout, 0);
                assert_eq!(pixel_shuffle(&blocks, layout, 0), image);
                // Every element arrives once; the rest is padding.
                let mut arrived: Vec<_> = blocks.into_iter().filter(|&v| v != 0).collect();
                arrived.sort_unstable();
                assert_eq!(arrived, image);
            }
        }
    }
}
