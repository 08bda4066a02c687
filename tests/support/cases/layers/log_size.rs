use tokenpress::kernels::log_size;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (tokens, lengths) in [(0, None), (1, None), (127, None), (129, Some(vec![129, 0, 77])), (33, Some(vec![1, 99, 33]))] {
        let mut graph = Graph::new();
        let size = graph.input("size", [3, tokens], Elem::F32);
        let elements = 3 * tokens as usize;
        let name = format!("N{tokens} lengths {lengths:?}");
        // Whole numbers as merging makes them, and others around 1.
        let mut sizes: Vec<f32> = data::integers(1, elements, 5).into_iter().map(|s| 1.0 + s as f32).collect();
        if tokens == 129 {
            sizes.iter_mut().zip(data::awkward(3, elements)).step_by(7).for_each(|(size, special)| *size = special);
        }
        sizes.iter_mut().step_by(3).zip(data::normal(2, elements)).for_each(|(size, x)| *size = (0.5 * x).exp());
        let mut inputs: tokenpress::readback::HostTensors = [("size".to_owned(), HostTensor::f32([3, tokens], sizes))].into();
        let lengths = lengths.map(|lengths| {
            inputs.insert("lengths".to_owned(), HostTensor::u32([3], lengths));
            graph.input("lengths", [3], Elem::U32)
        });
        let bias = log_size(&mut graph, size, lengths).expect("shapes agree");
        graph.output("bias", bias).expect("a name");
        let case = Case { subject: "log_size", name, heavy: false, graph, inputs };
        if case.is_ragged() {
            cases.push(case.broken_behind(&[("size", tokens, 1)]));
        }
        cases.push(case);
    }
    cases
}
