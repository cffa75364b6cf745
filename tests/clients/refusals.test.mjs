// What a client hears when its event is refused: the code in the acknowledgement, or nothing at all.

import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { WAYS } from './harness/client.mjs';
import { scenario } from './harness/scenario.mjs';
import { mint } from './harness/tokens.mjs';

const HOUR_MS = 3_600_000;
const created = (fields) => ({ type: 'task-created', ...fields });
const nested = (levels) => (levels === 0 ? 1 : { inner: nested(levels - 1) });

// The sizes and depths lie beyond the defaults (16 KiB, 8 levels) and below what closes the connection (64 KiB).
const REFUSED = () => [
  ['unknown_event', 'no-such-event', created()],
  ['unknown_event', 'database-changed', created()],
  ['invalid_payload', 'database-change', 'just text'],
  ['invalid_payload', 'database-change', ['task-created']],
  ['invalid_payload', 'database-change', created(), created()],
  ['invalid_payload', 'database-change', created({ taskId: { id: 1 } })],
  ['missing_field', 'database-change', { type: 'task-updated' }],
  ['unknown_field', 'database-change', created({ colour: 'red' })],
  ['unknown_type', 'database-change', { type: 'no-such-type' }],
  ['stale_timestamp', 'database-change', created({ timestamp: Date.now() - HOUR_MS })],
  ['stale_timestamp', 'database-change', created({ timestamp: new Date(Date.now() - HOUR_MS).toISOString() })],
  ['future_timestamp', 'database-change', created({ timestamp: Date.now() + HOUR_MS })],
  ['too_large', 'database-change', created({ title: 'x'.repeat(20_000) })],
  ['too_deep', 'database-change', created({ title: nested(20) })],
];

for (const [way, transports] of Object.entries(WAYS)) {
  scenario(`${way}: each refusal has its code in the acknowledgement and reaches nobody`, async (stage) => {
    const { url } = await stage.flowgate();
    const alice = await stage.member(url, 'alice', 'design', { transports });
    const bob = await stage.member(url, 'bob', 'design', { transports });

    for (const [code, event, ...args] of REFUSED()) {
      const answer = await alice.ask(event, ...args);
      assert.deepEqual(answer, { ok: false, code }, `${event} ${JSON.stringify(args).slice(0, 100)}`);
    }
    const good = created({ timestamp: Date.now() });
    assert.equal((await alice.change(good)).ok, true);
    assert.deepEqual(await bob.changes(1), [good]);
    assert.deepEqual(await alice.changes(1), [good]);
    assert.deepEqual(alice.all('disconnect'), []);
  });

  scenario(`${way}: without an acknowledgement a refusal is silent`, async (stage) => {
    const { url } = await stage.flowgate();
    const alice = await stage.member(url, 'alice', 'design', { transports });

    for (const [, event, ...args] of REFUSED()) alice.socket.emit(event, ...args);
    const good = created({ n: 1 });
    assert.equal((await alice.change(good)).ok, true);
    // The answer to CONNECT, the echo and the acknowledgement: not a packet more.
    assert.deepEqual(alice.packets.map((packet) => packet[0]), ['0', '2', '3']);
  });
}

scenario('rate_limited says after how many milliseconds to try again', async (stage) => {
  const { url } = await stage.flowgate({ overlay: '[limits.events]\nper_socket = { rate = "1/s", burst = 3 }' });
  const alice = await stage.member(url, 'alice', 'design');
  const bob = await stage.member(url, 'bob', 'design');

  const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => alice.change(created({ n }))));
  const accepted = answers.flatMap((answer, n) => (answer.ok ? [n] : []));
  assert.deepEqual(accepted.slice(0, 3), [0, 1, 2]);
  const refused = answers.filter((answer) => !answer.ok);
  assert.notEqual(refused.length, 0);
  for (const { retryAfterMs, ...rest } of refused) {
    assert.deepEqual(rest, { ok: false, code: 'rate_limited' });
    assert.ok(Number.isInteger(retryAfterMs) && retryAfterMs > 0 && retryAfterMs <= 1000, `retryAfterMs is ${retryAfterMs}`);
  }
  // The limit is alice's own.
  assert.equal((await bob.change(created({ n: 50 }))).ok, true);
  const heard = await bob.changes(accepted.length + 1);
  assert.deepEqual(heard.map(({ n }) => n), [...accepted, 50]);
});

