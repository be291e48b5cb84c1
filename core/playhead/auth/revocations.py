"""Media tokens that are refused before their time: those of sessions that have ended, and of scripts taken back.

    the end of a session     every token that carries it
    a script's taking back   every token for its prefix that was signed until then; a newer one opens it

Owns: a bounded copy of the list, in the order of time. Must not know: where it comes from, or who asks.
What is not in the copy is not refused: a token that is valid otherwise opens until it expires.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from playhead.auth.media_paths import InvalidMediaToken, MediaClaims, expiry_s

REVOKED_MAX = 128_000
"""Entries of a process's copy, some 30 MB; what was revoked first is forgotten first."""
REVOKED = "The media token was revoked: its session has ended, or the script was taken back. Ask for a new stream URL."
ENDED_MARGIN_S = 3_600
"""How much longer than its last token the end of a session is kept: clocks differ, and an answer may be signed late."""
SIGNED_LATE_S = 5
"""What is signed so soon after a script was taken back may have been asked for before."""
FORGET_INTERVAL_MS = 60_000
LATE_MS_MAX = 10_000
"""An entry may come into the list so much later than its time says: whoever reads on looks so far back."""

_at_ms = attrgetter("at_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """`subject`: a session's id, or a script's media prefix. `until_s`: no token that is meant ends later."""

    subject: str
    at_ms: int
    until_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedPage:
    """What was revoked since some time, oldest first. `next_ms`: the time to ask for next; `more`: at once."""

    rows: Sequence[Revocation]
    next_ms: int
    more: bool


def ended(session_id: str, at_ms: int, duration_ms: int) -> Revocation:
    """Of a session of a script of that length."""
    return Revocation(subject=session_id, at_ms=at_ms, until_s=expiry_s(at_ms, duration_ms) + ENDED_MARGIN_S)


def taken_back(prefix: str, at_ms: int, duration_ms: int) -> Revocation:
    """Of a script of that length, by its media prefix."""
    return Revocation(subject=prefix, at_ms=at_ms, until_s=expiry_s(at_ms, duration_ms) + SIGNED_LATE_S)


class Revocations:
    """The copy of one process. `known_to_ms` says up to when nothing is missing in it; None: nobody knows yet."""

    def __init__(self, known_to_ms: Callable[[], int | None], entries_max: int = REVOKED_MAX) -> None:
        self._known_to_ms = known_to_ms
        self._entries_max = entries_max
        self._by_subject: dict[str, Revocation] = {}
        self._in_order: list[Revocation] = []
        self._forget_at_ms = 0

    def __len__(self) -> int:
        return len(self._in_order)

    def check(self, claims: MediaClaims) -> None:
        """Raises InvalidMediaToken where a token with these claims has been revoked."""
        back = self._by_subject.get(claims.prefix)
        if self.has_ended(claims.session_id) or (back is not None and claims.expires_at_s <= back.until_s):
            raise InvalidMediaToken(REVOKED)

    def has_ended(self, session_id: str | None) -> bool:
        """Whether that session's tokens are revoked."""
        return session_id is not None and session_id in self._by_subject

    def add(self, rows: Iterable[Revocation], now_ms: int) -> int:
        """Takes in what is not known yet; answers how many were dropped for want of room."""
        fresh = []
        for row in rows:
            known = self._by_subject.get(row.subject)
            if row.until_s * 1000 > now_ms and (known is None or known.until_s < row.until_s):
                self._by_subject[row.subject] = row
                fresh.append(row)
        if fresh:
            self._put_in_order(fresh)
        if now_ms >= self._forget_at_ms:
            self._forget_at_ms = now_ms + FORGET_INTERVAL_MS
            self._keep([row for row in self._in_order if row.until_s * 1000 > now_ms])
        beyond = max(0, len(self._in_order) - self._entries_max)
        if beyond:
            self._keep(self._in_order[beyond:])
        return beyond

    def _put_in_order(self, fresh: list[Revocation]) -> None:
        fresh.sort(key=_at_ms)
        late = bool(self._in_order) and fresh[0].at_ms < self._in_order[-1].at_ms
        self._in_order += fresh
        if late:
            self._in_order.sort(key=_at_ms)

    def _keep(self, rows: list[Revocation]) -> None:
        if len(rows) < len(self._in_order):
            self._in_order = rows
            self._by_subject = {row.subject: row for row in rows}

    def since(self, at_ms: int, limit: int) -> RevokedPage | None:
        """What was revoked at `at_ms` or later: at most `limit`, and those of the last one's millisecond.

        None: the list has not been read yet.
        """
        known_to_ms = self._known_to_ms()
        if known_to_ms is None:
            return None
        rows = self._in_order
        first = bisect_left(rows, at_ms, key=_at_ms)
        if first + limit < len(rows):
            last_ms = rows[first + limit - 1].at_ms
            end = bisect_right(rows, last_ms, key=_at_ms)
            if end < len(rows):
                return RevokedPage(rows=rows[first:end], next_ms=last_ms + 1, more=True)
        return RevokedPage(rows=rows[first:], next_ms=max(0, known_to_ms - LATE_MS_MAX), more=False)
