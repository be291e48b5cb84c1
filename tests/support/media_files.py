"""What lies in a media folder."""

from pathlib import Path

from playhead.storage.local import MARKER


def media_files(folder: Path) -> list[str]:
    """The names of all files, half-written or whole, but for what marks the folder."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if path.name != MARKER)


def begin_media(data_dir: Path) -> None:
    """A media folder that may be empty beside scripts with files: rows were put there without them."""
    folder = data_dir / "media"
    folder.mkdir(exist_ok=True)
    (folder / MARKER).touch()
