//! A kernel of an application's own: soft-capped logits, `cap * tanh(x / cap)`, as Gemma 2 has them before its softmax.
//!
//! `cargo run --release --example own_kernel`

use tokenpress::compare::{Comparison, storage_error};
use tokenpress::device::{BindingElem, Call, Header, Lowering, Shader, Slot};
use tokenpress::kernels::Kernel;
use tokenpress::readback::Context;
use tokenpress::verify::{Placement, Reference};
use tokenpress::{Desc, Elem, Error, Graph, HostTensor, Tensor, wgpu};

// 1. What a dispatch is told. The host writes the WGSL struct from it.
tokenpress::params! {
    struct Params { elements: u32, cap: f32 }
}

// 2. The shader. Before this text stand `elem`, `Grid`, `Lane`, `linear_group`, `params`, and the arrays `x` and `y`.
static SOFT_CAP: Shader = Shader {
    name: "soft_cap",
    source: "
@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i >= params.elements { return; }
  // tanh(z) = 1 - 2 / (exp(2 z) + 1); it is 1 from 10 on, where exp does not overflow yet.
  let z = clamp(f32(x[params.x_base + i]) / params.cap, -10.0, 10.0);
  y[params.y_base + i] = elem(params.cap * (1.0 - 2.0 / (exp(2.0 * z) + 1.0)));
}
",
    includes: &[],
    headers: &[Header::F32, Header::F16],
    inputs: &[("x", BindingElem::Elem)],
    outputs: &[("y", BindingElem::Elem)],
    params: Params::NAMES,
    tunings: &[&[]],
};

// 3. The kernel: shapes, the same on the CPU, and how far apart the two may be.
#[derive(Debug, Clone, Copy)]
struct SoftCap {
    cap: f32,
}

impl SoftCap {
    fn apply(self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        Ok(graph.call(self, &[x])?[0])
    }
}

impl Kernel for SoftCap {
    fn name(&self) -> &'static str {
        "soft_cap"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["y"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        match inputs[0].elem {
            Elem::U32 => Err(Error::Elem { argument: "soft_cap: x", expected: "f32 or f16", actual: Elem::U32 }),
            _ => Ok(inputs.to_vec()),
        }
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let cap = f64::from(self.cap);
        let capped = inputs[0].floats().into_iter().map(|x| (cap * (f64::from(x) / cap).tanh()) as f32).collect();
        vec![HostTensor::from_floats(inputs[0].desc(), capped)]
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let x = lowering.input(0);
        let elements = x.shape.elements();
        let params = Params { elements: elements as u32, cap: self.cap };
        let (slots, groups) = ([Slot::Input(0), Slot::Output(0)], elements.div_ceil(128));
        lowering.dispatch(Call { shader: &SOFT_CAP, header: Header::of(x.elem), constants: &[], slots: &slots, params, groups })
    }

    fn compare(&self, _inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        // exp(2 z) errs by 3 + 2 |2 z| ulp in WGSL, at most 43, and the quotient by as much and 2.5 more of at most 2: 1.1e-5. Rounding z and
        // the product, and the storage, add less than as much again.
        let bounds: Vec<_> = expected[0]
            .floats()
            .iter()
            .map(|y| 2.5e-5 * f64::from(self.cap) + storage_error(expected[0].desc().elem, f64::from(*y)))
            .collect();
        vec![Comparison::within(&expected[0], &actual[0], &bounds)]
    }
}

async fn run() -> Result<(), Error> {
    let mut graph = Graph::new();
    let x = graph.input("x", [4, 1000], Elem::F32);
    let y = SoftCap { cap: 30.0 }.apply(&mut graph, x)?;
    graph.output("y", y)?;

    let logits = (0..4000).map(|i| i as f32 * 0.1 - 200.0).collect();
    let inputs = [("x".to_owned(), HostTensor::f32([4, 1000], logits))].into();
    let adapters = Context::adapters(wgpu::Backends::all()).await;
    let context = Context::new(adapters.first().expect("a GPU, or a software adapter such as lavapipe")).await?;
    // 4. Every call of the graph against the CPU, as the crate's own kernels are checked.
    let placement = Placement::default();
    for step in Reference::new(&graph, &inputs)?.steps(&context, &context.gpu, placement).await? {
        assert!(step.passed(), "{step:?}");
        println!("{} is right on {}", step.kernel, context.describe());
    }
    Ok(())
}

fn main() -> Result<(), Error> {
    pollster::block_on(run())
}
