/** Bundles the Worker and the tests (Node 20 reads no TypeScript) and runs these with `node:test`: all, or `node test.mjs NAME`. */

import { readdir, rm } from "node:fs/promises";
import path from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const ROOT = path.dirname(fileURLToPath(import.meta.url));
const BUNDLES = path.join(ROOT, "node_modules", ".cache", "playhead-tests");
const VECTORS = path.join(ROOT, "..", "tests", "vectors");

const FILE_TIMEOUT_MS = 300_000;

const names = (await readdir(path.join(ROOT, "test"))).filter(
  (name) => name.endsWith(".test.ts") && (process.argv.length < 3 || process.argv.includes(name.replace(".test.ts", ""))),
);
await rm(BUNDLES, { recursive: true, force: true });
await build({
  entryPoints: [
    path.join(ROOT, "src", "worker.ts"),
    ...["admitting.ts", "impatient.ts"].map((name) => path.join(ROOT, "test", "workers", name)),
  ],
  entryNames: "[name]",
  outdir: BUNDLES,
  outExtension: { ".js": ".mjs" },
  bundle: true,
  format: "esm",
  target: "es2022",
});
await build({
  entryPoints: names.map((name) => path.join(ROOT, "test", name)),
  outdir: BUNDLES,
  outExtension: { ".js": ".mjs" },
  bundle: true,
  platform: "node",
  format: "esm",
  packages: "external",
  define: {
    VECTORS: JSON.stringify(VECTORS),
    BUNDLES: JSON.stringify(BUNDLES),
    REPOSITORY: JSON.stringify(path.join(ROOT, "..")),
  },
});
const files = names.map((name) => path.join(BUNDLES, name.replace(/\.ts$/, ".mjs")));
// What a test file leaves open keeps nobody waiting; one that hangs is named.
const tests = run({ files, concurrency: true, forceExit: true, timeout: FILE_TIMEOUT_MS });
tests.on("test:fail", () => (process.exitCode = 1));
let passed = 0;
tests.on("test:pass", () => (passed += 1));
tests.on("end", () => {
  // A run that found nothing to run has shown nothing.
  if (passed < names.length) process.exitCode = 1;
});
tests.compose(new spec()).pipe(process.stdout);
