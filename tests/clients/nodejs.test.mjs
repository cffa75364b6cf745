// Socket.IO servers in Node.js beside flowgate: the real adapter and the real emitter, over a real Redis.

import assert from 'node:assert/strict';
import { encode } from 'notepack.io';
import { connectRedis, emitter, startNodeServer } from './harness/node-server.mjs';
import { run } from './harness/flowgate.mjs';
import { GENEROUS_LIMITS, ONE_ISSUER, writeConfig } from './harness/config.mjs';
import { startRedis } from './harness/redis.mjs';
import { scenario } from './harness/scenario.mjs';
import { until } from './harness/wait.mjs';

const shared = (redis, more = '') => `
[bus]
driver = "redis"
[bus.redis]
url = "${redis.url}"
[bus.nodejs]
enabled = true
${more}`;

const node = (stage, redis, more) => stage.flowgate({ overlay: shared(redis, more) });

/** A client of the Node server in that team. */
const there = (stage, io, team) => stage.client(io.url, { auth: { team } }).ready();

/** A metric's value. */
async function metric(server, series) {
  const text = await (await fetch(`${server.internalUrl}/metrics`)).text();
  const line = text.split('\n').find((one) => one.startsWith(`${series} `));
  assert.notEqual(line, undefined, `there is no ${series} in\n${text}`);
  return Number(line.slice(series.length + 1));
}

const heard = (server, outcome) => metric(server, `flowgate_nodejs_heard_total{outcome="${outcome}"}`);

const created = (n) => ({ type: 'task-created', n });
const numbers = (client) => client.received.map(([{ n }]) => n);

scenario('what an emitter sends to a room is heard by the team of that name, and by nobody else', async (stage) => {
  const redis = await startRedis(stage);
  const server = await node(stage, redis);
  const backend = await emitter(stage, redis.url);
  const [red, alsoRed, blue, both] = await Promise.all([
    stage.member(server.url, 'ann', 'red'),
    stage.member(server.url, 'bob', 'red', { transports: ['polling'] }),
    stage.member(server.url, 'cyd', 'blue'),
    stage.member(server.url, 'dan', ['red', 'blue']),
  ]);

  backend.to('red').emit('database-changed', created(1));
  backend.to('blue').emit('database-changed', created(2));
  backend.to(['red', 'blue']).emit('database-changed', created(3));
  backend.to(['red', 'nobody-is-here']).emit('database-changed', created(4));
  backend.to('blue').emit('database-changed', created(5));

  await both.changes(5);
  await red.changes(3);
  await alsoRed.changes(3);
  await blue.changes(3);
  assert.deepEqual(both.received, [1, 2, 3, 4, 5].map((n) => [created(n)]));
  assert.deepEqual(numbers(red), [1, 3, 4]);
  assert.deepEqual(numbers(alsoRed), [1, 3, 4]);
  assert.deepEqual(numbers(blue), [2, 3, 5]);
  assert.equal(await heard(server, 'relayed'), 5);
  assert.equal(await metric(server, 'flowgate_published_total{publisher="nodejs",outcome="accepted"}'), 5);
});

scenario('payloads arrive as clients of a Node server hear them', async (stage) => {
  const redis = await startRedis(stage);
  const io = await startNodeServer(stage, redis.url);
  const any = '[events.anything]\nemit = "anything-happened"\npayload = "any"';
  const server = await stage.flowgate({ overlay: `${shared(redis)}\n${any}` });
  const [here, elsewhere] = [await stage.member(server.url, 'ann', 'red'), await there(stage, io, 'red')];
  const backend = await emitter(stage, redis.url);
  const payloads = [
    [0, -0, 1, -1, 127, 128, -32, -33, 255, 256, -128, -129, 65535, 65536, -32768, -32769, 2 ** 31, 2 ** 32, -(2 ** 31) - 1],
    [2 ** 53, 2 ** 53 - 1, -(2 ** 53), 0.1, -1.5, 1e21, 1.5e300, 5e-324, 1e-7, NaN, Infinity],
    { text: '"\\/\b\f\n\r\t\u0001\u007f\u2028größe😀', long: 'x'.repeat(300), '': '', nested: [[{}], []] },
    { at: new Date(1772366400123), before: new Date(-1), absent: undefined, list: [undefined, null, true, false] },
    'text',
    null,
    Array.from({ length: 70_00 }, (_, n) => n % 10),
  ];
  payloads.forEach((payload) => backend.to('red').emit('anything-happened', payload));
  backend.to('red').emit('anything-happened');
  const packets = ({ packets }) => packets.filter((packet) => packet.startsWith('2["anything-happened"'));
  for (const client of [here, elsewhere]) {
    await until('the last of them', () => packets(client).length > payloads.length, { seen: () => client.packets.slice(-2) });
  }
  // What members hear has an argument in any case.
  assert.equal(packets(elsewhere).pop(), '2["anything-happened"]');
  assert.equal(packets(here).pop(), '2["anything-happened",null]');
  assert.deepEqual(packets(here).slice(0, -1), packets(elsewhere).slice(0, -1));
});

