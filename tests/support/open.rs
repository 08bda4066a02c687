//! A device with all that tokenpress can use, the experiments of wgpu included.

use tokenpress::readback::Context;
use tokenpress::{Error, wgpu};

/// As [`Context::new`], and with cooperative matrices where the adapter has any.
pub async fn open(adapter: &wgpu::Adapter) -> Result<Context, Error> {
    let context = Context::with_descriptor(adapter, &descriptor(adapter)).await?;
    let gpu = context.gpu.with_cooperative_matrices(&context.queue, &adapter.cooperative_matrix_properties())?;
    Ok(Context { gpu, ..context })
}

/// As [`Context::descriptor`], and with the feature of cooperative matrices where the adapter has it.
pub fn descriptor(adapter: &wgpu::Adapter) -> wgpu::DeviceDescriptor<'static> {
    let mut descriptor = Context::descriptor(adapter);
    let matrices = adapter.features() & wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    if !matrices.is_empty() {
        descriptor.required_features |= matrices;
        #[allow(unsafe_code, reason = "what is acknowledged here is that wgpu may have bugs: a test is the place for that")]
        let acknowledged = unsafe { wgpu::ExperimentalFeatures::enabled() };
        descriptor.experimental_features = acknowledged;
    }
    descriptor
}
