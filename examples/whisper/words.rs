//! Word error rates.

/// Words in lower case without punctuation: a hyphen parts words, everything else that is neither letter nor digit goes.
pub(crate) fn words(text: &str) -> Vec<String> {
    let kept = |c: char| c.is_alphanumeric() || c.is_whitespace();
    let plain: String = text.to_lowercase().replace('-', " ").chars().filter(|c| kept(*c)).collect();
    plain.split_whitespace().map(str::to_owned).collect()
}

/// The fewest words to insert, delete or replace to make one text of the other.
pub(crate) fn errors(said: &[String], heard: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (i, word) in said.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in heard.iter().enumerate() {
            let replaced = diagonal + usize::from(word != other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[heard.len()]
}
