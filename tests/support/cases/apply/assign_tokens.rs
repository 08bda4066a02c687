use tokenpress::kernels::{AssignInputs, AssignTokens, Partition};
use tokenpress::{Elem, Graph, HostTensor, NONE};

use crate::support::{Case, data};

struct Setup<'a> {
    batch: u32,
    tokens: u32,
    outputs: u32,
    /// Most sources that merge.
    merge: u32,
    lengths: Option<&'a [u32]>,
    what: &'a str,
}

/// Random partners for the live sources, of which all but the first few of a random order stay; and the same with other partners of those that do not merge.
fn case(setup: &Setup<'_>, interleave: bool, partition: impl FnOnce(&mut Graph) -> Partition) -> [Case; 2] {
    let &Setup { batch, tokens, outputs, merge, lengths, what } = setup;
    let mut graph = Graph::new();
    let partition = partition(&mut graph);
    let list = |tensor| {
        let list = graph.constant_value(tensor).expect("a constant");
        let shared = list.shape().dims().len() == 1;
        let rows =
            list.integers().chunks(*list.shape().dims().last().expect("a list").max(&1) as usize).map(<[u32]>::to_vec).collect::<Vec<_>>();
        move |b: u32| rows.get(if shared { 0 } else { b as usize }).cloned().unwrap_or_default()
    };
    let (sources, destinations) = (list(partition.sources), list(partition.destinations));
    let count = *partition.sources.shape().dims().last().expect("a list");
    let mut random = data::Random::new(61);
    let [mut partner, mut unmerged] = [const { Vec::new() }; 2];
    let padded = |mut list: Vec<u32>, len: u32| {
        list.resize(len as usize, NONE);
        list
    };
    for b in 0..batch {
        let live = lengths.map_or(tokens, |l| l[b as usize]).min(tokens);
        let goal: Vec<u32> = (0..).zip(destinations(b)).filter(|(_, t)| *t < live).map(|(j, _)| j).collect();
        let mut order: Vec<u32> = (0..).zip(sources(b)).filter(|(_, t)| *t < live).map(|(i, _)| i).collect();
        order.sort_by_cached_key(|_| random.next_u64());
        let merging = if goal.is_empty() { 0 } else { merge.min(order.len() as u32) };
        let mut partners = vec![NONE; count as usize];
        for &source in &order {
            partners[source as usize] = goal.get(random.below(goal.len() as u32) as usize).copied().unwrap_or(NONE);
        }
        partner.extend(partners);
        unmerged.extend(padded(order.split_off(merging as usize), count));
    }
    let mut inputs: tokenpress::readback::HostTensors = [
        ("partner".to_owned(), HostTensor::u32([batch, count], partner)),
        ("unmerged".to_owned(), HostTensor::u32([batch, count], unmerged)),
    ]
    .into();
    let live = lengths.map(|live| {
        inputs.insert("lengths".to_owned(), HostTensor::u32([batch], live.to_vec()));
        graph.input("lengths", [batch], Elem::U32)
    });
    let assign = AssignInputs {
        partition,
        lengths: live,
        partner: graph.input("partner", [batch, count], Elem::U32),
        unmerged: graph.input("unmerged", [batch, count], Elem::U32),
    };
    let assignment = AssignTokens { tokens, outputs, interleave }.build(&mut graph, assign).expect("shapes agree");
    graph.output("parent", assignment.parent).expect("a name");
    graph.output("representative", assignment.representative).expect("a name");
    graph.output("lengths_out", assignment.lengths).expect("a name");
    let interleaved = if interleave { " interleaved" } else { "" };
    let name = format!("{what} [{batch}, {tokens}] less {merge} to {outputs}{interleaved} lengths {lengths:?}");
    let case = Case { subject: "assign_tokens", name, heavy: false, graph, inputs };
    // The partner of a source that is dead or stays does not matter.
    let live = |b: usize| lengths.map_or(tokens, |l| l[b]).min(tokens);
    let dead = |i: usize| sources((i / count as usize) as u32)[i % count as usize] >= live(i / count as usize);
    let unmerged = case.inputs["unmerged"].integers().to_vec();
    let stays = |i: usize| unmerged[i / count as usize * count as usize..][..count as usize].contains(&(i as u32 % count));
    let broken = case.clone().broken("partner", 1, |i| dead(i) || stays(i));
    [case, broken]
}

