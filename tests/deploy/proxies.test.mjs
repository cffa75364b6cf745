// The shipped proxy configurations with the real proxies: every transport passes, and flowgate knows who is behind them.

import assert from 'node:assert/strict';
import path from 'node:path';
import { WAYS } from '../clients/harness/client.mjs';
import { REPOSITORY } from '../clients/harness/flowgate.mjs';
import { caddy, freePort, from, nginx } from '../clients/harness/proxy.mjs';
import { scenario } from '../clients/harness/scenario.mjs';
import { mint } from '../clients/harness/tokens.mjs';
import { until } from '../clients/harness/wait.mjs';
import { createServer } from '../clients/node_modules/vite/dist/node/index.js';

const PROXIES = { nginx, caddy };
// Clients come from other addresses of this machine.
const BELIEVED = '[server]\ntrusted_proxies = ["127.0.0.1/32"]\n';

/** A member behind the proxy, on an address of its own. */
const behind = (stage, url, sub, address, options = {}) =>
  stage.member(url, sub, 'design', { agent: from(address), ...options });

for (const [name, start] of Object.entries(PROXIES)) {
  for (const [way, transports] of Object.entries(WAYS)) {
    scenario(`${name}, ${way}: changes pass both ways`, async (stage) => {
      const server = await stage.flowgate({ overlay: BELIEVED });
      const url = await start(stage, server.url);
      const [ann, ben] = await Promise.all([
        behind(stage, url, 'ann', '127.0.0.2', { transports }),
        behind(stage, url, 'ben', '127.0.0.3', { transports }),
      ]);
      for (let n = 0; n < 20; n += 1) assert.equal((await ann.change({ type: 'task-created', n })).ok, true);
      const expected = Array.from({ length: 20 }, (_, n) => ({ type: 'task-created', n }));
      assert.deepEqual(await ann.changes(20), expected);
      assert.deepEqual(await ben.changes(20), expected);
    });
  }

  scenario(`${name}: flowgate knows the client's address, whatever the client claims`, async (stage) => {
    const server = await stage.flowgate({ overlay: BELIEVED });
    const url = await start(stage, server.url);
    const extraHeaders = { 'X-Forwarded-For': '192.0.2.66' };
    await behind(stage, url, 'ann', '127.0.0.2', { extraHeaders });
    await until('the admission to be logged', () => /admitted .*subject="ann"/.test(server.stderr), {
      seen: () => server.stderr,
    });
    assert.match(server.stderr, /admitted .*address=127\.0\.0\.2 subject="ann"/);
    assert.doesNotMatch(server.stderr, /192\.0\.2\.66/);
  });

  scenario(`${name}: limits of an address are the client's, not the proxy's`, async (stage) => {
    const server = await stage.flowgate({ overlay: `${BELIEVED}[limits.connections]\nper_ip = 1\n` });
    const url = await start(stage, server.url);
    await behind(stage, url, 'ann', '127.0.0.2');
    await behind(stage, url, 'ben', '127.0.0.3');
    const third = stage.client(url, { token: mint({ sub: 'cat', teams: ['design'] }), agent: from('127.0.0.2') });
    const refused = await third.happened('connect_error');
    assert.equal(refused.context?.status ?? refused.description, 429);
  });

  scenario(`${name}: clients come back when flowgate is started again`, async (stage) => {
    const port = await freePort();
    const listen = { FLOWGATE__SERVER__LISTEN: `127.0.0.1:${port}` };
    const old = await stage.flowgate({ overlay: `${BELIEVED}[drain]\nspread = "100ms"\n`, env: listen });
    const url = await start(stage, old.url);
    const ann = await behind(stage, url, 'ann', '127.0.0.2');
    assert.deepEqual(await old.terminate(), { code: 0, signal: null });
    await ann.happened('disconnect');
    await stage.flowgate({ overlay: BELIEVED, env: listen });
    await ann.happened('connect', 2);
    assert.equal((await ann.change({ type: 'task-created' })).ok, true);
  });
}

scenario("Vite's development server hands /socket.io/ on, upgrade and origin with it", async (stage) => {
  const server = await stage.flowgate();
  const vite = await createServer({
    configFile: path.join(REPOSITORY, 'deploy/vite/vite.config.js'),
    root: path.join(REPOSITORY, 'tests/clients/browser'),
    logLevel: 'silent',
    server: { host: '127.0.0.1', port: await freePort(), proxy: { '/socket.io': { target: server.url, ws: true } } },
  });
  stage.defer(() => vite.close());
  await vite.listen();
  const url = `http://127.0.0.1:${vite.config.server.port}`;
  for (const [way, transports] of Object.entries(WAYS)) {
    const member = await stage.member(url, `ann by ${way}`, 'design', { transports });
    assert.equal((await member.change({ type: 'task-created' })).ok, true);
    await member.changes(1);
  }
});
