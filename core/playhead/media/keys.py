"""Names of what is stored: one place, so that who writes a segment and who serves it cannot disagree.

sources/<script_id>/<name of the upload>            the upload
media/<script_id>/<media_version>/<rung>/<n>.m4s    its segments
"""

SOURCES, MEDIA = "sources", "media"
MEDIA_VERSION_DIGITS = 16


def media_version(source_sha256: str) -> str:
    """The version of a script's media: the first 16 hex digits of its source's SHA-256."""
    return source_sha256[:MEDIA_VERSION_DIGITS]


def source_key(script_id: str, upload: str) -> str:
    """`upload` names this upload alone: its content, and so its version, is known only when it has arrived."""
    return f"{SOURCES}/{script_id}/{upload}"


def media_prefix(script_id: str, version: str) -> str:
    """What all segments of one version have in common, without a slash at the end."""
    return f"{MEDIA}/{script_id}/{version}"


def segment_key(script_id: str, version: str, rung: str, segment: int) -> str:
    return f"{media_prefix(script_id, version)}/{rung}/{segment}.m4s"
