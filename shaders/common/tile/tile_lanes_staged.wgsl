// For GPUs, before `tile_lanes_of_sixteen.wgsl`: 128 invocations, with eight rows and four columns each.
const TILE_LANES = 128u;
const TILE_ROWS = 8u; // of an invocation
const TALL = false; // no more than eight rows

