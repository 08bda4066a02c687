//! What the device can do at all.

use std::time::Duration;

use serde::Serialize;
use tokenpress::device::MatrixSize;
use tokenpress::{Error, wgpu};

use crate::harness::timer::{Timer, copy_of, filling};
use crate::run::Effort;

/// Measured in the same process as the kernels.
#[derive(Serialize, Clone, Copy)]
pub(crate) struct Yardsticks {
    /// `copy_buffer_to_buffer`: bytes read and written, in GB/s.
    pub(crate) copy_api: f64,
    /// The crate's own copy kernel, likewise.
    pub(crate) copy_kernel: f64,
    /// f32 multiply-adds in registers, in GFLOP/s; one is two operations.
    pub(crate) multiply_add: f64,
    /// The same by cooperative matrices of f16 with f32 sums, where the device multiplies them rightly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) matrix_multiply_add: Option<f64>,
    /// One more dispatch that depends on the one before it, in microseconds.
    pub(crate) dispatch: f64,
}

impl std::fmt::Display for Yardsticks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { copy_api, copy_kernel, multiply_add, matrix_multiply_add, dispatch } = self;
        write!(f, "copy by the API {copy_api:.1} GB/s, by a kernel {copy_kernel:.1} GB/s; multiply-adds {multiply_add:.0} GFLOP/s; ")?;
        if let Some(matrices) = matrix_multiply_add {
            write!(f, "by cooperative matrices {matrices:.0} GFLOP/s; ")?;
        }
        write!(f, "a dispatch {dispatch:.1} us")
    }
}

impl Yardsticks {
    pub(crate) async fn measure(timer: &Timer, effort: &Effort) -> Result<Self, Error> {
        Ok(Self {
            copy_api: copy_by_api(timer, effort).await?,
            copy_kernel: copy_by_kernel(timer, effort).await?,
            multiply_add: multiply_add(timer, effort, &MULTIPLY_ADD.replace("ROUNDS", &format!("{ROUNDS}u")), 32).await?,
            matrix_multiply_add: matrix_multiply_add(timer, effort).await?,
            dispatch: dispatch(timer, effort).await?,
        })
    }
}

/// The median of so many times, in seconds.
async fn median<F: Future<Output = Result<Duration, Error>>>(samples: usize, once: impl Fn() -> F) -> Result<f64, Error> {
    let mut times = Vec::new();
    for _ in 0..samples {
        times.push(once().await?);
    }
    times.sort_unstable();
    Ok(times[times.len() / 2].as_secs_f64())
}

async fn copy_by_api(timer: &Timer, effort: &Effort) -> Result<f64, Error> {
    let context = &timer.context;
    let size = effort.copy_bytes / 2;
    let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let buffer = || context.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
    let (from, to) = (buffer(), buffer());
    let runs = 8;
    let once = || {
        let mut encoder = context.device.create_command_encoder(&Default::default());
        (0..runs).for_each(|_| encoder.copy_buffer_to_buffer(&from, 0, &to, 0, size));
        timer.submit(encoder)
    };
    once().await?;
    let seconds = median(effort.samples, once).await? / f64::from(runs);
    Ok(effort.copy_bytes as f64 / seconds / 1e9)
}

async fn copy_by_kernel(timer: &Timer, effort: &Effort) -> Result<f64, Error> {
    let graph = copy_of(effort.copy_bytes);
    let prepared = timer.prepare(&graph).await?;
    let plans = [&prepared.plan];
    let runs = timer.filling(&plans, effort.sample).await?;
    let seconds = median(effort.samples, || timer.time(&plans, runs)).await? / runs as f64;
    Ok(effort.copy_bytes as f64 / seconds / 1e9)
}

/// A word copied over and over: each run waits for the one before it.
async fn dispatch(timer: &Timer, effort: &Effort) -> Result<f64, Error> {
    let prepared = timer.prepare(&copy_of(8)).await?;
    let plans = [&prepared.plan];
    let runs = timer.filling(&plans, effort.sample).await?;
    let seconds = median(effort.samples, || timer.time(&plans, runs)).await? / runs as f64;
    Ok(seconds * 1e6)
}

