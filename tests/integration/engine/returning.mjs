/** Connects with the official client as it comes: `node returning.mjs PACKAGE_FOLDER URL`. Prints why it had to wait. */

import { createRequire } from "node:module";

const [folder, url] = process.argv.slice(2);
const { io } = createRequire(`${folder}/`)("socket.io-client");
const errors = [];
const socket = io(url, { transports: ["websocket"], reconnectionDelay: 200, reconnectionDelayMax: 400 });
socket.on("connect_error", (error) => errors.push(error.message));
socket.on("connect", () => {
  console.log(JSON.stringify({ errors }));
  socket.disconnect();
});
