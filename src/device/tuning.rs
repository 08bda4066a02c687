//! Which of its forms each shader runs in.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// The shaders that run in another form than the one that the device would choose. By default there are none;
/// [`tune`](crate::tune) finds them.
///
/// As text it is JSON, which an application can cache: `{"portable": ["compact.tally"], "without_matrices": ["linear"]}`.
///
/// - `portable`: these run in their portable form, although the device has subgroups, or is a GPU and so has a form of its own for
///   tiles of products.
/// - `without_matrices`: these run without the device's cooperative matrices.
/// - `staged`: these run in the form for GPUs, although the device is a CPU.
///
/// All lists but the first may be left out.
///
/// ```
/// use tokenpress::{Policy, Tuning};
///
/// let tuning: Tuning = r#"{"portable": ["linear"]}"#.parse()?;
/// assert_eq!(tuning.to_string(), r#"{"portable": ["linear"]}"#);
/// let policy = Policy::AUTO.with_tuning(tuning); // for Gpu::with_policy
/// assert_ne!(policy, Policy::AUTO);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Tuning {
    /// Bit i stands for the i-th name of [`CHOICES`]; so in the other two.
    portable: u32,
    without_matrices: u32,
    staged: u32,
}

/// The shaders that have several forms, by name; at most 32.
pub(crate) const CHOICES: &[&str] = &[
    "allocate",
    "assign_tokens",
    "attention",
    "attention_score.columns",
    "attention_score.kept_columns",
    "attention_score.logits",
    "attention_score.row_sums",
    "attention_score.sums",
    "bipartite_match",
    "compact",
    "compact.tally",
    "frame_budget",
    "group_tokens",
    "linear",
    "top_k",
    "top_k.emit",
    "top_k.radix",
    "top_k.select",
];

fn bit(name: &str) -> Option<u32> {
    CHOICES.iter().position(|choice| *choice == name).map(|bit| 1 << bit)
}

fn has(bits: u32, shader: &str) -> bool {
    bits != 0 && bit(shader).is_some_and(|bit| bits & bit != 0)
}

fn names(bits: u32) -> impl Iterator<Item = &'static str> {
    CHOICES.iter().enumerate().filter(move |(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| *name)
}

impl Tuning {
    /// Every shader in the most capable form.
    pub(crate) const NONE: Self = Self { portable: 0, without_matrices: 0, staged: 0 };

    /// Every shader in its portable form.
    pub const PORTABLE: Self = Self { portable: u32::MAX, without_matrices: u32::MAX, staged: 0 };

    /// No shader with cooperative matrices.
    pub const WITHOUT_MATRICES: Self = Self { portable: 0, without_matrices: u32::MAX, staged: 0 };

    /// Every shader that makes tiles of products in its form for GPUs, on a CPU too.
    pub const STAGED: Self = Self { portable: 0, without_matrices: u32::MAX, staged: u32::MAX };

    /// Whether this shader runs in its portable form.
    pub(crate) fn is_portable(self, shader: &str) -> bool {
        has(self.portable, shader)
    }

    /// Whether this shader runs without cooperative matrices.
    pub(crate) fn is_without_matrices(self, shader: &str) -> bool {
        has(self.without_matrices, shader)
    }

    /// Whether this shader runs in its form for GPUs on a CPU too.
    pub(crate) fn is_staged(self, shader: &str) -> bool {
        has(self.staged, shader)
    }

    /// The shaders that run in their portable form.
    pub fn portable(self) -> impl Iterator<Item = &'static str> {
        names(self.portable)
    }

    /// The shaders that run without cooperative matrices.
    pub fn without_matrices(self) -> impl Iterator<Item = &'static str> {
        names(self.without_matrices)
    }

    /// Adds this shader to those in their portable form.
    pub(crate) fn with_portable(self, name: &str) -> Option<Self> {
        Some(Self { portable: self.portable | bit(name)?, ..self })
    }

    /// Adds this shader to those without cooperative matrices.
    pub(crate) fn with_no_matrices(self, name: &str) -> Option<Self> {
        Some(Self { without_matrices: self.without_matrices | bit(name)?, ..self })
    }
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |bits| names(bits).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        write!(f, "{{\"portable\": [{}]", list(self.portable))?;
        for (key, bits) in [("without_matrices", self.without_matrices), ("staged", self.staged)] {
            if bits != 0 {
                write!(f, ", \"{key}\": [{}]", list(bits))?;
            }
        }
        f.write_str("}")
    }
}

impl FromStr for Tuning {
    type Err = Error;

    /// # Errors
    /// [`Error::Value`] for other text, and for shaders that have no such form. If another version wrote the text, measure again.
    fn from_str(text: &str) -> Result<Self, Error> {
        let dense: String = text.split_whitespace().collect();
        parse(&dense).ok_or_else(|| {
            let shaders = CHOICES.join(", ");
            let expected = format!("{{\"portable\": [..], \"without_matrices\": [..]}} of {shaders}");
            Error::Value { argument: "tuning", expected, actual: text.to_owned() }
        })
    }
}

/// Parses text without white space.
fn parse(dense: &str) -> Option<Tuning> {
    let lists = dense.strip_prefix('{')?.strip_suffix("]}")?;
    lists.split("],").try_fold(Tuning::NONE, |tuning, list| {
        let (key, names) = list.split_once(":[")?;
        names.split(',').filter(|name| !name.is_empty()).try_fold(tuning, |tuning, name| {
            let name = name.strip_prefix('"')?.strip_suffix('"')?;
            match key {
                "\"portable\"" => tuning.with_portable(name),
                "\"without_matrices\"" => tuning.with_no_matrices(name),
                "\"staged\"" => Some(Tuning { staged: tuning.staged | bit(name)?, ..tuning }),
                _ => None,
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back() {
        let names = ["top_k", "linear", "compact.tally"];
        let tuning = names.iter().try_fold(Tuning::default(), |tuning, name| tuning.with_portable(name)).unwrap();
        assert_eq!(tuning.portable().count(), 3);
        assert_eq!(tuning.to_string().parse(), Ok(tuning));
        assert_eq!("{\n  \"portable\": []\n}\n".parse(), Ok(Tuning::default()));
        let both = tuning.with_no_matrices("linear").unwrap();
        assert_eq!(both.to_string().parse(), Ok(both));
        assert_eq!(both.without_matrices().collect::<Vec<_>>(), ["linear"]);
        let staged = "{\"portable\": [], \"staged\": [\"linear\"]}";
        assert_eq!(staged.parse::<Tuning>().unwrap().to_string(), staged);
        for wrong in ["", "{}", "[\"linear\"]", "{\"portable\": [\"copy\"]}", "{\"portable\": [linear\"]}", "{\"slow\": [\"linear\"]}"] {
            assert!(wrong.parse::<Tuning>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_is_named_is_portable() {
        let tuning = Tuning::default().with_portable("linear").unwrap();
        assert!(tuning.is_portable("linear") && !tuning.is_portable("top_k"));
        assert!(Tuning::PORTABLE.is_portable("top_k") && !Tuning::default().is_portable("top_k"));
    }
}
