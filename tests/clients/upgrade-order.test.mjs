// Events that arrive while a client changes from polling to WebSocket: none lost, none twice, none out of place.

import assert from 'node:assert/strict';
import { scenario } from './harness/scenario.mjs';
import { mint } from './harness/tokens.mjs';
import { until } from './harness/wait.mjs';

const EVENTS = 300;
const LISTENERS = 20;
const BOTH = ['polling', 'websocket'];

const numbers = (client) => client.received.map(([{ n }]) => n);
const from = (first, last) => Array.from({ length: last - first + 1 }, (_, index) => first + index);

/** Calls `act` with the transport that the client makes for its upgrade, before that is opened. */
function onSecondTransport(client, act) {
  client.socket.io.once('open', () => {
    const { engine } = client;
    const create = engine.createTransport.bind(engine);
    engine.createTransport = (name) => {
      const transport = create(name);
      act(transport);
      return transport;
    };
  });
}

/** Holds the upgrade back until the client has heard something over polling. */
function upgradeAfterFirstChange(client) {
  onSecondTransport(client, (transport) => {
    const open = transport.doOpen.bind(transport);
    transport.doOpen = () => client.socket.once('database-changed', open);
  });
}

/** Counts the changes that came over each transport. */
function countByTransport(client) {
  const counts = { polling: 0, websocket: 0 };
  client.socket.on('database-changed', () => (counts[client.engine.transport.name] += 1));
  return counts;
}

scenario('a steady stream during joins and upgrades', async (stage) => {
  const { url } = await stage.flowgate();
  const sender = await stage.member(url, 'sender', 'design', { transports: ['websocket'] });
  const listeners = [];
  let sent = 0;
  const send = async () => {
    sent += 1;
    assert.equal((await sender.change({ type: 'task-created', n: sent })).ok, true);
  };
  const join = () => {
    const token = mint({ sub: `listener-${listeners.length}`, teams: ['design'] });
    const client = stage.client(url, { token, transports: BOTH });
    const listener = { client, counts: countByTransport(client) };
    // Left alone, nearly all of them would have upgraded before the first event.
    if (listeners.length % 2 === 0) upgradeAfterFirstChange(client);
    client.socket.on('connect', () => (listener.sentBefore = sent));
    listeners.push(listener);
  };

  // The last tenth is sent when everybody has upgraded, so that each listener sees both transports' share of the stream.
  while (sent < EVENTS * 0.9) {
    if (sent % 5 === 0 && listeners.length < LISTENERS) join();
    await send();
  }
  for (const { client } of listeners) await client.ready();
  while (sent < EVENTS) await send();

  for (const { client, sentBefore } of listeners) {
    await until('the last event', () => numbers(client).at(-1) === EVENTS, { seen: () => numbers(client).slice(-5) });
    const heard = numbers(client);
    assert.deepEqual(heard, from(heard[0], EVENTS));
    // One that was under way at that moment may have been heard as well.
    assert.ok(heard[0] <= sentBefore + 1, `joined after ${sentBefore}, but the first event heard is ${heard[0]}`);
  }
  const both = listeners.filter(({ counts }) => counts.polling > 0 && counts.websocket > 0);
  assert.ok(both.length >= LISTENERS / 2, `only ${both.length} heard something before and after their upgrade`);
});

const ON_THE_ENGINE = { upgrading: 'when the client asks for the upgrade', upgrade: 'when the upgrade is done' };
const MOMENTS = { connect: 'at the connect', open: 'when the second transport opens', ...ON_THE_ENGINE };

/** Calls `burst` once, at the given moment of this client's upgrade. */
function atMoment(client, moment, burst) {
  if (moment === 'connect') client.socket.once('connect', burst);
  else if (moment === 'open') onSecondTransport(client, (transport) => transport.once('open', burst));
  else client.socket.io.once('open', () => client.engine.once(moment, burst));
}

for (const [moment, words] of Object.entries(MOMENTS)) {
  scenario(`a burst of ${EVENTS} ${words}`, async (stage) => {
    const { url } = await stage.flowgate();
    const sender = await stage.member(url, 'sender', 'design', { transports: ['websocket'] });

    for (let round = 0; round < LISTENERS; round += 1) {
      const token = mint({ sub: 'listener', teams: ['design'] });
      const listener = stage.client(url, { token, transports: BOTH });
      let burst = false;
      let wasIn = false;
      atMoment(listener, moment, () => {
        burst = true;
        wasIn = listener.socket.connected;
        for (let n = 1; n <= EVENTS; n += 1) sender.socket.emit('database-change', { type: 'task-created', n });
      });
      await until('the burst', () => burst);
      await listener.ready();
      await until('the last event', () => numbers(listener).at(-1) === EVENTS, { seen: () => numbers(listener).slice(-5) });
      // The probe goes on while the server admits the client: what was sent until then isn't for its ears.
      const heard = numbers(listener);
      const first = wasIn ? 1 : heard[0];
      assert.deepEqual(heard, from(first, EVENTS));
      assert.deepEqual(listener.all('disconnect'), []);
      listener.close();
      // The sender's echo shows that this round's events are all through.
      await until('the echo', () => sender.received.length === EVENTS * (round + 1));
    }
  });
}
