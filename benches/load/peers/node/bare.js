// Node's socket.io with nothing in front of it: the three-line relay, which is also the cheapest thing Node can do.
// PEER_PORT is the port on 127.0.0.1; with PEER_ROOMS=1 each socket joins the team that its unverified auth payload names.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { joinOthers } from "./nodes.js";

const useRooms = process.env.PEER_ROOMS === "1";
const http = createServer();
const io = new Server(http, { serveClient: false });

io.on("connection", (socket) => {
  const { team } = socket.handshake.auth;
  if (useRooms) socket.join(team);
  socket.on("database-change", (change) => {
    const audience = useRooms ? io.to(team) : io;
    audience.emit("database-changed", change);
  });
});

await joinOthers(io);
http.listen(Number(process.env.PEER_PORT), "127.0.0.1");
