//! Encoder and decoder on a device, or on the reference.

use std::time::Instant;

use tokenpress::readback::{Context, HostTensors};
use tokenpress::{Desc, Error, Graph, HostTensor, Plan};

use crate::methods::Step;
use crate::model::{Model, NEXT};
use crate::runner::{Place, Runner, Views, bindings, execute, reference};
use crate::stages::Built;
use crate::vocabulary::Vocabulary;

/// Steps of the decoder between two looks at what it says.
const STEPS: usize = 16;

/// Windows in, tokens out.
pub(crate) struct Transcriber<'a> {
    place: &'a Place,
    model: &'a Model,
    pub(crate) encoder: Runner<'a>,
    pub(crate) decoder: Built,
    batch: usize,
    prompt: [u32; 2],
    end: u32,
    steps: usize,
    device: Option<Device>,
}

/// The decoder on a device.
struct Device {
    /// What the encoder gives of each window of the batch.
    heard: Views,
    /// Each reads what the other hands on.
    plans: [Planned; 2],
}

/// A plan, with what it is handed and what it gives.
struct Planned {
    plan: Plan,
    given: Views,
    outputs: Views,
}

/// What was heard, and what it took.
#[derive(Default)]
pub(crate) struct Heard {
    /// For each window the tokens after the prompt.
    pub(crate) tokens: Vec<Vec<u32>>,
    /// For each window how many tokens of sound there were after every layer that compresses.
    pub(crate) lengths: Vec<Vec<usize>>,
    /// The first window's logits after the prompt.
    pub(crate) logits: Vec<f32>,
    /// Seconds for all windows.
    pub(crate) encoder: f64,
    pub(crate) decoder: f64,
    /// Steps of the decoder, each of them for a whole batch.
    pub(crate) steps: usize,
}

impl<'a> Transcriber<'a> {
    /// For up to `batch` windows at once; one on the reference.
    pub(crate) fn new(place: &'a Place, model: &'a Model, vocabulary: &Vocabulary, steps: &[Step], batch: usize) -> Result<Self, Error> {
        let batch = if matches!(place, Place::Reference) { 1 } else { batch };
        let encoder = Runner::new(place, model.weights(), model.encoder(steps)?)?;
        let audio = encoder.built.graph.outputs().find(|(name, _)| *name == "audio.bias").map_or(0, |(_, desc)| desc.shape.dims()[1]);
        let prompt = vocabulary.prompt();
        // As many as greedy decoding is published with: half of the longest text, after the prompt.
        let most = model.text / 2 + prompt.len() as u32 - 1;
        let decoder = model.decoder(batch as u32, audio, most, &vocabulary.suppressed(), prompt.len() as u32 - 1)?;
        let device = match place {
            Place::Device(context, weights) => Some(Device::new(context, weights, &decoder.graph)?),
            Place::Reference => None,
        };
        Ok(Self { place, model, encoder, decoder, batch, prompt, end: vocabulary.end(), steps: most as usize, device })
    }

    /// All windows, a batch at a time.
    pub(crate) fn transcribe(&self, windows: &[HostTensor], done: &dyn Fn()) -> Result<Heard, Error> {
        let mut heard = Heard::default();
        for part in windows.chunks(self.batch) {
            match (self.place, &self.device) {
                (Place::Device(context, _), Some(device)) => self.on_device(context, device, part, &mut heard)?,
                _ => self.on_reference(&part[0], &mut heard)?,
            }
            part.iter().for_each(|_| done());
        }
        Ok(heard)
    }

