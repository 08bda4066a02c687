//! The model's graphs on a device, or on the reference.

use std::cell::OnceCell;
use std::time::Instant;

use tokenpress::readback::{Context, HostTensors};
use tokenpress::{Desc, Error, Graph, HostTensor, Plan};

use crate::methods::Step;
use crate::model::{Model, NEXT, Reader};
use crate::runner::{Place, Views, bindings, execute, reference};

/// Steps between two looks at what is said.
const STEPS: u32 = 16;

/// A model, and where it runs.
pub(crate) struct Machine<'a> {
    pub(crate) place: &'a Place,
    pub(crate) model: &'a Model,
}

/// A graph, and its plan when it has run on a device.
pub(crate) struct Ready {
    pub(crate) graph: Graph,
    plan: OnceCell<Plan>,
}

/// Tensors by their names, where the graphs run.
pub(crate) enum Tensors {
    Device(Views),
    Host(HostTensors),
}

/// What was said after a prompt.
#[derive(Debug)]
pub(crate) struct Said {
    /// Up to the token that ends a text.
    pub(crate) tokens: Vec<u32>,
    /// Steps that were made, and the seconds that they took.
    pub(crate) steps: u32,
    pub(crate) seconds: f64,
}

impl Ready {
    pub(crate) fn new(graph: Graph) -> Self {
        Self { graph, plan: OnceCell::new() }
    }

    /// The room of a layer's cache that this graph gives.
    pub(crate) fn rooms(&self) -> Vec<u32> {
        let keys = self.graph.outputs().filter_map(|(name, desc)| {
            let layer: usize = name.strip_prefix("cache.keys.")?.parse().ok()?;
            Some((layer, desc.shape.dims()[2]))
        });
        // Names are in the order of letters.
        let mut rooms: Vec<_> = keys.collect();
        rooms.sort_unstable();
        rooms.into_iter().map(|(_, room)| room).collect()
    }
}

