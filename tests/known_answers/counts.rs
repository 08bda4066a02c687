//! How many tokens there are, and how many stay.

use tokenpress::methods::{LlavaNext, Unpadding};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use super::Known;

pub fn all() -> Vec<Known> {
    let square =
        LlavaNext { edge: 27, tiles: [5, 5], image: [1920, 1920], unpadding: Unpadding::Transformers, most_tiles: Some(9), newline: None };
    let wide =
        LlavaNext { edge: 24, tiles: [2, 2], image: [396, 704], unpadding: Unpadding::Transformers, most_tiles: None, newline: None };
    vec![
        // 135 // (5 / 3) is 80 for Python, whose floor(135 / (5 / 3)) is 81.
        llava_next("as many tokens of a square image as Python's float division leaves", square, 7209),
        // The exact 27 rows of 48 are 26.999999999999996 in f64.
        llava_next("as many rows of an image as Transformers and vLLM leave", wide, 576 + 28 * 49),
        llava_next("as many rows of an image as LLaVA's own code leaves", LlavaNext { unpadding: Unpadding::Llava, ..wide }, 576 + 26 * 49),
    ]
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
