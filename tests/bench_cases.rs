//! The table of what the benchmarks measure: every case can be made, at the sizes of a GPU and of a CPU, in each element type.

#[path = "../benches/harness/cases.rs"]
#[allow(dead_code, unreachable_pub)]
mod cases;
#[path = "support/data.rs"]
#[allow(dead_code, unreachable_pub)]
mod data;

use std::collections::BTreeSet;

use tokenpress::Elem;

#[test]
fn every_case_is_a_graph_with_a_name_of_its_own() {
    for elem in [Elem::F32, Elem::F16] {
        for small in [false, true] {
            let all = cases::Cases::all(small, elem);
            let names: BTreeSet<_> = all.iter().map(|case| (case.kernel, case.name.as_str())).collect();
            assert_eq!(names.len(), all.len());
            assert!(all.iter().all(|case| case.graph.outputs().next().is_some()));
        }
    }
}