scenario('clients of a Node server and of flowgate hear each other, each once and in order', async (stage) => {
  const redis = await startRedis(stage);
  const io = await startNodeServer(stage, redis.url);
  const server = await node(stage, redis);
  const [here, listener, other] = await Promise.all([
    stage.member(server.url, 'ann', 'red'),
    stage.member(server.url, 'bob', 'red'),
    stage.member(server.url, 'cyd', 'blue'),
  ]);
  const [afar, afarToo, afarOther] = await Promise.all([there(stage, io, 'red'), there(stage, io, 'red'), there(stage, io, 'blue')]);

  const MANY = 200;
  const send = async (client, from) => {
    for (let n = 0; n < MANY; n += 1) {
      client.socket.emit('database-change', { type: 'task-created', n: from + n, title: 'größe' });
      if (n % 20 === 19) await client.change({ type: 'task-created', n: from + MANY + n });
    }
  };
  await Promise.all([send(here, 0), send(afar, 1000)]);
  const all = 2 * (MANY + MANY / 20);
  for (const client of [here, listener, afar, afarToo]) {
    await client.changes(all);
    for (const from of [0, 1000]) {
      const ofOne = numbers(client).filter((n) => n >= from && n < from + 1000);
      const sent = Array.from({ length: MANY }, (_, n) => (n % 20 === 19 ? [from + n, from + MANY + n] : [from + n])).flat();
      assert.deepEqual(ofOne, sent);
    }
  }
  // Whatever came twice would be there before this.
  assert.equal((await here.change(created(9999))).ok, true);
  for (const client of [listener, afar, afarToo]) {
    await until('the last change', () => numbers(client).includes(9999));
    assert.equal(client.received.length, all + 1);
  }
  assert.deepEqual([...other.received, ...afarOther.received], []);
  assert.deepEqual(afar.received.at(-1), [created(9999)]);
  assert.equal(await metric(server, 'flowgate_nodejs_told_total{outcome="sent"}'), MANY + MANY / 20 + 1);
  assert.equal(await heard(server, 'relayed'), MANY + MANY / 20);
});

scenario('two nodes of flowgate and a Node server are one world, in which nothing comes twice', async (stage) => {
  const redis = await startRedis(stage);
  const io = await startNodeServer(stage, redis.url);
  const [one, two] = [await node(stage, redis), await node(stage, redis)];
  const clients = [
    await stage.member(one.url, 'ann', 'red'),
    await stage.member(two.url, 'bob', 'red'),
    await stage.member(two.url, 'cyd', ['red', 'blue'], { transports: ['polling'] }),
    await there(stage, io, 'red'),
  ];
  const EACH = 50;
  for (let n = 0; n < EACH; n += 1) {
    clients.forEach((client, from) => from !== 2 && client.socket.emit('database-change', created(100 * from + n)));
  }
  const all = 3 * EACH;
  await Promise.all(clients.map((client) => client.changes(all)));
  // Whatever came twice would be there before this.
  io.to('red').emit('database-changed', created(1000));
  await clients[0].change({ type: 'task-created', n: 1001 });
  for (const client of clients) {
    await until('the last two', () => [1000, 1001].every((n) => numbers(client).includes(n)));
    assert.equal(client.received.length, all + 2);
    for (const from of [0, 1, 3]) {
      const ofOne = numbers(client).filter((n) => n < 1000 && Math.floor(n / 100) === from);
      assert.deepEqual(ofOne, Array.from({ length: EACH }, (_, n) => 100 * from + n));
    }
  }
});

