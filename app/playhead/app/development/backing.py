"""What servers, flusher and worker stand on: a migrated PostgreSQL with its logins, and a Valkey.

Owns: which servers are ours and which are given by DATABASE_URL and REDIS_URL. Must not know: what runs on them.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from playhead.app.databases import revealed
from playhead.app.development.standing import Standing
from playhead.app.embedded import EmbeddedPostgres, EmbeddedValkey
from playhead.app.embedded.postmaster import live_postmaster
from playhead.app.embedded.process import settled_path
from playhead.db import ensure_logins, migrate
from playhead.runtime.settings import Settings

POSTGRES_FOLDER = "postgres"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backing:
    """URLs with which they connect; they hold passwords."""

    app_url: str = field(repr=False)
    service_url: str = field(repr=False)
    redis_url: str | None = field(repr=False)
    """None: sessions live in a server's memory."""
    embedded: Mapping[str, Standing] = field(default_factory=dict)
    """The servers that were started here, by name."""


async def start_backing(settings: Settings, data_dir: Path, servers: ExitStack) -> Backing:
    """Starts what is not given and brings the database up to date. `servers` stops what was started here.

    Raises EmbeddedError, MigrationError, LoginError, DatabaseUnavailable.
    """
    app_url, service_url = revealed(settings.database_app_url), revealed(settings.database_service_url)
    owner_url = revealed(settings.database_url)
    own_database = owner_url is None and (app_url is None or service_url is None)
    embedded: dict[str, Standing] = {}
    if own_database:
        postgres = embedded["PostgreSQL"] = servers.enter_context(EmbeddedPostgres(data_dir / POSTGRES_FOLDER))
        owner_url = postgres.url()
        app_url = service_url = None
    redis_url = revealed(settings.redis_url)
    if settings.store == "redis" and not redis_url:
        valkey = embedded["Valkey"] = servers.enter_context(EmbeddedValkey(data_dir / "valkey"))
        redis_url = valkey.url
    if owner_url is not None:
        await migrate(owner_url)
        # our own server serves nobody else: its logins may be given the folder's passwords when those were lost
        logins = await ensure_logins(owner_url, data_dir, app_url=app_url, service_url=service_url, adopt=own_database)
        app_url, service_url = logins.app_url, logins.service_url
    assert app_url is not None
    assert service_url is not None
    return Backing(app_url=app_url, service_url=service_url, redis_url=redis_url, embedded=embedded)


def beside_run(settings: Settings) -> Settings:
    """Where no database is set: `settings` with the one that `playhead run` keeps up on this data folder just now."""
    if settings.database_url or settings.database_app_url or settings.database_service_url:
        return settings
    found = live_postmaster(settled_path(settings.data_dir / POSTGRES_FOLDER))
    if found is None or not found.ready:
        return settings
    return settings.model_copy(update={"database_url": SecretStr(found.url())})
