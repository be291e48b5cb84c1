"""How long a client waits before it tries again, by the rules of docs/protocol.md."""

import random

import orjson
from picows import WSHandshakeError

from loadtests.holding.device import Refused, refusal

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.4, 5.0
RETRY_FIRST_S, RETRY_MAX_S, RETRIES_MAX = 0.25, 4.0, 10


def backoff_s(failures: int) -> float:
    """Rule 1 of the protocol."""
    return min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0**failures) * random.uniform(0.5, 1.5)


def retry_s(tries: int) -> float:
    """Rule 11."""
    return min(RETRY_MAX_S, RETRY_FIRST_S * 2.0**tries) * random.uniform(0.5, 1.5)


def refused_over_http(error: BaseException) -> Refused | None:
    body = error.raw_body if isinstance(error, WSHandshakeError) else None
    try:
        return refusal(orjson.loads(body)) if body else None
    except orjson.JSONDecodeError:
        return None
