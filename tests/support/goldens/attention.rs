//! Importance by attention: all rows, and sets of rows.

use tokenpress::kernels::{AttentionInputs, AttentionScore, HeadReduction, Queries, RowReduction};
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
        let score = score.score(&mut feed.graph, inputs)?.score;
        feed.output(name, score)?;
    }
    let sum = AttentionScore { lse: true, ..all(RowReduction::Sum, HeadReduction::None) }.score(&mut feed.graph, inputs)?;
    feed.output("sum", sum.score)?;
    feed.output("lse", sum.lse.ok_or("no lse")?)?;
    feed.run(side)
}
