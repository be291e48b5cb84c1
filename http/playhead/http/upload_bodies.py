"""The body of an upload, taken piece by piece: the file itself with its fields in the query, or a multipart form.

A form may name its fields before or after the file; `script_id` before it, for the file is stored under that name.
Nothing here holds more than one piece of the file.
"""

import re
from collections.abc import AsyncIterator
from typing import Protocol

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http import HttpProcessingError

from playhead.db.limits import TITLE_CHARS_MAX
from playhead.http.bodies import UploadFields
from playhead.http.decoding import Arrival, Incomplete, Pace, pieces, refused_encoding, validate
from playhead.http.problems import HttpCode, Problem, problem
from playhead.playback.rejections import Code

RAW_KINDS = ("audio/", "video/")
"""Browsers call an mp4 or webm a video by its name, whatever is in it."""
RAW_TYPES = ("application/octet-stream", "application/ogg")
"""Beside all of RAW_KINDS."""
FORM_TYPE = "multipart/form-data"
FILE_FIELD = "file"
FIELD_BYTES_MAX = 4 * 1024
FORM_PARTS_MAX = 10
PIECE_BYTES = 64 * 1024
UNTITLED = "Untitled"
UPLOAD_PACE = Pace(grace_s=30.0, bytes_per_s=64 * 1024)
"""A gigabyte may take four and a half hours."""

_NO_TEXT = re.compile("[\ud800-\udfff]")
"""What stands for bytes that are no UTF-8 (PEP 383), or was said by half: neither can be stored or answered."""


class InvalidForm(ValueError):
    """The form is broken. The message says where."""


class UploadBody(Protocol):
    """An upload whose file is about to come."""

    @property
    def fields(self) -> UploadFields:
        """What is known before the file."""
        ...

    @property
    def title(self) -> str:
        """The title, if none is given."""
        ...

    def file(self) -> AsyncIterator[bytes]:
        """The file. Raises Incomplete or InvalidForm."""
        ...

    async def rest(self) -> UploadFields | Problem:
        """All fields, once the file was read. Raises Incomplete or InvalidForm."""
        ...


class RawBody:
    """The body is the file."""

    title = UNTITLED

    def __init__(self, request: web.Request, fields: UploadFields, pace: Pace) -> None:
        self._request = request
        self._pace = pace
        self.fields = fields

    def file(self) -> AsyncIterator[bytes]:
        return pieces(self._request, self._pace)

    async def rest(self) -> UploadFields | Problem:
        return self.fields


class FormBody:
    """A multipart form, opened up to its file."""

    def __init__(self, reader: MultipartReader, given: dict[str, str], pace: Pace) -> None:
        self._reader = reader
        self._arrival = Arrival(pace)
        self._given = given
        self._parts = 0
        self._part: BodyPartReader | None = None
        self.fields = UploadFields()

    @property
    def title(self) -> str:
        name = _readable(self._part.filename if self._part is not None else None)
        plain = name.replace("\\", "/").rpartition("/")[2].replace("\0", "")
        title = (plain.rpartition(".")[0] or plain).strip()[:TITLE_CHARS_MAX]
        return title if title.strip("\ufffd ") else UNTITLED

    async def open(self) -> Problem | None:
        """Reads up to the file. Raises Incomplete or InvalidForm."""
        self._part = await self._until_file()
        if self._part is None:
            return problem(Code.INVALID, f"The form has no part called `{FILE_FIELD}`.")
        fields = validate(UploadFields, dict(self._given))
        if isinstance(fields, Problem):
            return fields
        self.fields = fields
        return None

    async def file(self) -> AsyncIterator[bytes]:
        assert self._part is not None, "open() comes first"
        while not self._part.at_eof():
            if piece := await self._piece(self._part):
                yield piece

    async def rest(self) -> UploadFields | Problem:
        if await self._until_file() is not None:
            return problem(Code.INVALID, "The form has more than one file. Upload them one by one.")
        fields = validate(UploadFields, dict(self._given))
        if isinstance(fields, UploadFields) and fields.script_id != self.fields.script_id:
            return problem(Code.INVALID, "script_id: must come before the file in the form.")
        return fields

    async def _until_file(self) -> BodyPartReader | None:
        """Reads fields up to the next file; None at the form's end."""
        while (part := await self._next()) is not None:
            name = _readable(part.name)
            if name == FILE_FIELD:
                return part
            if name in self._given:
                raise InvalidForm(f"The form names `{name[:FIELD_BYTES_MAX]}` twice.")
            self._given[name] = await self._text(part)
        return None

    async def _next(self) -> BodyPartReader | None:
        try:
            async with self._arrival.deadline():
                part = await self._reader.next()
        except (ConnectionError, TimeoutError, web.RequestPayloadError) as error:
            raise Incomplete from error
        except (ValueError, RuntimeError, HttpProcessingError):
            raise InvalidForm("The form is broken: a boundary or a part's head is missing.") from None
        self._parts += 1
        if part is not None and (isinstance(part, MultipartReader) or self._parts > FORM_PARTS_MAX):
            raise InvalidForm(f"A form has at most {FORM_PARTS_MAX} parts, none of them a form itself.")
        return part

    async def _text(self, part: BodyPartReader) -> str:
        value = bytearray()
        while not part.at_eof():
            value += await self._piece(part)
            if len(value) > FIELD_BYTES_MAX:
                raise InvalidForm(f"A field of the form may hold {FIELD_BYTES_MAX} bytes.")
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InvalidForm("A field of the form is not text in UTF-8.") from None

    async def _piece(self, part: BodyPartReader) -> bytes:
        try:
            async with self._arrival.deadline():
                return self._arrival.took(await part.read_chunk(PIECE_BYTES))
        except (ConnectionError, TimeoutError, web.RequestPayloadError) as error:
            raise Incomplete from error
        except ValueError:
            raise InvalidForm("The form ends without its last boundary: the file did not arrive whole.") from None


def _readable(said: str | None) -> str:
    return _NO_TEXT.sub("\ufffd", said or "")


def is_raw(content_type: str) -> bool:
    """Whether a body of that type is the bytes of a file."""
    return content_type.startswith(RAW_KINDS) or content_type in RAW_TYPES


async def open_body(request: web.Request, pace: Pace = UPLOAD_PACE) -> UploadBody | Problem:
    """The upload's body, read up to the file. Raises Incomplete or InvalidForm."""
    if refusal := refused_encoding(request):
        return refusal
    given = dict(request.query)
    if request.content_type == FORM_TYPE:
        try:
            form = FormBody(await request.multipart(), given, pace)
        except ValueError:
            raise InvalidForm("The form's `Content-Type` names no boundary.") from None
        return await form.open() or form
    if not is_raw(request.content_type):
        detail = f"Send the file as `audio/…`, `video/…` or `{RAW_TYPES[0]}`, or a form as `{FORM_TYPE}`."
        return problem(HttpCode.UNSUPPORTED_MEDIA_TYPE, detail)
    fields = validate(UploadFields, dict(given))
    return fields if isinstance(fields, Problem) else RawBody(request, fields, pace)
