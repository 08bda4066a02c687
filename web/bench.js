// The third tab.
import { row, save } from './save.js';

const $ = (id) => document.getElementById(id);

// Chosen at first: a kernel of each kind.
const FIRST = ['attention_score', 'top_k', 'bipartite_match', 'merge_tokens', 'pixel_unshuffle'];

const unit = (microseconds) => {
  if (microseconds < 1e3) return `${microseconds.toFixed(1)} µs`;
  return microseconds < 1e6 ? `${(microseconds / 1e3).toFixed(2)} ms` : `${(microseconds / 1e6).toFixed(2)} s`;
};
const rate = (x) => (x < 10 ? String(Number(x.toPrecision(2))) : String(Math.round(x)));

export function startBench(link, { kernels, build }) {
  if (build.peers) startBeside(link, build.peers);

  const boxes = kernels.map(([name, count]) => {
    const label = document.createElement('label');
    const box = Object.assign(document.createElement('input'), { type: 'checkbox', value: name, checked: FIRST.includes(name) });
    label.append(box, `${name} (${count})`);
    $('kernel-list').append(label);
    return box;
  });
  const chosen = () => boxes.filter((box) => box.checked).map((box) => box.value);
  const say = () => {
    const names = chosen();
    $('kernels-chosen').textContent = names.length > 6 ? `${names.length} of ${boxes.length}` : names.join(', ') || 'none';
    $('bench-start').disabled = names.length === 0;
  };
  $('kernel-list').onchange = say;
  const all = (checked) => () => {
    for (const box of boxes) box.checked = checked;
    say();
  };
  [$('all-kernels').onclick, $('no-kernels').onclick] = [all(true), all(false)];
  say();

  const tuning = () => localStorage.getItem('tuning');
  const sayTuning = () => {
    $('tuning').textContent = tuning()
      ? 'This browser runs the forms that were found faster here. Tune again after a change of driver.'
      : 'Some shaders have several forms. “Tune” finds which is faster here, and this browser keeps it.';
  };
  sayTuning();

  function yardsticks({ copy_api, copy_kernel, multiply_add, dispatch }, clock) {
    const entries = [
      ['copy, by the API', `${rate(copy_api)} GB/s`],
      ['copy, by a kernel', `${rate(copy_kernel)} GB/s`],
      ['multiply-adds', `${rate(multiply_add)} GFLOP/s`],
      ['a dispatch that depends on the last', `${dispatch.toFixed(1)} µs`],
    ];
    $('yardsticks').replaceChildren(...entries.map(([name, value]) => {
      const entry = document.createElement('div');
      const [term, data] = [document.createElement('dt'), document.createElement('dd')];
      [term.textContent, data.textContent] = [name, value];
      entry.append(term, data);
      return entry;
    }));
    $('yardsticks').hidden = false;
    const batch = 'a sample is a batch of runs of 5 ms or more.';
    $('clock').textContent = clock.startsWith('timestamps')
      ? `Times are the GPU’s own ${clock}; ${batch}`
      : `This browser gives no timestamps. Times are from submission to completion, by the ${clock}; ${batch}`;
  }

  function line(found) {
    if (found.left_out) return row([found.kernel, found.case, '–', '–', '–', '–', '–', { text: `left out: ${found.left_out}` }], [2, 3, 5]);
    const { kernel, case: name, median, bytes, gigabytes, of_copy, flops, gigaflops, of_multiply_add, check, repeatable } = found;
    const part = (count, of) => (count === 0 ? '–' : { text: `${Math.round(100 * of)} %`, part: of });
    const wrong = check === 'failed' || !repeatable;
    const result = check === 'failed' ? 'WRONG' : !repeatable ? 'VARIES' : check === 'passed' ? 'checked' : 'repeatable';
    return row([
      kernel, name, unit(median), bytes === 0 ? '–' : rate(gigabytes), part(bytes, of_copy), flops === 0 ? '–' : rate(gigaflops), part(flops, of_multiply_add),
      { text: result, bad: wrong },
    ], [2, 3, 5]);
  }

  function running(yes) {
    for (const id of ['bench-start', 'tune']) $(id).disabled = yes;
    $('bench-stop').hidden = !yes;
    $('bench-progress').hidden = !yes;
    if (!yes) say();
  }

  function problem(text) {
    $('bench-problem').hidden = !text;
    $('bench-problem').textContent = text ?? '';
  }

  let results;
  $('bench-start').onclick = async () => {
    running(true);
    problem();
    $('bench-results').hidden = true;
    const body = $('bench-table').tBodies[0];
    body.replaceChildren();
    $('bench-table').hidden = true;
    $('bench-progress').removeAttribute('value');
    $('bench-now').textContent = 'Measuring what the GPU can do at all …';
    try {
      const wish = { kernels: chosen(), small: $('small').checked, tuning: tuning() };
      results = await link.call('bench', wish, (state) => {
        $('bench-progress').max = state.total;
        $('bench-progress').value = state.done;
        if (state.yardsticks) yardsticks(state.yardsticks, state.clock);
        if (state.label) $('bench-now').textContent = state.label;
        if (state.row) {
          body.append(line(state.row));
          $('bench-table').hidden = false;
        }
      });
      $('bench-now').textContent = `${results.rows.length} cases.`;
      $('bench-results').hidden = false;
      $('bench').dataset.shown = JSON.stringify(results);
    } catch (error) {
      $('bench-now').textContent = '';
      problem(error.message);
    }
    running(false);
  };
  $('bench-stop').onclick = () => link.call('stop');
  $('bench-download').onclick = () => save('results.json', results);
  $('tune').onclick = async () => {
    running(true);
    $('bench-stop').hidden = true;
    $('bench-progress').removeAttribute('value');
    problem();
    $('bench-now').textContent = 'Running every form of every shader …';
    try {
      localStorage.setItem('tuning', await link.call('tune'));
      $('bench-now').textContent = 'Done.';
      sayTuning();
    } catch (error) {
      $('bench-now').textContent = '';
      problem(error.message);
    }
    running(false);
  };
}

