"""What a process needs of its machine: a metrics port, a media folder, ffmpeg. What is missing is a SettingsError."""

import os

from playhead.app.listening import cannot_listen
from playhead.runtime.metrics import MetricsServer
from playhead.runtime.settings import Settings, SettingsError, environment_name
from playhead.storage import LocalStorage, StorageFailed
from playhead.transcode import Ingest, Programs, ProgramsMissing, find_programs

SCRATCH_NAME = ".scratch"


def metrics_server(settings: Settings) -> MetricsServer:
    """Serves `/metrics`. Raises SettingsError when it cannot listen there."""
    try:
        return MetricsServer(settings.metrics_host, settings.metrics_port)
    except (OSError, UnicodeError) as error:
        names = {"host_setting": environment_name("metrics_host"), "port_setting": environment_name("metrics_port")}
        raise SettingsError(cannot_listen(error, settings.metrics_host, settings.metrics_port, **names)) from None


def media_storage(settings: Settings) -> LocalStorage:
    """Raises SettingsError when the folder cannot be used."""
    try:
        return LocalStorage(settings.media_path)
    except (OSError, StorageFailed) as error:
        raise SettingsError(
            f"The media folder {settings.media_path} cannot be used: {error}. Set {environment_name('media_dir')}."
        ) from None


def programs() -> Programs:
    """Raises SettingsError when there is no ffmpeg that will do."""
    try:
        return find_programs(os.environ)
    except ProgramsMissing as error:
        raise SettingsError(str(error)) from None


def upload_ingest(settings: Settings, storage: LocalStorage) -> Ingest:
    """What measures uploads. It decodes on the disk of the media, whose space is watched, and not in the system's /tmp.

    The folder's name begins with a dot: no object can be called that. Raises SettingsError.
    """
    scratch = settings.media_path / SCRATCH_NAME
    try:
        scratch.mkdir(exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"The media folder {settings.media_path} cannot be used: {error}. Set {environment_name('media_dir')}."
        ) from None
    return Ingest(programs(), storage, scratch)
