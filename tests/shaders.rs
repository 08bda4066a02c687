//! Every variant of every shader as text: what naga says of it, what it declares against what the host binds,
//! and WebGPU's default limits. No device is needed.
#![allow(missing_docs, reason = "a test")]

use std::collections::HashMap;
use std::path::Path;

use naga::proc::Layouter;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, Scalar, TypeInner};
use tokenpress::device::{BindingElem, Header, Include, Shader, Variant};
use tokenpress::kernels::shaders;

fn variants() -> Vec<Variant> {
    shaders().into_iter().flat_map(|s| s.variants()).collect()
}

/// Runs a check on every variant, and fails with every complaint under its variant's label.
fn on_each(check: impl Fn(&Variant) -> Result<(), String>) {
    let complaints: Vec<_> = variants().iter().filter_map(|v| check(v).err().map(|e| format!("{}: {e}", v.label()))).collect();
    assert!(complaints.is_empty(), "{} complaints\n{}", complaints.len(), complaints.join("\n"));
}

/// What a variant may use besides the core of the language.
fn capabilities(variant: &Variant) -> Capabilities {
    let mut capabilities = Capabilities::empty();
    capabilities.set(Capabilities::SHADER_FLOAT16, variant.header.is_f16());
    capabilities.set(Capabilities::SUBGROUP, variant.form.uses_subgroups());
    capabilities.set(Capabilities::COOPERATIVE_MATRIX, variant.form.is_cooperative());
    capabilities
}

fn validator(variant: &Variant) -> Validator {
    let mut validator = Validator::new(ValidationFlags::all(), capabilities(variant));
    if variant.form.uses_subgroups() {
        use naga::valid::{ShaderStages, SubgroupOperationSet};
        validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
    }
    validator
}

fn parse(variant: &Variant) -> Result<(Module, ModuleInfo), String> {
    let source = variant.source();
    let module = naga::front::wgsl::parse_str(&source).map_err(|e| e.emit_to_string(&source))?;
    let info = validator(variant).validate(&module).map_err(|e| e.emit_to_string(&source))?;
    Ok((module, info))
}

/// The module with its overrides set as the variant sets them.
fn resolved(variant: &Variant) -> Result<(Module, ModuleInfo), String> {
    let (module, info) = parse(variant)?;
    let constants: HashMap<String, f64> = variant.constants.iter().map(|(name, value)| ((*name).to_owned(), f64::from(*value))).collect();
    let (module, info) = naga::back::pipeline_constants::process_overrides(&module, &info, None, &constants.into_iter().collect())
        .map_err(|e| e.to_string())?;
    Ok((module.into_owned(), info.into_owned()))
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, actual: T) -> Result<(), String> {
    if expected == actual { Ok(()) } else { Err(format!("{what}: expected {expected:?}, got {actual:?}")) }
}

#[test]
fn there_are_shaders() {
    assert!(!variants().is_empty());
}

#[test]
fn labels_and_names_differ() {
    let mut labels: Vec<_> = variants().iter().map(Variant::label).collect();
    let all = labels.len();
    labels.sort();
    labels.dedup();
    assert_eq!(labels.len(), all, "two variants have one label");
}

#[test]
fn naga_accepts_each_with_the_features_that_it_claims() {
    on_each(|variant| parse(variant).map(|_| ()));
}

#[test]
fn f16_and_subgroups_are_used_where_they_are_claimed() {
    on_each(|variant| {
        let (module, _) = parse(variant)?;
        let f16 = module.types.iter().any(|(_, t)| t.inner.scalar() == Some(Scalar::F16));
        expect("uses f16", variant.header.is_f16(), f16)?;
        expect("uses subgroups", variant.form.uses_subgroups(), variant.source().contains("subgroup_size"))
    });
}

#[test]
fn the_entry_point_is_main_and_alone() {
    on_each(|variant| {
        let (module, _) = parse(variant)?;
        let names: Vec<_> = module.entry_points.iter().map(|e| (e.name.as_str(), e.stage)).collect();
        expect("entry points", vec![("main", naga::ShaderStage::Compute)], names)
    });
}

