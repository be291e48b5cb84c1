/** Drives the official client: `node client.mjs PACKAGE_FOLDER URL TRANSPORTS`. Prints what it saw, one JSON line. */

import { createRequire } from "node:module";

const [folder, url, transports] = process.argv.slice(2);
const { io } = createRequire(`${folder}/`)("socket.io-client");
const socket = io(url, { transports: transports.split(","), auth: { token: "t" }, reconnection: false });
const seen = { events: [] };
const event = (name) => new Promise((resolve) => socket.once(name, (...data) => resolve(data)));
const [auth, question] = [event("auth"), event("question")];

socket.on("question", (number, answer) => answer(number + 1));
socket.on("binary question", (bytes, answer) => answer(new Uint8Array([...new Uint8Array(bytes)].reverse())));
socket.on("connect_error", (error) => {
  console.log(JSON.stringify({ error: error.message }));
  process.exit(1);
});
await event("connect");
seen.auth = (await auth)[0];
seen.ack = await socket.emitWithAck("message-with-ack", "text", { a: [1, null] });
const back = event("message-back");
socket.emit("message", new Uint8Array([1, 2, 3]), "beside");
const [bytes, beside] = await back;
seen.back = [[...bytes], beside];
seen.binaryAck = [...(await socket.emitWithAck("message-with-ack", new Uint8Array([4, 5])))];
if (transports === "polling,websocket" && socket.io.engine.transport.name !== "websocket") {
  await new Promise((resolve) => socket.io.engine.once("upgrade", resolve));
}
seen.transport = socket.io.engine.transport.name;
seen.after = await socket.emitWithAck("message-with-ack", "x".repeat(50_000).length);
socket.emit("ask me");
seen.question = (await question)[0];
// longer than an interval and a timeout of pings
await new Promise((resolve) => setTimeout(resolve, 700));
seen.stayed = socket.connected;
const ended = event("disconnect");
socket.emit("end me");
seen.ended = (await ended)[0];
const custom = io(`${url}/random`, { transports: transports.split(","), reconnection: false, forceNew: true });
seen.refused = await new Promise((resolve) => custom.once("connect_error", (error) => resolve(error.message)));
custom.close();
console.log(JSON.stringify(seen));
