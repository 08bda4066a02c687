//! The third tab beside other libraries: our side of a case, on numbers that the others get too.

use serde::Serialize;
use tokenpress::readback::Context;
use tokenpress::{Elem, Error, HostTensor};
use wasm_bindgen::prelude::*;

use crate::device::{Device, Trouble};
use crate::harness::cases::{Case, Cases};
use crate::harness::timer::{Prepared, Timer, random};

/// A case of the benchmark on this device.
#[wasm_bindgen]
pub struct Beside {
    context: Context,
    trouble: Trouble,
    case: Case,
    prepared: Prepared,
}

/// A tensor as the page sees it.
#[derive(Serialize)]
struct Description<'a> {
    name: &'a str,
    shape: &'a [u32],
}

/// The cases of these kernels, as JSON: kernel and name of each.
#[wasm_bindgen]
pub fn beside_cases(device: &Device, kernels: &str) -> Result<String, JsError> {
    let small = device.context().gpu.capabilities().software;
    let all = Cases::all(small, Elem::F32);
    let wanted = all.iter().filter(|case| kernels.split(',').any(|kernel| kernel == case.kernel));
    crate::json(&wanted.map(|case| (case.kernel, case.name.as_str())).collect::<Vec<_>>())
}

#[wasm_bindgen]
impl Beside {
    /// A case by its kernel and name, of f32: it has run once.
    pub async fn open(device: &Device, kernel: String, name: String) -> Result<Self, JsError> {
        let context = device.context();
        let mut cases = Cases::all(context.gpu.capabilities().software, Elem::F32).into_iter();
        let case = cases.find(|case| case.kernel == kernel && case.name == name).ok_or_else(|| JsError::new("there is no such case"))?;
        let prepared = Timer::new(context.clone()).prepare(&case.graph).await.map_err(|error| device.failure(error))?;
        Ok(Self { context, trouble: device.trouble.clone(), case, prepared })
    }

    /// Name and shape of each input, as JSON.
    #[wasm_bindgen(getter)]
    pub fn inputs(&self) -> Result<String, JsError> {
        let inputs: Vec<_> = self.case.graph.inputs().collect();
        crate::json(&inputs.iter().map(|(name, desc)| Description { name, shape: desc.shape.dims() }).collect::<Vec<_>>())
    }

    /// The numbers of an input.
    pub fn input(&self, name: &str) -> Result<Vec<f32>, JsError> {
        let found = self.case.graph.inputs().find(|(input, _)| *input == name);
        let (_, desc) = found.ok_or_else(|| JsError::new("there is no such input"))?;
        Ok(random(name, desc).floats())
    }

    /// The numbers of an output, by its place. They are floats, or indices as floats: all are below 2^24.
    pub async fn output(&self, place: usize) -> Result<Vec<f32>, JsError> {
        let (_, view) = self.prepared.outputs.get(place).ok_or_else(|| JsError::new("there is no such output"))?;
        let tensor = self.context.download(view).await.map_err(|error| self.failure(error))?;
        Ok(match tensor.desc().elem {
            Elem::U32 => tensor.integers().iter().map(|x| *x as f32).collect(),
            _ => HostTensor::floats(&tensor),
        })
    }

    /// So many runs, each recorded and submitted by itself, and waits for the last.
    pub async fn run(&self, runs: u32) -> Result<(), JsError> {
        for _ in 0..runs {
            let mut encoder = self.context.device.create_command_encoder(&Default::default());
            self.prepared.plan.record_into(&mut encoder, None);
            self.context.queue.submit([encoder.finish()]);
        }
        self.context.wait().await.map_err(|error| self.failure(error))
    }
}

impl Beside {
    fn failure(&self, error: Error) -> JsError {
        self.trouble.failure(&error)
    }
}
