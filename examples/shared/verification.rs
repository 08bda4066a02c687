//! What `verify` and the page in a browser share: a case in every mode on some adapters, and all that came of it.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use serde::Serialize;
use tokenpress::compare::{Comparison, Worst};
use tokenpress::verify::{Reference, StepReport};

use crate::support::Case;
use crate::support::modes::{Adapter, MODES, Mode};

/// Which of all cases run.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Extent {
    /// The first quick one of each kernel or method and element type.
    Brief,
    /// Those that do not take long on a CPU.
    Quick,
    All,
}

/// The cases of this extent whose kernel or method and description `wanted` wants.
pub(crate) fn cases(extent: Extent, wanted: impl Fn(&str, &str) -> bool) -> Vec<Case> {
    let mut cases = crate::support::cases::with_bf16();
    cases.retain(|case| !(extent != Extent::All && case.heavy) && wanted(case.subject, &case.name));
    if extent == Extent::Brief {
        let mut seen = BTreeSet::new();
        cases.retain(|case| seen.insert((case.subject, case.elem().to_string())));
    }
    cases
}

/// How often these cases run on an adapter that lacks nothing.
pub(crate) fn runs(cases: &[Case]) -> usize {
    cases.iter().map(|case| MODES.iter().filter(|mode| case.runs_in(mode)).count()).sum()
}

/// What came of some cases.
#[derive(Serialize, Default)]
pub(crate) struct Outcome {
    pub(crate) adapters: Vec<AdapterReport>,
    pub(crate) rows: Vec<Row>,
    pub(crate) failures: Vec<Problem>,
    pub(crate) skips: Vec<Problem>,
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

#[derive(Serialize)]
pub(crate) struct AdapterReport {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) f16: bool,
    pub(crate) subgroups: Option<[u32; 2]>,
}

impl AdapterReport {
    pub(crate) fn of(adapter: &Adapter) -> Self {
        let capabilities = adapter.context.gpu.capabilities();
        let subgroups = adapter.subgroups().then_some([capabilities.subgroup_min, capabilities.subgroup_max]);
        Self { name: adapter.name.clone(), description: adapter.context.describe(), f16: adapter.f16(), subgroups }
    }
}

/// One line of the table: a kernel in one variant on one adapter, over all cases.
#[derive(Serialize, Clone)]
pub(crate) struct Row {
    pub(crate) kernel: String,
    pub(crate) variant: String,
    pub(crate) adapter: String,
    pub(crate) cases: usize,
    pub(crate) failed: usize,
    pub(crate) worst: Option<Measure>,
}

/// The element nearest to its bound, or furthest past it.
#[derive(Serialize, Clone, Copy)]
pub(crate) struct Measure {
    pub(crate) error: f64,
    pub(crate) bound: f64,
    pub(crate) expected: f64,
    pub(crate) actual: f64,
}

impl From<Worst> for Measure {
    fn from(worst: Worst) -> Self {
        Self { error: worst.error(), bound: worst.bound, expected: worst.expected, actual: worst.actual }
    }
}

impl Measure {
    pub(crate) fn ratio(&self) -> f64 {
        if self.error == 0.0 { 0.0 } else { self.error / self.bound }
    }
}

/// A failure or a skip, and why.
#[derive(Serialize)]
pub(crate) struct Problem {
    pub(crate) case: String,
    pub(crate) adapter: String,
    pub(crate) reason: String,
}

impl Outcome {
    pub(crate) fn fail(&mut self, case: String, adapter: &str, reason: String) {
        self.failed += 1;
        self.failures.push(Problem { case, adapter: adapter.to_owned(), reason });
    }

    pub(crate) fn skip(&mut self, case: String, adapter: &str, reason: &str) {
        self.skipped += 1;
        self.skips.push(Problem { case, adapter: adapter.to_owned(), reason: reason.to_owned() });
    }

