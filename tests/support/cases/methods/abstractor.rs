use tokenpress::methods::{Affine, Bottleneck, CAbstractor, NormalizedConvolution, deepseek_ocr_compressor};
use tokenpress::{Elem, Graph, Tensor};

use super::{CHANNELS, Given, Method};
use crate::support::data;

pub const METHODS: &[Method] = &[
    Method {
        subject: "c_abstractor",
        options: "one bottleneck each",
        build: |graph, given| {
            let mut weights = Weights::of(given);
            let (hidden, width) = (8, 10);
            let abstractor = CAbstractor {
                grid: grid(given),
                outputs: [2, 3],
                positions: Some(weights.tensor(graph, &[1, given.tokens.capacity(), CHANNELS])),
                before: vec![weights.bottleneck(graph, CHANNELS, hidden)],
                after: vec![weights.bottleneck(graph, hidden, hidden)],
                readout: vec![weights.affine(graph, &[width, hidden]), weights.affine(graph, &[width, width])],
                end: Some(weights.tensor(graph, &[1, 2, width])),
            };
            let output = abstractor.build(graph, given.tokens.x)?;
            graph.output("before", output.before)?;
            graph.output("y", output.y)
        },
        ragged: false,
    },
    Method {
        subject: "deepseek_ocr_compressor",
        options: "two convolutions",
        build: |graph, given| {
            let mut weights = Weights::of(given);
            let layers = [weights.tensor(graph, &[9, CHANNELS, 3, 3]), weights.tensor(graph, &[7, 9, 3, 3])];
            let (y, _) = deepseek_ocr_compressor(graph, given.tokens.x, grid(given), &layers)?;
            graph.output("y", y)
        },
        ragged: false,
    },
];

/// Rows and columns of the tokens: 3 rows where that is possible.
fn grid(given: Given) -> [u32; 2] {
    let tokens = given.tokens.capacity();
    if tokens.is_multiple_of(3) { [3, tokens / 3] } else { [1, tokens] }
}

/// Seeded weights, each new one of another seed.
struct Weights {
    elem: Elem,
    seed: u64,
}

impl Weights {
    fn of(given: Given) -> Self {
        Self { elem: given.tokens.x.elem(), seed: 100 }
    }

    /// Normal numbers that keep the size of what goes through them.
    fn tensor(&mut self, graph: &mut Graph, dims: &[u32]) -> Tensor {
        self.seed += 1;
        let len = dims.iter().product::<u32>();
        let inputs = if dims.len() > 1 { dims[1..].iter().product::<u32>() } else { 1 };
        let values: Vec<f32> = data::normal(self.seed, len as usize).into_iter().map(|v| v / (inputs as f32).sqrt()).collect();
        let flat = graph.constant(data::tensor([len], self.elem, &values));
        let shaped = match *dims {
            [a] => graph.reshape(flat, [a]),
            [a, b] => graph.reshape(flat, [a, b]),
            [a, b, c] => graph.reshape(flat, [a, b, c]),
            [a, b, c, d] => graph.reshape(flat, [a, b, c, d]),
            _ => unreachable!("one to four dimensions"),
        };
        shaped.expect("as many elements")
    }

    /// A weight `[O, ..]` and a bias `[O]`.
    fn affine(&mut self, graph: &mut Graph, dims: &[u32]) -> Affine {
        Affine { weight: self.tensor(graph, dims), bias: Some(self.tensor(graph, &dims[..1])) }
    }

    fn convolution(&mut self, graph: &mut Graph, dims: [u32; 4]) -> NormalizedConvolution {
        NormalizedConvolution { weight: self.tensor(graph, &dims), norm: self.affine(graph, &dims[..1]) }
    }

    fn bottleneck(&mut self, graph: &mut Graph, from: u32, to: u32) -> Bottleneck {
        Bottleneck {
            conv1: self.convolution(graph, [to, from, 1, 1]),
            conv2: self.convolution(graph, [to, 1, 3, 3]),
            squeeze: self.affine(graph, &[3, to, 1, 1]),
            excite: self.affine(graph, &[to, 3, 1, 1]),
            conv3: self.convolution(graph, [to, to, 1, 1]),
            shortcut: (from != to).then(|| self.convolution(graph, [to, from, 1, 1])),
        }
    }
}
