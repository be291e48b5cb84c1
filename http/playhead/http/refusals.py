"""Which codes a kind of route can answer, beside those that every route can."""

from playhead.http.problems import AnyCode, HttpCode
from playhead.playback.rejections import Code

BODY: tuple[AnyCode, ...] = (Code.TOO_LARGE, HttpCode.UNSUPPORTED_MEDIA_TYPE, HttpCode.INCOMPLETE)
COMMAND: tuple[AnyCode, ...] = (
    Code.NOT_FOUND,
    Code.OUT_OF_BOUNDS,
    Code.CONFLICT,
    Code.COMMAND_ID_REUSED,
    Code.SESSION_ENDED,
    Code.OVERLOADED,
    *BODY,
)
