"""The head of a request, as far as it decides whose connection it is: a websocket of ours, or aiohttp's.

What is not understood is nobody's websocket: aiohttp gets every byte, and answers.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

HEAD_BYTES_MAX = 16_384
"""Without its END. A socket's head is kept as long as the socket."""
HEADERS_MAX = 100
END = b"\r\n\r\n"
WEBSOCKET_VERSION = "13"
KEY_BYTES = 16
QUERIES_KEPT = 64
"""Almost all that open a socket ask the same."""


@lru_cache(maxsize=QUERIES_KEPT)
def _query(text: str) -> Mapping[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}


@dataclass(frozen=True, slots=True)
class Head:
    """A GET that asks for a websocket. `headers`: as they came, names in lower case."""

    target: str
    headers: tuple[tuple[str, str], ...]
    address: str

    def header(self, name: str) -> str:
        """All of that name, joined as HTTP allows; "" where there is none."""
        return ",".join(value for found, value in self.headers if found == name)

    @property
    def size_bytes(self) -> int:
        """As it is commonly written, one space after each colon."""
        first = len("GET  HTTP/1.1") + len(self.target)
        return first + sum(len("\r\n: ") + len(name) + len(value) for name, value in self.headers)

    @property
    def query(self) -> Mapping[str, str]:
        """The first value of each parameter."""
        return _query(self.target.partition("?")[2])

    @property
    def asks_for_websocket(self) -> bool:
        """RFC 6455 section 4.2.1, of `Connection` a list: Firefox says `keep-alive, Upgrade`."""
        connection = [option.strip() for option in self.header("connection").lower().split(",")]
        return "upgrade" in connection and self.header("upgrade").strip().lower() == "websocket"

    @property
    def key(self) -> str | None:
        """What proves that the other end speaks websocket; None where the version is another, or there is none."""
        key = self.header("sec-websocket-key").strip()
        try:
            right = len(base64.b64decode(key.encode(), validate=True)) == KEY_BYTES
        except ValueError:
            return None
        return key if right and self.header("sec-websocket-version").strip() == WEBSOCKET_VERSION else None

    def environ(self) -> dict[str, Any]:
        """As WSGI names it."""
        path, _, query = self.target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": path,
            "RAW_URI": self.target,
            "QUERY_STRING": query,
            "SCRIPT_NAME": "",
            "REMOTE_ADDR": self.address,
            "SERVER_PROTOCOL": "HTTP/1.1",
        }
        for name, value in self.headers:
            key = "HTTP_" + name.upper().replace("-", "_")
            environ[key] = f"{environ[key]},{value}" if key in environ else value
        environ["wsgi.url_scheme"] = environ.get("HTTP_X_FORWARDED_PROTO", "http")
        return environ


class Environ(Mapping[str, Any]):
    """A head's environ, made anew whenever it is looked at: it is asked for once, and kept as long as the socket.

    Packed into one string, for dozens of small ones are kilobytes.
    """

    __slots__ = ("_packed",)

    def __init__(self, head: Head) -> None:
        self._packed = "\n".join([head.target, head.address, *(part for pair in head.headers for part in pair)])

    def _environ(self) -> dict[str, Any]:
        target, address, *parts = self._packed.split("\n")
        return Head(target, tuple(zip(parts[::2], parts[1::2], strict=True)), address).environ()

    def __getitem__(self, key: str) -> Any:
        return self._environ()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ())

    def __len__(self) -> int:
        return len(self._environ())


def read_head(data: bytes, address: str) -> Head | None:
    """The head that `data` begins with, all of it there; None: no GET that we understand."""
    lines = data[: data.index(END)].decode("latin-1").split("\r\n")
    if any("\n" in line or "\r" in line for line in lines):
        return None
    method, _, rest = lines[0].partition(" ")
    target, _, version = rest.partition(" ")
    if method != "GET" or version != "HTTP/1.1" or len(lines) > HEADERS_MAX + 1:
        return None
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            return None
        headers.append((name.lower(), value.strip(" \t")))
    if any(name == "transfer-encoding" or (name == "content-length" and value != "0") for name, value in headers):
        return None
    return Head(target, tuple(headers), address)
