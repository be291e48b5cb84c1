/**
 * The Worker in miniflare, for benchmarks: `node serve.mjs ORIGIN_URL`, with MEDIA_KEYS in the environment.
 * Prints its address, and ends when its standard input does.
 */

import path from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";
import { Miniflare } from "miniflare";

const ROOT = path.dirname(fileURLToPath(import.meta.url));
const bundle = await build({
  entryPoints: [path.join(ROOT, "src", "worker.ts")],
  bundle: true,
  format: "esm",
  target: "es2022",
  write: false,
});
const worker = new Miniflare({
  modules: true,
  script: bundle.outputFiles[0].text,
  compatibilityDate: "2026-04-01",
  bindings: { ORIGIN_URL: process.argv[2], MEDIA_KEYS: process.env.MEDIA_KEYS },
  host: "127.0.0.1",
  port: 0,
  cf: false,
});
console.log(String(await worker.ready));
process.stdin.resume();
process.stdin.on("end", () => void worker.dispose().then(() => process.exit(0)));
