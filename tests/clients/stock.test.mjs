// The main job with an unmodified socket.io-client, once for each way of reaching a server.

import assert from 'node:assert/strict';
import { WAYS } from './harness/client.mjs';
import { scenario } from './harness/scenario.mjs';
import { mint } from './harness/tokens.mjs';

const CREATED = { type: 'task-created', title: 'buy milk' };

for (const [way, transports] of Object.entries(WAYS)) {
  scenario(`${way}: a change reaches the sender and its team`, async (stage) => {
    const { url } = await stage.flowgate();
    const alice = await stage.member(url, 'alice', 'design', { transports });
    const bob = await stage.member(url, 'bob', 'design', { transports });

    const answer = await alice.change(CREATED);
    assert.equal(answer.ok, true);
    assert.equal(typeof answer.id, 'string');
    assert.notEqual(answer.id, '');
    assert.deepEqual(await bob.changes(1), [CREATED]);

    const fromBob = { type: 'task-updated', taskId: 7 };
    bob.socket.emit('database-change', fromBob);
    assert.deepEqual(await alice.changes(2), [CREATED, fromBob]);
    assert.deepEqual(await bob.changes(2), [CREATED, fromBob]);
  });

  scenario(`${way}: the sender's own echo comes before the acknowledgement`, async (stage) => {
    const { url } = await stage.flowgate();
    const alice = await stage.member(url, 'alice', 'design', { transports });
    const order = [];
    alice.socket.on('database-changed', ({ n }) => order.push(`echo ${n}`));

    const sent = Array.from({ length: 20 }, (_, n) => n);
    await Promise.all(sent.map((n) => alice.change({ type: 'task-created', n }).then(() => order.push(`ack ${n}`))));

    for (const n of sent) assert.ok(order.indexOf(`echo ${n}`) < order.indexOf(`ack ${n}`), order.join(', '));
    // Promises settle later than listeners run; the packets themselves show the order on the wire.
    const kinds = alice.packets.map((packet) => /^[23]/.exec(packet)?.[0]).filter(Boolean).join('');
    assert.match(kinds, /^2/);
    for (let end = 1; end <= kinds.length; end += 1) {
      const [echoes, acks] = ['2', '3'].map((kind) => kinds.slice(0, end).split(kind).length - 1);
      assert.ok(echoes >= acks, `an acknowledgement overtook its echo: ${kinds}`);
    }
  });

  scenario(`${way}: another team hears nothing`, async (stage) => {
    const { url } = await stage.flowgate();
    const alice = await stage.member(url, 'alice', 'design', { transports });
    const carol = await stage.member(url, 'carol', 'ops', { transports });
    const dave = await stage.member(url, 'dave', 'ops', { transports });

    alice.socket.emit('database-change', CREATED);
    assert.equal((await alice.change(CREATED)).ok, true);
    // What is acknowledged has been relayed: had carol been meant, she'd hear it before dave's.
    const sentinel = { type: 'task-created', title: 'for ops alone' };
    assert.equal((await dave.change(sentinel)).ok, true);
    assert.deepEqual(await carol.changes(1), [sentinel]);
    assert.deepEqual(await dave.changes(1), [sentinel]);
    assert.deepEqual(await alice.changes(2), [CREATED, CREATED]);
  });

  scenario(`${way}: a token that is bad is refused, and the client does not come back`, async (stage) => {
    const { url } = await stage.flowgate();
    const sub = 'mallory';
    const refusals = [
      ['token_missing', undefined],
      ['token_invalid', 'no token at all'],
      ['token_invalid', mint({ sub, teams: ['design'], secret: 'another secret, as long as needed' })],
      ['token_invalid', mint({ sub, teams: ['design'], aud: 'another service' })],
      ['token_expired', mint({ sub, teams: ['design'], ttl: -3600 })],
      ['no_team', mint({ sub, teams: [] })],
    ];
    const refused = refusals.map(([code, token]) => ({ code, client: stage.client(url, { token, transports }) }));
    for (const { code, client } of refused) {
      const error = await client.happened('connect_error');
      assert.equal(error.message, code);
      assert.equal(error.data, undefined);
      assert.equal(client.socket.active, false, `after ${code} the client would come back`);
    }
    // An admission that takes its time, after which every one of them would have tried again.
    const honest = await stage.member(url, 'alice', 'design', { transports });
    assert.equal((await honest.change(CREATED)).ok, true);
    for (const { client } of refused) {
      assert.deepEqual(client.all('reconnect_attempt'), []);
      assert.deepEqual(client.all('connect'), []);
      assert.equal(client.all('connect_error').length, 1);
      assert.deepEqual(client.received, []);
    }
  });

  scenario(`${way}: binary closes the connection and reaches nobody`, async (stage) => {
    const { url } = await stage.flowgate();
    const alice = await stage.member(url, 'alice', 'design', { transports });
    const bob = await stage.member(url, 'bob', 'design', { transports });

    alice.socket.emit('database-change', Buffer.from([1, 2, 3]));
    assert.match(await alice.happened('disconnect'), /^transport (close|error)$/);
    await alice.happened('connect', 2);
    assert.equal((await alice.change(CREATED)).ok, true);
    assert.deepEqual(await bob.changes(1), [CREATED]);
  });
}

