"""Media tokens that are refused before their time: those of sessions that have ended, and of scripts taken back.

    the end of a session     every token that carries it
    a script's taking back   every token for its prefix that was signed until then; a newer one opens it

Owns: a copy of the list, in the order of time. Of what listeners end it holds so much; what an operator has revoked
stands apart, where no number of endings drops it. Must not know: where it comes from, or who asks.
What is not in the copy is not refused: a token that is valid otherwise opens until it expires.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import merge
from operator import attrgetter

from playhead.auth.media_paths import InvalidMediaToken, MediaClaims, expiry_s

REVOKED_MAX = 128_000
"""Sessions that have ended in a process's copy, some 30 MB; what has ended first is forgotten first."""
REVOKED = "The media token was revoked: its session has ended, or the script was taken back."
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
    """`subject`: a session's id, or a script's media prefix. `until_s`: no token that is meant ends later.

    `by_operator`: kept for so long, whatever else is revoked meanwhile.
    """

    subject: str
    at_ms: int
    until_s: int
    by_operator: bool = False


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
    """Of a script of that length, by its media prefix. Only an operator does that."""
    until_s = expiry_s(at_ms, duration_ms) + SIGNED_LATE_S
    return Revocation(subject=prefix, at_ms=at_ms, until_s=until_s, by_operator=True)


class _Kept:
    """Rows by their subject, and in the order of time: the latest `rows_max`, if that is given."""

    __slots__ = ("_rows_max", "by_subject", "in_order")

    def __init__(self, rows_max: int | None) -> None:
        self._rows_max = rows_max
        self.by_subject: dict[str, Revocation] = {}
        self.in_order: list[Revocation] = []

    def covers(self, row: Revocation) -> bool:
        """Whether its subject is revoked for as long at least."""
        known = self.by_subject.get(row.subject)
        return known is not None and known.until_s >= row.until_s

    def add(self, rows: Iterable[Revocation], now_ms: int) -> None:
        """Takes in what is not known yet, and not over."""
        fresh = []
        for row in rows:
            if row.until_s * 1000 > now_ms and not self.covers(row):
                self.by_subject[row.subject] = row
                fresh.append(row)
        if fresh:
            fresh.sort(key=_at_ms)
            late = bool(self.in_order) and fresh[0].at_ms < self.in_order[-1].at_ms
            self.in_order += fresh
            if late:
                self.in_order.sort(key=_at_ms)

    def forget(self, now_ms: int) -> None:
        """What is over."""
        self._keep([row for row in self.in_order if row.until_s * 1000 > now_ms])

    def drop(self) -> int:
        """What is too much, the first of it; answers how many."""
        beyond = 0 if self._rows_max is None else max(0, len(self.in_order) - self._rows_max)
        if beyond:
            self._keep(self.in_order[beyond:])
        return beyond

    def _keep(self, rows: list[Revocation]) -> None:
        if len(rows) < len(self.in_order):
            self.in_order = rows
            self.by_subject = {row.subject: row for row in rows}

    def since(self, at_ms: int, limit: int) -> Sequence[Revocation]:
        """From that time on: at most `limit`, those of the last one's millisecond, and one more if there is any."""
        first = bisect_left(self.in_order, at_ms, key=_at_ms)
        return self.in_order[first : _page_end(self.in_order, first, limit) + 1]


def _page_end(rows: Sequence[Revocation], first: int, limit: int) -> int:
    """Where a page of those in order ends that begins there: all of one millisecond stand in one."""
    last = first + limit - 1
    return len(rows) if last >= len(rows) else bisect_right(rows, rows[last].at_ms, key=_at_ms)


class Revocations:
    """The copy of one process. `known_to_ms` says up to when nothing is missing in it; None: nobody knows yet."""

    def __init__(self, known_to_ms: Callable[[], int | None], ended_max: int = REVOKED_MAX) -> None:
        self._known_to_ms = known_to_ms
        self._ended = _Kept(ended_max)
        self._by_operator = _Kept(None)
        """As many as the list has, which bounds what operators enter."""
        self._forget_at_ms = 0

    def __len__(self) -> int:
        return len(self._ended.in_order) + len(self._by_operator.in_order)

    def check(self, claims: MediaClaims) -> None:
        """Raises InvalidMediaToken where a token with these claims has been revoked."""
        back = self._by_operator.by_subject.get(claims.prefix)
        if self.has_ended(claims.session_id) or (back is not None and claims.expires_at_s <= back.until_s):
            raise InvalidMediaToken(REVOKED)

    def has_ended(self, session_id: str | None) -> bool:
        """Whether that session's tokens are revoked."""
        if session_id is None:
            return False
        return session_id in self._ended.by_subject or session_id in self._by_operator.by_subject

    def until_s(self, subject: str) -> int | None:
        """Until when that is revoked, if it is."""
        rows = (kept.by_subject.get(subject) for kept in (self._ended, self._by_operator))
        return max((row.until_s for row in rows if row is not None), default=None)

    def add(self, rows: Iterable[Revocation], now_ms: int) -> int:
        """Takes in what is not known yet; answers how many were dropped for want of room."""
        rows = tuple(rows)
        self._by_operator.add((row for row in rows if row.by_operator), now_ms)
        self._ended.add((row for row in rows if not (row.by_operator or self._by_operator.covers(row))), now_ms)
        if now_ms >= self._forget_at_ms:
            self._forget_at_ms = now_ms + FORGET_INTERVAL_MS
            self._by_operator.forget(now_ms)
            self._ended.forget(now_ms)
        return self._ended.drop()

    def since(self, at_ms: int, limit: int) -> RevokedPage | None:
        """What was revoked at `at_ms` or later: at most `limit`, and those of the last one's millisecond.

        None: the list has not been read yet.
        """
        known_to_ms = self._known_to_ms()
        if known_to_ms is None:
            return None
        # each gives as many as would fill the page alone: what is behind those cannot be in it
        found = (kept.since(at_ms, limit) for kept in (self._by_operator, self._ended))
        rows = list(merge(*found, key=_at_ms))
        end = _page_end(rows, 0, limit)
        if end < len(rows):
            return RevokedPage(rows=rows[:end], next_ms=rows[end - 1].at_ms + 1, more=True)
        return RevokedPage(rows=rows, next_ms=max(0, known_to_ms - LATE_MS_MAX), more=False)
