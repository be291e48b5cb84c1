"""The one answer to a media token that does not open what it is asked for.

Whatever is wrong with it, body and headers are the same, byte for byte: nobody finds out by them whether a token was
signed here, or is good for something else. What it was is in the log of who looks for it, without the token.
"""

import structlog

from playhead.auth.media_paths import InvalidMediaToken
from playhead.http.problems import Problem, problem
from playhead.playback.rejections import Code

log = structlog.get_logger(__name__)

DOES_NOT_OPEN = "This address does not open this, or no longer does. Ask for a new one."


def refused_token(error: InvalidMediaToken) -> Problem:
    log.debug("A media token was refused.", action="media_token_refused", reason=str(error))
    return problem(Code.FORBIDDEN, DOES_NOT_OPEN)
