//! Plans as data: whole and within their limits, and run by hosts in other languages. The golden cases of five systems run in Node (Dawn on
//! SwiftShader, `examples/export/run.mjs`), in Chromium (`scripts/plan-in-chromium.mjs`) and in Python (wgpu on lavapipe, `examples/export/run.py`).
//!
//! `scripts/test` installs Chromium, the npm packages `webgpu` and `playwright-core`, and the Python packages `wgpu` and `numpy` under `target/plan-data`. PLAN_DATA_PYTHON
//! names another Python.
#![allow(missing_docs, reason = "a test")]

mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Trial};
use support::adapters;
use support::cases::methods;
use support::goldens::{self, Failure, Golden, Side};
use tokenpress::kernels::{TopK, TopKInputs, group_tokens};
use tokenpress::readback::HostTensors;
use tokenpress::{BindingData, BufferData, Capabilities, Elem, Error, Gpu, Graph, HostTensor, PlanData, Policy, TensorData};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The golden cases that hosts run: a few of each system, since a host starts anew for each.
const CASES: [&str; 12] = [
    "tome_match_00",
    "tome_match_05",
    "tome_chain_00",
    "evit_block_00",
    "evit_degenerate_keep1",
    "atome_pairs_00",
    "atome_threshold_overlap_01",
    "prumerge_00",
    "prumerge_plus_00",
    "pixel_shuffle_v1_6x4_k2_06",
    "pixel_shuffle_v2_8x8_k4_04",
    "nvlm_shuffle_00",
];

/// Those of them that Chromium runs.
const IN_CHROMIUM: [&str; 5] = ["tome_match_00", "evit_block_00", "atome_pairs_00", "prumerge_00", "pixel_shuffle_v1_6x4_k2_06"];

/// A program that runs a plan.
struct Host {
    name: &'static str,
    program: PathBuf,
    script: PathBuf,
    /// What its adapter can do.
    capabilities: Capabilities,
    turn: Mutex<()>,
}

fn hosts() -> Vec<Host> {
    let python = std::env::var_os("PLAN_DATA_PYTHON");
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../plan-data/bin/python");
    let portable = Capabilities::portable;
    vec![
        Host {
            name: "node",
            program: "node".into(),
            script: Path::new(ROOT).join("examples/export/run.mjs"),
            // SwiftShader compiles forms for GPUs for minutes.
            capabilities: Capabilities { software: true, ..portable() },
            turn: Mutex::new(()),
        },
        Host {
            name: "chromium",
            program: "node".into(),
            script: Path::new(ROOT).join("scripts/plan-in-chromium.mjs"),
            capabilities: Capabilities { software: true, ..portable() },
            turn: Mutex::new(()),
        },
        Host {
            name: "python",
            program: python.map_or(target, PathBuf::from),
            script: Path::new(ROOT).join("examples/export/run.py"),
            capabilities: portable(),
            turn: Mutex::new(()),
        },
    ]
}

impl Host {
    /// Why it cannot be had.
    fn lacks(&self) -> Option<String> {
        let imports = match self.name {
            "node" => vec!["--input-type=module", "-e", "await import(process.env.NODE_WEBGPU)"],
            "chromium" => vec!["scripts/plan-in-chromium.mjs", "--check"],
            _ => vec!["-c", "import wgpu, numpy"],
        };
        let output = self.command().current_dir(ROOT).args(imports).output();
        match output {
            Err(error) => Some(format!("{}: {error}", self.program.display())),
            Ok(output) if !output.status.success() => Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()),
            Ok(_) => None,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("NODE_WEBGPU", Path::new(ROOT).join("scripts/node_modules/webgpu/index.js"));
        command
    }

    /// Runs a graph there from its plan as data.
    fn run(&self, folder: &Path, graph: &Graph, inputs: &HostTensors) -> Result<HostTensors, Failure> {
        let plan = graph.plan_data(&self.capabilities, Policy::AUTO)?;
        std::fs::create_dir_all(folder)?;
        let json = folder.join("plan.json");
        std::fs::write(&json, serde_json::to_string(&plan)?)?;
        for (name, value) in inputs {
            std::fs::write(folder.join(format!("{name}.bin")), value.bytes())?;
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut command = self.command();
        command.arg(&self.script).arg(json).arg(folder);
        if self.name == "python" {
            command.arg("llvmpipe");
        }
        let output = command.output()?;
        if !output.status.success() {
            return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
        }
        let read = |tensor: &TensorData| -> Result<(String, HostTensor), Failure> {
            let bytes = std::fs::read(folder.join(format!("{}.bin", tensor.name)))?;
            Ok((tensor.name.clone(), tensor_of(tensor, &bytes)?))
        };
        plan.outputs.iter().map(read).collect()
    }
}

/// Golden cases have outputs of 32 bits.
fn tensor_of(tensor: &TensorData, bytes: &[u8]) -> Result<HostTensor, Failure> {
    let dims: Vec<usize> = tensor.shape.iter().map(|d| *d as usize).collect();
    let shape = goldens::shape(&dims)?;
    let words = bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]));
    Ok(match tensor.elem.as_str() {
        "u32" => HostTensor::u32(shape, words.collect()),
        "f32" => HostTensor::f32(shape, words.map(f32::from_bits).collect()),
        other => return Err(format!("{} is of {other}", tensor.name).into()),
    })
}

