//! ToMe as an operation of burn's: its tensors are bound where they lie.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::wgpu::{WgpuSetup, wgpu};
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::wgpu::{AutoCompiler, WgpuServer};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use tokenpress::methods::{Protect, ToMe};
use tokenpress::{Bindings, Desc, Elem, Error, Gpu, Graph, Plan, Policy, TensorView, Tokens};

use crate::Failure;

/// A graph of tokenpress on burn's device, for tokens of one shape.
#[derive(Clone)]
pub(crate) struct Merger(Arc<Shared>);

struct Shared {
    gpu: Gpu,
    queue: wgpu::Queue,
    graph: Graph,
    outputs: [Desc; 2],
    last: Mutex<Last>,
}

/// What the last run leaves for the next one, which binds the same plan to other memory.
#[derive(Default)]
struct Last {
    plan: Option<Plan>,
    /// What it read and wrote.
    views: Vec<(String, TensorView)>,
}

impl Merger {
    /// For `[batch, tokens, channels]` of which `merge` go into others, by a metric of so many channels; token 0 is a class token.
    pub(crate) fn new(setup: &WgpuSetup, [batch, tokens, channels]: [u32; 3], metric: u32, merge: u32) -> Result<Self, Error> {
        // Burn's pool places tensors in buffers that they share in one run and do not in the next.
        let gpu = Gpu::new(&setup.device, &setup.adapter.get_info()).with_policy(Policy::POOLED);
        let mut graph = Graph::new();
        let x = graph.input("tokens", [batch, tokens, channels], Elem::F32);
        let size = graph.input("sizes", [batch, tokens], Elem::F32);
        let metric = graph.input("metric", [batch, tokens, metric], Elem::F32);
        let tokens = Tokens { size, ..Tokens::new(&mut graph, x)? };
        let merged = ToMe { merge, protect: Protect::CLASS, ..ToMe::default() }.build(&mut graph, &tokens, metric)?.tokens;
        graph.output("merged tokens", merged.x)?;
        graph.output("merged sizes", merged.size)?;
        let outputs = [merged.x.desc(), merged.size.desc()];
        Ok(Self(Arc::new(Shared { gpu, queue: setup.queue.clone(), graph, outputs, last: Mutex::default() })))
    }

    /// Tokens and their sizes `[batch, tokens]` as fewer ones.
    pub(crate) fn merge(&self, tokens: Tensor<3>, sizes: Tensor<2>, metric: Tensor<3>) -> (Tensor<3>, Tensor<2>) {
        let [tokens, sizes, metric] = [tokens.into_dispatch(), sizes.into_dispatch(), metric.into_dispatch()];
        let (tokens, sizes) = Dispatch::merge_tokens(tokens, sizes, metric, self.clone());
        (Tensor::from_dispatch(tokens), Tensor::from_dispatch(sizes))
    }

    /// Where each input and output of the graph lay in the last run.
    pub(crate) fn bound(&self) -> Vec<(String, TensorView)> {
        self.last().views.clone()
    }

    pub(crate) fn dispatches(&self) -> usize {
        self.last().plan.as_ref().map_or(0, Plan::dispatches)
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the graph over burn's memory, and sends it off after what burn has to do before.
    fn run(&self, inputs: [CubeTensor; 3]) -> Result<[CubeTensor; 2], Failure> {
        let Shared { gpu, queue, graph, outputs, .. } = &*self.0;
        // They come as they are unless a view of burn's has strides.
        let inputs = inputs.map(into_contiguous);
        let (client, device) = (&inputs[0].client, &inputs[0].device);
        let outputs = outputs.map(|desc| empty_device_contiguous_dtype(client.clone(), device.clone(), shape(desc), DType::F32));
        let named = graph.inputs().chain(graph.outputs()).zip(inputs.iter().chain(&outputs));
        let views = named.map(|((name, desc), tensor)| Ok((name.to_owned(), view(tensor, desc)?)));
        let views = views.collect::<Result<Vec<_>, Failure>>()?;
        let bindings = views.iter().fold(Bindings::new(), |bindings, (name, view)| bindings.bind(name, view.clone()));
        let mut last = self.last();
        let plan = match &last.plan {
            Some(plan) => plan.rebind(gpu, &bindings)?,
            None => graph.plan(gpu, &bindings)?,
        };
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        plan.record_into(&mut encoder, None);
        client.flush()?;
        queue.submit([encoder.finish()]);
        *last = Last { plan: Some(plan), views };
        Ok(outputs)
    }
}

/// A tensor of burn's where it lies.
pub(crate) fn view(tensor: &CubeTensor, desc: Desc) -> Result<TensorView, Failure> {
    let resource = tensor.client.get_resource::<WgpuServer<AutoCompiler>>(tensor.handle.clone())?;
    let resource = resource.resource();
    Ok(TensorView::new(&resource.buffer, resource.offset, desc.shape, desc.elem))
}

fn shape(desc: Desc) -> Shape {
    desc.shape.dims().iter().map(|size| *size as usize).collect()
}

/// What fusion must know before the operation runs.
fn merged(_tokens: &TensorSpec, _sizes: &TensorSpec, _metric: &TensorSpec, merger: &Merger) -> (TensorSpec, TensorSpec) {
    let [tokens, sizes] = merger.0.outputs.map(|desc| TensorSpec::new(shape(desc), DType::F32));
    (tokens, sizes)
}

#[backend_extension(Cube, Fusion)]
pub(crate) trait MergeOps: Backend {
    #[fusion(meta = merged)]
    fn merge_tokens(
        tokens: FloatTensor<Self>,
        sizes: FloatTensor<Self>,
        metric: FloatTensor<Self>,
        merger: Merger,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

impl MergeOps for CubeBackend {
    fn merge_tokens(tokens: CubeTensor, sizes: CubeTensor, metric: CubeTensor, merger: Merger) -> (CubeTensor, CubeTensor) {
        // An operation of burn's has no other way to fail.
        let [tokens, sizes] = merger.run([tokens, sizes, metric]).unwrap_or_else(|error| panic!("tokenpress: {error}"));
        (tokens, sizes)
    }
}
