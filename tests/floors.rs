//! The floors of the crate: each file uses only what stands below it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up: what stands in one line may use each other.
const FLOORS: &[&[&str]] = &[
    &["tensor", "random", "pattern"],
    &["error", "compare"],
    &["checks", "options"],
    &["reference"],
    &["device"],
    &["graph"],
    &["kernels"],
    &["plan"],
    &["token_map", "schedule"],
    &["methods"],
    &["readback"],
    &["matrices", "tune", "verify"],
];

fn floor(module: &str) -> usize {
    let known = FLOORS.iter().position(|floor| floor.contains(&module));
    known.unwrap_or_else(|| panic!("tests/floors.rs does not know on which floor `{module}` stands"))
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, into),
            false if path.extension().is_some_and(|e| e == "rs") => into.push(path),
            false => {}
        }
    }
}

/// The code of a file: neither comments nor its tests, which may use what they like.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// The modules named behind `crate::`, in braces too.
fn used(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with('$') {
            continue; // in a macro's text: it names what the macro's own file may use
        }
        let rest = &code[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default().split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                found.push(name);
            }
        }
    }
    found
}

/// Which module each file uses from above itself.
fn upward(files: &BTreeMap<String, String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (file, text) in files {
        let own = file.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        if own == "lib" || file.contains("/tests/") {
            continue;
        }
        for name in used(&code(text)) {
            if floor(&name) > floor(own) {
                wrong.push(format!("src/{file} uses `crate::{name}`, which stands above it"));
            }
        }
    }
    wrong
}

#[test]
fn no_file_imports_from_above() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
    let files: BTreeMap<_, _> = paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect();
    assert!(files.len() > 150, "{} files", files.len());
    let wrong = upward(&files);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn an_import_from_above_is_found() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let files = BTreeMap::from([
        file("kernels/score/x.rs", "use crate::tensor::Desc;\nuse crate::{\n    graph::Graph,\n    plan::Plan,\n};\n"),
        file("graph/mod.rs", "/// [`x`](crate::kernels::x)\nfn f() {\n    crate::methods::g();\n}\n"),
    ]);
    let wrong = upward(&files);
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong[0].contains("graph/mod.rs") && wrong[0].contains("methods"), "{wrong:?}");
    assert!(wrong[1].contains("kernels/score/x.rs") && wrong[1].contains("plan"), "{wrong:?}");
}

#[test]
fn no_folder_is_crowded() {
    fn count(folder: &Path, crowded: &mut Vec<String>) {
        let entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        let files = entries.iter().filter(|path| path.is_file()).count();
        if files > 20 {
            crowded.push(format!("{}: {files} files", folder.display()));
        }
        entries.iter().filter(|path| path.is_dir()).for_each(|path| count(path, crowded));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut crowded = Vec::new();
    for folder in ["src", "shaders", "tests/support", "examples"] {
        count(&root.join(folder), &mut crowded);
    }
    assert!(crowded.is_empty(), "folders of more than 20 files:\n{}", crowded.join("\n"));
}
