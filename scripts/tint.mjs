// Compiles WGSL modules with Chrome's compiler (Tint, in Dawn), on Dawn's null backend: no GPU is needed.
//
// node scripts/tint.mjs FOLDER: compiles every FOLDER/*.json, {"code": "...", "constants": {"WG": 64}, "bindings": [
// "uniform" | "read-only-storage" | "storage" | "texture" | the format of a storage texture, ..]}, and prints one line each: `ok NAME` or `failed NAME: why`.
// Exit code 3: the npm package `webgpu` is not there.
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

let dawn;
try {
  dawn = await import('webgpu');
} catch (error) {
  console.log(`no npm package webgpu: ${error.message}`);
  process.exit(3);
}
Object.assign(globalThis, dawn.globals);
const gpu = dawn.create(['backend=null']);
const adapter = await gpu.requestAdapter();
const features = ['shader-f16', 'subgroups', 'bgra8unorm-storage'];
const device = await adapter.requestDevice({ requiredFeatures: features.filter((f) => adapter.features.has(f)) });
const lacking = features.filter((f) => !device.features.has(f));
if (lacking.length > 0) console.log(`note: the null device lacks ${lacking.join(', ')}`);

// What a binding of a layout holds.
function bound(type) {
  if (type === 'uniform' || type.endsWith('storage')) return { buffer: { type } };
  if (type === 'texture') return { texture: { sampleType: 'unfilterable-float' } };
  return { storageTexture: { format: type } };
}

const folder = process.argv[2];
for (const file of readdirSync(folder).filter((f) => f.endsWith('.json')).sort()) {
  const { code, constants, bindings } = JSON.parse(readFileSync(join(folder, file), 'utf8'));
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const entries = bindings.map((type, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, ...bound(type) }));
  const layout = device.createPipelineLayout({ bindGroupLayouts: [device.createBindGroupLayout({ entries })] });
  // The pipeline resolves overrides, checks the layout, and counts workgroup memory and invocations.
  device.createComputePipeline({ layout, compute: { module, entryPoint: 'main', constants } });
  const error = await device.popErrorScope();
  const name = basename(file, '.json');
  console.log(error ? `failed ${name}: ${error.message.replaceAll('\n', ' ').slice(0, 600)}` : `ok ${name}`);
}
process.exit(0);
