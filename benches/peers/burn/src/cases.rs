//! Our own cases, and their data.

use std::path::Path;

use serde::Deserialize;

use crate::Failure;

/// What is read of `bench --json`.
#[derive(Deserialize)]
pub(crate) struct Report {
    pub(crate) adapter: String,
    pub(crate) backend: String,
    pub(crate) rows: Vec<Case>,
}

/// A row of it. Its name says its shapes.
#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) kernel: String,
    #[serde(rename = "case")]
    pub(crate) name: String,
    pub(crate) turns: usize,
}

impl Report {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }
}

impl Case {
    fn words(&self) -> impl Iterator<Item = &str> {
        self.name.split([' ', ','])
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        self.name.contains(text)
    }

    /// 577 for N, of a name with N577.
    pub(crate) fn size(&self, letter: char) -> Option<usize> {
        self.words().find_map(|word| word.strip_prefix(letter)?.parse().ok())
    }

    pub(crate) fn sizes<const N: usize>(&self, letters: &str) -> Option<[usize; N]> {
        let sizes: Option<Vec<usize>> = letters.chars().map(|letter| self.size(letter)).collect();
        sizes?.try_into().ok()
    }

    /// 12 for "to", of a name with "to 12".
    pub(crate) fn after(&self, word: &str) -> Option<usize> {
        self.words().skip_while(|w| *w != word).nth(1)?.parse().ok()
    }

    /// Rows and columns, of a name with 27x27.
    pub(crate) fn grid(&self) -> Option<[usize; 2]> {
        self.words().find_map(|word| {
            let (rows, columns) = word.split_once('x')?;
            Some([rows.parse().ok()?, columns.parse().ok()?])
        })
    }

    pub(crate) fn half(&self) -> bool {
        self.words().any(|word| word == "f16")
    }
}

/// SplitMix64, as `tests/support/data.rs`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The numbers from -1 to 1 that every input of our cases holds.
pub(crate) fn floats(count: usize) -> Vec<f32> {
    let mut random = Random(4);
    (0..count).map(|_| 2.0 * ((random.next() >> 40) as f32 / (1u64 << 24) as f32) - 1.0).collect()
}

/// `data::integers` of our cases.
pub(crate) fn integers(seed: u64, count: usize, below: usize) -> Vec<i32> {
    let mut random = Random(seed);
    (0..count).map(|_| (((random.next() >> 32) * below as u64) >> 32) as i32).collect()
}
