"""How people write which bucket holds the media: s3://BUCKET or s3://BUCKET/PREFIX, never with keys in it."""

import re

_BUCKET_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){0,8})")
"""Buckets as S3 names them; a prefix is made as keys are."""


def bucket_and_prefix(url: str) -> tuple[str, str]:
    """The bucket's name, and the prefix without a slash at either end, or empty. Raises ValueError."""
    found = _BUCKET_URL.fullmatch(url)
    if found is None:
        raise ValueError("must be s3://BUCKET or s3://BUCKET/PREFIX, without keys, and without a slash at the end")
    return found[1], found[2].removeprefix("/")
