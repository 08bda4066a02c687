//! The process that compiles for one GPU, under `run-gpu`.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use tokenpress::device::{Access, Capabilities, MatrixSize, Variant};
use tokenpress::kernels::shaders;
use tokenpress::readback::Context;
use tokenpress::{Policy, wgpu};

use crate::figures::{Compiler, Figures};
use crate::messages::{Adapter, Message, Outcome, Variant as Named};
use crate::open;

/// Every variant whose label contains this. Where inputs are declared `read_write` the code is the same but for that.
pub(crate) fn variants(filter: &str) -> impl Iterator<Item = (usize, Variant)> {
    let all = shaders().into_iter().flat_map(|shader| shader.variants()).filter(|variant| variant.access == Access::Read);
    all.enumerate().filter(move |(_, variant)| variant.label().contains(filter))
}

/// What is to be compiled.
pub(crate) struct Work<'a> {
    pub(crate) compiler: Compiler,
    pub(crate) filter: &'a str,
    /// Only what the crate runs.
    pub(crate) chosen: bool,
    /// Variants before this one are done.
    pub(crate) from: usize,
    /// Which part of how many: every so manieth variant.
    pub(crate) part: [usize; 2],
    /// The file that is this process's standard error, open for appending: the compilers print to it.
    pub(crate) text: &'a Path,
}

/// Compiles one variant after the other.
pub(crate) fn compile(work: &Work<'_>) -> Result<(), Box<dyn Error>> {
    let adapters = pollster::block_on(Context::adapters(wgpu::Backends::VULKAN));
    let adapter = adapters.first().ok_or("the driver shows no GPU")?;
    let device = Device::open(adapter)?;
    say(&Message::Adapter(device.describe(adapter)))?;
    let [part, parts] = work.part;
    for (index, variant) in variants(work.filter).filter(|(index, _)| *index >= work.from && index % parts == part) {
        let chosen = device.chooses(&variant);
        if !chosen && (work.chosen || !device.runs(&variant)) {
            continue;
        }
        let (shader, label) = (variant.shader.name.to_owned(), variant.label());
        let name = label[shader.len()..].trim_start_matches('.').to_owned();
        say(&Message::Begin(index, Named { shader, variant: name, chosen }))?;
        // What was printed so far is of something else.
        let text = OpenOptions::new().write(true).truncate(true).open(work.text);
        text.map_err(|error| format!("{}: {error}", work.text.display()))?;
        say(&Message::End(match device.compile(&variant) {
            Err(error) => Outcome::Error(error),
            Ok(()) => {
                let text = String::from_utf8_lossy(&std::fs::read(work.text)?).into_owned();
                let none = || Outcome::Error("the compiler printed no figures that can be read".to_owned());
                Figures::read(work.compiler, &text).map_or_else(none, Outcome::Figures)
            }
        }))?;
    }
    Ok(())
}

fn say(message: &Message) -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(message)?)?;
    Ok(out.flush()?)
}

/// The device, and what is known of it.
struct Device {
    context: Context,
    /// The same device's facts with the cooperative matrices that the crate would take up. Nothing can be multiplied here, so they are
    /// not tried.
    with_matrices: Capabilities,
    /// The size of the matrices that the adapter lists, whether or not the crate would take them up.
    listed: Option<MatrixSize>,
}

impl Device {
    fn open(adapter: &wgpu::Adapter) -> Result<Self, Box<dyn Error>> {
        let context = pollster::block_on(Context::with_descriptor(adapter, &open::descriptor(adapter)))?;
        let properties = adapter.cooperative_matrix_properties();
        let cooperative_matrix = context.gpu.listed_matrices(&properties);
        let with_matrices = Capabilities { cooperative_matrix, ..context.gpu.capabilities().clone() };
        let of_size = |p: &wgpu::CooperativeMatrixProperties, n| {
            use wgpu::CooperativeScalarType::{F16, F32};
            [p.m_size, p.n_size, p.k_size] == [n; 3] && (p.ab_type, p.cr_type) == (F16, F32)
        };
        let sizes = [(MatrixSize::Sixteen, 16), (MatrixSize::Eight, 8)];
        let listed = sizes.into_iter().find(|(_, n)| properties.iter().any(|p| of_size(p, *n))).map(|(size, _)| size);
        Ok(Self { context, with_matrices, listed })
    }

    fn describe(&self, adapter: &wgpu::Adapter) -> Adapter {
        let wgpu::AdapterInfo { name, driver_info, subgroup_min_size, subgroup_max_size, .. } = adapter.get_info();
        let f16 = self.context.gpu.capabilities().f16;
        Adapter {
            adapter: name,
            driver: driver_info,
            subgroups: [subgroup_min_size, subgroup_max_size],
            f16,
            matrices: self.listed.is_some(),
        }
    }

    /// Whether the crate runs this variant here, with cooperative matrices or without.
    fn chooses(&self, variant: &Variant) -> bool {
        let plain = self.context.gpu.capabilities();
        let form = |facts: &Capabilities| facts.form(Policy::AUTO, variant.shader, variant.header);
        (plain.f16 || !variant.header.is_f16()) && [form(plain), form(&self.with_matrices)].contains(&variant.form)
    }

    /// Whether this device has the features that a variant needs.
    fn runs(&self, variant: &Variant) -> bool {
        self.context.gpu.supports(variant) || (self.listed.is_some() && self.listed == variant.form.matrices())
    }

    fn compile(&self, variant: &Variant) -> Result<(), String> {
        if variant.form.is_cooperative() {
            return self.compile_cooperative(variant);
        }
        self.context.gpu.warm_up(&[*variant]).map_err(|error| error.to_string())
    }

    /// The crate itself compiles these only where products came out right, which nothing does here.
    fn compile_cooperative(&self, variant: &Variant) -> Result<(), String> {
        let device = &self.context.device;
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let (label, source) = (variant.label(), wgpu::ShaderSource::Wgsl(variant.source().into()));
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(&label), source });
        let constants: Vec<_> = variant.constants.iter().map(|&(name, value)| (name, f64::from(value))).collect();
        let _pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions { constants: &constants, zero_initialize_workgroup_memory: false },
            cache: None,
        });
        pollster::block_on(scope.pop()).map_or(Ok(()), |error| Err(error.to_string()))
    }
}
