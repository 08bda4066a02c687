//! Checks a shader's text with naga, wgpu's own reader of WGSL. To make its pipeline would panic, or report an error without a line.

use wgpu::naga;

use super::variant::Variant;

/// Checks that the text can be read, that its entry point is `main`, and that it has the overrides that the host sets. The error says
/// what is wrong.
pub(crate) fn check(variant: &Variant, source: &str) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|error| {
        // Lines count from the author's first. The shared text before it is not the author's.
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
