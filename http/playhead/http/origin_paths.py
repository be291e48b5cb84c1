"""The grammar of media paths, strictly: what is not one of these, character by character, is not there.

    /p/<token>/t/<script_id>/<media_version>/master.m3u8
                                             grid.json
                                             <rung>/index.m3u8
                                             <rung>/init.mp4
                                             <rung>/<n>.m4s

Ids in their canonical form, numbers in plain digits, nothing encoded: so one thing has one path, which caches rely on.
"""

import re
from dataclasses import dataclass
from typing import Literal

from playhead.media import Rung, rung_named
from playhead.media.playlists import INIT_NAME, MEDIA_NAME, MULTIVARIANT_NAME

FACTS_NAME = "grid.json"

Kind = Literal["multivariant", "facts", "playlist", "init", "segment"]

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_PATH = re.compile(
    rf"/p/(?P<token>[A-Za-z0-9_.-]+)(?P<path>/t/(?P<script>{_UUID})/(?P<version>[0-9a-f]{{16}})/"
    rf"(?:{re.escape(MULTIVARIANT_NAME)}|(?P<facts>{re.escape(FACTS_NAME)})|(?P<rung>[a-z]+)/"
    rf"(?:(?P<playlist>{re.escape(MEDIA_NAME)})|(?P<init>{re.escape(INIT_NAME)})"
    r"|(?P<segment>0|[1-9][0-9]{0,6})\.m4s)))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPath:
    """What a media path names. `path`: from `/t/` on, what the token signs. `rung` None: playlist of all, or facts."""

    token: str
    path: str
    script_id: str
    media_version: str
    kind: Kind
    rung: Rung | None
    segment: int | None


def parse_media_path(raw_path: str) -> MediaPath | None:
    """What `raw_path` (as it was sent, nothing decoded) names, or None."""
    found = _PATH.fullmatch(raw_path)
    if found is None:
        return None
    rung = rung_named(found["rung"]) if found["rung"] else None
    if found["rung"] and rung is None:
        return None
    return MediaPath(
        token=found["token"],
        path=found["path"],
        script_id=found["script"],
        media_version=found["version"],
        kind=_kind(found),
        rung=rung,
        segment=int(found["segment"]) if found["segment"] else None,
    )


def _kind(found: "re.Match[str]") -> Kind:
    if found["rung"] is None:
        return "facts" if found["facts"] else "multivariant"
    if found["segment"] is not None:
        return "segment"
    return "init" if found["init"] else "playlist"
