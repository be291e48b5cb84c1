/** A phone on the official client: `node phone.mjs PACKAGE_FOLDER URL TRANSPORT TOKEN SCRIPT_ID`. It joins, plays and
 * waits until another device pauses. Prints what it was answered and told, one JSON line. */

import { createRequire } from "node:module";

const [folder, url, transport, token, scriptId] = process.argv.slice(2);
const { io } = createRequire(`${folder}/`)("socket.io-client");
const device = { id: "phone", name: "Phone", kind: "phone" };
const auth = { token, device, protocol: 1 };
const socket = io(url, { transports: [transport], auth, reconnection: false });

socket.on("connect_error", (error) => {
  console.log(JSON.stringify({ error: error.message }));
  process.exit(1);
});
const paused = new Promise((resolve) => socket.on("state", (state) => state.playing || resolve(state)));
await new Promise((resolve) => socket.once("connect", resolve));
const joined = await socket.emitWithAck("join", { script_id: scriptId });
const played = await socket.emitWithAck("play", { script_id: scriptId, position: 1.5 });
const refused = await socket.emitWithAck("seek", { session_id: played.state.session_id });
const told = await paused;
console.log(JSON.stringify({ joined, played, refused, told, transport: socket.io.engine.transport.name }));
socket.disconnect();
