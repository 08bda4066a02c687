// The largest of one row's stored logits, and the sum of exp(logit - largest). Included after reduce, team and softmax. The including
// shader declares `params`, `logits` and `bias`.
fn logit(first: u32, bias_first: u32, key: u32) -> f32 {
  var s = params.scale * logits[first + key];
  if params.biased == 1u { s += bias[bias_first + key]; }
  return marked_f32(saturated_f32(s));
}

fn is_hidden(bias_first: u32, key: u32) -> bool {
  if params.biased == 0u { return false; }
  return bitcast<u32>(bias[bias_first + key]) == HIDDEN;
}

// Over the keys that the row sees. The row's logits begin at `first`. The sum is 0 if there are none. Invocation i always reads every
// TEAM-th key from the i-th on, so padding does not change the order of the sum. Call in uniform control flow.
fn stored_sums(lane: Lane, batch: u32, first: u32, visible: u32) -> vec2<f32> {
  let bias_first = params.bias_base + batch * params.key_count;
  var largest = LOWEST;
  for (var key = team_lane(lane); key < visible; key += TEAM) {
    if !is_hidden(bias_first, key) { largest = max(largest, logit(first, bias_first, key)); }
  }
  largest = reduce_max(lane, largest);
  var sum = 0.0;
  for (var key = team_lane(lane); key < visible; key += TEAM) {
    if !is_hidden(bias_first, key) { sum += exp(logit(first, bias_first, key) - largest); }
  }
  sum = team_add(lane, vec2<f32>(sum, 0.0)).x;
  return vec2<f32>(largest, unless_spoilt(sum, largest));
}
