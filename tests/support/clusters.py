"""A real cluster: three primaries that share the slots evenly, and a replica of the first one."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from playhead.app.embedded import EmbeddedValkey

PRIMARIES = 3
REPLICA = 3
"""The number of the replica, behind those of the primaries."""
SERVERS = 4
SLOTS = 16_384
PATIENT_MS, HURRIED_MS = 15_000, 500
"""A primary that is silent for so long is replaced by its replica; a busy machine must not bring that about."""
READY_S = 60.0
POLL_S = 0.05


class Cluster:
    """Its servers. A test may `kill` them and start them again, and move slots; `heal` before the next one uses it."""

    def __init__(self, folder: Path, free_ports: Callable[[], int]) -> None:
        self.ports = tuple(free_ports() for _ in range(SERVERS))
        # the port of the cluster's own bus is given too, as the usual one is 10,000 above and may be taken or too high
        self._bus_ports = tuple(free_ports() for _ in range(SERVERS))
        self.servers = tuple(
            # what is written is there after a kill, synced or not; a server that waits for a slow disk answers nobody
            EmbeddedValkey(folder / f"node-{number}", append_sync="no", settings=self._settings(number))
            for number in range(SERVERS)
        )

        self._hurt = False

    def _settings(self, number: int) -> dict[str, str]:
        return {
            "port": str(self.ports[number]),
            "cluster-enabled": "yes",
            "cluster-port": str(self._bus_ports[number]),
            "cluster-node-timeout": str(PATIENT_MS),
            "cluster-require-full-coverage": "no",
            "cluster-replica-validity-factor": "0",
            "repl-diskless-sync-delay": "0",
        }

    @property
    def url(self) -> str:
        """What a user writes: the replica is one of the servers that are named."""
        return f"redis+cluster://127.0.0.1:{self.ports[1]},127.0.0.1:{self.ports[REPLICA]}"

    def node_id(self, number: int) -> str:
        return str(self.ask(number, "CLUSTER", "MYID"))

    def ask(self, number: int, *command: str | int) -> Any:
        """The answer of one of the servers."""
        with redis.Redis.from_url(self.servers[number].url, decode_responses=True) as client:
            return client.execute_command(*command)

    def primary_of(self, slot: int, asked: int = 1) -> int:
        """The number of the server that has it, as one of them says."""
        rows = self.ask(asked, "CLUSTER", "SLOTS")
        port = next(primary[1] for first, last, primary, *_ in rows if first <= slot <= last)
        return self.ports.index(port)

    def begin_move(self, slot: int, old: int, new: int) -> None:
        self.ask(new, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.node_id(old))
        self.ask(old, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.node_id(new))

    def move_keys(self, slot: int, old: int, new: int) -> None:
        while keys := self.ask(old, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            for key in keys:
                self.ask(old, "MIGRATE", "127.0.0.1", self.ports[new], key, 0, 5_000)

    def end_move(self, slot: int, new: int) -> None:
        others = [number for number in range(SERVERS) if number != new and self.is_primary(number)]
        for number in (new, *others):
            self.ask(number, "CLUSTER", "SETSLOT", slot, "NODE", self.node_id(new))

    def is_primary(self, number: int) -> bool:
        return bool(self.ask(number, "ROLE")[0] == "master")

    def hurry(self) -> None:
        """From now on a silent primary is replaced at once."""
        for number in range(SERVERS):
            self.ask(number, "CONFIG", "SET", "cluster-node-timeout", HURRIED_MS)
        self._hurt = True

    def kill(self, number: int) -> None:
        self._hurt = True
        self.servers[number].kill()

    def replicated(self) -> None:
        """Returns when the replica has all that the first primary has acknowledged."""
        assert self.ask(0, "WAIT", 1, 30_000) == 1

    def clear(self) -> None:
        for number in range(SERVERS):
            if self.is_primary(number):
                self.ask(number, "FLUSHALL")
                self.ask(number, "FUNCTION", "FLUSH")

    def found(self) -> None:
        """Makes one cluster of the servers."""
        share = SLOTS // PRIMARIES
        for number in range(PRIMARIES):
            last = SLOTS - 1 if number == PRIMARIES - 1 else (number + 1) * share - 1
            self.ask(number, "CLUSTER", "ADDSLOTSRANGE", number * share, last)
            self.ask(number, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for number in range(1, SERVERS):
            self.ask(0, "CLUSTER", "MEET", "127.0.0.1", self.ports[number], self._bus_ports[number])
        self._wait(self._has_made_the_replica, "has no replica")
        self._wait(self._is_as_at_first, "does not come together")

    def heal(self) -> None:
        """All servers run, and each is what it was at first; the slots are left where they are."""
        if not self._hurt:
            return
        for server in self.servers:
            if server.exit_code is not None or not server.owned:
                server.start()
        self._wait(lambda: all(self._knows_all(number) for number in range(SERVERS)), "does not come together again")
        if not self.is_primary(0):
            self._wait(lambda: self._follows(0), "has a replica that does not follow")
            self.ask(0, "CLUSTER", "FAILOVER")
        self._wait(self._is_as_at_first, "does not go back to its first primary")
        for number in range(SERVERS):
            self.ask(number, "CONFIG", "SET", "cluster-node-timeout", PATIENT_MS)
        self._hurt = False

    def _wait(self, condition: Callable[[], bool], complaint: str) -> None:
        deadline_s = time.monotonic() + READY_S
        while not condition():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"The cluster {complaint}.")
            time.sleep(POLL_S)

    def _has_made_the_replica(self) -> bool:
        """As soon as it has heard of its primary."""
        try:
            self.ask(REPLICA, "CLUSTER", "REPLICATE", self.node_id(0))
        except redis.ResponseError:
            return False
        return True

    def _follows(self, number: int) -> bool:
        """As a replica whose primary answers."""
        role = self.ask(number, "ROLE")
        return bool(role[0] == "slave" and role[3] == "connected")

    def _is_as_at_first(self) -> bool:
        if not (self.is_primary(0) and self._follows(REPLICA)):
            return False
        roles: list[Any] = [self.ask(number, "CLUSTER", "SLOTS") for number in range(SERVERS)]
        primaries = {row[2][1] for rows in roles for row in rows}
        return primaries == set(self.ports[:PRIMARIES]) and all(map(self._knows_all, range(SERVERS)))

    def _knows_all(self, number: int) -> bool:
        told: Any = self.ask(number, "CLUSTER", "INFO")
        rows = told if isinstance(told, dict) else dict(line.split(":") for line in told.split())
        known = (rows["cluster_state"], rows["cluster_known_nodes"], rows["cluster_slots_ok"])
        return known == ("ok", str(SERVERS), str(SLOTS))


@contextmanager
def cluster_in(folder: Path, free_ports: Callable[[], int]) -> Iterator[Cluster]:
    """Returns when every server knows all of them and has the whole map."""
    cluster = Cluster(folder, free_ports)
    try:
        for server in cluster.servers:
            server.start()
        cluster.found()
        yield cluster
    finally:
        for server in cluster.servers:
            server.stop()
