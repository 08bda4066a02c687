// Everything that computes, away from the page. Messages in: {id, name, argument}; out: {id, value}, {id, error}, {id, progress}.
import init, { Benchmark, Beside, Device, Verification, Video, bench_kernels, beside_cases, methods, panic } from './pkg/tokenpress_web.js';

const load = () => init({ module_or_path: new URL('./pkg/tokenpress_web_bg.wasm', import.meta.url) });
let device;
let stopped = false;
let video;

// What `scripts/web` says of its build: commit and peers.
const build = async () => (await fetch(new URL('./build.json', import.meta.url))).json();

// The GPU, opened once; anew where it was lost.
async function open() {
  await load();
  if (device?.lost()) device = undefined;
  // What was said after the call that it belongs to.
  device?.trouble();
  if (!device) {
    if (!navigator.gpu) {
      const where = self.isSecureContext ? '' : ', and only on pages from https or localhost, which this one is not';
      throw new Error(`This browser has no WebGPU. Chrome and Edge have it from version 113, Safari from 26, Firefox from 141 on some systems${where}.`);
    }
    const adapter = await navigator.gpu.requestAdapter();
    if (!adapter) throw new Error('This browser has WebGPU, but gives no GPU to this page: it may be blocked, or its driver too old.');
    const { vendor, architecture, device: model, description, isFallbackAdapter } = adapter.info;
    // Short, as reports and tests name an adapter.
    const name = architecture === 'swiftshader' ? architecture : [vendor, architecture].filter(Boolean).join('-');
    device = await Device.open(name);
    device.page = { browser: navigator.userAgent, vendor, architecture, device: model, description, fallback: isFallbackAdapter ?? false };
  }
  return device;
}

// What a message can carry of a result.
function plain(result) {
  const { columns, rows, before, after, psnr, milliseconds, clock, dispatches, regions, restored } = result;
  const shown = { width: result.width, height: result.height, columns, rows, before, after, psnr, milliseconds, clock, dispatches, regions, restored };
  result.free();
  return shown;
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
    return { methods: JSON.parse(methods()), kernels: JSON.parse(bench_kernels()), build: await build() };
  },

  async compress({ pixels, width, height, method, keep, patch, tuning }) {
    return plain(await tuned(await open(), tuning).compress(pixels, width, height, method, keep, patch));
  },

  // The next frame of a camera: the first one after another size or share begins anew.
  async frame({ pixels, width, height, keep, patch, first }) {
    const key = [width, height, keep, patch].join();
    const gpu = await open();
    await video?.last?.catch(() => {});
    if (first || video?.key !== key || video.gpu !== gpu) {
      video?.of.free();
      video = undefined;
      video = { key, gpu, of: Video.open(gpu, width, height, patch, keep) };
    }
    video.last = video.of.frame(pixels);
    return plain(await video.last);
  },

  async verify({ extent, filter }, progress) {
    const gpu = await open();
    const run = new Verification(gpu, extent, filter ?? '');
    const commit = (await build()).commit || undefined;
    const report = () => JSON.parse(run.report(commit, Date.now() / 1000, JSON.stringify({ ...gpu.page, ...JSON.parse(gpu.describe()) })));
    stopped = false;
    let shown = 0;
    let trouble;
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
        trouble = await run.step();
        if (trouble) break;
      }
      return { report: report(), done: run.done, total: run.total, runs: run.runs, trouble };
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
      }
      return results;
    } finally {
      run.free();
    }
  },

  // Every case that other libraries have, beside them.
  async beside(argument, progress) {
    const gpu = await open();
    const { beside, kernels } = await import('./beside.js');
    const cases = JSON.parse(beside_cases(gpu, argument?.kernels ?? kernels));
    stopped = false;
    const rows = [];
    for (const [place, [kernel, name]] of cases.entries()) {
      if (stopped) break;
      progress({ label: `${kernel} ${name}`, done: place, total: cases.length });
      const ours = await Beside.open(gpu, kernel, name);
      try {
        const row = await beside(kernel, name, ours);
        if (!row) continue;
        rows.push(row);
        progress({ row, done: place + 1, total: cases.length });
      } finally {
        ours.free();
      }
    }
    return { schema: 1, page: { ...gpu.page, ...JSON.parse(gpu.describe()) }, ...(await build()), rows };
  },

  async tune() {
    return (await open()).tune();
  },

  async panic() {
    await load();
    panic();
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

// After a panic the module is of no use: the page makes another worker. wgpu panics where the GPU was lost, which the device says a little later.
function broken(message) {
  const said = message.replace(/^Uncaught (Runtime)?Error: /, '').split('\n    at ')[0];
  setTimeout(() => self.postMessage({ broken: device?.lost() ?? `A mistake in this page: ${said}` }), 200);
}
// What no call's promise has: a panic while the browser works.
self.onerror = (event, source, line, column, error) => {
  broken(error?.message ?? String(event));
  return true;
};

self.onmessage = async ({ data: { id, name, argument } }) => {
  try {
    const value = await calls[name](argument, (progress) => self.postMessage({ id, progress }));
    self.postMessage({ id, value });
  } catch (error) {
    const message = words(error?.message ?? String(error));
    if (error instanceof WebAssembly.RuntimeError || message.startsWith('Panicked')) broken(message);
    else self.postMessage({ id, error: message });
  }
};
