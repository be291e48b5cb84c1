"""What `dev.py bench journal` runs on and with: servers of its own, and sessions in which something happens."""

import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from msgspec.structs import replace

from playhead.app.embedded import EmbeddedPostgres, EmbeddedValkey
from playhead.db import Logins, ScriptRepository, Source, ensure_logins, migrate, open_database
from playhead.playback.history import Move
from playhead.playback.played import SLOT_MS
from playhead.playback.state import SessionState
from playhead.sessions.journal import Entry

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Machine:
    """What runs: the servers' URLs, a script, and the processes whose CPU is told."""

    logins: Logins
    valkey_url: str
    script_id: str
    folder: Path
    postgres: psutil.Process
    valkey: psutil.Process

    def cpu_s(self) -> tuple[float, float]:
        """PostgreSQL's, children included, and Valkey's."""
        processes = [self.postgres, *self.postgres.children(recursive=True)]
        return sum(_cpu_s(process) for process in processes), _cpu_s(self.valkey)


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


@asynccontextmanager
async def machine_under_test() -> AsyncIterator[Machine]:
    with (
        tempfile.TemporaryDirectory(prefix="playhead-bench-") as name,
        EmbeddedPostgres(Path(name) / "postgres") as postgres,
        EmbeddedValkey(Path(name) / "valkey") as valkey,
    ):
        folder = Path(name)
        await migrate(postgres.url())
        logins = await ensure_logins(postgres.url(), folder)
        script_id = await _script(logins)
        children = psutil.Process().children(recursive=True)
        yield Machine(
            logins=logins,
            valkey_url=valkey.url,
            script_id=script_id,
            folder=folder,
            postgres=next(child for child in children if "postgres" in child.name()),
            valkey=next(child for child in children if "valkey" in child.name()),
        )


async def _script(logins: Logins) -> str:
    source = Source(
        source_key="sources/one",
        source_bytes=1,
        source_codec="mp3",
        source_rate=48_000,
        source_samples=HOUR_MS * 48,
        source_start_s=0.0,
        duration_ms=HOUR_MS,
        total_samples=HOUR_MS * 48,
        media_version="0123456789abcdef",
    )
    script_id, owner = str(uuid.uuid4()), {"sub": str(uuid.uuid4())}
    async with open_database(logins.app_url, logins.service_url) as database:
        await ScriptRepository(database).create(
            owner, script_id=script_id, title="Script", visibility="listeners", source=source
        )
    return script_id


@dataclass(slots=True)
class Traffic:
    """Sessions of an hour that were listened to for a while, and what happens in them next."""

    states: list[SessionState]
    seeks: float
    _owed: float = 0.0

    def next(self, number: int) -> Entry:
        """The next change of session `number`: a report ten seconds later, or a seek."""
        before = self.states[number]
        self._owed += self.seeks
        played_ms = before.played_ms + 10_000
        slots = {**dict(before.played_slots), before.played_slots[-1][0]: played_ms}
        after = replace(
            before,
            version=before.version + 1,
            played_ms=played_ms,
            played_slots=tuple(slots.items()),
            heard_ms=(before.heard_ms + 10_000) % HOUR_MS,
            heard_at_ms=before.heard_at_ms + 10_000,
            listened=((0, (before.heard_ms + 10_000) % HOUR_MS + 1), (3_500_000, 3_510_000)),
            changed_at_ms=before.changed_at_ms + 10_000,
            report_seqs=(("phone-8f3a5d", before.version), ("desk-77b1c0", 40)),
        )
        moves: tuple[Move, ...] = ()
        if self._owed >= 1:
            self._owed -= 1
            after = replace(after, revision=after.revision + 1, position_ms=after.heard_ms)
            moves = (
                Move(
                    cause="seek",
                    from_ms=before.position_ms,
                    to_ms=after.position_ms,
                    device_id="phone-8f3a5d",
                    at_ms=after.changed_at_ms,
                    epoch=after.epoch,
                    revision=after.revision,
                ),
            )
        self.states[number] = after
        return Entry(state=after, moves=moves)


def sessions_of(script_id: str, sessions: int, *, seeks: float, now_ms: int) -> Traffic:
    """Sessions of that many listeners, half an hour old."""
    slot = now_ms // SLOT_MS
    state = SessionState(
        session_id="",
        listener_id="",
        script_id=script_id,
        duration_ms=HOUR_MS,
        epoch=1,
        revision=7,
        version=40,
        playing=True,
        position_ms=600_000,
        anchored_at_ms=now_ms,
        rate=1.25,
        active_device_id="phone-8f3a5d",
        active_connection_id="Jn1rP0aYQmXhG9v4AAAB",
        heard_ms=600_000,
        heard_at_ms=now_ms,
        listened=((0, 600_000), (3_500_000, 3_510_000)),
        report_seqs=(("phone-8f3a5d", 40), ("desk-77b1c0", 40)),
        played_ms=1_800_000,
        played_slots=((slot - 2, 900_000), (slot - 1, 900_000), (slot, 10_000)),
        moved=(1, 7),
        started_at_ms=now_ms - 2_000_000,
        changed_at_ms=now_ms,
    )
    ids = ((str(uuid.uuid4()), str(uuid.uuid4())) for _ in range(sessions))
    return Traffic([replace(state, session_id=session, listener_id=listener) for session, listener in ids], seeks)
