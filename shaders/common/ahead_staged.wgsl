// How many loads an invocation begins before it uses the first of them. A GPU waits for memory as long as for hundreds of instructions.
const AHEAD = 4u;
