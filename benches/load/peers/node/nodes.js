// Several Node processes as one server, through socket.io's own adapter. PEER_REDIS is the port on 127.0.0.1 of the Redis between them;
// without it a process is alone.
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";

export async function joinOthers(io) {
  if (!process.env.PEER_REDIS) return;
  const publishes = createClient({ url: `redis://127.0.0.1:${process.env.PEER_REDIS}` });
  const subscribes = publishes.duplicate();
  await Promise.all([publishes.connect(), subscribes.connect()]);
  io.adapter(createAdapter(publishes, subscribes));
}
