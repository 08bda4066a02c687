// Log-sum-exp of one row of attention_score's stored logits, behind reduce. The including shader declares `params`, `logits` and `bias`.
const LOWEST = -3.4028234e38;

fn logit(first: u32, bias_first: u32, key: u32) -> f32 {
  var s = params.scale * logits[first + key];
  if params.biased == 1u { s += bias[bias_first + key]; }
  return s;
}

// Over the keys that the row sees, of logits that begin at `first`; 0 if there are none. Invocation i reads every WG-th key from
// the i-th on, whatever their number: the order of the sum does not depend on padding. To be called in uniform control flow.
fn stored_lse(lane: Lane, batch: u32, first: u32, visible: u32) -> f32 {
  let bias_first = params.bias_base + batch * params.key_count;
  var largest = LOWEST;
  for (var key = lane.index; key < visible; key += WG) {
    largest = max(largest, logit(first, bias_first, key));
  }
  largest = reduce_max(lane, largest);
  var sum = 0.0;
  for (var key = lane.index; key < visible; key += WG) {
    sum += exp(logit(first, bias_first, key) - largest);
  }
  sum = reduce_add(lane, sum);
  return select(0.0, largest + log(sum), visible > 0u);
}
