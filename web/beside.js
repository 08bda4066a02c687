// Other libraries at the work of our kernels, in the worker: the same cases on the same numbers, and one clock. What each computes is written
// from the definitions of our kernels, as its users would write them. Their files are there after `scripts/web --peers`.
import { model, node } from './onnx.js';

/** Relative to our largest number; a move of numbers is exact. */
const ROUNDING = 1e-4;
const KERNELS = ['top_k', 'attention_score', 'pool', 'linear', 'layer_norm', 'pixel_unshuffle'];
export const kernels = KERNELS.join(',');

// What a case is in the words of both libraries: `inputs` are {name: {shape, data}}; undefined where they do not have it. `nodes` are ONNX, and
// `work` is of tfjs's tensors. `outputs` says of each of theirs which of ours it is, and how far it may be from it.
const WORK = {
  top_k(name, { scores }) {
    const k = Number(name.match(/k(\d+)/)[1]);
    return {
      nodes: [node('TopK', ['scores', 'k'], ['values', 'indices'], { axis: -1, sorted: 1 })],
      constants: { k: [k] },
      work: (tf, { scores }) => Object.values(tf.topk(scores, k, true)),
      outputs: [
        { name: 'values', ours: 1, bound: 0 },
        // Ties may go to another index: what lies there is compared.
        { name: 'indices', ours: 0, bound: 0, of: (index, at) => scores.data[Math.floor(at / k) * scores.shape[1] + index] },
      ],
    };
  },

  attention_score(name, { queries, keys }) {
    // 66,000 rows of two tokens: tfjs refuses so many workgroups, and what onnxruntime-web gives is wrong.
    if (name.startsWith('short rows')) return undefined;
    const [, , rows, channels] = queries.shape;
    if (name.startsWith('class row')) {
      const data = Array.from({ length: queries.data.length / rows / channels }, (_, head) => [...queries.data.subarray(head * rows * channels, (head * rows + 1) * channels)]);
      queries.data = new Float32Array(data.flat());
      queries.shape[2] = 1;
    }
    const scale = 1 / Math.sqrt(keys.shape[3]);
    return {
      nodes: [
        node('Transpose', ['keys'], ['columns'], { perm: [0, 1, 3, 2] }),
        node('MatMul', ['queries', 'columns'], ['logits']),
        node('Mul', ['logits', 'scale'], ['scaled']),
        node('Softmax', ['scaled'], ['weights'], { axis: -1 }),
        node('ReduceMean', ['weights', 'one'], ['rows'], { keepdims: 0 }),
        node('ReduceSum', ['rows', 'one'], ['score'], { keepdims: 0 }),
      ],
      constants: { scale: new Float32Array([scale]), one: [1] },
      work: (tf, { queries, keys }) => [tf.sum(tf.mean(tf.softmax(tf.mul(tf.matMul(queries, keys, false, true), scale)), 1), 1)],
      outputs: [{ name: 'score', ours: 0, bound: ROUNDING }],
    };
  },

  pool(name, { x }) {
    const [batch, tokens, channels] = x.shape;
    const side = Math.sqrt(tokens);
    x.shape = [batch, side, side, channels];
    const windows = { kernel_shape: [2, 2], strides: [2, 2] };
    const [what] = name.split(' ');
    const size = Number(name.match(/to (\d+)/)?.[1]);
    const [nodes, work] = {
      average: [node('AveragePool', ['planes'], ['pooled'], windows), (tf, { x }) => [tf.avgPool(x, 2, 2, 'valid')]],
      maximum: [node('MaxPool', ['planes'], ['pooled'], windows), (tf, { x }) => [tf.maxPool(x, 2, 2, 'valid')]],
      bilinear: [
        node('Resize', ['planes', '', '', 'sizes'], ['pooled'], { mode: 'linear', coordinate_transformation_mode: 'half_pixel' }),
        (tf, { x }) => [tf.image.resizeBilinear(x, [size, size], false, true)],
      ],
    }[what] ?? [];
    if (!work) return undefined;
    return {
      // The operators are for planes, and tokens are not.
      nodes: [node('Transpose', ['x'], ['planes'], { perm: [0, 3, 1, 2] }), nodes, node('Transpose', ['pooled'], ['tokens'], { perm: [0, 2, 3, 1] })],
      constants: what === 'bilinear' ? { sizes: [batch, channels, size, size] } : {},
      work,
      outputs: [{ name: 'tokens', ours: 0, bound: what === 'maximum' ? 0 : ROUNDING }],
    };
  },

  linear() {
    return {
      nodes: [node('Gemm', ['x', 'weight', 'bias'], ['y'], { transB: 1 })],
      work: (tf, { x, weight, bias }) => [tf.fused.matMul({ a: x, b: weight, transposeB: true, bias })],
      outputs: [{ name: 'y', ours: 0, bound: ROUNDING }],
    };
  },

  layer_norm(name) {
    const mean = name.startsWith('LayerNorm');
    const epsilon = mean ? 1e-5 : 1e-6;
    const op = mean ? 'LayerNormalization' : 'RMSNormalization';
    return {
      nodes: [node(op, ['x', 'weight'], ['y'], { axis: -1, epsilon: { float: epsilon } })],
      opset: mean ? 21 : 23,
      work: (tf, { x, weight }) => {
        const centred = mean ? tf.sub(x, tf.mean(x, -1, true)) : x;
        return [tf.mul(tf.mul(centred, tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), epsilon))), weight)];
      },
      outputs: [{ name: 'y', ours: 0, bound: ROUNDING }],
    };
  },

  pixel_unshuffle(name, { x }) {
    const planar = name.startsWith('planar');
    const [batch, second, third] = x.shape;
    const side = planar ? third : Math.sqrt(second);
    const factor = planar ? Number(name.match(/by (\d+)/)[1]) : 2;
    const less = side / factor;
    const last = name.includes('ChannelFirst') ? [5, 2, 4] : [2, 4, 5];
    const shape = planar ? [batch, second, less, factor, less, factor] : [batch, less, factor, less, factor, third];
    const perm = planar ? [0, 1, 3, 5, 2, 4] : [0, 1, 3, ...last];
    return {
      // Either library's own operator has one order of channels only.
      nodes: [node('Reshape', ['x', 'shape'], ['cells']), node('Transpose', ['cells'], ['turned'], { perm }), node('Reshape', ['turned', 'flat'], ['y'])],
      constants: { shape, flat: [batch, -1] },
      work: (tf, { x }) => [tf.reshape(tf.transpose(tf.reshape(x, shape), perm), [batch, -1])],
      outputs: [{ name: 'y', ours: 0, bound: 0 }],
    };
  },
};

