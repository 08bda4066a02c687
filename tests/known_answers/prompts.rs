//! Images that are somewhere else in every row of a batch.

use tokenpress::methods::{BalancedPrune, DualAttention, FastV, Images, Prefill, Protect, PuMer, PyramidDrop, SparseVlm, ToMe};
use tokenpress::{Elem, Graph, HostTensor, NONE, Tensor, Tokens};

use super::Known;

pub fn all() -> Vec<Known> {
    vec![padded_in_front(), several_images(), no_image()]
}

const GONE: f64 = NONE as f64;

struct Given {
    graph: Graph,
    tokens: Tokens,
    queries: Tensor,
    keys: Tensor,
}

fn given(batch: u32, tokens: u32) -> Given {
    let mut graph = Graph::new();
    let x = graph.tokens("x", [batch, tokens, 1], Elem::F32).expect("a shape");
    let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [batch, 1, tokens, 1], Elem::F32));
    Given { graph, tokens: x, queries, keys }
}

/// A batch of two prompts: one of six tokens, and one of four with two of padding in front. The image's two tokens are at 1 and 3. What the
/// last token, a word, sees most of the image is the second of them in the first row, and the first in the second.
fn padded_in_front() -> Known {
    let Given { mut graph, tokens, queries, keys } = given(2, 6);
    let g = &mut graph;
    let marks = g.input("marks", [2, 6], Elem::U32);
    let padding = g.input("padding", [2, 6], Elem::U32);
    let bias = Some(g.input("bias", [2, 6], Elem::F32));
    let images = Images::Marked { marks, others: 4 };

    let fastv = FastV { images, rank: 1, bias }.build(g, &tokens, queries, keys).expect("valid");
    let drop = PyramidDrop { images, ratios: vec![0.5], bias, ..PyramidDrop::default() };
    let drop = drop.build(g, &tokens, 0, queries, keys).expect("valid");
    let sparse = SparseVlm { images, rank: 1, recycle: false, bias };
    let raters = sparse.raters(g, &tokens).expect("valid");
    let sparse = sparse.build(g, &tokens, &raters, queries, keys).expect("valid");
    let key = g.constant(HostTensor::u32([2, 1], vec![NONE; 2]));
    let prompt = Prefill { bias, ..Prefill::new(g, tokens, images, key).expect("valid") };
    let must = DualAttention { global: 0.5, individual: 0.3, floor: 0 }.build(g, &prompt, queries, keys).expect("valid");
    let balanced = BalancedPrune::third(1).in_prompt(g, &tokens, images, fastv.score).expect("valid");
    let pumer = PuMer { prune: 0.5, merge: 0.0, merge_text: 0.0, ..PuMer::default() };
    let pumer = pumer.in_prompt(g, &tokens, images, Some(padding), queries, keys).expect("valid");
    let tome = ToMe { merge: 1, protect: Protect::AllBut(images), keep_order: true, ..ToMe::default() };
    let tome = tome.build(g, &tokens, tokens.x).expect("valid");
    for (name, tensor) in [
        ("score", fastv.score),
        ("fastv", fastv.pruned.compressed.map.parent),
        ("pyramiddrop", drop.pruned.compressed.map.parent),
        ("sparsevlm", sparse.compressed.map.parent),
        ("mustdrop", must.map.parent),
        ("btp", balanced.pruned.compressed.map.parent),
        ("pumer", pumer.compressed.map.parent),
        ("tome", tome.map.parent),
    ] {
        graph.output(name, tensor).expect("a name");
    }

    let hidden = f32::NEG_INFINITY;
    let rows = |shape: [u32; 2], values: [f32; 12]| HostTensor::f32(shape, values.to_vec());
    let inputs = [
        ("marks", HostTensor::u32([2, 6], vec![0, 1, 1, 0, 0, 0, /**/ 0, 0, 0, 1, 1, 0])),
        ("padding", HostTensor::u32([2, 6], vec![0, 0, 0, 0, 0, 0, /**/ 1, 1, 0, 0, 0, 0])),
        ("bias", rows([2, 6], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, /**/ hidden, hidden, 0.0, 0.0, 0.0, 0.0])),
        // The first row's last word is what the image is about.
        ("x", rows([2, 6], [0.0, 1.0, 1.0, 0.0, 0.0, 1.0, /**/ 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]).reshaped([2, 6, 1])),
        ("q", rows([2, 6], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, /**/ 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]).reshaped([2, 1, 6, 1])),
        ("k", rows([2, 6], [0.0, 1.0, 2.0, 0.0, 0.0, 0.0, /**/ 9.0, f32::NAN, 0.0, 2.0, 1.0, 0.0]).reshaped([2, 1, 6, 1])),
    ];
    let softmax = |logits: &[f64]| {
        let all: f64 = logits.iter().map(|x| x.exp()).sum();
        logits.iter().map(|x| x.exp() / all).collect::<Vec<_>>()
    };
    let score = [softmax(&[0.0, 1.0, 2.0, 0.0, 0.0, 0.0]), vec![0.0; 2], softmax(&[0.0, 2.0, 1.0, 0.0])].concat();
    let one_stays = || vec![0.0, GONE, 1.0, 2.0, 3.0, 4.0, /**/ 0.0, 1.0, 2.0, 3.0, GONE, 4.0];
    let outputs = vec![
        ("score", score, 1e-6),
        ("fastv", one_stays(), 0.0),
        ("pyramiddrop", one_stays(), 0.0),
        ("sparsevlm", one_stays(), 0.0),
        ("mustdrop", one_stays(), 0.0),
        ("btp", one_stays(), 0.0),
        ("pumer", vec![0.0, GONE, 4.0, 1.0, 2.0, 3.0, /**/ GONE, GONE, 0.0, 2.0, GONE, 1.0], 0.0),
        ("tome", vec![0.0, 1.0, 1.0, 2.0, 3.0, 4.0, /**/ 0.0, 1.0, 2.0, 3.0, 3.0, 4.0], 0.0),
    ];
    let inputs = inputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Known { name: "image tokens of a row that is padded in front are pruned where they are", graph, inputs, outputs }
}

