//! How many tokens there are, and how many stay.

use tokenpress::kernels::{FrameBudget, Partition, float_ratio, gather_rows};
use tokenpress::methods::{EVit, LlavaNext, Unpadding, VisionZip};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Error, Graph, HostTensor, NONE, Tensor, Tokens};

use super::Known;

pub fn all() -> Vec<Known> {
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    let square =
        LlavaNext { edge: 27, tiles: [5, 5], image: [1920, 1920], unpadding: Unpadding::Transformers, most_tiles: Some(9), newline: None };
    let wide =
        LlavaNext { edge: 24, tiles: [2, 2], image: [396, 704], unpadding: Unpadding::Transformers, most_tiles: None, newline: None };
    vec![
        every_second("lists of indices that are parts of a longer one are read as far as each goes"),
        // 135 // (5 / 3) is 80 for Python, whose floor(135 / (5 / 3)) is 81.
        llava_next("as many tokens of a square image as Python's float division leaves", square, 7209),
        // The exact 27 rows of 48 are 26.999999999999996 in f64.
        llava_next("as many rows of an image as Transformers and vLLM leave", wide, 576 + 28 * 49),
        llava_next("as many rows of an image as LLaVA's own code leaves", LlavaNext { unpadding: Unpadding::Llava, ..wide }, 576 + 26 * 49),
        too_long(
            "VisionZip merges the rest of a row whose length is above the capacity",
            100,
            &[1.0, 2.0, 9.0, 3.0, 1.0, 8.0, 3.0, 2.0, 1.0],
            // Patches 2 and 5 stay; of the others 1 and 6 are targets, and in one dimension all are alike.
            &[0, 3, 1, 3, 3, 2, 4, 3, 3],
            |graph, tokens, heads| {
                let zipped = VisionZip { dominant: 2, contextual: 2, ..Default::default() }.build(graph, tokens, heads, heads)?;
                Ok(zipped.compressed.map.parent)
            },
        ),
        too_long(
            "EViT keeps the class token of a row whose length is above the capacity",
            7,
            &[1.0, 0.0, 2.0, 1.5, -1.0, 0.5],
            &[0, NONE, 1, 2, NONE, 3],
            |graph, tokens, heads| {
                Ok(EVit { keep: 0.5, fuse: false, ..EVit::default() }.build(graph, tokens, heads, heads)?.compressed.map.parent)
            },
        ),
        // A frame alone has the base as its share.
        budgets(
            "half of any number of tokens is a half, to the even number",
            (0.5, [5, 1]),
            &[0.3, nan, -infinity, infinity, 1e38],
            &[16_777_217, u32::MAX, 2_147_483_650, 3, 1],
            &[8_388_608.0, 2_147_483_648.0, 1_073_741_825.0, 2.0, 1.0],
        ),
        budgets(
            "three quarters of any number of tokens are theirs",
            (0.75, [3, 1]),
            &[0.0; 3],
            &[16_777_217, u32::MAX, 386_865_882],
            &[12_582_913.0, 3_221_225_471.0, 290_149_412.0],
        ),
        budgets("all of any number of tokens are all", (1.0, [2, 1]), &[0.0; 2], &[u32::MAX, 16_777_219], &[4_294_967_295.0, 16_777_219.0]),
        budgets(
            "a frame whose score is NaN stands out least",
            (0.5, [1, 4]),
            &[nan, 1.0, infinity, 1.0],
            &[100; 4],
            &[38.0, 62.0, 38.0, 62.0],
        ),
        budgets(
            "frames whose scores are negative infinity stand out alike, and the score of none does not matter",
            (0.6, [1, 4]),
            &[-infinity, -infinity, 0.0, nan],
            &[100, 100, 100, 0],
            &[70.0, 70.0, 40.0, 0.0],
        ),
        budgets("frames whose scores are all NaN are alike", (0.5, [1, 3]), &[nan; 3], &[100; 3], &[50.0; 3]),
        shares("counts that were shares in between are Python's"),
    ]
}

/// What each frame of rows may keep, with a base and the scores' shape.
fn budgets(name: &'static str, (base, shape): (f32, [u32; 2]), scores: &[f32], sizes: &[u32], expected: &[f64]) -> Known {
    let mut graph = Graph::new();
    let read = (graph.input("scores", shape, Elem::F32), graph.input("sizes", shape, Elem::U32));
    let found = FrameBudget { base, temperature: 1.0 }.build(&mut graph, read.0, read.1).expect("shapes agree");
    graph.output("budgets", found).expect("a name");
    let inputs =
        [("scores".to_owned(), HostTensor::f32(shape, scores.to_vec())), ("sizes".to_owned(), HostTensor::u32(shape, sizes.to_vec()))];
    Known { name, graph, inputs: inputs.into(), outputs: vec![("budgets", expected.to_vec(), 0.0)] }
}

