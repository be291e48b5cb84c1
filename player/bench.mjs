/** Bundles hls.js with the page's settings of it for pages of benchmarks, as `Player`, into node_modules/.cache/playhead-bench/. */

import path from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const ROOT = path.dirname(fileURLToPath(import.meta.url));

await build({
  stdin: {
    contents: `
      export { default as Hls } from "hls.js/light";
      export { firstLevel, hlsConfig } from "./src/hls_settings.ts";
    `,
    resolveDir: ROOT,
  },
  outfile: path.join(ROOT, "node_modules", ".cache", "playhead-bench", "player.js"),
  bundle: true,
  minify: true,
  format: "iife",
  globalName: "Player",
  target: ["es2022"],
});
