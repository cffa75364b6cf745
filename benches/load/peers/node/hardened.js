// Node's socket.io as a careful team would harden it: jsonwebtoken at the handshake, one room a team, rate-limiter-flexible
// in memory, zod for the payload, connection caps, and a disconnect when the token expires. It refuses with flowgate's codes, so
// that the load generator can see that a refusal was meant. PEER_PORT and FLOWGATE_JWT_SECRET as for the others;
// PEER_LIMITS=default takes flowgate's default limits (flowgate-limited.toml), otherwise those of flowgate.toml; PEER_ALGORITHM is that of
// the tokens, whose issuer is PEER_ISSUER.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { Server } from "socket.io";
import jwt from "jsonwebtoken";
import { RateLimiterMemory } from "rate-limiter-flexible";
import { z } from "zod";
import { joinOthers } from "./nodes.js";

const limits =
  process.env.PEER_LIMITS === "default"
    ? { total: 20_000, perAddress: 200, perUser: 20, handshakes: 20, socket: 20, user: 50, address: 200, team: 500 }
    : {
        total: 20_000,
        perAddress: 20_000,
        perUser: 20,
        handshakes: 100_000,
        socket: 1_000_000,
        user: 1_000_000,
        address: 1_000_000,
        team: 1_000_000,
      };

const algorithm = process.env.PEER_ALGORITHM;
const publicKey = () => readFileSync(new URL(`../../keys/${algorithm.toLowerCase()}.public.pem`, import.meta.url));
const key = algorithm === "HS256" ? process.env.FLOWGATE_JWT_SECRET : publicKey();
const verifyOptions = {
  algorithms: [algorithm],
  issuer: process.env.PEER_ISSUER,
  audience: "flowgate",
  clockTolerance: 5,
};

// The library's usual form: so many points in a window of one second.
const perSecond = (points) => new RateLimiterMemory({ points, duration: 1 });
const handshakeLimit = perSecond(limits.handshakes);
const socketLimit = perSecond(limits.socket);
const userLimit = perSecond(limits.user);
const addressLimit = perSecond(limits.address);
const teamLimit = perSecond(limits.team);

const MAX_AGE_MS = 5 * 60_000;
const MAX_AHEAD_MS = 30_000;
const claimsSchema = z.object({
  sub: z.string().min(1).max(256),
  teams: z.array(z.string().min(1).max(128)).min(1).max(64),
  roles: z.array(z.string().max(128)).max(64).default([]),
  exp: z.number(),
});
const changeSchema = z.strictObject({
  type: z.enum(["task-created", "task-updated", "task-deleted"]),
  taskId: z.union([z.int(), z.string().max(64)]),
  timestamp: z.int().refine((at) => {
    const now = Date.now();
    return at > now - MAX_AGE_MS && at < now + MAX_AHEAD_MS;
  }),
  note: z.string().max(15_000).optional(),
});

const http = createServer();
const io = new Server(http, { serveClient: false, maxHttpBufferSize: 64 * 1024, connectTimeout: 5_000 });

const perAddress = new Map();
const perUser = new Map();
const add = (counts, key, by) => {
  const count = (counts.get(key) ?? 0) + by;
  if (count > 0) counts.set(key, count);
  else counts.delete(key);
};

io.use(async (socket, next) => {
  const address = socket.handshake.address;
  try {
    await handshakeLimit.consume(address);
  } catch {
    return next(new Error("rate_limited"));
  }
  let claims;
  try {
    claims = claimsSchema.parse(jwt.verify(socket.handshake.auth.token, key, verifyOptions));
  } catch {
    return next(new Error("token_invalid"));
  }
  const full =
    io.engine.clientsCount > limits.total ||
    (perAddress.get(address) ?? 0) >= limits.perAddress ||
    (perUser.get(claims.sub) ?? 0) >= limits.perUser;
  if (full) return next(new Error("rate_limited"));
  socket.data = { address, user: claims.sub, teams: claims.teams, roles: claims.roles, expires: claims.exp };
  next();
});

io.on("connection", (socket) => {
  const { address, user, teams, expires } = socket.data;
  add(perAddress, address, 1);
  add(perUser, user, 1);
  socket.join(teams);
  const expiry = setTimeout(() => socket.conn.close(), Math.max(0, expires * 1000 - Date.now()));
  socket.on("disconnect", () => {
    clearTimeout(expiry);
    add(perAddress, address, -1);
    add(perUser, user, -1);
  });

  socket.on("database-change", async (change, ack) => {
    const answer = typeof ack === "function" ? ack : () => {};
    const limited = (refusal) => answer({ ok: false, code: "rate_limited", retryAfterMs: refusal.msBeforeNext });
    try {
      await socketLimit.consume(socket.id);
      await userLimit.consume(user);
      await addressLimit.consume(address);
    } catch (refusal) {
      return limited(refusal);
    }
    const checked = changeSchema.safeParse(change);
    if (!checked.success) {
      const code = checked.error.issues[0].path[0] === "type" ? "unknown_type" : "invalid_payload";
      return answer({ ok: false, code });
    }
    const team = teams[0];
    try {
      await teamLimit.consume(team);
    } catch (refusal) {
      return limited(refusal);
    }
    io.to(team).emit("database-changed", checked.data);
    answer({ ok: true });
  });
});

await joinOthers(io);
http.listen(Number(process.env.PEER_PORT), "127.0.0.1");
