"""Keeps what clients send out of what aiohttp and Socket.IO log: a header, a path or a payload may hold a token.

| logger                           | record                              | what is left of it                   |
| -------------------------------- | ----------------------------------- | ------------------------------------ |
| aiohttp.server                   | a request that cannot be parsed     | a line that says so, at most 1/s     |
| aiohttp.server                   | an exception in our code            | all, but no text of the parser's     |
| engineio.server, socketio.server | an exception                        | the traceback, types without texts   |
| engineio.server, socketio.server | anything else (`Invalid session …`) | a line that says so, at most 1/s     |

Libraries are known by name here: this package imports neither.
"""

import logging
import time
from collections.abc import Callable

LINE_INTERVAL_S = 1.0
"""Between two lines about requests that were refused; those left out in between are counted in the next."""

_QUOTING_TYPES = frozenset(
    {
        ("aiohttp.http_exceptions", "HttpProcessingError"),
        ("aiohttp.web_protocol", "RequestPayloadError"),
    }
)


class TextLeftOut(Exception):
    """Stands in a traceback for an exception whose text may quote a request."""


class HidesBadRequests(logging.Filter):
    """For a server's logger. `hides_all`: every text of it may quote a request, not only those of aiohttp's parser."""

    def __init__(self, hides_all: bool = False, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._hides_all = hides_all
        self._monotonic_s = monotonic_s
        self._next_line_s = float("-inf")
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Changes the record in place, so that every handler gets it without the request."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return self._refusal(record) if self._hides_all else True
        if not self._hides_all and quotes_request(error):
            return self._refusal(record)
        told = without_texts(error, quotes=_any_text if self._hides_all else quotes_request)
        record.exc_info = (type(told), told, told.__traceback__)
        record.exc_text = None
        if self._hides_all:
            record.args = ()
        return True

    def _refusal(self, record: logging.LogRecord) -> bool:
        now_s = self._monotonic_s()
        if now_s < self._next_line_s:
            self._left_out += 1
            return False
        more = f" So were {self._left_out} before it." if self._left_out else ""
        record.msg = (
            f"A request that the server cannot read was refused; it is not shown, for it may hold a token.{more}"
        )
        record.args = ()
        record.exc_info = record.exc_text = record.stack_info = None
        self._next_line_s, self._left_out = now_s + LINE_INTERVAL_S, 0
        return True


def quotes_request(error: BaseException) -> bool:
    """Whether aiohttp's parser raised it, for a line or a body that it cannot read."""
    return any((kind.__module__, kind.__name__) in _QUOTING_TYPES for kind in type(error).__mro__)


def without_texts(error: BaseException, quotes: Callable[[BaseException], bool]) -> BaseException:
    """The error itself; where any link of its chain `quotes`, a chain of `TextLeftOut` with the same tracebacks.

    The error is not changed: others may hold it. All its links are replaced, for one may quote the next.
    """
    chain = _chain(error)
    if not any(quotes(link) for link in chain):
        return error
    told: BaseException | None = None
    for link in reversed(chain):
        shown = TextLeftOut(f"{type(link).__qualname__} (its text is left out: it may quote a request)")
        shown.__cause__, told = told, shown.with_traceback(link.__traceback__)
    assert told is not None
    return told


def _chain(error: BaseException) -> list[BaseException]:
    """The error, then what it was raised from or during, as a traceback shows them."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return links


def _any_text(error: BaseException) -> bool:
    return True
