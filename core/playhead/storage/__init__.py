"""Where sources and segments lie: one Protocol, on local disk or in a bucket that speaks S3.

Must not know: scripts, rungs, what is in an object. Keys are made by playhead.media.
"""

from playhead.storage.blocks import BLOCK_BYTES, UNFINISHED_KEPT_S, Arrived, Blocks, Overtaken
from playhead.storage.interface import (
    DISK_RESERVE_BYTES,
    OBJECT_BYTES_MAX,
    PRESIGNED_S_MAX,
    InvalidKey,
    ObjectMissing,
    ObjectTooLarge,
    Storage,
    StorageFailed,
    StorageRefused,
    StoredObject,
    Upload,
    checked,
    has_content,
)
from playhead.storage.local import LocalStorage
from playhead.storage.s3 import S3Bucket, S3Limits, S3Storage
from playhead.storage.source_cache import SourceCache

__all__ = [
    "BLOCK_BYTES",
    "DISK_RESERVE_BYTES",
    "OBJECT_BYTES_MAX",
    "PRESIGNED_S_MAX",
    "UNFINISHED_KEPT_S",
    "Arrived",
    "Blocks",
    "InvalidKey",
    "LocalStorage",
    "ObjectMissing",
    "ObjectTooLarge",
    "Overtaken",
    "S3Bucket",
    "S3Limits",
    "S3Storage",
    "SourceCache",
    "Storage",
    "StorageFailed",
    "StorageRefused",
    "StoredObject",
    "Upload",
    "checked",
    "has_content",
]