/// Bytes of a buffer of a plan.
fn size_of(plan: &PlanData, buffer: &BufferData) -> Option<u64> {
    match buffer {
        BufferData::Constants => Some(4 * plan.constants.len() as u64),
        BufferData::Workspace => Some(plan.workspace),
        BufferData::Tensor(name) => plan.inputs.iter().chain(&plan.outputs).find(|t| t.name == *name).map(|t| t.bytes),
    }
}

/// Whether what a plan says of itself agrees: every index, every binding inside its buffer and aligned, every limit reached and none passed.
fn check(plan: &PlanData) -> Result<(), String> {
    let limits = plan.limits;
    let mut largest = 0;
    for dispatch in &plan.dispatches {
        let pipeline = plan.pipelines.get(dispatch.pipeline).ok_or("a dispatch has no pipeline")?;
        let shader = plan.shaders.get(pipeline.shader).ok_or("a pipeline has no shader")?;
        if dispatch.bindings.len() + 1 != shader.bindings.len() || shader.bindings[0] != "uniform" {
            return Err(format!("{}: {} bindings, the shader has {:?}", shader.label, dispatch.bindings.len(), shader.bindings));
        }
        if dispatch.bindings.len() > limits.max_storage_buffers_per_shader_stage as usize {
            return Err(format!("{}: more storage buffers than the limit says", shader.label));
        }
        if dispatch.uniforms.len() % 4 != 0 || dispatch.workgroups.iter().any(|g| *g > limits.max_compute_workgroups_per_dimension) {
            return Err(format!("{}: uniforms {:?}, workgroups {:?}", shader.label, dispatch.uniforms, dispatch.workgroups));
        }
        let mut bound: Vec<(&BindingData, bool)> = Vec::new();
        for (binding, kind) in dispatch.bindings.iter().zip(&shader.bindings[1..]) {
            let size = size_of(plan, &binding.buffer).ok_or_else(|| format!("there is no buffer {:?}", binding.buffer))?;
            let aligned = binding.offset % u64::from(limits.min_storage_buffer_offset_alignment) == 0;
            if binding.offset + binding.size > size || binding.size == 0 || binding.size % 4 != 0 || !aligned {
                return Err(format!("{}: {binding:?} of {size} bytes", shader.label));
            }
            largest = largest.max(binding.size);
            // WebGPU forbids a buffer that is read-only in one binding of a dispatch and written in another, and two bindings of the same
            // bytes that may both write.
            let writes = kind == "storage";
            let apart = |other: &BindingData| binding.offset >= other.offset + other.size || other.offset >= binding.offset + binding.size;
            let same = bound.iter().filter(|(other, _)| other.buffer == binding.buffer);
            if let Some((other, _)) = same.into_iter().find(|(other, also)| writes != *also || (writes && !apart(other))) {
                return Err(format!("{}: {other:?} and {binding:?} may write to the same bytes", shader.label));
            }
            bound.push((binding, writes));
        }
    }
    if largest != limits.max_storage_buffer_binding_size {
        return Err(format!("the largest binding has {largest} bytes, the limit says {}", limits.max_storage_buffer_binding_size));
    }
    Ok(())
}