/// The host writes them, once.
#[test]
fn no_file_declares_params_or_bindings() {
    fn walk(folder: &Path, found: &mut Vec<String>) {
        for path in std::fs::read_dir(folder).expect("a folder of shaders").map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                walk(&path, found);
                continue;
            }
            let source = std::fs::read_to_string(&path).expect("its text");
            let declares = ["struct Params", "@group", "@binding", "var<storage", "var<uniform"].iter().any(|word| source.contains(word));
            if declares {
                found.push(path.display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders")), &mut found);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn no_shader_has_more_than_eight_storage_bindings() {
    for shader in shaders() {
        assert!(shader.inputs.len() + shader.outputs.len() <= 8, "{}", shader.name);
    }
}

/// What the host takes for the size of an element is its size.
#[test]
fn elements_have_the_size_that_the_host_counts_by() {
    on_each(|variant| {
        let (module, _) = parse(variant)?;
        for (name, elem) in variant.shader.inputs.iter().chain(variant.shader.outputs) {
            let (_, global) = module.global_variables.iter().find(|(_, g)| g.name.as_deref() == Some(name)).ok_or("a missing binding")?;
            if elem.is_texture() {
                let is_image = matches!(module.types[global.ty].inner, TypeInner::Image { .. });
                is_image.then_some(()).ok_or(format!("{name} is no texture"))?;
                continue;
            }
            let TypeInner::Array { stride, .. } = module.types[global.ty].inner else { return Err(format!("{name} is no array")) };
            let bytes = match elem {
                BindingElem::Elem => variant.header.size(),
                BindingElem::Scalar => variant.header.size() / u64::from(variant.header.width()),
                BindingElem::ElemF32 => 4 * u64::from(variant.header.width()),
                BindingElem::F32x4 | BindingElem::U32x4 => 16,
                _ => 4,
            };
            expect(name, bytes, u64::from(stride))?;
        }
        Ok(())
    });
}

#[test]
fn nothing_exceeds_webgpus_default_limits() {
    on_each(|variant| {
        let (module, _) = resolved(variant)?;
        let mut layouter = Layouter::default();
        layouter.update(module.to_ctx()).map_err(|e| e.to_string())?;
        let workgroup = module.global_variables.iter().filter(|(_, g)| g.space == AddressSpace::WorkGroup);
        // As wgpu counts: each variable rounded up to 16 bytes.
        let memory: u32 = workgroup.map(|(_, g)| layouter[g.ty].size.next_multiple_of(16)).sum();
        let [x, y, z] = module.entry_points[0].workgroup_size;
        if x * y * z > 256 || x > 256 || y > 256 || z > 64 {
            return Err(format!("{x} x {y} x {z} invocations"));
        }
        if memory > 16384 {
            return Err(format!("{memory} bytes of workgroup memory"));
        }
        Ok(())
    });
}

#[test]
fn every_backend_has_a_text_for_each() {
    on_each(|variant| {
        let (module, info) = resolved(variant)?;
        let spirv = naga::back::spv::Options { lang_version: (1, 3), ..Default::default() };
        naga::back::spv::write_vec(&module, &info, &spirv, None).map_err(|e| format!("SPIR-V: {e}"))?;
        let msl = naga::back::msl::Options { lang_version: (2, 4), ..Default::default() };
        naga::back::msl::write_string(&module, &info, &msl, &Default::default()).map_err(|e| format!("MSL: {e}"))?;
        if variant.form.is_cooperative() {
            return Ok(()); // Direct3D has no such matrices in wgpu
        }
        let hlsl = naga::back::hlsl::Options { shader_model: naga::back::hlsl::ShaderModel::V6_2, ..Default::default() };
        let mut text = String::new();
        naga::back::hlsl::Writer::new(&mut text, &hlsl, &Default::default())
            .write(&module, &info, None)
            .map_err(|e| format!("HLSL: {e}"))?;
        Ok(())
    });
}

/// Chrome's compiler is stricter than naga: what a text search can find is found here, the rest by `tests/tint.rs`.
#[test]
fn style_keeps_the_shaders_portable() {
    on_each(|variant| {
        let code: String =
            variant.shader.source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
        for (word, instead) in [
            ("arrayLength", "a length from params"),
            ("subgroup", "a function of common/order/reduce_subgroup.wgsl"),
            ("ptr<", "a value"),
            ("enable ", "a header"),
            ("isNan", "the bits"),
            ("isInf", "the bits"),
        ] {
            if code.contains(word) {
                return Err(format!("has `{word}`: use {instead}"));
            }
        }
        Ok(())
    });
}

#[test]
fn every_file_is_a_shader_and_every_shader_a_file() {
    /// Every file but those that others include.
    fn walk(folder: &Path, files: &mut HashMap<String, String>) {
        for path in std::fs::read_dir(folder).expect("a folder of shaders").map(|entry| entry.expect("a folder's entry").path()) {
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
            match name.strip_suffix(".wgsl") {
                Some(stem) => {
                    files.insert(stem.to_owned(), std::fs::read_to_string(&path).expect("a shader's file"));
                }
                None if name == "common" || name == "parts" => {}
                None => walk(&path, files),
            }
        }
    }
    let mut texts = HashMap::new();
    walk(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders")), &mut texts);
    let mut files: Vec<String> = texts.keys().cloned().collect();
    // A text may serve twice: a workgroup that shares a row, and invocations that have one each; products, and distances; floats, and integers;
    // all keys, and those of given pages.
    let stem = |shader: &Shader| {
        if shader.name == "paged_attention" {
            return "attention.few".to_owned();
        }
        let uses = [(".alone", Include::Alone), (".distances", Include::Differences)];
        let second = |(suffix, include)| shader.name.strip_suffix(suffix).filter(|_| shader.includes.contains(&include));
        let integers = shader.name.strip_suffix(".integers").filter(|_| shader.headers == [Header::U32]);
        let name = uses.into_iter().find_map(second).or(integers).unwrap_or(shader.name);
        // One that reads a texture, or writes one of a format, in place of a buffer.
        let name = shader.outputs.iter().fold(name, |name, (_, elem)| match elem {
            BindingElem::StorageTexture(_) => name.rsplit_once('.').map_or(name, |(stem, _)| stem),
            _ => name,
        });
        name.strip_suffix(".texture").unwrap_or(name).to_owned()
    };
    let mut names: Vec<String> = shaders().iter().map(|s| stem(s)).collect();
    files.sort();
    names.sort();
    names.dedup();
    let lacking = |all: &[String], of: &[String]| -> Vec<String> { of.iter().filter(|name| !all.contains(name)).cloned().collect() };
    assert_eq!((lacking(&files, &names), lacking(&names, &files)), (vec![], vec![]), "shaders without a file, and files without a shader");
    for shader in shaders() {
        assert_eq!(shader.source, texts[&stem(shader)], "{}: the shader includes another file", shader.name);
    }
}
