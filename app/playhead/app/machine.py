"""What a process needs of its machine: a metrics port, a media folder, ffmpeg. What is missing is a SettingsError.

And what it may use of it: file descriptors, of which every connection takes one.
"""

import os
import resource
from functools import lru_cache
from pathlib import Path

import structlog

from playhead.app.databases import revealed
from playhead.app.listening import cannot_listen
from playhead.db import DatabaseUnavailable, ScriptRepository
from playhead.engine.admission import Limits
from playhead.runtime.bucket_urls import bucket_and_prefix
from playhead.runtime.metrics import Metrics, MetricsServer, metrics_folder, process_metrics
from playhead.runtime.settings import Settings, SettingsError, environment_name
from playhead.storage import (
    LocalStorage,
    S3Bucket,
    S3Storage,
    SourceCache,
    Storage,
    StorageFailed,
    StorageRefused,
)
from playhead.transcode import Ingest, Precedence, Programs, ProgramsMissing, find_programs

log = structlog.get_logger(__name__)

PROGRAM_VARIABLES = ("FFMPEG", "FFPROBE", "PATH")
"""What says which programs are run."""
SCRATCH_NAME = ".scratch"
SOURCES_NAME = "sources"
"""Of the data folder: copies of sources in a bucket."""
BUCKET_SETTINGS = ("storage_url", "s3_endpoint", "s3_region", "s3_access_key", "s3_secret_key")
DESCRIPTORS_MAX = 1_048_576
"""Where the system knows no limit."""
SHARE_MAX = 8
"""Where descriptors are few, none of the parts below is more than this part of them."""
REST_CONNECTIONS_MIN = 1_024
"""Connections that sockets leave to REST and media."""


def raised_descriptors() -> int:
    """How many file descriptors this process may have from now on: as many as the system allows without asking."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS has a second limit, which it does not tell here
            return soft
    return wanted


def socket_limits(settings: Settings, descriptors: int | None = None) -> Limits:
    """The limits of this process as the settings have them, within its file descriptors.

    descriptors = reserved + half-open + REST + sockets
    """
    descriptors = raised_descriptors() if descriptors is None else descriptors
    reserved, half_open, rest = (
        min(part, descriptors // SHARE_MAX)
        for part in (settings.process_descriptors_reserved, settings.process_half_open_max, REST_CONNECTIONS_MIN)
    )
    sockets = descriptors - reserved - half_open - rest
    if sockets < settings.process_sockets_max and "process_sockets_max" in settings.model_fields_set:
        log.warning(
            f"There are file descriptors for {sockets} sockets, not for {settings.process_sockets_max}. "
            "Raise the limit of open files.",
            action="descriptors_few",
            descriptors=descriptors,
        )
    sockets_max = min(settings.process_sockets_max, sockets)
    return Limits(
        sockets_max=sockets_max,
        per_s=settings.process_sockets_per_s,
        burst=settings.process_sockets_burst,
        address_sockets_max=settings.address_sockets_max,
        address_per_s=settings.address_sockets_per_s,
        address_burst=settings.address_sockets_burst,
        half_open_max=half_open,
        connections_max=descriptors - reserved,
        rest_max=descriptors - reserved - half_open - sockets_max,
    )


def own_metrics() -> Metrics:
    """This process's. Raises SettingsError when its folder cannot be used, or has no room."""
    try:
        return process_metrics()
    except OSError as error:
        raise SettingsError(
            f"The metrics folder {metrics_folder()} cannot be used: {error}. Set {environment_name('metrics_dir')}."
        ) from None


def metrics_server(settings: Settings) -> MetricsServer:
    """Serves `/metrics`. Raises SettingsError when it cannot listen there."""
    try:
        return MetricsServer(settings.metrics_host, settings.metrics_port)
    except (OSError, UnicodeError) as error:
        names = {"host_setting": environment_name("metrics_host"), "port_setting": environment_name("metrics_port")}
        raise SettingsError(cannot_listen(error, settings.metrics_host, settings.metrics_port, **names)) from None


