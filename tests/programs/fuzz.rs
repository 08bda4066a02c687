//! `fuzz` as a person runs it: how it ends, and that a case is repeated by its seed.

use std::process::Output;

use crate::example;

fn fuzz(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = example::run("fuzz", arguments, &[]);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn what_nothing_is_named_like_ends_with_2_and_says_what_there_is() {
    let (code, _, said) = fuzz(&["--target", "nosuch"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("nosuch") && said.contains("top_k"), "{said}");
    let (code, _, said) = fuzz(&["--adapter", "nosuch"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.starts_with("error: no adapter like \"nosuch\""), "{said}");
}

#[test]
fn no_cases_are_a_failure() {
    let (code, printed, _) = fuzz(&["--cases", "0"]);
    assert_eq!((code, printed.lines().last()), (Some(2), Some("0 passed, 0 failed, 0 skipped")));
}

#[test]
fn cases_of_one_target_are_run_and_counted() {
    let (code, printed, said) = fuzz(&["--target", "compact", "--seed", "7", "--cases", "9"]);
    assert_eq!(code, Some(0), "{printed}{said}");
    assert!(printed.starts_with("1 targets from seed 7 on"), "{printed}");
    let counts: Vec<u64> = printed.lines().last().unwrap_or_default().split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    assert_eq!(counts.iter().sum::<u64>(), 9, "{printed}");
    assert_eq!(counts[1], 0, "{printed}");
}
