//! Every case on every adapter, step by step against the reference, in poisoned memory with canaries.
//!
//! A trial is `adapter::kernel.elem::variant`, or `whole` for graphs of several calls as one plan against call by call. What cannot run here is ignored with its reason, and a failure
//! under `REQUIRE_GPU=1` where the machine should have it. At the end stand the counts for each adapter, and
//! every shader variant that an adapter could run must have run on it.
#![allow(missing_docs, reason = "a test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use support::Case;
use support::adapters::{self, Adapter, MODES, Mode};
use tokenpress::verify::{Reference, whole};

/// A case with its reference, which every adapter and mode is compared with.
struct Prepared {
    case: Case,
    reference: OnceLock<Reference>,
}

impl Prepared {
    fn reference(&self) -> &Reference {
        let new = || Reference::new(&self.case.graph, &self.case.inputs).unwrap_or_else(|e| panic!("{} {}: {e}", self.subject, self.name));
        self.reference.get_or_init(new)
    }
}

impl Deref for Prepared {
    type Target = Case;

    fn deref(&self) -> &Case {
        &self.case
    }
}

fn cases() -> &'static [Prepared] {
    static CASES: OnceLock<Vec<Prepared>> = OnceLock::new();
    CASES.get_or_init(|| support::cases::with_bf16().into_iter().map(|case| Prepared { case, reference: OnceLock::new() }).collect())
}

/// Labels of the variants that ran, by adapter.
static RAN: Mutex<BTreeMap<String, BTreeSet<String>>> = Mutex::new(BTreeMap::new());

/// Runs a group of cases on an adapter in one mode.
fn run(adapter: &Adapter, mode: &Mode, group: &[&Prepared]) -> Result<Completion, Failed> {
    let _turn = adapter.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let gpu = adapter.context.gpu.with_policy(mode.policy);
    let mut failures = Vec::new();
    for (i, case) in group.iter().enumerate() {
        let reports = match pollster::block_on(case.reference().steps(&adapter.context, &gpu, mode.placement_of(i))) {
            Ok(reports) => reports,
            Err(error) => {
                failures.push(format!("{} {}: {error}", case.subject, case.name));
                continue;
            }
        };
        for report in reports {
            let mut ran = RAN.lock().unwrap_or_else(PoisonError::into_inner);
            ran.entry(adapter.name.clone()).or_default().extend(report.variants.iter().cloned());
            if !report.passed() {
                failures.push(format!("{} {}: {report:?}", case.subject, case.name));
            }
        }
    }
    if failures.is_empty() {
        return Ok(Completion::Completed);
    }
    let shown = failures.iter().take(8).map(String::as_str).collect::<Vec<_>>().join("\n");
    Err(format!("{} of {} cases\n{shown}", failures.len(), group.len()).into())
}

