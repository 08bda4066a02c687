//! Facts about a device, kept apart from the choices made on them.

use super::shader::{Form, Header, MatrixSize, Shader};
use super::tuning::Tuning;

/// What a device can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Made with `Features::SUBGROUP`.
    pub subgroups: bool,
    /// Made with `Features::SHADER_F16`.
    pub f16: bool,
    /// Made with `Features::BGRA8UNORM_STORAGE`.
    pub bgra8unorm_storage: bool,
    /// `max_storage_buffer_binding_size`.
    pub max_binding: u64,
    /// `max_buffer_size`.
    pub max_buffer: u64,
    /// `max_compute_workgroups_per_dimension`.
    pub max_groups: u32,
    /// `max_compute_workgroup_storage_size`.
    pub workgroup_memory: u32,
    /// `min_storage_buffer_offset_alignment`.
    pub storage_alignment: u32,
    /// `min_uniform_buffer_offset_alignment`.
    pub uniform_alignment: u32,
    /// Smallest subgroup of the adapter.
    pub subgroup_min: u32,
    /// Largest subgroup of the adapter.
    pub subgroup_max: u32,
    /// Size of the cooperative matrices (f16 factors, f32 sums) that make tiles of products; `None` where they are not used.
    /// [`Gpu::with_cooperative_matrices`](super::Gpu::with_cooperative_matrices) finds it.
    pub cooperative_matrix: Option<MatrixSize>,
    /// Whether the adapter is a CPU.
    pub software: bool,
    /// Backend of the adapter.
    pub backend: wgpu::Backend,
}

impl Capabilities {
    /// Facts of a device and its adapter.
    pub fn of(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Self {
        let (features, limits) = (device.features(), device.limits());
        Self {
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            f16: features.contains(wgpu::Features::SHADER_F16),
            bgra8unorm_storage: features.contains(wgpu::Features::BGRA8UNORM_STORAGE),
            subgroup_min: info.subgroup_min_size,
            subgroup_max: info.subgroup_max_size,
            software: info.device_type == wgpu::DeviceType::Cpu,
            backend: info.backend,
            ..Self::from_limits(&limits)
        }
    }

    /// What WebGPU promises everywhere: default limits, no subgroups, no f16.
    pub fn portable() -> Self {
        Self::from_limits(&wgpu::Limits::default())
    }

    /// Whether a shader has a form with subgroup operations that works here.
    pub(crate) fn runs_subgroup_form(&self, shader: &Shader) -> bool {
        let eight = [self.subgroup_min, self.subgroup_max] == [8, 8];
        self.subgroups && shader.has_subgroup_form() && (eight || !shader.needs_subgroups_of_eight())
    }

    /// The form for the cooperative matrices in use.
    pub(crate) fn cooperative_form(&self) -> Option<Form> {
        self.cooperative_matrix.map(|size| Form::cooperative(size, self.subgroup_max))
    }

    /// The form in which this device runs a shader, under this policy and header.
    pub fn form(&self, policy: Policy, shader: &Shader, header: Header) -> Form {
        let tuning = policy.tuning;
        match self.cooperative_form() {
            Some(form) if shader.has_form(form, header) && !tuning.is_without_matrices(shader.name) => form,
            // On a CPU loads take most of the time. On a GPU registers are scarce.
            _ if shader.has_form(Form::Staged, header)
                && (tuning.is_staged(shader.name) || !(self.software || tuning.is_portable(shader.name))) =>
            {
                Form::Staged
            }
            _ if self.runs_subgroup_form(shader) && !tuning.is_portable(shader.name) => Form::Subgroup,
            _ => Form::Portable,
        }
    }

    /// Whether a form of a shader works here under this header.
    pub(crate) fn supports(&self, shader: &Shader, header: Header, form: Form) -> bool {
        (self.f16 || !header.is_f16())
            && (self.bgra8unorm_storage || !shader.stores_bgra())
            && match form {
                Form::Portable | Form::Staged => true,
                Form::Subgroup => self.runs_subgroup_form(shader),
                form => self.cooperative_form() == Some(form),
            }
    }

    fn from_limits(limits: &wgpu::Limits) -> Self {
        Self {
            subgroups: false,
            f16: false,
            bgra8unorm_storage: false,
            max_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
            max_groups: limits.max_compute_workgroups_per_dimension,
            workgroup_memory: limits.max_compute_workgroup_storage_size,
            storage_alignment: limits.min_storage_buffer_offset_alignment,
            uniform_alignment: limits.min_uniform_buffer_offset_alignment,
            subgroup_min: 0,
            subgroup_max: 0,
            cooperative_matrix: None,
            software: false,
            backend: wgpu::Backend::Noop,
        }
    }
}

/// Which variant of a shader runs where several would do. By default the device decides. Tests force each one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Policy {
    /// Which shaders run in their portable form even where the device has subgroups.
    pub tuning: Tuning,
    /// Declare every input `read_write` even where no dispatch shares a buffer.
    pub read_write: bool,
}

