// Runs a plan as data with `web/runner.js` in headless Chromium, on SwiftShader.
//
// node scripts/plan-in-chromium.mjs PLAN FOLDER: FOLDER/NAME.bin holds the input NAME, and gets the output NAME. `--check` only looks whether
// npm's `playwright-core` and Chromium are there; exit code 3: they are not.
import { createServer } from 'node:http';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { launch, serve, webgpu } from './chromium.mjs';

if (process.argv[2] === '--check') process.exit(0);

const [path, folder] = process.argv.slice(2);
const plan = JSON.parse(readFileSync(path, 'utf8'));
const runner = readFileSync(new URL('../web/runner.js', import.meta.url));
const server = createServer((request, response) => {
  const script = request.url === '/runner.js';
  response.writeHead(200, { 'content-type': script ? 'text/javascript' : 'text/html' }).end(script ? runner : '<!doctype html><title>plan</title>');
});
const address = await serve(server);
const browser = await launch(webgpu);
const page = await browser.newPage();
const words = [];
page.on('console', (message) => ['error', 'warning'].includes(message.type()) && words.push(message.text()));
page.on('pageerror', (error) => words.push(error.message));
await page.goto(address);
const inputs = plan.inputs.filter(({ bytes }) => bytes > 0).map(({ name }) => [name, readFileSync(join(folder, `${name}.bin`)).toString('base64')]);
const outputs = await page.evaluate(async ([plan, inputs]) => {
  const { Runner, requirements } = await import('/runner.js');
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter.requestDevice(requirements(plan, adapter));
  const wrong = [];
  device.addEventListener('uncapturederror', ({ error }) => wrong.push(error.message));
  const runner = await Runner.create(device, plan);
  for (const [name, text] of inputs) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const padded = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
    padded.set(bytes);
    device.queue.writeBuffer(runner.buffers[name], 0, padded);
  }
  // Twice: what a plan leaves in its workspace does not matter.
  const encoder = device.createCommandEncoder();
  runner.record(encoder);
  runner.record(encoder);
  device.queue.submit([encoder.finish()]);
  const outputs = [];
  for (const { name } of plan.outputs) {
    const numbers = await runner.read(name);
    outputs.push([name, Array.from(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength))]);
  }
  if (wrong.length > 0) throw new Error(wrong.join('\n'));
  return outputs;
}, [plan, inputs]);
await browser.close();
server.close();
for (const [name, bytes] of outputs) writeFileSync(join(folder, `${name}.bin`), Uint8Array.from(bytes));
if (words.length > 0) throw new Error(words.join('\n'));
console.log(`${outputs[0][0]} and ${outputs.length - 1} more in Chromium ${browser.version()}`);
process.exit(0);
