//! The one error type of the crate.

use crate::tensor::{Elem, Shape};

/// Everything that can be wrong with a caller's request.
///
/// Shapes, element types and options are checked while a graph is built, buffers and device limits in
/// [`Graph::plan`](crate::Graph::plan); recording a plan cannot fail. Each is one sentence in one line.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor has the wrong shape.
    #[error("{argument}: expected shape {expected}, got {actual}")]
    Shape {
        /// The kernel and its argument.
        argument: &'static str,
        /// What would have been right.
        expected: String,
        /// What came.
        actual: Shape,
    },
    /// A tensor has the wrong element type.
    #[error("{argument}: expected {expected}, got {actual}")]
    Elem {
        /// The kernel and its argument.
        argument: &'static str,
        /// What would have been right.
        expected: &'static str,
        /// What came.
        actual: Elem,
    },
    /// A kernel was called with too few or too many tensors.
    #[error("{kernel}: expected {expected} inputs, got {actual}")]
    Inputs {
        /// The kernel.
        kernel: &'static str,
        /// How many it reads.
        expected: String,
        /// How many came.
        actual: usize,
    },
    /// An option is outside its range.
    #[error("{argument}: expected {expected}, got {actual}")]
    Value {
        /// The kernel and its option.
        argument: &'static str,
        /// What would have been right.
        expected: String,
        /// What came.
        actual: String,
    },
    /// No choice of options is within a budget.
    #[error("the budget of {most} cannot be met: what was found spends {least}: allow more, or offer options that leave fewer tokens")]
    Budget {
        /// The least that was found, in the budget's unit.
        least: u128,
        /// The most that may be spent.
        most: u128,
    },
    /// A tensor handle belongs to another graph.
    #[error("{argument}: this tensor belongs to another graph: use a handle that this graph gave")]
    ForeignTensor {
        /// The kernel and its argument.
        argument: &'static str,
    },
    /// Two inputs or two outputs of a graph have one name.
    #[error("the name {name:?} is used twice: each input and output needs a name of its own")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A graph input or output has no buffer or no data.
    #[error("{tensor:?}: nothing is bound to this tensor: each input and output needs a view or data")]
    MissingBinding {
        /// The graph's name of the tensor.
        tensor: String,
    },
    /// A buffer or data is bound to a name that the graph does not have.
    #[error("{tensor:?}: the graph has no input or output of this name")]
    UnknownBinding {
        /// The name.
        tensor: String,
    },
    /// A view or data has another shape or element type than the graph's tensor.
    #[error("{tensor:?}: expected {expected}, got {actual}")]
    BindingMismatch {
        /// The graph's name of the tensor.
        tensor: String,
        /// Element type and shape of the graph's tensor.
        expected: String,
        /// Element type and shape of what was bound.
        actual: String,
    },
    /// A view does not hold its tensor, or reaches past its buffer.
    #[error("{tensor:?}: needs {required} bytes at offset {offset}, there are {actual}: bind more of the buffer, or a larger one")]
    BufferTooSmall {
        /// The tensor's name.
        tensor: String,
        /// Byte offset of the view.
        offset: u64,
        /// Bytes that are needed there, rounded up to 4.
        required: u64,
        /// Bytes that the view or the buffer has there.
        actual: u64,
    },
    /// A view's strides do not fit its shape.
    #[error("{tensor:?}: strides {strides:?} of {shape}: {reason}")]
    Strides {
        /// The tensor's name.
        tensor: String,
        /// Its dimensions.
        shape: Shape,
        /// Elements from one to the next along each dimension.
        strides: Vec<u32>,
        /// What is wrong.
        reason: String,
    },
    /// A view's byte offset is not a multiple of its element size.
    #[error("{tensor:?}: byte offset {offset} is not a multiple of {alignment}, the size of an element: move the tensor")]
    Misaligned {
        /// The tensor's name.
        tensor: String,
        /// Byte offset of the view.
        offset: u64,
        /// What it must be a multiple of.
        alignment: u64,
    },
    /// A texture cannot hold its tensor, or is read and written at once.
    #[error("{tensor:?}: its texture: expected {expected}, got {actual}")]
    Texture {
        /// The tensor's name.
        tensor: String,
        /// What would have been right.
        expected: String,
        /// What came.
        actual: String,
    },
    /// A buffer or texture lacks a usage flag.
    #[error("{tensor:?}: the buffer or texture needs usage {required}: create it with that flag")]
    Usage {
        /// The tensor's name.
        tensor: String,
        /// The missing flag.
        required: &'static str,
    },
    /// Two byte ranges of one buffer overlap, and at least one of them is written.
    #[error(
        "{first:?} (bytes {first_range:?}) overlaps {second:?} (bytes {second_range:?}) in one buffer, and one of them is written: place them apart"
    )]
    Overlap {
        /// One tensor.
        first: String,
        /// Its bytes in the buffer.
        first_range: std::ops::Range<u64>,
        /// The other tensor.
        second: String,
        /// Its bytes in the buffer.
        second_range: std::ops::Range<u64>,
    },
    /// Two bindings of a dispatch overlap in one buffer that it writes, which browsers refuse and other backends allow. A binding begins at a
    /// multiple of `min_storage_buffer_offset_alignment`.
    #[error(
        "{first} (bytes {first_range:?}) and {second} (bytes {second_range:?}) are bound from one buffer that is written, and browsers refuse bindings that overlap: place tensors at multiples of min_storage_buffer_offset_alignment, or in buffers of their own"
    )]
    Aliasing {
        /// One tensor: a kernel and its name for it.
        first: String,
        /// What is bound.
        first_range: std::ops::Range<u64>,
        /// The other tensor.
        second: String,
        /// What is bound.
        second_range: std::ops::Range<u64>,
    },
    /// A tensor exceeds `max_storage_buffer_binding_size` and cannot be split over the batch, or exceeds `max_buffer_size`.
    #[error(
        "{kernel}: {tensor} needs a binding of {bytes} bytes, the device's limit is {limit}: request a device with higher limits (`device::required_limits`), or plan a smaller batch"
    )]
    BindingTooLarge {
        /// The kernel.
        kernel: &'static str,
        /// Which tensor.
        tensor: String,
        /// Its size in bytes.
        bytes: u64,
        /// The device's limit.
        limit: u64,
    },
    /// The workspace exceeds `max_buffer_size`.
    #[error(
        "the workspace needs {bytes} bytes, the device's largest buffer is {limit}: request a device with higher limits (`device::required_limits`), or plan a smaller batch"
    )]
    WorkspaceTooLarge {
        /// Bytes needed.
        bytes: u64,
        /// The device's limit.
        limit: u64,
    },
    /// A dispatch needs more workgroups than two grid dimensions hold.
    #[error("{kernel}: needs {groups} workgroups, the device's limit is {limit}: plan a smaller batch, or fewer tokens")]
    TooManyGroups {
        /// The kernel.
        kernel: &'static str,
        /// Workgroups needed.
        groups: u64,
        /// Workgroups that a folded grid holds.
        limit: u64,
    },
    /// The device was made without a feature that the graph needs.
    #[error("{kernel}: needs the device feature {feature}: request it with the device (`device::required_features`)")]
    MissingFeature {
        /// The kernel.
        kernel: &'static str,
        /// The feature's name in `wgpu::Features`.
        feature: &'static str,
    },
    /// A buffer or texture was destroyed or belongs to another device than the plan, or a texture was not made for the view's format.
    #[error(
        "{tensor:?}: its buffer or texture was destroyed, or belongs to another device than the plan, or lacks the view's format among its `view_formats`: make it anew on the plan's device"
    )]
    UnusableBuffer {
        /// The tensor's name, or `workspace`.
        tensor: String,
    },
    /// A plan was given another device than the one it was made on.
    #[error("{argument}: the plan was made on another device: plan the graph again on this one")]
    ForeignDevice {
        /// The call and its argument.
        argument: &'static str,
    },
    /// A shader's text is wrong, or is not what its kernel says of it: of an application's own kernel.
    #[error("{kernel}: shader {shader}: {reason}")]
    Shader {
        /// The kernel.
        kernel: &'static str,
        /// The shader, or its variant.
        shader: String,
        /// What is wrong, or what differs.
        reason: String,
    },
    /// The device has no memory left.
    #[error("the device has no memory left for {what}")]
    OutOfMemory {
        /// What it was wanted for.
        what: String,
    },
    /// The device was lost, or failed.
    #[error("the device failed: {message}")]
    Device {
        /// What wgpu said.
        message: String,
    },
}