scenario('what goes to several teams is told once, on both sides', async (stage) => {
  const redis = await startRedis(stage);
  const io = await startNodeServer(stage, redis.url);
  const server = await stage.flowgate({ overlay: `${shared(redis)}\n[internal]\nadmin_token_env = "ADMIN"`, env: { ADMIN: 'admin-token-of-tests' } });
  const afar = await there(stage, io, 'red');
  for (const socket of await io.in('red').fetchSockets()) socket.join('blue');
  const here = await stage.member(server.url, 'ann', ['red', 'blue']);

  const answer = await fetch(`${server.internalUrl}/api/publish`, {
    method: 'POST',
    headers: { authorization: 'Bearer admin-token-of-tests' },
    body: JSON.stringify({ teams: ['red', 'blue'], payload: created(1) }),
  });
  assert.equal(answer.status, 200);
  await afar.changes(1);
  io.to('red').to('blue').emit('database-changed', created(2));
  io.to('red').emit('database-changed', created(3));
  await here.changes(3);
  await afar.changes(3);
  assert.deepEqual([numbers(here), numbers(afar)], [[1, 2, 3], [1, 2, 3]]);
});

scenario('what is not allowed is refused, counted and never heard', async (stage) => {
  const redis = await startRedis(stage);
  const more = 'teams = ["red", "blue"]\n[limits.payload]\nmax_bytes = "1KiB"\nhard_max_bytes = "4KiB"';
  const server = await node(stage, redis, more);
  const backend = await emitter(stage, redis.url);
  const raw = await connectRedis(stage, redis.url);
  const member = await stage.member(server.url, 'ann', ['red', 'green']);
  const event = (data, opts = { rooms: ['red'], except: [], flags: {} }) => encode(['emitter', { type: 2, data, nsp: '/' }, opts]);
  const deep = (depth) => (depth === 0 ? 1 : [deep(depth - 1)]);

  const cases = {
    'unknown event': [() => backend.to('red').emit('no-such-event', created(1)), 'unknown_event'],
    'the name that clients send under': [() => backend.to('red').emit('database-change', created(1)), 'unknown_event'],
    'unknown type': [() => backend.to('red').emit('database-changed', { type: 'no-such-type' }), 'unknown_type'],
    'missing task id': [() => backend.to('red').emit('database-changed', { type: 'task-updated' }), 'missing_field'],
    'no payload': [() => backend.to('red').emit('database-changed'), 'invalid_payload'],
    'two payloads': [() => backend.to('red').emit('database-changed', created(1), created(2)), 'invalid_payload'],
    'too large': [() => backend.to('red').emit('database-changed', { ...created(1), title: 'x'.repeat(2000) }), 'too_large'],
    'far too large': [() => backend.to('red').emit('database-changed', { ...created(1), title: 'x'.repeat(5000) }), 'too_large'],
    'too deep': [() => backend.to('red').emit('database-changed', deep(20)), 'too_deep'],
    'far too deep': [() => raw.publish('socket.io#/#red#', event(['database-changed', deep(500)])), 'too_deep'],
    binary: [() => backend.to('red').emit('database-changed', { ...created(1), file: Buffer.from('x') }), 'invalid_payload'],
    'everybody': [() => backend.emit('database-changed', created(1)), 'no_room'],
    'but for a team that is here': [() => backend.to('red').except('green').emit('database-changed', created(1)), 'no_room'],
    'a team that is not allowed': [() => backend.to('green').emit('database-changed', created(1)), 'not_allowed'],
    'no MessagePack': [() => raw.publish('socket.io#/#red#', '{"uid":"x"}'), 'invalid_payload'],
    'cut off': [() => raw.publish('socket.io#/#red#', event(['database-changed', created(1)]).subarray(0, 40)), 'invalid_payload'],
    'nothing': [() => raw.publish('socket.io#/#red#', ''), 'invalid_payload'],
    'another room than the channel': [() => raw.publish('socket.io#/#red#', event(['database-changed', created(1)], { rooms: ['green'] })), 'invalid_payload'],
    'another namespace': [() => raw.publish('socket.io#/#red#', encode(['emitter', { type: 2, data: ['database-changed', created(1)], nsp: '/admin' }, { rooms: ['red'] }])), 'no_room'],
    'no event': [() => raw.publish('socket.io#/#red#', encode(['emitter', { type: 1, nsp: '/' }, { rooms: ['red'] }])), 'invalid_payload'],
  };
  let refused = 0;
  for (const [what, [send, code]] of Object.entries(cases)) {
    const series = `flowgate_refusals_total{code="${code}"}`;
    const before = await metric(server, series);
    await send();
    refused += 1;
    await until(`the refusal of ${what}`, async () => (await heard(server, 'refused')) === refused);
    assert.equal(await metric(server, series), before + 1, what);
  }

  // These are for nobody here, and nothing is wrong with them.
  await backend.to(['nobody', 'is-here']).emit('database-changed', created(1));
  await until('it to be counted', async () => (await heard(server, 'elsewhere')) === 1);
  backend.of('/admin').to('red').emit('database-changed', created(1));
  backend.to('nobody-is-here').emit('database-changed', created(1));
  // Somebody there is not meant, who is not here.
  backend.to('red').except('a-socket-id').emit('database-changed', created(7));
  await member.changes(1);
  assert.deepEqual(member.received, [[created(7)]]);
  assert.deepEqual([await heard(server, 'refused'), await heard(server, 'elsewhere'), await heard(server, 'relayed')], [refused, 1, 1]);
});