/// Two images with a word between them, one behind. The last word looks at the first token of the second image, the other at the first one's.
fn several_images() -> Known {
    let Given { mut graph, tokens, queries, keys } = given(1, 8);
    let g = &mut graph;
    let marks = g.input("marks", [8], Elem::F32);
    let images = Images::Marked { marks, others: 3 };
    let fastv = FastV { images, rank: 2, bias: None }.build(g, &tokens, queries, keys).expect("valid");
    let sparse = SparseVlm { images, rank: 1, recycle: true, bias: None };
    let raters = sparse.raters(g, &tokens).expect("valid");
    let sparse = sparse.build(g, &tokens, &raters, queries, keys).expect("valid");
    let key = g.constant(HostTensor::u32([1, 1], vec![4]));
    let prompt = Prefill::new(g, tokens, images, key).expect("valid");
    let must = DualAttention { global: 0.4, individual: 0.9, floor: 0 }.build(g, &prompt, queries, keys).expect("valid");
    for (name, tensor) in [
        ("fastv", fastv.pruned.compressed.map.parent),
        ("raters", raters.listed.counts),
        ("sparsevlm", sparse.compressed.map.parent),
        ("mustdrop", must.map.parent),
    ] {
        graph.output(name, tensor).expect("a name");
    }
    // A token before; 1 and 2 an image, 3 a word, 4 to 6 an image, 7 a word.
    let inputs = [
        ("marks".to_owned(), HostTensor::f32([8], vec![0.0, 1.0, 1.0, 0.0, 0.5, 2.0, 1.0, 0.0])),
        ("x".to_owned(), HostTensor::f32([1, 8, 1], vec![0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0])),
        ("q".to_owned(), HostTensor::f32([1, 1, 8, 1], vec![0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 2.0])),
        ("k".to_owned(), HostTensor::f32([1, 1, 8, 1], vec![0.0, 3.0, 0.0, 0.0, 4.0, 0.0, 1.0, 0.0])),
    ];
    let outputs = vec![
        // By the last word tokens 4 and 1.
        ("fastv", vec![0.0, 1.0, GONE, 2.0, 3.0, GONE, GONE, 4.0], 0.0),
        // Word 7, which is like the images. It keeps token 4, and of the four others two become one, behind the last image.
        ("raters", vec![1.0], 0.0),
        ("sparsevlm", vec![0.0, 3.0, GONE, 1.0, 2.0, GONE, 3.0, 4.0], 0.0),
        // Both words look at 1 and 4; 6 is key.
        ("mustdrop", vec![0.0, 1.0, GONE, 2.0, 3.0, GONE, 4.0, 5.0], 0.0),
    ];
    Known { name: "several images in one prompt are pruned together", graph, inputs: inputs.into(), outputs }
}

