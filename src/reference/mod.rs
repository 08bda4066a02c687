//! The CPU twins: plain functions over slices, written to be read. Sums are in f64.
