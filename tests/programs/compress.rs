//! The example as a person runs it: the default run, the CPU reference, and every bad input.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::example;

/// Runs the example with these arguments.
fn compress(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    example::run("compress", arguments, environment)
}

/// A file for this test alone.
fn file(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compress");
    std::fs::create_dir_all(&folder).expect("a folder");
    folder.join(name)
}

/// The picture's size, and what was printed.
fn succeeds(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> ((u32, u32), String) {
    let picture = file(name);
    let _ = std::fs::remove_file(&picture);
    let output = compress(&[arguments, &["-o", picture.to_str().expect("a path")]].concat(), environment);
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{arguments:?}: {printed}{}", String::from_utf8_lossy(&output.stderr));
    let size = image::image_dimensions(&picture).expect("a picture");
    (size, printed)
}

/// The sentence that refuses these arguments.
fn refuses(arguments: &[&str]) -> String {
    let output = compress(arguments, &[]);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    let said = String::from_utf8(output.stderr).expect("text");
    // Graphics drivers may say something of their own.
    let said: Vec<_> = said.lines().filter(|line| !line.contains("XDG_RUNTIME_DIR")).collect();
    assert_eq!(said.len(), 1, "{arguments:?}: {said:?}");
    said[0].strip_prefix("error: ").expect("an error").to_owned()
}

#[test]
fn default_run() {
    let (size, printed) = succeeds("default.png", &[], &[]);
    assert_eq!(size, (2 * 1152 + 12, 768));
    for part in ["adapter ", "864 before, 216 after (25.0 %)", "kernel", "bytes moved", "difference", "of 255 levels", "Wrote"] {
        assert!(printed.contains(part), "{part:?} is not in:\n{printed}");
    }
}

#[test]
fn every_method_on_the_reference() {
    for (method, left) in METHODS {
        let arguments = ["--method", method, "--patch", "32", "--adapter", "reference"];
        let (_, printed) = succeeds(&format!("{}.png", method.replace(':', "-")), &arguments, &[]);
        assert!(printed.contains("none: the CPU reference"), "{printed}");
        assert!(printed.contains(&format!("216 before, {left} after")), "{method}: {printed}");
    }
}

/// Every method and some chains, and the tokens that they leave of 216. How many `prumerge` and `mustdrop` leave, the photo decides.
const METHODS: &[(&str, u32)] = &[
    ("tome", 54),
    ("tomesd", 54),
    ("topk", 54),
    ("atome", 108),
    ("fastadasp", 54),
    ("evit", 54),
    ("visionzip", 54),
    ("prumerge", 22),
    ("prumerge-plus", 87),
    ("mustdrop", 144),
    ("vispruner", 54),
    ("holov", 54),
    ("btp", 54),
    ("divprune", 54),
    ("cdpruner", 54),
    ("idpruner", 54),
    ("dart", 54),
    ("dpc", 54),
    ("pool", 54),
    ("unshuffle", 54),
    ("topk:0.5+tome:0.5", 54),
    ("unshuffle:0.25+topk:1", 54),
    ("pool+tome:1", 54),
    ("prumerge+tome:1", 22),
];

#[test]
fn help_lists_the_methods_that_are_tested() {
    let help = String::from_utf8(compress(&["--help"], &[]).stdout).expect("text");
    let listed: Vec<_> = help.lines().skip_while(|l| *l != "Methods:").skip(1).map_while(|l| l.split_whitespace().next()).collect();
    let tested: Vec<_> = METHODS.iter().map(|(name, _)| *name).filter(|name| !name.contains(['+', ':'])).collect();
    assert_eq!(listed, tested);
}

/// Drivers are hidden from the loaders.
#[test]
#[cfg(target_os = "linux")]
fn without_an_adapter() {
    let hidden = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "__EGL_VENDOR_LIBRARY_FILENAMES"].map(|name| (name, "/nonexistent"));
    let (_, printed) = succeeds("hidden.png", &["--patch", "32"], &hidden);
    assert!(printed.starts_with("No GPU was found"), "{printed}");
    assert!(printed.contains("apt-get install mesa-vulkan-drivers"), "{printed}");
}