    fn on_device(
        &self,
        context: &Context,
        Device { heard: given, plans }: &Device,
        windows: &[HostTensor],
        heard: &mut Heard,
    ) -> Result<(), Error> {
        self.encode(context, given, windows, heard)?;
        let start = Instant::now();
        write(context, &plans[0].given, "position", &vec![0; self.batch]);
        for (step, token) in self.prompt.into_iter().enumerate() {
            write(context, &plans[step % 2].given, "token", &vec![token; self.batch]);
            execute(context, [&plans[step % 2].plan])?;
        }
        let mut step = self.prompt.len();
        let logits = pollster::block_on(context.download(&plans[(step - 1) % 2].outputs["logits"]))?;
        let tokens = loop {
            let tokens = pollster::block_on(context.download(&plans[(step - 1) % 2].outputs[&format!("{NEXT}tokens")]))?;
            let said = |row: usize| tokens.integers()[row * self.steps + self.prompt.len() - 1..row * self.steps + step].to_vec();
            let tokens: Vec<Vec<u32>> = (0..windows.len()).map(said).collect();
            if step == self.steps || tokens.iter().all(|tokens| tokens.contains(&self.end)) {
                break tokens;
            }
            let until = (step + STEPS).min(self.steps);
            execute(context, (step..until).map(|step| &plans[step % 2].plan))?;
            step = until;
        };
        heard.decoder += start.elapsed().as_secs_f64();
        heard.steps += step;
        heard.tokens.extend(tokens);
        if heard.logits.is_empty() {
            heard.logits = logits.floats()[..self.model.vocabulary as usize].to_vec();
        }
        Ok(())
    }

    /// The encoder, and what it gives for each window into the decoder's batch.
    fn encode(&self, context: &Context, given: &Views, windows: &[HostTensor], heard: &mut Heard) -> Result<(), Error> {
        for (row, mel) in windows.iter().enumerate() {
            let (outputs, seconds) = self.encoder.run_for(&[("mel", mel)], &|name| name.starts_with("lengths"))?;
            heard.encoder += seconds;
            heard.lengths.push(self.lengths(&outputs));
            let mut copies = context.device.create_command_encoder(&Default::default());
            for (name, view) in self.encoder.outputs().into_iter().flatten() {
                if let Some(all) = given.get(name) {
                    let bytes = view.desc().bytes();
                    copies.copy_buffer_to_buffer(view.buffer(), 0, all.buffer(), row as u64 * bytes, bytes);
                }
            }
            context.queue.submit([copies.finish()]);
        }
        Ok(())
    }

    /// The logits after the prompt and after each token of a text but the last, `[tokens, vocabulary]`, for each window and its text: what the
    /// model would say if it had said that.
    pub(crate) fn logits(&self, windows: &[HostTensor], texts: &[Vec<u32>]) -> Result<Vec<HostTensor>, Error> {
        let mut logits = Vec::new();
        for (windows, texts) in windows.chunks(self.batch).zip(texts.chunks(self.batch)) {
            let forced: Vec<Vec<u32>> = texts.iter().map(|text| [&self.prompt, &text[..text.len().saturating_sub(1)]].concat()).collect();
            let rows = match (self.place, &self.device) {
                (Place::Device(context, _), Some(device)) => self.forced_on_device(context, device, windows, &forced)?,
                _ => vec![self.forced_on_reference(&windows[0], &forced[0])?],
            };
            let size = self.model.vocabulary;
            logits.extend(rows.into_iter().map(|row| HostTensor::f32([row.len() as u32 / size, size], row)));
        }
        Ok(logits)
    }

    fn forced_on_device(
        &self,
        context: &Context,
        Device { heard: given, plans }: &Device,
        windows: &[HostTensor],
        forced: &[Vec<u32>],
    ) -> Result<Vec<Vec<f32>>, Error> {
        self.encode(context, given, windows, &mut Heard::default())?;
        write(context, &plans[0].given, "position", &vec![0; self.batch]);
        let mut rows = vec![Vec::new(); forced.len()];
        for step in 0..forced.iter().map(Vec::len).max().unwrap_or_default() {
            let Planned { plan, given, outputs } = &plans[step % 2];
            let token = |row: usize| forced.get(row).and_then(|tokens| tokens.get(step)).copied().unwrap_or(self.end);
            write(context, given, "token", &(0..self.batch).map(token).collect::<Vec<_>>());
            execute(context, [plan])?;
            if step + 1 >= self.prompt.len() {
                let logits = pollster::block_on(context.download(&outputs["logits"]))?.floats();
                let all = logits.chunks(self.model.vocabulary as usize);
                let live = rows.iter_mut().zip(forced).zip(all).filter(|((_, tokens), _)| step < tokens.len());
                live.for_each(|((row, _), logits)| row.extend_from_slice(logits));
            }
        }
        Ok(rows)
    }

