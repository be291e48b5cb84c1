/**
 * Builds the player page into dist/.
 * Names carry the hash of their content, so that the server may cache them for ever; index.html alone changes in place.
 */

import { readFile, readdir, rm, writeFile, mkdir } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const ROOT = path.dirname(fileURLToPath(import.meta.url));
const DIST = path.join(ROOT, "dist");
/** Where the server serves dist/. */
const PUBLIC_BASE = "/player/";

/** The licences of everything that is bundled, as they ask for. */
async function licences(inputs) {
  const names = new Set(
    inputs.flatMap((input) => input.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1] ?? []),
  );
  const texts = [...names].sort().map(async (name) => {
    const folder = path.join(ROOT, "node_modules", name);
    const about = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? await readFile(path.join(folder, file), "utf8") : "";
    return `${name} ${about.version} (${about.license})\n\n${text.trim()}\n`;
  });
  return (await Promise.all(texts)).join(`\n${"-".repeat(80)}\n\n`);
}

async function buildPage() {
  await rm(DIST, { recursive: true, force: true });
  await mkdir(DIST, { recursive: true });
  const result = await build({
    absWorkingDir: ROOT,
    entryPoints: ["src/page.ts", "src/style.css", "src/icon.svg"],
    entryNames: "[name]-[hash]",
    loader: { ".svg": "copy" },
    outdir: "dist",
    bundle: true,
    minify: true,
    format: "esm",
    target: ["es2022"],
    legalComments: "none",
    metafile: true,
  });
  let html = await readFile(path.join(ROOT, "src", "index.html"), "utf8");
  for (const [file, { entryPoint }] of Object.entries(result.metafile.outputs)) {
    if (entryPoint) html = html.replaceAll(path.basename(entryPoint), PUBLIC_BASE + path.basename(file));
  }
  await writeFile(path.join(DIST, "index.html"), html);
  await writeFile(path.join(DIST, "licences.txt"), await licences(Object.keys(result.metafile.inputs)));
  const sizes = Object.entries(result.metafile.outputs).map(([file, { bytes }]) => `${file} ${Math.round(bytes / 1024)} KiB`);
  console.log(sizes.join("\n"));
}

await buildPage();
