//! Tokens and the text that they stand for.

use std::collections::HashMap;
use std::path::Path;

use crate::weights;

/// Times from 0 to 30 s in steps of 20 ms: the model's last tokens.
const TIMES: u32 = 1501;

/// GPT-2's tokens, and after them those of the model.
pub(crate) struct Vocabulary {
    pieces: Vec<Vec<u8>>,
    ranks: HashMap<Vec<u8>, u32>,
    /// Number of tokens of the model.
    pub(crate) size: u32,
}

impl Vocabulary {
    /// A file with a token's bytes, in base64, and its number in each line, for a model of so many tokens.
    pub(crate) fn read(path: &Path, size: u32) -> Result<Self, String> {
        let bytes = weights::bytes(path, "are no tokens")?;
        let text = String::from_utf8_lossy(&bytes);
        let pieces = text.lines().map(|line| from_base64(line.split(' ').next()?)).collect::<Option<Vec<_>>>();
        Self::new(pieces.ok_or_else(|| format!("{} is not a file of tokens in base64", path.display()))?, size)
    }

    /// Tokens in the order of their ranks.
    pub(crate) fn new(pieces: Vec<Vec<u8>>, size: u32) -> Result<Self, String> {
        // Also the end, the start, and the six before the times.
        if (pieces.len() as u64 + 8 + u64::from(TIMES)) > u64::from(size) {
            return Err(format!("a model of {size} tokens has no room for {} of text", pieces.len()));
        }
        let ranks = pieces.iter().cloned().zip(0..).collect();
        Ok(Self { pieces, ranks, size })
    }

    /// What ends a text.
    pub(crate) fn end(&self) -> u32 {
        self.pieces.len() as u32
    }

    /// What the decoder is given first: that a text begins, and that no times are wanted.
    pub(crate) fn prompt(&self) -> [u32; 2] {
        [self.end() + 1, self.size - TIMES - 1]
    }

    /// Which tokens the decoder must not choose: first of all, and later. As greedy decoding is published: no sounds that are not
    /// speech and none of the model's own but the end, and at first neither that nor a space.
    pub(crate) fn suppressed(&self) -> [Vec<u32>; 2] {
        let [start, no_times] = self.prompt();
        let mut later = self.not_speech();
        later.push(start);
        // To translate, to transcribe, the two that begin a context, and silence.
        later.extend(no_times - 5..no_times);
        let first = later.iter().copied().chain(self.encode(" ")).chain([self.end()]).collect();
        [first, later]
    }

    /// What stands for music, for a speaker's name, or for a remark in brackets.
    fn not_speech(&self) -> Vec<u32> {
        let single = "\"#()*+/:;<=>@[\\]^_`{|}~「」『』".chars().map(String::from);
        let longer = "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪".split(' ').map(String::from);
        // Notes and accidentals share their first bytes, which nothing else that is spoken does.
        let notes: Vec<String> = "♩♪♫♬♭♮♯".chars().map(String::from).collect();
        let mut tokens: Vec<u32> = [" -", " '"].iter().filter_map(|text| self.encode(text).first().copied()).collect();
        for text in single.chain(longer).chain(notes.iter().cloned()) {
            for encoded in [self.encode(&text), self.encode(&format!(" {text}"))] {
                if encoded.len() == 1 || notes.contains(&text) {
                    tokens.extend(encoded.first());
                }
            }
        }
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }

    /// Byte pairs of one word: of all neighbours the ones that are together the token of the lowest rank become it, until none are.
    /// Nothing for a byte that is no token.
    pub(crate) fn encode(&self, word: &str) -> Vec<u32> {
        let mut parts: Vec<Vec<u8>> = word.bytes().map(|byte| vec![byte]).collect();
        loop {
            let rank = |i: usize| self.ranks.get(&[&parts[i][..], &parts[i + 1][..]].concat());
            let lowest = (0..parts.len().saturating_sub(1)).filter_map(|i| Some((rank(i)?, i))).min();
            let Some((_, i)) = lowest else { break };
            let second = parts.remove(i + 1);
            parts[i].extend(second);
        }
        parts.iter().map(|part| self.ranks.get(part).copied()).collect::<Option<_>>().unwrap_or_default()
    }

    /// The text of tokens up to the end; the model's own say nothing.
    pub(crate) fn text(&self, tokens: &[u32]) -> String {
        let spoken = tokens.iter().take_while(|token| **token != self.end());
        let bytes: Vec<u8> = spoken.filter_map(|token| self.pieces.get(*token as usize)).flatten().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for character in text.bytes().filter(|b| *b != b'=') {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(bytes)
}
