use tokenpress::kernels::{PagedAttention, PagedInputs};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor, NONE};

use crate::support::{Case, data};

/// Sizes of a case: `[B, H, Hkv, M, N, D, V]`, keys of a page and entries of a list.
struct Sizes {
    all: [u32; 7],
    page: u32,
    entries: u32,
}

fn case(sizes: Sizes, elem: Elem, by_head: bool, ragged: bool, what: &str, values: impl Fn(u64, usize) -> Vec<f32>) -> Case {
    let Sizes { all: [batch, heads, key_heads, count, tokens, depth, width], page, entries } = sizes;
    let (mut graph, mut inputs) = (Graph::new(), HostTensors::new());
    let mut float = |graph: &mut Graph, name: &str, seed: u64, shape: [u32; 4]| {
        inputs.insert(name.to_owned(), data::tensor(shape, elem, &values(seed, shape.iter().product::<u32>() as usize)));
        graph.input(name, shape, elem)
    };
    let queries = float(&mut graph, "queries", 1, [batch, heads, count, depth]);
    let keys = float(&mut graph, "keys", 2, [batch, key_heads, tokens, depth]);
    let values = float(&mut graph, "values", 3, [batch, key_heads, tokens, width]);
    let lists = if by_head { heads } else { 1 };
    // In any order, some twice, some beyond the cache, some nowhere.
    let mut listed = data::integers(4, (batch * lists * entries) as usize, tokens / page + 2);
    listed.iter_mut().skip(3).step_by(9).for_each(|page| *page = NONE);
    listed.iter_mut().skip(5).step_by(23).for_each(|page| *page = 1 << 28);
    inputs.insert("pages".to_owned(), HostTensor::u32([batch, lists, entries], listed));
    let pages = graph.input("pages", [batch, lists, entries], Elem::U32);
    let mut live = |graph: &mut Graph, name: &str, seed: u64, most: u32| {
        let mut lengths = data::integers(seed, batch as usize, most + 2);
        lengths.iter_mut().skip(2).step_by(4).for_each(|length| *length = 0);
        inputs.insert(name.to_owned(), HostTensor::u32([batch], lengths));
        graph.input(name, [batch], Elem::U32)
    };
    let counts = ragged.then(|| live(&mut graph, "counts", 5, entries));
    let lengths = ragged.then(|| live(&mut graph, "lengths", 6, tokens));
    let attention = PagedAttention { page, lse: true, scale: by_head.then_some(0.3) };
    let attended = attention.build(&mut graph, PagedInputs { queries, keys, values, pages, counts, lengths }).expect("shapes agree");
    graph.output("rows", attended.rows).expect("a name");
    graph.output("lse", attended.lse.expect("asked for")).expect("a name");
    let shape = format!("{elem} [{batch}, {heads}, {key_heads}, {count}, {tokens}, {depth}, {width}], {entries} pages of {page}");
    let lists = if by_head { ", by head" } else { "" };
    let name = format!("{shape}{lists}{} {what}", if ragged { ", ragged" } else { "" });
    Case { subject: "paged_attention", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let sizes = [
        ([1, 1, 1, 1, 1, 1, 1], 1, 1),
        ([2, 4, 2, 1, 200, 8, 8], 16, 5),
        ([3, 4, 2, 1, 333, 16, 12], 1, 300),
        ([2, 2, 2, 3, 90, 4, 4], 2, 70),
        ([4, 2, 1, 9, 600, 8, 40], 4, 90),
        ([1, 2, 1, 2, 50, 5, 3], 64, 2),
        ([2, 2, 1, 1, 700, 64, 64], 8, 80),
        ([2, 2, 1, 1, 0, 4, 4], 8, 3),
        ([2, 2, 1, 1, 40, 4, 4], 8, 0),
        ([0, 2, 1, 1, 40, 4, 4], 8, 2),
        ([2, 2, 1, 0, 40, 4, 4], 8, 2),
        ([2, 2, 1, 2, 40, 0, 4], 8, 2),
    ];
    for (all, page, entries) in sizes {
        for elem in [Elem::F32, Elem::F16] {
            for ragged in [false, true] {
                cases.push(case(Sizes { all, page, entries }, elem, ragged, ragged, "normal", data::normal));
            }
        }
    }
    for by_head in [false, true] {
        let sizes = || Sizes { all: [4, 4, 2, 2, 300, 8, 8], page: 4, entries: 70 };
        cases.push(case(sizes(), Elem::F32, by_head, true, "awkward", data::awkward));
        cases.push(case(sizes(), Elem::F32, by_head, true, "large", |seed, len| {
            data::normal(seed, len).iter().map(|x| x * 300.0).collect()
        }));
        cases.push(case(sizes(), Elem::F32, by_head, false, "ties", data::ties));
    }
    cases
}
