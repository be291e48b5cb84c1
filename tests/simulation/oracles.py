"""What must hold at every answer and event, and who is asked about the rest: `steps` at each commit, `endings` at rest.

Each rule of the design's section 3 is checked where it can be seen first: a failure names the rule.
"""

from typing import TYPE_CHECKING, Any

from playhead.playback.rejections import REASONS, Code
from playhead.playback.state import SessionState
from playhead.realtime.dispatch import HANDLER_TIMEOUT_S
from playhead.sessions.codec import state_payload
from playhead.sessions.store import Change
from tests.simulation import endings, model
from tests.simulation.loop import US_PER_S
from tests.simulation.record import Asked, Commit
from tests.simulation.steps import judge_commit, judge_once

if TYPE_CHECKING:
    from tests.simulation.device import Device, Pressed
    from tests.simulation.node import Node
    from tests.simulation.world import World

PATIENCE_OVER_MS = 1_500
OrderKey = tuple[str, int, int]


class Oracles:
    """Judge of one schedule."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._seen: dict[OrderKey, tuple[Any, ...]] = {}
        self._first: dict[str, tuple[Commit, dict[str, Any]]] = {}
        """The first good answer of each command, with the commit behind it."""
        self._owner: dict[str, str] = {}
        self._published: dict[OrderKey, int] = {}
        """When a state was first committed, in us."""

    # commits

    def committed(self, commit: Commit, current: SessionState | None, change: Change) -> None:
        world, after = self._world, commit.after
        step = commit.step
        world.note(
            "store",
            "takes %s of %s: %s r%s v%s place %s %s",
            ("a row" if change.written else "an entry") if step is None else type(step.command).__name__,
            "?" if commit.asked is None else commit.asked.who,
            after.session_id[:8],
            after.revision,
            after.version,
            after.position_ms,
            "playing" if after.playing else "stands",
        )
        self._owner[after.session_id] = commit.listener_id
        judge_commit(commit, current, change, world.valkey.epoch, world.fail)
        self._unique(state_payload(after))
        self._published.setdefault((after.session_id, *after.order), world.loop.now_us)
        self._one_speaker(commit)
        if commit.command_id is not None:
            judge_once(world.record.by_command[commit.command_id], world.fail)

    def _unique(self, payload: dict[str, Any]) -> None:
        """Rule 1: one order, one content, whoever tells it."""
        key = (payload["session_id"], payload["epoch"], payload["revision"])
        seen = model.seen_of(payload)
        if self._seen.setdefault(key, seen) != seen:
            self._world.fail("rule 1", f"two states under one order {key}: {self._seen[key]} and {seen}")

    def _one_speaker(self, commit: Commit) -> None:
        """A device sounds in at most one session."""
        if not commit.after.playing:
            return
        both = endings.sounding_twice(self._world, commit.listener_id)
        if both:
            self._world.fail("section 4", f"a device sounds in two sessions: {both}")

    # answers

    def answered(self, node: "Node", asked: Asked, answer: dict[str, Any]) -> None:
        if answer["ok"]:
            self._good(asked, answer)
        else:
            self._refused(node, asked, answer["error"])
        self._in_time(asked)

    def _good(self, asked: Asked, answer: dict[str, Any]) -> None:
        payload = answer.get("state")
        if payload is None:
            return
        self._belongs(asked, payload)
        self._unique(payload)
        commits = [commit for commit in asked.commits if commit.after.session_id == payload["session_id"]]
        if asked.command_id is not None and asked.event != "join":
            if asked.command_id not in self._world.record.by_command:
                self._world.fail("rule 2", f"{asked.event} {asked.payload} was answered {payload}, and never stored")
            self._as_first(asked, payload, commits)
        if commits:
            self._world.record.acked.append((self._world.loop.now_us, asked, payload))

    def _belongs(self, asked: Asked, payload: dict[str, Any]) -> None:
        owner = self._owner.get(payload["session_id"])
        listener_id = self._world.listener_of(asked.device_id)
        if owner is not None and owner != listener_id:
            self._world.fail("section 3", f"{asked.device_id} was told of the session of another listener")

    def _as_first(self, asked: Asked, payload: dict[str, Any], commits: list[Commit]) -> None:
        """Rule 4: a command that is sent again is answered as the first time, unless the store has lost it since."""
        command_id = asked.command_id or ""
        known = self._world.record.by_command.get(command_id, [])
        first = self._first.get(command_id)
        if first is None or first[0].lost is not None or self._aged(first[0]):
            if known:
                self._first[command_id] = (known[-1], payload)
            return
        if first[1] != payload:
            self._world.fail("rule 4", f"{command_id} was answered {first[1]} and then {payload}")

    def _aged(self, commit: Commit) -> bool:
        age_ms = self._world.now_ms - commit.at_us // 1000
        return age_ms >= 10 * 60 * 1000 or len(self._world.record.commits) - commit.index > 128

    def _refused(self, node: "Node", asked: Asked, error: dict[str, Any]) -> None:
        world, code = self._world, error["code"]
        if code not in {known.value for known in Code} or error["retry"] != REASONS[Code(code)].retry:
            world.fail("rule 5", f"no such refusal: {error}")
        if code == "internal":
            world.fail("no exception is ours", f"{asked.event} {asked.payload} failed")
        late = world.loop.now_us - asked.begun_us >= HANDLER_TIMEOUT_S * US_PER_S
        if code == "unavailable" and not asked.unavailable and not node.draining and not late:
            world.fail("rule 5", f"{asked.event} was unavailable, and nothing had failed or was late")
        contended = len(world.nodes) > 1 or "retry_after_ms" in error
        if code == "overloaded" and world.plan.journal_max > 1_000 and not contended:
            world.fail("rule 5", f"{asked.event} was answered {error}, and no limit was near")
        if error.get("state") is not None:
            self._belongs(asked, error["state"])
            self._unique(error["state"])
        if code == "conflict" and "reported" in error:
            self._place_kept(asked, error)

    def _place_kept(self, asked: Asked, error: dict[str, Any]) -> None:
        """Rule 3: a place that is not taken is in the history when the answer says so."""
        places = {commit.entry.to_ms for commit in asked.commits if commit.entry is not None and commit.entry.refused}
        if round(error["reported"] * 1000) not in places:
            self._world.fail(
                "rule 3", f"{asked.event} {asked.payload} was refused, and its place is not in the history"
            )

    def _in_time(self, asked: Asked) -> None:
        """Rule 6: whatever other devices do, an answer comes in time where the store does its work."""
        plan = self._world.plan
        if plan.store_is_sound and asked.received_us:
            took_ms = (self._world.loop.now_us - asked.received_us) / 1000
            most_ms = 3_000 + 400 * plan.store_ms
            if took_ms > most_ms:
                self._world.fail("rule 6", f"{asked.event} of {asked.device_id} was held up for {took_ms} ms")

    # devices

    def settled(self, device: "Device", pressed: "Pressed", outcome: object) -> None:
        """Rule 5: no command is dropped without a word: it ends when its patience does, at the latest."""
        took_ms = (self._world.loop.now_us - pressed.at_us) / 1000
        if took_ms > pressed.patience_ms * 1.01 + PATIENCE_OVER_MS and not device.slept:
            self._world.fail("rule 5", f"{pressed.wish} of {device.device_id} ended after {took_ms} ms: {outcome}")

    def received(self, device: "Device", event: str, data: Any) -> None:
        if event == "state":
            owner = self._owner.get(data["session_id"])
            if owner != device.listener_id:
                self._world.fail("section 3", f"{device.device_id} got a state of another listener")
            self._unique(data)
            self._told_in_time(device, data)

    def _told_in_time(self, device: "Device", data: dict[str, Any]) -> None:
        """Rule 6: a device that does not read, or is gone, keeps nothing from the others."""
        world = self._world
        published = self._published.get((data["session_id"], data["epoch"], data["revision"]))
        if published is None or not world.plan.tells_in_time or device.disturbed or data["cause"] is None:
            return
        took_ms = (world.loop.now_us - published) / 1000
        if took_ms > world.plan.telling_ms:
            world.fail("rule 6", f"{device.device_id} was told after {took_ms} ms: {data}")

    # at rest

    def apart(self) -> str | None:
        """What devices, store and rows do not agree on; None: nothing."""
        return endings.apart(self._world)

    def judge_quiet(self) -> None:
        endings.judge_quiet(self._world)

    def judge_end(self) -> None:
        endings.judge_end(self._world)
