//! A shader's text as wgpu's own reader sees it: what making its pipeline would panic of, or say without a line.

use wgpu::naga;

use super::variant::Variant;

/// Whether it can be read, its entry point is `main`, and it has the overrides that the host sets. What is wrong otherwise.
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
    Ok(())
}
