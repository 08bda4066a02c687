use tokenpress::kernels::{LayerNorm, PixelUnshuffle, TokenOrder};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, Shape};

use crate::support::cases::score::row_normalize::rows;
use crate::support::{Case, data};

fn case(norm: LayerNorm, shape: impl Into<Shape>, elem: Elem, [weighted, biased]: [bool; 2], values: &[f32], what: &str) -> Case {
    let shape = shape.into();
    let channels = *shape.dims().last().expect("x has dimensions");
    let name = format!("{elem}{shape} {norm:?} weight {weighted} bias {biased} {what}");
    let mut graph = Graph::new();
    let mut host = HostTensors::new();
    let mut input = |name: &str, shape: Shape, values: &[f32]| {
        host.insert(name.to_owned(), data::tensor(shape, elem, values));
        graph.input(name, shape, elem)
    };
    let x = input("x", shape, values);
    let weight = weighted.then(|| input("weight", [channels].into(), &data::normal(2, channels as usize)));
    let bias = biased.then(|| input("bias", [channels].into(), &data::normal(3, channels as usize)));
    let y = norm.build(&mut graph, x, weight, bias).expect("shapes agree");
    graph.output("y", y).expect("a name");
    Case { subject: "layer_norm", name, heavy: false, graph, inputs: host }
}

/// The norm of blocks of `[batch, skip + h * w, channels]`.
fn blocks_case(norm: LayerNorm, blocks: PixelUnshuffle, grid: [u32; 2], [batch, channels]: [u32; 2], elem: Elem) -> Case {
    let name = format!("{elem} B{batch} C{channels} {grid:?} {norm:?} {blocks:?}");
    let mut graph = Graph::new();
    let mut host = HostTensors::new();
    let mut input = |name: &str, seed: u64, shape: Shape| {
        let len = shape.elements() as usize;
        host.insert(name.to_owned(), data::tensor(shape, elem, &data::normal(seed, len)));
        graph.input(name, shape, elem)
    };
    let x = input("x", 1, [batch, blocks.skip + grid[0] * grid[1], channels].into());
    let wide = channels * blocks.factor[0] * blocks.factor[1];
    let (weight, bias) = (input("weight", 2, [wide].into()), input("bias", 3, [wide].into()));
    let y = norm.apply_to_blocks(&mut graph, blocks, x, grid, Some(weight), Some(bias)).expect("shapes agree");
    graph.output("y", y).expect("a name");
    Case { subject: "layer_norm", name, heavy: false, graph, inputs: host }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let (layer, root) = (LayerNorm::default(), LayerNorm::root_mean_square(1e-6));
    for elem in [Elem::F32, Elem::F16] {
        for (tokens, channels) in
            [(1, 1), (5, 3), (2, 31), (3, 32), (33, 33), (4, 127), (5, 128), (3, 129), (2, 768), (2, 2049), (0, 4), (3, 0)]
        {
            for norm in [layer, root] {
                let len = (tokens * channels) as usize;
                cases.push(case(norm, [tokens, channels], elem, [true, true], &data::normal(1, len), "normal"));
            }
        }
        for present in [[true, false], [false, true], [false, false]] {
            cases.push(case(layer, [2, 3, 2, 8], elem, present, &data::normal(1, 96), "normal"));
        }
        let by = |factor| PixelUnshuffle { factor, pad: true, ..PixelUnshuffle::default() };
        for blocks in [by([2, 2]), by([1, 3]), by([4, 1]), PixelUnshuffle { tokens: TokenOrder::Transposed, skip: 1, ..by([2, 2]) }] {
            for (grid, sizes) in
                [([4, 6], [2, 4]), ([3, 5], [3, 3]), ([24, 24], [1, 64]), ([1, 1], [1, 1]), ([0, 3], [1, 4]), ([2, 2], [0, 4])]
            {
                cases.push(blocks_case(layer, blocks, grid, sizes, elem));
            }
        }
        cases.push(blocks_case(root, by([2, 2]), [7, 9], [2, 1024], elem));
        // Zero rows, one huge channel, denormals, NaN, infinities; rows far from 0; rows without deviation.
        let far: Vec<f32> = data::normal(4, 480).into_iter().map(|x| x + 1000.0).collect();
        for norm in [layer, root, LayerNorm::new(1e-12)] {
            cases.push(case(norm, [24, 20], elem, [true, true], &rows(5, 24, 20, elem), "rows of every kind"));
            cases.push(case(norm, [24, 20], elem, [true, true], &far, "far"));
            cases.push(case(norm, [24, 20], elem, [true, true], &vec![if elem == Elem::F16 { 60000.0 } else { 0.1 }; 480], "equal"));
        }
    }
    let broken: Vec<_> = cases
        .iter()
        .filter(|case| case.name.contains("skip: 1") && case.inputs["x"].shape().elements() > 0)
        .map(|case| {
            let shape = case.inputs["x"].shape();
            let [_, tokens, channels] = *shape.dims() else { panic!("blocks of tokens") };
            case.clone().broken("x", channels as usize, |token| token % tokens as usize == 0)
        })
        .collect();
    cases.extend(broken);
    cases
}
