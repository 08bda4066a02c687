//! The browser's GPU.

use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokenpress::readback::Context;
use tokenpress::{Error, Policy, Tuning, wgpu};
use wasm_bindgen::prelude::*;

use crate::support::modes::Adapter;

/// The browser's GPU, opened once.
#[wasm_bindgen]
pub struct Device {
    pub(crate) adapter: Rc<Adapter>,
    pub(crate) trouble: Trouble,
}

/// What the device said by itself.
#[derive(Clone, Default)]
pub(crate) struct Trouble(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    /// Why it was lost: for good.
    lost: Option<String>,
    /// The first error that no call gave back, since it was asked last.
    error: Option<String>,
}

impl Trouble {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the device was lost.
    pub(crate) fn lost(&self) -> Option<String> {
        self.said().lost.clone()
    }

    /// Why it was lost, or the error that no call gave back: each is said once, so that the next call can succeed.
    pub(crate) fn take(&self) -> Option<String> {
        let mut said = self.said();
        let error = said.error.take();
        said.lost.clone().or(error)
    }

    /// An error as a sentence; the device's own words come first.
    pub(crate) fn failure(&self, error: &Error) -> JsError {
        JsError::new(&self.take().unwrap_or_else(|| match error {
            Error::OutOfMemory { .. } => format!("The GPU is out of memory: {error}."),
            error => format!("It failed: {error}."),
        }))
    }
}

/// What the page says of the device.
#[derive(Serialize)]
struct Description<'a> {
    name: &'a str,
    f16: bool,
    timestamps: bool,
    /// Whether a CPU stands in for a GPU.
    software: bool,
    max_binding: u64,
    workgroup_memory: u32,
}

#[wasm_bindgen]
impl Device {
    /// Opens the GPU that the browser prefers; `name` is what the browser calls it.
    pub async fn open(name: &str) -> Result<Self, JsError> {
        let adapters = Context::adapters(wgpu::Backends::BROWSER_WEBGPU).await;
        let adapter = adapters.first().ok_or_else(|| JsError::new("This browser has WebGPU, but gives no GPU to this page."))?;
        let mut adapter = Adapter::open(adapter).await.map_err(|error| JsError::new(&format!("The GPU cannot be opened: {error}.")))?;
        if !name.is_empty() {
            adapter.name = name.to_owned();
        }
        let trouble = Trouble::default();
        let (lost, uncaptured) = (trouble.clone(), trouble.clone());
        let device = &adapter.context.device;
        device.set_device_lost_callback(move |_, message| {
            let why = if message.is_empty() { "its driver or the browser took it away.".to_owned() } else { message };
            lost.said().lost.get_or_insert(format!("The GPU was lost: {why}"));
        });
        device.on_uncaptured_error(Arc::new(move |error| {
            uncaptured.said().error.get_or_insert(match error {
                wgpu::Error::OutOfMemory { .. } => "The GPU is out of memory.".to_owned(),
                error => format!("The browser refused a call: {error}"),
            });
        }));
        Ok(Self { adapter: Rc::new(adapter), trouble })
    }

    /// As JSON: name, f16, timestamps, software, and two limits.
    pub fn describe(&self) -> Result<String, JsError> {
        let context = &self.adapter.context;
        let capabilities = context.gpu.capabilities();
        crate::json(&Description {
            name: &context.info.name,
            f16: capabilities.f16,
            timestamps: context.device.features().contains(wgpu::Features::TIMESTAMP_QUERY),
            software: capabilities.software,
            max_binding: capabilities.max_binding,
            workgroup_memory: capabilities.workgroup_memory,
        })
    }

    /// What the device said that no call gave back, if anything: lost, out of memory, a call refused. But for a loss it is said once.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.take()
    }

    /// Why the device was lost, if it was.
    pub fn lost(&self) -> Option<String> {
        self.trouble.lost()
    }

    /// Finds which form of each shader is faster here: text for [`Device::use_tuning`].
    pub async fn tune(&self) -> Result<String, JsError> {
        let context = self.context();
        let start = web_time::Instant::now();
        let tuning = tokenpress::tune(&context.gpu, &context.queue, || start.elapsed()).await.map_err(|error| self.failure(error))?;
        Ok(tuning.to_json(&context.info))
    }

    /// A device that runs the forms that [`Device::tune`] found.
    pub fn use_tuning(&self, text: &str) -> Result<Self, JsError> {
        let context = self.context();
        let tuning = Tuning::from_json(text, &context.info).map_err(|error| self.failure(error))?;
        let gpu = context.gpu.with_policy(Policy::AUTO.with_tuning(tuning));
        let adapter = Adapter { name: self.adapter.name.clone(), context: Context { gpu, ..context }, turn: Mutex::default() };
        Ok(Self { adapter: Rc::new(adapter), trouble: self.trouble.clone() })
    }
}

impl Device {
    pub(crate) fn context(&self) -> Context {
        self.adapter.context.clone()
    }

    pub(crate) fn failure(&self, error: Error) -> JsError {
        self.trouble.failure(&error)
    }
}
