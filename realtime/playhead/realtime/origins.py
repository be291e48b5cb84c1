"""Which pages may connect: the `Origin` that a browser sends is compared before anything else is looked at.

Allowed are the server's own origin as the request names it (`Host`, and what a proxy says in `X-Forwarded-Proto` and
`X-Forwarded-Host`), that of `PLAYHEAD_PUBLIC_URL`, and those of `PLAYHEAD_CORS_ORIGINS`. No browser lets a page choose
these headers for a websocket, and the token decides besides.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

ALL = "*"
DEFAULT_PORTS = {"http": 80, "https": 443}


class Origins:
    """What python-socketio asks about every request: `allow`."""

    def __init__(self, public_url: str | None, cors_origins: tuple[str, ...]) -> None:
        self._all = ALL in cors_origins
        urls = (*cors_origins, *([] if public_url is None else [public_url]))
        self._named = frozenset(found for url in urls if (found := origin_of(url)) is not None)

    def allow(self, origin: str | None, environ: Mapping[str, Any]) -> bool:
        """Whether a page of `origin` may connect with a request of these headers (named as WSGI does)."""
        if self._all:
            return True
        asked = origin_of(origin or "")
        return asked is not None and (asked in self._named or asked in _own(environ))


def origin_of(url: str) -> str | None:
    """`scheme://host:port` as it can be compared: in lower case, the port always there. None: `url` has no origin."""
    try:
        parts: SplitResult = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.hostname and port else None


def _own(environ: Mapping[str, Any]) -> set[str | None]:
    """The origins under which this request reached us: directly, and from the outermost proxy that says so."""
    host, scheme = environ.get("HTTP_HOST", ""), _first(environ.get("HTTP_X_FORWARDED_PROTO")) or "http"
    forwarded = _first(environ.get("HTTP_X_FORWARDED_HOST")) or host
    return {origin_of(f"{scheme}://{name}") for name in (host, forwarded)} - {None}


def _first(header: str | None) -> str:
    """Of several proxies each adds what it saw; the first is what the client asked for."""
    return (header or "").split(",")[0].strip()
