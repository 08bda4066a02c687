//! Makes each pipeline once.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::capabilities::Capabilities;
use super::errors::{checked, present};
use super::shader::{Access, BindingElem};
use super::variant::Variant;
use crate::error::Error;

/// A compiled variant.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

/// Pipelines of one device, by variant.
pub(crate) struct Pipelines {
    made: Mutex<HashMap<Variant, Pipeline>>,
    cache: Option<wgpu::PipelineCache>,
}

/// Shows how many there are.
impl fmt::Debug for Pipelines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pipelines").field(&self.made.lock().unwrap_or_else(PoisonError::into_inner).len()).finish()
    }
}

impl Pipelines {
    pub(crate) fn new(cache: Option<wgpu::PipelineCache>) -> Self {
        Self { made: Mutex::default(), cache }
    }

    /// The pipeline of a variant, compiled on first use. `kernel` needs it, and is named in errors.
    pub(crate) fn get(
        &self,
        device: &wgpu::Device,
        capabilities: &Capabilities,
        kernel: &'static str,
        variant: &Variant,
    ) -> Result<Pipeline, Error> {
        if variant.header.is_f16() && !capabilities.f16 {
            return Err(Error::MissingFeature { kernel, feature: "SHADER_F16" });
        }
        if variant.shader.stores_bgra() && !capabilities.bgra8unorm_storage {
            return Err(Error::MissingFeature { kernel, feature: "BGRA8UNORM_STORAGE" });
        }
        if variant.form.is_cooperative() && capabilities.cooperative_form() != Some(variant.form) {
            return Err(Error::MissingFeature { kernel, feature: "EXPERIMENTAL_COOPERATIVE_MATRIX" });
        }
        if variant.form.uses_subgroups() && !capabilities.subgroups {
            return Err(Error::MissingFeature { kernel, feature: "SUBGROUP" });
        }
        if let Some(made) = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(variant) {
            return Ok(made.clone());
        }
        // Without the lock threads compile in parallel. It does no harm if two of them make the same variant.
        let made = compile(device, kernel, variant, self.cache.as_ref())?;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(*variant, made.clone());
        Ok(made)
    }
}

fn compile(device: &wgpu::Device, kernel: &'static str, variant: &Variant, cache: Option<&wgpu::PipelineCache>) -> Result<Pipeline, Error> {
    let name = variant.label();
    log::debug!("compiling {name}");
    let wrong = |reason| Error::Shader { kernel, shader: name.clone(), reason };
    // An error here is about the shader, unless memory is lacking.
    let of_shader = |error| match error {
        Error::Device { message } => wrong(message),
        error => error,
    };
    let source = variant.source();
    // A browser brings a WGSL compiler of its own, and reports nothing before it is awaited. Elsewhere wgpu brings one.
    #[cfg(not(target_arch = "wasm32"))]
    super::reflect::check(variant, &source).map_err(wrong)?;
    let made = checked(device, || format!("the pipeline {name}"), || Ok(make(device, variant, &name, source, cache)));
    // A lost device makes an invalid pipeline, and reports nothing.
    present(device)?;
    made.map_err(of_shader)
}

fn make(device: &wgpu::Device, variant: &Variant, name: &str, source: String, cache: Option<&wgpu::PipelineCache>) -> Pipeline {
    let label = format!("tokenpress::{name}");
    let label = Some(label.as_str());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label, source: wgpu::ShaderSource::Wgsl(source.into()) });
    let entry = |binding: usize, ty| wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty,
        count: None,
    };
    let buffer = |ty| wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None };
    let inputs = variant.shader.inputs.len();
    let mut entries = vec![entry(0, buffer(wgpu::BufferBindingType::Uniform))];
    entries.extend(variant.shader.bindings().enumerate().map(|(index, (_, elem))| {
        let view_dimension = wgpu::TextureViewDimension::D2;
        let kind = match *elem {
            // A format that no sampler filters, such as rgba32float, will do.
            BindingElem::Texture => {
                let sample_type = wgpu::TextureSampleType::Float { filterable: false };
                wgpu::BindingType::Texture { sample_type, view_dimension, multisampled: false }
            }
            BindingElem::StorageTexture(format) => {
                let access = wgpu::StorageTextureAccess::WriteOnly;
                wgpu::BindingType::StorageTexture { access, format: format.format(), view_dimension }
            }
            _ => buffer(wgpu::BufferBindingType::Storage { read_only: index < inputs && variant.access == Access::Read }),
        };
        entry(index + 1, kind)
    }));
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
    let pipeline_layout =
        device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor { label, bind_group_layouts: &[Some(&layout)], immediate_size: 0 });
    let constants: Vec<_> = variant.constants.iter().map(|&(name, value)| (name, f64::from(value))).collect();
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label,
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &constants,
            // Every kernel writes each word of workgroup memory before it reads it; the tests poison it.
            zero_initialize_workgroup_memory: false,
        },
        cache,
    });
    Pipeline { pipeline, layout }
}
