//! Two ragged batches, row after row.

/// Row b of the result holds the first `lengths` tokens of `first`'s row b, then those of `second`'s, then `empty`.
/// Each side is given by its data, its lengths (at most its number of rows), and its number of rows. The result is
/// `[batch, first rows + second rows, width]`, with its lengths.
pub fn concat_rows<T: Copy>(
    (first, first_lengths, first_rows): (&[T], &[u32], usize),
    (second, second_lengths, second_rows): (&[T], &[u32], usize),
    width: usize,
    empty: T,
) -> (Vec<T>, Vec<u32>) {
    let rows = first_rows + second_rows;
    let (mut joined, mut lengths) = (Vec::new(), Vec::new());
    for (b, (&n, &m)) in first_lengths.iter().zip(second_lengths).enumerate() {
        let (n, m) = ((n as usize).min(first_rows), (m as usize).min(second_rows));
        joined.extend(&first[b * first_rows * width..][..n * width]);
        joined.extend(&second[b * second_rows * width..][..m * width]);
        joined.resize((b + 1) * rows * width, empty);
        lengths.push((n + m) as u32);
    }
    (joined, lengths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_tokens_close_up() {
        let (first, second) = ([1, 2, 3, 4, 5, 6], [10, 20, 30, 40]);
        let (joined, lengths) = concat_rows((&first, &[1, 9], 3), (&second, &[2, 0], 2), 1, 0);
        assert_eq!(joined, [1, 10, 20, 0, 0, 4, 5, 6, 0, 0]);
        assert_eq!(lengths, [3, 3]);
    }

    #[test]
    fn empty_sides() {
        assert_eq!(concat_rows((&[], &[5], 0), (&[7, 8], &[1], 1), 2, 0), (vec![7, 8], vec![1]));
        assert_eq!(concat_rows::<u32>((&[], &[], 4), (&[], &[], 1), 2, 0), (vec![], vec![]));
    }
}
