// Debian's Chromium on SwiftShader, for what tests web pages. Who imports this ends with exit code 3 where npm's `playwright-core` or
// Chromium is not there. CHROMIUM names another.
import { existsSync } from 'node:fs';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
let chromium;
try {
  ({ chromium } = await import('playwright-core'));
} catch (error) {
  missing(`no npm package playwright-core: ${error.message}`);
}
if (!existsSync(executablePath)) missing(`no Chromium at ${executablePath}`);

function missing(what) {
  console.log(what);
  process.exit(3);
}

/** Switches that give a page WebGPU. */
export const webgpu = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan'];

/** A headless browser with these switches. */
export const launch = (switches) => chromium.launch({ executablePath, headless: true, args: ['--no-sandbox', ...switches] });

/** Serves on a free port, and gives the address. */
export async function serve(server) {
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://localhost:${server.address().port}/`;
}
