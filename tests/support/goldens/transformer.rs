//! The layers of a transformer with a file's weights, attention to a context, and the Q-Former.

use tokenpress::kernels::{Activation, AttentionInputs, AttentionScore, HeadReduction, LayerNorm, Queries, RowReduction, add, gather_rows};
use tokenpress::methods::{
    Affine, FeedForward, KeyMask, MultiHeadAttention, Projections, QFormer, QFormerInputs, QFormerLayer, TransformerBlock,
};
use tokenpress::readback::HostTensors;
use tokenpress::{HostTensor, Tensor};

use super::{Failure, Feed, Golden, Side};

impl Feed {
    /// Part 0, 1 or 2 of three layers whose weights, and biases, lie one behind the other.
    fn third(&mut self, golden: &Golden, name: &str, part: u32) -> Result<Affine, Failure> {
        let mut tensor = |kind: &str| -> Result<Option<Tensor>, Failure> {
            let Some(whole) = golden.optional_input(&format!("w.{name}.{kind}"))? else { return Ok(None) };
            let values = whole.floats();
            let length = values.len() / 3;
            let values = values[part as usize * length..][..length].to_vec();
            let third = whole.shape().dims()[0] / 3;
            let value = match whole.shape().dims() {
                [_, columns] => HostTensor::f32([third, *columns], values),
                _ => HostTensor::f32([third], values),
            };
            Ok(Some(self.input(&format!("{name}.{part}.{kind}"), value)))
        };
        Ok(Affine { weight: tensor("weight")?.ok_or_else(|| format!("no tensor in.w.{name}.weight"))?, bias: tensor("bias")? })
    }

    /// A block as timm names its weights. `prefix` is empty, or ends in a dot.
    pub(super) fn block(&mut self, golden: &Golden, prefix: &str, epsilon: f32) -> Result<TransformerBlock, Failure> {
        let qkv = format!("{prefix}attn.qkv");
        Ok(TransformerBlock {
            norm: LayerNorm::new(epsilon),
            attention_norm: self.affine(golden, &format!("{prefix}norm1"))?,
            attention: MultiHeadAttention {
                heads: golden.count("heads")?,
                projections: Projections {
                    queries: self.third(golden, &qkv, 0)?,
                    keys: self.third(golden, &qkv, 1)?,
                    values: self.third(golden, &qkv, 2)?,
                    output: self.affine(golden, &format!("{prefix}attn.proj"))?,
                },
            },
            feed_forward_norm: self.affine(golden, &format!("{prefix}norm2"))?,
            feed_forward: self.feed_forward(golden, &format!("{prefix}mlp.fc1"), &format!("{prefix}mlp.fc2"))?,
        })
    }

    fn feed_forward(&mut self, golden: &Golden, up: &str, down: &str) -> Result<FeedForward, Failure> {
        Ok(FeedForward { up: self.affine(golden, up)?, activation: Activation::Gelu, down: self.affine(golden, down)? })
    }

    /// Attention and the norm behind it, as BERT names their weights.
    fn bert_attention(&mut self, golden: &Golden, prefix: &str) -> Result<(MultiHeadAttention, Affine), Failure> {
        let projections = Projections {
            queries: self.affine(golden, &format!("{prefix}.self.query"))?,
            keys: self.affine(golden, &format!("{prefix}.self.key"))?,
            values: self.affine(golden, &format!("{prefix}.self.value"))?,
            output: self.affine(golden, &format!("{prefix}.output.dense"))?,
        };
        Ok((MultiHeadAttention { heads: golden.count("heads")?, projections }, self.affine(golden, &format!("{prefix}.output.LayerNorm"))?))
    }

    /// Feed-forward layers and the norm behind them; `kind` is `_query` or empty.
    fn bert_feed_forward(&mut self, golden: &Golden, layer: &str, kind: &str) -> Result<(FeedForward, Affine), Failure> {
        let feed_forward =
            self.feed_forward(golden, &format!("{layer}.intermediate{kind}.dense"), &format!("{layer}.output{kind}.dense"))?;
        Ok((feed_forward, self.affine(golden, &format!("{layer}.output{kind}.LayerNorm"))?))
    }

    /// What a mask adds to the logits: `hidden` where it is this number. A row that hides every key hides none: a softmax is blind to
    /// what all logits share, and the logits keep their digits.
    fn bias(&mut self, golden: &Golden, name: &str, number: u32, hidden: f32) -> Result<Option<Tensor>, Failure> {
        let Some(mask) = golden.optional_input(name)? else { return Ok(None) };
        let [_, keys] = mask.shape().exactly("mask", "[B, N]")?;
        let of_row = |row: &[u32]| {
            let all = row.iter().all(|m| *m == number);
            row.iter().map(|m| if *m == number && !all { hidden } else { 0.0 }).collect::<Vec<_>>()
        };
        let values = mask.integers().chunks(keys.max(1) as usize).flat_map(of_row).collect();
        Ok(Some(self.input(name, HostTensor::f32(mask.shape(), values))))
    }
}

