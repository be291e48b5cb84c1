"""The record against the state store and PostgreSQL: what is wrong, one sentence each.

Called when all is quiet: nothing is under way. A session during whose life the store has lost something (`Loss`) is
held to what is promised then; every other one to the letter.
"""

import math
import time
from collections.abc import Sequence

from msgspec.structs import replace

from loadtests.chaos.model import HEARD, Replay, replay, retold
from loadtests.chaos.record import Order, Payload, Record, SessionRecord, order_of
from playhead.playback.history import MOVES_MAX
from playhead.playback.listened import total_ms
from playhead.playback.state import Interval, SessionState
from playhead.sessions.codec import state_payload

ROUNDING_MS = 1
"""What each report may add to the time played by being rounded."""


def same(told: Payload, stored: Payload) -> bool:
    return {**told, "cause": None} == {**stored, "cause": None}


def bitmap(intervals: Sequence[Interval], duration_ms: int) -> bytearray:
    heard = bytearray(duration_ms)
    for start_ms, end_ms in intervals:
        heard[start_ms:end_ms] = bytes([HEARD]) * (end_ms - start_ms)
    return heard


def is_back(shown: Payload | None, session: SessionRecord, newest: Order) -> bool:
    """Whether who shows that as the script's live session knows of `session` all up to `newest`.

    Where the listener has ended it, meanwhile or just before: whether it is shown no longer. A snapshot tells of the
    live session alone, and the revisions of the next one begin at 1.
    """
    if shown is not None and shown["session_id"] == session.session_id:
        return order_of(shown) >= newest
    return session.ended_at_s < math.inf


def against_store(session: SessionRecord, stored: SessionState | None, record: Record) -> list[str]:
    """What the store must say of a session."""
    name, loss_s = session.session_id, session.first_loss_s(record.losses)
    if stored is None:
        return [] if session.began_at_s >= loss_s else [f"{name}: the store has lost it"]
    truth = state_payload(stored)
    wrong = [f"{name}: told {order}, but stored is {stored.order}" for order in session.states if order > stored.order]
    if stored.order not in session.states:
        if not _end_was_told(session, truth):
            wrong.append(f"{name}: nobody was told its state {stored.order}")
    elif not same(session.states[stored.order], truth):
        wrong.append(f"{name}: told {session.states[stored.order]}, but stored is {truth}")
    replayed = replay(session)
    untold = [revision for revision in replayed.holes if revision <= stored.revision]
    wrong += [
        f"{name}: nobody was told of revision {revision}" for revision in untold[_lost_answers(session, record) :]
    ]
    if loss_s < math.inf:
        return wrong + _kept(session, stored, loss_s)
    wrong += [f"{name}: {first} was told again as {second}" for first, second in retold(session)]
    return wrong + _listened(session, stored, replayed) + _played(session, stored, replayed)


def _lost_answers(session: SessionRecord, record: Record) -> int:
    """How many commands may have made a state that nobody was told.

    The first answer got lost on its way; then the store lost it, though a row had the state: a repeat is decided anew.
    """
    repeated = [row for row in session.asked if row.sends > 1 and row.made is None and "command_id" in row.payload]
    return sum(any(loss.parts(row) for loss in record.losses) for row in repeated)


def _listened(session: SessionRecord, stored: SessionState, replayed: Replay) -> list[str]:
    """Exactly the union of what lies between the acked places, to the millisecond, at the end and with each report."""
    name = session.session_id
    wrong = []
    if bitmap(stored.listened, stored.duration_ms) != replayed.listened:
        heard = replayed.listened.count(HEARD)
        wrong.append(f"{name}: listened to {total_ms(stored.listened)} ms, by the acked places {heard} ms")
    for report, expected_ms in replayed.totals.items():
        told_ms = round(report.ack["total_listened"] * 1000) if report.ack else 0
        if report.sends == 1 and report.retries == 0 and told_ms != expected_ms:
            wrong.append(f"{name}: report {report.payload['seq']} was told {told_ms} ms, not {expected_ms}")
    return wrong


