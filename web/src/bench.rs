//! The third tab: what every kernel reaches of what the device can do.

use tokenpress::Elem;
use wasm_bindgen::prelude::*;

use crate::device::{Device, Trouble};
use crate::harness::cases::{Case, Cases};
use crate::harness::timer::Timer;
use crate::run::{self, Effort};
use crate::yardsticks::Yardsticks;

/// Cases to measure, and the yardsticks of the same run.
#[wasm_bindgen]
pub struct Benchmark {
    timer: Timer,
    trouble: Trouble,
    effort: Effort,
    yardsticks: Yardsticks,
    cases: Vec<Case>,
    next: usize,
}

/// The kernels that there are cases of, as JSON: name and number of cases.
#[wasm_bindgen]
pub fn bench_kernels() -> Result<String, JsError> {
    let mut kernels: Vec<(&str, usize)> = Vec::new();
    for case in Cases::all(true, Elem::F32) {
        match kernels.iter_mut().find(|(kernel, _)| *kernel == case.kernel) {
            Some((_, count)) => *count += 1,
            None => kernels.push((case.kernel, 1)),
        }
    }
    crate::json(&kernels)
}

#[wasm_bindgen]
impl Benchmark {
    /// Measures the yardsticks. `kernels` are names with commas between them; every kernel where it is empty. `small` takes the shapes for a CPU.
    pub async fn open(device: &Device, kernels: String, small: bool) -> Result<Self, JsError> {
        let context = device.context();
        let small = small || context.gpu.capabilities().software;
        let elem = if context.gpu.capabilities().f16 && !small { Elem::F16 } else { Elem::F32 };
        let timer = Timer::new(context);
        let effort = Effort::new(small, true);
        let yardsticks = Yardsticks::measure(&timer, &effort).await.map_err(|error| device.failure(error))?;
        let mut cases = Cases::all(small, elem);
        cases.retain(|case| kernels.is_empty() || kernels.split(',').any(|kernel| kernel == case.kernel));
        Ok(Self { timer, trouble: device.trouble.clone(), effort, yardsticks, cases, next: 0 })
    }

    /// How many cases there are.
    #[wasm_bindgen(getter)]
    pub fn total(&self) -> usize {
        self.cases.len()
    }

    /// Which clock it is.
    #[wasm_bindgen(getter)]
    pub fn clock(&self) -> String {
        self.timer.clock().to_owned()
    }

    /// As JSON.
    #[wasm_bindgen(getter)]
    pub fn yardsticks(&self) -> Result<String, JsError> {
        crate::json(&self.yardsticks)
    }

    /// The kernel and the description of the case that comes next.
    #[wasm_bindgen(getter)]
    pub fn label(&self) -> Option<String> {
        self.cases.get(self.next).map(|case| format!("{} {}", case.kernel, case.name))
    }

    /// Measures the next case: its row as JSON, or why it is left out.
    pub async fn step(&mut self) -> Result<String, JsError> {
        let case = self.cases.get(self.next).ok_or_else(|| JsError::new("every case has run"))?;
        self.next += 1;
        let measured = run::case(&self.timer, &self.yardsticks, &self.effort, case).await;
        if let Some(trouble) = self.trouble.take() {
            return Err(JsError::new(&trouble));
        }
        match measured {
            Ok(row) => crate::json(&row),
            // What does not fit this device.
            Err(error) => crate::json(&serde_json::json!({ "kernel": case.kernel, "case": case.name, "left_out": error.to_string() })),
        }
    }
}