def media_storage(settings: Settings) -> LocalStorage | S3Storage:
    """Raises SettingsError when the folder cannot be used, or that of the cache in front of a bucket."""
    if settings.storage_url is not None:
        return _bucket_storage(settings, settings.storage_url)
    try:
        return LocalStorage(settings.media_path)
    except (OSError, StorageFailed) as error:
        raise SettingsError(
            f"The media folder {settings.media_path} cannot be used: {error}. Set {environment_name('media_dir')}."
        ) from None


def _bucket_storage(settings: Settings, url: str) -> S3Storage:
    name, prefix = bucket_and_prefix(url)
    bucket = S3Bucket(
        name=name,
        prefix=prefix,
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        access_key_id=revealed(settings.s3_access_key),
        secret_access_key=revealed(settings.s3_secret_key),
        conditional_put=settings.s3_conditional_put,
    )
    try:
        return S3Storage(bucket, SourceCache(settings.data_dir / SOURCES_NAME, settings.source_cache_bytes_max))
    except StorageFailed as error:
        raise SettingsError(f"{error}. Set {environment_name('data_dir')}.") from None


async def check_storage(storage: LocalStorage | S3Storage, scripts: ScriptRepository) -> None:
    """Raises SettingsError where a bucket refuses, or a folder cannot be that of the scripts: better at the start
    than with the first upload.

    One that does not answer is no reason not to start: it may come back, as PostgreSQL may.
    """
    if isinstance(storage, LocalStorage):
        await _check_beginning(storage, scripts)
        return
    try:
        await storage.check()
    except StorageRefused as error:
        names = ", ".join(environment_name(name) for name in BUCKET_SETTINGS)
        raise SettingsError(f"The storage cannot be used: {error} Look at {names}.") from None
    except StorageFailed as error:
        log.error("The storage does not answer.", action="storage_unavailable", error=str(error))


async def _check_beginning(storage: LocalStorage, scripts: ScriptRepository) -> None:
    """An empty folder beside scripts that have files is a mount point, most likely."""
    try:
        # in this order: another process may store a file and its row meanwhile
        if not storage.is_new or not await scripts.any_source() or not storage.is_new:
            return
    except DatabaseUnavailable:
        return
    storage.disown()
    raise SettingsError(
        f"The media folder {storage.marker.parent} is empty, but the database has scripts with files. Mount its disk, "
        f"or set {environment_name('media_dir')}. To begin anew without those files, create {storage.marker} first."
    )


def programs() -> Programs:
    """Looked for once in a process: to ask each what it can do takes eight runs. Raises SettingsError when there is no
    ffmpeg that will do."""
    try:
        return _programs(*(os.environ.get(name) for name in PROGRAM_VARIABLES))
    except ProgramsMissing as error:
        raise SettingsError(str(error)) from None


@lru_cache(maxsize=1)
def _programs(*values: str | None) -> Programs:
    named = zip(PROGRAM_VARIABLES, values, strict=True)
    return find_programs({name: value for name, value in named if value is not None})


def precedence(settings: Settings) -> Precedence:
    """Of encoders that somebody waits for, among processes with one data folder. Media may lie on another machine's
    disk, which a loop must not wait for."""
    return Precedence(settings.data_dir)


def upload_ingest(settings: Settings, storage: Storage) -> Ingest:
    """What measures uploads. Raises SettingsError."""
    return Ingest(programs(), storage, scratch_folder(settings))


def scratch_folder(settings: Settings) -> Path:
    """Where uploads are decoded: on the disk of the media, whose space is watched, and not in the system's /tmp.

    Its name begins with a dot: no object can be called that. Raises SettingsError.
    """
    folder = _disk_folder(settings)
    try:
        scratch = folder / SCRATCH_NAME
        scratch.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        name = environment_name("media_dir" if settings.storage_url is None else "data_dir")
        raise SettingsError(f"The folder {folder} cannot be used: {error}. Set {name}.") from None
    return scratch


def _disk_folder(settings: Settings) -> Path:
    """Of this machine, with room for whole files."""
    return settings.media_path if settings.storage_url is None else settings.data_dir