/// `int(m * (n / m))` and `int(1 / (n / m))`, as Python prints them.
fn shares(name: &'static str) -> Known {
    const SHARES: [[u32; 4]; 12] = [
        [1, 49, 0, 49],
        [2, 98, 1, 49],
        [1, 98, 0, 98],
        [3, 147, 2, 49],
        [5, 1000, 5, 200],
        [15, 22, 14, 1],
        [1, 93, 1, 92],
        [1, 67_108_863, 1, 67_108_863],
        [6_298_811, 47_644_260, 6_298_810, 7],
        [30_843_467, 48_236_578, 30_843_466, 1],
        [153_871, 18_926_133, 153_871, 122],
        [500_488, 58_557_096, 500_488, 116],
    ];
    let mut graph = Graph::new();
    let rows = SHARES.len() as u32;
    let [n, m] = ["n", "m"].map(|name| graph.input(name, [rows], Elem::U32));
    let ratio = float_ratio(&mut graph, n, m, 1 << 26).expect("shapes agree");
    graph.output("product", ratio.product).expect("a name");
    graph.output("inverse", ratio.inverse).expect("a name");
    let column = |at: usize| SHARES.map(|share| share[at]);
    let inputs = [("n", 0), ("m", 1)].map(|(name, at)| (name.to_owned(), HostTensor::u32([rows], column(at).to_vec())));
    let outputs = [("product", 2), ("inverse", 3)].map(|(name, at)| (name, column(at).map(f64::from).to_vec(), 0.0));
    Known { name, graph, inputs: inputs.into(), outputs: outputs.into() }
}

/// Images of ones, whose tokens are ones whatever their number, but for a newline of -1 behind each row.
fn llava_next(name: &'static str, method: LlavaNext, tokens: usize) -> Known {
    let mut graph = Graph::new();
    let shape = [1, 1 + method.tiles[0] * method.tiles[1], method.edge * method.edge, 1];
    let x = graph.input("x", shape, Elem::F32);
    let newline = Some(graph.constant(HostTensor::f32([1], vec![-1.0])));
    let y = LlavaNext { newline, ..method }.build(&mut graph, x).expect("valid options");
    graph.output("y", y).expect("a name");
    let ones = HostTensor::f32(shape, vec![1.0; shape.iter().product::<u32>() as usize]);
    let inputs: HostTensors = [("x".to_owned(), ones)].into();
    let overview = (method.edge * method.edge) as usize;
    let columns = method.outputs()[1] as usize;
    let mut expected = vec![1.0; tokens];
    (overview..tokens).skip(columns).step_by(columns + 1).for_each(|i| expected[i] = -1.0);
    Known { name, graph, inputs, outputs: vec![("y", expected, 1e-6)] }
}

type Build = fn(&mut Graph, &Tokens, Tensor) -> Result<Tensor, Error>;

/// Where the tokens of a row go, all of them alive, whose length is said to be `length`. Rows, queries and keys are the same numbers.
fn too_long(name: &'static str, length: u32, x: &[f32], parent: &[u32], build: Build) -> Known {
    let mut graph = Graph::new();
    let count = x.len() as u32;
    let rows = graph.input("x", [1, count, 1], Elem::F32);
    let heads = graph.input("heads", [1, 1, count, 1], Elem::F32);
    let lengths = graph.input("lengths", [1], Elem::U32);
    let tokens = Tokens::ragged(&mut graph, rows, lengths).expect("rank 3");
    let built = build(&mut graph, &tokens, heads).expect("valid options");
    graph.output("parent", built).expect("a name");
    let x = HostTensor::f32([1, count, 1], x.to_vec());
    let inputs = [
        ("heads".to_owned(), x.clone().reshaped([1, 1, count, 1])),
        ("x".to_owned(), x),
        ("lengths".to_owned(), HostTensor::u32([1], vec![length])),
    ];
    let expected = parent.iter().map(|&row| f64::from(row)).collect();
    Known { name, graph, inputs: inputs.into(), outputs: vec![("parent", expected, 0.0)] }
}

/// Every second token of a few rows, and of many, whose lists of indices count alike; and those between.
fn every_second(name: &'static str) -> Known {
    let mut graph = Graph::new();
    let mut outputs = Vec::new();
    let mut inputs = HostTensors::new();
    for (input, evens, odds, tokens) in
        [("few", "few even", "few odd", 900u32), ("most", "most even", "most odd", 2001), ("many", "many even", "many odd", 1500)]
    {
        let x = graph.input(input, [1, tokens], Elem::U32);
        inputs.insert(input.to_owned(), HostTensor::u32([1, tokens], (1..=tokens).collect()));
        let lists = Partition::even_odd(&mut graph, tokens);
        for (output, list, first) in [(evens, lists.sources, 1), (odds, lists.destinations, 2)] {
            let taken = gather_rows(&mut graph, x, list, None).expect("shapes agree");
            graph.output(output, taken).expect("a name");
            outputs.push((output, (first..=tokens).step_by(2).map(f64::from).collect(), 0.0));
        }
    }
    Known { name, graph, inputs, outputs }
}
