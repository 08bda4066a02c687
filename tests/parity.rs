//! Every case on every adapter, step by step against the reference.
#![allow(missing_docs, reason = "a test")]

mod support;

use tokenpress::verify::{Placement, steps};
use tokenpress::{Policy, readback::Context, wgpu};

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let cases = support::cases::all();
    let mut failed = 0;
    for adapter in pollster::block_on(Context::adapters(wgpu::Backends::all())) {
        let context = pollster::block_on(Context::new(&adapter)).expect("a device");
        let mut passed = 0;
        for case in &cases {
            if !filter.is_empty() && !filter.iter().any(|f| case.subject.contains(f.as_str())) || case.heavy {
                continue;
            }
            let f16 = case.graph.inputs().any(|(_, d)| d.elem == tokenpress::Elem::F16);
            if f16 && !context.gpu.capabilities().f16 {
                continue;
            }
            for policy in [Policy::AUTO, Policy::forced(true, true)] {
                let gpu = context.gpu.with_policy(policy);
                for placement in [Placement::default(), Placement { gap: 3, one_buffer: true }] {
                    let reports = pollster::block_on(steps(&context, &gpu, &case.graph, &case.inputs, placement)).expect("a plan");
                    for report in reports {
                        if report.passed() {
                            passed += 1;
                        } else {
                            failed += 1;
                            println!("FAILED {} {} {policy:?} {placement:?} on {}: {report:?}", case.subject, case.name, context.describe());
                        }
                    }
                }
            }
        }
        println!("{}: {passed} passed", context.describe());
    }
    assert_eq!(failed, 0);
}
