// Many events from one socket through a server of several threads: nobody sees two of them swapped.

import assert from 'node:assert/strict';
import { WAYS } from './harness/client.mjs';
import { scenario } from './harness/scenario.mjs';
import { until } from './harness/wait.mjs';

const EVENTS = 20_000;
// So many may be on their way at once: enough to keep every thread of the server busy, and bounded for its limits' sake.
const IN_FLIGHT = 1_000;

scenario(`${EVENTS} events from one socket keep their order`, async (stage) => {
  const { url } = await stage.flowgate();
  const sender = await stage.member(url, 'sender', 'design', { transports: ['websocket'] });
  const listeners = await Promise.all(
    Object.values(WAYS).map((transports, index) => stage.member(url, `listener-${index}`, 'design', { transports })),
  );
  const everybody = [sender, ...listeners];
  const slowest = () => Math.min(...everybody.map((client) => client.received.length));

  for (let sent = 0; sent < EVENTS; ) {
    await until('the events on their way', () => sent - slowest() < IN_FLIGHT, { seen: slowest });
    for (const end = Math.min(sent + IN_FLIGHT / 2, EVENTS); sent < end; sent += 1) {
      sender.socket.emit('database-change', { type: 'task-created', n: sent });
    }
  }

  for (const client of everybody) {
    const heard = (await client.changes(EVENTS)).map(({ n }) => n);
    assert.equal(heard.length, EVENTS);
    const misplaced = heard.findIndex((n, index) => n !== index);
    assert.equal(misplaced, -1, `event ${heard[misplaced]} came at place ${misplaced}`);
  }
});
