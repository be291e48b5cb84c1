"""Where sources and segments lie: one Protocol, on local disk today, S3 behind the same names later.

Must not know: scripts, rungs, what is in an object. Keys are made by playhead.media.
"""

from playhead.storage.interface import (
    DISK_RESERVE_BYTES,
    OBJECT_BYTES_MAX,
    InvalidKey,
    ObjectMissing,
    ObjectTooLarge,
    Storage,
    StorageFailed,
    Upload,
)
from playhead.storage.local import LocalStorage

__all__ = [
    "DISK_RESERVE_BYTES",
    "OBJECT_BYTES_MAX",
    "InvalidKey",
    "LocalStorage",
    "ObjectMissing",
    "ObjectTooLarge",
    "Storage",
    "StorageFailed",
    "Upload",
]
