//! What the loop consists of in which a shader spends its time, read from AMD machine code.

use serde::{Deserialize, Serialize};

/// The innermost loop with most multiply-adds, or the shortest that multiplies matrices. Counts are those of one turn and one invocation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HotLoop {
    /// Multiply-adds, both halves of a packed instruction.
    pub(crate) multiply_adds: u32,
    /// Vector instructions, the multiply-adds among them; a dual instruction is two.
    pub(crate) vector: u32,
    /// Products of cooperative matrices.
    pub(crate) matrices: u32,
    /// Exponentials.
    pub(crate) exponentials: u32,
    /// Bytes loaded from buffers into vector registers. What a whole wave shares is loaded by scalar instructions, and is not in it.
    pub(crate) buffer_bytes: u32,
    /// Bytes loaded from workgroup memory.
    pub(crate) shared_bytes: u32,
}

impl HotLoop {
    /// Of machine code as RADV prints it; none where no loop multiplies.
    pub(crate) fn find(code: &str) -> Option<Self> {
        let lines: Vec<&str> = code.lines().map(instruction).collect();
        let loops = loops(&lines);
        let count = |&(first, last): &(usize, usize)| Self::count(&lines[first..=last]);
        // Rows are put into place by loops within a loop over matrices.
        let of_matrices = loops.iter().map(count).filter(|l| l.matrices > 0).min_by_key(|l| l.vector);
        let is_innermost = |&&(first, last): &&(usize, usize)| !loops.iter().any(|&(f, l)| first < f && l < last);
        // Of loops that multiply as much the one of fewest instructions does it most often.
        let innermost = loops.iter().filter(is_innermost).map(count).filter(|l| l.multiply_adds > 0);
        of_matrices.or_else(|| innermost.max_by_key(|l| (l.multiply_adds, std::cmp::Reverse(l.vector))))
    }

    /// The part of the vector instructions that multiply and add: what bounds arithmetic.
    pub(crate) fn share(&self) -> f64 {
        f64::from(self.multiply_adds) / f64::from(self.vector.max(1))
    }

    /// So many bytes for each multiply-add.
    pub(crate) fn per_multiply_add(&self, bytes: u32) -> f64 {
        f64::from(bytes) / f64::from(self.multiply_adds.max(1))
    }

    fn count(lines: &[&str]) -> Self {
        let mut counts = Self::default();
        // The two halves of a dual instruction stand side by side.
        for half in lines.iter().flat_map(|line| line.split("::")) {
            counts.add(half.split_whitespace().next().unwrap_or_default());
        }
        counts
    }

    fn add(&mut self, name: &str) {
        if let Some(name) = name.strip_prefix("v_dual_").or_else(|| name.strip_prefix("v_")) {
            if name.starts_with("wmma") || name.starts_with("swmmac") || name.starts_with("mfma") {
                self.matrices += 1;
                return;
            }
            self.vector += 1;
            self.multiply_adds += multiply_adds(name);
            self.exponentials += u32::from(name.starts_with("exp_"));
        } else if ["buffer_load", "global_load", "flat_load"].iter().any(|load| name.starts_with(load)) {
            self.buffer_bytes += bytes(name);
        } else if name.starts_with("ds_read") || name.starts_with("ds_load") {
            let pair = name.starts_with("ds_read2") || name.starts_with("ds_load_2");
            self.shared_bytes += bytes(name) * if pair { 2 } else { 1 };
        }
    }
}

/// A line without the comment that holds its encoding.
fn instruction(line: &str) -> &str {
    line.split(';').next().unwrap_or_default().trim()
}

/// First and last line of each loop: from a label to a branch back to it.
fn loops(lines: &[&str]) -> Vec<(usize, usize)> {
    let label_at = |name: &str| lines.iter().position(|line| line.strip_suffix(':') == Some(name));
    let target = |line: &str| {
        let mut words = line.split_whitespace();
        let branches = words.next().is_some_and(|word| word.starts_with("s_branch") || word.starts_with("s_cbranch"));
        branches.then(|| words.next()).flatten().and_then(label_at)
    };
    let back = |(at, line): (usize, &&str)| target(line).filter(|&first| first <= at).map(|first| (first, at));
    lines.iter().enumerate().filter_map(back).collect()
}

/// How many multiply-adds an instruction makes, by its name without `v_`.
fn multiply_adds(name: &str) -> u32 {
    let (name, packed) = name.strip_prefix("pk_").map_or((name, false), |rest| (rest, true));
    // Integer ones (`mad_u32_u24`) reckon addresses.
    let integer = ["_u16", "_u24", "_u32", "_u64", "_i16", "_i24", "_i32", "_i64"].iter().any(|kind| name.contains(kind));
    match name {
        _ if integer => 0,
        _ if name.starts_with("dot2") => 2,
        _ if ["fma", "mad_", "mac_"].iter().any(|start| name.starts_with(start)) => 1 + u32::from(packed),
        _ => 0,
    }
}

/// Bytes that a load moves for each invocation, by its name: `buffer_load_dwordx4`, `ds_load_b128`.
fn bytes(name: &str) -> u32 {
    const WIDTHS: [(&[&str], u32); 5] = [
        (&["b128", "dwordx4"], 16),
        (&["b96", "dwordx3"], 12),
        (&["b64", "dwordx2"], 8),
        (&["u16", "i16", "b16", "ushort", "sshort", "short"], 2),
        (&["u8", "i8", "ubyte", "sbyte"], 1),
    ];
    let width = WIDTHS.iter().find(|(parts, _)| parts.iter().any(|part| name.contains(part)));
    width.map_or(4, |&(_, bytes)| bytes)
}
