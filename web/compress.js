// The first tab.
const $ = (id) => document.getElementById(id);

// Longer side of what is handed over; a larger photo is reduced by the browser.
const SIZE = 768;

export async function startCompress(link, methods) {
  const [method, then, keep] = [$('method'), $('then'), $('keep')];
  for (const { name, about } of methods) {
    method.add(new Option(name, name));
    then.add(new Option(name, name));
    method.lastElementChild.title = about;
  }
  then.prepend(new Option('nothing more', '', true, true));
  const named = (name) => methods.find((m) => m.name === name);
  const chain = () => [method.value, then.value].filter(Boolean);
  let photo;
  let running = false;
  let again = false;

  // The share that is asked for: some methods leave 1/4, 1/9, 1/16 .. only.
  function share() {
    const wanted = Number(keep.value) / 100;
    const squares = chain().filter((name) => named(name).squares).length;
    if (squares === 0 || chain().length > 1) return wanted;
    const side = Math.min(12, Math.max(1, Math.round(Math.sqrt(1 / wanted))));
    return 1 / side ** 2;
  }

  function say() {
    const chosen = chain().map(named);
    $('about').textContent = chosen.map(({ name, about }) => `${name}: ${about}.`).join(' ');
    keep.disabled = chosen.every(({ shares }) => !shares);
    $('share').textContent = keep.disabled ? 'as the photo’s content makes it' : `${Math.round(share() * 1000) / 10} %`;
  }

  async function run() {
    say();
    if (!photo) return;
    if (running) {
      again = true;
      return;
    }
    running = true;
    $('pictures').classList.add('busy');
    try {
      const wish = { method: chain().join('+'), keep: keep.disabled ? undefined : share(), patch: Number($('patch').value) };
      const result = await link.call('compress', { ...photo, ...wish, tuning: localStorage.getItem('tuning') });
      show(result, wish);
    } catch (error) {
      problem(error.message);
    } finally {
      running = false;
      $('pictures').classList.remove('busy');
      if (again) {
        again = false;
        run();
      }
    }
  }

  function problem(text) {
    $('compress-problem').hidden = !text;
    $('compress-problem').textContent = text ?? '';
  }

  function show(result, wish) {
    problem();
    for (const name of ['regions', 'restored']) {
      const canvas = $(name);
      [canvas.width, canvas.height] = [result.width, result.height];
      canvas.getContext('2d').putImageData(new ImageData(new Uint8ClampedArray(result[name]), result.width), 0, 0);
    }
    $('tokens').textContent = `${result.before} → ${result.after}`;
    const clock = result.clock === 'timestamps' ? '' : ' with submission';
    $('time').textContent = `${result.milliseconds < 10 ? result.milliseconds.toFixed(1) : Math.round(result.milliseconds)} ms${clock}`;
    $('psnr').textContent = result.psnr === undefined ? 'exact' : `${result.psnr.toFixed(1)} dB`;
    $('compress').dataset.shown = JSON.stringify({ ...wish, before: result.before, after: result.after });
  }

  // Takes an image that the browser can decode.
  async function take(blob) {
    try {
      const image = await createImageBitmap(blob, { imageOrientation: 'from-image' });
      const scale = Math.min(1, SIZE / Math.max(image.width, image.height));
      const canvas = document.createElement('canvas');
      canvas.width = Math.max(1, Math.round(image.width * scale));
      canvas.height = Math.max(1, Math.round(image.height * scale));
      const context = canvas.getContext('2d', { willReadFrequently: true });
      context.imageSmoothingQuality = 'high';
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
      photo = { pixels: new Uint8Array(data.buffer), width: canvas.width, height: canvas.height };
    } catch {
      problem('The browser cannot read this file as an image.');
      return;
    }
    await run();
  }

  $('wish').oninput = ({ target }) => target.id !== 'file' && run();
  $('wish').onsubmit = (event) => event.preventDefault();
  $('file').onchange = ({ target }) => target.files[0] && take(target.files[0]);
  const panel = $('compress');
  panel.ondragover = (event) => {
    event.preventDefault();
    $('pictures').classList.add('over');
  };
  panel.ondragleave = () => $('pictures').classList.remove('over');
  panel.ondrop = (event) => {
    event.preventDefault();
    $('pictures').classList.remove('over');
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  };
  say();
  const shipped = await fetch(new URL('./coffee.jpg', import.meta.url));
  await take(await shipped.blob());
}
