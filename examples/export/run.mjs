// Runs a plan that `cargo run --example export` wrote, in Node: `npm install webgpu`, then `node run.mjs tome.json FOLDER`.
//
// FOLDER/NAME.bin holds the numbers of the input NAME as they lie in memory. The outputs are written beside them. NODE_WEBGPU names the
// package where it does not stand beside this file.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Runner, requirements } from '../../web/runner.js';

const { create, globals } = await import(process.env.NODE_WEBGPU ?? 'webgpu');
Object.assign(globalThis, globals);

const [path, folder] = process.argv.slice(2);
const plan = JSON.parse(readFileSync(path, 'utf8'));
// Dawn goes with this object: it is kept to the end.
globalThis.gpu = create([]);
const adapter = await globalThis.gpu.requestAdapter();
const device = await adapter.requestDevice(requirements(plan, adapter));
const wrong = [];
device.addEventListener('uncapturederror', ({ error }) => wrong.push(error.message));

const runner = await Runner.create(device, plan);
for (const { name, bytes } of plan.inputs) {
  const padded = new Uint8Array(bytes);
  if (bytes > 0) padded.set(readFileSync(join(folder, `${name}.bin`)));
  device.queue.writeBuffer(runner.buffers[name], 0, padded);
}
const encoder = device.createCommandEncoder();
runner.record(encoder);
device.queue.submit([encoder.finish()]);
for (const { name } of plan.outputs) writeFileSync(join(folder, `${name}.bin`), new Uint8Array((await runner.read(name)).buffer));
if (wrong.length > 0) throw new Error(wrong.join('\n'));
const [{ name, shape }, ...more] = plan.outputs;
console.log(`${name} [${shape}] and ${more.length} more on ${adapter.info.device || adapter.info.description}`);
process.exit(0);