// The part of the tab that is there only where the page was built with other libraries: names and versions.
function startBeside(link, peers) {
  const names = Object.keys(peers);
  $('beside').hidden = false;
  $('beside-libraries').textContent = names.map((name) => `${name} ${peers[name]}`).join(', ');
  $('beside-head').replaceChildren(...['kernel', 'case', 'tokenpress', ...names.flatMap((name) => [name, '/ ours']), 'left out'].map((text, column) => {
    const th = document.createElement('th');
    [th.textContent, th.className] = [text, column > 1 && column < 3 + 2 * names.length ? 'n' : ''];
    return th;
  }));

  function line({ kernel, case: name, medians, left_out }) {
    const cells = names.flatMap((peer) => {
      if (!(peer in medians)) return ['–', '–'];
      const ratio = medians[peer] / medians.tokenpress;
      return [unit(1e3 * medians[peer]), { text: ratio.toFixed(2), bad: ratio < 1 }];
    });
    const why = Object.entries(left_out).map(([peer, reason]) => `${peer}: ${reason}`).join('; ');
    const cell = row([kernel, name, unit(1e3 * medians.tokenpress), ...cells, why], [2, ...cells.map((_, column) => column + 3)]);
    cell.lastElementChild.className = 'long';
    return cell;
  }

  let results;
  const running = (yes) => {
    $('beside-start').disabled = yes;
    $('beside-stop').hidden = !yes;
  };
  $('beside-start').onclick = async () => {
    running(true);
    $('beside-problem').hidden = true;
    $('beside-results').hidden = true;
    const body = $('beside-table').tBodies[0];
    body.replaceChildren();
    $('beside-now').textContent = 'Loading the libraries …';
    try {
      results = await link.call('beside', undefined, ({ label, row: found, done, total }) => {
        if (label) $('beside-now').textContent = `${done + 1} of ${total}: ${label}`;
        if (found) {
          body.append(line(found));
          $('beside-table').hidden = false;
        }
      });
      $('beside-now').textContent = `${results.rows.length} cases.`;
      $('beside-results').hidden = false;
      $('beside').dataset.shown = JSON.stringify(results);
    } catch (error) {
      $('beside-now').textContent = '';
      $('beside-problem').hidden = false;
      $('beside-problem').textContent = error.message;
    }
    running(false);
  };
  $('beside-stop').onclick = () => link.call('stop');
  $('beside-download').onclick = () => save('beside.json', results);
}
