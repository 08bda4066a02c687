use tokenpress::kernels::{components, cover};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor, NONE};

use crate::support::{Case, data};

/// Links of both ways: of each token to a number of others, to the next one, or those given.
fn links(seed: u64, [batch, tokens]: [u32; 2], each: u32, chain: bool) -> Vec<u32> {
    let words = tokens.div_ceil(32);
    let mut pairs = vec![0u32; (batch * tokens * words) as usize];
    let others = data::integers(seed, (batch * tokens * each.max(1)) as usize, tokens.max(1));
    for (b, i) in (0..batch).flat_map(|b| (0..tokens).map(move |i| (b, i))) {
        let next = (chain && i + 1 < tokens).then_some(i + 1);
        let drawn = (0..each).map(|e| others[((b * tokens + i) * each + e) as usize]);
        for other in drawn.chain(next).filter(|other| *other != i) {
            for (from, to) in [(i, other), (other, i)] {
                pairs[((b * tokens + from) * words + to / 32) as usize] |= 1 << (to % 32);
            }
        }
    }
    pairs
}

fn case(subject: &'static str, shape: [u32; 2], pairs: Vec<u32>, what: &str, ragged: bool) -> Case {
    let [batch, tokens] = shape;
    let words = tokens.div_ceil(32);
    let mut graph = Graph::new();
    let of_pairs = graph.input("pairs", [batch, tokens, words], Elem::U32);
    let mut inputs: HostTensors = [("pairs".to_owned(), HostTensor::u32([batch, tokens, words], pairs))].into();
    let lengths = ragged.then(|| {
        let lengths = (0..batch).map(|b| [tokens / 2, 0, u32::MAX, 1][b as usize % 4]).collect();
        inputs.insert("lengths".to_owned(), HostTensor::u32([batch], lengths));
        graph.input("lengths", [batch], Elem::U32)
    });
    let out = if subject == "components" {
        components(&mut graph, of_pairs, lengths)
    } else {
        // Some tokens twice, some not at all, and some that there are not.
        let order = data::integers(7, (batch * tokens) as usize, tokens + 2).into_iter().map(|i| if i < tokens { i } else { NONE });
        inputs.insert("order".to_owned(), HostTensor::u32([batch, tokens], order.collect()));
        let order = graph.input("order", [batch, tokens], Elem::U32);
        cover(&mut graph, of_pairs, order, lengths)
    };
    graph.output("out", out.expect("shapes agree")).expect("a name");
    Case { subject, name: format!("[{batch}, {tokens}] {what}"), heavy: false, graph, inputs }
}

pub fn cases_of(subject: &'static str) -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, ragged) in
        [([1, 1], false), ([2, 33], false), ([4, 97], true), ([4, 300], true), ([1, 4200], false), ([0, 3], false), ([2, 0], false)]
    {
        for (each, chain, what) in [(0, false, "no links"), (1, false, "a few links"), (0, true, "a chain"), (6, false, "many links")] {
            cases.push(case(subject, shape, links(3, shape, each, chain), what, ragged));
        }
    }
    let all = |[batch, tokens]: [u32; 2]| vec![u32::MAX; (batch * tokens * tokens.div_ceil(32)) as usize];
    cases.push(case(subject, [4, 70], all([4, 70]), "all, themselves and tokens that there are not", true));
    // One way: a token reaches those behind it in a list.
    let one_way = data::integers(5, 4 * 60 * 2, 1 << 20).into_iter().map(|word| word & word >> 3 & word >> 7).collect();
    cases.push(case(subject, [4, 60], one_way, "one way", true));
    let broken = |case: &Case| {
        let shape = case.inputs["pairs"].shape();
        let behind = [("pairs", shape.dims()[1], shape.dims()[2])];
        case.clone().broken_indices_of_order(shape.dims()[1]).broken_behind(&behind)
    };
    let broken: Vec<_> = cases.iter().filter(|case| case.is_ragged()).map(broken).collect();
    cases.extend(broken);
    cases
}

pub fn cases() -> Vec<Case> {
    cases_of("components")
}

trait Broken {
    fn broken_indices_of_order(self, tokens: u32) -> Self;
}

impl Broken for Case {
    /// [`Case::broken_indices`] of the order, where there is one.
    fn broken_indices_of_order(self, tokens: u32) -> Self {
        if self.inputs.contains_key("order") { self.broken_indices("order", tokens) } else { self }
    }
}
