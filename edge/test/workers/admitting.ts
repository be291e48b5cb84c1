/** A Worker that only admits, at a time that the test names: what workerd's own WebCrypto makes of the vectors. */

import { admit } from "../../src/media.ts";
import { type Problem, respond } from "../../src/problems.ts";
import { Revocations } from "../../src/revoked.ts";
import { TokenVerifier } from "../../src/tokens.ts";

interface Question {
  keys: Record<string, string>;
  now_s: number;
  revoked: [string, number][];
  /** So many sessions end after that, and are told beside it. */
  endings?: number;
  by_operator?: string[];
  paths: string[];
}

/** What is decided, and all that is told of it. */
async function refusal(found: Problem): Promise<{ status: number } & Record<string, unknown>> {
  const { status, detail, reason } = found;
  const response = respond(found);
  return { status, detail, reason, told: { headers: [...response.headers], body: await response.text() } };
}

export default {
  async fetch(request: Request, _env: unknown, context): Promise<Response> {
    const { keys, now_s: nowS, revoked, endings = 0, by_operator = [], paths } = await request.json<Question>();
    const verifier = new TokenVerifier(keys);
    const others = Array.from({ length: endings }, (_, number): [string, number] => [`ended ${number}`, nowS + 1_000]);
    const page = { revoked: [...revoked, ...others], by_operator, next: 0, more: false };
    const revocations = new Revocations({ page: () => Promise.resolve(page) });
    const answers = [];
    for (const path of paths) {
      const found = await admit(verifier, revocations, path, nowS, context);
      answers.push("code" in found ? await refusal(found) : { status: 200, kind: found.kind });
    }
    // and once more, when some are known
    for (const [index, path] of paths.entries()) {
      const found = await admit(verifier, revocations, path, nowS, context);
      const status = "code" in found ? found.status : 200;
      if (status !== answers[index]?.status) throw new Error(`${path} was ${answers[index]?.status}, then ${status}`);
    }
    return Response.json(answers);
  },
} satisfies ExportedHandler;
