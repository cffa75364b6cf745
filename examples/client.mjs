import { io } from "socket.io-client"; // npm install socket.io-client
const url = process.env.FLOWGATE_URL ?? "http://127.0.0.1:3000";
const socket = io(url, { auth: (give) => give({ token: process.env.TOKEN }) }); // asked anew for each connection

socket.on("database-changed", (change) => console.log("changed", change));
socket.on("connect_error", (error) => console.log(socket.active ? "will retry:" : "refused:", error.message));
socket.on("connect", async () => {
  const change = { type: "task-updated", taskId: 7, timestamp: Date.now() };
  console.log("answer", await socket.emitWithAck("database-change", change));
});