/// PyTorch's multi-head attention, with its weights, one query row after the other.
pub fn cross_attention(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let mut affine = |name: &str| -> Result<Affine, Failure> {
        let weight = feed.input(&format!("w.{name}"), golden.input(&format!("w.{name}"))?);
        let bias = golden.optional_input(&format!("b.{name}"))?.map(|b| feed.input(&format!("b.{name}"), b));
        Ok(Affine { weight, bias })
    };
    let projections = Projections { queries: affine("q")?, keys: affine("k")?, values: affine("v")?, output: affine("o")? };
    let attention = MultiHeadAttention { heads: golden.count("heads")?, projections };
    let x = feed.input("x", golden.input("x")?);
    let context = feed.input("context", golden.input("context")?);
    let bias = feed.bias(golden, "mask", 1, -1e30)?;
    let graph = &mut feed.graph;
    let projected = attention.project(graph, [x, context, context])?;
    let y = attention.attend(graph, projected, KeyMask { bias, ..KeyMask::default() })?;
    graph.output("y", y)?;

    let queries = attention.heads_first(graph, projected.queries)?;
    let keys = attention.heads_first(graph, projected.keys)?;
    let [batch, heads, rows, _] = queries.shape().exactly("queries", "[B, H, M, D]")?;
    // As many queries as keys do not share their lengths here.
    let query_lengths = Some(graph.constant(HostTensor::u32([batch], vec![rows; batch as usize])));
    let inputs = AttentionInputs { queries, keys, bias, lengths: None, query_lengths };
    let mean = AttentionScore { queries: Queries::All, rows: RowReduction::Mean, ..AttentionScore::default() };
    let mean = mean.build(graph, inputs)?.score;
    graph.output("colmean", mean)?;
    for row in 0..rows {
        let one = AttentionScore { queries: Queries::Row(row), heads: HeadReduction::None, ..AttentionScore::default() };
        let weights = one.build(graph, inputs)?.score;
        graph.output(&format!("row {row}"), weights)?;
    }
    let keys = keys.shape().dims()[2];
    let mut outputs = feed.run(side)?;
    let mut weights = vec![0.0; (batch * heads * rows * keys) as usize];
    for row in 0..rows {
        let one = outputs.remove(&format!("row {row}")).ok_or("no row")?.floats();
        for (head, of_head) in one.chunks(keys.max(1) as usize).enumerate() {
            weights[(head as u32 * rows + row) as usize * keys as usize..][..keys as usize].copy_from_slice(of_head);
        }
    }
    outputs.insert("attn".to_owned(), HostTensor::f32([batch, heads, rows, keys], weights));
    Ok(outputs)
}

/// All layers of a Q-Former, with or without a text.
pub fn qformer(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let mut layers = Vec::new();
    for index in 0..golden.count("layers")? {
        let layer = format!("encoder.layer.{index}");
        let has = |part: &str| Ok::<_, Failure>(golden.optional_input(&format!("w.{layer}.{part}.weight"))?.is_some());
        let (looks, speaks) = (has("crossattention.self.query")?, has("intermediate.dense")?);
        layers.push(QFormerLayer {
            attention: feed.bert_attention(golden, &format!("{layer}.attention"))?,
            cross_attention: looks.then(|| feed.bert_attention(golden, &format!("{layer}.crossattention"))).transpose()?,
            query_feed_forward: feed.bert_feed_forward(golden, &layer, "_query")?,
            text_feed_forward: speaks.then(|| feed.bert_feed_forward(golden, &layer, "")).transpose()?,
        });
    }
    let model = QFormer { embedding_norm: feed.affine(golden, "embeddings.LayerNorm")?, layers, epsilon: 1e-12 };
    let text = match golden.optional_input("input_ids")? {
        Some(ids) => {
            let [batch, length] = ids.shape().exactly("input_ids", "[B, T]")?;
            let mut table = |name: &str| -> Result<Tensor, Failure> {
                let weight = golden.input(&format!("w.embeddings.{name}.weight"))?;
                let [rows, channels] = weight.shape().exactly("embeddings", "[V, C]")?;
                Ok(feed.input(name, weight.reshaped([1, rows, channels])))
            };
            let (words, places) = (table("word_embeddings")?, table("position_embeddings")?);
            let ids = feed.input("input_ids", ids.reshaped([1, batch * length]));
            let graph = &mut feed.graph;
            let rows = gather_rows(graph, words, ids, None)?;
            let rows = graph.reshape(rows, [batch, length, rows.shape().dims()[2]])?;
            let order = graph.constant(HostTensor::u32([length], (0..length).collect()));
            let places = gather_rows(graph, places, order, None)?;
            Some(add(graph, rows, places)?)
        }
        None => None,
    };
    let inputs = QFormerInputs {
        queries: feed.input("query_tokens", golden.input("query_tokens")?),
        text,
        mask: feed.bias(golden, "attention_mask", 0, -10000.0)?,
        image: feed.input("image", golden.input("image")?),
        image_mask: feed.bias(golden, "image_mask", 0, -10000.0)?,
        image_lengths: None,
    };
    let output = model.build(&mut feed.graph, &inputs)?;
    for (index, hidden) in output.hidden.into_iter().enumerate() {
        feed.output(&format!("hidden{index}"), hidden)?;
    }
    if let Some(text) = output.text {
        feed.output("text_out", text)?;
    }
    feed.output("y", output.queries)?;
    feed.run(side)
}