/// Every method's plan as data: whole, the same after JSON, and as large as the plan of a device.
fn describes_every_method(policy: Policy, elem: Elem) -> Result<(), Failure> {
    let (device, _) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    let gpu = Gpu::new(&device, &device.adapter_info()).with_policy(policy);
    let mut texts: HashMap<String, usize> = HashMap::new();
    for method in methods::all() {
        let graph = methods::graph(method, 2, 33, elem, method.ragged)?;
        let plan = graph.plan_data(gpu.capabilities(), policy)?;
        let fail = |what: String| Failure::from(format!("{} {}: {what}", method.subject, method.options));
        check(&plan).map_err(fail)?;
        // It may have copies that a device other than a browser's does without.
        let copies = plan.dispatches.len() - graph.cost(gpu.capabilities())?.dispatches() as usize;
        if copies == 0 && plan.workspace != graph.workspace_size(&gpu)? {
            return Err(fail(format!("{} bytes of workspace, a plan has {}", plan.workspace, graph.workspace_size(&gpu)?)));
        }
        if !plan.features.is_empty() || plan.shaders.iter().any(|s| s.code.contains("enable ")) {
            return Err(fail(format!("it needs {:?}", plan.features)));
        }
        let again: PlanData = serde_json::from_str(&serde_json::to_string(&plan)?)?;
        if again != plan {
            return Err(fail("JSON changes it".to_owned()));
        }
        for shader in &plan.shaders {
            *texts.entry(shader.code.clone()).or_default() += 1;
        }
        let distinct: std::collections::HashSet<_> = plan.shaders.iter().map(|s| &s.code).collect();
        if distinct.len() != plan.shaders.len() {
            return Err(fail("a text is there twice".to_owned()));
        }
    }
    // So the loop has seen methods.
    if texts.len() < 20 { Err("few shaders were seen".into()) } else { Ok(()) }
}

/// With features the plan names them, and the shaders enable them.
fn names_features() -> Result<(), Failure> {
    let mut graph = Graph::new();
    let x = graph.input("x", [4, 64], Elem::F16);
    let kept = TopK { k: 8, ..TopK::default() }.build(&mut graph, TopKInputs::new(x))?;
    graph.output("kept", kept.indices)?;
    let parent = graph.input("parent", [4, 1024], Elem::U32);
    let groups = group_tokens(&mut graph, parent, 16)?;
    graph.output("offsets", groups.offsets)?;
    let all = Capabilities { f16: true, subgroups: true, subgroup_min: 8, subgroup_max: 32, ..Capabilities::portable() };
    let plan = graph.plan_data(&all, Policy::AUTO)?;
    let enabled = |line: &str| plan.shaders.iter().any(|shader| shader.code.contains(line));
    if plan.features != ["shader-f16", "subgroups"] || !enabled("enable f16;\n") || !enabled("enable subgroups;\n") {
        return Err(format!("{:?} of {:?}", plan.features, plan.shaders.iter().map(|shader| &shader.label).collect::<Vec<_>>()).into());
    }
    Ok(())
}

/// What exceeds the capabilities is an error, as in a plan.
fn refuses_what_is_too_large() -> Result<(), Failure> {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 4096, 4096], Elem::F32);
    let unit = tokenpress::kernels::row_normalize(&mut graph, x, None)?;
    graph.output("unit", unit.unit)?;
    let small = Capabilities { max_buffer: 1 << 20, max_binding: 1 << 20, ..Capabilities::portable() };
    match graph.plan_data(&small, Policy::AUTO) {
        Err(Error::BindingTooLarge { .. }) => Ok(()),
        other => Err(format!("{:?}", other.map(|plan| plan.limits)).into()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test("describes_every_method", || Ok(describes_every_method(Policy::AUTO, Elem::F32)?)),
        Trial::test("describes_every_method_pooled", || Ok(describes_every_method(Policy::POOLED, Elem::F16)?)),
        Trial::test("names_features", || Ok(names_features()?)),
        Trial::test("refuses_what_is_too_large", || Ok(refuses_what_is_too_large()?)),
    ];
    let goldens = goldens::folder(&Path::new(ROOT).join("tests/goldens")).unwrap_or_else(|e| panic!("{e}"));
    let goldens: Vec<Arc<Golden>> = goldens.into_iter().filter(|golden| CASES.contains(&golden.name.as_str())).map(Arc::new).collect();
    assert_eq!(goldens.len(), CASES.len(), "a golden case is gone");
    for host in hosts().into_iter().map(Arc::new) {
        let lacks = if arguments.list { None } else { host.lacks() };
        // Chromium takes seconds to start: one case of each system.
        for golden in goldens.iter().filter(|golden| host.name != "chromium" || IN_CHROMIUM.contains(&golden.name.as_str())) {
            let name = format!("{}::{}", host.name, golden.name);
            if let Some(reason) = &lacks {
                trials.push(adapters::absent(&name, reason.clone()));
                continue;
            }
            let (host, golden) = (host.clone(), golden.clone());
            let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("plan-data").join(host.name).join(&golden.name);
            trials.push(Trial::test(name, move || Ok(golden.check(Side::Other(&|graph, inputs| host.run(&folder, graph, inputs)))?)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
