//! The reference of `attention_score` against cases made by other code: see `tests/goldens`.
#![allow(missing_docs, reason = "a test")]

use std::collections::BTreeMap;

use safetensors::{Dtype, SafeTensors};
use tokenpress::kernels::{AttentionInputs, AttentionScore, HeadReduction, Norm, Queries, RowReduction};
use tokenpress::{Elem, Graph, HostTensor, Shape};

struct Golden {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    parameters: std::collections::HashMap<String, String>,
}

impl Golden {
    fn read(name: &str) -> Self {
        let path = format!("{}/tests/goldens/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).expect("a golden");
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a header");
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let tensors = file.tensors().into_iter().map(|(name, view)| {
            let words = view.data().chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
            let values = match view.dtype() {
                Dtype::F32 => words.map(f32::from_le_bytes).collect(),
                Dtype::I32 => words.map(|b| i32::from_le_bytes(b) as f32).collect(),
                other => panic!("{other:?}"),
            };
            (name, (view.shape().to_vec(), values))
        });
        Self { tensors: tensors.collect(), parameters: metadata.metadata().clone().unwrap_or_default() }
    }

    fn score(&self, score: AttentionScore) -> BTreeMap<String, HostTensor> {
        let score = AttentionScore { causal: self.parameters["causal"] == "true", ..score };
        let mut graph = Graph::new();
        let input = |name: &str| {
            let (shape, values) = &self.tensors[name];
            let shape: Shape = [shape[0] as u32, shape[1] as u32, shape[2] as u32, shape[3] as u32].into();
            HostTensor::f32(shape, values.clone())
        };
        let (q, k) = (input("in.q"), input("in.k"));
        let (queries, keys) = (graph.input("q", q.shape(), Elem::F32), graph.input("k", k.shape(), Elem::F32));
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: None, query_lengths: None };
        let importance = score.score(&mut graph, inputs).expect("shapes agree");
        graph.output("score", importance.score).expect("a name");
        if let Some(lse) = importance.lse {
            graph.output("lse", lse).expect("a name");
        }
        graph.run_reference(&[("q".to_owned(), q), ("k".to_owned(), k)].into()).expect("inputs")
    }

    /// The tolerance of the files' metadata.
    fn assert(&self, name: &str, actual: &HostTensor) {
        let Some((_, expected)) = self.tensors.get(&format!("out.{name}")) else { return };
        let actual = actual.floats();
        assert_eq!(actual.len(), expected.len(), "{name}");
        for (a, e) in actual.iter().zip(expected) {
            assert!((a - e).abs() <= 1e-5 + 1e-4 * e.abs(), "{name}: {actual:?} is not {expected:?}");
        }
    }
}

#[test]
fn column_reduce() {
    for name in ["00", "01", "02", "03", "04", "05", "degenerate_onekey"] {
        let golden = Golden::read(&format!("attn_colreduce_{name}"));
        let all = AttentionScore { queries: Queries::All, heads: HeadReduction::None, lse: true, ..Default::default() };
        for (output, rows) in [("sum", RowReduction::Sum), ("mean", RowReduction::MeanVisible), ("max", RowReduction::Max)] {
            let outputs = golden.score(AttentionScore { rows, ..all.clone() });
            golden.assert(output, &outputs["score"]);
            golden.assert("lse", &outputs["lse"]);
        }
        let heads = AttentionScore { rows: RowReduction::Sum, heads: HeadReduction::Mean, ..all.clone() };
        golden.assert("head_mean_of_sum", &golden.score(heads)["score"]);
        golden.assert("row_last", &golden.score(AttentionScore { queries: Queries::Last, ..all })["score"]);
    }
}

#[test]
fn row_sets() {
    for name in ["00", "01", "02"] {
        let golden = Golden::read(&format!("attn_rows_{name}"));
        let parameter = |name: &str| golden.parameters[name].parse::<u32>().expect("a number");
        let base = AttentionScore {
            queries: Queries::List(golden.tensors["in.rows"].1.iter().map(|&r| r as u32).collect()),
            columns: Some(parameter("c0")..parameter("c1")),
            ..Default::default()
        };
        let cases = [
            ("score_mean", AttentionScore { ..base.clone() }),
            ("score_sum", AttentionScore { rows: RowReduction::Sum, heads: HeadReduction::Sum, ..base.clone() }),
            ("score_max", AttentionScore { rows: RowReduction::Max, heads: HeadReduction::Max, ..base.clone() }),
            ("score_first_head", AttentionScore { heads: HeadReduction::One(0), ..base.clone() }),
            ("raw_mean", AttentionScore { norm: Norm::Logits, ..base.clone() }),
            ("raw_scaled_mean", AttentionScore { norm: Norm::ScaledLogits, ..base }),
        ];
        for (output, score) in cases {
            assert!(golden.tensors.contains_key(&format!("out.{output}")), "{output}");
            golden.assert(output, &golden.score(score)["score"]);
        }
    }
}
