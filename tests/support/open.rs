//! A device with all that tokenpress can use, the experiments of wgpu included.

#[cfg(not(target_arch = "wasm32"))]
use tokenpress::Gpu;
use tokenpress::readback::Context;
use tokenpress::{Error, wgpu};

/// As [`Context::new`], and with cooperative matrices where the adapter has any.
pub async fn open(adapter: &wgpu::Adapter) -> Result<Context, Error> {
    let context = Context::with_descriptor(adapter, &descriptor(adapter)).await?;
    // A browser has no cooperative matrices.
    #[cfg(target_arch = "wasm32")]
    return Ok(context);
    #[cfg(not(target_arch = "wasm32"))]
    with_matrices(adapter, context)
}

#[cfg(not(target_arch = "wasm32"))]
fn with_matrices(adapter: &wgpu::Adapter, context: Context) -> Result<Context, Error> {
    let (gpu, properties) = with_larger_matrices(&context, adapter.cooperative_matrix_properties());
    let gpu = gpu.with_cooperative_matrices(&context.queue, &properties)?;
    Ok(Context { gpu, ..context })
}

/// With `MATRICES=16` or `MATRICES=wide`, what GPUs with matrices of 16 x 16 x 16 list, and with subgroups of up to 64. No adapter for tests
/// lists these matrices, but lavapipe makes them of smaller ones.
#[cfg(not(target_arch = "wasm32"))]
fn with_larger_matrices(
    context: &Context,
    mut properties: Vec<wgpu::CooperativeMatrixProperties>,
) -> (Gpu, Vec<wgpu::CooperativeMatrixProperties>) {
    let wanted = std::env::var("MATRICES").unwrap_or_default();
    if !["16", "wide"].contains(&wanted.as_str()) {
        return (context.gpu.clone(), properties);
    }
    for size in &mut properties {
        (size.m_size, size.n_size, size.k_size) = (16, 16, 16);
    }
    let largest = if wanted == "wide" { 64 } else { context.info.subgroup_max_size };
    let info = wgpu::AdapterInfo { subgroup_max_size: largest, ..context.info.clone() };
    (Gpu::new(&context.device, &info), properties)
}

/// As [`Context::descriptor`], and with the features of cooperative matrices and of storing `bgra8unorm` where the adapter has them.
pub fn descriptor(adapter: &wgpu::Adapter) -> wgpu::DeviceDescriptor<'static> {
    let mut descriptor = Context::descriptor(adapter);
    descriptor.required_features |= adapter.features() & wgpu::Features::BGRA8UNORM_STORAGE;
    let matrices = adapter.features() & wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    if !matrices.is_empty() {
        descriptor.required_features |= matrices;
        #[allow(unsafe_code, reason = "what is acknowledged here is that wgpu may have bugs: a test is the place for that")]
        let acknowledged = unsafe { wgpu::ExperimentalFeatures::enabled() };
        descriptor.experimental_features = acknowledged;
    }
    descriptor
}
