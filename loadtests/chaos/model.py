"""What must have been listened to, and what can have been played at most, by the record of one session alone.

    revision by revision, and within one the reports by their number:
    a place that was acked as heard     what lies between the last place and this one was listened to
    a jump (seek, play, loop's start)   the next stretch begins there
    another loop, after a turn          the same: nobody has told how far the old one was heard
    anything else                       changes neither

It knows the formula of the playhead, and nothing of how the server counts: listened time is a row of bytes here, one
for each millisecond of the script.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from loadtests.chaos.places import milliseconds, place_ms
from loadtests.chaos.record import Asked, Order, Payload, SessionRecord

HEARD = 1
BACK_MS_MAX = 2_000
"""A place so little behind the last one is that of another device, which lags more: nobody has been round a loop."""


@dataclass(slots=True, kw_only=True)
class Replay:
    """`totals`: ms listened to when each report was acked; `jumps`: seeks that moved the playhead, by their states."""

    listened: bytearray
    totals: dict[Asked, int] = field(default_factory=dict)
    jumps: dict[Order, Asked] = field(default_factory=dict)
    holes: list[int] = field(default_factory=list)
    """Revisions that nobody was ever told."""
    ran_ms: float = 0.0
    """What can have been played, up to the last state."""
    way_ms: int = 0
    """The way from each acked place to the next, repeats included."""

    def can_have_run_ms(self, last: Payload, now_ms: int) -> float:
        """What can have been played up to server time `now_ms`, when `last` is the last state."""
        running = max(0, now_ms - last["anchored_at"]) * last["rate"] if last["playing"] else 0.0
        return self.ran_ms + running


def replay(session: SessionRecord, until_s: float = math.inf) -> Replay:
    """The session from its first revision on, up to what was answered before `until_s`."""
    return _Replaying(session, until_s).run()


class _Replaying:
    def __init__(self, session: SessionRecord, until_s: float) -> None:
        self._until_s = until_s
        self._commands = {
            asked.payload["command_id"]: asked for asked in session.asked if "command_id" in asked.payload
        }
        self._reports: dict[int, list[Asked]] = {}
        for asked in sorted((row for row in session.asked if _is_report(row)), key=lambda row: row.payload["seq"]):
            self._reports.setdefault(asked.payload["revision"], []).append(asked)
        self._states = _by_revision(session)
        self._result = Replay(listened=bytearray(milliseconds(session.newest["duration"])))
        self._heard_ms = 0
        self._total_ms = 0

    def run(self) -> Replay:
        before: Payload | None = None
        for revision in range(1, max(self._states) + 1):
            state = self._states.get(revision)
            if state is None:
                state = self._made_by_lost_answer(before, revision)
            if state is None:
                self._result.holes.append(revision)
                continue
            asked = self._commands.get(_command_id(state))
            reports = self._reports.get(revision, ())
            if any(row.answered_at_s >= self._until_s for row in (*([asked] if asked else []), *reports)):
                break
            self._change(before, state, asked)
            for report in reports:
                self._hear(state, milliseconds(report.payload["position"]))
                self._result.totals[report] = self._total_ms
            before = state
        return self._result

    def _made_by_lost_answer(self, before: Payload | None, revision: int) -> Payload | None:
        """The state that a report made whose first answer was lost: a repeat is answered with the state of now.

        That is the one way in which a revision may come to be without anybody being told of it by name.
        """
        repeated = [row for row in self._reports.get(revision - 1, ()) if row.sends > 1 and row.made is None]
        if before is None or not repeated:
            return None
        return {**before, "revision": revision, "position": repeated[-1].payload["position"], "cause": None}

    def _change(self, before: Payload | None, state: Payload, asked: Asked | None) -> None:
        """`asked` made this state: what was heard by it, and where the sound goes on."""
        if before is not None and state["anchored_at"] > before["anchored_at"]:
            ran_ms = (state["anchored_at"] - before["anchored_at"]) * before["rate"]
            self._result.ran_ms += ran_ms if before["playing"] else 0
        if before is None:
            self._heard_ms = milliseconds(state["position"])
            return
        if asked is None:
            # the server's own, or a report: those are counted at the revision that they were made on
            return
        heard_ms = _heard_ms(before, asked)
        if heard_ms is not None:
            self._hear(before, heard_ms)
        if _is_jump(before, state, asked) or self._other_loop_after_a_turn(before, state, asked):
            self._heard_ms = milliseconds(state["position"])
        if asked.event == "seek":
            from_ms = place_ms(before, state["anchored_at"]) if heard_ms is None else heard_ms
            if from_ms != milliseconds(state["position"]) and asked.made is not None:
                self._result.jumps[asked.made] = asked

    def _other_loop_after_a_turn(self, before: Payload, state: Payload, asked: Asked) -> bool:
        """Whether the loop was changed when the sound had gone over its end since the last place.

        What was heard since then is told by nobody: by the new loop the way to the next place is another one. (Loops
        are too long here for a whole turn without a word.)
        """
        loop = before["loop"]
        turns = asked.event == "loop" and before["playing"] and bool(loop) and loop["enabled"]
        return turns and place_ms(before, state["anchored_at"]) < self._heard_ms

    def _hear(self, state: Payload, to_ms: int) -> None:
        """The way from the last place to this one, over the loop's end where it leads there."""
        loop, from_ms = state["loop"], self._heard_ms
        if loop and loop["enabled"] and from_ms - to_ms > BACK_MS_MAX:
            start_ms, end_ms = milliseconds(loop["start"]), milliseconds(loop["end"])
            if from_ms < end_ms and start_ms <= to_ms:
                self._mark(from_ms, end_ms)
                from_ms = start_ms
        self._mark(from_ms, to_ms)
        self._heard_ms = to_ms

    def _mark(self, from_ms: int, to_ms: int) -> None:
        if from_ms < to_ms:
            self._result.way_ms += to_ms - from_ms
            known = self._result.listened.count(HEARD, from_ms, to_ms)
            self._result.listened[from_ms:to_ms] = bytes([HEARD]) * (to_ms - from_ms)
            self._total_ms += to_ms - from_ms - known


