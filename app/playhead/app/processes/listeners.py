"""One listening socket per slot and address, all on one port: the kernel spreads new connections over them.

They belong to the supervisor and stay open while processes come and go: a listener that is closed takes the
connections that wait in it along, and one that stays keeps them for the next process.
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from playhead.app.listening import cannot_listen
from playhead.runtime.settings import SettingsError, environment_name

BACKLOG_CONNECTIONS = 1_024
"""What waits in one listener until a process takes it."""


@contextmanager
def open_listeners(host: str, port: int, slots: int, backlog: int) -> Iterator[Sequence[Sequence[socket.socket]]]:
    """The sockets of each slot, one for every address of `host`. Port 0: one that the system chooses.

    Raises SettingsError when nothing can listen there.
    """
    with ExitStack() as held:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
            if port:
                for family, address in addresses:
                    _require_free(family, address)
            opened: list[list[socket.socket]] = []
            for _ in range(slots):
                opened.append([])
                for family, address in addresses:
                    listener = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
                    _bind(listener, (address[0], port, *address[2:]))
                    listener.listen(backlog)
                    port = port or listener.getsockname()[1]
                    opened[-1].append(listener)
        except (OSError, UnicodeError) as error:
            names = {"host_setting": environment_name("host"), "port_setting": environment_name("port")}
            raise SettingsError(cannot_listen(error, host, port, **names)) from None
        yield opened


def _require_free(family: int, address: tuple[object, ...]) -> None:
    """Sockets that share a port would let a second supervisor take half of this one's connections, without a word."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        _prepare(probe)
        probe.bind(address)
        probe.listen(1)


def _bind(listener: socket.socket, address: tuple[object, ...]) -> None:
    _prepare(listener)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(address)


def _prepare(listener: socket.socket) -> None:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as asyncio does
