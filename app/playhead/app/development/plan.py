"""Which processes `playhead run` starts, where they listen, and with which settings.

Owns: ports, addresses and the environment of each child. Must not know: how processes are started or stopped.
"""

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from playhead.app.development.backing import Backing
from playhead.app.development.children import Child
from playhead.app.development.keys import MEDIA_KEY_ID, DevelopmentKeys
from playhead.runtime.settings import Settings

FLUSHER, WORKER = ("flusher", "flush"), ("worker", "worker")
"""Name and command of the processes beside the servers."""
OWNER_ONLY = ("PLAYHEAD_DATABASE_URL", "DATABASE_URL")
"""Variables that servers and workers are not told: they have logins of their own."""
PORT_MAX = 65_535
PORT_SETTING, METRICS_PORT_SETTING = "--port or PLAYHEAD_PORT", "--metrics-port or PLAYHEAD_METRICS_PORT"
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""By what stands for every address of a machine, how it reaches itself: `::` is IPv6 alone."""
_NOWHERE = {"0.0.0.0": (socket.AF_INET, "192.0.2.1"), "::": (socket.AF_INET6, "2001:db8::1")}
"""Addresses of networks that exist nowhere (RFC 5737, RFC 3849): asking for the way there sends nothing."""


class PlanImpossible(Exception):
    """The processes cannot listen where the settings say. The text says which one to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where one server process listens, and how its page and its API are reached from other devices."""

    host: str
    port: int
    metrics_port: int
    public_url: str

    @property
    def local_url(self) -> str:
        """How this machine reaches it."""
        return f"http://{_in_url(LOOPBACK.get(self.host, self.host))}:{self.port}"


def addresses(settings: Settings, servers: int) -> list[Address]:
    """One address per server process, on consecutive ports from `port` and `metrics_port`. Raises PlanImpossible."""
    if settings.store == "memory" and servers > 1:
        raise PlanImpossible(
            "With the store in memory (--store, PLAYHEAD_STORE) there is one server. Take away --servers, or use redis."
        )
    _require_ports_that_exist(settings, servers)
    host = outside_address(settings.host)
    return [
        Address(
            host=settings.host,
            port=settings.port + number,
            metrics_port=settings.metrics_port + number,
            public_url=settings.public_url or f"http://{_in_url(host)}:{settings.port + number}",
        )
        for number in range(servers)
    ]


def helpers(settings: Settings) -> Sequence[tuple[str, str]]:
    """Beside the servers. Each has the next metrics port; a server with its sessions in memory has no journal."""
    return (WORKER,) if settings.store == "memory" else (FLUSHER, WORKER)


def metrics_ports(settings: Settings, servers: int) -> range:
    """One for each server process and each helper."""
    return range(settings.metrics_port, settings.metrics_port + servers + len(helpers(settings)))


def _require_ports_that_exist(settings: Settings, servers: int) -> None:
    """Links and scrapers are told the ports before anything listens, so that none can be left to the system."""
    listening = range(settings.port, settings.port + servers)
    measuring = metrics_ports(settings, servers)
    for ports, setting in ((listening, PORT_SETTING), (measuring, METRICS_PORT_SETTING)):
        if ports[0] < 1 or ports[-1] > PORT_MAX:
            needed = "one port is" if len(ports) == 1 else f"{len(ports)} ports in a row are"
            raise PlanImpossible(
                f"Port {ports[0]} will not do, as {needed} needed from there on: "
                f"choose one from 1 to {PORT_MAX + 1 - len(ports)} with {setting}."
            )
    if shared := sorted(set(listening) & set(measuring)):
        raise PlanImpossible(
            f"Port {shared[0]} would be a server's and also a metrics port. Choose others with {PORT_SETTING} "
            f"(needs {len(listening)} from there on) or {METRICS_PORT_SETTING} (needs {len(measuring)})."
        )


def outside_address(host: str) -> str:
    """Where others on the network reach what listens at `host`; without a network, where this machine does."""
    if host not in LOOPBACK:
        return host
    family, nowhere = _NOWHERE[host]
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((nowhere, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return LOOPBACK[host]


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def common_environment(
    settings: Settings, data_dir: Path, backing: Backing, keys: DevelopmentKeys, player_dir: Path | None
) -> dict[str, str]:
    """What every child is told. Settings that the person gave stand; what is missing for a start is filled in."""
    environment = {
        "PLAYHEAD_DATA_DIR": str(data_dir),
        "PLAYHEAD_METRICS_DIR": str(settings.metrics_dir or data_dir / "metrics"),
        "PLAYHEAD_DATABASE_APP_URL": backing.app_url,
        "PLAYHEAD_DATABASE_SERVICE_URL": backing.service_url,
        "PLAYHEAD_STORE": settings.store,
        "PLAYHEAD_PROCESSES": str(settings.processes),
    }
    if backing.redis_url is not None:
        environment["PLAYHEAD_REDIS_URL"] = backing.redis_url
    if player_dir is not None:
        environment["PLAYHEAD_PLAYER_DIR"] = str(player_dir)
    if settings.jwt_key is None:
        environment["PLAYHEAD_JWT_KEY"] = keys.jwt_key
    if not settings.media_keys:
        environment["PLAYHEAD_MEDIA_KEYS"] = json.dumps({MEDIA_KEY_ID: keys.media_key})
    if "drain_s" not in settings.model_fields_set:
        # one person's tabs: nobody waits for them after a Ctrl-C
        environment["PLAYHEAD_DRAIN_S"] = "0"
    if "log_format" not in settings.model_fields_set:
        environment["PLAYHEAD_LOG_FORMAT"] = "console"
    return environment


def children(
    settings: Settings,
    program: Sequence[str],
    places: Sequence[Address],
    inherited: Mapping[str, str],
    common: Mapping[str, str],
    logs: Path,
) -> list[Child]:
    """The server processes and what runs beside them, started as `program serve`, `… flush` and `… worker`."""
    base = {**{name: value for name, value in inherited.items() if name not in OWNER_ONLY}, **common}
    servers = [
        Child(
            name=f"server on port {place.port}",
            arguments=[*program, "serve"],
            environment={
                **base,
                "PLAYHEAD_HOST": place.host,
                "PLAYHEAD_PORT": str(place.port),
                "PLAYHEAD_METRICS_PORT": str(place.metrics_port),
                "PLAYHEAD_PUBLIC_URL": place.public_url,
            },
            log_path=logs / f"server-{place.port}.log",
        )
        for place in places
    ]
    beside = [
        Child(
            name=name,
            arguments=[*program, command],
            environment={**base, "PLAYHEAD_METRICS_PORT": str(metrics_port)},
            log_path=logs / f"{name}.log",
        )
        for metrics_port, (name, command) in enumerate(helpers(settings), places[-1].metrics_port + 1)
    ]
    return [*servers, *beside]