impl Policy {
    /// The device decides.
    pub const AUTO: Self = Self::forced(false, false);

    /// For runtimes with a memory pool, which put two tensors into one buffer in one run and not in the next. It has nothing to do with the
    /// kernel [`Pool`](crate::kernels::Pool).
    ///
    /// Every input is declared `read_write`, so a plan's pipelines serve in both cases. [`Plan::rebind`](crate::Plan::rebind) is then
    /// cheap wherever each offset keeps its remainder modulo the storage alignment. It does in a pool that hands out multiples of
    /// the alignment, and 256 bytes are always enough. With another remainder the graph is planned anew.
    pub const POOLED: Self = Self::forced(false, true);

    /// Forces the portable form of every shader, and the `read_write` inputs.
    pub const fn forced(portable: bool, read_write: bool) -> Self {
        Self { tuning: if portable { Tuning::PORTABLE } else { Tuning::NONE }, read_write }
    }

    /// With the forms that [`tune`](crate::tune) found.
    pub const fn with_tuning(self, tuning: Tuning) -> Self {
        Self { tuning, ..self }
    }
}

/// The features that tokenpress can use and this adapter has. Add them to the application's own in `DeviceDescriptor::required_features`.
///
/// `offered` is `adapter.features()`. The kernels require none of them. Without `SHADER_F16` most
/// calls with f16 tensors convert them to f32 first.
pub fn required_features(offered: wgpu::Features) -> wgpu::Features {
    offered & (wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP)
}

/// The limits worth asking for: the application's own, and beside them the largest bindings, buffers and workgroup memory that the
/// adapter offers. `offered` is `adapter.limits()`.
///
/// The kernels run within WebGPU's default limits too. Larger tensors then fail to plan, or calls are split over their batch.
///
/// `min_storage_buffer_offset_alignment` stays the application's, 256 bytes by default. Many adapters have 32 or 16. With the
/// adapter's own, [`Plan::rebind`](crate::Plan::rebind) more often makes bind groups alone:
///
/// ```
/// use tokenpress::wgpu::{Adapter, Limits};
///
/// fn limits(adapter: &Adapter) -> Limits {
///     let offered = adapter.limits();
///     let alignment = offered.min_storage_buffer_offset_alignment;
///     let own = Limits { min_storage_buffer_offset_alignment: alignment, ..Default::default() };
///     tokenpress::required_limits(own, &offered)
/// }
/// ```
pub fn required_limits(application: wgpu::Limits, offered: &wgpu::Limits) -> wgpu::Limits {
    wgpu::Limits {
        max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size,
        max_buffer_size: offered.max_buffer_size,
        max_compute_workgroup_storage_size: offered.max_compute_workgroup_storage_size,
        max_storage_buffers_per_shader_stage: offered
            .max_storage_buffers_per_shader_stage
            .min(8)
            .max(application.max_storage_buffers_per_shader_stage),
        ..application
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tiles of products have a form for GPUs, which CPUs run only where they are told to.
    #[test]
    fn only_gpus_stage_tiles() {
        let linear = crate::kernels::shaders().into_iter().find(|shader| shader.name == "linear").unwrap();
        let forms = |software, tuning| {
            let capabilities = Capabilities { software, ..Capabilities::portable() };
            capabilities.form(Policy::AUTO.with_tuning(tuning), linear, Header::F32)
        };
        assert_eq!(forms(false, Tuning::default()), Form::Staged);
        assert_eq!(forms(false, Tuning::PORTABLE), Form::Portable);
        assert_eq!(forms(true, Tuning::default()), Form::Portable);
        assert_eq!(forms(true, Tuning::STAGED), Form::Staged);
    }
}
