// A token that is revoked while its owner is connected, from the command line: the transport is closed, and the client hears
// why when it comes back with the same token, or comes in with another.

import assert from 'node:assert/strict';
import { WAYS } from './harness/client.mjs';
import { run } from './harness/flowgate.mjs';
import { scenario } from './harness/scenario.mjs';
import { mint } from './harness/tokens.mjs';

const ADMIN = { FLOWGATE_ADMIN_TOKEN: 'an-admin-token-of-the-tests' };

async function revoke(server, ...args) {
  const { code, stdout, stderr } = await run(['revoke', ...args, '--internal', server.internalUrl], ADMIN);
  assert.equal(code, 0, stderr);
  return stdout;
}

for (const [way, transports] of Object.entries(WAYS)) {
  scenario(`${way}: who comes back with a revoked token is refused for good, and told why`, async (stage) => {
    const server = await stage.flowgate({ env: ADMIN });
    const bob = await stage.member(server.url, 'bob', 'design', { transports });
    const alice = await stage.member(server.url, 'alice', 'design', { transports });

    assert.match(await revoke(server, '--subject', 'alice'), /closed 1 live socket$/m);
    assert.match(await alice.happened('disconnect'), /^transport (close|error)$/);
    assert.equal((await alice.happened('connect_error')).message, 'token_revoked');
    assert.equal(alice.socket.active, false);

    assert.equal((await bob.change({ type: 'task-created', n: 1 })).ok, true);
    assert.deepEqual(bob.all('disconnect'), []);
    assert.deepEqual(alice.received, []);
  });

  scenario(`${way}: who brings another token comes back by itself`, async (stage) => {
    const server = await stage.flowgate({ env: ADMIN });
    let asked = 0;
    const auth = (give) => {
      asked += 1;
      give({ token: mint({ sub: 'alice', teams: ['design'], jti: `token-${asked}` }) });
    };
    const alice = await stage.client(server.url, { auth, transports }).ready();
    await revoke(server, '--token-id', 'token-1');
    await alice.happened('connect', 2);
    assert.equal(asked, 2);
    assert.deepEqual(alice.all('connect_error'), []);
    assert.equal((await alice.change({ type: 'task-created', n: 1 })).ok, true);
  });
}