def _by_revision(session: SessionRecord) -> dict[int, Payload]:
    """Of each revision the state as it was made: a later epoch may have told the same one again."""
    states: dict[int, Payload] = {}
    for (_, revision), state in sorted(session.states.items()):
        if revision not in states or states[revision]["cause"] is None:
            states[revision] = state
    return states


def retold(session: SessionRecord) -> Iterator[tuple[Payload, Payload]]:
    """Pairs of states of one revision that differ in more than their epoch."""
    states: dict[int, Payload] = {}
    for (_, revision), state in sorted(session.states.items()):
        plain = {**state, "epoch": 0, "cause": None}
        if states.setdefault(revision, plain) != plain:
            yield states[revision], state


def _command_id(state: Payload) -> str:
    return str(state["cause"]["command_id"]) if state["cause"] is not None else ""


def _is_report(asked: Asked) -> bool:
    return asked.event == "progress" and asked.accepted


def _heard_ms(before: Payload, asked: Asked) -> int | None:
    """The place that the command told as heard; from a device that did not sound it says nothing."""
    told = asked.payload.get({"pause": "position", "seek": "from"}.get(asked.event, ""))
    sounds = before["playing"] and before["active_device"] == asked.device_id
    return milliseconds(told) if told is not None and sounds else None


def _is_jump(before: Payload, state: Payload, asked: Asked) -> bool:
    """Whether the sound goes on from another place than the one where it was."""
    match asked.event:
        case "seek":
            return True
        case "play":
            return not before["playing"] or "position" in asked.payload
        case "loop":
            loop, here_ms = state["loop"], place_ms(before, state["anchored_at"])
            return bool(loop["enabled"]) and milliseconds(loop["end"]) <= here_ms
        case _:
            return False
