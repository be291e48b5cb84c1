/** Reads the multivariant playlist at a URL, and all that it names, with hls-parser in strict mode; prints what it offers. */

import HLS from "hls-parser";

HLS.setOptions({ strictMode: true });

async function read(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${answer.status} for a playlist`);
  return HLS.parse(await answer.text());
}

const url = process.argv[2];
const multivariant = await read(url);
const variants = [];
for (const variant of multivariant.variants ?? []) {
  const playlist = await read(new URL(variant.uri, url));
  variants.push({
    uri: variant.uri,
    bandwidth: variant.bandwidth,
    codecs: variant.codecs,
    segments: playlist.segments.length,
    duration: playlist.segments.reduce((sum, segment) => sum + segment.duration, 0),
    map: playlist.segments[0].map.uri,
    type: playlist.playlistType,
    endlist: playlist.endlist,
  });
}
console.log(JSON.stringify({ independent: multivariant.independentSegments, variants }));
