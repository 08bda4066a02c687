//! The example as a person runs it: a frame before and after, drawn by one encoder, on every adapter.

use std::path::Path;

use crate::example;

const SIZE: [u32; 2] = [144, 256];

/// The picture that the example draws with these arguments; none where there is no such adapter, which is a failure under `REQUIRE_GPU=1`.
fn picture(name: &str, arguments: &[&str]) -> Option<image::RgbImage> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("frame-{name}.png"));
    let _ = std::fs::remove_file(&file);
    let size = SIZE.map(|edge| edge.to_string());
    let arguments = [arguments, &["--size", &size[0], &size[1], "-o", file.to_str().expect("a path")]].concat();
    let output = example::run("frame", &arguments, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|v| !v.is_empty() && v != "0");
    let optional = std::env::var("OPTIONAL_ADAPTERS").is_ok_and(|names| names.split(',').any(|optional| optional == name));
    if said.contains("there is no adapter") && (!required || optional) {
        println!("no adapter {name}");
        return None;
    }
    assert!(output.status.success(), "{arguments:?}: {said}");
    Some(image::open(&file).expect("a picture").into_rgb8())
}

/// Mean squared difference of the first two parts.
fn lost(picture: &image::RgbImage) -> f64 {
    let [h, w] = SIZE;
    let square = |x: u32, y: u32, c: usize| (f64::from(picture[(x, y)][c]) - f64::from(picture[(x + w, y)][c])).powi(2);
    let all = (0..w).flat_map(|x| (0..h).flat_map(move |y| (0..3).map(move |c| (x, y, c))));
    all.map(|(x, y, c)| square(x, y, c)).sum::<f64>() / f64::from(3 * w * h)
}

#[test]
fn a_frame_is_compressed_between_two_render_passes() {
    for (name, adapter) in [
        ("lavapipe", ["--adapter", "llvmpipe", "--backend", "vulkan"]),
        ("swiftshader", ["--adapter", "swiftshader", "--backend", "vulkan"]),
        ("llvmpipe-gl", ["--adapter", "llvmpipe", "--backend", "gl"]),
    ] {
        let Some(shown) = picture(name, &adapter) else { continue };
        let [h, w] = SIZE;
        assert_eq!(shown.dimensions(), (3 * w, h), "{name}");
        // The middle ball is yellow, before and after; the sky is blue.
        for part in [0, 1] {
            let [red, green, blue] = shown[(part * w + w / 2, h / 2)].0;
            assert!(red > 120 && green > 90 && blue < 90, "{name}: {red} {green} {blue}");
            let [red, _, blue] = shown[(part * w + w / 2, 8)].0;
            assert!(blue > red + 40, "{name}");
        }
        let loss = lost(&shown);
        assert!(loss > 1.0 && loss < 900.0, "{name}: {loss}");
        // Without a merge nothing changes.
        let same = picture(name, &[&adapter[..], &["--halvings", "0"]].concat());
        assert_eq!(same.map(|picture| lost(&picture)), Some(0.0), "{name}");
    }
}

#[test]
fn what_textures_cost_is_measured_beside_copies() {
    let output = example::run("frame", &["--measure", "--size", "16", "32"], &[]);
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && said.lines().count() == 11, "{said}");
}