/// A row without an image stays as it is beside one that has one.
fn no_image() -> Known {
    let Given { mut graph, tokens, queries, keys } = given(2, 4);
    let g = &mut graph;
    let marks = g.input("marks", [2, 4], Elem::U32);
    let images = Images::Marked { marks, others: u32::MAX };
    let fastv = FastV { images, rank: 1, bias: None }.build(g, &tokens, queries, keys).expect("valid");
    let sparse = SparseVlm { images, rank: 1, recycle: false, bias: None };
    let raters = sparse.raters(g, &tokens).expect("valid");
    let sparse = sparse.build(g, &tokens, &raters, queries, keys).expect("valid");
    let key = g.constant(HostTensor::u32([2, 1], vec![NONE; 2]));
    let prompt = Prefill::new(g, tokens, images, key).expect("valid");
    let must = DualAttention { global: 0.55, individual: 0.9, floor: 1 }.build(g, &prompt, queries, keys).expect("valid");
    let balanced = BalancedPrune::third(1).in_prompt(g, &tokens, images, fastv.score).expect("valid");
    let pumer = PuMer { prune: 0.5, merge: 0.0, merge_text: 0.0, ..PuMer::default() };
    let pumer = pumer.in_prompt(g, &tokens, images, None, queries, keys).expect("valid");
    for (name, tensor) in [
        ("fastv", fastv.pruned.compressed.map.parent),
        ("sparsevlm", sparse.compressed.map.parent),
        ("mustdrop", must.map.parent),
        ("btp", balanced.pruned.compressed.map.parent),
        ("pumer", pumer.compressed.map.parent),
    ] {
        graph.output(name, tensor).expect("a name");
    }
    let heads = || HostTensor::f32([2, 1, 4, 1], vec![0.0; 8]);
    let inputs = [
        ("marks".to_owned(), HostTensor::u32([2, 4], vec![0, 1, 1, 0, /**/ 0, 0, 0, 0])),
        ("x".to_owned(), HostTensor::f32([2, 4, 1], vec![1.0; 8])),
        ("q".to_owned(), heads()),
        ("k".to_owned(), heads()),
    ];
    let first_stays = || vec![0.0, 1.0, GONE, 2.0, /**/ 0.0, 1.0, 2.0, 3.0];
    let outputs = vec![
        ("fastv", first_stays(), 0.0),
        ("sparsevlm", first_stays(), 0.0),
        ("mustdrop", first_stays(), 0.0),
        ("btp", first_stays(), 0.0),
        ("pumer", vec![0.0, 2.0, GONE, 1.0, /**/ 0.0, 1.0, 2.0, 3.0], 0.0),
    ];
    Known { name: "a prompt without an image stays as it is beside others", graph, inputs: inputs.into(), outputs }
}
