
// Windows of interpolation on an axis, as PyTorch's `interpolate` has them. Positions are whole numbers, so exact on every device.

// Every `step`-th of the places begin..end, the weight of the first place, and the weight of the others. If antialiased, the weights are
// those of the distances to `centre`, both in units of half an output.
struct Window {
  begin: u32,
  end: u32,
  first: f32,
  other: f32,
  step: u32,
  there: bool,
  divisor: u32,
  centre: u32,
}

// The place at begin + rest / unit, between it and the next one.
fn between(begin: u32, rest: u32, unit: u32, live: u32) -> Window {
  let part = select(0u, rest, begin + 1u < live);
  let end = min(begin + select(1u, 2u, part > 0u), live);
  return Window(begin, end, f32(unit - part) / f32(unit), f32(part) / f32(unit), 1u, end > begin, 1u, 0u);
}

// The neighbours of the position max((2 i + 1) live / (2 outputs) - 1/2, 0). The first alone, with weight 1, if that is a whole number or
// the second lies past the end.
fn bilinear(i: u32, live: u32, outputs: u32) -> Window {
  let unit = 2u * outputs;
  let position = max((2u * i + 1u) * live, outputs) - outputs; // in units of 1 / unit
  let begin = position / unit;
  return between(begin, position - begin * unit, unit, live);
}

// All places j whose weight 1 - |j + 1/2 - (i + 1/2) live / outputs| / max(live / outputs, 1) is above 0.
fn antialiased(i: u32, live: u32, outputs: u32) -> Window {
  let centre = (2u * i + 1u) * live;
  let reach = 2u * max(live, outputs);
  // The places j with |(2 j + 1) outputs - centre| < reach.
  let begin = select(0u, ((max(centre, reach) - reach) / outputs + 1u) / 2u, centre > reach);
  let end = min(((centre + reach - 1u) / outputs + 1u) / 2u, live);
  return Window(begin, end, 1.0, 1.0, 1u, end > begin, 1u, centre);
}

// That weight.
fn antialiased_weight(window: Window, place: u32, live: u32, outputs: u32) -> f32 {
  let at = (2u * place + 1u) * outputs;
  let reach = 2u * max(live, outputs);
  return f32(reach - (max(at, window.centre) - min(at, window.centre))) / f32(reach);
}
