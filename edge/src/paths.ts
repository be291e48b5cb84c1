/**
 * The grammar of media paths, as the origin has it (`origin_paths.py`): what is not one, character by character, is not there.
 *
 *     /p/<token>/t/<script_id>/<media_version>/master.m3u8 | grid.json | <rung>/index.m3u8 | <rung>/init.mp4 | <rung>/<n>.m4s
 */

export type Kind = "multivariant" | "facts" | "playlist" | "init" | "segment";

/** What a media path names. `path`: from `/t/` on, what the token signs and the cache is asked for. */
export interface MediaPath {
  readonly token: string;
  readonly path: string;
  /** `/t/<script_id>/<media_version>/` */
  readonly base: string;
  readonly scriptId: string;
  readonly mediaVersion: string;
  readonly kind: Kind;
  /** The number of a segment; null of everything else. */
  readonly segment: number | null;
}

const RUNGS = "low|medium|high";
const UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
const PATH = new RegExp(
  `^/p/(?<token>[A-Za-z0-9_.-]+)(?<path>(?<base>/t/(?<script>${UUID})/(?<version>[0-9a-f]{16})/)` +
    `(?:(?<multivariant>master\\.m3u8)|(?<facts>grid\\.json)|(?:${RUNGS})/` +
    `(?:(?<playlist>index\\.m3u8)|(?<init>init\\.mp4)|(?<segment>(?:0|[1-9][0-9]{0,6})\\.m4s))))$`,
);
const KINDS: readonly Kind[] = ["multivariant", "facts", "playlist", "init", "segment"];

/** What `rawPath` (as it was sent, nothing decoded) names, or null. */
export function parseMediaPath(rawPath: string): MediaPath | null {
  const found = PATH.exec(rawPath)?.groups;
  const kind = KINDS.find((name) => found?.[name] !== undefined);
  if (found === undefined || kind === undefined) return null;
  return {
    token: found["token"] ?? "",
    path: found["path"] ?? "",
    base: found["base"] ?? "",
    scriptId: found["script"] ?? "",
    mediaVersion: found["version"] ?? "",
    kind,
    segment: kind === "segment" ? Number.parseInt(found["segment"] ?? "", 10) : null,
  };
}

/** The segment so many behind the segment `asked`, under the same token; null if that is none. */
export function segmentAfter(asked: MediaPath, count: number): MediaPath | null {
  if (asked.segment === null) return null;
  const segment = asked.segment + count;
  return { ...asked, segment, path: asked.path.replace(/[0-9]+\.m4s$/, `${segment}.m4s`) };
}
