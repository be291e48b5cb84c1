"""Keys for a development server, made once and kept in the data folder, readable by the owner alone.

They stay the same from start to start, so that tokens and media links of yesterday still work. A server that others can
reach gets its keys from its settings instead.
"""

import json
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

KEYS_FILE = "keys.json"
KEY_BYTES = 32
MEDIA_KEY_ID = "development"


class KeysDamaged(Exception):
    """The file with the keys cannot be read. The text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevelopmentKeys:
    """`jwt_key` signs tokens (HS256), `media_key` media paths."""

    jwt_key: str = field(repr=False)
    media_key: str = field(repr=False)


def development_keys(data_dir: Path) -> DevelopmentKeys:
    """The keys of this data folder, made at the first call. Raises KeysDamaged."""
    path = data_dir / KEYS_FILE
    try:
        stored = json.loads(path.read_text())
        return DevelopmentKeys(jwt_key=str(stored["jwt_key"]), media_key=str(stored["media_key"]))
    except FileNotFoundError:
        return _make(path)
    except (ValueError, KeyError, TypeError) as error:
        raise KeysDamaged(
            f"{path} is damaged ({error}). Remove it; links made with its keys will no longer work."
        ) from None


def _make(path: Path) -> DevelopmentKeys:
    keys = DevelopmentKeys(jwt_key=secrets.token_urlsafe(KEY_BYTES), media_key=secrets.token_urlsafe(KEY_BYTES))
    handle, draft = tempfile.mkstemp(prefix=path.name, dir=path.parent)  # 0600
    with os.fdopen(handle, "w") as file:
        json.dump({"jwt_key": keys.jwt_key, "media_key": keys.media_key}, file)
    os.replace(draft, path)
    return keys
