// clients/js: follows changes across reconnects, with a real socket.io-client and a real flowgate.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { io } from 'socket.io-client';
import { follow } from '../../clients/js/index.js';
import { WAYS } from './harness/client.mjs';
import { REPOSITORY } from './harness/flowgate.mjs';
import { scenario } from './harness/scenario.mjs';
import { mint } from './harness/tokens.mjs';
import { until } from './harness/wait.mjs';

const KEPT = '[relay]\nmeta = true\n[relay.history]\ncount = 100\n';

/** Follows, and writes down what it is told. */
function following(stage, url, options = {}) {
  const { transports = WAYS['the upgrade'], ...rest } = options;
  const socket = io(url, { forceNew: true, autoConnect: false, transports, reconnectionDelay: 50, reconnectionDelayMax: 200 });
  const told = { socket, changes: [], metas: [], resyncs: 0, refused: [] };
  told.following = follow(socket, {
    token: () => mint({ sub: 'alice', teams: ['design'] }),
    onChange: (change, meta) => {
      told.changes.push(change.n);
      told.metas.push(meta);
    },
    onResync: () => (told.resyncs += 1),
    onRefused: (error) => told.refused.push(error.message),
    ...rest,
  });
  stage.defer(() => told.following.stop());
  return told;
}

const sends = async (client, ...numbers) => {
  for (const n of numbers) assert.equal((await client.change({ type: 'task-created', n })).ok, true);
};

const hears = (told, count) => until(`${count} changes`, () => told.changes.length >= count, { seen: () => told });

/** Cuts the connection as a network does; flowgate and the client each find out. */
const cut = (told) => told.socket.io.engine.close();

for (const [way, transports] of Object.entries(WAYS)) {
  scenario(`${way}: what is missed while away is heard once and in order`, async (stage) => {
    const { url } = await stage.flowgate({ overlay: KEPT });
    const bob = await stage.member(url, 'bob', 'design');
    const alice = following(stage, url, { transports });
    await until('the first notice', () => alice.resyncs === 1);
    await sends(bob, 1, 2);
    await hears(alice, 2);
    for (let round = 0; round < 5; round += 1) {
      const before = alice.changes.length;
      alice.socket.io.engine.close();
      await sends(bob, before + 1, before + 2, before + 3);
      await hears(alice, before + 3);
    }
    assert.deepEqual(alice.changes, Array.from({ length: 17 }, (_, at) => at + 1));
    assert.deepEqual(alice.metas.map(({ seq }) => seq), alice.changes);
    assert.deepEqual([alice.resyncs, alice.refused], [1, []]);
    assert.equal(alice.following.since, alice.metas.at(-1).id);
  });
}

scenario('a position outlives the page, and nothing is heard after the end', async (stage) => {
  const { url } = await stage.flowgate({ overlay: KEPT });
  const bob = await stage.member(url, 'bob', 'design');
  const first = following(stage, url);
  await until('the first notice', () => first.resyncs === 1);
  first.following.stop();
  await sends(bob, 1);
  const second = following(stage, url, { since: first.following.since });
  await hears(second, 1);
  assert.deepEqual([second.changes, second.resyncs], [[1], 0]);
  assert.deepEqual([first.changes, first.resyncs, first.socket.connected], [[], 1, false]);
});

scenario('without a history it is told to fetch each time it comes back', async (stage) => {
  const { url } = await stage.flowgate();
  const bob = await stage.member(url, 'bob', 'design');
  const alice = following(stage, url);
  await until('the first notice', () => alice.resyncs === 1);
  await sends(bob, 1);
  await hears(alice, 1);
  assert.equal(alice.metas[0], undefined);
  cut(alice);
  await until('the second notice', () => alice.resyncs === 2);
});

scenario('a change of the type resync is a change', async (stage) => {
  const declared = '[[events.database-change.types]]\nmatch = "resync"\n';
  const { url } = await stage.flowgate({ overlay: `${KEPT}${declared}` });
  const bob = await stage.member(url, 'bob', 'design');
  const alice = following(stage, url);
  await until('the first notice', () => alice.resyncs === 1);
  assert.equal((await bob.change({ type: 'resync', n: 7 })).ok, true);
  await hears(alice, 1);
  assert.deepEqual([alice.changes, alice.resyncs], [[7], 1]);
});

scenario('a token that has expired is replaced by a fresh one', async (stage) => {
  const { url } = await stage.flowgate({ overlay: `${KEPT}[auth]\nleeway = "0s"` });
  const bob = await stage.member(url, 'bob', 'design');
  let asked = 0;
  // The second has expired already: the client is refused, and asks again.
  const ttls = [2, -5];
  const token = async () => mint({ sub: 'alice', teams: ['design'], ttl: ttls[asked++] ?? 3600 });
  const alice = following(stage, url, { token });
  await until('the first notice', () => alice.resyncs === 1);
  await sends(bob, 1);
  await hears(alice, 1);
  await until('the third token', () => asked === 3 && alice.socket.connected, { seen: () => ({ asked }) });
  await sends(bob, 2);
  await hears(alice, 2);
  assert.deepEqual([alice.changes, alice.resyncs, alice.refused], [[1, 2], 1, []]);
});

scenario('what is final is handed on', async (stage) => {
  const { url } = await stage.flowgate({ overlay: KEPT });
  const alice = following(stage, url, { token: 'no token' });
  await until('the refusal', () => alice.refused.length === 1);
  assert.deepEqual([alice.refused, alice.socket.active], [['token_invalid'], false]);
  const eve = following(stage, url, { since: 'where I was' });
  await until('the refusal', () => eve.refused.length === 1);
  assert.deepEqual(eve.refused, ['invalid_payload']);
});

scenario('the three lines of a stock client fetch after each connect', async (stage) => {
  const page = readFileSync(path.join(REPOSITORY, 'docs/reconnecting.md'), 'utf8');
  const [, lines] = page.match(/```js\n(socket\.on\("connect", refetch\);\n.*?)```/s);
  assert.equal(lines.trim().split('\n').length, 3);
  const { url } = await stage.flowgate();
  const bob = await stage.member(url, 'bob', 'design');
  const alice = stage.client(url, { token: mint({ sub: 'alice', teams: ['design'] }) });
  let fetched = 0;
  new Function('socket', 'refetch', lines)(alice.socket, () => (fetched += 1));
  await alice.ready();
  await until('a fetch', () => fetched === 1);
  await sends(bob, 1);
  await until('another', () => fetched === 2);
  alice.engine.close();
  await until('one after the reconnect', () => fetched === 3);
});

test('the types are those of what is there', async () => {
  const compiler = fileURLToPath(import.meta.resolve('typescript/bin/tsc'));
  const project = path.join(REPOSITORY, 'tests/clients/types');
  const tsc = spawn(process.execPath, [compiler, '--project', project], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [said, [code]] = await Promise.all([text(tsc.stdout), once(tsc, 'exit')]);
  assert.equal(code, 0, said);
});
