// A token that expires while its owner is connected: the transport is closed, and the client brings a fresh one.

import assert from 'node:assert/strict';
import { WAYS } from './harness/client.mjs';
import { scenario } from './harness/scenario.mjs';
import { mint } from './harness/tokens.mjs';

for (const [way, transports] of Object.entries(WAYS)) {
  scenario(`${way}: after expiry the client comes back with a fresh token`, async (stage) => {
    const { url } = await stage.flowgate({ overlay: '[auth]\nleeway = "0s"' });
    const bob = await stage.member(url, 'bob', 'design', { transports });

    let asked = 0;
    const auth = (give) => {
      asked += 1;
      give({ token: mint({ sub: 'alice', teams: ['design'], ttl: asked === 1 ? 2 : 3600 }) });
    };
    const alice = await stage.client(url, { auth, transports }).ready();
    assert.equal((await alice.change({ type: 'task-created', n: 1 })).ok, true);

    assert.match(await alice.happened('disconnect'), /^transport (close|error)$/);
    assert.equal(alice.socket.active, true);
    await alice.happened('connect', 2);
    assert.equal(asked, 2);
    assert.deepEqual(alice.all('connect_error'), []);

    assert.equal((await alice.change({ type: 'task-created', n: 2 })).ok, true);
    assert.deepEqual((await bob.changes(2)).map(({ n }) => n), [1, 2]);
    assert.deepEqual(bob.all('disconnect'), []);
  });

  scenario(`${way}: a client that has no fresh token is refused for good`, async (stage) => {
    const { url } = await stage.flowgate({ overlay: '[auth]\nleeway = "0s"' });
    const alice = await stage.client(url, { token: mint({ sub: 'alice', teams: ['design'], ttl: 2 }), transports }).ready();
    await alice.happened('disconnect');
    assert.equal((await alice.happened('connect_error')).message, 'token_expired');
    assert.equal(alice.socket.active, false);
  });
}
