//! Importance by attention: all rows, and sets of rows.

use tokenpress::kernels::{AttentionInputs, AttentionScore, HeadReduction, Norm, Queries, RowReduction, TopK, TopKInputs};
use tokenpress::readback::HostTensors;

use super::{Failure, Feed, Golden, Side};

/// Queries and keys of a case, as a graph's inputs.
fn inputs(golden: &Golden, feed: &mut Feed) -> Result<AttentionInputs, Failure> {
    let queries = feed.input("q", golden.input("q")?);
    let keys = feed.input("k", golden.input("k")?);
    Ok(AttentionInputs { queries, keys, bias: None, lengths: None, query_lengths: None })
}

/// flash-colreduce: each column's sum, mean and maximum of the weights over all rows.
pub fn column_reduce(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let inputs = inputs(golden, &mut feed)?;
    let causal = golden.flag("causal");
    let mean = if causal { RowReduction::MeanVisible } else { RowReduction::Mean };
    let all = |rows, heads| AttentionScore { queries: Queries::All, rows, heads, causal, ..AttentionScore::default() };
    for (name, score) in [
        ("mean", all(mean, HeadReduction::None)),
        ("max", all(RowReduction::Max, HeadReduction::None)),
        ("head_mean_of_sum", all(RowReduction::Sum, HeadReduction::Mean)),
        ("row_last", AttentionScore { queries: Queries::Last, ..all(RowReduction::Sum, HeadReduction::None) }),
    ] {
        let score = score.build(&mut feed.graph, inputs)?.score;
        feed.output(name, score)?;
    }
    let sum = AttentionScore { lse: true, ..all(RowReduction::Sum, HeadReduction::None) }.build(&mut feed.graph, inputs)?;
    feed.output("sum", sum.score)?;
    feed.output("lse", sum.lse.ok_or("no lse")?)?;
    feed.run(side)
}

/// Scores over a list of query rows and a slice of the keys, and the best of them.
pub fn row_set(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let inputs = inputs(golden, &mut feed)?;
    let keys = inputs.keys.shape().dims()[2];
    let rows = golden.input("rows")?.integers().to_vec();
    let base = AttentionScore {
        queries: Queries::List(rows),
        causal: golden.flag("causal"),
        columns: Some(golden.count("c0").unwrap_or(0)..golden.count("c1").unwrap_or(keys)),
        ..AttentionScore::default()
    };
    // The mask belongs to the softmax: raw logits are those of all columns.
    let with = |norm, rows, heads| AttentionScore { norm, rows, heads, causal: base.causal && norm == Norm::Softmax, ..base.clone() };
    for (name, score) in [
        ("score_mean", with(Norm::Softmax, RowReduction::Mean, HeadReduction::Mean)),
        ("score_sum", with(Norm::Softmax, RowReduction::Sum, HeadReduction::Sum)),
        ("score_max", with(Norm::Softmax, RowReduction::Max, HeadReduction::Max)),
        ("score_first_head", with(Norm::Softmax, RowReduction::Mean, HeadReduction::One(0))),
        ("raw_mean", with(Norm::Logits, RowReduction::Mean, HeadReduction::Mean)),
        ("raw_scaled_mean", with(Norm::ScaledLogits, RowReduction::Mean, HeadReduction::Mean)),
    ] {
        let score = score.build(&mut feed.graph, inputs)?.score;
        feed.output(name, score)?;
        if name == "score_mean" {
            let k = golden.count("K")?.min(score.shape().dims()[1]);
            let best = TopK { k, ..TopK::default() }.build(&mut feed.graph, TopKInputs::new(score))?;
            feed.output("topk_idx", best.indices)?;
        }
    }
    feed.run(side)
}
