// The page: tabs, and what all of them say of the GPU.
import { Link } from './link.js';
import { startBench } from './bench.js';
import { startCompress } from './compress.js';
import { startVerify } from './verify.js';

const tabs = [...document.querySelectorAll('[role=tab]')];

function choose(tab) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute('aria-selected', String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    document.getElementById(other.getAttribute('aria-controls')).hidden = !chosen;
  }
  history.replaceState(null, '', `#${tab.getAttribute('aria-controls')}`);
}

for (const tab of tabs) {
  tab.onclick = () => choose(tab);
  tab.onkeydown = ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: tabs.length - 1 }[key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step) % tabs.length];
    next.focus();
    choose(next);
  };
}
const asked = tabs.find((tab) => `#${tab.getAttribute('aria-controls')}` === location.hash);
if (asked) choose(asked);

const link = new Link();

// What the browser tells of the GPU, as a line.
function describe({ name, f16, timestamps, software, page }) {
  const kind = [page.vendor, page.architecture, page.device].filter(Boolean).join(' ');
  const said = name || page.description || kind || 'a GPU that the browser does not name';
  const facts = [software ? 'a CPU in place of a GPU' : '', f16 ? 'f16' : 'no f16', timestamps ? 'timestamps' : 'no timestamps'];
  return `${said}${kind && kind !== said ? ` (${kind})` : ''}: ${facts.filter(Boolean).join(', ')}`;
}

const line = document.getElementById('gpu');
try {
  const lists = await link.call('lists');
  const { commit, version } = lists.build;
  document.getElementById('version').textContent = `tokenpress ${version}${commit ? ` (${commit})` : ''}`;
  startVerify(new Link());
  startBench(new Link(), lists);
  const facts = await link.call('open');
  line.textContent = describe(facts);
  line.dataset.ready = 'yes';
  await startCompress(link, lists.methods);
} catch (error) {
  line.textContent = error.message;
  line.className = 'problem';
}
