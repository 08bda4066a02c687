
// A window that slides over a grid of tokens. Params has the grid's `height` and `width`, and `out_height` and `out_width`, the number of
// the window's places. It also has the window's `kernel_width`, `stride_y`, `stride_x`, `padding_y` and `padding_x`.

// The token under a tap of the window, counted over the whole batch; NO_TOKEN in the padding.
const NO_TOKEN = 0xffffffffu;

fn window_token(place: u32, tap: u32) -> u32 {
  let row = place / params.out_width;
  // Above and left of the grid, this wraps to a number larger than any size.
  let y = row % params.out_height * params.stride_y + tap / params.kernel_width - params.padding_y;
  let x = place % params.out_width * params.stride_x + tap % params.kernel_width - params.padding_x;
  let token = (row / params.out_height * params.height + y) * params.width + x;
  return select(NO_TOKEN, token, y < params.height && x < params.width);
}
