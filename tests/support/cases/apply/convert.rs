use tokenpress::kernels::convert;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

const ELEMS: [Elem; 4] = [Elem::F32, Elem::F16, Elem::BF16, Elem::U32];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (from, to) in ELEMS.into_iter().flat_map(|from| ELEMS.map(|to| (from, to))).filter(|(from, to)| from != to) {
        for elements in [1, 2, 255, 256, 4097] {
            let mut graph = Graph::new();
            let x = graph.input("x", [elements], from);
            let y = convert(&mut graph, x, to).expect("any types");
            graph.output("converted", y).expect("a name");
            let inputs = [("x".to_owned(), numbers(from, elements))].into();
            cases.push(Case { subject: "convert", name: format!("{from}[{elements}] to {to}"), heavy: false, graph, inputs });
        }
    }
    cases
}

/// Numbers of every exponent, ties and their neighbours, subnormal numbers, and what is none.
fn numbers(elem: Elem, elements: u32) -> HostTensor {
    let mut random = data::Random::new(u64::from(elements));
    let words = (0..elements).map(|i| {
        let bits = random.next_u64() as u32;
        match i % 6 {
            0 => bits,
            1 => bits & 0xffff_8000,
            2 => (bits & 0xffff_e000) | 0x1000,
            3 => (bits & 0x807f_ffff) | (bits & 0x1f) << 23 | 0x3300_0000,
            4 => bits & 0x807f_ffff,
            _ => bits >> (bits & 31),
        }
    });
    match elem {
        Elem::F32 => HostTensor::f32([elements], words.map(f32::from_bits).collect()),
        Elem::F16 => HostTensor::f16([elements], words.map(|bits| half::f16::from_bits((bits >> 7) as u16)).collect()),
        Elem::BF16 => HostTensor::bf16([elements], words.map(|bits| half::bf16::from_bits((bits >> 16) as u16)).collect()),
        Elem::U32 => HostTensor::u32([elements], words.collect()),
    }
}
