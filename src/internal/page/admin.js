// The admin page: signing in, the views, and the stream that keeps them up to date.

import { Declined, ask, remember, whenSignedOut } from './api.js';
import { byId, make } from './dom.js';
import { Connections } from './connections.js';
import { Decisions } from './decisions.js';
import { Observed } from './observed.js';
import { Overview } from './overview.js';
import { Policy } from './policy.js';
import { Revocations } from './revocations.js';
import { Teams } from './teams.js';

/** How long the page waits before it asks for the stream again, when that ended in a way that browsers give up at. */
const COME_BACK = 4000;

/** The views, in the order of the menu. */
const VIEWS = {
  overview: ['Overview', Overview],
  connections: ['Connections', Connections],
  teams: ['Teams', Teams],
  decisions: ['Decisions', Decisions],
  policy: ['Policy', Policy],
  observed: ['Observed', Observed],
  revocations: ['Revocations', Revocations],
};

let views;
let current;
let stream;

function signedOut(why) {
  stream?.close();
  current?.hide();
  [views, current] = [undefined, undefined];
  remember(undefined);
  byId('view').replaceChildren();
  byId('operations').hidden = true;
  byId('state').hidden = true;
  byId('login').hidden = false;
  byId('login-trouble').textContent = why ?? '';
  byId('login-trouble').hidden = !why;
  byId('token').focus();
}

function signedIn({ csrf }) {
  remember(csrf);
  byId('login').hidden = true;
  byId('operations').hidden = false;
  byId('state').hidden = false;
  views = Object.fromEntries(Object.entries(VIEWS).map(([name, [, View]]) => [name, new View()]));
  listen();
  show();
}

/** The view that the address names; the first where it names none. */
function show() {
  if (!views) return;
  const wanted = location.hash.slice(1).split('?')[0];
  const name = Object.hasOwn(VIEWS, wanted) ? wanted : 'overview';
  const link = ([one, [title]]) => make('a', { href: `#${one}`, 'aria-current': one === name ? 'page' : null }, title);
  const menu = byId('views');
  if (menu.childElementCount === 0) menu.append(...Object.entries(VIEWS).map(link));
  for (const entry of menu.children) {
    if (entry.hash === `#${name}`) entry.setAttribute('aria-current', 'page');
    else entry.removeAttribute('aria-current');
  }
  document.title = `${VIEWS[name][0]} · flowgate operations`;
  if (current === views[name]) return;
  current?.hide();
  current = views[name];
  byId('view').replaceChildren(current.element);
  current.show();
}

function liveness(text, kind) {
  const badge = byId('liveness');
  if (badge.textContent === text) return;
  badge.className = `badge ${kind}`;
  badge.textContent = text;
}

/** Hands on what the server says as it happens. Each view takes what it is about. */
function listen() {
  stream?.close();
  const source = (stream = new EventSource('/api/live'));
  const hand = (event, then) => source.addEventListener(event, ({ data }) => stream === source && views && then(JSON.parse(data)));
  const all = (what, said) => Object.values(views).forEach((view) => view[what]?.(said));
  hand('tick', (tick) => {
    const ready = byId('readiness');
    ready.className = tick.ready ? 'badge good' : 'badge warn';
    ready.textContent = tick.ready ? 'ready' : `not ready: ${tick.notReady}`;
    liveness('live', 'good');
    all('tick', tick);
  });
  hand('sample', (sample) => all('sample', sample));
  hand('decision', (decision) => all('decision', decision));
  hand('skipped', (skipped) => all('skipped', skipped));
  hand('end', ({ why }) => why === 'logged_out' && signedOut('The session has ended. Sign in again.'));
  source.addEventListener('error', async () => {
    if (stream !== source || !views) return;
    liveness('connecting again', 'warn');
    // Browsers try again by themselves, but not after an answer that is none.
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(() => stream === source && views && listen(), COME_BACK);
    const session = await ask('/session').catch(() => undefined);
    if (session && !session.authenticated && stream === source) signedOut('The session has ended. Sign in again.');
  });
}

async function signIn(submitted) {
  submitted.preventDefault();
  const field = byId('token');
  const token = field.value;
  // It stays nowhere on the page, right or wrong.
  field.value = '';
  try {
    signedIn(await ask('/session', { method: 'POST', body: { token } }));
  } catch (error) {
    signedOut(error instanceof Declined ? error.message : 'No answer: is flowgate still running?');
  }
}

async function start() {
  whenSignedOut(() => views && signedOut('The session has ended. Sign in again.'));
  byId('login-form').addEventListener('submit', signIn);
  byId('sign-out').addEventListener('click', async () => {
    await ask('/session', { method: 'DELETE' }).catch(() => {});
    signedOut();
  });
  addEventListener('hashchange', () => {
    show();
    byId('view').focus({ preventScroll: true });
    scrollTo(0, 0);
  });
  try {
    const session = await ask('/session');
    if (session.authenticated) signedIn(session);
    else signedOut();
  } catch (error) {
    signedOut(error instanceof Declined ? error.message : 'No answer: is flowgate still running?');
  }
}

start();