#[test]
fn own_photo() {
    let photo = file("photo.png");
    image::RgbImage::from_fn(70, 50, |x, y| image::Rgb([x as u8, y as u8, 0])).save(&photo).expect("a photo");
    let photo = photo.to_str().expect("a path");
    let (size, printed) = succeeds("own.png", &[photo, "--patch", "8", "--merge", "40", "--width", "16", "--layers", "2"], &[]);
    assert_eq!(size, (2 * 64 * 8 + 12, 48 * 8));
    assert!(printed.contains("64 x 48: 8 x 6 patches"), "{printed}");
    assert!(printed.contains("48 before, 8 after"), "{printed}");
}

#[test]
fn bad_input() {
    assert!(refuses(&["nowhere.png"]).starts_with("cannot read nowhere.png: "));
    assert!(refuses(&["src"]).starts_with("cannot read src: "));
    assert_eq!(refuses(&["Cargo.toml"]), "Cargo.toml is not a PNG or JPEG image");
    let broken = file("broken.png");
    std::fs::write(&broken, b"\x89PNG\r\n\x1a\nnothing of the kind").expect("a file");
    assert!(refuses(&[broken.to_str().expect("a path")]).starts_with("cannot read the image "));
    for keep in ["0", "-0.5", "1.5", "NaN", "inf"] {
        assert_eq!(refuses(&[&format!("--keep={keep}")]), format!("--keep must be above 0 and at most 1, not {keep}"));
    }
    assert_eq!(refuses(&["--merge", "864"]), "--merge 864 leaves nothing of 864 tokens");
    assert_eq!(refuses(&["--patch", "0"]), "--patch must be from 1 to 4096, not 0");
    assert_eq!(refuses(&["--patch", "400"]), "a patch of 400 x 400 is larger than the image of 576 x 384");
    assert!(refuses(&["--method", "magic"]).starts_with("there is no method \"magic\", only "));
    assert!(refuses(&["--method", "unshuffle", "--keep", "0.3"]).starts_with("unshuffle leaves 1, 1/4, 1/9"));
    assert!(refuses(&["--patch", "2"]).starts_with("55296 patches are more than 16384"));
    assert!(refuses(&["--method", "unshuffle", "--keep", "0.00001"]).starts_with("to leave 0.00001 of the tokens takes 316 x 316"));
    assert!(refuses(&["--method", "unshuffle", "--width", "8"]).starts_with("--width means nothing to unshuffle"));
    assert!(refuses(&["--method", "topk+pool"]).starts_with("pool needs patches in rows and columns"));
    assert_eq!(refuses(&["--method", "topk:2+tome"]), "the share of topk must be above 0 and at most 1, not 2");
    assert_eq!(refuses(&["--method", "topk:0.1+tome"]), "topk:0.1+tome keeps less than 0.25 of the tokens already");
    assert!(refuses(&["--method", "prumerge", "--keep", "0.5"]).starts_with("prumerge says itself what it keeps"));
    assert_eq!(refuses(&["--method", "mustdrop:0.5"]), "mustdrop takes no share: the photo's content decides how much is left");
    assert!(refuses(&["--method", "mustdrop", "--patch", "40"]).starts_with("mustdrop needs rows and columns in threes"));
    assert!(refuses(&["--method", "topk:0.1", "--keep", "0.5"]).starts_with("topk:0.1 says itself what it keeps"));
    assert_eq!(refuses(&["-o", "tokens.txt"]), "cannot write tokens.txt: its name must end in .png or .jpg");
    assert_eq!(refuses(&["-o", "nowhere/tokens.png"]), "cannot write nowhere/tokens.png: there is no such folder");
    assert!(refuses(&["--adapter", "abacus"]).starts_with("there is no adapter \"abacus\""));
}
