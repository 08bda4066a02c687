// The second tab.
import { row, save } from './save.js';

const $ = (id) => document.getElementById(id);
// JSON has no infinity: it is null there.
const ratio = ({ worst }) => (worst?.error && worst.bound ? worst.error / worst.bound : 0);
const number = (x) => (x === null ? '∞' : x === 0 ? '0' : x.toExponential(1));

export function startVerify(link) {
  let report;

  function table(rows) {
    const body = $('verify-table').tBodies[0];
    const sorted = [...rows].sort((a, b) => b.failed - a.failed || `${a.kernel} ${a.variant}`.localeCompare(`${b.kernel} ${b.variant}`));
    body.replaceChildren(...sorted.map((line) => {
      const { kernel, variant, cases, failed, worst } = line;
      const part = ratio(line);
      const verdict = failed > 0 ? { text: `${failed} FAILED`, bad: true } : { text: part === 0 ? 'exact' : part.toFixed(2), part };
      return row([kernel, variant, String(cases), worst ? number(worst.error) : '–', worst && worst.error !== 0 ? number(worst.bound) : '–', verdict], [2, 3, 4]);
    }));
    $('verify-table').hidden = rows.length === 0;
  }

  // One sentence.
  function verdict({ passed, failed, rows, failures }, { done, total, trouble }) {
    if (trouble) return `${trouble} ${passed} runs had passed and ${failed} failed.`;
    const kernels = new Set(rows.map((r) => r.kernel)).size;
    const part = done < total ? `Stopped after ${done} of ${total} cases: ` : '';
    if (failed > 0) return `${part}${failed} of ${passed + failed} runs failed, the first in ${failures[0].case}: this GPU, its driver or tokenpress is wrong there.`;
    return `${part}${done < total ? 'a' : 'A'}ll ${passed} runs of ${kernels} kernels are within their bounds.`;
  }

  // Why runs were left out, and how many.
  function skips({ skips: all }) {
    const reasons = new Map();
    for (const { reason } of all) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    const known = {
      'no SUBGROUP': 'need subgroups, which WebGPU in wgpu does not have yet',
      'no SHADER_F16': 'need f16, which this GPU or browser does not have',
      'no cooperative matrices': 'need cooperative matrices, which browsers do not have',
    };
    return [...reasons].map(([reason, count]) => `${count} ${count === 1 ? 'run' : 'runs'} ${known[reason] ?? `left out (${reason})`}`);
  }

  function text(found, sentence) {
    const { page, version, commit, wgpu, time, failures, rows } = found;
    const gpu = [page.vendor, page.architecture, page.device, page.description].filter(Boolean).join(' ') || 'not named';
    const worst = [...rows].sort((a, b) => ratio(b) - ratio(a)).slice(0, 5).filter((r) => ratio(r) > 0);
    return [
      `tokenpress ${version} (${commit ?? 'no commit'}), wgpu ${wgpu}, ${new Date(time * 1000).toISOString().slice(0, 10)}`,
      `browser: ${page.browser}`,
      `GPU: ${gpu}${page.software ? ', a CPU in place of a GPU' : ''}; ${page.f16 ? 'f16' : 'no f16'}, ${page.timestamps ? 'timestamps' : 'no timestamps'}`,
      sentence,
      `${found.passed} passed, ${found.failed} failed, ${found.skipped} skipped${skips(found).map((s) => `; ${s}`).join('')}`,
      ...failures.slice(0, 20).map((f) => `FAILED ${f.case}: ${f.reason.slice(0, 300)}`),
      ...worst.map((r) => `nearest to its bound: ${r.kernel} ${r.variant}, ${number(r.worst.error)} of ${number(r.worst.bound)}`),
    ].join('\n');
  }

  function running(yes) {
    $('verify-start').disabled = yes;
    $('verify-stop').hidden = !yes;
    $('verify-progress').hidden = !yes;
  }

  $('verify-start').onclick = async () => {
    running(true);
    for (const id of ['verify-problem', 'verdict', 'verify-results', 'verify-text']) $(id).hidden = true;
    $('verify-now').textContent = 'Preparing the cases …';
    const start = performance.now();
    try {
      const end = await link.call('verify', { extent: $('extent').value }, ({ done, total, subject, passed, failed, rows }) => {
        $('verify-progress').max = total;
        $('verify-progress').value = done;
        $('verify-now').textContent = `${done} of ${total} cases, ${passed} runs passed, ${failed} failed; now ${subject}`;
        if (rows) table(rows);
      });
      report = end.report;
      table(report.rows);
      const sentence = verdict(report, end);
      $('verdict').textContent = sentence;
      $('verdict').className = `verdict ${report.failed > 0 || end.trouble ? 'bad' : 'good'}`;
      const seconds = Math.round((performance.now() - start) / 1000);
      $('verify-now').textContent = [`${end.done} cases in ${seconds} s`, ...skips(report)].join('; ') + '.';
      $('verify-text').textContent = text(report, sentence);
      for (const id of ['verdict', 'verify-results', 'verify-text']) $(id).hidden = false;
      const { passed, failed, skipped } = report;
      $('verify').dataset.shown = JSON.stringify({ passed, failed, skipped, done: end.done, total: end.total, runs: end.runs });
    } catch (error) {
      $('verify-now').textContent = '';
      $('verify-problem').hidden = false;
      $('verify-problem').textContent = error.message;
    }
    running(false);
  };
  $('verify-stop').onclick = () => link.call('stop');
  $('download').onclick = () => save('report.json', report);
  $('copy').onclick = async () => {
    try {
      await navigator.clipboard.writeText($('verify-text').textContent);
      $('copy').textContent = 'Copied';
    } catch {
      getSelection().selectAllChildren($('verify-text'));
    }
  };
}
