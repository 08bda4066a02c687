//! A shader's text against what its kernel says of it: what recording would find out, and panic.

use wgpu::naga::{self, AddressSpace, Module, ResourceBinding, ScalarKind, TypeInner};

use super::shader::Access;
use super::variant::Variant;

/// Whether binding 0 is the uniform `params` with a base for each binding and the host's fields, each of 4 bytes, the others are arrays of
/// the elements that the host counts by, and the entry point is `main`. What differs otherwise.
pub(crate) fn check(variant: &Variant, source: &str) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|error| {
        // The shared text that is put before is none of the author's.
        let before = source.lines().count().saturating_sub(variant.shader.source.lines().count()) as u32;
        let line = error.location(source).map(|location| match location.line_number.checked_sub(before) {
            Some(line @ 1..) => format!("line {line}: "),
            _ => "shared text: ".to_owned(),
        });
        line.unwrap_or_default() + error.message()
    })?;
    if !module.entry_points.iter().any(|entry| entry.name == "main" && entry.stage == naga::ShaderStage::Compute) {
        return Err("there is no compute entry point `main`".to_owned());
    }
    for (name, _) in variant.constants {
        if !module.overrides.iter().any(|(_, constant)| constant.name.as_deref() == Some(name)) {
            return Err(format!("it has no override {name}"));
        }
    }
    params(variant, &module)?;
    bindings(variant, &module)
}

fn at(module: &Module, binding: u32) -> Option<&naga::GlobalVariable> {
    let place = Some(ResourceBinding { group: 0, binding });
    module.global_variables.iter().map(|(_, variable)| variable).find(|variable| variable.binding == place)
}

fn params(variant: &Variant, module: &Module) -> Result<(), String> {
    let shader = variant.shader;
    let bases = shader.bindings().map(|(name, _)| format!("{name}_base"));
    let expected: Vec<_> = bases.chain(shader.params.iter().map(|name| (*name).to_owned())).collect();
    let uniform = at(module, 0).filter(|variable| variable.space == AddressSpace::Uniform).ok_or("binding 0 is no uniform")?;
    let TypeInner::Struct { members, .. } = &module.types[uniform.ty].inner else { return Err("the uniform is no struct".to_owned()) };
    let names: Vec<_> = members.iter().map(|member| member.name.clone().unwrap_or_default()).collect();
    if names != expected {
        return Err(format!("its params are [{}], the kernel's are [{}]", names.join(", "), expected.join(", ")));
    }
    for (index, member) in members.iter().enumerate() {
        let word =
            matches!(module.types[member.ty].inner, TypeInner::Scalar(scalar) if scalar.width == 4 && scalar.kind != ScalarKind::Bool);
        if !word || member.offset != 4 * index as u32 {
            return Err(format!("its param {} is no u32, i32 or f32 right behind the one before", names[index]));
        }
    }
    Ok(())
}

fn bindings(variant: &Variant, module: &Module) -> Result<(), String> {
    let declared = module.global_variables.iter().filter(|(_, variable)| matches!(variable.space, AddressSpace::Storage { .. })).count();
    let expected = variant.shader.bindings().count();
    if declared != expected {
        return Err(format!("it has {declared} storage bindings, the kernel {expected}"));
    }
    for (index, (name, elem)) in variant.shader.bindings().enumerate() {
        let binding = index as u32 + 1;
        let variable = at(module, binding).ok_or_else(|| format!("it has no binding {binding}, the kernel's {name}"))?;
        let AddressSpace::Storage { access } = variable.space else { return Err(format!("{name} is no storage binding")) };
        let written = access.contains(naga::StorageAccess::STORE);
        let read_only = index < variant.shader.inputs.len() && variant.access == Access::Read;
        if written && read_only {
            return Err(format!("{name} is an input that is declared read_write"));
        }
        if !written && !read_only {
            return Err(format!("{name} is not declared read_write"));
        }
        let TypeInner::Array { size: naga::ArraySize::Dynamic, stride, .. } = module.types[variable.ty].inner else {
            return Err(format!("{name} is no runtime-sized array"));
        };
        let size = elem.size(variant.header);
        if u64::from(stride) != size {
            return Err(format!("{name} has elements of {stride} bytes, the kernel's have {size}"));
        }
    }
    Ok(())
}
