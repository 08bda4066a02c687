//! What the examples share: a model on a device, ready to run one input after another, or on the reference.

use std::collections::BTreeMap;
use std::time::Instant;

use tokenpress::readback::{Context, HostTensors};
use tokenpress::{Bindings, Capabilities, Error, Graph, HostTensor, Plan, TensorView, wgpu};

use crate::device;
use crate::stages::Built;

/// Where graphs run, and the weights there.
pub(crate) enum Place {
    Device(Box<Context>, Views),
    Reference,
}

impl Place {
    pub(crate) fn new(context: Option<Context>, weights: &HostTensors) -> Self {
        let upload = |context: Context| {
            let weights = weights.iter().map(|(name, tensor)| (name.clone(), context.upload(tensor))).collect();
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
    weights: &'a HostTensors,
    on: On<'a>,
}

enum On<'a> {
    Device { context: &'a Context, plan: Plan, inputs: Views, outputs: Views },
    Reference,
}

/// Tensors on a device by their names.
pub(crate) type Views = BTreeMap<String, TensorView>;

impl<'a> Runner<'a> {
    /// Inputs that are no weights have buffers of their own, which every run writes.
    pub(crate) fn new(place: &'a Place, weights: &'a HostTensors, built: Built) -> Result<Self, Error> {
        let Place::Device(context, uploaded) = place else { return Ok(Self { built, weights, on: On::Reference }) };
        let empty = |(name, desc): (&str, _)| (name.to_owned(), context.empty(desc));
        let outputs: Views = built.graph.outputs().map(empty).collect();
        let inputs: Views = built.graph.inputs().filter(|(name, _)| !uploaded.contains_key(*name)).map(empty).collect();
        let plan = built.graph.plan(&context.gpu, &bindings(&built.graph, &[uploaded, &inputs, &outputs]))?;
        Ok(Self { built, weights, on: On::Device { context, plan, inputs, outputs } })
    }

    /// Every output, and the seconds from the first submission to the end of the work.
    pub(crate) fn run(&self, given: &[(&str, &HostTensor)]) -> Result<(HostTensors, f64), Error> {
        self.run_for(given, &|_| true)
    }

    /// The same of the outputs that are wanted; on a device the others are in [`Runner::outputs`].
    pub(crate) fn run_for(&self, given: &[(&str, &HostTensor)], wanted: &dyn Fn(&str) -> bool) -> Result<(HostTensors, f64), Error> {
        let start = Instant::now();
        match &self.on {
            On::Device { context, plan, inputs, outputs } => {
                for (name, tensor) in given {
                    let view = inputs.get(*name).ok_or_else(|| Error::UnknownBinding { tensor: (*name).to_owned() })?;
                    context.queue.write_buffer(view.buffer(), view.offset(), tensor.bytes());
                }
                execute(context, [plan])?;
                let seconds = start.elapsed().as_secs_f64();
                let download = |(name, view): (&String, &TensorView)| Ok((name.clone(), pollster::block_on(context.download(view))?));
                Ok((outputs.iter().filter(|(name, _)| wanted(name)).map(download).collect::<Result<_, Error>>()?, seconds))
            }
            On::Reference => {
                let given = given.iter().map(|(name, tensor)| ((*name).to_owned(), HostTensor::clone(tensor)));
                Ok((reference(&self.built.graph, self.weights, given)?, start.elapsed().as_secs_f64()))
            }
        }
    }

    /// Where a device keeps what the last run gave.
    pub(crate) fn outputs(&self) -> Option<&Views> {
        match &self.on {
            On::Device { outputs, .. } => Some(outputs),
            On::Reference => None,
        }
    }

    /// Median seconds of three runs on a device, of which the first took so many; the first alone on the reference.
    pub(crate) fn median(&self, given: &[(&str, &HostTensor)], first: f64) -> Result<f64, Error> {
        if matches!(self.on, On::Reference) {
            return Ok(first);
        }
        let mut all = [first, self.run(given)?.1, self.run(given)?.1];
        all.sort_by(f64::total_cmp);
        Ok(all[1])
    }

    /// Seconds of each call on a device, for the inputs of the last run.
    pub(crate) fn times(&self) -> Result<Option<Vec<f64>>, Error> {
        match &self.on {
            On::Device { context, plan, .. } => Ok(Some(device::time(context, plan)?)),
            On::Reference => Ok(None),
        }
    }
}

/// Those of the views that the graph names.
pub(crate) fn bindings(graph: &Graph, views: &[&Views]) -> Bindings {
    let names = graph.inputs().chain(graph.outputs()).map(|(name, _)| name);
    let found = names.filter_map(|name| Some((name, views.iter().find_map(|views| views.get(name))?)));
    found.fold(Bindings::new(), |bindings, (name, view)| bindings.bind(name, view.clone()))
}

/// Runs plans one after the other, and waits for their end.
pub(crate) fn execute<'a>(context: &Context, plans: impl IntoIterator<Item = &'a Plan>) -> Result<(), Error> {
    let mut encoder = context.device.create_command_encoder(&Default::default());
    for plan in plans {
        plan.record_into(&mut encoder, None);
    }
    context.queue.submit([encoder.finish()]);
    context.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| Error::Device { message: e.to_string() })?;
    Ok(())
}

/// The outputs on the reference of a graph that takes no other inputs than weights and these.
pub(crate) fn reference(
    graph: &Graph,
    weights: &HostTensors,
    given: impl IntoIterator<Item = (String, HostTensor)>,
) -> Result<HostTensors, Error> {
    let used = graph.inputs().filter_map(|(name, _)| Some((name.to_owned(), weights.get(name)?.clone())));
    graph.run_reference(&used.chain(given).collect())
}
