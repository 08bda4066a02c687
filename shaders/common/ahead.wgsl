// How many loads an invocation begins before it uses the first of them. On a CPU nothing waits for a load.
const AHEAD = 1u;
