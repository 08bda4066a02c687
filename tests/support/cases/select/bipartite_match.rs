use tokenpress::kernels::{BipartiteMatch, Partition, row_normalize};
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::cases::score::row_normalize::rows;
use crate::support::{Case, data};

struct Setup<'a> {
    shape: [u32; 3],
    protected: [u32; 2],
    lengths: Option<&'a [u32]>,
    values: Vec<f32>,
    elem: Elem,
    what: &'a str,
}

fn case(setup: Setup<'_>, partition: impl FnOnce(&mut Graph) -> Partition) -> Case {
    let Setup { shape, protected, lengths, values, elem, what } = setup;
    let mut graph = Graph::new();
    let x = graph.input("x", shape, elem);
    let mut inputs: tokenpress::readback::HostTensors = [("x".to_owned(), data::tensor(shape, elem, &values))].into();
    let live = lengths.map(|live| {
        inputs.insert("lengths".to_owned(), HostTensor::u32([shape[0]], live.to_vec()));
        graph.input("lengths", [shape[0]], Elem::U32)
    });
    let partition = partition(&mut graph);
    // All rows are normalised: the match has to find the dead ones by itself.
    let normalized = row_normalize(&mut graph, x, None).expect("a shape");
    let matching = BipartiteMatch { protected_sources: protected[0], protected_destinations: protected[1] };
    let matches = matching.build(&mut graph, normalized, partition, live).expect("shapes agree");
    graph.output("similarity", matches.similarity).expect("a name");
    graph.output("partner", matches.partner).expect("a name");
    let name = format!("{what} {elem}{shape:?} protected {protected:?} lengths {lengths:?}");
    Case { subject: "bipartite_match", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (batch, tokens, channels) in [
        (1, 0, 4),
        (2, 1, 4),
        (1, 2, 3),
        (2, 3, 1),
        (1, 31, 20),
        (2, 32, 4),
        (1, 33, 64),
        (2, 127, 3),
        (1, 129, 20),
        (1, 197, 64),
        (1, 577, 4),
        (70, 2, 16),
        (1, 128, 112),
        (1, 128, 116),
        (2, 9, 0),
        (0, 9, 4),
    ] {
        let shape = [batch, tokens, channels];
        let values = data::normal(21, (batch * tokens * channels) as usize);
        let setup = Setup { shape, protected: [0, 0], lengths: None, values, elem: Elem::F32, what: "even and odd" };
        cases.push(case(setup, |graph| Partition::even_odd(graph, tokens)));
    }
    for elem in [Elem::F32, Elem::F16] {
        // An invocation for a source, and a workgroup for many, of more than 64 destinations.
        for (tokens, channels) in [(33, 3), (70, 8), (140, 8), (141, 3)] {
            let shape = [4, tokens, channels];
            let lengths = Some(&[0, 1, tokens - 3, u32::MAX][..]);
            let len = (4 * tokens * channels) as usize;
            let awkward = rows(22, 4 * tokens as usize, channels as usize, elem);
            for (what, values) in [
                ("rows of every kind", awkward),
                ("ties", data::ties(23, len)),
                ("all equal", vec![0.3; len]),
                ("all zero", vec![0.0; len]),
            ] {
                for protected in [[0, 0], [1, 0], [1, 1]] {
                    let setup = Setup { shape, protected, lengths, values: values.clone(), elem, what };
                    let case = case(setup, |graph| Partition::even_odd(graph, tokens));
                    cases.push(case.broken_behind(&[("x", tokens, channels)]));
                    cases.push(case);
                }
            }
        }
    }
    for (tokens, channels) in [(40, 3), (40, 64), (40, 1000), (140, 3), (140, 64)] {
        let equal = data::normal(26, channels as usize).repeat(tokens as usize);
        let near = equal.iter().zip(data::normal(27, equal.len())).map(|(x, noise)| x + 3e-3 * noise).collect();
        for (what, values) in [("rows of one direction", equal), ("rows of nearly one direction", near)] {
            let setup = Setup { shape: [1, tokens, channels], protected: [0, 0], lengths: None, values, elem: Elem::F32, what };
            cases.push(case(setup, |graph| Partition::even_odd(graph, tokens)));
        }
    }
    let setup = |what, shape: [u32; 3], lengths| {
        let values = rows(24, (shape[0] * shape[1]) as usize, shape[2] as usize, Elem::F32);
        Setup { shape, protected: [0, 0], lengths, values, elem: Elem::F32, what }
    };
    cases.push(case(setup("strided", [2, 65, 5], Some(&[65, 40])), |graph| Partition::strided(graph, 65, 3)));
    cases.push(case(setup("strided by 1", [1, 9, 5], None), |graph| Partition::strided(graph, 9, 1)));
    cases.push(case(setup("random lists", [3, 75, 8], Some(&[75, 1, 50])), |graph| {
        Partition::random(graph, 3, 75, 40, 9).expect("a partition")
    }));
    cases.push(case(setup("grid", [2, 35, 8], None), |graph| Partition::grid2d_random(graph, 5, 7, 2, 2, 3).expect("a grid")));
    let few = case(setup("few sources", [2, 90, 8], None), |graph| {
        let destinations: Vec<u32> = (0..90).rev().filter(|i| i % 40 != 3 && i % 9 != 5).collect();
        // The last is not a token.
        Partition::lists(graph, &[83, 3, 43, 500], &destinations).expect("a partition")
    });
    // Tokens of neither list.
    cases.push(few.clone().broken("x", 8, |token| token % 90 % 9 == 5));
    cases.push(few);
    let all_protected = Setup { protected: [3, 50], ..setup("everything protected", [1, 21, 4], None) };
    cases.push(case(all_protected, |graph| Partition::even_odd(graph, 21)));
    let large = Setup { values: data::normal(25, 2 * 8192 * 64), ..setup("large", [2, 8192, 64], None) };
    cases.push(Case { heavy: true, ..case(large, |graph| Partition::even_odd(graph, 8192)) });
    cases
}
