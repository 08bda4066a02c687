// Runs a plan of tokenpress (`Graph::plan_data`, or `cargo run --example export`) on WebGPU: browsers, Deno, Node with Dawn. It needs
// nothing else.
//
//   const plan = await (await fetch('tome.json')).json();
//   const device = await adapter.requestDevice(requirements(plan, adapter));
//   const runner = await Runner.create(device, plan);
//   device.queue.writeBuffer(runner.buffers.x, 0, tokens);
//   runner.record(encoder);           // any number of times; allocates nothing
//   device.queue.submit([encoder.finish()]);
//   const merged = await runner.read('merged');

const BINDING = 'maxStorageBufferBindingSize', SIZE = 'maxBufferSize', STORAGES = 'maxStorageBuffersPerShaderStage';
const LEAST = [BINDING, SIZE, STORAGES, 'maxComputeWorkgroupsPerDimension'];
const ALIGNMENT = 'minStorageBufferOffsetAlignment';
const SLOT = 256; // of the uniforms of a dispatch: the largest alignment that WebGPU asks for
const NUMBERS = { f32: Float32Array, u32: Uint32Array, f16: globalThis.Float16Array ?? Uint16Array, bf16: Uint16Array };

/** What of a plan a device or an adapter lacks, in words; empty if it can run the plan. */
export function lacks(plan, { features, limits }) {
  const missing = plan.features.filter((name) => !features.has(name));
  const small = LEAST.filter((name) => limits[name] < plan.limits[name]);
  const wide = limits[ALIGNMENT] > plan.limits[ALIGNMENT] ? [`${ALIGNMENT} ${plan.limits[ALIGNMENT]}, it has ${limits[ALIGNMENT]}`] : [];
  return [...missing, ...small.map((name) => `${name} ${plan.limits[name]}, it has ${limits[name]}`), ...wide];
}

/** A device descriptor with the features and limits that a plan needs beyond WebGPU's defaults. */
export function requirements(plan, adapter) {
  const defaults = { [BINDING]: 2 ** 27, [SIZE]: 2 ** 28, [STORAGES]: 8, maxComputeWorkgroupsPerDimension: 65535 };
  const missing = lacks(plan, adapter);
  if (missing.length > 0) throw new Error(`this adapter cannot run the plan: it lacks ${missing.join('; ')}`);
  const limits = LEAST.filter((name) => plan.limits[name] > defaults[name]).map((name) => [name, plan.limits[name]]);
  if (plan.limits[ALIGNMENT] < 256) limits.push([ALIGNMENT, plan.limits[ALIGNMENT]]);
  return { requiredFeatures: plan.features, requiredLimits: Object.fromEntries(limits) };
}

/** A plan on a device: its pipelines, buffers and bind groups. */
export class Runner {
  /**
   * Compiles a plan. `given` has buffers of the caller's for some inputs and outputs, by name: of STORAGE usage and at least the tensor's
   * bytes. The others, in `buffers`, are made here, for STORAGE and copies in both directions.
   */
  static async create(device, plan, given = {}) {
    const missing = lacks(plan, device);
    if (missing.length > 0) throw new Error(`this device cannot run the plan: it lacks ${missing.join('; ')}`);
    const modules = plan.shaders.map(({ label, code }) => device.createShaderModule({ label, code }));
    const layouts = plan.shaders.map(({ label, bindings }) => {
      const entries = bindings.map((type, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } }));
      return device.createBindGroupLayout({ label, entries });
    });
    const pipelines = await Promise.all(plan.pipelines.map(({ shader, constants }) => {
      const layout = device.createPipelineLayout({ bindGroupLayouts: [layouts[shader]] });
      const compute = { module: modules[shader], entryPoint: 'main', constants };
      return device.createComputePipelineAsync({ label: plan.shaders[shader].label, layout, compute });
    }));
    return new Runner(device, plan, given, layouts, pipelines);
  }

  constructor(device, plan, given, layouts, pipelines) {
    const buffer = (label, size, usage) => device.createBuffer({ label, size: Math.max(size, 4), usage });
    const { STORAGE, UNIFORM, COPY_SRC, COPY_DST } = GPUBufferUsage;
    this.device = device;
    this.plan = plan;
    this.buffers = {};
    for (const { name, bytes } of [...plan.inputs, ...plan.outputs]) {
      this.buffers[name] = given[name] ?? buffer(name, bytes, STORAGE | COPY_SRC | COPY_DST);
    }
    const constants = buffer('constants', 4 * plan.constants.length, STORAGE | COPY_DST);
    const workspace = buffer('workspace', plan.workspace, STORAGE);
    let end = 0;
    const slots = plan.dispatches.map(({ uniforms }) => {
      const offset = end;
      end = Math.ceil((offset + 4 * uniforms.length) / SLOT) * SLOT;
      return { offset, size: 4 * uniforms.length };
    });
    const words = new Uint32Array(end / 4);
    plan.dispatches.forEach(({ uniforms }, index) => words.set(uniforms, slots[index].offset / 4));
    const uniform = buffer('uniforms', end, UNIFORM | COPY_DST);
    device.queue.writeBuffer(constants, 0, new Uint32Array(plan.constants));
    device.queue.writeBuffer(uniform, 0, words);
    this.own = [constants, workspace, uniform];
    this.steps = plan.dispatches.map(({ kernel, pipeline, workgroups, bindings }, index) => {
      const ranges = bindings.map(({ buffer, offset, size }) => {
        const bound = buffer.tensor !== undefined ? this.buffers[buffer.tensor] : { constants, workspace }[buffer];
        return { buffer: bound, offset, size };
      });
      const entries = [{ buffer: uniform, ...slots[index] }, ...ranges].map((resource, binding) => ({ binding, resource }));
      const group = device.createBindGroup({ label: kernel, layout: layouts[plan.pipelines[pipeline].shader], entries });
      return { pipeline: pipelines[pipeline], group, workgroups };
    });
  }

  /** Records the plan into a command encoder, in a pass of its own, or into the caller's compute pass. */
  record(into) {
    const pass = into.beginComputePass ? into.beginComputePass({ label: 'tokenpress' }) : into;
    for (const { pipeline, group, workgroups } of this.steps) {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(...workgroups);
    }
    if (pass !== into) pass.end();
  }

  /** The numbers of an input or output. bf16 comes as its bits; so does f16 where the host has no Float16Array. */
  async read(name) {
    const { elem, shape, bytes } = [...this.plan.inputs, ...this.plan.outputs].find((tensor) => tensor.name === name);
    if (bytes === 0) return new NUMBERS[elem](0);
    const copy = this.device.createBuffer({ size: bytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(this.buffers[name], 0, copy, 0, bytes);
    this.device.queue.submit([encoder.finish()]);
    await copy.mapAsync(GPUMapMode.READ);
    const numbers = new NUMBERS[elem](copy.getMappedRange().slice(0)).subarray(0, shape.reduce((a, b) => a * b, 1));
    copy.destroy();
    return numbers;
  }

  /** Frees what the plan made for itself. The tensors' buffers stay. */
  destroy() {
    this.own.forEach((buffer) => buffer.destroy());
  }
}
