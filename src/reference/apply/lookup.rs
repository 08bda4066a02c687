//! A table of integers.

/// `found[i] = table[min(index[i], entries - 1)]`; the table is not empty.
pub fn lookup(table: &[u32], index: &[u32]) -> Vec<u32> {
    index.iter().map(|&i| table[(i as usize).min(table.len() - 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_end_is_the_last_entry() {
        assert_eq!(lookup(&[5, 6, 7], &[0, 2, 1, 3, u32::MAX]), [5, 7, 6, 7, 7]);
        assert_eq!(lookup(&[5], &[]), []);
    }
}