const ROUNDS: u32 = 1024;

/// Sixteen chains of multiply-adds, so that the latency of one hides behind the others.
const MULTIPLY_ADD: &str = "
@group(0) @binding(0) var<storage, read_write> result: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let x = f32(id.x) * 1e-9;
  var a = vec4<f32>(x, x + 1.0, x + 2.0, x + 3.0);
  var b = a + 4.0;
  var c = a + 8.0;
  var d = a + 12.0;
  for (var i = 0u; i < ROUNDS; i++) {
    a = a * 0.999 + 0.5;
    b = b * 0.999 + 0.5;
    c = c * 0.999 + 0.5;
    d = d * 0.999 + 0.5;
  }
  let sum = a + b + c + d;
  result[id.x] = sum.x + sum.y + sum.z + sum.w;
}
";

/// Four chains of products of matrices in each subgroup.
const MATRIX_MULTIPLY_ADD: &str = "
enable f16;
enable wgpu_cooperative_matrix;
@group(0) @binding(0) var<storage, read_write> result: array<f32>;
var<workgroup> numbers: array<f16, 256>;
var<workgroup> sums: array<f32, 512>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(subgroup_id) subgroup: u32) {
  for (var i = lane; i < 256u; i += 64u) {
    numbers[i] = f16(f32(i % 7u) * 0.001);
  }
  workgroupBarrier();
  let a = coopLoadT<coop_matSIZExSIZE<f16, A>>(&numbers[0], SIZEu);
  let b = coopLoad<coop_matSIZExSIZE<f16, B>>(&numbers[0], SIZEu);
  var w = coop_matSIZExSIZE<f32, C>();
  var x = coop_matSIZExSIZE<f32, C>();
  var y = coop_matSIZExSIZE<f32, C>();
  var z = coop_matSIZExSIZE<f32, C>();
  for (var i = 0u; i < ROUNDS; i++) {
    w = coopMultiplyAdd(a, b, w);
    x = coopMultiplyAdd(a, b, x);
    y = coopMultiplyAdd(a, b, y);
    z = coopMultiplyAdd(a, b, z);
  }
  coopStoreT(w + x + y + z, &sums[subgroup * SIZEu * SIZEu % 512u], SIZEu);
  workgroupBarrier();
  result[group.x * 64u + lane] = sums[lane];
}
";

async fn matrix_multiply_add(timer: &Timer, effort: &Effort) -> Result<Option<f64>, Error> {
    let capabilities = timer.context.gpu.capabilities();
    let size = match capabilities.cooperative_matrix {
        None => return Ok(None),
        Some(MatrixSize::Eight) => 8,
        Some(MatrixSize::Sixteen) => 16,
    };
    let source = MATRIX_MULTIPLY_ADD.replace("SIZE", &size.to_string()).replace("ROUNDS", &format!("{ROUNDS}u"));
    multiply_add(timer, effort, &source, 4 * 2 * size * size * size / capabilities.subgroup_max).await.map(Some)
}

/// GFLOP/s of a shader whose invocations have so many operations in each of the rounds.
async fn multiply_add(timer: &Timer, effort: &Effort, source: &str, operations: u32) -> Result<f64, Error> {
    let device = &timer.context.device;
    let groups = effort.multiply_add_groups;
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source: wgpu::ShaderSource::Wgsl(source.into()) });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    });
    let size = u64::from(groups) * 64 * 4;
    let descriptor = wgpu::BufferDescriptor { label: None, size, usage: wgpu::BufferUsages::STORAGE, mapped_at_creation: false };
    let buffer = device.create_buffer(&descriptor);
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
    });
    let time = |runs| {
        timer.pass(runs, |pass| {
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            pass.dispatch_workgroups(groups, 1, 1);
        })
    };
    time(1).await?;
    let runs = filling(1, effort.sample, time).await?;
    let seconds = median(effort.samples, || time(runs)).await? / runs as f64;
    Ok(f64::from(groups) * 64.0 * f64::from(ROUNDS) * f64::from(operations) / seconds / 1e9)
}