// ONNX Runtime with its WebGPU provider: every node must run there.
async function onnxruntime() {
  const ort = await import('./peers/ort.webgpu.min.mjs');
  Object.assign(ort.env.wasm, { wasmPaths: new URL('./peers/', import.meta.url).href, numThreads: 1 });
  // What it cannot do is thrown too.
  ort.env.logLevel = 'fatal';
  return async ({ nodes, constants = {}, outputs, opset = 21 }, inputs) => {
    const session = await ort.InferenceSession.create(model(nodes, constants, inputs, outputs.map(({ name }) => name), opset), {
      executionProviders: ['webgpu'],
      preferredOutputLocation: 'gpu-buffer',
      extra: { session: { disable_cpu_ep_fallback: '1' } },
    });
    const device = await ort.env.webgpu.device;
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffers = [];
    const feeds = Object.fromEntries(Object.entries(inputs).map(([name, { shape, data }]) => {
      const buffer = device.createBuffer({ size: Math.ceil(data.byteLength / 16) * 16, usage });
      device.queue.writeBuffer(buffer, 0, data);
      buffers.push(buffer);
      return [name, ort.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims: shape })];
    }));
    let last = {};
    const free = () => Object.values(last).forEach((tensor) => tensor.dispose());
    return {
      async run(runs) {
        for (let i = 0; i < runs; i += 1) {
          free();
          last = await session.run(feeds);
        }
        await device.queue.onSubmittedWorkDone();
      },
      output: async (name) => Float32Array.from(await last[name].getData(), Number),
      async end() {
        free();
        await session.release();
        buffers.forEach((buffer) => buffer.destroy());
      },
    };
  };
}

