//! `verify` as a person runs it: what it prints, what it writes, and how it ends.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::example;

fn verify(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, .. } = example::run("verify", arguments, &[]);
    (status.code(), String::from_utf8(stdout).expect("text"))
}

/// The sentence that refuses these arguments, before anything is printed.
fn refuses(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = example::run("verify", arguments, &[]);
    let said = String::from_utf8(stderr).expect("text");
    assert_eq!(status.code(), Some(2), "{arguments:?}: {said}");
    let said: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    assert_eq!(said.len(), 1, "{arguments:?}: {said:?}");
    assert!(!String::from_utf8(stdout).expect("text").contains("passed"), "{arguments:?}");
    said[0].to_owned()
}

/// Passed, failed and skipped, by the last line.
fn counts(printed: &str) -> [usize; 3] {
    let last = printed.lines().last().unwrap_or_default();
    let words: Vec<_> = last.split([' ', ',']).filter(|w| !w.is_empty()).collect();
    let [passed, "passed", failed, "failed", skipped, "skipped"] = words[..] else { panic!("{last:?} is no summary") };
    [passed, failed, skipped].map(|n| n.parse().expect("a number"))
}

/// A folder of golden cases, of which one is changed.
fn goldens(name: &str, files: &[&str], change: impl Fn(&mut Vec<u8>)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    for (index, file) in files.iter().enumerate() {
        let file = format!("{file}.safetensors");
        let mut bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(&file)).expect("a golden case");
        if index == 0 {
            change(&mut bytes);
        }
        std::fs::write(folder.join(&file), bytes).expect("a copy");
    }
    folder
}

fn path(folder: &Path) -> &str {
    folder.to_str().expect("a path")
}

#[test]
fn kernels_pass() {
    let json = Path::new(env!("CARGO_TARGET_TMPDIR")).join("verify.json");
    let (code, printed) = verify(&["--filter", "lookup", "--quick", "--json", path(&json)]);
    let [passed, failed, skipped] = counts(&printed);
    assert_eq!((code, failed), (Some(0), 0), "{printed}");
    assert!(printed.contains("kernel") && printed.contains("worst error") && printed.contains("its bound"), "{printed}");
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json).expect("a file")).expect("JSON");
    assert_eq!(
        [&report["passed"], &report["failed"], &report["skipped"]].map(|n| n.as_u64()),
        [passed, failed, skipped].map(|n| Some(n as u64))
    );
    if report["adapters"].as_array().is_some_and(|a| !a.is_empty()) {
        assert!(passed > 0 && report["rows"][0]["kernel"] == "lookup", "{report}");
    }
}

#[test]
fn steps_are_shown() {
    let (code, printed) = verify(&["--step", "log_size", "--quick"]);
    assert_eq!(code, Some(0));
    assert!(printed.contains("step 0: log_size") || counts(&printed)[0] == 0, "{printed}");
}

#[test]
fn an_adapter_that_is_not_there_is_refused_with_those_that_are() {
    let said = refuses(&["--adapter", "no such adapter", "--filter", "lookup"]);
    let there_are = adapters();
    let rest = if there_are.is_empty() { "nor any other" } else { "only " };
    assert!(said.starts_with(&format!("there is no adapter \"no such adapter\", {rest}")), "{said}");
    assert!(there_are.iter().all(|name| said.contains(name)), "{said}");
}

/// Those that there are, as a run prints them.
fn adapters() -> Vec<String> {
    let json = Path::new(env!("CARGO_TARGET_TMPDIR")).join("verify-adapters.json");
    verify(&["--filter", "lookup", "--quick", "--json", path(&json)]);
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json).expect("a file")).expect("JSON");
    report["adapters"].as_array().expect("a list").iter().map(|a| a["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_run_that_runs_nothing_is_refused() {
    assert!(refuses(&["--filter", "nothing-like-it"]).starts_with("there is no such case"));
    assert!(refuses(&["--step", "nothing-like-it"]).starts_with("there is no such case"));
    assert!(refuses(&["--filter", "nothing-like-it", "--goldens", "tests/goldens"]).ends_with("no golden case to run"));
}

#[test]
fn a_file_that_cannot_be_written_is_noticed_first() {
    for json in ["src", "no/such/folder/verify.json"] {
        let said = refuses(&["--filter", "lookup", "--quick", "--json", json]);
        assert!(said.starts_with(&format!("cannot write {json}: ")), "{said}");
    }
    // What is refused afterwards leaves the file as it was.
    let json = Path::new(env!("CARGO_TARGET_TMPDIR")).join("untouched.json");
    let _ = std::fs::remove_file(&json);
    refuses(&["--filter", "nothing-like-it", "--json", path(&json)]);
    assert!(!json.exists());
    std::fs::write(&json, "kept").expect("a file");
    refuses(&["--filter", "nothing-like-it", "--json", path(&json)]);
    assert_eq!(std::fs::read_to_string(&json).expect("a file"), "kept");
}

#[test]
fn goldens_pass_and_unknown_ones_are_skipped_by_name() {
    // A system that nobody has heard of.
    let rename = |bytes: &mut Vec<u8>| {
        let at = bytes.windows(5).position(|name| name == b"fastv").expect("its name in the header");
        bytes[at..at + 5].copy_from_slice(b"slowv");
    };
    let folder = goldens("right", &["fastv_00", "nvlm_shuffle_00"], rename);
    let (code, printed) = verify(&["--goldens", path(&folder)]);
    let [passed, failed, skipped] = counts(&printed);
    assert_eq!((code, failed, skipped), (Some(0), 0, 1), "{printed}");
    assert!(passed >= 1 && printed.contains("slowv"), "{printed}");
}

#[test]
fn a_wrong_golden_fails() {
    let folder = goldens("wrong", &["nvlm_shuffle_00", "fastv_00"], |bytes| *bytes.last_mut().expect("bytes") ^= 1);
    let (code, printed) = verify(&["--goldens", path(&folder)]);
    assert_eq!(code, Some(1), "{printed}");
    assert!(counts(&printed)[1] >= 1 && printed.contains("FAILED nvlm_shuffle_00 on reference"), "{printed}");
}

#[test]
fn a_folder_without_goldens_is_refused() {
    assert_eq!(verify(&["--goldens", "no/such/folder"]).0, Some(2));
    assert_eq!(verify(&["--goldens", "src"]).0, Some(2));
}
