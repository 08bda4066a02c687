//! `compilers`: what it reads in kept samples of the compilers' text, and what it refuses. Compiling itself is a check of scripts/test.
#![allow(missing_docs, reason = "a test")]

#[path = "support/example.rs"]
mod example;
#[path = "../examples/compilers/figures.rs"]
#[allow(dead_code, reason = "the example uses it all")]
mod figures;
#[path = "../examples/compilers/hot_loop.rs"]
#[allow(dead_code, reason = "the example uses it all")]
mod hot_loop;

use figures::{Compiler, Figures};
use hot_loop::HotLoop;

#[test]
fn amds_figures_and_hot_loop() {
    let figures = Figures::read(Compiler::Aco, include_str!("compilers/aco.txt")).expect("figures");
    let hot_loop = HotLoop { multiply_adds: 1, vector: 10, buffer_bytes: 8, ..Default::default() };
    let expected = Figures { registers: 24, spills: 0, scratch: 0, occupancy: 32, instructions: 190, hot_loop: Some(hot_loop) };
    assert_eq!(figures, expected);
    assert!(!figures.spill());
}

#[test]
fn amds_spills_are_those_of_vector_registers() {
    let figures = Figures::read(Compiler::Aco, include_str!("compilers/aco_spills.txt")).expect("figures");
    assert_eq!((figures.registers, figures.spills, figures.scratch, figures.occupancy), (256, 65, 13056, 4));
    assert!(figures.spill() && figures.hot_loop.is_none());
}

#[test]
fn nvidias_figures() {
    let figures = Figures::read(Compiler::Nak, include_str!("compilers/nak.txt"));
    assert_eq!(figures, Some(Figures { registers: 255, spills: 826, scratch: 1496, occupancy: 8, instructions: 10393, hot_loop: None }));
}

#[test]
fn apples_figures_are_those_of_the_last_shader() {
    let figures = Figures::read(Compiler::Agx, include_str!("compilers/agx.txt"));
    assert_eq!(figures, Some(Figures { registers: 255, spills: 266, scratch: 620, occupancy: 384, instructions: 8110, hot_loop: None }));
}

#[test]
fn adrenos_figures_with_stores_to_memory_of_its_own_counted() {
    let figures = Figures::read(Compiler::Ir3, include_str!("compilers/ir3.txt"));
    assert_eq!(figures, Some(Figures { registers: 48, spills: 4, scratch: 0, occupancy: 4, instructions: 4907, hot_loop: None }));
}

#[test]
fn text_without_figures_has_none() {
    for compiler in [Compiler::Aco, Compiler::Nak, Compiler::Agx, Compiler::Ir3] {
        for text in ["", "MESA: warning", "*** SHADER STATS ***\n", "CS shader: ", "Instruction count: 1\n", "; CL: outputs:\n"] {
            assert_eq!(Figures::read(compiler, text), None, "{compiler:?}: {text}");
        }
    }
}

/// A loop around a loop, which multiplies more than the one behind it.
#[test]
fn the_hot_loop_is_an_innermost_one() {
    let code = "
BB0:
\ts_mov_b32 s0, s5                                 ; be800005
BB1:
\tv_fma_f32 v0, v1, v2, v0                         ; 560a1107
\tv_fma_f32 v0, v1, v2, v0                         ; 560a1107
BB2:
\tbuffer_load_dwordx4 v[0:3], v7, s[0:3], 0 offen  ; e0500000
\tds_read2_b64 v[4:7], v8                          ; d8d80000
\tv_dual_fmac_f32 v0, v1, v2 :: v_dual_mul_f32 v3, v4, v5 ; ca100080
\tv_pk_fma_f16 v0, v1, v2, v0                      ; 560a1107
\tv_mad_u32_u24 v0, v1, v2, v0                     ; 560a1107
\tv_exp_f32_e32 v0, v1                             ; 560a1107
\ts_cbranch_scc0 BB2                               ; bfa1ffda
\ts_cbranch_scc1 BB1                               ; bfa1ffda
BB3:
\tv_fma_f32 v0, v1, v2, v0                         ; 560a1107
\ts_branch BB3                                     ; bfa1ffda
\ts_branch BB4                                     ; bfa1ffda
BB4:
\ts_endpgm
";
    let expected = HotLoop { multiply_adds: 3, vector: 5, matrices: 0, exponentials: 1, buffer_bytes: 16, shared_bytes: 16 };
    assert_eq!(HotLoop::find(code), Some(expected));
}

#[test]
fn a_loop_over_matrices_may_have_loops_within() {
    let code = "
BB1:
\tv_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7] ; cc404000
\tds_load_b128 v[0:3], v4 ; dbfc0000
BB2:
\tv_fmac_f32_e32 v0, v1, v2 ; 56000501
\tglobal_load_u16 v0, v1, s[0:1] ; dc4a0000
\ts_cbranch_vccnz BB2 ; bfa40000
\ts_cbranch_scc1 BB1 ; bfa20000
";
    let expected = HotLoop { multiply_adds: 1, vector: 1, matrices: 1, buffer_bytes: 2, shared_bytes: 16, exponentials: 0 };
    assert_eq!(HotLoop::find(code), Some(expected));
}

