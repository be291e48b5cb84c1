"""What clients were told and what they asked for: the evidence that every check is made on.

A state is known by its session and `(epoch, revision)`, whoever was told it: two that differ are two truths.
Server times are ms, the client's own are seconds; on one machine both are the same clock.
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from playhead.sessions.keys import partition_of

Payload = dict[str, Any]
Order = tuple[int, int]


def order_of(state: Payload) -> Order:
    """`(epoch, revision)`."""
    return (state["epoch"], state["revision"])


@dataclass(slots=True, kw_only=True, eq=False)
class Asked:
    """One command or report: the same from its first sending to its last answer."""

    listener_id: str
    device_id: str
    event: str
    payload: Payload
    asked_at_s: float
    sends: int = 0
    retries: int = 0
    """Times it was refused with the advice to try again."""
    answered_at_s: float = math.inf
    ack: Payload | None = None

    @property
    def accepted(self) -> bool:
        return self.ack is not None and bool(self.ack["ok"])

    @property
    def code(self) -> str | None:
        """Why it was refused; None where it was accepted, or has no answer yet."""
        return None if self.ack is None or self.ack["ok"] else str(self.ack["error"]["code"])

    @property
    def state(self) -> Payload | None:
        """The session as the answer tells it."""
        return self.ack.get("state") if self.ack is not None and self.ack["ok"] else None

    @property
    def made(self) -> Order | None:
        """The state that this command made; None where it changed nothing that devices see, or by the answer of now."""
        state = self.state
        cause = None if state is None else state["cause"]
        if state is None or cause is None or cause["command"] != self.event:
            return None
        return order_of(state) if cause["command_id"] == self.payload.get("command_id") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A death of the state store, after which what it acked since `since_s` may be lost. `until_s`: it is back.

    `epochs`: those of its new life, by partition.
    """

    since_s: float
    died_at_s: float
    until_s: float
    epochs: Mapping[int, int]

    def excuses(self, made: Order, asked: Asked) -> bool:
        """Whether this state, which was acked, may be missing."""
        return asked.answered_at_s >= self.since_s and made[0] < self.epochs[partition_of(asked.listener_id)]

    def parts(self, asked: Asked) -> bool:
        """Whether it was asked before the store died, and answered by its new life."""
        return asked.asked_at_s <= self.died_at_s <= asked.answered_at_s


@dataclass(slots=True, kw_only=True, eq=False)
class SessionRecord:
    """All that is known of one session."""

    session_id: str
    listener_id: str
    began_at_s: float
    states: dict[Order, Payload] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    ended_at_s: float = math.inf

    @property
    def newest(self) -> Payload:
        return self.states[max(self.states)]

    def first_loss_s(self, losses: Iterable[Loss]) -> float:
        """From when on the state store may have lost something of this session; infinite when it has not."""
        lived = (loss for loss in losses if self.began_at_s <= loss.until_s and loss.since_s <= self.ended_at_s)
        return min((loss.since_s for loss in lived), default=math.inf)

    def story(self) -> str:
        """All of it in the order of time, a line each, for whoever looks for the cause of what is wrong."""
        states = [(state["anchored_at"] / 1000, f"state {order}: {state}") for order, state in self.states.items()]
        asked = [
            (
                row.asked_at_s,
                f"{row.device_id} {row.event} {row.payload}, {row.sends} times, by {row.answered_at_s:.3f}: {row.ack}",
            )
            for row in self.asked
        ]
        return "\n".join(f"{at_s:.3f} {text}" for at_s, text in sorted(states + asked))


@dataclass(slots=True, eq=False)
class Record:
    """Filled by the devices; `contradictions` are states that nobody can explain."""

    sessions: dict[str, SessionRecord] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    contradictions: list[str] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)
    """Answers that were no, by code, also those after which the same was sent again."""
    answered: int = 0
    resent: int = 0
    under_way: set[Asked] = field(default_factory=set)
    lost: dict[Asked, float] = field(default_factory=dict)
    """Acked seeks that are lost, as `losses` allow, and how long before the store's death they were acked."""
    last: dict[tuple[str, str], float] = field(default_factory=dict)
    """By listener and device: when the latest of its commands that has an answer was asked."""

    def begin(self, listener_id: str, device_id: str, event: str, payload: Payload) -> Asked:
        """Something that is asked for the first time."""
        asked = Asked(
            listener_id=listener_id, device_id=device_id, event=event, payload=payload, asked_at_s=time.time()
        )
        self.under_way.add(asked)
        return asked

    def refused(self, code: str, asked: Asked | None = None) -> None:
        """An answer that was no; with `asked`, one after which the same is sent again."""
        self.refusals[code] = self.refusals.get(code, 0) + 1
        if asked is not None:
            asked.retries += 1

    def finish(self, asked: Asked, ack: Payload) -> None:
        """The last answer to something that was asked."""
        asked.ack, asked.answered_at_s = ack, time.time()
        self.under_way.discard(asked)
        self.answered += 1
        self.last[asked.listener_id, asked.device_id] = asked.asked_at_s
        self.resent += asked.sends > 1
        if not ack["ok"]:
            self.refused(ack["error"]["code"])
        state = ack.get("state") if ack["ok"] else ack["error"].get("state")
        if state is not None:
            self.told(state, asked.listener_id)
        session_id = state["session_id"] if state is not None else asked.payload.get("session_id")
        if session_id in self.sessions:
            self.sessions[session_id].asked.append(asked)

    def told(self, state: Payload, listener_id: str) -> None:
        """A state that somebody was told, in an event, an ack or a snapshot."""
        session = self.sessions.get(state["session_id"])
        if session is None:
            session = SessionRecord(
                session_id=state["session_id"], listener_id=listener_id, began_at_s=state["anchored_at"] / 1000
            )
            self.sessions[session.session_id] = session
        if state["ended"]:
            session.ended_at_s = min(session.ended_at_s, time.time())
        known = session.states.get(order_of(state))
        if known is None:
            session.states[order_of(state)] = state
            return
        if {**known, "cause": None} != {**state, "cause": None}:
            self.contradictions.append(f"two states at one revision: {known} and {state}")
        elif known["cause"] is None:
            session.states[order_of(state)] = state
        elif state["cause"] is not None and state["cause"] != known["cause"]:
            self.contradictions.append(f"two causes of one revision: {known} and {state}")

    def stories(self, wrong: Iterable[str]) -> str:
        """What is known of each session that `wrong` names."""
        named = [row for row in self.sessions.values() if any(row.session_id in text for text in wrong)]
        return "\n".join(f"--- session {row.session_id}\n{row.story()}" for row in named)

    def of_listener(self, listener_id: str) -> Iterator[SessionRecord]:
        return (session for session in self.sessions.values() if session.listener_id == listener_id)
