//! The page of `web/` in a headless Chromium, and what it gives beside what the native examples give. It needs npm's `playwright-core` and
//! Debian's `chromium`, which `scripts/test` installs; without them the trials are ignored, and fail under `REQUIRE_GPU=1`.
#![allow(missing_docs, reason = "a test")]

#[path = "support/example.rs"]
mod example;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use image::{GenericImageView, RgbImage};
use libtest_mimic::{Arguments, Failed, Trial};
use support::adapters;

/// What `scripts/web-test.mjs` tries.
const IN_THE_PAGE: [&str; 9] = [
    "the shipped photo is compressed",
    "a chain of methods, and an image that is none",
    "frames of a camera",
    "the GPU is verified",
    "three kernels are measured",
    "a panic ends a worker, and another one answers",
    "the console has no errors and no warnings",
    "a lost GPU is a sentence, and the next call has another",
    "a browser without WebGPU is told so",
];

/// A comparison of what the page left in a folder.
type Compare = fn(&Path) -> Result<(), Failed>;

const BESIDE_NATIVE: [(&str, Compare); 2] =
    [("the page's pictures are the native run's", pictures), ("the page verifies the native run's cases", counts)];

/// Builds the page, and runs it: what is said of each trial, or why none can run.
fn run(folder: &Path) -> Result<BTreeMap<String, Result<(), String>>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !root.join("scripts/node_modules/playwright-core").exists() {
        return Err("no npm package playwright-core".to_owned());
    }
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let page = folder.join("page");
    let built = Command::new(root.join("scripts/web")).args(["--quick", "--out"]).arg(&page).status();
    if !built.as_ref().is_ok_and(std::process::ExitStatus::success) {
        return Ok(IN_THE_PAGE.map(|name| (name.to_owned(), Err(format!("scripts/web: {built:?}")))).into());
    }
    let output = Command::new("node").arg(root.join("scripts/web-test.mjs")).args([&page, folder]).output();
    let output = output.map_err(|error| format!("no node: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(3) {
        return Err(text.trim().to_owned());
    }
    let verdict = |line: &str| match line.strip_prefix("ok ") {
        Some(rest) => Some((IN_THE_PAGE.into_iter().find(|name| rest.starts_with(name))?.to_owned(), Ok(()))),
        None => line.strip_prefix("FAILED ")?.split_once(": ").map(|(name, why)| (name.to_owned(), Err(why.to_owned()))),
    };
    Ok(text.lines().filter_map(verdict).collect())
}

/// The native example on the photo that the browser decoded, in pixels.
fn pictures(folder: &Path) -> Result<(), Failed> {
    let open = |name: &str| image::open(folder.join(name)).map(|image| image.to_rgb8()).map_err(|error| format!("{name}: {error}"));
    let [regions, restored] = [open("page-regions.png")?, open("page-restored.png")?];
    let [photo, native] = ["photo.png", "native.png"].map(|name| folder.join(name).display().to_string());
    let output = example::run("compress", &[&photo, "--adapter", "swiftshader", "-o", &native], &[]);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let native = open("native.png")?;
    let (width, height) = regions.dimensions();
    let differing = |page: &RgbImage, left: u32| {
        let there = native.view(left, 0, width, height).to_image();
        // A level of 255 is what rounding a float makes.
        let far = |(a, b): (&image::Rgb<u8>, &image::Rgb<u8>)| a.0.iter().zip(b.0).any(|(a, b)| a.abs_diff(b) > 1);
        page.pixels().zip(there.pixels()).filter(|pair| far(*pair)).count()
    };
    let right = native.width() - width;
    match (differing(&regions, 0), differing(&restored, right), differing(&restored, 0)) {
        (0, 0, control) if control > 1000 => Ok(()),
        (left, right, control) => Err(format!(
            "{left} pixels of the regions and {right} of the reconstruction differ by more than rounding, of {}; {control} of the two",
            width * height
        )
        .into()),
    }
}

/// As many cases and runs as natively, none failed, and rows for the same kernels.
fn counts(folder: &Path) -> Result<(), Failed> {
    let report = std::fs::read_to_string(folder.join("report.json"))?;
    let report: serde_json::Value = serde_json::from_str(&report)?;
    let count = |key: &str| report[key].as_u64().unwrap_or(0);
    let ran = count("passed") + count("failed") + count("skipped");
    let native = example::run("verify", &["--brief", "--count"], &[]);
    let native = String::from_utf8_lossy(&native.stdout);
    let expected = native.trim().split(", ").nth(1).unwrap_or_default().to_owned();
    if format!("{ran} runs") != expected || count("failed") > 0 || count("passed") < ran / 4 {
        let (passed, failed, skipped) = (count("passed"), count("failed"), count("skipped"));
        return Err(format!("{passed} passed, {failed} failed and {skipped} skipped in the page; natively {native}").into());
    }
    Ok(())
}

/// The page has locks of its own: reports name the crate's wgpu, and both halves of wasm-bindgen must be of one version.
fn locks() -> Result<(), Failed> {
    let version = |lock: &str, package: &str| -> Result<String, Failed> {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(lock))?;
        let entry = format!("name = \"{package}\"\nversion = \"");
        let (_, rest) = text.split_once(&entry).ok_or_else(|| format!("{lock} has no {package}"))?;
        Ok(rest.split('"').next().unwrap_or_default().to_owned())
    };
    for [(one, package), (other, same)] in [
        [("Cargo.lock", "wgpu"), ("web/Cargo.lock", "wgpu")],
        [("web/Cargo.lock", "wasm-bindgen"), ("web/bindgen/Cargo.lock", "wasm-bindgen-cli-support")],
    ] {
        let [one, other] = [(one, version(one, package)?), (other, version(other, same)?)];
        if one.1 != other.1 {
            return Err(format!("{package}: {one:?}, {other:?}").into());
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("web");
    let verdicts = if arguments.list { Ok(BTreeMap::new()) } else { run(&folder) };
    let native = BESIDE_NATIVE.map(|(name, _)| name);
    let trials = IN_THE_PAGE.into_iter().chain(native).map(|name| match &verdicts {
        Err(reason) => adapters::absent(name, reason.clone()),
        Ok(verdicts) => {
            let folder = folder.clone();
            let verdict = verdicts.get(name).cloned().unwrap_or_else(|| Err("the page said nothing of it".to_owned()));
            let beside = BESIDE_NATIVE.into_iter().find(|(beside, _)| *beside == name);
            Trial::test(name, move || match beside {
                Some((_, compare)) => compare(&folder),
                None => verdict.map_err(Failed::from),
            })
        }
    });
    let locks = Trial::test("the locks agree", locks);
    libtest_mimic::run(&arguments, trials.chain([locks]).collect()).exit_code()
}