/// Runs whole graphs on an adapter, each in one plan and again call by call.
fn run_whole(adapter: &Adapter, group: &[&Prepared]) -> Result<(), Failed> {
    let _turn = adapter.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let mut failures = Vec::new();
    for case in group {
        match pollster::block_on(whole(&adapter.context, &adapter.context.gpu, &case.graph, &case.inputs)) {
            Ok(report) if report.passed() => {}
            Ok(report) => failures.push(format!("{} {}: {report:?}", case.subject, case.name)),
            Err(error) => failures.push(format!("{} {}: {error}", case.subject, case.name)),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

fn trials(adapters: &[Arc<Adapter>]) -> Vec<Trial> {
    let mut groups: BTreeMap<(&str, String), Vec<&Prepared>> = BTreeMap::new();
    for case in cases().iter().filter(|c| !c.heavy) {
        groups.entry((case.subject, case.elem().to_string())).or_default().push(case);
    }
    let mut trials = adapters::missing(adapters);
    for adapter in adapters {
        // Lavapipe has both features: there a missing one is a fault of the machine. Only later ones have matrices.
        let complete = adapter.name == "lavapipe";
        for ((subject, elem), group) in &groups {
            // Without the feature a call of f16 is converted, as one of bf16 is everywhere.
            let converted = elem == "f16" && !adapter.f16();
            let chains: Vec<_> = group.iter().copied().filter(|c| c.calls() > 1).collect();
            if !chains.is_empty() && !converted {
                let adapter = adapter.clone();
                trials.push(Trial::test(format!("{}::{subject}.{elem}::whole", adapter.name), move || run_whole(&adapter, &chains)));
            }
            for mode in MODES.iter().filter(|mode| group.iter().all(|c| c.runs_in(mode))) {
                let name = format!("{}::{subject}.{elem}::{}", adapter.name, mode.name);
                // Modes that stand for all run everywhere, in the forms that there are.
                let everywhere = mode.stands_for_all() && (converted || elem == "bf16" || mode.placement.apart);
                let lacking = adapter.lacks(mode, subject).filter(|_| !everywhere);
                let lacking = (converted && !mode.stands_for_all()).then_some("SHADER_F16").or(lacking);
                trials.push(match lacking {
                    Some(feature) if complete && (!mode.matrices() || adapters::matrices_required()) => {
                        adapters::absent(&name, format!("no {feature}"))
                    }
                    Some(feature) => adapters::ignored(&name, format!("no {feature}")),
                    None => {
                        // A plan makes strided tensors dense around any call in the same way: a few of each kernel's stand for all.
                        let step = if mode.placement.apart { 6 } else { 1 };
                        let (adapter, group) = (adapter.clone(), group.iter().copied().step_by(step).collect::<Vec<_>>());
                        Trial::ignorable_test(name, move || run(&adapter, mode, &group))
                    }
                });
            }
        }
    }
    trials
}

/// Variants that an adapter should have run and did not, and how many are left out because they are for GPUs.
fn unrun(adapter: &Adapter) -> (Vec<String>, usize) {
    let ran = RAN.lock().unwrap_or_else(PoisonError::into_inner);
    let ran = ran.get(&adapter.name);
    // Those that bind textures run in tests/graphs/textures.rs, which owes them all.
    let shaders = tokenpress::kernels::shaders().into_iter().filter(|shader| !shader.binds_textures());
    let supported = shaders.flat_map(|s| s.variants()).filter(|v| adapter.context.gpu.supports(v));
    // What eight invocations share is for GPUs too, as are rows of `greedy_select` in workgroup memory: they run in the modes of staged tiles.
    let for_gpus = |label: &str| [".staged", ".SHARE=8", ".SOURCE=1", ".FUSED=1"].iter().any(|part| label.contains(part));
    // How many counters a workgroup has follows from the device and the form: here only the staged modes have the other number.
    let of_others =
        |label: &str| label.starts_with("top_k.") && label.contains(if label.contains(".subgroup") { "=2048" } else { "=1024" });
    let hopeless = |label: &String| {
        let staged = for_gpus(label) || of_others(label);
        (staged && adapter.takes_minutes(label)) || (of_others(label) && !(label.contains(".subgroup") && adapter.subgroups()))
    };
    // The two kinds of access differ in one word.
    let ran = |label: &String| ran.is_some_and(|ran| ran.contains(label) || ran.contains(&twin(label)));
    let (left_out, unrun): (Vec<_>, Vec<_>) = supported.map(|v| v.label()).filter(|label| !ran(label)).partition(hopeless);
    (unrun, left_out.len())
}

/// The label of the variant with the other access.
fn twin(label: &str) -> String {
    if label.contains(".read_write") {
        return label.replace(".read_write", "");
    }
    let values = label.split('.').position(|part| part.contains('=')).unwrap_or(usize::MAX);
    let mut parts: Vec<_> = label.split('.').collect();
    parts.insert(values.min(parts.len()), "read_write");
    parts.join(".")
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let adapters = adapters::all();
    let conclusion = libtest_mimic::run(&arguments, adapters::interleaved(trials(&adapters)));
    if arguments.list {
        return conclusion.exit_code();
    }
    let mut complete = true;
    for adapter in &adapters {
        let ran = RAN.lock().unwrap_or_else(PoisonError::into_inner).get(&adapter.name).map_or(0, BTreeSet::len);
        let features = |has, name| format!("{name} {}", if has { "run" } else { "ignored" });
        let facts = [features(adapter.f16(), "f16"), features(adapter.subgroups(), "subgroup"), features(adapter.matrices(), "matrices")]
            .join(", ");
        let (mut unrun, left_out) = unrun(adapter);
        let counts = format!("{ran} variants ran, {} did not, {left_out} are left out, for GPUs", unrun.len());
        println!("{}: {counts}; {facts}; {}", adapter.name, adapter.context.describe());
        if conclusion.num_filtered_out > 0 {
            // A part of the tests owes its own variants: where matrices are required, those with matrices.
            // Larger ones take minutes, so that a part of their cases will do.
            let owed = adapters::matrices_required() && std::env::var_os("MATRICES").is_none();
            unrun.retain(|label| owed && label.contains(".cooperative_"));
        }
        if !unrun.is_empty() {
            println!("no case runs these variants: {}", unrun.join(" "));
            complete = false;
        }
    }
    if complete { conclusion.exit_code() } else { ExitCode::FAILURE }
}
