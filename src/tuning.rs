//! Which of its forms each shader runs in.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;
use crate::gpu::Shader;
use crate::kernels::shaders;

/// The shaders that run in their portable form though the device has subgroups: none, unless [`tune`](crate::tune) finds otherwise.
///
/// As text it is JSON, for a cache of the application's: `{"portable": ["compact.tally", "linear"]}`.
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
    /// Bit i for the i-th shader of two forms.
    portable: u32,
}

/// The shaders that have two forms.
pub(crate) fn choices() -> impl Iterator<Item = &'static str> {
    shaders().into_iter().filter(|shader| shader.has_subgroup_form()).map(|shader| shader.name)
}

impl Tuning {
    /// No shader in its portable form.
    pub(crate) const NONE: Self = Self { portable: 0 };

    /// Every shader in its portable form.
    pub const PORTABLE: Self = Self { portable: u32::MAX };

    /// Whether this shader runs in its portable form.
    pub(crate) fn is_portable(self, shader: &Shader) -> bool {
        self.portable != 0 && self.portable().any(|name| name == shader.name)
    }

    /// The shaders that run in their portable form.
    pub fn portable(self) -> impl Iterator<Item = &'static str> {
        choices().enumerate().filter(move |(bit, _)| self.portable >> bit & 1 == 1).map(|(_, name)| name)
    }

    /// This one too.
    pub(crate) fn with(self, name: &str) -> Option<Self> {
        let bit = choices().position(|choice| choice == name)?;
        Some(Self { portable: self.portable | 1 << bit })
    }
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.portable().map(|name| format!("{name:?}")).collect();
        write!(f, "{{\"portable\": [{}]}}", names.join(", "))
    }
}

impl FromStr for Tuning {
    type Err = Error;

    /// # Errors
    /// [`Error::Value`] for other text, and for shaders that have no two forms: measure again where another version wrote it.
    fn from_str(text: &str) -> Result<Self, Error> {
        let value = |actual: &str| {
            let expected = format!("{{\"portable\": [..]}} of {}", choices().collect::<Vec<_>>().join(", "));
            Error::Value { argument: "tuning", expected, actual: actual.to_owned() }
        };
        let dense: String = text.split_whitespace().collect();
        let names = dense.strip_prefix("{\"portable\":[").and_then(|rest| rest.strip_suffix("]}")).ok_or_else(|| value(text))?;
        names.split(',').filter(|name| !name.is_empty()).try_fold(Self::default(), |tuning, name| {
            let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
            tuning.with(name).ok_or_else(|| value(name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back() {
        let names = ["top_k", "linear", "compact.tally"];
        let tuning = names.iter().try_fold(Tuning::default(), |tuning, name| tuning.with(name)).unwrap();
        assert_eq!(tuning.portable().count(), 3);
        assert_eq!(tuning.to_string().parse(), Ok(tuning));
        assert_eq!("{\n  \"portable\": []\n}\n".parse(), Ok(Tuning::default()));
        for wrong in ["", "{}", "[\"linear\"]", "{\"portable\": [\"copy\"]}", "{\"portable\": [linear\"]}"] {
            assert!(wrong.parse::<Tuning>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_is_named_is_portable() {
        let shader = |name| shaders().into_iter().find(|shader| shader.name == name).unwrap();
        let tuning = Tuning::default().with("linear").unwrap();
        assert!(tuning.is_portable(shader("linear")) && !tuning.is_portable(shader("top_k")));
        assert!(Tuning::PORTABLE.is_portable(shader("top_k")) && !Tuning::default().is_portable(shader("top_k")));
    }
}
