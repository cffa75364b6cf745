// A real Redis of a test's own, which can be killed, paused and started again on the same port; and a Cluster of three.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { freePort } from './proxy.mjs';
import { until } from './wait.mjs';

const ask = promisify(execFile);
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

class Redis {
  #home;
  #flags;
  #said = '';

  constructor(home, port, flags) {
    [this.#home, this.port, this.#flags] = [home, port, flags];
  }

  get url() {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Starts it, or starts it again on the same port, and waits until it answers. */
  async start() {
    const flags = ['--bind', '127.0.0.1', '--port', `${this.port}`, '--dir', this.#home, '--save', '', '--appendonly', 'no'];
    const child = spawn('redis-server', [...flags, ...this.#flags], { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (this.#said += text));
    let ended;
    child.once('error', (error) => (ended = error.message));
    child.once('exit', (code, signal) => (running.delete(child), (ended ??= `it ended with ${code ?? signal}`)));
    running.add(child);
    this.child = child;
    await until(`redis-server on ${this.port}`, async () => {
      if (ended !== undefined) throw new Error(`redis-server: ${ended}\n${this.#said}`);
      return (await this.command('PING').catch(() => '')) === 'PONG';
    });
    return this;
  }

  /** What Redis answers, as redis-cli prints it. */
  async command(...words) {
    const { stdout } = await ask('redis-cli', ['-p', `${this.port}`, ...words.map(String)]);
    return stdout.trim();
  }

  /** Takes it away as a power cut would. */
  async kill() {
    if (!running.has(this.child)) return;
    this.child.kill('SIGKILL');
    await once(this.child, 'exit');
  }

  /** Lets it do nothing; its connections stay. */
  pause() {
    this.child.kill('SIGSTOP');
  }

  resume() {
    this.child.kill('SIGCONT');
  }
}

function home(stage) {
  const made = mkdtempSync(path.join(tmpdir(), 'flowgate-redis-'));
  stage.defer(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

async function redis(stage, folder, flags = []) {
  const server = new Redis(folder, await freePort(), flags);
  stage.defer(() => server.kill());
  return server.start();
}

/** A Redis that keeps nothing, until the stage ends. */
export const startRedis = (stage) => redis(stage, home(stage));

// A hash slot's number is one of so many.
const SLOTS = 16_384;
const SHARDS = 3;
const firstSlot = (n) => Math.floor((n * SLOTS) / SHARDS);

/** Which server of the cluster has that slot. */
export const shardOf = (slot) => [2, 1, 0].find((n) => slot >= firstSlot(n));

/** Three servers with a third of the slots each, and no replicas: what a dead one holds is away until it is back. */
export async function startCluster(stage) {
  const folder = home(stage);
  const flags = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '1000', '--cluster-require-full-coverage', 'no'];
  const servers = [];
  for (let n = 0; n < SHARDS; n += 1) {
    const own = path.join(folder, `${n}`);
    mkdirSync(own);
    // Of its own choice the second port would be 10,000 higher, where there may be none.
    servers.push(await redis(stage, own, [...flags, '--cluster-port', `${await freePort()}`]));
  }
  await Promise.all(servers.map((server, n) => server.command('CLUSTER', 'ADDSLOTSRANGE', firstSlot(n), firstSlot(n + 1) - 1)));
  const [one, ...others] = servers;
  const bus = (server) => server.command('CONFIG', 'GET', 'cluster-port').then((answer) => answer.split('\n')[1]);
  for (const other of others) await one.command('CLUSTER', 'MEET', '127.0.0.1', other.port, await bus(other));
  for (const server of servers) {
    await until('the cluster to know all of itself', async () => {
      const info = await server.command('CLUSTER', 'INFO');
      return /cluster_state:ok/.test(info) && /cluster_known_nodes:3/.test(info) && /cluster_slots_ok:16384/.test(info);
    });
  }
  return servers;
}

/**
 * A wire to `port` that can be slow, can be cut, and can let nothing pass. `delay` is in milliseconds, each way. While it `holds`, what comes is kept, and new
 * connections lead nowhere. `cutAfter(way, bytes)` cuts every connection once that many more bytes have gone to Redis (`up`) or come from it (`down`), wherever in a
 * message that is.
 */
export async function startWire(stage, port) {
  const wire = { delay: 0, holds: false, cuts: 0 };
  const open = new Set();
  let left = { up: Infinity, down: Infinity };
  const cut = () => {
    wire.cuts += 1;
    left = { up: Infinity, down: Infinity };
    open.forEach((socket) => socket.destroy());
  };
  const pass = (way, from, to) => {
    from.setNoDelay(true);
    from.on('data', (bytes) => {
      const hand = () => {
        if (to.destroyed) return;
        const some = bytes.subarray(0, Math.min(bytes.length, left[way]));
        left[way] -= some.length;
        if (some.length === bytes.length) to.write(bytes);
        // What was let through is to arrive before the end does.
        else to.write(some, cut);
      };
      // What is held is never handed on: whoever waited has given up by then.
      if (wire.holds) from.pause();
      else if (wire.delay > 0) setTimeout(hand, wire.delay);
      else hand();
    });
    from.on('error', () => {}).on('close', () => (open.delete(from), to.destroy()));
    open.add(from);
  };
  const server = net.createServer((outer) => {
    const inner = net.connect(port, '127.0.0.1');
    pass('up', outer, inner);
    pass('down', inner, outer);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  stage.defer(() => {
    open.forEach((socket) => socket.destroy());
    server.close();
  });
  wire.url = `redis://127.0.0.1:${server.address().port}`;
  wire.cutAfter = (way, bytes) => (left = { ...left, [way]: bytes });
  return wire;
}
