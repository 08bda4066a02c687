//! The examples as a person runs them: what they refuse, at once and with a sentence, and how they end when nobody reads on.

use std::io::Read;
use std::process::Stdio;

use crate::example;

/// The sentence that refuses these arguments.
fn refuses(name: &'static str, arguments: &[&str]) -> String {
    let output = example::run(name, arguments, &[]);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{name} {arguments:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said.lines().find_map(|line| line.strip_prefix("error: ")).expect("an error").to_owned()
}

#[test]
fn a_filter_that_nothing_contains_is_refused() {
    for list in [&[][..], &["--scaling"], &["--list"]] {
        let arguments = [&["--filter", "nothing-like-it"], list].concat();
        assert!(refuses("bench", &arguments).starts_with("there is no such case"));
    }
    assert!(refuses("methods", &["--filter", "nothing-like-it"]).starts_with("there is no such method"));
}

#[test]
fn files_that_cannot_be_written_are_noticed_first() {
    for option in ["--json", "--plot", "--tune"] {
        for file in ["src", "no/such/folder/file"] {
            assert!(refuses("bench", &["--filter", "copy", option, file]).starts_with(&format!("cannot write {file}: ")));
        }
    }
    for option in ["--json", "--plot"] {
        for example in ["vit", "whisper"] {
            let evaluate: &[&str] = if example == "vit" { &["--evaluate", "saliency"] } else { &["--evaluate", "no-such-folder"] };
            assert!(refuses(example, &[evaluate, &[option, "src"]].concat()).starts_with("cannot write src: "));
        }
    }
    assert!(refuses("vit", &["--tensors", "src"]).starts_with("cannot write src: "));
    assert!(refuses("whisper", &["sound.wav", "--tensors", "src"]).starts_with("cannot write src: "));
}

#[test]
fn numbers_out_of_range_are_refused() {
    for tokens in ["0", "4294967295", "-1", "many"] {
        assert!(refuses("methods", &[&format!("--tokens={tokens}")]).contains("--tokens"));
    }
}

#[test]
fn an_adapter_that_is_not_there_is_refused() {
    for example in ["methods", "bench", "compress", "frame"] {
        assert!(refuses(example, &["--adapter", "nosuch"]).starts_with("there is no"));
    }
}

/// As under `| head -1`.
#[test]
#[cfg(unix)]
fn a_reader_that_goes_away_is_no_panic() {
    let runs: [(&'static str, &[&str]); 4] = [
        ("verify", &["--filter", "lookup", "--quick"]),
        ("methods", &["--filter", "tome", "--tokens", "16"]),
        ("bench", &["--list"]),
        ("compress", &["--patch", "32", "--adapter", "reference", "-o", concat!(env!("CARGO_TARGET_TMPDIR"), "/unread.png")]),
    ];
    for (name, arguments) in runs {
        let mut command = example::command(name);
        let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let mut read = [0; 1];
        // Nothing where it has nothing to print; the pipe is closed behind the first byte.
        let _ = child.stdout.take().expect("a pipe").read(&mut read);
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked") && !said.contains("error: "), "{name}: {said}");
    }
}
