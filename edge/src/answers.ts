/** What goes back to players: 200, 206, 304 or 416, as the request's conditions and ranges ask for; HEAD without a body. */

import { BEYOND, respond } from "./problems.ts";
import { byteRange, isKnown } from "./ranges.ts";

/**
 * A whole body, or for a HEAD what is said of it. `size`: null where nobody says it. `etag` with its quotes; `compressible`: sent
 * in gzip to who takes it, and then without ranges.
 */
export interface Representation {
  readonly body: ArrayBuffer | Uint8Array;
  readonly size: number | null;
  readonly contentType: string;
  readonly cacheControl: string;
  readonly etag: string;
  readonly compressible: boolean;
}

export function answer(request: Request, found: Representation): Response {
  const zipped = found.compressible && takesGzip(request);
  const etag = zipped ? found.etag.replace(/"$/, '-gzip"') : found.etag;
  const headers: Record<string, string> = { "Cache-Control": found.cacheControl, ETag: etag };
  if (found.compressible) headers["Vary"] = "Accept-Encoding";
  else headers["Accept-Ranges"] = "bytes";
  if (isKnown(request.headers.get("If-None-Match"), etag)) return new Response(null, { status: 304, headers });
  headers["Content-Type"] = found.contentType;
  if (found.compressible) {
    // the runtime zips a body that is said to be so
    if (zipped) headers["Content-Encoding"] = "gzip";
    return new Response(bodyOf(request, found.body), { headers: zipped ? headers : sized(found, headers) });
  }
  return ranged(request, found, headers);
}

function ranged(request: Request, found: Representation, headers: Record<string, string>): Response {
  const size = found.body.byteLength;
  const condition = request.headers.get("If-Range");
  const applies = request.method === "GET" && (condition === null || condition.trim() === found.etag);
  const wanted = applies ? byteRange(request.headers.get("Range"), size) : null;
  if (wanted === "beyond") return respond(BEYOND, { "Content-Range": `bytes */${size}` });
  if (wanted === null) {
    return new Response(bodyOf(request, found.body), { headers: sized(found, headers) });
  }
  const [start, end] = wanted;
  headers["Content-Range"] = `bytes ${start}-${end - 1}/${size}`;
  return new Response(found.body.slice(start, end), { status: 206, headers });
}

function sized(found: Representation, headers: Record<string, string>): Record<string, string> {
  return found.size === null ? headers : { ...headers, "Content-Length": String(found.size) };
}

function bodyOf(request: Request, body: ArrayBuffer | Uint8Array): ArrayBuffer | Uint8Array | null {
  return request.method === "HEAD" ? null : body;
}

/** Whether the client takes gzip (RFC 9110 section 12.5.3). Cloudflare writes `Accept-Encoding` anew, and keeps the client's own. */
function takesGzip(request: Request): boolean {
  const cf = request.cf as { clientAcceptEncoding?: string } | undefined;
  const header = cf?.clientAcceptEncoding ?? request.headers.get("Accept-Encoding") ?? "";
  for (const coding of header.split(",")) {
    const [name, ...parameters] = coding.split(";").map((part) => part.trim().toLowerCase());
    if (name === "gzip") return !parameters.some((part) => /^q=0(\.0{0,3})?$/.test(part.replaceAll(" ", "")));
  }
  return false;
}
