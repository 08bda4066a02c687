// The page in headless Chromium, on SwiftShader: the three tabs as a visitor uses them.
//
// node scripts/web-test.mjs PAGE FOLDER: PAGE is what `scripts/web` built; pictures, reports and screenshots go to FOLDER. The last line
// counts: `N passed, N failed, N skipped`. Exit code 3: npm's `playwright-core` or Chromium is not there.
//
// node scripts/web-test.mjs PAGE FOLDER --list quick: verifies this list of cases to its end, and does nothing else. On SwiftShader the quick
// list takes the better part of an hour. `cargo run --example verify -- --quick --count` says how many runs there are.
import { createServer } from 'node:http';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { extname, join, normalize } from 'node:path';
import { launch, serve, webgpu } from './chromium.mjs';

const [page_folder, folder, option, list] = process.argv.slice(2);
if (!folder || (option && (option !== '--list' || !['brief', 'quick', 'all'].includes(list)))) {
  console.log('usage: node scripts/web-test.mjs PAGE FOLDER [--list brief|quick|all]');
  process.exit(2);
}
mkdirSync(folder, { recursive: true });
const types = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.json': 'application/json', '.css': 'text/css', '.wasm': 'application/wasm', '.jpg': 'image/jpeg' };
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
async function screenshots(page, name, part) {
  for (const [size, viewport] of Object.entries({ wide, narrow })) {
    await page.setViewportSize(viewport);
    if (part) await page.evaluate((part) => document.getElementById(part).scrollIntoView(), part);
    await page.screenshot({ path: join(folder, `${name}-${size}.jpg`), type: 'jpeg', quality: 60 });
    const [inside, all] = await page.evaluate(() => [document.documentElement.clientWidth, document.documentElement.scrollWidth]);
    check(all <= inside, `the ${size} page is ${all} pixels wide, and its window ${inside}`);
  }
  await page.setViewportSize(wide);
}

// A camera that shows a drawing, and nobody is asked.
const camera = ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'];
const browser = await launch([...webgpu, ...camera]);
const page = await browser.newPage({ viewport: wide });
const words = listen(page);
await page.goto(address);

// The pixels of a canvas, by a PNG file.
const picture = async (id, file) => {
  const url = await page.evaluate((id) => document.getElementById(id).toDataURL('image/png'), id);
  writeFileSync(join(folder, file), Buffer.from(url.split(',')[1], 'base64'));
};

// Verifies this list of cases to its end.
async function verify(list, timeout) {
  await page.locator('#tab-verify').click();
  await page.locator('#extent').selectOption(list);
  await page.locator('#verify-start').click();
  const result = await shown(page, 'verify', timeout);
  const sentence = await page.locator('#verdict').textContent();
  const [download] = await Promise.all([page.waitForEvent('download'), page.locator('#download').click()]);
  await download.saveAs(join(folder, 'report.json'));
  check(result.failed === 0 && result.passed > 0 && result.done === result.total, sentence);
  check(result.passed + result.failed + result.skipped === result.runs, `${JSON.stringify(result)} does not add up`);
  const { passed, skipped, runs } = result;
  return `${result.total} cases, ${sentence} ${passed} passed, ${skipped} skipped, of ${runs} runs. ${await page.locator('#verify-now').textContent()}`;
}

if (list) {
  await shown(page, 'compress', 240000);
  const say = setInterval(async () => console.log(await page.locator('#verify-now').textContent().catch(() => '')), 60000);
  // No limit of time.
  await test(`the GPU is verified by the list ${list}`, () => verify(list, 0));
  clearInterval(say);
  await test('the console has no errors and no warnings', async () => check(words.length === 0, words.join('\n')));
  await browser.close();
  end();
}

function end() {
  console.log(`${passed} passed, ${failed} failed, 0 skipped`);
  process.exit(failed > 0 ? 1 : 0);
}

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

