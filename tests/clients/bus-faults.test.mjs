// What becomes of events while Redis, the way to it, or a node breaks: real nodes, a real Redis, stock clients. Whatever was accepted must be heard by
// every member who was there, once and in its sender's order, or that member must be told to fetch everything after it.
// Each test prints one line of counts.

import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { balancer } from './harness/balancer.mjs';
import { Books, total } from './harness/books.mjs';
import { shardOf, startCluster, startRedis, startWire } from './harness/redis.mjs';
import { scenario } from './harness/scenario.mjs';
import { until } from './harness/wait.mjs';

const QUICK_DRAIN = '[drain]\nspread = "500ms"\ndeadline = "15s"\n';
const META = '[relay]\nmeta = true\n[relay.history]\ncount = 4000\nbytes = "4MiB"\n';
const EVERY_MS = 5;
const SHARED = `${META}store = "redis"\n`;
// How long something stays broken, and how long events flow before and after.
const A_WHILE_MS = 700;

const bus = (name, url, own = '') => `[bus]\ndriver = "redis"\nnode = "${name}"\n${own}[bus.redis]\nurl = "${url}"\n`;

/** Nodes that reach each other. */
async function startNodes(stage, names, url, more = '', own = '') {
  const start = (name) => stage.flowgate({ overlay: `${bus(name, url, own)}${QUICK_DRAIN}${more}` });
  const nodes = await Promise.all(names.map(start));
  await until('the nodes to reach Redis', async () => (await total(nodes, 'flowgate_bus_up')) === nodes.length);
  return nodes;
}

/** Members on each node in three teams, or in such groups of teams, of whom so many send, one on each node. */
async function crowd(books, nodes, { every = EVERY_MS, perTeam = 8, groups = ['red', 'green', 'blue'], senders: count = nodes.length, ...options } = {}) {
  const urls = nodes.map(({ url }) => url);
  const senders = [];
  for (const team of groups) {
    const members = await books.join(urls, team, perTeam, options);
    // Those that come first are on different nodes.
    senders.push(...members.slice(0, count));
  }
  senders.forEach((sender) => books.send(sender, every));
  return senders;
}

/** Two nodes and a Redis, in the way between which something breaks while events flow. Returns the counts. */
async function through(stage, name, { wired = false, more = '', bus: own = '', groups, breaks }) {
  const redis = await startRedis(stage);
  const wire = wired ? await startWire(stage, redis.port) : undefined;
  const nodes = await startNodes(stage, ['a', 'b'], (wire ?? redis).url, more, own);
  const books = new Books(stage);
  const senders = await crowd(books, nodes, { groups });
  await pause(A_WHILE_MS);
  await breaks({ redis, wire, nodes, books });
  await pause(A_WHILE_MS);
  await books.stop();
  await books.settle(senders);
  return books.close(name);
}

/** Waits until each of these nodes has told members to fetch everything for that reason. */
const told = (nodes, reason) =>
  until(`everybody to be told: ${reason}`, async () => {
    const each = await Promise.all(nodes.map((node) => total([node], 'flowgate_bus_resyncs_total', `reason="${reason}"`)));
    return each.every((count) => count > 0);
  });

for (const [kind, more] of Object.entries({ 'without meta': '', 'with meta': META, 'with a history in it': SHARED })) {
  scenario(`Redis is killed and started again, ${kind}`, async (stage) => {
    await through(stage, `Redis killed, ${kind}`, {
      more,
      async breaks({ redis, nodes, books }) {
        await redis.kill();
        // Who comes meanwhile is let in.
        await books.join(nodes.map(({ url }) => url), 'red', 4);
        await pause(A_WHILE_MS);
        await redis.start();
        // What others said while it was away cannot be known to have come.
        await told(nodes, 'interrupted');
      },
    });
  });
}

scenario('who is let in misses nothing from then on', async (stage) => {
  const redis = await startRedis(stage);
  const [here, there] = await startNodes(stage, ['here', 'there'], redis.url);
  const books = new Books(stage);
  const senders = [];
  for (let n = 0; n < 20; n += 1) {
    const [sender] = await books.join([here.url], `team-${n}`, 1);
    senders.push(sender);
    books.send(sender, 2);
    // The first on the other node, which has not listened to the team before.
    await books.join([there.url], `team-${n}`, 1);
  }
  await books.stop();
  await books.settle(senders);
  const counts = books.close('somebody new');
  assert.equal(counts.resynced, 0, 'nobody had to fetch');
});

