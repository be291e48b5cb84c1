/**
 * What a stream's address names. Pure.
 *
 *     https://host/p/<token>/t/<script>/<media version>/master.m3u8
 *
 * Every answer signs anew, so two addresses of the same media differ in their token alone.
 */

const TOKEN = /\/p\/[^/]+(?=\/t\/)/;

/** Whether both addresses lead to the same media: a stream that plays needs no other one, only a later token some day. */
export function sameMedia(one: string, other: string): boolean {
  return one.replace(TOKEN, "") === other.replace(TOKEN, "");
}