#[test]
fn what_does_not_multiply_has_no_hot_loop() {
    assert_eq!(HotLoop::find("BB0:\n\tv_add_f32 v0, v1, v2\n\ts_cbranch_scc1 BB0\n"), None);
    assert_eq!(HotLoop::find("BB0:\n\tv_fma_f32 v0, v1, v2, v0\n\ts_endpgm\n"), None);
    assert_eq!(HotLoop::find(""), None);
}

#[test]
fn what_cannot_be_compiled_is_refused_with_a_sentence() {
    let refused = [
        (&["--filter", "nothing-like-it"][..], "there is no variant like \"nothing-like-it\""),
        (&["--gpu", "nothing-like-it"], "there is no GPU like \"nothing-like-it\", only AMD"),
        (&["--folder", "no/such/folder"], "no/such/folder/run-gpu is not there: `scripts/newer-mesa no/such/folder` fetches"),
        (&["--json", "src"], "cannot write src: "),
        (&["--against", "Cargo.toml"], "Cargo.toml is no file of --json"),
    ];
    for (arguments, sentence) in refused {
        let output = example::run("compilers", arguments, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with(&format!("error: {sentence}")), "{said}");
    }
}

/// A folder of a driver that says this in place of a GPU's: a shell's text, in which `$from` is the first variant that is asked for.
#[cfg(unix)]
fn driver(name: &str, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;

    const ADAPTER: &str = r#"{"adapter":{"adapter":"a GPU","driver":"1.2","subgroups":[32,32],"f16":true,"matrices":false}}"#;
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("compilers").join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    let program = folder.join("run-gpu");
    let from = "from=$(echo \"$@\" | sed 's/.*--from \\([0-9]*\\).*/\\1/')";
    std::fs::write(&program, format!("#!/bin/sh\n{from}\necho '{ADAPTER}'\n{text}\n")).expect("a file");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("its permissions");
    folder.to_str().expect("a path").to_owned()
}

#[cfg(unix)]
fn begin(index: usize, shader: &str, chosen: bool) -> String {
    format!("echo '{{\"begin\":[{index},{{\"shader\":\"{shader}\",\"variant\":\"f32\",\"chosen\":{chosen}}}]}}'\n")
}

#[cfg(unix)]
fn end(spills: u32) -> String {
    let figures = format!("\"registers\":9,\"spills\":{spills},\"scratch\":0,\"occupancy\":4,\"instructions\":70");
    format!("echo '{{\"end\":{{\"figures\":{{{figures}}}}}}}'\n")
}

/// Exit code and what was printed, for one GPU.
#[cfg(unix)]
fn compilers(folder: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = example::run("compilers", &[&["--gpu", "M1", "--folder", folder], arguments].concat(), &[]);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

#[test]
#[cfg(unix)]
fn what_spills_fails_where_it_runs_and_is_not_known_to() {
    let fine = [begin(1, "copy", true), end(0), begin(2, "attention", true), end(3), begin(3, "copy", false), end(3)].concat();
    let (code, said) = compilers(&driver("fine", &fine), &[]);
    assert!(code == Some(0) && said.contains("\n1 passed, 0 failed, 1 skipped\n"), "{said}");
    let (code, said) = compilers(&driver("spills", &(fine + &begin(4, "copy", true) + &end(3))), &[]);
    assert!(code == Some(1) && said.contains("SPILLS\n") && said.contains("\n1 passed, 1 failed, 1 skipped\n"), "{said}");
}

#[test]
#[cfg(unix)]
fn a_compiler_that_crashes_goes_on_behind_what_it_does_not_compile() {
    let crash = format!("{}echo 'assertion failed' >&2; exit 3", begin(6, "copy", true));
    let text = format!("if [ $from = 0 ]; then\n{crash}; fi\n[ $from = 7 ] || exit 9\n{}{}", begin(8, "lookup", true), end(0));
    let (code, said) = compilers(&driver("crash", &text), &[]);
    assert!(said.contains("FAILED: the compiler ended with exit status: 3: assertion failed\n"), "{said}");
    assert!(code == Some(1) && said.contains("\n1 passed, 1 failed, 0 skipped\n"), "{said}");
}

#[test]
#[cfg(unix)]
fn a_driver_that_does_not_start_is_named() {
    let (code, said) = compilers(&driver("absent", "echo 'the shim is not there' >&2; exit 3"), &[]);
    assert!(said.contains("FAILED Apple M1: honeykrisp does not start: "), "{said}");
    assert!(code == Some(2) && said.contains("the shim is not there"), "{said}");
}

#[test]
#[cfg(unix)]
fn a_file_of_json_is_compared_with() {
    let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/compilers.json");
    let first = driver("before", &(begin(1, "copy", true) + &end(0)));
    assert_eq!(compilers(&first, &["--json", file]).0, Some(0));
    let (_, said) = compilers(&first, &["--against", file]);
    assert!(said.contains("\n0 of 1 variants are worse than before\n"), "{said}");
    let (_, said) = compilers(&driver("after", &(begin(1, "copy", true) + &end(2))), &["--against", file]);
    assert!(said.contains("\nWORSE Apple M1, copy.f32: spills 0 -> 2\n"), "{said}");
}