def _end_was_told(session: SessionRecord, truth: Payload) -> bool:
    """Whether it is over, and somebody was told so in an earlier life of the store.

    The store may lose an end that PostgreSQL has already; then it comes back with its row, in the epoch of now, maybe
    before the nodes hear anything again. Devices show that end, and a session that is over is compared no more.
    """
    ends = [state for order, state in session.states.items() if state["ended"] and order[0] < truth["epoch"]]
    return truth["ended"] and any(same({**state, "epoch": truth["epoch"]}, truth) for state in ends)


def _kept(session: SessionRecord, stored: SessionState, loss_s: float) -> list[str]:
    """What was acked before the store lost something is still there."""
    before = int.from_bytes(replay(session, loss_s).listened)
    missing = before & ~int.from_bytes(bitmap(stored.listened, stored.duration_ms))
    return [f"{session.session_id}: {missing.bit_count()} ms that were listened to are lost"] if missing else []


def _played(session: SessionRecord, stored: SessionState, replayed: Replay) -> list[str]:
    """No more than what lies between the acked places, and no more than the time that passed, times the rate."""
    now_ms = round(time.time() * 1000)
    ran_ms = replayed.can_have_run_ms(session.newest, now_ms) + len(replayed.totals) * ROUNDING_MS
    if stored.played_ms <= min(replayed.way_ms, ran_ms):
        return []
    most = f"{replayed.way_ms} ms lie between the places, and {ran_ms:.0f} ms can have run"
    return [f"{session.session_id}: played {stored.played_ms} ms, but {most}"]


def against_rows(
    session: SessionRecord, stored: SessionState, row: SessionState | None, history: Sequence[Payload], record: Record
) -> list[str]:
    """What PostgreSQL must say of a session once the journal is empty."""
    name = session.session_id
    if row is None:
        return [f"{name}: PostgreSQL has no row of it"]
    lossy = session.first_loss_s(record.losses) < math.inf
    wrong = []
    kept = replace(row, listened=stored.listened, played_ms=stored.played_ms) if lossy else row
    if kept != stored:
        wrong.append(f"{name}: PostgreSQL has {row}, but the store {stored}")
    return wrong + _history(session, history, record, lossy)


def _history(session: SessionRecord, history: Sequence[Payload], record: Record, lossy: bool) -> list[str]:
    """Each acked seek exactly once, under the revision that it made."""
    name = session.session_id
    seeks = [row for row in history if row["cause"] == "seek"]
    stored = {(row["epoch"], row["revision"]): row["to_ms"] for row in seeks}
    jumps = {row.made: row for row in session.asked if row.event == "seek" and row.made is not None}
    jumps = jumps if lossy else replay(session).jumps
    last = session.newest["revision"]
    wrong = []
    for order, asked in jumps.items():
        to_ms = stored.pop(order, None)
        forgotten = order[1] <= last - MOVES_MAX
        excuse = next((loss for loss in record.losses if loss.excuses(order, asked)), None)
        if to_ms is None and excuse is not None:
            record.lost[asked] = max(0.0, excuse.died_at_s - asked.answered_at_s)
        elif to_ms is None and not forgotten:
            wrong.append(f"{name}: the acked seek {asked.payload} of {order} is not in the history")
        elif to_ms is not None and to_ms != round(asked.payload["position"] * 1000):
            wrong.append(f"{name}: the history has {to_ms} for the acked seek {asked.payload} of {order}")
    if not lossy:
        wrong += [f"{name}: the history has a seek that nobody was acked, {order}" for order in stored]
    return wrong


def shows(shown: Payload | None, stored: SessionState) -> bool:
    """Whether a device shows what the store has."""
    return shown is not None and same(shown, state_payload(stored))


def orders(shown: Sequence[Payload | None]) -> list[object]:
    return [None if state is None else order_of(state) for state in shown]
