/** Refusals as RFC 9457 problems, in the origin's own words and bytes (`playhead.http.problems`): nobody sees who refused. */

export interface Problem {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly retry?: boolean;
  readonly headers?: Record<string, string>;
  /** What is wrong with a token. For tests: no answer says it. */
  readonly reason?: string;
}

export const NOT_FOUND: Problem = {
  status: 404,
  code: "not_found",
  detail: "There is no such thing for this listener. Check the id.",
};
export const NO_SUCH_PATH: Problem = {
  status: 404,
  code: "not_found",
  detail: "There is nothing at this path. See /docs for what there is.",
};
export const METHOD_NOT_ALLOWED: Problem = {
  status: 405,
  code: "method_not_allowed",
  detail: "This path does not take that method. `Allow` names those that it takes.",
  headers: { Allow: "GET,HEAD" },
};
export const BEYOND: Problem = {
  status: 416,
  code: "range_not_satisfiable",
  detail: "The range begins past the end. `Content-Range` names the size.",
};
export const UNAUTHORIZED: Problem = {
  status: 401,
  code: "unauthorized",
  detail: "The token is missing, malformed, expired or not for this service. Get a new one and connect again.",
  headers: { "WWW-Authenticate": 'Bearer realm="playhead"' },
};
export const INVALID: Problem = {
  status: 422,
  code: "invalid",
  detail: "The payload is not valid: a JSON object with the `script_id` is needed.",
};
export const UNAVAILABLE: Problem = {
  status: 503,
  code: "unavailable",
  detail: "The origin does not answer now. Try again in a moment.",
  retry: true,
  headers: { "Retry-After": "1" },
};
export const INTERNAL: Problem = {
  status: 500,
  code: "internal",
  detail: "The server failed to answer. The failure is logged; nothing was acknowledged.",
  retry: true,
};

/** A token that does not open what it is asked for: the same answer for each, or one that was signed could be told from a forged one. */
export function forbidden(reason: string): Problem {
  return {
    status: 403,
    code: "forbidden",
    detail: "This address does not open this, or no longer does. Ask for a new one.",
    reason,
  };
}

export function respond(found: Problem, headers: Record<string, string> = {}): Response {
  const title = found.code.replaceAll("_", " ");
  const body = {
    type: `/problems/${found.code}`,
    title: title.charAt(0).toUpperCase() + title.slice(1),
    status: found.status,
    detail: found.detail,
    code: found.code,
    retry: found.retry ?? false,
  };
  return new Response(JSON.stringify(body), {
    status: found.status,
    headers: { "Content-Type": "application/problem+json", "Cache-Control": "no-store", ...found.headers, ...headers },
  });
}
