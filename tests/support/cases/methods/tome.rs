use tokenpress::kernels::{Partition, Reduce};
use tokenpress::methods::{Fusion, Matching, PiToMe, Protect, ToFu, ToMe};
use tokenpress::random::random_permutation;
use tokenpress::{Error, Graph, HostTensor, Positions};

use super::{Given, Method};

pub const METHODS: &[Method] = &[
    Method {
        subject: "pitome",
        options: "class",
        build: |graph, given| pitome(graph, given, PiToMe { merge: 5, protect: Protect::CLASS, ..Default::default() }),
        ragged: true,
    },
    Method { subject: "pitome", options: "text", build: |graph, given| pitome(graph, given, PiToMe::text(9, 0.3)), ragged: true },
    Method {
        subject: "pitome",
        options: "every fourth marked",
        build: |graph, given| {
            let protect = every_fourth(graph, given);
            pitome(graph, given, PiToMe { merge: 4, protect, ..Default::default() })
        },
        ragged: true,
    },
    Method {
        subject: "tofu",
        options: "means, class",
        build: |graph, given| tofu(graph, given, ToFu { merge: 7, protect: Protect::CLASS, ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "tofu",
        options: "destinations",
        build: |graph, given| tofu(graph, given, ToFu { merge: 5, fusion: Fusion::Destination, ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "plain",
        build: |graph, given| tome(graph, given, ToMe { merge: 5, ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "class",
        build: |graph, given| tome(graph, given, ToMe { merge: 4, protect: Protect::CLASS, ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "class and distillation, all",
        build: |graph, given| tome(graph, given, ToMe { merge: u32::MAX, protect: Protect::Leading(2), ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "in order",
        build: |graph, given| tome(graph, given, ToMe { merge: 5, keep_order: true, ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "every fourth marked, in order",
        build: |graph, given| {
            let protect = every_fourth(graph, given);
            tome(graph, given, ToMe { merge: 5, protect, keep_order: true, ..Default::default() })
        },
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "every 3rd, every fourth marked",
        build: |graph, given| {
            let protect = every_fourth(graph, given);
            tome(graph, given, ToMe { matching: Matching::Kth(3), protect, ..Default::default() })
        },
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "five registers, a threshold",
        build: |graph, given| {
            let protect = Protect::Leading(5);
            tome(graph, given, ToMe { merge: u32::MAX, threshold: Some(0.1), protect, ..Default::default() })
        },
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "none",
        build: |graph, given| tome(graph, given, ToMe { merge: 0, ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "every 3rd",
        build: |graph, given| tome(graph, given, ToMe { matching: Matching::Kth(3), ..Default::default() }),
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "random",
        build: |graph, given| {
            let (batch, tokens) = (given.tokens.batch(), given.tokens.capacity());
            let partition = Partition::random(graph, batch, tokens, tokens.div_ceil(2), 7)?;
            tome(graph, given, ToMe { merge: u32::MAX, matching: Matching::Lists(partition), ..Default::default() })
        },
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "scattered lists",
        build: |graph, given| {
            let order = random_permutation(7, 0, 64);
            listed(graph, given, &order[..40], &order[40..], 9)
        },
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "one of each cell (tomesd)",
        build: |graph, given| {
            let grid = Partition::grid2d_random(graph, 8, 8, 2, 2, 3)?;
            let list = |list| graph.constant_value(list).map_or(Vec::new(), |list| list.integers().to_vec());
            let (sources, destinations) = (list(grid.sources), list(grid.destinations));
            listed(graph, given, &sources, &destinations, u32::MAX)
        },
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "similarity of 0.3 (DyMU)",
        build: |graph, given| {
            tome(graph, given, ToMe { merge: u32::MAX, threshold: Some(0.3), protect: Protect::CLASS, ..Default::default() })
        },
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "two layers",
        build: |graph, given| {
            let method = ToMe { merge: 6, protect: Protect::CLASS, ..Default::default() };
            let first = method.build(graph, &given.tokens, given.keys)?;
            let second = method.build(graph, &first.tokens, first.tokens.x)?;
            let map = first.map.then(graph, &second.map)?;
            graph.output("x'", second.tokens.x)?;
            graph.output("size'", second.tokens.size)?;
            graph.output("lengths'", second.tokens.lengths)?;
            graph.output("parent", map.parent)?;
            let sizes = map.sizes(graph, given.tokens.size)?;
            graph.output("sizes of both", sizes)?;
            let largest = map.merge(graph, given.tokens.x, None, Reduce::Max)?;
            graph.output("largest of both", largest)?;
            let kept = map.positions(graph, None, Positions::Keep)?;
            graph.output("kept positions", kept)?;
            let compact = map.positions(graph, None, Positions::Compact)?;
            graph.output("compact positions", compact)
        },
        ragged: true,
    },
];

/// Tokens 1, 5, 9 .. by marks, as many as there are.
pub fn every_fourth(graph: &mut Graph, given: Given) -> Protect {
    let tokens = given.tokens.capacity();
    let marks = graph.constant(HostTensor::u32([tokens], (0..tokens).map(|i| u32::from(i % 4 == 1)).collect()));
    Protect::Marked { marks, most: tokens.div_ceil(4) }
}

/// Lists that do not depend on the capacity but for what lies behind it.
fn listed(graph: &mut Graph, given: Given, sources: &[u32], destinations: &[u32], merge: u32) -> Result<(), Error> {
    let [sources, destinations] =
        [sources, destinations].map(|list| list.iter().copied().filter(|i| *i < given.tokens.capacity()).collect::<Vec<_>>());
    let partition = Partition::lists(graph, &sources, &destinations)?;
    tome(graph, given, ToMe { merge, matching: Matching::Lists(partition), ..Default::default() })
}

fn pitome(graph: &mut Graph, given: Given, method: PiToMe) -> Result<(), Error> {
    let merged = method.build(graph, &given.tokens, given.keys)?;
    super::runs::name(graph, merged)
}

fn tofu(graph: &mut Graph, given: Given, method: ToFu) -> Result<(), Error> {
    let merged = method.build(graph, &given.tokens, given.keys)?;
    super::runs::name(graph, merged)
}

fn tome(graph: &mut Graph, given: Given, method: ToMe) -> Result<(), Error> {
    let merged = method.build(graph, &given.tokens, given.keys)?;
    graph.output("x'", merged.tokens.x)?;
    graph.output("size'", merged.tokens.size)?;
    graph.output("lengths'", merged.tokens.lengths)?;
    graph.output("parent", merged.map.parent)?;
    let restored = merged.map.unmerge(graph, merged.tokens.x, None)?;
    graph.output("restored", restored)
}
