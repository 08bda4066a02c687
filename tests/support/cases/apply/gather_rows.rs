use tokenpress::kernels::{gather_rows, scatter_rows};
use tokenpress::{Elem, Graph, HostTensor, NONE, Shape};

use crate::support::{Case, data};

/// A tensor of any element type; every bit pattern of a float that storage keeps.
pub fn any(seed: u64, shape: impl Into<Shape>, elem: Elem) -> HostTensor {
    let shape = shape.into();
    let elements = shape.elements() as usize;
    match elem {
        Elem::U32 => HostTensor::u32(shape, data::integers(seed, elements, u32::MAX)),
        _ => data::tensor(shape, elem, &data::awkward(seed, elements)),
    }
}

/// Indices of `tokens`, some of them at the end, beyond it, or NONE.
pub fn indices(seed: u64, len: usize, tokens: u32) -> Vec<u32> {
    let mut indices = data::integers(seed, len, tokens + 1);
    for (i, index) in indices.iter_mut().enumerate() {
        match i % 7 {
            3 => *index = NONE,
            5 => *index = tokens + i as u32,
            _ => {}
        }
    }
    indices
}

fn case(source: &[u32], index: &[u32], fallback: bool, elem: Elem) -> Case {
    fn shape(dims: &[u32]) -> Shape {
        match *dims {
            [a] => [a].into(),
            [a, b] => [a, b].into(),
            [a, b, c] => [a, b, c].into(),
            ref d => [d[0], d[1], d[2], d[3]].into(),
        }
    }
    let tokens = if source.len() == 4 { source[2] } else { source[1] };
    let mut output = source.to_vec();
    output[if source.len() == 4 { 2 } else { 1 }] = *index.last().expect("an index has dimensions");
    let indices = HostTensor::u32(shape(index), indices(3, index.iter().product::<u32>() as usize, tokens));
    let mut inputs: tokenpress::readback::HostTensors =
        [("source".to_owned(), any(1, shape(source), elem)), ("index".to_owned(), indices)].into();
    let mut graph = Graph::new();
    let (x, i) = (graph.input("source", shape(source), elem), graph.input("index", shape(index), Elem::U32));
    let over = fallback.then(|| graph.input("fallback", shape(&output), elem));
    if fallback {
        inputs.insert("fallback".to_owned(), any(2, shape(&output), elem));
    }
    let gathered = gather_rows(&mut graph, x, i, over).expect("shapes agree");
    graph.output("gathered", gathered).expect("a name");
    let name = format!("{elem}{source:?} index {index:?}{}", if fallback { " fallback" } else { "" });
    Case { subject: "gather_rows", name, heavy: false, graph, inputs }
}

/// With other indices out of range, and anything in the rows that no index names.
fn broken(case: &Case) -> Option<Case> {
    let (source, index) = (case.inputs["source"].shape(), case.inputs["index"].clone());
    // Of [B, N], [B, N, C] and [B, H, N, C].
    let (heads, tokens, width) = match *source.dims() {
        [_, tokens] => (1, tokens, 1),
        [_, tokens, width] => (1, tokens, width),
        [_, heads, tokens, width] => (heads, tokens, width),
        _ => return None,
    };
    if source.elements() == 0 {
        return None;
    }
    let named = index.integers();
    let lists = if index.shape().dims().len() == 1 { 1 } else { index.shape().dims()[0] as usize };
    let list = |batch: usize| &named[batch % lists * (named.len() / lists)..][..named.len() / lists];
    let left_out = |row: usize| !list(row / (heads * tokens) as usize).contains(&(row as u32 % tokens));
    let case = case.clone().broken_indices("index", tokens).broken("source", width as usize, left_out);
    let count = named.len() / lists;
    Some(match case.inputs.contains_key("fallback") {
        true => case.broken("fallback", width as usize, |row| list(row / (heads as usize * count))[row % count] < tokens),
        false => case,
    })
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for elem in [Elem::F32, Elem::F16, Elem::U32] {
        for fallback in [false, true] {
            // Widths that move as 16, 4 and 2 bytes; fewer, as many and more rows than tokens.
            for width in [1, 3, 6, 8, 33] {
                cases.push(case(&[2, 17, width], &[2, 9], fallback, elem));
                cases.push(case(&[3, 5, width], &[11], fallback, elem));
            }
            cases.push(case(&[2, 129], &[2, 127], fallback, elem));
            cases.push(case(&[1, 1], &[1], fallback, elem));
            cases.push(case(&[2, 3, 7, 8], &[2, 5], fallback, elem));
            cases.push(case(&[2, 3, 7, 5], &[5], fallback, elem));
            // Nothing to read, nothing to write.
            cases.push(case(&[2, 0, 4], &[2, 3], fallback, elem));
            for (source, index) in [(&[2, 3, 4], &[2, 0]), (&[2, 3, 0], &[2, 2]), (&[0, 3, 4], &[0, 2])] {
                cases.push(case(source, index, fallback, elem));
            }
        }
    }
    let broken: Vec<_> = cases.iter().filter_map(broken).collect();
    cases.extend(broken);
    cases.extend([Elem::F32, Elem::F16, Elem::U32].map(scatter));
    cases
}

fn scatter(elem: Elem) -> Case {
    let mut graph = Graph::new();
    let (base, rows) = (graph.input("base", [2, 33, 5], elem), graph.input("rows", [2, 16, 5], elem));
    let index = graph.input("index", [2, 16], Elem::U32);
    let scattered = scatter_rows(&mut graph, base, rows, index).expect("shapes agree");
    graph.output("scattered", scattered).expect("a name");
    let inputs = [
        ("base".to_owned(), any(1, [2, 33, 5], elem)),
        ("rows".to_owned(), any(2, [2, 16, 5], elem)),
        ("index".to_owned(), HostTensor::u32([2, 16], indices(3, 32, 33))),
    ];
    Case { subject: "gather_rows", name: format!("scatter {elem}"), heavy: false, graph, inputs: inputs.into() }
}
