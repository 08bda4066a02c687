// The first tab.
const $ = (id) => document.getElementById(id);

// Longer side of what is handed over; a larger photo is reduced by the browser.
const SIZE = 768;
// That of a frame of the camera.
const FRAME = 384;

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
    if (stream) {
      $('about').textContent = 'evs: of each frame of the camera keeps the patches that changed most since the frame before, and drops the others (EVS). Beside it is what a model has seen: of every place the last patch that was kept.';
      [keep.disabled, $('share').textContent] = [false, `${keep.value} %`];
      return;
    }
    const chosen = chain().map(named);
    $('about').textContent = chosen.map(({ name, about }) => `${name}: ${about}.`).join(' ');
    keep.disabled = chosen.every(({ shares }) => !shares);
    $('share').textContent = keep.disabled ? 'as the photo’s content makes it' : `${Math.round(share() * 1000) / 10} %`;
  }

  async function run() {
    say();
    if (!photo || stream) return;
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
    const clock = result.clock.startsWith('timestamps') ? '' : ' with submission';
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
    stop();
    await run();
  }

  // Frames of the camera, one at a time: each is asked for when the last one is shown.
  let stream;
  const stop = () => {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = undefined;
    $('camera').textContent = 'Camera';
    for (const element of [method, then]) element.disabled = false;
    say();
  };
  async function film() {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: FRAME }, facingMode: 'environment' } });
    $('camera').textContent = 'Stop';
    for (const element of [method, then]) element.disabled = true;
    say();
    const video = Object.assign(document.createElement('video'), { muted: true, playsInline: true, srcObject: stream });
    await video.play();
    const canvas = document.createElement('canvas');
    const context = canvas.getContext('2d', { willReadFrequently: true });
    for (let count = 0; stream && video.srcObject === stream; count += 1) {
      const patch = Number($('patch').value);
      const scale = Math.min(1, FRAME / Math.max(video.videoWidth, video.videoHeight));
      // Whole patches.
      const [width, height] = [video.videoWidth, video.videoHeight].map((x) => Math.max(patch, Math.floor((x * scale) / patch) * patch));
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
      context.drawImage(video, 0, 0, width, height);
      const pixels = new Uint8Array(context.getImageData(0, 0, width, height).data.buffer);
      const wish = { method: 'evs', keep: Number(keep.value) / 100, patch };
      const result = await link.call('frame', { ...wish, pixels, width, height, first: count === 0 });
      if (stream) show(result, { ...wish, frame: count });
      await new Promise(requestAnimationFrame);
    }
  }
  $('camera').onclick = async () => {
    if (stream) {
      stop();
      run();
      return;
    }
    problem();
    try {
      await film();
    } catch (error) {
      stop();
      problem(error.name === 'NotAllowedError' ? 'The browser was not allowed to use the camera.' : `The camera cannot be used: ${error.message}`);
    }
  };
  const cameras = async () => {
    const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
    $('camera-field').hidden = !devices.some(({ kind }) => kind === 'videoinput');
  };
  cameras().catch(() => {});

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
