//! Tensors whose elements lie apart.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use tokenpress::kernels::{
    Attention, Order, PixelUnshuffle, QueryKeyValue, Statistic, TopK, TopKInputs, add, concat_rows, gather_rows, reduce,
};
use tokenpress::methods::{EVit, ToMe};
use tokenpress::readback::Context;
use tokenpress::{Bindings, Desc, Elem, Error, Graph, HostTensor, Shape, Tensor, TensorView, Tokens};

use crate::support::data::Random;
use crate::{Feed, Side, finite};

/// What fills an input.
#[derive(Debug, Clone, Copy)]
enum Numbers {
    /// Any bits.
    Bits,
    /// Finite numbers.
    Finite,
    /// Indices of so many rows, and one that is none's.
    Below(u32),
}

/// A graph of a method, and what its inputs are made of.
type Build = fn(&mut Graph, &Case) -> Result<Vec<(&'static str, Tensor, Numbers)>, Error>;

/// The input of an element type, or of a wider one for kernels that take floats.
fn float(elem: Elem) -> Elem {
    if elem == Elem::U32 { Elem::F32 } else { elem }
}

const METHODS: &[(&str, Build)] = &[
    ("a graph of no call", |graph, case| {
        let x = graph.input("x", case.shape, case.elem);
        graph.output("y", x)?;
        Ok(vec![("x", x, Numbers::Bits)])
    }),
    ("reshape", |graph, case| {
        let x = graph.input("x", case.shape, case.elem);
        let y = graph.reshape(x, [case.shape.elements() as u32])?;
        graph.output("y", y)?;
        graph.output("again", x)?;
        Ok(vec![("x", x, Numbers::Bits)])
    }),
    ("add", |graph, case| {
        let [a, b] = ["a", "b"].map(|name| graph.input(name, case.shape, float(case.elem)));
        let sum = add(graph, a, b)?;
        graph.output("sum", sum)?;
        Ok(vec![("a", a, Numbers::Finite), ("b", b, Numbers::Finite)])
    }),
    ("gather_rows", |graph, case| {
        let [b, n, c] = case.three();
        let x = graph.input("x", [b, n, c], case.elem);
        let index = graph.input("index", [b, case.more], Elem::U32);
        let rows = gather_rows(graph, x, index, None)?;
        graph.output("rows", rows)?;
        Ok(vec![("x", x, Numbers::Bits), ("index", index, Numbers::Below(n))])
    }),
    ("concat_rows", |graph, case| {
        let [b, n, c] = case.three();
        let first = graph.input("first", [b, n, c], case.elem);
        let second = graph.input("second", [b, case.more, c], case.elem);
        let lengths = graph.input("lengths", [b], Elem::U32);
        let (rows, count) = concat_rows(graph, (first, Some(lengths)), (second, None))?;
        graph.output("rows", rows)?;
        graph.output("count", count)?;
        Ok(vec![("first", first, Numbers::Bits), ("second", second, Numbers::Bits), ("lengths", lengths, Numbers::Below(n))])
    }),
    ("pixel_unshuffle", |graph, case| {
        let [b, n, c] = case.three();
        let x = graph.input("x", [b, c, 2 * n, 2 * case.more], case.elem);
        let blocks = PixelUnshuffle::idefics3(2).unshuffle_planar(graph, x)?;
        graph.output("blocks", blocks)?;
        Ok(vec![("x", x, Numbers::Bits)])
    }),
    ("reduce", |graph, case| {
        let x = graph.input("x", case.three(), float(case.elem));
        for (name, statistic) in [("mean", Statistic::Mean), ("max", Statistic::Max)] {
            let reduced = reduce(graph, x, 1, statistic, None)?;
            graph.output(name, reduced)?;
        }
        Ok(vec![("x", x, Numbers::Finite)])
    }),
    ("top_k", |graph, case| {
        let [b, n, _] = case.three();
        let scores = graph.input("scores", [b, n], Elem::F32);
        let selection = TopK { k: n / 2, complement: Some(Order::Index), ..TopK::default() }.build(graph, TopKInputs::new(scores))?;
        graph.output("indices", selection.indices)?;
        graph.output("values", selection.values)?;
        graph.output("complement", selection.complement.expect("asked for"))?;
        Ok(vec![("scores", scores, Numbers::Finite)])
    }),
    ("attention", |graph, case| {
        let [b, n, c] = case.three();
        let [queries, keys, values] = ["q", "k", "v"].map(|name| graph.input(name, [b, 2, n, c], float(case.elem)));
        let inputs = QueryKeyValue { queries, keys, values, bias: None, lengths: None, query_lengths: None };
        let attended = Attention::default().build(graph, inputs)?;
        graph.output("rows", attended.rows)?;
        Ok(vec![("q", queries, Numbers::Finite), ("k", keys, Numbers::Finite), ("v", values, Numbers::Finite)])
    }),
    ("tome", |graph, case| {
        let [b, n, c] = case.three();
        let x = graph.input("x", [b, n, c], float(case.elem));
        let keys = graph.input("keys", [b, 2, n, c], float(case.elem));
        let tokens = Tokens::new(graph, x)?;
        let merged = ToMe { merge: case.more, ..ToMe::default() }.build(graph, &tokens, keys)?;
        graph.output("x'", merged.tokens.x)?;
        graph.output("size", merged.tokens.size)?;
        graph.output("parent", merged.map.parent)?;
        Ok(vec![("x", x, Numbers::Finite), ("keys", keys, Numbers::Finite)])
    }),
    ("evit", |graph, case| {
        let [b, n, c] = case.three();
        let x = graph.input("x", [b, n, c], float(case.elem));
        let score = graph.input("score", [b, n], Elem::F32);
        let lengths = graph.input("lengths", [b], Elem::U32);
        let tokens = Tokens::ragged(graph, x, lengths)?;
        let kept = EVit { keep: 0.5, ..EVit::default() }.by_score(graph, &tokens, score)?.compressed;
        graph.output("x'", kept.tokens.x)?;
        graph.output("lengths'", kept.tokens.lengths)?;
        graph.output("representative", kept.map.representative)?;
        Ok(vec![("x", x, Numbers::Finite), ("score", score, Numbers::Finite), ("lengths", lengths, Numbers::Below(n))])
    }),
];

#[derive(Debug, Clone)]
pub struct Case {
    method: usize,
    /// Of one to five dimensions, for the methods that take any.
    shape: Shape,
    more: u32,
    elem: Elem,
    /// Whether all tensors lie in one buffer, one close behind the other.
    one_buffer: bool,
    seed: u64,
}

prop_compose! {
    pub fn cases()(
        method in 0..METHODS.len(),
        dims in prop::collection::vec(prop_oneof![1 => 0u32..2, 9 => 1u32..8], 1..6),
        more in 0u32..9,
        elem in prop::sample::select(vec![Elem::F32, Elem::F16, Elem::BF16, Elem::U32]),
        one_buffer in any::<bool>(),
        seed in any::<u64>(),
    ) -> Case {
        Case { method, shape: Shape::try_from(&dims[..]).expect("five dimensions at most"), more, elem, one_buffer, seed }
    }
}

impl Case {
    /// The first three dimensions.
    fn three(&self) -> [u32; 3] {
        std::array::from_fn(|i| self.shape.dims().get(i).copied().unwrap_or(3))
    }
}

/// Where a tensor's elements lie: from a first one on, so far apart.
struct Layout {
    first: u64,
    strides: Vec<u32>,
}

impl Layout {
    /// Dimensions in any order, with gaps between them; no two elements at one place.
    fn apart(shape: Shape, random: &mut Random) -> Self {
        let dims = shape.dims();
        let mut order: Vec<usize> = (0..dims.len()).rev().collect();
        // Half of them as they are in memory.
        if random.below(2) == 0 {
            (1..order.len()).for_each(|i| order.swap(i, random.below(i as u32 + 1) as usize));
        }
        let (mut strides, mut next) = (vec![0; dims.len()], 1);
        for dim in order {
            let gap = if random.below(2) == 0 { random.below(5) } else { 0 };
            strides[dim] = next + gap;
            next = strides[dim] * dims[dim].max(1);
        }
        Self { first: u64::from(random.below(9)), strides }
    }

    /// Any strides: of 0, and such that elements are read more than once.
    fn any(shape: Shape, random: &mut Random) -> Self {
        let mut layout = Self::apart(shape, random);
        match random.below(3) {
            0 => layout.strides.iter_mut().for_each(|stride| *stride = random.below(12)),
            1 => {
                let dim = random.below(layout.strides.len() as u32) as usize;
                layout.strides[dim] = 0;
            }
            _ => {}
        }
        layout
    }

    /// The place of each element in row-major order.
    fn places(&self, shape: Shape) -> Vec<u64> {
        let mut places = vec![self.first];
        for (dim, stride) in shape.dims().iter().zip(&self.strides) {
            places = places.iter().flat_map(|place| (0..*dim).map(move |i| place + u64::from(i * stride))).collect();
        }
        places
    }
}

/// So many bytes of an input's numbers.
fn filled(numbers: Numbers, elem: Elem, count: u64, random: &mut Random) -> Vec<u8> {
    match numbers {
        Numbers::Bits => (0..count * elem.size()).map(|_| random.next_u64() as u8).collect(),
        Numbers::Below(rows) => (0..count).flat_map(|_| random.below(rows + 1).to_ne_bytes()).collect(),
        Numbers::Finite => {
            let values = finite(random.next_u64(), count as usize);
            HostTensor::from_floats(Desc::new([count as u32], elem), values).bytes().to_vec()
        }
    }
}

/// A tensor bound to a graph: its name, where it lies, and the bytes of its buffer from an offset on.
struct Bound {
    name: String,
    desc: Desc,
    layout: Layout,
    bytes: Vec<u8>,
    offset: u64,
}

impl Bound {
    fn new(name: &str, desc: Desc, layout: Layout, numbers: Numbers, random: &mut Random) -> Self {
        let count = layout.places(desc.shape).into_iter().max().map_or(layout.first, |last| last + 1);
        let bytes = filled(numbers, desc.elem, count, random);
        Self { name: name.to_owned(), desc, layout, bytes, offset: 0 }
    }

    /// The bytes of each element.
    fn elements(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let size = self.desc.elem.size() as usize;
        self.layout.places(self.desc.shape).into_iter().map(move |place| place as usize * size..(place as usize + 1) * size)
    }

    /// The tensor, dense.
    fn dense(&self) -> HostTensor {
        let bytes: Vec<u8> = self.elements().flat_map(|place| self.bytes[place].to_vec()).collect();
        HostTensor::from_bytes(self.desc, &bytes).expect("all elements")
    }
}

/// What a graph makes of strided inputs in strided outputs, bit for bit; and nothing else is written.
pub fn a_strided_view_equals_its_dense_copy(case: Case, side: Side<'_>) -> TestCaseResult {
    let Some(context) = side.adapter else { return Ok(()) };
    let random = &mut Random::new(case.seed);
    let mut feed = Feed::default();
    let inputs = METHODS[case.method].1(&mut feed.graph, &case).expect("shapes agree");
    let mut tensors = Vec::new();
    for (name, tensor, numbers) in inputs {
        let input = Bound::new(name, tensor.desc(), Layout::any(tensor.shape(), random), numbers, random);
        feed.inputs.insert(name.to_owned(), input.dense());
        tensors.push(input);
    }
    let results = Side { wrong: None, ..side }.run(&feed.graph, &feed.inputs);
    for (name, value) in &results {
        tensors.push(Bound::new(name, value.desc(), Layout::apart(value.shape(), random), Numbers::Bits, random));
    }
    let mut after = strided(context, &feed.graph, &mut tensors, case.one_buffer);
    // In one buffer all is one.
    let mut expected: Vec<Vec<u8>> = after.iter().map(|_| Vec::new()).collect();
    for (index, tensor) in tensors.iter_mut().enumerate() {
        if let Some(value) = results.get(&tensor.name) {
            let size = tensor.desc.elem.size() as usize;
            for (place, element) in tensor.elements().zip(value.bytes().chunks(size)).collect::<Vec<_>>() {
                tensor.bytes[place].copy_from_slice(element);
            }
        }
        let expected = &mut expected[if case.one_buffer { 0 } else { index }];
        expected.resize(tensor.offset as usize, 0);
        expected.extend_from_slice(&tensor.bytes);
    }
    for (expected, actual) in expected.iter_mut().zip(&mut after) {
        actual.truncate(expected.len());
    }
    if let Some(spoiled) = after.iter_mut().find(|bytes| !bytes.is_empty()) {
        side.spoil(spoiled);
    }
    prop_assert_eq!(after, expected, "{}", METHODS[case.method].0);
    Ok(())
}

/// Runs a graph on these tensors, each in a buffer of its own, or all in one; gives the bytes of the buffers.
fn strided(context: &Context, graph: &Graph, tensors: &mut [Bound], one_buffer: bool) -> Vec<Vec<u8>> {
    let mut contents: Vec<Vec<u8>> = Vec::new();
    for tensor in tensors.iter_mut() {
        if contents.is_empty() || !one_buffer {
            contents.push(Vec::new());
        }
        let bytes = contents.last_mut().expect("a buffer");
        bytes.resize(bytes.len().next_multiple_of(tensor.desc.elem.size() as usize), 0);
        tensor.offset = bytes.len() as u64;
        bytes.extend_from_slice(&tensor.bytes);
    }
    let buffers: Vec<_> = contents.iter().map(|bytes| context.buffer(bytes)).collect();
    let views = tensors.iter().enumerate().map(|(index, tensor)| {
        let buffer = &buffers[if one_buffer { 0 } else { index }];
        let offset = tensor.offset + tensor.layout.first * tensor.desc.elem.size();
        let view = TensorView::new(buffer, offset, tensor.desc.shape, tensor.desc.elem).with_strides(&tensor.layout.strides);
        (tensor.name.clone(), view)
    });
    let bindings: Bindings = views.collect();
    let plan = graph.plan(&context.gpu, &bindings).unwrap_or_else(|e| panic!("{e}"));
    let mut encoder = context.device.create_command_encoder(&Default::default());
    plan.record_into(&mut encoder, None);
    context.queue.submit([encoder.finish()]);
    buffers.iter().map(|buffer| pollster::block_on(context.read(buffer)).expect("bytes")).collect()
}
