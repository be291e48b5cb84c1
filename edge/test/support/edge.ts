/** The Worker in miniflare, with an origin of ours behind it. */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { type IncomingMessage, type Server, createServer, request as askFor } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { createInterface } from "node:readline";

import { Miniflare } from "miniflare";

declare const BUNDLES: string;
declare const REPOSITORY: string;

/** A server with its databases takes 12 s alone, and 60 beside a whole test run on two cores. */
const START_TIMEOUT_MS = 180_000;
const UNTIL_TIMEOUT_MS = 20_000;
const DISPOSE_TIMEOUT_MS = 10_000;

/** What tests/support/edge_origin.py says of the server that it has started. `signed`: prefixes, by what is special. */
export interface Announcement {
  readonly url: string;
  readonly keys: Record<string, string>;
  readonly script_id: string;
  readonly media_version: string;
  readonly third_key: string;
  readonly listener_token: string;
  readonly signed: Record<
    "good" | "other" | "second_key" | "third_key" | "expired" | "unknown_script" | "unknown_version",
    string
  >;
}

/** Returns when it `holds`; fails when it takes too long. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, everyMs = 20): Promise<void> {
  const deadline = Date.now() + UNTIL_TIMEOUT_MS;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

/** A playhead server, its databases and one script, in processes of their own. */
export class Origin {
  private constructor(
    private readonly process: ChildProcess,
    readonly about: Announcement,
  ) {}

  static async start(): Promise<Origin> {
    const own = path.join(REPOSITORY, ".venv", "bin", "python");
    const python = process.env["PLAYHEAD_PYTHON"] ?? (existsSync(own) ? own : "python3");
    const child = spawn(python, ["-m", "tests.support.edge_origin"], {
      cwd: REPOSITORY,
      stdio: ["pipe", "pipe", "inherit"],
    });
    const lines = createInterface({ input: child.stdout });
    const [line] = (await Promise.race([
      once(lines, "line", { signal: AbortSignal.timeout(START_TIMEOUT_MS) }),
      once(child, "exit").then(([code]) => Promise.reject(new Error(`The origin ended with ${String(code)}.`))),
    ])) as [string];
    return new Origin(child, JSON.parse(line) as Announcement);
  }

  async stop(): Promise<void> {
    this.process.stdin?.end();
    if (this.process.exitCode === null) await once(this.process, "exit");
  }
}

/**
 * Between the Worker and its origin: counts what is asked for, and can hold answers back, refuse, or be away.
 * What was revoked is told all the same, unless it is away or `silent`; that is not counted as asked.
 */
export class Passage {
  /** Method and path of each. */
  readonly asked: string[] = [];
  /** What `gate`, `refusal` and `away` are for, by its path. */
  concerns: (url: string) => boolean = () => true;
  /** Answers, of the origin and refusals, wait for this. */
  gate: Promise<void> = Promise.resolve();
  /** Answered instead of what the origin says. */
  refusal: { status: number; headers: Record<string, string>; body: string } | null = null;
  /** Requests are cut off, as by a server that is gone. */
  away = false;
  /** Asked for what was revoked, it takes for ever. */
  silent = false;
  revokedAsked = 0;
  readonly #server: Server;

  constructor(private readonly originUrl: string) {
    this.#server = createServer((request, response) => {
      const revoked = /\/revoked\?/.test(request.url ?? "");
      if (revoked) this.revokedAsked += 1;
      else this.asked.push(`${request.method ?? ""} ${request.url ?? ""}`);
      if (revoked && this.silent) return;
      const concerned = this.concerns(request.url ?? "");
      if (this.away && concerned) {
        request.socket.destroy();
        return;
      }
      const { refusal } = this;
      if (refusal !== null && !revoked && concerned) {
        void this.gate.then(() => response.writeHead(refusal.status, refusal.headers).end(refusal.body));
        return;
      }
      const { url = "", method, headers } = request;
      const onward = askFor(`${this.originUrl}${url}`, { method, headers }, (answer: IncomingMessage) => {
        void (revoked || !concerned ? Promise.resolve() : this.gate).then(() => {
          response.writeHead(answer.statusCode ?? 500, answer.headers);
          answer.pipe(response);
        });
      });
      onward.on("error", () => request.socket.destroy());
      request.pipe(onward);
    });
  }

  /** How often it was asked for what lies at `tail`, by whomever. */
  times(tail: string): number {
    return this.asked.filter((line) => line.startsWith("GET ") && line.endsWith(`/${tail}`)).length;
  }

  async open(): Promise<string> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

/** The bundle of `name` in miniflare, which answers at `url`. */
export async function startWorker(
  name: "worker" | "admitting" | "impatient",
  bindings: Record<string, string>,
): Promise<{ worker: Miniflare; url: URL }> {
  const worker = new Miniflare({
    modules: true,
    scriptPath: path.join(BUNDLES, `${name}.mjs`),
    modulesRoot: BUNDLES,
    compatibilityDate: "2026-04-01",
    bindings,
    host: "127.0.0.1",
    port: 0,
    cf: false,
  });
  return { worker, url: await worker.ready };
}

/** Ends it. Seen once: its process was gone, and `dispose` waited on; then nobody waits for that. */
export async function endWorker(worker: Miniflare | undefined): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, DISPOSE_TIMEOUT_MS)));
  await Promise.race([worker?.dispose(), late]);
  clearTimeout(timer);
}
