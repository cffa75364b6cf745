// What passes by itself is an HTTP answer at the handshake, and a stock client tries again after it.

import assert from 'node:assert/strict';
import { WAYS } from './harness/client.mjs';
import { scenario } from './harness/scenario.mjs';
import { mint } from './harness/tokens.mjs';

const SLOW_DOOR = '[limits.connections]\nhandshakes_per_ip = "2/s"';

/** The HTTP status behind a connect_error: polling gives it as a number, `ws` says it in words. */
function statusOf(error) {
  const said = error.description;
  return typeof said === 'number' ? said : Number(/\b\d{3}\b/.exec(said?.message ?? '')?.[0]);
}

for (const [way, transports] of Object.entries(WAYS)) {
  scenario(`${way}: too many handshakes are answered 429, and everybody gets in at last`, async (stage) => {
    const { url } = await stage.flowgate({ overlay: SLOW_DOOR });
    const clients = Array.from({ length: 6 }, (_, n) =>
      stage.client(url, { transports, token: mint({ sub: `user-${n}`, teams: ['design'] }) }),
    );
    for (const client of clients) await client.ready();

    const errors = clients.flatMap((client) => client.all('connect_error'));
    assert.notEqual(errors.length, 0, 'nobody was turned away');
    assert.deepEqual([...new Set(errors.map(statusOf))], [429]);
    assert.notEqual(clients.flatMap((client) => client.all('reconnect_attempt')).length, 0);
  });
}

scenario('a 429 carries Retry-After and its code', async (stage) => {
  const { url } = await stage.flowgate({ overlay: SLOW_DOOR });
  let answer;
  do answer = await fetch(`${url}/socket.io/?EIO=4&transport=polling`);
  while (answer.status === 200);
  assert.equal(answer.status, 429);
  assert.match(answer.headers.get('retry-after'), /^\d+$/);
  assert.equal(typeof (await answer.json()).code, 'string');
});
