//! Chrome's WGSL compiler on every variant: it rejects barriers in divergent control flow and more that naga lets
//! through. It comes with the npm package `webgpu`, which `scripts/test` installs; without it the trials are ignored.
#![allow(missing_docs, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Trial};
use serde_json::json;
use support::adapters;
use support::double::DOUBLE;
use tokenpress::device::{Access, BindingElem, Variant};

/// Texts that Tint must reject and naga accepts: without them this test could not fail.
const REJECTED: [(&str, &str); 2] = [
    (
        "a barrier under a condition on writable memory",
        "@group(0) @binding(1) var<storage, read_write> x: array<u32>;
        @compute @workgroup_size(64) fn main() { if x[0] > 3u { workgroupBarrier(); } }",
    ),
    (
        "a return before a barrier",
        "@group(0) @binding(1) var<storage, read_write> x: array<u32>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            if id.x >= 10u { return; }
            workgroupBarrier();
            x[id.x] = 1u;
        }",
    ),
];

/// Cooperative matrices are naga's alone.
fn in_browsers(variant: &Variant) -> bool {
    !variant.form.is_cooperative()
}

/// The module as a browser gets it.
fn module(variant: &Variant) -> serde_json::Value {
    // naga has no such line, Tint demands it.
    let enable = if variant.form.uses_subgroups() { "enable subgroups;\n" } else { "" };
    let input = if variant.access == Access::Read { "read-only-storage" } else { "storage" };
    let kind = |buffer: &'static str| {
        move |(_, elem): &(&str, BindingElem)| match elem {
            BindingElem::Texture => "texture".to_owned(),
            BindingElem::StorageTexture(format) => format!("{:?}", format.format()).to_lowercase(),
            _ => buffer.to_owned(),
        }
    };
    let storage = variant.shader.inputs.iter().map(kind(input)).chain(variant.shader.outputs.iter().map(kind("storage")));
    let bindings: Vec<_> = std::iter::once("uniform".to_owned()).chain(storage).collect();
    let constants: BTreeMap<_, _> = variant.constants.iter().copied().collect();
    json!({ "code": format!("{enable}{}", variant.source()), "constants": constants, "bindings": bindings })
}

/// Tint's word on each module, by its name; an error if Tint cannot be run.
fn compile(modules: &BTreeMap<String, serde_json::Value>) -> Result<BTreeMap<String, Result<(), String>>, String> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("tint");
    let write = || -> std::io::Result<()> {
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        modules.iter().try_for_each(|(name, module)| std::fs::write(folder.join(format!("{name}.json")), module.to_string()))
    };
    write().map_err(|e| format!("{}: {e}", folder.display()))?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/tint.mjs");
    let output = Command::new("node").arg(script).arg(&folder).output().map_err(|e| format!("no node: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let last = text.lines().last().unwrap_or_default().to_owned();
        return Err(format!("{last} ({}) {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    let verdict = |line: &str| match line.strip_prefix("ok ") {
        Some(name) => Some((name.to_owned(), Ok(()))),
        None => line.strip_prefix("failed ")?.split_once(": ").map(|(name, why)| (name.to_owned(), Err(why.to_owned()))),
    };
    Ok(text.lines().filter_map(verdict).collect())
}

fn main() -> ExitCode {
    let shaders = tokenpress::kernels::shaders().into_iter().chain([&DOUBLE]);
    let mut modules: BTreeMap<String, serde_json::Value> =
        shaders.flat_map(|s| s.variants()).filter(in_browsers).map(|v| (v.label(), module(&v))).collect();
    for (name, code) in REJECTED {
        modules.insert(name.to_owned(), json!({ "code": code, "constants": {}, "bindings": ["uniform", "storage"] }));
    }
    let arguments = Arguments::from_args();
    let verdicts = if arguments.list { Ok(BTreeMap::new()) } else { compile(&modules) };
    let npm = || Command::new("npm").arg("--version").output().is_ok();
    let trial = |name: String| match &verdicts {
        // A machine that has npm has Tint too, once scripts/test has run.
        Err(reason) if npm() => adapters::absent(&name, reason.clone()),
        Err(reason) => adapters::ignored(&name, reason.clone()),
        Ok(verdicts) => {
            let verdict = verdicts.get(&name).cloned().unwrap_or_else(|| Err("Tint said nothing".to_owned()));
            let must_fail = REJECTED.iter().any(|(rejected, _)| *rejected == name);
            Trial::test(name, move || match (verdict, must_fail) {
                (Ok(()), false) => Ok(()),
                (Err(why), true) if why.contains("uniform control flow") => Ok(()),
                (Err(why), _) => Err(why.into()),
                (Ok(()), true) => Err("Tint accepts what it must reject".into()),
            })
        }
    };
    libtest_mimic::run(&arguments, modules.into_keys().map(trial).collect()).exit_code()
}
