//! What the criterion benchmarks and the `bench` example share: cases, and a clock.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each user takes a part")]

pub mod cases;
#[path = "../../tests/support/data.rs"]
pub mod data;
#[path = "../../tests/support/open.rs"]
pub mod open;
pub mod timer;

#[cfg(not(target_arch = "wasm32"))]
use tokenpress::{readback::Context, wgpu};

/// The adapter of which this is a part of the name, driver or backend; the best one for `None`.
#[cfg(not(target_arch = "wasm32"))]
pub fn adapter(wanted: Option<&str>) -> Result<wgpu::Adapter, String> {
    let text = |adapter: &wgpu::Adapter| {
        let wgpu::AdapterInfo { name, driver, driver_info, backend, .. } = adapter.get_info();
        format!("{name} {driver} {driver_info} {backend:?}").to_lowercase()
    };
    let adapters = pollster::block_on(Context::adapters(wgpu::Backends::all()));
    let names: Vec<_> = adapters.iter().map(|a| format!("{} ({:?})", a.get_info().name, a.get_info().backend)).collect();
    let fits = |adapter: &wgpu::Adapter| wanted.is_none_or(|wanted| text(adapter).contains(&wanted.to_lowercase()));
    let none = || match wanted {
        Some(wanted) => format!("there is no adapter {wanted:?} among these: {}", names.join(", ")),
        None => "there is no adapter; on Debian, `apt-get install mesa-vulkan-drivers` brings a software one".to_owned(),
    };
    adapters.into_iter().find(fits).ok_or_else(none)
}
