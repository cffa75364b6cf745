// Under config/photoflow.toml an unmodified client sees what Node's socket.io shows it with the three-line relay.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import path from 'node:path';
import { Server } from 'socket.io';
import { WAYS } from './harness/client.mjs';
import { GENEROUS_LIMITS } from './harness/config.mjs';
import { REPOSITORY } from './harness/flowgate.mjs';
import { scenario } from './harness/scenario.mjs';

const PHOTOFLOW = path.join(REPOSITORY, 'config', 'photoflow.toml');

const nested = (levels) => (levels === 1 ? {} : { inner: nested(levels - 1) });
const nestedArrays = (levels) => (levels === 1 ? [] : [nestedArrays(levels - 1)]);

/** Argument lists of `emit('database-change', …)`, each with a name to report it by. */
const ARGUMENTS = {
  'no argument at all, as PhotoFlow does': [],
  null: [null],
  undefined: [undefined],
  'an empty object': [{}],
  'what PhotoFlow documents': [{ type: 'task-created', taskId: 17, timestamp: '2025-06-01T12:00:00.000Z' }],
  'an undefined field': [{ type: 'task-created', taskId: undefined }],
  'nested objects': [{ task: { id: 'a', owner: { name: 'b', tags: ['x', { y: null }] } } }],
  'keys in an order of their own': [{ z: 1, a: 2, m: 3, 10: 4, 2: 5, '': 6 }],
  'deep but legal objects': [nested(50)],
  'deep but legal arrays': [nestedArrays(50)],
  'integers up to the edge': [[0, -0, 1, -1, 2 ** 31, 2 ** 53 - 1, -(2 ** 53), 2 ** 63, 1e21, 12345678901234567890]],
  fractions: [[1.0, 0.1, 1.5e-7, 1e300, Number.MIN_VALUE, Number.MAX_VALUE, 0.1 + 0.2]],
  'numbers that JSON lacks': [[NaN, Infinity, -Infinity]],
  'a number': [42],
  true: [true],
  false: [false],
  'an empty string': [''],
  'a string': ['just text'],
  'a string of quotes, slashes and escapes': ['"\\/\b\f\n\r\t\u0000\u001f\u007f'],
  'a string that looks like a packet': ['42["database-change",{}]'],
  'the separator of polling payloads': ['a\u001eb'],
  'letters of many scripts': ['äöüß ñ Ж 漢字 עברית العربية ไทย \u2028\u2029\ufeff'],
  emoji: ['🎨 👩‍👩‍👧 🇩🇪 e\u0301'],
  'a lone surrogate': ['\ud800'],
  'keys of many scripts': [{ 'ключ': 1, '鍵': 2, '🔑': 3 }],
  'a long string': ['0123456789'.repeat(20_000)],
  'an empty array': [[]],
  'an array of everything': [[null, true, 1, 'a', [], {}, [[]]]],
  'holes in an array': [[, 1, , 2]],
  'a date': [new Date(0)],
  'a key named __proto__': [JSON.parse('{"__proto__":{"a":1},"constructor":2}')],
};

/** Payloads as no JavaScript client writes them: the decoded values must agree with Node's, the text with what was sent. */
const TEXTS = {
  'a number written 1.0': '1.0',
  'a number with a plus in its exponent': '1E+2',
  'an integer of twenty digits': '{"n":12345678901234567890}',
  'escapes where none are needed': '"\\u0041\\/\\ud83c\\udfa8"',
  'spaces between the tokens': '{ "a" : [ 1 , 2 ] }',
};

/** Node's socket.io with the relay that PhotoFlow has in its development server. */
async function nodeRelay(stage) {
  const http = createServer();
  const io = new Server(http);
  io.on('connection', (socket) => socket.on('database-change', (payload) => io.emit('database-changed', payload)));
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  stage.defer(() => io.close());
  return `http://127.0.0.1:${http.address().port}`;
}

const isEvent = (packet) => packet.startsWith('2');

/**
 * What a sender and a listener see of the whole programme: for each step the values and the packets they received.
 * Each step waits for the one before it, so that a step that yields nothing can't shift the others.
 */
async function perform(stage, url, transports) {
  const people = [];
  const enter = async (person) => {
    const client = await stage.client(url, { transports }).ready();
    people.push({ person, client, heard: 0 });
    return client;
  };
  const report = {};
  const step = async (name, act) => {
    act();
    report[name] = {};
    for (const each of people) {
      const { person, client, heard } = each;
      await client.changes(heard + 1).catch((cause) => {
        throw new Error(`"${name}" did not reach the ${person}`, { cause });
      });
      report[name][person] = { values: client.received.slice(heard), packets: client.packets.filter(isEvent).slice(heard) };
      each.heard = client.received.length;
    }
  };

  const sender = await enter('sender');
  const listener = await enter('listener');
  for (const [name, args] of Object.entries(ARGUMENTS)) {
    await step(name, () => sender.socket.emit('database-change', ...args));
  }
  for (const [name, text] of Object.entries(TEXTS)) {
    await step(name, () => sender.sendPacket(`2["database-change",${text}]`));
  }
  await step('the listener sends', () => listener.socket.emit('database-change', { from: 'the listener' }));

  // Had a latecomer been told of the past, the first thing it heard would be another.
  await enter('latecomer');
  await step('somebody has joined late', () => sender.socket.emit('database-change', 'after the join'));
  return report;
}

for (const [way, transports] of Object.entries(WAYS)) {
  scenario(`${way}: flowgate and Node's relay show the same to the same clients`, async (stage) => {
    const { url } = await stage.flowgate({ config: [PHOTOFLOW, GENEROUS_LIMITS] });
    const expected = await perform(stage, await nodeRelay(stage), transports);
    const actual = await perform(stage, url, transports);

    assert.deepEqual(Object.keys(actual), Object.keys(expected));
    for (const [name, theirs] of Object.entries(expected)) {
      const ours = actual[name];
      for (const person of Object.keys(theirs)) {
        assert.deepEqual(ours[person].values, theirs[person].values, `${name}: what the ${person} received`);
        const packets = name in TEXTS ? [`2["database-changed",${TEXTS[name]}]`] : theirs[person].packets;
        assert.deepEqual(ours[person].packets, packets, `${name}: the packet to the ${person}`);
      }
    }
  });
}

scenario('order of a burst is the same on both', async (stage) => {
  const { url } = await stage.flowgate({ config: [PHOTOFLOW, GENEROUS_LIMITS] });
  const heard = [];
  for (const server of [await nodeRelay(stage), url]) {
    const [sender, listener] = [await stage.client(server).ready(), await stage.client(server).ready()];
    for (let n = 0; n < 200; n += 1) sender.socket.emit('database-change', n);
    heard.push([await sender.changes(200), await listener.changes(200)]);
  }
  assert.deepEqual(heard[1], heard[0]);
});
