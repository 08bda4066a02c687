use tokenpress::methods::{
    Affine, Bottleneck, CAbstractor, DAbstractor, DeformableLayer, InitialQueries, NormalizedConvolution, Projections,
    deepseek_ocr_compressor,
};
use tokenpress::{Elem, Error, Graph, HostTensor, Tensor};

use super::{CHANNELS, Given, Method};
use crate::support::data;

pub const METHODS: &[Method] = &[
    Method {
        subject: "c_abstractor",
        options: "one bottleneck each",
        build: |graph, given| {
            let mut weights = Weights::of(given);
            let width = 10;
            let abstractor = CAbstractor {
                grid: grid(given),
                outputs: [2, 3],
                positions: Some(weights.tensor(graph, &[1, given.tokens.capacity(), CHANNELS])),
                before: vec![weights.bottleneck(graph, CHANNELS, HIDDEN)],
                after: vec![weights.bottleneck(graph, HIDDEN, HIDDEN)],
                readout: vec![weights.affine(graph, &[width, HIDDEN]), weights.affine(graph, &[width, width])],
                end: Some(weights.tensor(graph, &[1, 2, width])),
            };
            let output = abstractor.build(graph, given.tokens.x)?;
            graph.output("before", output.before)?;
            graph.output("y", output.y)
        },
        ragged: false,
    },
    Method {
        subject: "d_abstractor",
        options: "pooled positions",
        build: |graph, given| {
            let contents = Weights::of(given).tensor(graph, &[1, 6, HIDDEN]);
            d_abstractor(graph, given, InitialQueries::PooledPositions { contents, outputs: [2, 3] })
        },
        ragged: false,
    },
    Method {
        subject: "d_abstractor",
        options: "pooled contents",
        build: |graph, given| {
            let positions = Weights::of(given).tensor(graph, &[6, HIDDEN]);
            d_abstractor(graph, given, InitialQueries::PooledContents { positions, outputs: [3, 2] })
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

const HIDDEN: u32 = 8;

/// One layer of two heads, each of which reads three points.
fn d_abstractor(graph: &mut Graph, given: Given, queries: InitialQueries) -> Result<(), Error> {
    let mut weights = Weights { seed: 200, ..Weights::of(given) };
    let mut square = |graph: &mut Graph| weights.affine(graph, &[HIDDEN, HIDDEN]);
    let attention = Projections { queries: square(graph), keys: square(graph), values: square(graph), output: square(graph) };
    let (values, output) = (square(graph), square(graph));
    let layer = DeformableLayer {
        attention,
        attention_norm: weights.affine(graph, &[HIDDEN]),
        offsets: weights.affine(graph, &[12, HIDDEN]),
        weights: weights.affine(graph, &[6, HIDDEN]),
        values,
        output,
        sample_norm: weights.affine(graph, &[HIDDEN]),
        feed_forward: [weights.affine(graph, &[14, HIDDEN]), weights.affine(graph, &[HIDDEN, 14])],
        feed_forward_norm: weights.affine(graph, &[HIDDEN]),
    };
    let points = (0..6).flat_map(|i| [0.2 + 0.3 * (i % 3) as f32, 0.25 + 0.5 * (i / 3) as f32]).collect();
    let reference = graph.constant(HostTensor::f32([1, 6, 2], points));
    let abstractor = DAbstractor {
        input: Some(weights.affine(graph, &[HIDDEN, CHANNELS])),
        positions: Some(weights.tensor(graph, &[1, given.tokens.capacity(), HIDDEN])),
        heads: 2,
        layers: vec![layer],
        end: Some(weights.tensor(graph, &[1, 1, HIDDEN])),
        output: Some(weights.affine(graph, &[10, HIDDEN])),
        ..DAbstractor::new(grid(given), queries, reference)
    };
    let output = abstractor.build(graph, given.tokens.x)?;
    graph.output("layer", output.layers[0])?;
    graph.output("y", output.y)
}

/// Rows and columns of the tokens: 3 rows where that is possible.
fn grid(given: Given) -> [u32; 2] {
    let tokens = given.tokens.capacity();
    if tokens.is_multiple_of(3) { [3, tokens / 3] } else { [1, tokens] }
}

/// Seeded weights, each new one of another seed.
pub(super) struct Weights {
    elem: Elem,
    seed: u64,
}

impl Weights {
    pub(super) fn of(given: Given) -> Self {
        Self { elem: given.tokens.x.elem(), seed: 100 }
    }

    /// Normal numbers that keep the size of what goes through them.
    pub(super) fn tensor(&mut self, graph: &mut Graph, dims: &[u32]) -> Tensor {
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
    pub(super) fn affine(&mut self, graph: &mut Graph, dims: &[u32]) -> Affine {
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
