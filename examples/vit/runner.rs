//! The model on a device, ready to run one photo after another, or on the reference.

use std::collections::BTreeMap;
use std::time::Instant;

use tokenpress::readback::{Context, HostTensors};
use tokenpress::{Bindings, Capabilities, Error, HostTensor, Plan, TensorView, wgpu};

use crate::device;
use crate::model::{Built, Model};

/// Where graphs run, and the weights there.
pub(crate) enum Place {
    Device(Box<Context>, BTreeMap<String, TensorView>),
    Reference,
}

impl Place {
    pub(crate) fn new(context: Option<Context>, model: &Model) -> Self {
        let upload = |context: Context| {
            let weights = model.weights().iter().map(|(name, tensor)| (name.clone(), context.upload(tensor))).collect();
            Self::Device(Box::new(context), weights)
        };
        context.map_or(Self::Reference, upload)
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Device(context, _) => context.describe(),
            Self::Reference => "none: the CPU reference".to_owned(),
        }
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        match self {
            Self::Device(context, _) => context.gpu.capabilities().clone(),
            Self::Reference => Capabilities::portable(),
        }
    }
}

/// A graph with what it needs to run.
pub(crate) struct Runner<'a> {
    pub(crate) built: Built,
    model: &'a Model,
    on: On<'a>,
}

enum On<'a> {
    Device { context: &'a Context, plan: Plan, photo: TensorView, outputs: Vec<(String, TensorView)> },
    Reference,
}

impl<'a> Runner<'a> {
    pub(crate) fn new(place: &'a Place, model: &'a Model, built: Built) -> Result<Self, Error> {
        let Place::Device(context, weights) = place else { return Ok(Self { built, model, on: On::Reference }) };
        let empty = |(name, desc): (&str, _)| (name.to_owned(), context.empty(desc));
        let outputs: Vec<_> = built.graph.outputs().map(empty).collect();
        let photo = built.graph.inputs().filter(|(name, _)| *name == "photo").map(empty).next();
        let (_, photo) = photo.ok_or_else(|| Error::MissingBinding { tensor: "photo".to_owned() })?;
        let bindings = Bindings::new().bind("photo", photo.clone());
        let used = built.graph.inputs().filter_map(|(name, _)| Some((name, weights.get(name)?.clone())));
        let bindings = used.fold(bindings, |bindings, (name, view)| bindings.bind(name, view));
        let bindings = outputs.iter().fold(bindings, |bindings, (name, view)| bindings.bind(name, view.clone()));
        let plan = built.graph.plan(&context.gpu, &bindings)?;
        Ok(Self { built, model, on: On::Device { context, plan, photo, outputs } })
    }

    /// Every output, and the seconds from the first submission to the end of the work.
    pub(crate) fn run(&self, photo: &HostTensor) -> Result<(HostTensors, f64), Error> {
        let start = Instant::now();
        match &self.on {
            On::Device { context, plan, photo: view, outputs } => {
                context.queue.write_buffer(view.buffer(), view.offset(), photo.bytes());
                let mut encoder = context.device.create_command_encoder(&Default::default());
                plan.record_into(&mut encoder, None);
                context.queue.submit([encoder.finish()]);
                context.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| Error::Device { message: e.to_string() })?;
                let seconds = start.elapsed().as_secs_f64();
                let download = |(name, view): &(String, TensorView)| Ok((name.clone(), pollster::block_on(context.download(view))?));
                Ok((outputs.iter().map(download).collect::<Result<_, Error>>()?, seconds))
            }
            On::Reference => {
                let mut inputs: HostTensors = [("photo".to_owned(), photo.clone())].into();
                inputs.extend(self.model.weights().iter().map(|(name, tensor)| (name.clone(), tensor.clone())));
                Ok((self.built.graph.run_reference(&inputs)?, start.elapsed().as_secs_f64()))
            }
        }
    }

    /// Median seconds of three runs on a device, of which the first took so many; the first alone on the reference.
    pub(crate) fn median(&self, photo: &HostTensor, first: f64) -> Result<f64, Error> {
        if matches!(self.on, On::Reference) {
            return Ok(first);
        }
        let mut all = [first, self.run(photo)?.1, self.run(photo)?.1];
        all.sort_by(f64::total_cmp);
        Ok(all[1])
    }

    /// Seconds of each call on a device, for the photo of the last run.
    pub(crate) fn times(&self) -> Result<Option<Vec<f64>>, Error> {
        match &self.on {
            On::Device { context, plan, .. } => Ok(Some(device::time(context, plan)?)),
            On::Reference => Ok(None),
        }
    }
}
