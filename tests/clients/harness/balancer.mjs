import { once } from 'node:events';
import net from 'node:net';

/**
 * One address in front of several servers: each connection goes to the next of `targets` (URLs) in turn, which may be changed at any time.
 * What is forwarded is forwarded untouched. With several of them for clients that are one connection each.
 */
export async function balancer(stage, targets) {
  const front = { targets };
  const open = new Set();
  let turn = 0;
  const server = net.createServer((outer) => {
    const target = front.targets[(turn += 1) % front.targets.length];
    const inner = net.connect(Number(new URL(target).port), '127.0.0.1');
    for (const [from, to] of [[outer, inner], [inner, outer]]) {
      open.add(from);
      from.pipe(to);
      from.on('error', () => to.destroy()).on('close', () => (open.delete(from), to.destroy()));
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  stage.defer(() => {
    open.forEach((socket) => socket.destroy());
    server.close();
  });
  front.url = `http://127.0.0.1:${server.address().port}`;
  return front;
}
