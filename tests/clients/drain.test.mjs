// SIGTERM: the clients are told in the way that makes them come back, to whichever instance then answers.

import assert from 'node:assert/strict';
import { balancer } from './harness/balancer.mjs';
import { WAYS } from './harness/client.mjs';
import { scenario } from './harness/scenario.mjs';
import { mint } from './harness/tokens.mjs';
import { until } from './harness/wait.mjs';

const QUICK_DRAIN = '[drain]\nspread = "200ms"\ndeadline = "10s"';

for (const [way, transports] of Object.entries(WAYS)) {
  scenario(`${way}: drained clients move to the next instance by themselves`, async (stage) => {
    const old = await stage.flowgate({ overlay: QUICK_DRAIN });
    const next = await stage.flowgate();
    const front = await balancer(stage, [old.url]);
    const clients = await Promise.all(
      ['alice', 'bob', 'carol'].map((sub) => stage.member(front.url, sub, 'design', { transports })),
    );

    front.targets = [next.url];
    assert.deepEqual(await old.terminate(), { code: 0, signal: null });

    for (const client of clients) {
      assert.match(await client.happened('disconnect'), /^transport (close|error)$/);
      await client.happened('connect', 2);
      await client.ready();
    }
    assert.equal((await clients[0].change({ type: 'task-created', n: 1 })).ok, true);
    for (const client of clients) assert.deepEqual(await client.changes(1), [{ type: 'task-created', n: 1 }]);
  });
}

scenario('who arrives while it drains is turned away for now, and admitted by the next instance', async (stage) => {
  const old = await stage.flowgate({ overlay: '[drain]\nspread = "3s"\ndeadline = "10s"' });
  const next = await stage.flowgate();
  const front = await balancer(stage, [old.url]);
  // Somebody must be there to wait for, or the drain is over at once.
  await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map((sub) => stage.member(old.url, sub, 'design', { reconnection: false })));

  const exit = old.terminate();
  // Ready no more, or not even there: from here on nobody is let in.
  await until('the old instance not to be ready', async () => {
    const answer = await fetch(`${old.internalUrl}/ready`).catch(() => undefined);
    return answer?.status !== 200;
  });

  const late = stage.client(front.url, { token: mint({ sub: 'late', teams: ['design'] }) });
  await late.happened('connect_error');
  assert.equal(late.socket.active, true, 'a client that came while draining has given up');
  assert.deepEqual(late.all('connect'), []);

  front.targets = [next.url];
  await late.ready();
  assert.equal((await late.change({ type: 'task-created' })).ok, true);
  assert.deepEqual(await exit, { code: 0, signal: null });
});

scenario('with nobody connected SIGTERM ends it with 0', async (stage) => {
  const server = await stage.flowgate();
  assert.deepEqual(await server.terminate(), { code: 0, signal: null });
});
