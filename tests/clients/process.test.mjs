// flowgate as a process: what it prints, its internal port, its health command, the tokens it mints.

import assert from 'node:assert/strict';
import { SECRET_VARIABLE, writeConfig, ONE_ISSUER } from './harness/config.mjs';
import { run } from './harness/flowgate.mjs';
import { scenario } from './harness/scenario.mjs';

/** The configuration as a file, for the commands that take one. */
function configFile(stage) {
  const { paths, remove } = writeConfig([ONE_ISSUER]);
  stage.defer(remove);
  return paths[0];
}

scenario('standard output holds the two addresses and nothing else', async (stage) => {
  const server = await stage.flowgate();
  await stage.member(server.url, 'alice', 'design');
  assert.deepEqual(await server.terminate(), { code: 0, signal: null });
  assert.equal(server.stdout, `listening on ${server.url}\ninternal on ${server.internalUrl}\n`);
});

scenario('ready, live and metrics are on the internal port only', async (stage) => {
  const { url, internalUrl } = await stage.flowgate();
  for (const path of ['/ready', '/live', '/metrics']) {
    assert.equal((await fetch(internalUrl + path)).status, 200, path);
    assert.equal((await fetch(url + path)).status, 404, path);
  }
  assert.match(await (await fetch(`${internalUrl}/metrics`)).text(), /^# (HELP|TYPE) /m);
});

scenario('health tells by its exit code', async (stage) => {
  const server = await stage.flowgate();
  const url = server.internalUrl;
  assert.equal((await run(['health', '--url', url])).code, 0);
  assert.equal((await run(['health'], { FLOWGATE__INTERNAL__LISTEN: new URL(url).host })).code, 0);
  await server.kill();
  assert.equal((await run(['health', '--url', url])).code, 1);
});

scenario('a minted token admits a stock client, with its teams and no others', async (stage) => {
  const { url } = await stage.flowgate();
  const who = ['--sub', 'alice', '--team', 'design', '--team', 'ops', '--role', 'editor', '--ttl', '1h'];
  const minted = await run(['token', 'mint', '--config', configFile(stage), '--issuer', 'tests', ...who]);
  assert.equal(minted.code, 0, minted.stderr);
  const token = minted.stdout.trim();

  for (const team of ['design', 'ops']) {
    const colleague = await stage.member(url, `colleague in ${team}`, team);
    const alice = await stage.client(url, { auth: { token, team } }).ready();
    assert.equal((await alice.change({ type: 'task-created' })).ok, true);
    assert.deepEqual(await colleague.changes(1), [{ type: 'task-created' }]);
  }
  const elsewhere = stage.client(url, { auth: { token, team: 'sales' } });
  assert.equal((await elsewhere.happened('connect_error')).message, 'no_team');
});

scenario('the token and the secret stay out of the log', async (stage) => {
  const server = await stage.flowgate({ env: { FLOWGATE_LOG: 'trace', [SECRET_VARIABLE]: 'z'.repeat(40) } });
  const alice = stage.client(server.url, { token: 'not.a.token' });
  await alice.happened('connect_error');
  const bob = stage.client(server.url, { token: (await mintWith(stage, 'z'.repeat(40))).trim() });
  await bob.ready();
  await server.terminate();
  for (const secret of ['not.a.token', bob.socket.auth.token, 'z'.repeat(40)]) {
    assert.equal(server.stderr.includes(secret), false, 'a secret is in the log');
  }
});

async function mintWith(stage, secret) {
  const args = ['token', 'mint', '--config', configFile(stage), '--sub', 'bob', '--team', 'design', '--ttl', '1h'];
  return (await run(args, { [SECRET_VARIABLE]: secret })).stdout;
}

scenario('a bad configuration does not start and names the key', async (stage) => {
  await assert.rejects(stage.flowgate({ overlay: '[server]\nlissten = "127.0.0.1:0"' }), (error) => {
    assert.match(error.message, /"code":78/);
    assert.match(error.message, /lissten/);
    return true;
  });
});
