use tokenpress::kernels::cumulative_sum;
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

fn case([rows, count]: [u32; 2], ragged: bool, what: &str, values: impl Fn(u64, usize) -> Vec<f32>) -> Case {
    let mut graph = Graph::new();
    let mut inputs: HostTensors = [("x".to_owned(), HostTensor::f32([rows, count], values(1, (rows * count) as usize)))].into();
    let x = graph.input("x", [rows, count], Elem::F32);
    let lengths = ragged.then(|| {
        inputs.insert("lengths".to_owned(), HostTensor::u32([rows], data::integers(2, rows as usize, count + 2)));
        graph.input("lengths", [rows], Elem::U32)
    });
    let sums = cumulative_sum(&mut graph, x, lengths).expect("shapes agree");
    graph.output("sums", sums).expect("a name");
    let name = format!("[{rows}, {count}]{} {what}", if ragged { " ragged" } else { "" });
    Case { subject: "cumulative_sum", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // Around the numbers of an invocation, 16 invocations of a block, a row of one workgroup, and chunks.
    for count in [0, 1, 2, 16, 17, 31, 60, 255, 256, 257, 1000, 4095, 4096, 4097, 9000] {
        for ragged in [false, true] {
            cases.push(case([3, count], ragged, "normal", data::normal));
        }
    }
    cases.push(case([0, 9], false, "normal", data::normal));
    cases.push(case([700, 3], true, "normal", data::normal));
    cases.push(case([70, 40], true, "awkward", data::awkward));
    cases.push(case([5, 5000], true, "awkward", data::awkward));
    cases.push(case([9, 70], false, "extremes", |seed, len| data::extremes(seed, len, Elem::F32)));
    cases
}
