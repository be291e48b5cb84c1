"""Where a listener fetches a script's media: signed for one script version, long enough to hear it through."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from playhead.auth.media_paths import MediaSigner, expiry_s, media_prefix
from playhead.db import DatabaseUnavailable, Script
from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.sessions.scripts import Scripts, look_up

log = structlog.get_logger(__name__)

MULTIVARIANT_PLAYLIST = "master.m3u8"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLink:
    """A signed address and the Unix time at which it ends."""

    url: str
    expires_at_s: int

    @property
    def expires_at_ms(self) -> int:
        return self.expires_at_s * 1000


class StreamLinks:
    """Signs stream addresses below `media_base_url`. Made per request, never cached.

    `has_ended`: whether the addresses of that session are revoked, so that no other one must be signed.
    """

    def __init__(
        self,
        signer: MediaSigner,
        media_base_url: str,
        clock: Clock,
        has_ended: Callable[[str], bool] = lambda _session_id: False,
    ) -> None:
        self.has_ended = has_ended
        self._signer = signer
        self._media_base_url = media_base_url
        self._clock = clock

    def link(
        self,
        script_id: str,
        media_version: str,
        duration_ms: int,
        playlist: str = MULTIVARIANT_PLAYLIST,
        *,
        listener_id: str,
        session_id: str | None = None,
        not_after_s: int | None = None,
    ) -> StreamLink:
        """The address of `playlist` (relative to the script's version), valid for the duration and 12 h.

        Not longer than `not_after_s`, in Unix seconds. `listener_id`: who gets it.
        """
        expires_at_s = expiry_s(self._clock.now_ms(), duration_ms)
        if not_after_s is not None:
            expires_at_s = min(expires_at_s, not_after_s)
        prefix = self._signer.sign(media_prefix(script_id, media_version), expires_at_s, session_id, listener_id)
        return StreamLink(url=f"{self._media_base_url}{prefix}{playlist}", expires_at_s=expires_at_s)


async def session_stream(
    scripts: Scripts,
    links: StreamLinks,
    claims: Mapping[str, str],
    state: SessionState,
    script: Script | None = None,
) -> StreamLink | None:
    """Where the session's media are, for the answer of a `play` that was accepted already.

    `script`: as the command has looked it up; None: it has not.
    None when PostgreSQL does not answer soon, the script may no longer be heard, or has another file than the session
    plays (it came in this very moment, or could not be taken over): none of it undoes the command.
    """
    try:
        script = script or await look_up(scripts, claims, state.script_id)
    except DatabaseUnavailable as error:
        log.warning("A play was answered without its stream.", action="stream_unknown", error=str(error))
        return None
    if script is None or state.media_version not in ("", script.media_version):
        return None
    return links.link(
        script.script_id,
        script.media_version,
        script.duration_ms,
        listener_id=state.listener_id,
        session_id=state.session_id,
    )
