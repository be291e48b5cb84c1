"""The REST surface on aiohttp: routes, OpenAPI, the origin of HLS media, the player page.

Owns: HTTP — decoding, authentication, status codes, problems, headers. Must not know: SQL, Socket.IO, ffmpeg, how a
command changes a session.
How it works: `routes.py` binds each method and path to a model and a use case; everything else is derived from it.
"""

from playhead.http.app import create_app
from playhead.http.health import Check, NotReady, clock_check, process_check, valkey_check
from playhead.http.services import Enqueue, Ingest, Services, Unmeasured, Unplayable

__all__ = [
    "Check",
    "Enqueue",
    "Ingest",
    "NotReady",
    "Services",
    "Unmeasured",
    "Unplayable",
    "clock_check",
    "create_app",
    "process_check",
    "valkey_check",
]
