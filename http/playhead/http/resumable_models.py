"""What REST takes and answers of uploads that come in parts."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from playhead.http.answers import SCRIPT_ID
from playhead.http.bodies import Fields, ScriptTitle
from playhead.sessions.requests import COUNTER_MAX, Id

UPLOAD_ID = "3f0f3c2e-58a5-4d43-9a0a-0c6f0f9a6b1d"
SHA256 = r"^[0-9a-f]{64}$"

Size = Annotated[int, Field(strict=True, ge=1, le=COUNTER_MAX)]


class DeclaredBody(Fields):
    """A file that will come in parts."""

    size: Size = Field(description="Of the whole file, in bytes.")
    sha256: str | None = Field(
        default=None,
        pattern=SHA256,
        description="Of the whole file, in lower-case hex digits. A file that is there already need not come again; "
        "what arrives is held against it.",
    )
    title: ScriptTitle | None = Field(default=None, description="Default: what the file calls itself, else `Untitled`.")
    script_id: Id | None = Field(default=None, description="An id of the app's own; default: a new one.")
    visibility: Literal["private", "listeners"] | None = Field(
        default=None,
        description="Who may hear it; default: `listeners` with the scope `scripts:write`, else `private`.",
    )


class UploadPath(Fields):
    upload_id: Id


class NoFields(Fields):
    """Nothing is asked."""


_EXAMPLE: JsonDict = {
    "upload_id": UPLOAD_ID,
    "script_id": SCRIPT_ID,
    "title": "A long talk",
    "size": 734_003_200,
    "offset": 41_943_040,
    "block_bytes": 2_097_152,
    "status": "receiving",
    "expires_at": "2025-11-24T03:11:00Z",
}


class UploadAnswer(BaseModel):
    """An upload that comes in parts."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    upload_id: str
    script_id: str | None = Field(description="The script that it becomes; null where it became none.")
    title: str
    size: int = Field(description="Of the whole file, in bytes.")
    offset: int = Field(description="How much has arrived: the next part begins here.")
    block_bytes: int = Field(description="A part ends at a multiple of it, or with the file.")
    status: Literal["receiving", "finished"] = Field(
        description="`finished`: a PUT with `Content-Range: bytes */<size>` answers what became of it."
    )
    expires_at: datetime = Field(description="When it is forgotten, unless something more of it comes.")


class UploadsAnswer(BaseModel):
    """The caller's uploads that are not whole."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"uploads": [_EXAMPLE]}]})

    uploads: list[UploadAnswer]
