//! Rows by index.

/// `gathered[b, h, m] = source[b, h, index[b, m]]`.
///
/// `source` is `[batch, heads, rows, width]`; its last three dimensions are given. `index` is `[batch, m]`, or `[m]` for all batch
/// rows. If an index is `rows` or more, the row is that of `fallback`, or `empty`.
pub fn gather_rows<T: Copy>(
    source: &[T],
    index: &[u32],
    fallback: Option<&[T]>,
    batch: usize,
    [heads, rows, width]: [usize; 3],
    m: usize,
    empty: T,
) -> Vec<T> {
    let shared = index.len() == m;
    let mut gathered = Vec::with_capacity(batch * heads * m * width);
    for b in 0..batch {
        for h in 0..heads {
            for entry in 0..m {
                let token = index[if shared { entry } else { b * m + entry }] as usize;
                for column in 0..width {
                    gathered.push(match fallback {
                        _ if token < rows => source[((b * heads + h) * rows + token) * width + column],
                        Some(fallback) => fallback[gathered.len()],
                        None => empty,
                    });
                }
            }
        }
    }
    gathered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::NONE;

    #[test]
    fn rows_by_index() {
        // Two rows of the batch, three tokens of two channels.
        let source = [0, 1, 10, 11, 20, 21, 100, 101, 110, 111, 120, 121];
        let index = [2, 0, NONE, 1, 1, 3];
        let expected = [20, 21, 0, 1, 9, 9, 110, 111, 110, 111, 9, 9];
        assert_eq!(gather_rows(&source, &index, None, 2, [1, 3, 2], 3, 9), expected);
        let fallback: Vec<i32> = (-12..0).collect();
        let expected = [20, 21, 0, 1, -8, -7, 110, 111, 110, 111, -2, -1];
        assert_eq!(gather_rows(&source, &index, Some(&fallback), 2, [1, 3, 2], 3, 9), expected);
    }

    #[test]
    fn one_index_for_all_of_the_batch_and_its_heads() {
        let source: Vec<usize> = (0..2 * 2 * 3).collect();
        assert_eq!(gather_rows(&source, &[2, 0], None, 2, [2, 3, 1], 2, 0), [2, 0, 5, 3, 8, 6, 11, 9]);
        // A batch with an index each is the same as its rows alone.
        let index = [2, 0, 1, 1];
        let whole = gather_rows(&source, &index, None, 2, [2, 3, 1], 2, 0);
        let alone = [
            gather_rows(&source[..6], &index[..2], None, 1, [2, 3, 1], 2, 0),
            gather_rows(&source[6..], &index[2..], None, 1, [2, 3, 1], 2, 0),
        ];
        assert_eq!(whole, alone.concat());
    }

    #[test]
    fn no_source_no_entries() {
        assert_eq!(gather_rows(&[], &[0, 1], None, 1, [1, 0, 1], 2, 7), [7, 7]);
        assert_eq!(gather_rows(&[1, 2], &[], None, 2, [1, 1, 1], 0, 7), []);
    }
}
