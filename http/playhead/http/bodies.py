"""What REST takes beside what both surfaces take: who acts, pages, uploads.

Commands are the models of `playhead.sessions.requests` with `device_id`, the device that acts: `rest` where none is
named. Fields of GET and DELETE stand in the query, where every value is text.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from playhead.db.limits import (
    BOOKMARK_NOTE_CHARS_MAX,
    BOOKMARK_TITLE_CHARS_MAX,
    PAGE_SIZE,
    PAGE_SIZE_MAX,
    TITLE_CHARS_MAX,
)
from playhead.db.paging import CURSOR_CHARS_MAX
from playhead.playback.commands import REST_DEVICE_ID, Origin, Report
from playhead.sessions.codec import milliseconds
from playhead.sessions.requests import (
    PLACE_MAX_S,
    Counter,
    DeviceId,
    Id,
    LoopRequest,
    PauseRequest,
    PlayRequest,
    Rate,
    RateRequest,
    Seconds,
    SeekRequest,
    SessionRequest,
    TransferRequest,
)
from playhead.sessions.sound_figures import SoundFigures

_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")


def _whole_number(value: object) -> object:
    """Query text as people write numbers: no sign, no leading zero, no underscore."""
    if isinstance(value, str) and not _WHOLE_NUMBER.fullmatch(value):
        raise ValueError("must be a whole number in plain digits")
    return value


def _storable(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain NUL")
    return value


PageSize = Annotated[int, BeforeValidator(_whole_number), Field(ge=1, le=PAGE_SIZE_MAX)]
Cursor = Annotated[str, Field(max_length=CURSOR_CHARS_MAX)]
ScriptTitle = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=TITLE_CHARS_MAX), AfterValidator(_storable)
]
BookmarkTitle = Annotated[str, Field(max_length=BOOKMARK_TITLE_CHARS_MAX), AfterValidator(_storable)]
BookmarkNote = Annotated[str, Field(max_length=BOOKMARK_NOTE_CHARS_MAX), AfterValidator(_storable)]


class Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Acting(Fields):
    """Who asks. A device that names itself acts as itself, connected or not."""

    device_id: DeviceId | None = Field(default=None, description=f"The device that acts; default `{REST_DEVICE_ID}`.")


class PlayBody(PlayRequest):
    """Resume a session, or play a script. Sounds on `device_id`, which also acts, and so need not be connected."""


class PauseBody(Acting, PauseRequest):
    pass


class SeekBody(Acting, SeekRequest):
    pass


class LoopBody(Acting, LoopRequest):
    pass


class RateBody(Acting, RateRequest):
    pass


class TransferBody(TransferRequest):
    """Move the sound to `device_id`, which must be connected."""


class ProgressBody(Acting, SessionRequest, SoundFigures):
    """Where the sound of the active device is. Without `revision`: a plain report, taken when it goes forward."""

    position: Seconds
    playback_rate: Rate
    revision: Counter | None = Field(default=None, description="The revision that the device shows.")
    seq: Counter | None = Field(default=None, description="Counts this device's reports; a repeat changes nothing.")
    at: Counter | None = Field(
        default=None, description="Server time in ms when the place was measured; default: when it is handled."
    )

    def command(self) -> Report:
        return Report(
            position_ms=milliseconds(self.position),
            rate=self.playback_rate,
            revision=self.revision,
            seq=self.seq,
            at_ms=self.at,
        )


class SessionPath(Fields):
    session_id: Id


class EndFields(SessionPath, Acting):
    command_id: Id | None = Field(
        default=None, description="Names this command; it comes back in the cause of the state."
    )


class ScriptPath(Fields):
    script_id: Id


class StreamFields(ScriptPath):
    quality: Literal["low", "medium", "high", "auto"] = Field(
        default="auto", description="A rung, or `auto`: the player chooses as it goes."
    )
    media_version: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = Field(
        default=None,
        description=(
            "Of the session that is to be heard, as its state says: who began with a file that the script had before "
            "goes on with that. Default, and where it is no longer kept: the file that the script has now."
        ),
    )


class PrepareFields(ScriptPath):
    position: Annotated[float, Field(ge=0, le=PLACE_MAX_S, allow_inf_nan=False)] | None = Field(
        default=None, description="Where somebody will listen, in seconds: that place is encoded at once, if it can be."
    )


class PageFields(Fields):
    limit: PageSize = Field(default=PAGE_SIZE, description="Rows in the page.")
    cursor: Cursor | None = Field(default=None, description="`next_cursor` of the page before.")


class ScriptPageFields(PageFields, ScriptPath):
    pass


class BookmarkBody(Fields):
    """A place to mark."""

    command_id: Id | None = Field(default=None, description="Taken as in every body; a bookmark has no cause to show.")
    script_id: Id
    position: Seconds
    title: BookmarkTitle | None = None
    note: BookmarkNote | None = None


class BookmarkPath(Fields):
    bookmark_id: Id


class BookmarkChangeBody(BookmarkPath):
    """What is to be otherwise; what is not named stays. A title or note of null is taken away."""

    command_id: Id | None = Field(default=None, description="Taken as in every body; a bookmark has no cause to show.")
    position: Seconds | None = None
    title: BookmarkTitle | None = None
    note: BookmarkNote | None = None

    @model_validator(mode="after")
    def _something_possible(self) -> "BookmarkChangeBody":
        named = self.model_fields_set & {"position", "title", "note"}
        if not named:
            raise ValueError("name what is to change: `position`, `title` or `note`")
        if "position" in named and self.position is None:
            raise ValueError("a bookmark has a position; leave it out to keep it")
        return self

    def text(self, name: Literal["title", "note"]) -> str | None:
        """The new title or note: empty to take it away, None to keep it."""
        value: str | None = getattr(self, name)
        return (value or "") if name in self.model_fields_set else None


class UploadFields(Fields):
    """What is said of an upload, in the query or in the form."""

    title: ScriptTitle | None = Field(
        default=None, description="Default: what the file calls itself, else its name without its ending."
    )
    script_id: Id | None = Field(default=None, description="An id of the app's own; default: a new one.")
    visibility: Literal["private", "listeners"] | None = Field(
        default=None,
        description="Who may hear it; default: `listeners` with the scope `scripts:write`, else `private`.",
    )


Command = PlayBody | PauseBody | SeekBody | LoopBody | RateBody | TransferBody | ProgressBody
"""Bodies that mean a command."""


def origin_of(device_id: str | None, command_id: str | None) -> Origin:
    """Who acts over REST."""
    return Origin(device_id=device_id or REST_DEVICE_ID, command_id=command_id)