scenario('clients of all three ways hear one another', async (stage) => {
  const { url } = await stage.flowgate();
  const members = await Promise.all(
    Object.values(WAYS).map((transports, index) => stage.member(url, `user-${index}`, 'design', { transports })),
  );
  const sent = members.map((_, n) => ({ type: 'task-created', n }));
  for (const [index, member] of members.entries()) assert.equal((await member.change(sent[index])).ok, true);
  for (const member of members) assert.deepEqual(await member.changes(sent.length), sent);
});

scenario('a member of two teams names one in the handshake', async (stage) => {
  const { url } = await stage.flowgate();
  const token = mint({ sub: 'erin', teams: ['design', 'ops'] });
  const alice = await stage.member(url, 'alice', 'design');
  const dave = await stage.member(url, 'dave', 'ops');
  const erin = await stage.client(url, { auth: { token, team: 'ops' } }).ready();
  const stranger = stage.client(url, { auth: { token, team: 'sales' } });

  assert.equal((await erin.change(CREATED)).ok, true);
  assert.deepEqual(await dave.changes(1), [CREATED]);
  const sentinel = { type: 'task-created', title: 'for design alone' };
  assert.equal((await alice.change(sentinel)).ok, true);
  assert.deepEqual(await alice.changes(1), [sentinel]);

  assert.equal((await stranger.happened('connect_error')).message, 'no_team');
  assert.equal(stranger.socket.active, false);
});

scenario('sender = "exclude" turns the echo off', async (stage) => {
  const { url } = await stage.flowgate({ overlay: '[events.database-change]\nsender = "exclude"' });
  const alice = await stage.member(url, 'alice', 'design');
  const bob = await stage.member(url, 'bob', 'design');

  assert.equal((await alice.change(CREATED)).ok, true);
  const fromBob = { type: 'task-created', title: 'from bob' };
  assert.equal((await bob.change(fromBob)).ok, true);
  assert.deepEqual(await alice.changes(1), [fromBob]);
  assert.deepEqual(await bob.changes(1), [CREATED]);
});

scenario('the token may come in the Authorization header', async (stage) => {
  const { url } = await stage.flowgate({ overlay: '[auth]\ntoken_from = ["auth", "header"]' });
  for (const transports of Object.values(WAYS)) {
    const extraHeaders = { authorization: `Bearer ${mint({ sub: 'alice', teams: ['design'] })}` };
    const client = await stage.client(url, { transports, extraHeaders }).ready();
    assert.equal((await client.change(CREATED)).ok, true);
  }
});
