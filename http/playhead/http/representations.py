"""Bodies that never change, as HTTP carries them: entity tags, gzip, ranges.

A representation in gzip is another one (RFC 9110 section 8.8.3), so it has an entity tag of its own.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import hdrs, web

from playhead.http.problems import HttpCode, problem, respond
from playhead.http.ranges import Unsatisfiable, byte_range

ETAG_BYTES = 16
GZIP_LEVEL = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Representation:
    """A body, its type, and how it may be kept. `gzipped`: the same body, for those who take it."""

    body: bytes
    content_type: str
    cache_control: str
    etag: str
    gzipped: bytes | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.body) + len(self.gzipped or b"")


def text_representation(text: str, content_type: str, cache_control: str) -> Representation:
    body = text.encode()
    return Representation(
        body=body,
        content_type=content_type,
        cache_control=cache_control,
        etag=_etag(body),
        gzipped=gzip.compress(body, GZIP_LEVEL, mtime=0),
    )


def binary_representation(body: bytes, content_type: str, cache_control: str) -> Representation:
    return Representation(body=body, content_type=content_type, cache_control=cache_control, etag=_etag(body))


def _etag(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=ETAG_BYTES).hexdigest()


def respond_to(request: web.Request, found: Representation) -> web.Response:
    """200, 206, 304 or 416, as the request's conditions, encodings and ranges ask for."""
    zipped = found.gzipped if _takes_gzip(request) else None
    body, etag = (found.body, found.etag) if zipped is None else (zipped, f"{found.etag}-gzip")
    headers = {"Cache-Control": found.cache_control, "ETag": f'"{etag}"'}
    if found.gzipped is not None:
        headers["Vary"] = "Accept-Encoding"
    if zipped is not None:
        headers["Content-Encoding"] = "gzip"
    if _known(request, etag):
        return web.Response(status=304, headers=headers)
    if found.gzipped is None:
        return _ranged(request, found, headers)
    return web.Response(body=body, content_type=found.content_type, headers=headers)


def _ranged(request: web.Request, found: Representation, headers: Mapping[str, str]) -> web.Response:
    size = len(found.body)
    wanted = byte_range(request.headers.get(hdrs.RANGE), size) if _range_applies(request, found.etag) else None
    if isinstance(wanted, Unsatisfiable):
        return respond(problem(HttpCode.RANGE_NOT_SATISFIABLE), {"Content-Range": f"bytes */{size}"})
    headers = {**headers, "Accept-Ranges": "bytes"}
    if wanted is None:
        return web.Response(body=found.body, content_type=found.content_type, headers=headers)
    start, end = wanted
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return web.Response(status=206, body=found.body[start:end], content_type=found.content_type, headers=headers)


def _takes_gzip(request: web.Request) -> bool:
    """Whether `Accept-Encoding` names gzip with a weight above 0 (RFC 9110 section 12.5.3)."""
    for coding in request.headers.get(hdrs.ACCEPT_ENCODING, "").split(","):
        name, *parameters = (part.strip().lower() for part in coding.split(";"))
        if name == "gzip":
            return not any(part.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for part in parameters)
    return False


def _known(request: web.Request, etag: str) -> bool:
    tags = request.if_none_match
    return tags is not None and any(tag.value in (etag, "*") for tag in tags)


def _range_applies(request: web.Request, etag: str) -> bool:
    """`If-Range` lets a range through for exactly this representation; what changes never has no date to compare."""
    condition = request.headers.get(hdrs.IF_RANGE)
    return request.method == "GET" and (condition is None or condition.strip() == f'"{etag}"')