impl Machine<'_> {
    /// Tensors of the host.
    pub(crate) fn upload(&self, tensors: impl IntoIterator<Item = (&'static str, HostTensor)>) -> Tensors {
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor));
        match self.place {
            Place::Device(context, _) => Tensors::Device(tensors.map(|(name, tensor)| (name, context.upload(&tensor))).collect()),
            Place::Reference => Tensors::Host(tensors.collect()),
        }
    }

    pub(crate) fn download(&self, tensors: &Tensors, name: &str) -> Result<HostTensor, Error> {
        let missing = || Error::MissingBinding { tensor: name.to_owned() };
        match (tensors, self.place) {
            (Tensors::Device(views), Place::Device(context, _)) => {
                pollster::block_on(context.download(views.get(name).ok_or_else(missing)?))
            }
            (Tensors::Host(tensors), _) => tensors.get(name).cloned().ok_or_else(missing),
            (Tensors::Device(_), Place::Reference) => Err(missing()),
        }
    }

    /// What each of these graphs gives, of what is given, the weights, and what those before it give; and the seconds. On a device all of them
    /// are recorded into one encoder.
    pub(crate) fn run(&self, chain: &[&Ready], given: &[&Tensors]) -> Result<(Vec<Tensors>, f64), Error> {
        match self.place {
            Place::Device(context, weights) => {
                let mut done: Vec<Views> = Vec::new();
                let mut plans = Vec::new();
                for ready in chain {
                    let graph = &ready.graph;
                    let outputs: Views = graph.outputs().map(|(name, desc)| (name.to_owned(), context.empty(desc))).collect();
                    let views: Vec<&Views> =
                        [&outputs, weights].into_iter().chain(given.iter().filter_map(|t| t.views())).chain(&done).collect();
                    let bindings = bindings(graph, &views);
                    let plan = match ready.plan.get() {
                        Some(plan) => plan,
                        None => {
                            let plan = graph.plan(&context.gpu, &bindings)?;
                            ready.plan.get_or_init(|| plan)
                        }
                    };
                    plans.push(plan.rebind(&context.gpu, &bindings)?);
                    done.push(outputs);
                }
                let start = Instant::now();
                execute(context, &plans)?;
                Ok((done.into_iter().map(Tensors::Device).collect(), start.elapsed().as_secs_f64()))
            }
            Place::Reference => {
                let start = Instant::now();
                let mut done: Vec<Tensors> = Vec::new();
                for ready in chain {
                    let names = ready.graph.inputs().map(|(name, _)| name);
                    let find = |name: &str| given.iter().copied().chain(&done).find_map(|t| t.host()?.get(name)).cloned();
                    let given: Vec<_> = names.filter_map(|name| Some((name.to_owned(), find(name)?))).collect();
                    done.push(Tensors::Host(reference(&ready.graph, self.model.weights(), given)?));
                }
                Ok((done, start.elapsed().as_secs_f64()))
            }
        }
    }

    /// Goes on after a prompt of `count` tokens, with what its graph and the compression of its cache have given. The steps write into that cache.
    pub(crate) fn decode(
        &self,
        prefill: &Tensors,
        compressed: Tensors,
        rooms: &[u32],
        count: u32,
        most: u32,
        end: u32,
    ) -> Result<Said, Error> {
        let step = self.model.reader(Reader::Steps(most), rooms, count)?;
        let wanted = |name: &str| step.inputs().any(|(input, _)| input == name);
        let first = self.upload([("step", HostTensor::u32([1], vec![0])), ("said", HostTensor::u32([1, most], vec![end; most as usize]))]);
        match (self.place, prefill, compressed, first) {
            (Place::Device(context, weights), Tensors::Device(prefill), Tensors::Device(compressed), Tensors::Device(mut first)) => {
                // Steps write over the tokens that they hand on.
                let token = context.empty(prefill["token"].desc());
                let mut copy = context.device.create_command_encoder(&Default::default());
                copy.copy_buffer_to_buffer(
                    prefill["token"].buffer(),
                    prefill["token"].offset(),
                    token.buffer(),
                    token.offset(),
                    token.desc().bytes(),
                );
                context.queue.submit([copy.finish()]);
                first.insert("token".to_owned(), token);
                first.extend(compressed.into_iter().filter(|(name, _)| wanted(name)));
                self.on_device(context, weights, &step, first, most, end)
            }
            (_, Tensors::Host(prefill), Tensors::Host(compressed), Tensors::Host(mut given)) => {
                let start = Instant::now();
                given.insert("token".to_owned(), prefill["token"].clone());
                given.extend(compressed.into_iter().filter(|(name, _)| wanted(name)));
                let (mut tokens, mut steps) = (Vec::new(), 0);
                while steps < most && given["token"].integers() != [end] {
                    tokens.extend_from_slice(given["token"].integers());
                    let handed_on = reference(&step, self.model.weights(), given.clone())?;
                    given.extend(handed_on.into_iter().filter_map(|(name, tensor)| Some((name.strip_prefix(NEXT)?.to_owned(), tensor))));
                    steps += 1;
                }
                Ok(Said { tokens, steps, seconds: start.elapsed().as_secs_f64() })
            }
            _ => Err(Error::MissingBinding { tensor: "token".to_owned() }),
        }
    }

    /// Two plans of one graph, each of which reads what the other hands on.
    fn on_device(&self, context: &Context, weights: &Views, graph: &Graph, first: Views, most: u32, end: u32) -> Result<Said, Error> {
        let empty = |(name, desc): (&str, Desc)| (name.to_owned(), context.empty(desc));
        let second: Views = graph.inputs().filter(|(name, _)| !weights.contains_key(*name)).map(empty).collect();
        let next = |views: &Views| -> Views { views.iter().map(|(name, view)| (format!("{NEXT}{name}"), view.clone())).collect() };
        let plan = graph.plan(&context.gpu, &bindings(graph, &[weights, &first, &next(&second)]))?;
        let back = plan.rebind(&context.gpu, &bindings(graph, &[weights, &second, &next(&first)]))?;
        let plans = [&plan, &back];
        let start = Instant::now();
        let mut steps = 0;
        let tokens = loop {
            let until = (steps + STEPS).min(most);
            execute(context, (steps..until).map(|step| plans[step as usize % 2]))?;
            steps = until;
            let said = &if steps % 2 == 0 { &first } else { &second }["said"];
            let said = pollster::block_on(context.download(said))?;
            let said = &said.integers()[..steps as usize];
            let ended = said.iter().position(|token| *token == end);
            if steps == most || ended.is_some() {
                break said[..ended.unwrap_or(said.len())].to_vec();
            }
        };
        let seconds = start.elapsed().as_secs_f64();
        Ok(Said { tokens, steps, seconds })
    }

    /// The graphs that read a prompt of `count` tokens and compress its cache by these steps.
    pub(crate) fn reading(&self, steps: &[Step], count: u32, spare: u32) -> Result<[Ready; 2], Error> {
        Ok([Ready::new(self.model.prefill(count)?), Ready::new(self.model.compression(steps, count, spare)?)])
    }
}

impl Tensors {
    fn views(&self) -> Option<&Views> {
        if let Self::Device(views) = self { Some(views) } else { None }
    }

    fn host(&self) -> Option<&HostTensors> {
        if let Self::Host(tensors) = self { Some(tensors) } else { None }
    }
}