scenario('what is for no room in particular goes to all teams where the policy says so', async (stage) => {
  const redis = await startRedis(stage);
  const io = await startNodeServer(stage, redis.url, { key: 'app' });
  const server = await node(stage, redis, 'key = "app"\neveryone = true');
  const clients = await Promise.all(
    [['ann', 'red'], ['bob', 'blue'], ['cyd', ['red', 'blue']]].map(([sub, teams]) => stage.member(server.url, sub, teams)),
  );
  io.emit('database-changed', created(1));
  io.to('red').emit('database-changed', created(2));
  await clients[2].changes(2);
  await clients[0].changes(2);
  await clients[1].changes(1);
  assert.deepEqual(clients.map(numbers), [[1, 2], [1], [1, 2]]);
});

scenario('a Node server waits for no answer of flowgate, whatever it asks of all servers', async (stage) => {
  const redis = await startRedis(stage);
  // It would wait for so long for an answer that is missing.
  const io = await startNodeServer(stage, redis.url, { requestsTimeout: 60_000 });
  const server = await node(stage, redis);
  const here = await stage.member(server.url, 'ann', 'red');
  const afar = await there(stage, io, 'red');

  assert.deepEqual((await io.fetchSockets()).map(({ id }) => id), [afar.socket.id]);
  assert.deepEqual((await io.in('red').fetchSockets()).map(({ id }) => id), [afar.socket.id]);
  assert.equal(await io.of('/').adapter.serverCount(), 1);
  assert.deepEqual(await io.serverSideEmitWithAck('ping'), []);
  afar.socket.on('question', (answer) => answer('yes'));
  assert.deepEqual(await io.to('red').timeout(10_000).emitWithAck('question'), ['yes']);

  // Requests are for sockets there; those here are flowgate's.
  io.in('red').socketsJoin('blue');
  io.in('red').disconnectSockets();
  await afar.happened('disconnect');
  io.to('red').emit('database-changed', created(1));
  await here.changes(1);
  assert.deepEqual(here.all('disconnect'), []);
});

