//! What the benchmarks and examples share: every case can be made, at the sizes of a GPU and of a CPU, in each element type; a clock may be coarse;
//! reports have a stamp.

#[path = "../benches/harness/mod.rs"]
mod harness;
#[allow(dead_code, reason = "a part is tested")]
#[path = "../examples/shared/stamp.rs"]
mod stamp;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use harness::cases::Cases;
use harness::timer::filling;
use tokenpress::Elem;

#[test]
fn every_case_is_a_graph_with_a_name_of_its_own() {
    for elem in [Elem::F32, Elem::F16] {
        for small in [false, true] {
            let all = Cases::all(small, elem);
            let names: BTreeSet<_> = all.iter().map(|case| (case.kernel, case.name.as_str())).collect();
            assert_eq!(names.len(), all.len());
            assert!(all.iter().all(|case| case.graph.outputs().next().is_some()));
        }
    }
}

#[test]
fn a_clock_that_reads_zero_says_nothing_of_many_runs() {
    let sample = Duration::from_millis(5);
    // Nanoseconds of a run, and of a step of the clock; how many runs are right, about.
    for (run, step, right) in
        [(70_000, 100_000, 72), (3_000, 100_000, 1667), (900, 1_000_000, 4096), (40_000_000, 100_000, 1), (2_000_000, 1, 3)]
    {
        let (asked, spent) = (RefCell::new(Vec::new()), RefCell::new(0));
        let time = |runs: u64| {
            asked.borrow_mut().push(runs);
            *spent.borrow_mut() += runs * run;
            std::future::ready(Ok(Duration::from_nanos(runs * run / step * step)))
        };
        let runs = pollster::block_on(filling(1, sample, time)).expect("no call fails");
        assert!((right..=right + right / 4 + 1).contains(&runs), "{runs} runs of {run} ns: {:?}", asked.borrow());
        // What a jump to the most runs would take.
        assert!(*spent.borrow() < 12 * (sample.as_nanos() as u64).max(run), "{:?}", asked.borrow());
    }
}
