// For GPUs with subgroups of up to 64, before `tile_lanes_of_sixteen.wgsl`: 256 invocations, with four rows and four columns each.
const TILE_LANES = 256u;
const TILE_ROWS = 4u; // of an invocation
const TALL = false; // no more than eight rows

