// Socket.IO 4.8 on Node.js, beside which playhead is measured: rooms of the handshake's choice, a seek told to the others.
// node server.mjs [SOCKET OF VALKEY]   with one: the adapter on sharded pub/sub. Prints its port.
import { createServer } from "node:http";
import { createShardedAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const [valkey] = process.argv.slice(2);
const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false });
if (valkey) {
  const publisher = createClient({ socket: { path: valkey } });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  io.adapter(createShardedAdapter(publisher, subscriber, { subscriptionMode: "dynamic-private" }));
}
io.on("connection", (socket) => {
  const { room } = socket.handshake.auth;
  socket.join(room);
  socket.on("seek", ({ session_id, position, rate, t }, acknowledge) => {
    socket.to(room).emit("state", { session_id, position, rate, playing: true, revision: 1, t });
    acknowledge({ ok: true, revision: 1 });
  });
});
http.listen(0, "127.0.0.1", 4096, () => console.log(http.address().port));
process.stdin.resume().on("end", () => process.exit());
