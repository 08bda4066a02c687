//! Tokens and the text that they stand for.

use std::collections::HashMap;

/// A model's tokens, each of which the byte pairs of a lower number make.
pub(crate) struct Vocabulary {
    pieces: Vec<Vec<u8>>,
    /// Of those that stand for text.
    ranks: HashMap<Vec<u8>, u32>,
}

impl Vocabulary {
    /// Tokens in the order of their numbers, in the alphabet that GPT-2's code writes bytes in, and those of them that stand for no text.
    pub(crate) fn new<'a>(tokens: impl IntoIterator<Item = &'a str>, control: &[u32]) -> Result<Self, String> {
        let bytes = alphabet();
        let mut vocabulary = Self { pieces: Vec::new(), ranks: HashMap::new() };
        for (token, number) in tokens.into_iter().zip(0..) {
            if control.contains(&number) {
                vocabulary.pieces.push(Vec::new());
                continue;
            }
            let piece = token.chars().map(|c| bytes.get(&c).copied()).collect::<Option<Vec<u8>>>();
            let piece = piece.ok_or_else(|| format!("the token {token:?} is in no alphabet of bytes"))?;
            vocabulary.ranks.insert(piece.clone(), number);
            vocabulary.pieces.push(piece);
        }
        Ok(vocabulary)
    }

    /// The tokens of a text. A byte that is none is left out.
    pub(crate) fn encode(&self, text: &str) -> Vec<u32> {
        words(text).into_iter().flat_map(|word| self.pairs(word)).collect()
    }

    /// Byte pairs of one word: of all neighbours the ones that are together the token of the lowest number become it, until none are.
    fn pairs(&self, word: &str) -> Vec<u32> {
        let mut parts: Vec<Vec<u8>> = word.bytes().map(|byte| vec![byte]).collect();
        loop {
            let rank = |i: usize| self.ranks.get(&[&parts[i][..], &parts[i + 1][..]].concat());
            let lowest = (0..parts.len().saturating_sub(1)).filter_map(|i| Some((rank(i)?, i))).min();
            let Some((_, i)) = lowest else { break };
            let second = parts.remove(i + 1);
            parts[i].extend(second);
        }
        parts.iter().filter_map(|part| self.ranks.get(part).copied()).collect()
    }

    /// The text of tokens.
    pub(crate) fn text(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens.iter().filter_map(|token| self.pieces.get(*token as usize)).flatten().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The characters that GPT-2's code writes bytes as: themselves where they can be seen, and others for the rest, in order.
fn alphabet() -> HashMap<char, u8> {
    let seen = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let themselves = (0..=255).filter(seen).map(|byte| (char::from(byte), byte));
    let others = ('\u{100}'..).zip((0..=255).filter(|byte| !seen(byte)));
    themselves.chain(others).collect()
}

/// Words as byte pairs are made in, by GPT-2's rule with every digit alone: an English ending, or letters or other signs, each with the space
/// before it; and spaces.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = word(rest, first);
        let (word, after) = rest.split_at(length);
        words.push(word);
        rest = after;
    }
    words
}

/// Bytes of the word that a text begins with.
fn word(text: &str, first: char) -> usize {
    if first.is_numeric() {
        return first.len_utf8();
    }
    if let Some(ending) = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"].into_iter().find(|ending| text.starts_with(ending)) {
        return ending.len();
    }
    let run = |text: &str, of: fn(char) -> bool| text.find(|c| !of(c)).unwrap_or(text.len());
    let letters: fn(char) -> bool = char::is_alphabetic;
    let signs: fn(char) -> bool = |c| !c.is_alphabetic() && !c.is_numeric() && !c.is_whitespace();
    let unspaced = text.strip_prefix(' ').unwrap_or(text);
    for kind in [letters, signs] {
        let length = run(unspaced, kind);
        if length > 0 {
            return text.len() - unspaced.len() + length;
        }
    }
    // All spaces but the one before the next word, which is that word's.
    let length = run(text, char::is_whitespace);
    let last = text[..length].chars().next_back().map_or(0, char::len_utf8);
    let belongs = text[length..].chars().next().is_some_and(|next| !next.is_numeric());
    if belongs && length > last { length - last } else { length }
}
