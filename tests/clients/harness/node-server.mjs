// A Socket.IO server in Node.js beside flowgate: its adapter shares a Redis with others, and rooms are teams.

import { createServer } from 'node:http';
import { once } from 'node:events';
import { createAdapter } from '@socket.io/redis-adapter';
import { Emitter } from '@socket.io/redis-emitter';
import { createClient } from 'redis';
import { Server } from 'socket.io';

/** A client of Redis, until the stage ends. */
export async function connectRedis(stage, url) {
  const client = createClient({ url });
  // Without a listener an outage would end the process.
  client.on('error', () => {});
  await client.connect();
  // Adapters unsubscribe as they close and look at no answer; this waits for it.
  stage.defer(() => client.close());
  return client;
}

/** What a backend publishes with that is no server itself. */
export const emitter = async (stage, url, options) => new Emitter(await connectRedis(stage, url), options);

/**
 * A server whose clients say in `auth.team` which team they are in, and hear of each other's changes as flowgate's do. Returns it with its
 * address under `url`.
 */
export async function startNodeServer(stage, redisUrl, options) {
  const [pub, sub] = [await connectRedis(stage, redisUrl), await connectRedis(stage, redisUrl)];
  const http = createServer();
  const io = new Server(http, { adapter: createAdapter(pub, sub, options) });
  io.on('connection', (socket) => {
    const { team } = socket.handshake.auth;
    socket.join(team);
    socket.on('database-change', (change, ack) => {
      io.to(team).emit('database-changed', change);
      ack?.({ ok: true });
    });
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  stage.defer(() => io.close());
  io.url = `http://127.0.0.1:${http.address().port}`;
  return io;
}
