"""What outlives the state store: sessions and their history in PostgreSQL, as the flusher last stored them."""

from typing import Protocol

from playhead.playback.history import Move
from playhead.playback.state import SessionState


class Archive(Protocol):
    """Stored sessions. Every method may raise DatabaseUnavailable."""

    async def get(self, session_id: str) -> SessionState | None: ...

    async def latest(self, listener_id: str, script_id: str) -> SessionState | None:
        """The listener's last session of the script."""
        ...

    async def moves(self, session_id: str) -> tuple[Move, ...]:
        """The session's stored moves and conflicts, newest first; as many as are kept."""
        ...