scenario('Redis cuts off who listens, and who speaks', async (stage) => {
  await through(stage, 'Redis hangs up', {
    async breaks({ redis }) {
      // As it does itself with a node that reads too slowly.
      for (const type of ['pubsub', 'normal', 'pubsub', 'normal', 'pubsub']) {
        assert.ok(Number(await redis.command('CLIENT', 'KILL', 'TYPE', type)) > 0, type);
        await pause(A_WHILE_MS / 2);
      }
    },
  });
});

scenario('more waits for Redis than may', async (stage) => {
  await through(stage, 'Redis away for too long', {
    bus: 'max_queued = "64KiB"\n',
    async breaks({ redis, nodes }) {
      await redis.kill();
      await until('something to be dropped', async () => (await total(nodes, 'flowgate_bus_sent_total', 'outcome="dropped"')) > 0);
      await redis.start();
      await told(nodes, 'interrupted');
    },
  });
});

scenario('one node alone loses its way to Redis', async (stage) => {
  const redis = await startRedis(stage);
  const wire = await startWire(stage, redis.port);
  const [near] = await startNodes(stage, ['near'], redis.url);
  const [far] = await startNodes(stage, ['far'], wire.url);
  const books = new Books(stage);
  const senders = await crowd(books, [near, far]);
  await pause(A_WHILE_MS);
  // Nothing passes any more and nothing is closed, as where a firewall has forgotten a connection; the node must find out by itself.
  wire.holds = true;
  const connects = await total([far], 'flowgate_bus_connects_total');
  await until('the node to notice', async () => (await total([far], 'flowgate_bus_up')) === 0);
  wire.holds = false;
  await until('it to connect again', async () => (await total([far], 'flowgate_bus_connects_total')) > connects);
  await pause(A_WHILE_MS);
  await books.stop();
  await books.settle(senders);
  books.close('one node cut off');
});

scenario('a node stands still, is taken for dead, and goes on', async (stage) => {
  const redis = await startRedis(stage);
  const nodes = await startNodes(stage, ['a', 'b'], redis.url);
  const [still, other] = nodes;
  const books = new Books(stage);
  const senders = await crowd(books, nodes);
  await pause(A_WHILE_MS);
  still.child.kill('SIGSTOP');
  await until('the other to notice', async () => (await total([other], 'flowgate_bus_nodes')) === 0);
  still.child.kill('SIGCONT');
  await until('it to be there again', async () => (await total([other], 'flowgate_bus_nodes')) === 1);
  await told([other], 'node_died');
  await pause(A_WHILE_MS);
  await books.stop();
  await books.settle(senders);
  books.close('node stands still');
});

scenario('events of several teams, of which each member is in some', async (stage) => {
  await through(stage, 'several teams', {
    more: '[rooms]\nmulti_team = "all"\n',
    groups: [['red', 'green'], ['green', 'blue'], ['red', 'green', 'blue'], ['red']],
    async breaks({ redis, nodes }) {
      await redis.kill();
      await redis.start();
      await told(nodes, 'interrupted');
    },
  });
});

scenario('Redis stands still and goes on', async (stage) => {
  await through(stage, 'Redis paused', {
    async breaks({ redis }) {
      redis.pause();
      // Longer than bus.redis.response_timeout.
      await pause(3_000);
      redis.resume();
    },
  });
});

scenario('the way to Redis is slow', async (stage) => {
  const counts = await through(stage, 'Redis slow', {
    wired: true,
    async breaks({ wire }) {
      wire.delay = 100;
      await pause(2 * A_WHILE_MS);
      wire.delay = 0;
    },
  });
  assert.equal(counts.resynced, 0, 'nobody had to fetch, since nothing was lost');
});

scenario('connections to Redis are cut in the middle of messages', async (stage) => {
  await through(stage, 'Redis cut off', {
    wired: true,
    async breaks({ wire }) {
      for (const [way, bytes] of [['up', 700], ['down', 1_000], ['up', 3_333], ['down', 77]]) {
        const before = wire.cuts;
        wire.cutAfter(way, bytes);
        await until('a cut', () => wire.cuts > before);
        await pause(A_WHILE_MS / 2);
      }
    },
  });
});

