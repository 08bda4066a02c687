// The page in headless Chromium, on SwiftShader: the three tabs as a visitor uses them.
//
// node scripts/web-test.mjs PAGE FOLDER: PAGE is what `scripts/web` built; pictures, reports and screenshots go to FOLDER, and
// `expected.json` there says what the native examples give. The last line counts: `N passed, N failed, N skipped`.
// Exit code 3: npm's `playwright-core` or Chromium is not there.
import { createServer } from 'node:http';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { extname, join, normalize } from 'node:path';
import { launch, serve, webgpu } from './chromium.mjs';

const [page_folder, folder] = process.argv.slice(2);
const types = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.wasm': 'application/wasm', '.jpg': 'image/jpeg' };
const server = createServer((request, response) => {
  const path = normalize(new URL(request.url, 'http://localhost').pathname);
  const file = join(page_folder, path === '/' ? 'index.html' : path);
  if (!existsSync(file)) return response.writeHead(404).end();
  response.writeHead(200, { 'content-type': types[extname(file)] ?? 'application/octet-stream' }).end(readFileSync(file));
});
const address = await serve(server);

let passed = 0;
let failed = 0;
const begin = Date.now();
async function test(name, body) {
  try {
    const said = await body();
    passed += 1;
    console.log(`ok ${name}${said ? `: ${said}` : ''} (after ${Math.round((Date.now() - begin) / 1000)} s)`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}: ${error.message}`);
  }
}
function check(holds, message) {
  if (!holds) throw new Error(message);
}

// Every word of the console and every error that nothing caught, of the page and its workers.
function listen(page) {
  const words = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && words.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => words.push(`uncaught: ${error.message}`));
  page.on('requestfailed', (request) => words.push(`not loaded: ${request.url()}`));
  return words;
}
const shown = async (page, id, timeout) => {
  const said = (id) => [...document.querySelectorAll(`#${id}-problem:not([hidden]), #gpu.problem`)].map((p) => p.textContent).join(' ');
  await page.waitForFunction((id) => document.getElementById(id).dataset.shown || document.querySelector(`#${id}-problem:not([hidden]), #gpu.problem`), id, { timeout });
  const problem = await page.evaluate(said, id);
  check(!problem, problem);
  return JSON.parse(await page.locator(`#${id}`).getAttribute('data-shown'));
};
const wide = { width: 1280, height: 900 };
const narrow = { width: 390, height: 844 };
async function screenshots(page, name) {
  for (const [size, viewport] of Object.entries({ wide, narrow })) {
    await page.setViewportSize(viewport);
    await page.screenshot({ path: join(folder, `${name}-${size}.jpg`), type: 'jpeg', quality: 60 });
    const [inside, all] = await page.evaluate(() => [document.documentElement.clientWidth, document.documentElement.scrollWidth]);
    check(all <= inside, `the ${size} page is ${all} pixels wide, and its window ${inside}`);
  }
  await page.setViewportSize(wide);
}

const browser = await launch(webgpu);
const page = await browser.newPage({ viewport: wide });
const words = listen(page);
await page.goto(address);

// The pixels of a canvas, by a PNG file.
const picture = async (id, file) => {
  const url = await page.evaluate((id) => document.getElementById(id).toDataURL('image/png'), id);
  writeFileSync(join(folder, file), Buffer.from(url.split(',')[1], 'base64'));
};

await test('the shipped photo is compressed', async () => {
  const result = await shown(page, 'compress', 240000);
  check(result.before === 864 && result.after === 216, `${result.before} tokens became ${result.after}`);
  for (const id of ['regions', 'restored']) await picture(id, `page-${id}.png`);
  // The photo as the browser decoded it, for the native run.
  const photo = await page.evaluate(async () => {
    const image = await createImageBitmap(await (await fetch('coffee.jpg')).blob());
    const canvas = Object.assign(document.createElement('canvas'), { width: image.width, height: image.height });
    canvas.getContext('2d').drawImage(image, 0, 0);
    return canvas.toDataURL('image/png');
  });
  writeFileSync(join(folder, 'photo.png'), Buffer.from(photo.split(',')[1], 'base64'));
  await screenshots(page, 'compress');
  return `${result.before} tokens became ${result.after}, ${await page.locator('#time').textContent()}`;
});

await test('a chain of methods, and an image that is none', async () => {
  const method = (name) => page.waitForFunction((name) => JSON.parse(document.getElementById('compress').dataset.shown).method === name, name, { timeout: 120000 });
  // Attention of the patches among themselves: queries and keys are one tensor.
  await page.locator('#method').selectOption('topk');
  await method('topk');
  await page.locator('#then').selectOption('pool');
  await page.locator('#compress-problem:not([hidden])').waitFor({ timeout: 60000 });
  const reason = await page.locator('#compress-problem').textContent();
  check(reason.includes('ool needs patches in rows and columns'), reason);
  await page.locator('#then').selectOption('');
  await page.locator('#method').selectOption('pool');
  await method('pool');
  const { after } = JSON.parse(await page.locator('#compress').getAttribute('data-shown'));
  check(after === 216, `pool left ${after}`);
  check(await page.locator('#compress-problem').isHidden(), 'the problem is still shown');
  await page.locator('#file').setInputFiles({ name: 'text.png', mimeType: 'image/png', buffer: Buffer.from('no image') });
  await page.locator('#compress-problem:not([hidden])').waitFor({ timeout: 10000 });
});

await test('the GPU is verified', async () => {
  await page.locator('#tab-verify').click();
  await page.locator('#extent').selectOption('brief');
  await page.locator('#verify-start').click();
  const result = await shown(page, 'verify', 480000);
  const sentence = await page.locator('#verdict').textContent();
  const [download] = await Promise.all([page.waitForEvent('download'), page.locator('#download').click()]);
  await download.saveAs(join(folder, 'report.json'));
  await screenshots(page, 'verify');
  check(result.failed === 0 && result.passed > 0 && result.done === result.total, sentence);
  check(result.passed + result.failed + result.skipped === result.runs, `${JSON.stringify(result)} does not add up`);
  return `${result.total} cases, ${sentence} ${await page.locator('#verify-now').textContent()}`;
});

await test('three kernels are measured', async () => {
  await page.locator('#tab-bench').click();
  await page.locator('#kernels summary').click();
  await page.locator('#no-kernels').click();
  for (const kernel of ['compact', 'row_normalize', 'gather_rows']) await page.locator(`#kernel-list input[value=${kernel}]`).check();
  await page.locator('#kernels summary').click();
  await page.locator('#bench-start').click();
  const { rows, yardsticks } = await shown(page, 'bench', 240000);
  await screenshots(page, 'bench');
  const wrong = rows.filter((row) => row.left_out || row.check === 'failed' || !row.repeatable || !(row.median > 0));
  check(wrong.length === 0, JSON.stringify(wrong));
  check(new Set(rows.map((row) => row.kernel)).size === 3, JSON.stringify(rows));
  check(Object.values(yardsticks).every((x) => x > 0), JSON.stringify(yardsticks));
  return `${rows.length} cases, ${await page.locator('#bench-table tbody tr').count()} rows, ${JSON.stringify(yardsticks)}`;
});

await test('the console has no errors and no warnings', async () => check(words.length === 0, words.join('\n')));
await browser.close();

await test('a browser without WebGPU is told so', async () => {
  const without = await launch(['--disable-features=WebGPUService', '--disable-blink-features=WebGPU']);
  const page = await without.newPage();
  const words = listen(page);
  await page.goto(address);
  await page.locator('#gpu.problem').waitFor({ timeout: 30000 });
  const said = await page.locator('#gpu').textContent();
  await without.close();
  check(said.includes('WebGPU'), said);
  check(words.length === 0, words.join('\n'));
  return said;
});

server.close();
console.log(`${passed} passed, ${failed} failed, 0 skipped`);
process.exitCode = failed > 0 ? 1 : 0;
