// A newer token on a live socket (auth.refresh): nobody is disconnected, and what the new token says counts.

import assert from 'node:assert/strict';
import { WAYS } from './harness/client.mjs';
import { scenario } from './harness/scenario.mjs';
import { mint } from './harness/tokens.mjs';
import { until } from './harness/wait.mjs';

const overlay = '[auth]\nleeway = "0s"\nrefresh = true';

for (const [way, transports] of Object.entries(WAYS)) {
  scenario(`${way}: a newer token outlives the old one, and moves its owner between teams`, async (stage) => {
    const { url } = await stage.flowgate({ overlay });
    const bob = await stage.member(url, 'bob', 'design', { transports });
    const cat = await stage.member(url, 'cat', 'sales', { transports });
    const first = mint({ sub: 'alice', teams: ['design'], ttl: 4 });
    const alice = await stage.client(url, { token: first, transports }).ready();
    assert.equal((await alice.change({ type: 'task-created', n: 1 })).ok, true);

    const token = mint({ sub: 'alice', teams: ['sales'], ttl: 3600 });
    const answer = await alice.socket.emitWithAck('refresh-token', { token });
    assert.deepEqual(Object.keys(answer), ['ok', 'expiresAt']);
    assert.equal(answer.ok, true);
    assert.ok(answer.expiresAt > Date.now() + 3_000_000, `${answer.expiresAt}`);

    assert.equal((await alice.change({ type: 'task-created', n: 2 })).ok, true);
    assert.deepEqual((await cat.changes(1)).map(({ n }) => n), [2]);
    // Past the end of the token that it came with.
    const end = Date.now() + 5000;
    await until('the first token to be over', () => Date.now() > end);
    assert.equal((await alice.change({ type: 'task-created', n: 3 })).ok, true);
    assert.deepEqual((await cat.changes(2)).map(({ n }) => n), [2, 3]);
    assert.deepEqual((await bob.changes(1)).map(({ n }) => n), [1]);
    for (const client of [alice, bob, cat]) assert.deepEqual(client.all('disconnect'), []);
  });
}

scenario('a token that is not taken leaves the old one, and without auth.refresh there is no such event', async (stage) => {
  const { url } = await stage.flowgate({ overlay });
  const alice = await stage.member(url, 'alice', 'design');
  const other = await alice.socket.emitWithAck('refresh-token', mint({ sub: 'bob', teams: ['design'], ttl: 3600 }));
  assert.deepEqual(other, { ok: false, code: 'token_invalid' });
  const late = await alice.socket.emitWithAck('refresh-token', mint({ sub: 'alice', teams: ['design'], ttl: -60 }));
  assert.deepEqual(late, { ok: false, code: 'token_expired' });
  assert.equal((await alice.change({ type: 'task-created', n: 1 })).ok, true);

  const off = await stage.flowgate();
  const bob = await stage.member(off.url, 'bob', 'design');
  const unknown = await bob.socket.emitWithAck('refresh-token', mint({ sub: 'bob', teams: ['design'] }));
  assert.deepEqual(unknown, { ok: false, code: 'unknown_event' });
});
