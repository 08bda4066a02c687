//! Long texts, whose attention is taken a block of rows at a time.

use tokenpress::methods::{DualAttention, Images, Prefill, SparseVlm};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor, NONE, Tokens};

use super::Known;

/// A token before the image, the image's four, and a text that fills the first row of the batch. Of the second there are 50 tokens, of the
/// third no text.
const TOKENS: u32 = 150;
const IMAGE: std::ops::Range<u32> = 1..5;
const RANGE: Images = Images::Range { start: IMAGE.start, tokens: IMAGE.end - IMAGE.start };
const LENGTHS: [u32; 3] = [TOKENS, 50, 4];

pub fn all() -> Vec<Known> {
    vec![raters(), words()]
}

fn tokens(graph: &mut Graph, inputs: &mut HostTensors) -> Tokens {
    let x = graph.input("x", [3, TOKENS, 1], Elem::F32);
    let lengths = graph.input("lengths", [3], Elem::U32);
    inputs.insert("lengths".to_owned(), HostTensor::u32([3], LENGTHS.to_vec()));
    Tokens::ragged(graph, x, lengths).expect("shapes agree")
}

/// A column of each batch row.
fn of_rows(value: impl Fn(u32) -> f32) -> Vec<f32> {
    (0..3).flat_map(|_| (0..TOKENS).map(&value)).collect()
}

/// All logits are equal: the word at p gives 1 / (p + 1) to each token up to its own.
fn raters() -> Known {
    const RATERS: [u32; 3] = [8, 75, 140];
    let mut graph = Graph::new();
    let mut inputs = HostTensors::new();
    let tokens = tokens(&mut graph, &mut inputs);
    let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [3, 2, TOKENS, 1], Elem::F32));
    let method = SparseVlm { images: RANGE, rank: 2, ..SparseVlm::default() };
    let raters = method.raters(&mut graph, &tokens).expect("shapes agree");
    let kept = method.build(&mut graph, &tokens, &raters, queries, keys).expect("shapes agree");
    graph.output("score", kept.score).expect("a name");
    // The words that are like the image.
    let x = of_rows(|i| if IMAGE.contains(&i) || RATERS.contains(&i) { 1.0 } else { 0.0 });
    inputs.insert("x".to_owned(), HostTensor::f32([3, TOKENS, 1], x));
    for name in ["q", "k"] {
        inputs.insert(name.to_owned(), HostTensor::f32([3, 2, TOKENS, 1], vec![0.0; 6 * TOKENS as usize]));
    }
    let score = LENGTHS.iter().flat_map(|live| {
        let raters: Vec<u32> = RATERS.iter().copied().filter(|p| p < live).collect();
        (0..TOKENS).map(move |j| {
            let given = raters.iter().filter(|p| j <= **p).map(|p| 1.0 / f64::from(p + 1)).sum::<f64>();
            given / raters.len().max(1) as f64
        })
    });
    let outputs = vec![("score", score.collect(), 1e-6)];
    Known { name: "SparseVLM's raters may be far apart in a long text", graph, inputs, outputs }
}

/// All words look at all tokens alike, but one that looks at image token 2 alone: it stays for that, where the word is alive.
fn words() -> Known {
    const WORD: u32 = 105;
    let mut graph = Graph::new();
    let mut inputs = HostTensors::new();
    let tokens = tokens(&mut graph, &mut inputs);
    let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [3, 1, TOKENS, 1], Elem::F32));
    let key = graph.constant(HostTensor::u32([3, 1], vec![NONE; 3]));
    let prompt = Prefill::new(&mut graph, tokens, RANGE, key).expect("shapes agree");
    // Together the text never looks enough.
    let kept = DualAttention { global: 10.0, individual: 0.5, floor: 0 }.build(&mut graph, &prompt, queries, keys).expect("shapes agree");
    graph.output("unattended", kept.unattended).expect("a name");
    inputs.insert("x".to_owned(), HostTensor::f32([3, TOKENS, 1], of_rows(|_| 1.0)));
    inputs.insert("q".to_owned(), HostTensor::f32([3, 1, TOKENS, 1], of_rows(|i| if i == WORD { 50.0 } else { 0.0 })));
    inputs.insert("k".to_owned(), HostTensor::f32([3, 1, TOKENS, 1], of_rows(|i| if i == 2 { 1.0 } else { 0.0 })));
    let unattended = LENGTHS
        .iter()
        .flat_map(|live| (0..TOKENS).map(move |j| f64::from(u8::from(IMAGE.contains(&j) && j < *live && (j != 2 || *live <= WORD)))));
    // Of no text at all the sum of attention is 0, and 0 is not less than it.
    let unattended = unattended.enumerate().map(|(i, dropped)| if i >= 2 * TOKENS as usize { 0.0 } else { dropped });
    let outputs = vec![("unattended", unattended.collect(), 0.0)];
    Known { name: "a token that one word of a long text looks at stays", graph, inputs, outputs }
}
