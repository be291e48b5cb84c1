"""Names of what is stored: one place, so that who writes a segment and who serves it cannot disagree.

sources/<script_id>/<name of the upload>              the upload
sources/<script_id>/<name of the upload>.cover.jpg    the picture in it, or .cover.png
media/<script_id>/<media_version>/<rung>/<n>.m4s      its segments
uploads/<owner_id>/<upload_id>/…                      an upload that comes in parts, while it is not whole
uploaded/<owner_id>/<upload_id>                       what became of it, for who asks again
"""

SOURCES, MEDIA, UPLOADS, UPLOADED = "sources", "media", "uploads", "uploaded"
MEDIA_VERSION_DIGITS = 16
COVER_TYPES = {"jpg": "image/jpeg", "png": "image/png"}
"""Media types of pictures, by how the names of those end that are stored."""


def media_version(source_sha256: str) -> str:
    """The version of a script's media: the first 16 hex digits of its source's SHA-256."""
    return source_sha256[:MEDIA_VERSION_DIGITS]


def source_key(script_id: str, upload: str) -> str:
    """`upload` names this upload alone: its content, and so its version, is known only when it has arrived."""
    return f"{SOURCES}/{script_id}/{upload}"


def cover_key(upload_key: str, suffix: str) -> str:
    """Of the picture in the upload that was stored as `upload_key`; `suffix` is one of COVER_TYPES."""
    return f"{upload_key}.cover.{suffix}"


def cover_type(key: str) -> str:
    """The media type of the picture that is stored as `key`."""
    return COVER_TYPES[key.rpartition(".")[2]]


def uploads_prefix(owner_id: str, upload_id: str | None = None) -> str:
    """What the uploads of that owner have in common that are not whole; or all that is stored of one of them.

    The owner is part of the name, so nobody finds another one's.
    """
    return f"{UPLOADS}/{owner_id}" if upload_id is None else f"{UPLOADS}/{owner_id}/{upload_id}"


def uploaded_key(owner_id: str, upload_id: str) -> str:
    """Where it is kept what became of an upload that came in parts."""
    return f"{UPLOADED}/{owner_id}/{upload_id}"


def media_prefix(script_id: str, version: str) -> str:
    """What all segments of one version have in common, without a slash at the end."""
    return f"{MEDIA}/{script_id}/{version}"


def segment_key(script_id: str, version: str, rung: str, segment: int) -> str:
    return f"{media_prefix(script_id, version)}/{rung}/{segment}.m4s"