/// Lists of anything: repeated, in both lists, beyond the tokens, with NONE between.
fn any_lists([batch, tokens, outputs, count]: [u32; 4], interleave: bool, seed: u64) -> Case {
    let mut graph = Graph::new();
    let mut inputs = tokenpress::readback::HostTensors::new();
    let mut input = |name: &str, at: u64, below: u32| {
        let some = |i: u32| if i.is_multiple_of(7) { NONE } else { i };
        let values = data::integers(seed + at, (batch * count) as usize, below).into_iter().map(some).collect();
        inputs.insert(name.to_owned(), HostTensor::u32([batch, count], values));
        graph.input(name, [batch, count], Elem::U32)
    };
    let partition = Partition { sources: input("sources", 0, tokens + 9), destinations: input("destinations", 1, tokens + 9) };
    let (partner, unmerged) = (input("partner", 2, count + 9), input("unmerged", 3, count + 9));
    inputs.insert(
        "lengths".to_owned(),
        HostTensor::u32([batch], (0..batch).map(|b| [u32::MAX, 2 * tokens / 3, 1][b as usize % 3]).collect()),
    );
    let lengths = Some(graph.input("lengths", [batch], Elem::U32));
    let assign = AssignInputs { partition, lengths, partner, unmerged };
    let assignment = AssignTokens { tokens, outputs, interleave }.build(&mut graph, assign).expect("shapes agree");
    graph.output("parent", assignment.parent).expect("a name");
    graph.output("representative", assignment.representative).expect("a name");
    graph.output("lengths_out", assignment.lengths).expect("a name");
    let name = format!("lists of anything [{batch}, {tokens}] {seed}{}", if interleave { " interleaved" } else { "" });
    Case { subject: "assign_tokens", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for interleave in [false, true] {
        for (batch, tokens, merge) in [
            (1, 0, 0),
            (2, 1, 0),
            (1, 2, 1),
            (2, 3, 1),
            (70, 2, 1),
            (3, 16, 4),
            (3, 20, 4),
            (1, 33, 16),
            (2, 32, 0),
            (3, 129, 20),
            (1, 197, 16),
            (1, 577, 288),
            (0, 9, 2),
        ] {
            let setup = Setup { batch, tokens, outputs: tokens - merge, merge, lengths: None, what: "even and odd" };
            cases.extend(case(&setup, interleave, |graph| Partition::even_odd(graph, tokens)));
        }
        let lengths = Some(&[0, 1, 2, 63, 70, u32::MAX][..]);
        for merge in [0, 1, 20, 35] {
            let setup = Setup { batch: 6, tokens: 70, outputs: 70, merge, lengths, what: "even and odd" };
            cases.extend(case(&setup, interleave, |graph| Partition::even_odd(graph, 70)));
            let setup = Setup { what: "random lists", ..setup };
            cases.extend(case(&setup, interleave, |graph| Partition::random(graph, 6, 70, 35, 8).expect("a partition")));
            // More rows than the output has.
            let setup = Setup { outputs: 11, ..setup };
            cases.extend(case(&setup, interleave, |graph| Partition::random(graph, 6, 70, 35, 8).expect("a partition")));
        }
        let setup = |tokens, merge, outputs, what| Setup { batch: 2, tokens, outputs, merge, lengths: None, what };
        cases.extend(case(&setup(300, 198, 99, "strided"), interleave, |graph| Partition::strided(graph, 300, 3)));
        cases.extend(case(&setup(301, 200, 101, "strided with a rest"), interleave, |graph| Partition::strided(graph, 301, 3)));
        cases.extend(case(&setup(5, 0, 5, "destinations only"), interleave, |graph| Partition::strided(graph, 5, 1)));
        cases.extend(case(&setup(5, 2, 5, "sources only"), interleave, |graph| Partition::lists(graph, &[4, 1, 0], &[]).expect("lists")));
        cases.extend(case(&setup(35, 20, 15, "grid"), interleave, |graph| Partition::grid2d_random(graph, 5, 7, 2, 2, 3).expect("a grid")));
        cases.extend(case(&setup(9, 3, 0, "no output"), interleave, |graph| Partition::even_odd(graph, 9)));
        for shape in [[3, 150, 170, 140], [70, 9, 10, 11]] {
            cases.extend([1, 11, 21].map(|seed| any_lists(shape, interleave, seed)));
        }
        // Positions that are not tokens.
        let lists = |graph: &mut Graph| Partition::lists(graph, &[4, 100, 1, NONE], &[0, 99, 5]).expect("lists");
        cases.extend(case(&setup(6, 2, 6, "not all tokens"), interleave, lists));
    }
    cases
}
