// Several nodes behind one address, with the shipped proxy configurations and the real proxies: polling clients stay on the node that
// knows their session, and come to another when it goes.

import assert from 'node:assert/strict';
import { WAYS } from '../clients/harness/client.mjs';
import { caddyOfNodes, from, nginxOfNodes } from '../clients/harness/proxy.mjs';
import { scenario } from '../clients/harness/scenario.mjs';
import { mint } from '../clients/harness/tokens.mjs';
import { until } from '../clients/harness/wait.mjs';

const POLLING = { transports: WAYS['polling only'] };
const BELIEVED = '[server]\ntrusted_proxies = ["127.0.0.1/32"]\n[drain]\nspread = "100ms"\n';
// So many that they all belong to one node once in eight million times.
const CLIENTS = 24;
const ROUNDS = 5;

/** Each proxy, and what its file says that makes it sticky. */
const PROXIES = {
  nginx: { start: nginxOfNodes, sticky: 'hash $remote_addr consistent;', not: '' },
  caddy: { start: caddyOfNodes, sticky: 'lb_policy ip_hash', not: 'lb_policy round_robin' },
};

const twoNodes = (stage) => Promise.all([stage.flowgate({ overlay: BELIEVED }), stage.flowgate({ overlay: BELIEVED })]);

/** The address of this machine from which client number `n` comes. */
const address = (n) => `127.0.0.${n + 2}`;

/** A client that only listens and tells whom the proxy has given it to; not waited for. */
const arrive = (stage, url, n) =>
  stage.client(url, { token: mint({ sub: `user-${n}`, teams: [`team-${n}`] }), agent: from(address(n)), ...POLLING });

const arriveAll = (stage, url) => Promise.all(Array.from({ length: CLIENTS }, (_, n) => arrive(stage, url, n).ready()));

/** How many clients the node has now. */
async function peers(node) {
  const series = await (await fetch(`${node.internalUrl}/metrics`)).text();
  return Number(/^flowgate_peers (\d+)$/m.exec(series)[1]);
}

/** Every client sends, is answered, and hears itself, which takes three requests or more of its session. */
async function exchange(clients) {
  for (let n = 0; n < ROUNDS; n += 1) {
    const answers = await Promise.all(clients.map((client) => client.change({ type: 'task-created', n })));
    assert.ok(answers.every(({ ok }) => ok));
  }
  await Promise.all(clients.map((client) => client.changes(ROUNDS)));
}

for (const [name, { start, sticky, not }] of Object.entries(PROXIES)) {
  scenario(`${name}: clients that poll stay on the node that has their session`, async (stage) => {
    const nodes = await twoNodes(stage);
    const url = await start(stage, nodes.map((node) => node.url));
    const clients = await arriveAll(stage, url);
    await exchange(clients);
    assert.deepEqual(clients.flatMap((client) => client.all('disconnect')), []);
    const each = await Promise.all(nodes.map(peers));
    assert.equal(each[0] + each[1], CLIENTS);
    assert.ok(each.every((count) => count > 0), `${each} clients`);
  });

  scenario(`${name}: without stickiness they do not, which is what the test above sees`, async (stage) => {
    const nodes = await twoNodes(stage);
    const url = await start(stage, nodes.map((node) => node.url), [[sticky, not]]);
    const client = arrive(stage, url, 0);
    await until('the session to break', () => client.all('connect_error').length + client.all('disconnect').length > 0);
  });

  for (const [end, goes] of Object.entries({ killed: (node) => node.kill(), drained: (node) => node.terminate() })) {
    scenario(`${name}: the clients of a node that is ${end} come back on the other`, async (stage) => {
      const nodes = await twoNodes(stage);
      const url = await start(stage, nodes.map((node) => node.url));
      const clients = await arriveAll(stage, url);
      const [leaving, staying] = nodes;
      const moved = await peers(leaving);
      assert.ok(moved > 0);
      await goes(leaving);
      await until('everybody on the other node', async () => (await peers(staying)) >= CLIENTS);
      const disturbed = clients.filter((client) => client.all('disconnect').length > 0);
      assert.equal(disturbed.length, moved, 'who was on the other node noticed');
      await Promise.all(clients.map((client) => client.ready()));
      await exchange(clients);
    });
  }
}

scenario('nginx behind another proxy goes by the address that this one names', async (stage) => {
  const nodes = await twoNodes(stage);
  const trusting = [
    ['#   set_real_ip_from 10.0.0.0/8;', 'set_real_ip_from 127.0.0.0/8;'],
    ['#   real_ip_header', 'real_ip_header'],
    ['#   real_ip_recursive', 'real_ip_recursive'],
  ];
  const url = await nginxOfNodes(stage, nodes.map((node) => node.url), trusting);
  const clients = await Promise.all(
    Array.from({ length: CLIENTS }, (_, n) => {
      const token = mint({ sub: `user-${n}`, teams: [`team-${n}`] });
      return stage.client(url, { token, extraHeaders: { 'X-Forwarded-For': `192.0.2.${n}` }, ...POLLING }).ready();
    }),
  );
  await exchange(clients);
  const each = await Promise.all(nodes.map(peers));
  assert.ok(each.every((count) => count > 0), `${each} clients`);
  assert.match(nodes.map((node) => node.stderr).join(''), /admitted .*address=192\.0\.2\.7 subject="user-7"/);
});