    /// Adds a comparison to the line of its kernel, variant and adapter.
    pub(crate) fn note(&mut self, key: [&str; 3], comparisons: &[&Comparison], passed: bool) {
        let [kernel, variant, adapter] = key;
        let row = match self
            .rows
            .iter_mut()
            .find(|r| (r.kernel.as_str(), r.variant.as_str(), r.adapter.as_str()) == (kernel, variant, adapter))
        {
            Some(row) => row,
            None => {
                let [kernel, variant, adapter] = key.map(str::to_owned);
                self.rows.push(Row { kernel, variant, adapter, cases: 0, failed: 0, worst: None });
                self.rows.last_mut().expect("a row was pushed")
            }
        };
        row.cases += 1;
        row.failed += usize::from(!passed);
        let worst = comparisons.iter().filter_map(|c| c.worst).map(Measure::from);
        row.worst = worst.chain(row.worst).max_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    }

    /// Runs one case, at this place of all, in every mode on every adapter; `show` sees each step.
    pub(crate) async fn run<A: Borrow<Adapter>>(
        &mut self,
        place: usize,
        case: &Case,
        adapters: &[A],
        mut show: impl FnMut(&Mode, &Adapter, &StepReport),
    ) {
        let label = format!("{} {}", case.subject, case.name);
        if adapters.is_empty() {
            self.skip(label.clone(), "none", "no adapter");
        }
        let reference = match Reference::new(&case.graph, &case.inputs) {
            Ok(reference) => reference,
            Err(error) => return self.fail(label, "reference", error.to_string()),
        };
        for adapter in adapters.iter().map(Borrow::borrow) {
            for mode in MODES.iter().filter(|m| case.runs_in(m)) {
                if let Some(reason) = lacking(case, mode, adapter) {
                    self.skip(format!("{label} {}", mode.name), &adapter.name, &reason);
                    continue;
                }
                let gpu = adapter.context.gpu.with_policy(mode.policy);
                let reports = match reference.steps(&adapter.context, &gpu, mode.placement_of(place)).await {
                    Ok(reports) => reports,
                    Err(error) => {
                        self.fail(format!("{label} {}", mode.name), &adapter.name, error.to_string());
                        continue;
                    }
                };
                for step in &reports {
                    let variant = variant(case, step);
                    let comparisons: Vec<_> = step.outputs.iter().map(|(_, c)| c).collect();
                    self.note([step.kernel, &variant, &adapter.name], &comparisons, step.passed());
                    show(mode, adapter, step);
                }
                match reports.iter().find(|r| !r.passed()) {
                    None => self.passed += 1,
                    Some(step) => self.fail(format!("{label} {}", mode.name), &adapter.name, format!("step {step:?}")),
                }
            }
        }
    }
}

/// Why a case cannot run in a mode on an adapter.
fn lacking(case: &Case, mode: &Mode, adapter: &Adapter) -> Option<String> {
    // Without the feature a call is converted, as one of bf16 is everywhere.
    let f16 = (case.needs_f16() && !adapter.f16() && !mode.stands_for_all()).then_some("SHADER_F16");
    // Modes that stand for all run everywhere, in the forms that there are.
    let everywhere = mode.stands_for_all() && (case.elem().size() == 2 || mode.placement.apart);
    f16.or(adapter.lacks(mode, case.subject).filter(|_| !everywhere)).map(|feature| format!("no {feature}"))
}

/// What a step really ran: a kernel without reductions has no subgroup form, a dispatch on one buffer no read-only one.
fn variant(case: &Case, step: &StepReport) -> String {
    if step.variants.is_empty() {
        return "no dispatch".to_owned();
    }
    let elem = case.elem();
    let runs = |form: &str| step.variants.iter().any(|v| v.contains(form));
    let form = if runs(".cooperative") {
        "matrices"
    } else if runs(".subgroup") {
        "subgroup"
    } else if runs(".staged") {
        "staged"
    } else {
        "portable"
    };
    let access = if step.variants.iter().all(|v| v.contains(".read_write")) { "read_write" } else { "read" };
    format!("{elem} {form} {access}")
}