// TensorFlow.js with its WebGPU backend.
async function tfjs() {
  await import('./peers/tf-core.min.js');
  await import('./peers/tf-backend-webgpu.min.js');
  const { tf } = globalThis;
  if (!(await tf.setBackend('webgpu'))) throw new Error('it gives no WebGPU backend here');
  // Small results are not computed by the CPU.
  tf.env().set('WEBGPU_CPU_FORWARD', false);
  return async ({ work, outputs }, inputs) => {
    const tensors = Object.fromEntries(Object.entries(inputs).map(([name, { shape, data }]) => [name, tf.tensor(data, shape, 'float32')]));
    let last = [];
    return {
      async run(runs) {
        for (let i = 0; i < runs; i += 1) {
          tf.dispose(last);
          last = tf.tidy(() => work(tf, tensors));
        }
        const backend = tf.backend();
        backend.ensureCommandEncoderReady();
        backend.endComputePassEncoder();
        backend.submitQueue();
        await backend.device.queue.onSubmittedWorkDone();
      },
      output: async (name) => Float32Array.from(await last[outputs.findIndex((output) => output.name === name)].data()),
      async end() {
        tf.dispose([last, Object.values(tensors)]);
      },
    };
  };
}

const LIBRARIES = { 'onnxruntime-web': onnxruntime, tfjs };
const opened = {};

// The largest difference beside our largest number, over the bound of each output: above 1 it is wrong.
async function difference(peer, ours, outputs) {
  let worst = 0;
  for (const { name, ours: place, bound, of = (x) => x } of outputs) {
    const [expected, actual] = [await ours.output(place), await peer.output(name)];
    if (expected.length !== actual.length) throw new Error(`${name} has ${actual.length} numbers, and ours ${expected.length}`);
    const scale = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    for (let i = 0; i < expected.length; i += 1) {
      const error = Math.abs(of(expected[i], i) - of(actual[i], i));
      if (error === 0) continue;
      const part = error / (bound * scale);
      if (!(part <= worst)) worst = part;
    }
  }
  return worst;
}

const milliseconds = async (side, runs) => {
  const start = performance.now();
  await side.run(runs);
  return performance.now() - start;
};
const median = (times) => times.sort((a, b) => a - b)[times.length >> 1];

/** A case of ours, `{run, output, inputs}`, and of every library that has it, in turns: milliseconds of each, and why one is left out. */
export async function beside(kernel, name, ours) {
  const inputs = Object.fromEntries(JSON.parse(ours.inputs).map(({ name, shape }) => [name, { shape, data: ours.input(name) }]));
  const wanted = WORK[kernel](name, inputs);
  if (!wanted) return undefined;
  const sides = { tokenpress: ours };
  const left_out = {};
  for (const [library, open] of Object.entries(LIBRARIES)) {
    try {
      opened[library] ??= open();
      const side = await (await opened[library])(wanted, inputs);
      await side.run(1);
      const part = await difference(side, ours, wanted.outputs);
      if (part > 1 || Number.isNaN(part)) throw new Error(`its result differs from ours by ${part.toPrecision(2)} of the bound`);
      sides[library] = side;
    } catch (error) {
      left_out[library] = error.message;
    }
  }
  // As many runs for all, until the fastest takes long enough for the clock.
  let runs = 1;
  for (;; runs *= 4) {
    const times = [];
    for (const side of Object.values(sides)) times.push(await milliseconds(side, runs));
    if (Math.min(...times) >= 20 || Math.max(...times) * 4 > 1000 || runs >= 256) break;
  }
  const times = Object.fromEntries(Object.keys(sides).map((side) => [side, []]));
  for (let round = 0; round < 7; round += 1) {
    const order = Object.keys(sides);
    for (const side of [...order.slice(round % order.length), ...order.slice(0, round % order.length)]) {
      times[side].push(await milliseconds(sides[side], runs) / runs);
    }
  }
  for (const library of Object.keys(LIBRARIES)) await sides[library]?.end();
  const medians = Object.fromEntries(Object.entries(times).map(([side, all]) => [side, median(all)]));
  return { kernel, case: name, runs, medians, left_out };
}