scenario('after an outage of Redis members fetch everything, and both sides hear each other again', async (stage) => {
  const redis = await startRedis(stage);
  const io = await startNodeServer(stage, redis.url);
  const server = await node(stage, redis);
  const here = await stage.member(server.url, 'ann', 'red');
  const afar = await there(stage, io, 'red');
  io.to('red').emit('database-changed', created(1));
  await here.changes(1);

  await redis.kill();
  await until('flowgate to notice', () => /connection to Redis for Node\.js is gone/.test(server.stderr));
  // What is sent meanwhile waits for it.
  for (const n of [2, 3]) assert.equal((await here.change(created(n))).ok, true);
  const known = () => redis.command('PUBSUB', 'NUMSUB', 'socket.io-request#/#');
  await redis.start();
  await until('the Node server to be back', async () => (await known()).endsWith('1'));
  // Published before that, they may have reached nobody.
  await until('the notice', () => here.received.some(([{ type }]) => type === 'resync'));
  assert.equal((await here.change(created(4))).ok, true);
  await until('the last change', () => numbers(afar).includes(4));
  io.to('red').emit('database-changed', created(5));
  await until('the change from there', () => numbers(here).includes(5));
  // Both of its ways through Redis were cut, and that is one reason.
  assert.equal(here.received.filter(([{ type }]) => type === 'resync').length, 1);
  const seen = numbers(here).filter((n) => n !== undefined);
  assert.deepEqual(seen, [1, 2, 3, 4, 5]);
  assert.deepEqual(numbers(afar).filter((n) => n === 4 || n === 5), [4, 5]);
  assert.equal(new Set(numbers(afar)).size, afar.received.length, 'something came twice');
});

scenario('whichever connection for subscriptions breaks, members fetch everything once', async (stage) => {
  const redis = await startRedis(stage);
  const listeners = async () => (await redis.command('CLIENT', 'LIST', 'TYPE', 'pubsub')).match(/(?<=^id=)\d+/gm) ?? [];
  const server = await node(stage, redis);
  const member = await stage.member(server.url, 'ann', 'red');
  const backend = await emitter(stage, redis.url);
  // One is for flowgate's own nodes, the other for Node.js.
  const ids = await listeners();
  assert.equal(ids.length, 2);
  const notices = () => member.received.filter(([{ type }]) => type === 'resync').length;
  for (const [index, id] of ids.entries()) {
    await redis.command('CLIENT', 'KILL', 'ID', id);
    await until('the notice', () => notices() === index + 1, { seen: () => member.received });
    backend.to('red').emit('database-changed', created(index));
    await until('what comes after it', () => numbers(member).includes(index));
  }
  assert.equal(notices(), 2);
});

scenario('settings that cannot work together are refused with what to write', async (stage) => {
  const check = async (...texts) => {
    const { paths, remove } = writeConfig([ONE_ISSUER, GENEROUS_LIMITS, ...texts]);
    stage.defer(remove);
    const { code, stdout, stderr } = await run(['check', ...paths.flatMap((file) => ['--config', file])]);
    return { code, said: stdout + stderr };
  };
  const enabled = '[bus.nodejs]\nenabled = true';
  const redis = '[bus]\ndriver = "redis"';
  const cases = [
    [[enabled], /bus\.nodejs\.enabled.*there is no Redis.*bus\.driver/s],
    [[`${redis}\n[bus.redis]\ncluster = true\nurl = ["redis://127.0.0.1:7000"]\n${enabled}`], /sharded.*one Redis server/s],
    [[`${redis}\n${enabled}\nkey = ""`], /bus\.nodejs\.key/],
    [[`${redis}\n${enabled}\nteams = ["a:b"]`], /bus\.nodejs\.teams/],
    [[`${redis}\n${enabled}\ntypes = ["no-such-type"]`], /bus\.nodejs\.types/],
    [[`${redis}\n${enabled}\n[events.other]\nemit = "database-changed"\npayload = "any"`], /both heard as "database-changed"/],
    [['[[publish.publishers]]\nname = "nodejs"\ntoken_env = "T"\nteams = ["*"]'], /publish\.publishers.*nodejs/s],
  ];
  for (const [texts, expected] of cases) {
    const { code, said } = await check(...texts);
    assert.equal(code, 78, said);
    assert.match(said, expected);
  }
  assert.equal((await check(`${redis}\n${enabled}`)).code, 0);
});
