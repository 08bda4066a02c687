//! Which of its forms each shader runs in.

use crate::error::Error;

/// The shaders that run in another form than the one that the device would choose. By default there are none;
/// [`tune`](crate::tune()) finds them.
///
/// An application can keep it as JSON: [`to_json`](Self::to_json) names the device, its driver and the version of tokenpress, and
/// [`from_json`](Self::from_json) refuses what was measured on another. Its lists:
///
/// - `portable`: these run in their portable form, although the device has subgroups, or is a GPU and so has a form of its own for
///   tiles of products.
/// - `without_matrices`: these run without the device's cooperative matrices.
/// - `staged`: these run in the form for GPUs, although the device is a CPU.
///
/// ```
/// use tokenpress::{Policy, Tuning, wgpu};
///
/// let (device, _) = wgpu::Device::noop(&Default::default());
/// let info = device.adapter_info();
/// let text = Tuning::PORTABLE.to_json(&info);
/// let tuning = Tuning::from_json(&text, &info)?;
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
    "density_peaks.rows",
    "frame_budget",
    "greedy_select.gram",
    "group_tokens",
    "linear",
    "mean_affinity",
    "near_pairs",
    "neighbours.keys",
    "neighbours.keys.distances",
    "pooled_attention.frames",
    "top_k",
    "top_k.digit",
    "top_k.emit",
    "top_k.key",
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

    /// Every shader in its form for GPUs, on a CPU too.
    pub const STAGED: Self = Self { portable: 0, without_matrices: u32::MAX, staged: u32::MAX };

    /// Whether this shader runs in its portable form.
    pub(crate) fn is_portable(self, shader: &str) -> bool {
        self.portable == u32::MAX || has(self.portable, shader)
    }

    /// Whether this shader runs without cooperative matrices.
    pub(crate) fn is_without_matrices(self, shader: &str) -> bool {
        has(self.without_matrices, shader)
    }

    /// Whether this shader runs in its form for GPUs on a CPU too.
    pub(crate) fn is_staged(self, shader: &str) -> bool {
        self.staged == u32::MAX || has(self.staged, shader)
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

impl Tuning {
    /// Text that [`from_json`](Self::from_json) reads: version of tokenpress, device, backend and driver, and the shaders of each list.
    pub fn to_json(self, info: &wgpu::AdapterInfo) -> String {
        let list = |bits| names(bits).map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let lists = [("portable", self.portable), ("without_matrices", self.without_matrices), ("staged", self.staged)];
        let lists = lists.map(|(key, bits)| format!("  \"{key}\": [{}]", list(bits)));
        format!("{}\n{}\n}}\n", head(info), lists.join(",\n"))
    }

    /// A tuning from the text of [`to_json`](Self::to_json), for the same device.
    ///
    /// # Errors
    /// [`Error::Value`] for text of another device, driver or version, for other text, and for shaders that have no such form. Measure
    /// again then.
    pub fn from_json(text: &str, info: &wgpu::AdapterInfo) -> Result<Self, Error> {
        let (dense, head) = (without_spaces(text), head(info));
        let Some(lists) = dense.strip_prefix(&without_spaces(&head)) else {
            let expected = format!("a tuning of this device and driver, which begins with {head}; measure again with `tune`");
            return Err(Error::Value { argument: "tuning", expected, actual: text.to_owned() });
        };
        parse(lists).ok_or_else(|| {
            let expected = format!("lists \"portable\", \"without_matrices\" and \"staged\" of {}", CHOICES.join(", "));
            Error::Value { argument: "tuning", expected, actual: text.to_owned() }
        })
    }
}

/// The first lines of the text, which say what was measured.
fn head(info: &wgpu::AdapterInfo) -> String {
    // Quotes, backslashes and control characters would have to be escaped, and say nothing about a device.
    let plain = |text: &str| text.chars().filter(|c| !c.is_control() && *c != '"' && *c != '\\').collect::<String>();
    let driver = [plain(&info.driver), plain(&info.driver_info)].join(" ");
    format!(
        "{{\n  \"version\": \"{}\",\n  \"device\": \"{}\",\n  \"backend\": \"{:?}\",\n  \"driver\": \"{}\",",
        env!("CARGO_PKG_VERSION"),
        plain(&info.name),
        info.backend,
        driver.trim()
    )
}

fn without_spaces(text: &str) -> String {
    text.split_whitespace().collect()
}

/// Parses the lists, in text without white space.
fn parse(dense: &str) -> Option<Tuning> {
    let lists = dense.strip_suffix("]}")?;
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

    fn info(driver: &str) -> wgpu::AdapterInfo {
        let (device, _) = wgpu::Device::noop(&Default::default());
        wgpu::AdapterInfo { driver: driver.to_owned(), ..device.adapter_info() }
    }

    #[test]
    fn text_comes_back() {
        let info = info("a \"driver\"");
        let names = ["top_k", "linear", "compact.tally"];
        let tuning = names.iter().try_fold(Tuning::default(), |tuning, name| tuning.with_portable(name)).unwrap();
        assert_eq!(tuning.portable().count(), 3);
        let both = tuning.with_no_matrices("linear").unwrap();
        assert_eq!(both.without_matrices().collect::<Vec<_>>(), ["linear"]);
        let all = Tuning { staged: bit("linear").unwrap(), ..both };
        for tuning in [Tuning::default(), tuning, both, all] {
            assert_eq!(Tuning::from_json(&tuning.to_json(&info), &info), Ok(tuning));
        }
        let text = all.to_json(&info);
        assert_eq!(Tuning::from_json(&text.replace('\n', ""), &info), Ok(all));
        for wrong in [text.replace("linear", "copy"), text.replace("\"linear", "linear"), text.replace("staged", "slow"), String::new()] {
            assert!(Tuning::from_json(&wrong, &info).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tuning_of_another_device_is_refused() {
        let text = Tuning::default().to_json(&info("1"));
        let Err(Error::Value { expected, .. }) = Tuning::from_json(&text, &info("2")) else { panic!("no error") };
        assert!(expected.contains("measure again"), "{expected}");
    }

    #[test]
    fn only_what_is_named_is_portable() {
        let tuning = Tuning::default().with_portable("linear").unwrap();
        assert!(tuning.is_portable("linear") && !tuning.is_portable("top_k"));
        assert!(Tuning::PORTABLE.is_portable("top_k") && !Tuning::default().is_portable("top_k"));
    }
}
