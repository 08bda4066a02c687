//! Cooperative matrices: used if a device multiplies them correctly.

use crate::device::{Capabilities, Gpu, MatrixSize, TensorView, buffer, present, submit};
use crate::error::Error;
use crate::graph::Graph;
use crate::kernels::linear;
use crate::plan::Bindings;
use crate::random::random_u32;
use crate::readback::read_blocking;
use crate::tensor::{Desc, Elem, HostTensor, Shape};

impl Gpu {
    /// The same device, which then makes tiles of products of f16 tensors by cooperative matrices: in `linear`, and in `attention_score` for
    /// many rows. f16 numbers are multiplied as they are, and summed in f32 in an order of the device's own. Results
    /// are within the same bounds as without, and the same from run to run.
    ///
    /// `properties` is [`wgpu::Adapter::cooperative_matrix_properties`]. Matrices of 16 x 16 x 16 are preferred to those of 8 x 8 x 8. They
    /// are used only if all of these hold:
    ///
    /// - The adapter multiplies f16 into f32 sums.
    /// - The device was made with `EXPERIMENTAL_COOPERATIVE_MATRIX`, `SHADER_F16` and `SUBGROUP`.
    /// - Its subgroups have 8 to 64 invocations, or up to 32 for matrices of 8 x 8.
    /// - Products of known numbers come out right.
    ///
    /// Otherwise the device stays as it was, and a log line says why. This submits to the queue, and waits. [`tune`](crate::tune) finds the
    /// shaders that are slower with matrices.
    ///
    /// ```no_run
    /// # fn make(device: wgpu::Device, queue: wgpu::Queue, adapter: wgpu::Adapter) -> Result<(), tokenpress::Error> {
    /// # use tokenpress::wgpu;
    /// let gpu = tokenpress::Gpu::new(&device, &adapter.get_info());
    /// let gpu = gpu.with_cooperative_matrices(&queue, &adapter.cooperative_matrix_properties())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Device`] if the device is lost or the queue is another's.
    pub fn with_cooperative_matrices(&self, queue: &wgpu::Queue, properties: &[wgpu::CooperativeMatrixProperties]) -> Result<Self, Error> {
        present(self.device())?;
        let Some(size) = self.listed_matrices(properties) else {
            log::info!("no cooperative matrices of f16 with f32 sums that tokenpress can use");
            return Ok(self.clone());
        };
        let with = self.with_matrices(size);
        for channels in [39, 40] {
            if !multiplies(&with, queue, channels)? {
                log::warn!("cooperative matrices ({size:?}) multiply wrongly on this device, and are not used");
                return Ok(self.clone());
            }
        }
        Ok(with)
    }

    /// The size of the matrices that [`Gpu::with_cooperative_matrices`] uses if they multiply correctly.
    pub fn listed_matrices(&self, properties: &[wgpu::CooperativeMatrixProperties]) -> Option<MatrixSize> {
        listed(self.capabilities(), self.device().features(), properties)
    }
}

/// The largest size that the adapter lists and the kernels can use.
fn listed(capabilities: &Capabilities, features: wgpu::Features, properties: &[wgpu::CooperativeMatrixProperties]) -> Option<MatrixSize> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let able = features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) && capabilities.f16 && capabilities.subgroups;
    // 128 or 256 invocations are at least four subgroups, each of which makes a quarter of a tile.
    let sizes = [capabilities.subgroup_min, capabilities.subgroup_max];
    let [eight, sixteen] = [8..=32, 8..=64].map(|possible| sizes.iter().all(|size| possible.contains(size)));
    [(MatrixSize::Sixteen, 16, sixteen), (MatrixSize::Eight, 8, eight)].into_iter().find_map(|(size, n, fits)| {
        let of_size = |p: &wgpu::CooperativeMatrixProperties| {
            [p.m_size, p.n_size, p.k_size] == [n; 3] && (p.ab_type, p.cr_type) == (F16, F32) && !p.saturating_accumulation
        };
        (able && fits && properties.iter().any(of_size)).then_some(size)
    })
}

/// Whether rows of small integers are multiplied correctly. Their products are exact in any order.
fn multiplies(gpu: &Gpu, queue: &wgpu::Queue, channels: u32) -> Result<bool, Error> {
    let mut graph = Graph::new();
    let mut integers = |seed: u32, rows: u32| {
        let shape = Shape::from([rows, channels]);
        let number = |i: u64| (random_u32(seed, i) % 9) as f32 - 4.0;
        graph.constant(HostTensor::from_floats(Desc::new(shape, Elem::F16), (0..shape.elements()).map(number).collect()))
    };
    let (x, weight) = (integers(1, 67), integers(2, 70));
    let y = linear(&mut graph, x, weight, None)?;
    graph.output("y", y)?;
    let expected = &graph.run_reference(&Default::default())?["y"];
    let descriptor = wgpu::BufferDescriptor {
        label: None,
        size: y.desc().bytes().next_multiple_of(4),
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    };
    let result = buffer(gpu.device(), &descriptor)?;
    let plan = graph.plan(gpu, &Bindings::new().bind("y", TensorView::new(&result, 0, y.shape(), Elem::F16)))?;
    submit(gpu.device(), queue, |encoder| plan.record_into(encoder, None))?;
    let bytes = read_blocking(gpu.device(), queue, &result)?;
    Ok(bytes[..expected.bytes().len()] == *expected.bytes())
}

#[cfg(test)]
mod tests {
    use wgpu::CooperativeScalarType::{self, F16, F32};

    use super::*;

    fn of(size: u32, cr_type: CooperativeScalarType) -> wgpu::CooperativeMatrixProperties {
        let [m_size, n_size, k_size] = [size; 3];
        wgpu::CooperativeMatrixProperties { m_size, n_size, k_size, ab_type: F16, cr_type, saturating_accumulation: false }
    }

    #[test]
    fn the_larger_size_is_taken_where_all_it_needs_is_there() {
        let features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        let able = Capabilities { subgroups: true, f16: true, subgroup_min: 32, subgroup_max: 32, ..Capabilities::portable() };
        let all = [of(8, F32), of(16, F16), of(16, F32)];
        assert_eq!(listed(&able, features, &all), Some(MatrixSize::Sixteen));
        assert_eq!(listed(&able, features, &all[..2]), Some(MatrixSize::Eight));
        assert_eq!(listed(&able, features, &[]), None);
        assert_eq!(listed(&able, wgpu::Features::empty(), &all), None);
        for lacking in [
            Capabilities { f16: false, ..able.clone() },
            Capabilities { subgroups: false, ..able.clone() },
            Capabilities { subgroup_min: 4, ..able.clone() },
            Capabilities { subgroup_max: 128, ..able.clone() },
        ] {
            assert_eq!(listed(&lacking, features, &all), None);
        }
        // AMD's GPUs choose for each shader.
        let either = Capabilities { subgroup_max: 64, ..able };
        assert_eq!(listed(&either, features, &all), Some(MatrixSize::Sixteen));
        assert_eq!(listed(&either, features, &all[..2]), None);
    }
}