await test('frames of a camera', async () => {
  const frames = (least) => page.waitForFunction((least) => JSON.parse(document.getElementById('compress').dataset.shown).frame >= least, least, { timeout: 60000 });
  const seen = async () => JSON.parse(await page.locator('#compress').getAttribute('data-shown'));
  await page.locator('#camera').click();
  await frames(3);
  const { before, after, method } = await seen();
  // The first frame is kept whole, and of a later one the share that the slider says.
  check(method === 'evs' && after === Math.floor(before + before * 0.25) - before, `${after} of ${before} by ${method}`);
  // Another share begins anew.
  await page.locator('#keep').fill('50');
  await page.waitForFunction(() => JSON.parse(document.getElementById('compress').dataset.shown).keep === 0.5, undefined, { timeout: 30000 });
  await page.locator('#keep').fill('25');
  await frames((await seen()).frame + 5);
  await screenshots(page, 'camera');
  const psnr = await page.locator('#psnr').textContent();
  check(psnr === 'exact' || parseFloat(psnr) > 20, `the reconstruction has ${psnr}`);
  await page.locator('#camera').click();
  // The photo is there again.
  await page.waitForFunction(() => JSON.parse(document.getElementById('compress').dataset.shown).method === 'pool', undefined, { timeout: 60000 });
  check(await page.locator('#compress-problem').isHidden(), await page.locator('#compress-problem').textContent());
  return `${before} patches a frame, ${after} kept, ${psnr}`;
});

await test('the GPU is verified', async () => {
  const said = await verify('brief', 480000);
  await screenshots(page, 'verify');
  return said;
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

if (JSON.parse(readFileSync(join(page_folder, 'build.json'))).peers) {
  await test('other libraries are measured beside it', async () => {
    await page.locator('#beside-start').click();
    const { rows } = await shown(page, 'beside', 900000);
    writeFileSync(join(folder, 'beside.json'), JSON.stringify(rows, null, 1));
    await screenshots(page, 'beside', 'beside');
    // A library that gives other numbers than ours is left out.
    const left = rows.flatMap(({ kernel, case: name, left_out }) => Object.entries(left_out).map(([peer, why]) => `${peer}: ${kernel} ${name}: ${why}`));
    check(left.length === 0, left.join('\n'));
    check(rows.every(({ medians }) => Object.values(medians).every((time) => time > 0)), JSON.stringify(rows));
    return rows.map(({ kernel, case: name, runs, medians }) => `\n  ${kernel} ${name}, ${runs} runs: ${Object.entries(medians).map(([side, time]) => `${side} ${time.toFixed(2)} ms (${(time / medians.tokenpress).toFixed(2)})`).join(', ')}`).join('');
  });
}

await test('a panic ends a worker, and another one answers', async () => {
  const said = await page.evaluate(async () => {
    const { Link } = await import('./link.js');
    const link = new Link();
    const why = await link.call('panic').catch((error) => error.message);
    const { kernels } = await link.call('lists');
    return [why, kernels.length];
  });
  check(/panicked/i.test(said[0]) && said[1] > 10, said.join());
});

await test('the console has no errors and no warnings', async () => check(words.length === 0, words.join('\n')));

await test('a lost GPU is a sentence, and the next call has another', async () => {
  await page.locator('#tab-verify').click();
  await page.locator('#extent').selectOption('quick');
  await page.locator('#verify-start').click();
  await page.waitForFunction(() => /now /.test(document.getElementById('verify-now').textContent), undefined, { timeout: 120000 });
  await (await browser.newBrowserCDPSession()).send('Browser.crashGpuProcess');
  await page.locator('#verdict:not([hidden]), #verify-problem:not([hidden])').first().waitFor({ timeout: 120000 });
  const sentence = await page.locator('#verdict:not([hidden]), #verify-problem:not([hidden])').first().textContent();
  check(sentence.includes('The GPU was lost') && !/[1-9]\d* failed/.test(sentence), sentence);
  await page.locator('#tab-compress').click();
  await page.locator('#method').selectOption('topk');
  await page.waitForFunction(() => JSON.parse(document.getElementById('compress').dataset.shown).method === 'topk', undefined, { timeout: 120000 });
  return sentence;
});
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

end();
