// relay.history.store = "redis": a real socket.io-client with clients/js that is sent from node to node, over a real Redis.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { io } from 'socket.io-client';
import { follow } from '../../clients/js/index.js';
import { WAYS } from './harness/client.mjs';
import { freePort } from './harness/proxy.mjs';
import { scenario } from './harness/scenario.mjs';
import { mint } from './harness/tokens.mjs';
import { until } from './harness/wait.mjs';

const ROUNDS = 8;

const accepts = (port) =>
  new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => (socket.destroy(), resolve(true)));
    socket.once('error', () => resolve(false));
  });

/** A Redis of the test's own; returns its port. */
async function redisServer(stage) {
  const [home, port] = [mkdtempSync(path.join(tmpdir(), 'flowgate-redis-')), await freePort()];
  stage.defer(() => rmSync(home, { recursive: true, force: true }));
  const flags = ['--bind', '127.0.0.1', '--port', `${port}`, '--dir', home, '--save', '', '--appendonly', 'no'];
  const child = spawn('redis-server', flags, { stdio: 'ignore' });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  stage.defer(kill);
  await until(`redis-server on ${port}`, () => accepts(port));
  return port;
}

/** Two nodes over one Redis, and somebody who sends on each. */
async function nodes(stage, store) {
  const port = await redisServer(stage);
  const overlay = `
[relay]
meta = true
[relay.history]
store = "${store}"
count = 100
[bus]
driver = "redis"
[bus.redis]
url = "redis://127.0.0.1:${port}"
`;
  const [one, other] = [await stage.flowgate({ overlay }), await stage.flowgate({ overlay })];
  const senders = [await stage.member(one.url, 'bob', 'design'), await stage.member(other.url, 'carol', 'design')];
  return { urls: [one.url, other.url], senders };
}

/** Follows on the first node, and writes down what it is told. */
function following(stage, url, transports = WAYS['the upgrade']) {
  const socket = io(url, { forceNew: true, autoConnect: false, transports, reconnectionDelay: 20, reconnectionDelayMax: 100 });
  const told = { socket, heard: [], metas: [], resyncs: 0 };
  told.following = follow(socket, {
    token: () => mint({ sub: 'alice', teams: ['design'] }),
    onChange: (change, meta) => (told.heard.push(change.n), told.metas.push(meta)),
    onResync: () => (told.resyncs += 1),
  });
  stage.defer(() => told.following.stop());
  return told;
}

/** Cuts the connection; the next one goes to this node. */
function moveTo(told, url) {
  told.socket.io.uri = url;
  told.socket.io.engine.close();
}

const hears = (told, count) => until(`${count} changes`, () => told.heard.length >= count, { seen: () => told });

for (const [way, transports] of Object.entries(WAYS)) {
  scenario(`${way}: from node to node each change is heard once`, async (stage) => {
    const { urls, senders } = await nodes(stage, 'redis');
    const alice = following(stage, urls[0], transports);
    await until('the first notice', () => alice.resyncs === 1);
    let n = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      moveTo(alice, urls[(round + 1) % 2]);
      for (const sender of [...senders, ...senders]) {
        n += 1;
        assert.equal((await sender.change({ type: 'task-created', n })).ok, true);
      }
      await hears(alice, n);
    }
    const all = Array.from({ length: n }, (_, at) => at + 1);
    assert.deepEqual([...alice.heard].sort((a, b) => a - b), all);
    // Bob's are the odd ones, Carol's the even ones; each in its order.
    for (const rest of [0, 1]) {
      assert.deepEqual(alice.heard.filter((heard) => heard % 2 === rest), all.filter((heard) => heard % 2 === rest));
    }
    assert.equal(alice.resyncs, 1);
    assert.ok(alice.metas.some(({ seq, team }) => seq === null && team === 'design'), 'something was replayed');
  });
}

scenario('without it the other node has it fetch', async (stage) => {
  const { urls, senders } = await nodes(stage, 'memory');
  const alice = following(stage, urls[0]);
  await until('the first notice', () => alice.resyncs === 1);
  assert.equal((await senders[0].change({ type: 'task-created', n: 1 })).ok, true);
  await hears(alice, 1);
  moveTo(alice, urls[1]);
  await until('the second notice', () => alice.resyncs === 2);
  assert.equal((await senders[0].change({ type: 'task-created', n: 2 })).ok, true);
  await until('the second change', () => alice.heard.includes(2));
});
