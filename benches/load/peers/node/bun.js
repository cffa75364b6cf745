// The same three-line relay on Bun: socket.io over @socket.io/bun-engine, which uses the WebSockets built into Bun.
// PEER_PORT is the port on 127.0.0.1; with PEER_ROOMS=1 each socket joins the team that its unverified auth payload names.
import { Server as Engine } from "@socket.io/bun-engine";
import { Server } from "socket.io";

const useRooms = process.env.PEER_ROOMS === "1";
const engine = new Engine({ path: "/socket.io/" });
const io = new Server();
io.bind(engine);

io.on("connection", (socket) => {
  const { team } = socket.handshake.auth;
  if (useRooms) socket.join(team);
  socket.on("database-change", (change) => {
    const audience = useRooms ? io.to(team) : io;
    audience.emit("database-changed", change);
  });
});

Bun.serve({ ...engine.handler(), port: Number(process.env.PEER_PORT), hostname: "127.0.0.1" });
