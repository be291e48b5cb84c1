"""What a PUT of a part says of itself, by its head alone: nothing of its body is read before that is in order.

Content-Range: bytes <first>-<last>/<size>    this part
Content-Range: bytes */<size>                 nothing; what has become of the upload?
"""

import re
from dataclasses import dataclass

from aiohttp import hdrs, web

from playhead.http.decoding import refused_encoding
from playhead.http.problems import HttpCode, Refused, problem
from playhead.http.unfinished_uploads import Declared
from playhead.http.upload_bodies import RAW_TYPES, is_raw
from playhead.playback.rejections import Code

_NUMBER = r"(0|[1-9][0-9]{0,15})"
_CONTENT_RANGE = re.compile(rf"bytes (?:{_NUMBER}-{_NUMBER}|\*)/{_NUMBER}")


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes from `start` up to, not including, `end`; none of them where both are 0."""

    start: int
    end: int


def part_of(request: web.Request, declared: Declared) -> Part:
    """What the request brings. Raises Refused."""
    given = request.headers.getall(hdrs.CONTENT_RANGE, [])
    found = _CONTENT_RANGE.fullmatch(given[0]) if len(given) == 1 else None
    if found is None:
        raise _invalid("Say `Content-Range: bytes <first>-<last>/<size>`, once.")
    if int(found[3]) != declared.size:
        raise _invalid(f"The upload was declared with {declared.size} bytes, not {found[3]}.")
    part = Part(0, 0) if found[1] is None else Part(int(found[1]), int(found[2]) + 1)
    if found[1] is not None:
        _check_bounds(part, declared)
    if (request.content_length or 0) != part.end - part.start:
        raise _invalid(f"Say `Content-Length: {part.end - part.start}`, and send so many bytes: the range has them.")
    if part.end and not is_raw(request.content_type):
        detail = f"Send the part as `audio/…`, `video/…` or `{RAW_TYPES[0]}`."
        raise Refused(problem(HttpCode.UNSUPPORTED_MEDIA_TYPE, detail))
    if refusal := refused_encoding(request):
        raise Refused(refusal)
    return part


def _check_bounds(part: Part, declared: Declared) -> None:
    if not part.start < part.end <= declared.size:
        raise _invalid(f"The range must lie in 0-{declared.size - 1}, and end where or after it begins.")
    block_bytes = declared.block_bytes
    if part.start % block_bytes or (part.end % block_bytes and part.end != declared.size):
        raise _invalid(f"A part begins and ends at a multiple of {block_bytes} bytes; the last one ends with the file.")


def _invalid(detail: str) -> Refused:
    return Refused(problem(Code.INVALID, f"Content-Range: {detail}"))