for (const [store, more] of Object.entries({ memory: META, redis: SHARED })) {
  scenario(`a node is killed under load, with much that no other node has yet, history in ${store}`, async (stage) => {
    const redis = await startRedis(stage);
    const wire = await startWire(stage, redis.port);
    const [killed] = await startNodes(stage, ['killed'], wire.url, more);
    const left = await startNodes(stage, ['a', 'b'], redis.url, more);
    const front = await balancer(stage, [killed, ...left].map(({ url }) => url));
    const books = new Books(stage);
    const senders = await crowd(books, [front], { perTeam: 9, senders: 3, comesBack: true });
    await pause(A_WHILE_MS);
    wire.holds = true;
    await until('something to wait for Redis', async () => (await total([killed], 'flowgate_bus_queued')) > 10);
    await killed.kill();
    front.targets = left.map(({ url }) => url);
    await told(left, 'node_died');
    await books.stop();
    await books.settle(senders);
    const replayed = await total(left, 'flowgate_replayed_events_total');
    books.close(`node killed, history in ${store}`, { replayed });
  });

  scenario(`three nodes are started again one after the other, and 300 clients come back, history in ${store}`, async (stage) => {
    const redis = await startRedis(stage);
    let nodes = await startNodes(stage, ['a', 'b', 'c'], redis.url, more);
    const front = await balancer(stage, nodes.map(({ url }) => url));
    const books = new Books(stage);
    const senders = [];
    for (let team = 0; team < 10; team += 1) {
      const [first, second] = await books.join([front.url], `team-${team}`, 30, { comesBack: true });
      senders.push(first, second);
    }
    senders.forEach((sender) => books.send(sender, 200));
    await pause(A_WHILE_MS);
    let replayed = 0;
    for (const name of ['a', 'b', 'c']) {
      const [oldest, ...others] = nodes;
      front.targets = others.map(({ url }) => url);
      replayed += await total([oldest], 'flowgate_replayed_events_total');
      assert.deepEqual(await oldest.terminate(), { code: 0, signal: null });
      nodes = [...others, ...(await startNodes(stage, [`${name}2`], redis.url, more))];
      front.targets = nodes.map(({ url }) => url);
      await pause(A_WHILE_MS);
    }
    await books.stop();
    await books.settle(senders);
    replayed += await total(nodes, 'flowgate_replayed_events_total');
    const back = books.members.reduce((sum, { client }) => sum + client.all('disconnect').length, 0);
    const counts = books.close(`rolling restart, history in ${store}`, { replayed, cameBack: back });
    assert.ok(back >= 300, 'everybody was moved at least once');
    // Only who came back had to fetch, and who could be told what it had missed did not.
    assert.ok(counts.resynced <= back, `${counts.resynced} notices`);
    if (store === 'redis') assert.ok(replayed > 0 && counts.resynced < back, `${replayed} replayed, ${counts.resynced} notices`);
  });
}

scenario('a Cluster of three loses a master and has it again', async (stage) => {
  const servers = await startCluster(stage);
  const urls = JSON.stringify(servers.map(({ url }) => url));
  const overlay = (name) => `[bus]\ndriver = "redis"\nnode = "${name}"\n[bus.redis]\ncluster = true\nurl = ${urls}\n${QUICK_DRAIN}`;
  const nodes = await Promise.all(['a', 'b'].map((name) => stage.flowgate({ overlay: overlay(name) })));
  const books = new Books(stage);
  const senders = [];
  const slots = [];
  for (let n = 0; n < 12; n += 1) {
    slots.push(Number(await servers[0].command('CLUSTER', 'KEYSLOT', `flowgate:t:{team-${n}}`)));
    const members = await books.join(nodes.map(({ url }) => url), `team-${n}`, 4);
    senders.push(...members.slice(0, 2));
  }
  assert.equal(new Set(slots.map(shardOf)).size, 3, 'the teams are on all three servers');
  senders.forEach((sender) => books.send(sender, 20));
  await pause(A_WHILE_MS);
  await servers[1].kill();
  await pause(2 * A_WHILE_MS);
  await servers[1].start();
  await told(nodes, 'interrupted');
  await books.stop();
  await books.settle(senders);
  const counts = books.close('Cluster loses a master');
  assert.ok(counts.resynced > 0);
  // Teams on the other two servers had nothing to do with it.
  const spared = books.members.filter(({ teams: [team] }) => shardOf(slots[Number(team.split('-')[1])]) !== 1);
  assert.deepEqual(spared.filter(({ resyncs }) => resyncs > 0).map(({ sub }) => sub), []);
});