scenario('rate_limited ends after the time it names', async (stage) => {
  const { url } = await stage.flowgate({ overlay: '[limits.events]\nper_socket = { rate = "5/s", burst = 1 }' });
  const alice = await stage.member(url, 'alice', 'design');
  const ask = () => alice.change(created({ n: 1 }));

  const answers = await Promise.all(Array.from({ length: 20 }, ask));
  let answer = answers.at(-1);
  assert.equal(answer.code, 'rate_limited');
  while (!answer.ok) {
    await pause(answer.retryAfterMs);
    answer = await ask();
  }
  assert.equal((await alice.changes(2)).length, answers.filter(({ ok }) => ok).length + 1);
});

scenario('who is refused too often is disconnected, and may come back', async (stage) => {
  const { url } = await stage.flowgate({ overlay: '[limits.events]\ndisconnect_after = { refusals = 5, per = "1m" }' });
  const alice = await stage.member(url, 'alice', 'design');
  for (let n = 0; n < 5; n += 1) alice.socket.emit('database-change', { type: 'no-such-type' });
  assert.match(await alice.happened('disconnect'), /^transport (close|error)$/);
  await alice.happened('connect', 2);
  assert.equal((await alice.change(created())).ok, true);
});

scenario('no_room: an event names a team that the sender does not hold', async (stage) => {
  const { url } = await stage.flowgate({ overlay: '[events.database-change]\nteam_field = "team"' });
  const alice = await stage.member(url, 'alice', 'design');
  const dave = await stage.member(url, 'dave', 'ops');

  assert.deepEqual(await alice.change(created({ team: 'ops' })), { ok: false, code: 'no_room' });
  const sentinel = created({ team: 'ops', n: 1 });
  assert.equal((await dave.change(sentinel)).ok, true);
  assert.deepEqual(await dave.changes(1), [sentinel]);
  assert.equal((await alice.change(created({ team: 'design', n: 2 }))).ok, true);
  assert.deepEqual(await alice.changes(1), [created({ team: 'design', n: 2 })]);
});

scenario('no_room: a member of two teams names none', async (stage) => {
  const { url } = await stage.flowgate();
  const erin = await stage.member(url, 'erin', ['design', 'ops']);
  assert.deepEqual(await erin.change(created()), { ok: false, code: 'no_room' });
});

scenario('not_allowed: who has no token may listen but not send', async (stage) => {
  const overlay = '[auth]\nmode = "optional"\n[rooms]\nanonymous = "lobby"';
  const { url } = await stage.flowgate({ overlay });
  const guest = await stage.client(url).ready();
  assert.deepEqual(await guest.change(created()), { ok: false, code: 'not_allowed' });

  const bad = stage.client(url, { token: mint({ sub: 'x', teams: ['design'], ttl: -3600 }) });
  assert.equal((await bad.happened('connect_error')).message, 'token_expired');
});

scenario('detail = "full" adds the message, the rule and the field', async (stage) => {
  const { url } = await stage.flowgate({ overlay: '[refusals]\ndetail = "full"' });
  const alice = await stage.member(url, 'alice', 'design');
  const answer = await alice.change(created({ timestamp: Date.now() - HOUR_MS }));
  assert.equal(answer.code, 'stale_timestamp');
  assert.equal(answer.rule, 'events.database-change.timestamp');
  assert.equal(answer.field, 'timestamp');
  assert.equal(typeof answer.message, 'string');
});
