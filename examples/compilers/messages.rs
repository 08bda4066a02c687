//! What a process that compiles tells the one that started it: lines of JSON on its standard output.

use serde::{Deserialize, Serialize};

use crate::figures::Figures;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Message {
    /// First.
    Adapter(Adapter),
    /// Before a variant is compiled: its place among all, and its name. If nothing follows, the compiler ended the process.
    Begin(usize, Variant),
    /// What became of it.
    End(Outcome),
}

/// The GPU as its driver shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Adapter {
    pub(crate) adapter: String,
    pub(crate) driver: String,
    pub(crate) subgroups: [u32; 2],
    pub(crate) f16: bool,
    /// Whether it lists cooperative matrices that the crate has a form for.
    pub(crate) matrices: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Variant {
    pub(crate) shader: String,
    pub(crate) variant: String,
    /// Whether the crate runs it on this GPU.
    pub(crate) chosen: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Figures(Figures),
    Error(String),
}
