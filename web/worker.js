// Everything that computes, away from the page. Messages in: {id, name, argument}; out: {id, value}, {id, error}, {id, progress}.
import init, { Benchmark, Device, Verification, bench_kernels, methods } from './pkg/tokenpress_web.js';

const load = () => init({ module_or_path: new URL('./pkg/tokenpress_web_bg.wasm', import.meta.url) });
let device;
let stopped = false;

// The GPU, opened once; anew where it was lost.
async function open() {
  await load();
  if (device?.trouble()) device = undefined;
  if (!device) {
    if (!navigator.gpu) {
      const where = self.isSecureContext ? '' : ', and only on pages from https or localhost, which this one is not';
      throw new Error(`This browser has no WebGPU. Chrome and Edge have it from version 113, Safari from 26, Firefox from 141 on some systems${where}.`);
    }
    const adapter = await navigator.gpu.requestAdapter();
    if (!adapter) throw new Error('This browser has WebGPU, but gives no GPU to this page: it may be blocked, or its driver too old.');
    device = await Device.open();
    const { vendor, architecture, device: model, description, isFallbackAdapter } = adapter.info;
    device.page = { browser: navigator.userAgent, vendor, architecture, device: model, description, fallback: isFallbackAdapter ?? false };
  }
  return device;
}

const words = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const calls = {
  // What the page says of the GPU, and the lists that it offers.
  async open() {
    const gpu = await open();
    return { ...JSON.parse(gpu.describe()), page: gpu.page };
  },

  async lists() {
    await load();
    return { methods: JSON.parse(methods()), kernels: JSON.parse(bench_kernels()) };
  },

  async compress({ pixels, width, height, method, keep, patch, tuning }) {
    const result = await tuned(await open(), tuning).compress(pixels, width, height, method, keep, patch);
    const { columns, rows, before, after, psnr, milliseconds, clock, dispatches, regions, restored } = result;
    const shown = { width: result.width, height: result.height, columns, rows, before, after, psnr, milliseconds, clock, dispatches, regions, restored };
    result.free();
    return shown;
  },

  async verify({ extent, filter }, progress) {
    const gpu = await open();
    const run = new Verification(gpu, extent, filter ?? '');
    const report = () => JSON.parse(run.report(Date.now() / 1000, JSON.stringify({ ...gpu.page, ...JSON.parse(gpu.describe()) })));
    stopped = false;
    let shown = 0;
    try {
      while (run.done < run.total && !stopped) {
        const [passed, failed, skipped] = run.counts;
        const state = { done: run.done, total: run.total, subject: run.subject, passed, failed, skipped };
        // The table is long: it is sent twice a second.
        if (performance.now() - shown > 500) {
          state.rows = report().rows;
          shown = performance.now();
        }
        progress(state);
        await run.step();
        if (gpu.trouble()) break;
      }
      return { report: report(), done: run.done, total: run.total, runs: run.runs, trouble: gpu.trouble() };
    } finally {
      run.free();
    }
  },

  async bench({ kernels, small, tuning }, progress) {
    const gpu = tuned(await open(), tuning);
    stopped = false;
    const run = await Benchmark.open(gpu, kernels.join(','), small);
    try {
      const results = { schema: 1, page: { ...device.page, ...JSON.parse(gpu.describe()) }, clock: run.clock, yardsticks: JSON.parse(run.yardsticks), rows: [] };
      progress({ clock: run.clock, yardsticks: results.yardsticks, done: 0, total: run.total });
      while (run.label !== undefined && !stopped) {
        progress({ label: run.label, done: results.rows.length, total: run.total });
        const row = JSON.parse(await run.step());
        results.rows.push(row);
        progress({ row, done: results.rows.length, total: run.total });
        if (device.trouble()) throw new Error(device.trouble());
      }
      return results;
    } finally {
      run.free();
    }
  },

  async tune() {
    return (await open()).tune();
  },

  stop() {
    stopped = true;
  },
};

// The device with the forms that were found faster on it; as it is where they were found on another.
function tuned(gpu, tuning) {
  if (!tuning) return gpu;
  try {
    return gpu.use_tuning(tuning);
  } catch {
    return gpu;
  }
}

self.onmessage = async ({ data: { id, name, argument } }) => {
  try {
    const value = await calls[name](argument, (progress) => self.postMessage({ id, progress }));
    self.postMessage({ id, value });
  } catch (error) {
    self.postMessage({ id, error: words(error?.message ?? String(error)) });
  }
};
