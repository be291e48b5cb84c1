"""Two devices that do anything at all, for a long time: the rules hold at every step, and time is counted honestly."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from playhead.playback.absence import known_until_ms
from playhead.playback.commands import (
    Command,
    Due,
    End,
    Leave,
    Lost,
    Origin,
    Pause,
    Play,
    Report,
    Seek,
    SetLoop,
    SetRate,
    SetSleep,
    Transfer,
)
from playhead.playback.deadlines import IDLE_END_MS, next_due_ms
from playhead.playback.listened import HEARD_TOLERANCE_MS, total_ms
from playhead.playback.reducer import Decision, reduce, start
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import SessionState, position_at
from tests.support.states import LISTENER_ID, NOW_MS, SCRIPT_ID, SESSION_ID
from tests.unit.playback.inventing import DEVICES, broken_rules, rates

DURATION_MS = 60_000
devices = st.sampled_from(DEVICES)
places = st.integers(0, DURATION_MS)


class TwoDevices(RuleBasedStateMachine):
    """A phone and a desk of one listener, one session, one clock that only goes forward."""

    state: SessionState
    now_ms: int

    @initialize()
    def begin(self) -> None:
        self.now_ms = NOW_MS
        self.connections = {device_id: f"{device_id}-1" for device_id in DEVICES}
        self.seqs = dict.fromkeys(DEVICES, 0)
        self.played_ms = 0.0
        self.reports = self.rates = 0
        self.state = start(
            session_id=SESSION_ID,
            listener_id=LISTENER_ID,
            script_id=SCRIPT_ID,
            duration_ms=DURATION_MS,
            position_ms=0,
            rate=1.0,
            now_ms=NOW_MS,
        )

    def send(self, command: Command, device_id: str) -> Decision | Rejection:
        origin = Origin(device_id=device_id, connection_id=self.connections.get(device_id))
        before = self.state
        answer = reduce(before, command, origin, now_ms=self.now_ms, connected=self.connections)
        if isinstance(answer, Decision):
            self.state = answer.state
            assert self.state.revision == before.revision + answer.published
            assert self.state.version == before.version + answer.written
        return answer

    @rule(elapsed_ms=st.integers(0, 20_000))
    def time_passes(self, elapsed_ms: int) -> None:
        if self.state.playing:
            self.played_ms += elapsed_ms * self.state.rate
        self.now_ms += elapsed_ms

    @rule(device_id=devices, position_ms=st.none() | places, onto=st.none() | devices)
    def play(self, device_id: str, position_ms: int | None, onto: str | None) -> None:
        answer = self.send(Play(position_ms=position_ms, device_id=onto), device_id)
        if isinstance(answer, Decision):
            assert self.state.playing or self.state.position_ms == DURATION_MS
            assert self.state.active_device_id in (onto, device_id, *self.connections)
        else:
            assert self.state.ended_at_ms is not None or onto not in self.connections

    @rule(device_id=devices, position_ms=st.none() | places)
    def pause(self, device_id: str, position_ms: int | None) -> None:
        if isinstance(self.send(Pause(position_ms=position_ms), device_id), Decision):
            assert not self.state.playing
            self.reports += position_ms is not None

    @rule(device_id=devices, position_ms=places, from_ms=st.none() | places)
    def seek(self, device_id: str, position_ms: int, from_ms: int | None) -> None:
        if isinstance(self.send(Seek(position_ms=position_ms, from_ms=from_ms), device_id), Decision):
            assert position_at(self.state, self.now_ms) == position_ms
            self.reports += from_ms is not None

    @rule(device_id=devices, start_ms=places, length_ms=st.integers(250, 20_000), enabled=st.booleans())
    def loop(self, device_id: str, start_ms: int, length_ms: int, enabled: bool) -> None:
        self.send(SetLoop(start_ms=start_ms, end_ms=start_ms + length_ms, enabled=enabled), device_id)

    @rule(device_id=devices, rate=rates)
    def rate(self, device_id: str, rate: float) -> None:
        self.rates += 1
        known_ms = known_until_ms(self.state, device_id, self.connections, self.now_ms)
        place_ms = position_at(self.state, known_ms)
        if isinstance(self.send(SetRate(rate=rate), device_id), Decision):
            assert (self.state.rate, position_at(self.state, known_ms)) == (rate, place_ms)

    @rule(device_id=devices, onto=devices)
    def transfer(self, device_id: str, onto: str) -> None:
        known_ms = known_until_ms(self.state, device_id, self.connections, self.now_ms)
        place_ms = position_at(self.state, known_ms)
        if isinstance(self.send(Transfer(device_id=onto), device_id), Decision):
            assert (self.state.active_device_id, position_at(self.state, self.now_ms)) == (onto, place_ms)

    @rule(device_id=devices)
    def leave(self, device_id: str) -> None:
        self.send(Leave(), device_id)

    @rule(device_id=devices, position_ms=places)
    def report_anything(self, device_id: str, position_ms: int) -> None:
        self._report(device_id, position_ms, self.state.revision)

    @rule(device_id=devices, ahead_ms=st.integers(-2_500, 2_500), behind=st.integers(0, 3))
    def report_about_here(self, device_id: str, ahead_ms: int, behind: int) -> None:
        place_ms = max(0, min(DURATION_MS, position_at(self.state, self.now_ms) + ahead_ms))
        self._report(device_id, place_ms, max(0, self.state.revision - behind))

    def _report(self, device_id: str, position_ms: int, revision: int) -> None:
        self.seqs[device_id] += 1
        before = self.state
        answer = self.send(Report(position_ms=position_ms, revision=revision, seq=self.seqs[device_id]), device_id)
        believable = (device_id, revision) == (before.active_device_id, before.revision) and not before.ended_at_ms
        assert isinstance(answer, Rejection) or believable
        self.reports += isinstance(answer, Decision)

    @rule(device_id=devices)
    def disconnect(self, device_id: str) -> None:
        self.connections.pop(device_id, None)

    @rule(device_id=devices, number=st.integers(1, 3))
    def connect(self, device_id: str, number: int) -> None:
        self.connections[device_id] = f"{device_id}-{number}"

    @rule(device_id=devices, silent_ms=st.integers(0, 30_000), grace_ms=st.integers(0, 10_000))
    def lose(self, device_id: str, silent_ms: int, grace_ms: int) -> None:
        seen_ms, until_ms = self.now_ms - silent_ms, self.now_ms + grace_ms
        self.send(Lost(device_id=device_id, last_seen_at_ms=seen_ms, until_ms=until_ms), "phone")

    @rule()
    def sweep(self) -> None:
        """Whatever is due is done at once, and then nothing is left to do until the next deadline."""
        assert isinstance(self.send(Due(), "phone"), Decision)
        again = self.send(Due(), "phone")
        assert isinstance(again, Decision) and not again.written
        due_ms = next_due_ms(self.state)
        idle_but_watched = self.connections and due_ms == self.state.changed_at_ms + IDLE_END_MS
        assert due_ms is None or due_ms > self.now_ms or idle_but_watched

    @rule(device_id=devices, after_ms=st.integers(1, 30_000))
    def sleep(self, device_id: str, after_ms: int) -> None:
        self.send(SetSleep(after_ms=after_ms), device_id)

    @precondition(lambda self: self.state.revision > 15)
    @rule(device_id=devices)
    def end(self, device_id: str) -> None:
        assert isinstance(self.send(End(), device_id), Decision)
        refused = self.send(Play(), device_id)
        assert isinstance(refused, Rejection) and refused.code is Code.SESSION_ENDED

    @invariant()
    def the_rules_hold(self) -> None:
        assert not broken_rules(self.state, self.now_ms)

    @invariant()
    def no_more_is_counted_than_was_played(self) -> None:
        allowed_ms = self.played_ms + self.reports * (HEARD_TOLERANCE_MS + 1)
        assert total_ms(self.state.listened) <= allowed_ms
        # a rate that changes in the middle rounds once
        assert self.state.played_ms <= self.played_ms + self.reports + self.rates


TestTwoDevices = TwoDevices.TestCase
TestTwoDevices.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