    fn forced_on_reference(&self, mel: &HostTensor, forced: &[u32]) -> Result<Vec<f32>, Error> {
        let mut given = self.given(self.encoder.run(&[("mel", mel)])?.0);
        let mut row = Vec::new();
        for (step, token) in forced.iter().enumerate() {
            given.insert("token".to_owned(), HostTensor::u32([1, 1], vec![*token]));
            for (name, tensor) in reference(&self.decoder.graph, self.model.weights(), given.clone())? {
                if let Some(name) = name.strip_prefix(NEXT) {
                    given.insert(name.to_owned(), tensor);
                } else if step + 1 >= self.prompt.len() {
                    row.extend(tensor.floats());
                }
            }
        }
        Ok(row)
    }

    /// What the decoder reads first: what the encoder gave, and an empty cache.
    fn given(&self, heard: HostTensors) -> HostTensors {
        let inputs = self.decoder.graph.inputs().filter(|(name, _)| !self.model.weights().contains_key(*name));
        let empty =
            |(name, desc): (&str, Desc)| (name.to_owned(), HostTensor::from_floats(desc, vec![0.0; desc.shape.elements() as usize]));
        let mut given: HostTensors = inputs.map(empty).collect();
        given.extend(heard.into_iter().filter(|(name, _)| name.starts_with("cross") || name.starts_with("audio")));
        given
    }

    fn on_reference(&self, mel: &HostTensor, heard: &mut Heard) -> Result<(), Error> {
        let (outputs, seconds) = self.encoder.run(&[("mel", mel)])?;
        heard.encoder += seconds;
        heard.lengths.push(self.lengths(&outputs));
        let start = Instant::now();
        let graph = &self.decoder.graph;
        let weights = self.model.weights();
        let mut given = self.given(outputs);
        let mut tokens = Vec::new();
        for step in 0..self.steps {
            if let Some(token) = self.prompt.get(step) {
                given.insert("token".to_owned(), HostTensor::u32([1, 1], vec![*token]));
            }
            for (name, tensor) in reference(graph, weights, given.clone())? {
                if let Some(name) = name.strip_prefix(NEXT) {
                    given.insert(name.to_owned(), tensor);
                } else if step + 1 == self.prompt.len() && heard.logits.is_empty() {
                    heard.logits = tensor.floats();
                }
            }
            heard.steps += 1;
            if step + 1 >= self.prompt.len() {
                tokens.extend_from_slice(given["token"].integers());
            }
            if tokens.last() == Some(&self.end) {
                break;
            }
        }
        heard.tokens.push(tokens);
        heard.decoder += start.elapsed().as_secs_f64();
        Ok(())
    }

    fn lengths(&self, outputs: &HostTensors) -> Vec<usize> {
        let length = |layer: &usize| outputs[&format!("lengths.{layer}")].integers()[0] as usize;
        self.encoder.built.compressing.iter().map(length).collect()
    }
}

/// Writes one of the decoder's inputs.
fn write(context: &Context, views: &Views, name: &str, numbers: &[u32]) {
    context.queue.write_buffer(views[name].buffer(), 0, bytemuck::cast_slice(numbers));
}

impl Device {
    fn new(context: &Context, weights: &Views, graph: &Graph) -> Result<Self, Error> {
        let handed_on = |name: &str| graph.outputs().any(|(output, _)| output.strip_prefix(NEXT) == Some(name));
        let empty = |(name, desc): (&str, Desc)| (name.to_owned(), context.empty(desc));
        let inputs =
            |next: bool| graph.inputs().filter(move |(name, _)| handed_on(name) == next && !weights.contains_key(*name)).map(empty);
        let heard: Views = inputs(false).collect();
        let [first, second] = [(); 2].map(|()| inputs(true).collect::<Views>());
        let logits: Views = graph.outputs().filter(|(name, _)| *name == "logits").map(empty).collect();
        let outputs = |next: &Views| -> Views {
            next.iter().map(|(name, view)| (format!("{NEXT}{name}"), view.clone())).chain(logits.clone()).collect()
        };
        let (to_second, to_first) = (outputs(&second), outputs(&first));
        let plan = graph.plan(&context.gpu, &bindings(graph, &[weights, &heard, &first, &to_second]))?;
        let back = plan.rebind(&context.gpu, &bindings(graph, &[weights, &heard, &second, &to_first]))?;
        let there = Planned { plan, given: first, outputs: to_second };
        Ok(Self { heard, plans: [there, Planned { plan: back, given: second, outputs: to_first }] })
    }
}
