//! The second tab: every kernel against the CPU reference.

use std::rc::Rc;

use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::device::{Device, Trouble};
use crate::stamp::Stamp;
use crate::support::Case;
use crate::support::modes::Adapter;
use crate::verification::{self, AdapterReport, Extent, Outcome};

/// Cases to run, and what came of those that have run.
#[wasm_bindgen]
pub struct Verification {
    adapter: Rc<Adapter>,
    trouble: Trouble,
    cases: Vec<Case>,
    next: usize,
    outcome: Outcome,
}

/// What `report.json` holds: what the native example's holds, and what the browser says of itself.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    stamp: Stamp,
    page: serde_json::Value,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

#[wasm_bindgen]
impl Verification {
    /// Extent is `brief`, `quick` or `all`. Kernels or descriptions contain `filter`.
    #[wasm_bindgen(constructor)]
    pub fn new(device: &Device, extent: &str, filter: &str) -> Result<Self, JsError> {
        let extent = match extent {
            "brief" => Extent::Brief,
            "quick" => Extent::Quick,
            "all" => Extent::All,
            other => return Err(JsError::new(&format!("there is no extent {other:?}"))),
        };
        let cases = verification::cases(extent, |subject, name| format!("{subject} {name}").contains(filter));
        let (adapter, trouble) = (device.adapter.clone(), device.trouble.clone());
        let outcome = Outcome { adapters: vec![AdapterReport::of(&adapter)], ..Outcome::default() };
        Ok(Self { adapter, trouble, cases, next: 0, outcome })
    }

    /// How many cases there are.
    #[wasm_bindgen(getter)]
    pub fn total(&self) -> usize {
        self.cases.len()
    }

    /// How often they run on an adapter that lacks nothing.
    #[wasm_bindgen(getter)]
    pub fn runs(&self) -> usize {
        verification::runs(&self.cases)
    }

    /// How many cases have run.
    #[wasm_bindgen(getter)]
    pub fn done(&self) -> usize {
        self.next
    }

    /// The kernel or method of the case that comes next.
    #[wasm_bindgen(getter)]
    pub fn subject(&self) -> Option<String> {
        self.cases.get(self.next).map(|case| case.subject.to_owned())
    }

    /// Runs the next case in every mode. What the device said that no call gave back comes back: the case counts as not run.
    pub async fn step(&mut self) -> Option<String> {
        let case = self.cases.get(self.next)?;
        let Outcome { rows, failures, skips, passed, failed, skipped, .. } = &self.outcome;
        let before = (rows.clone(), failures.len(), skips.len(), [*passed, *failed, *skipped]);
        self.outcome.run(self.next, case, &[self.adapter.as_ref()], |_, _, _| {}).await;
        let trouble = self.trouble.take();
        if trouble.is_none() {
            self.next += 1;
            return None;
        }
        // Its errors say nothing of kernels.
        let Outcome { rows, failures, skips, passed, failed, skipped, .. } = &mut self.outcome;
        let counts;
        (*rows, counts) = (before.0, before.3);
        failures.truncate(before.1);
        skips.truncate(before.2);
        [*passed, *failed, *skipped] = counts;
        trouble
    }

    /// Passed, failed and skipped runs so far.
    #[wasm_bindgen(getter)]
    pub fn counts(&self) -> Vec<u32> {
        [self.outcome.passed, self.outcome.failed, self.outcome.skipped].map(|count| count as u32).into()
    }

    /// Everything so far as JSON, of this commit and at so many seconds since 1970; `page` is JSON of what the browser says of itself.
    pub fn report(&self, commit: Option<String>, time: f64, page: &str) -> Result<String, JsError> {
        let page = serde_json::from_str(page).map_err(|error| JsError::new(&error.to_string()))?;
        let report = Report { stamp: Stamp::of(commit, time as u64), page, outcome: &self.outcome };
        crate::json(&report)
    }
}
