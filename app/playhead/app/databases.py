"""The pools of a process, from its settings: with the logins that are set, or that `playhead migrate` has left."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import SecretStr

from playhead.db import (
    Database,
    LoginError,
    Logins,
    ServiceDatabase,
    open_database,
    open_service_database,
    stored_logins,
)
from playhead.runtime.settings import Settings, SettingsError, environment_name


def revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def logins(settings: Settings) -> Logins:
    """The two logins: as set, or as `playhead migrate` left them in the data folder. Raises SettingsError."""
    app_url, service_url = revealed(settings.database_app_url), revealed(settings.database_service_url)
    if app_url and service_url:
        return Logins(app_url=app_url, service_url=service_url)
    return _stored_logins(settings, "database_app_url", "database_service_url")


def service_login(settings: Settings) -> str:
    """The service's login alone, for a process that acts for no listener. Raises SettingsError."""
    return revealed(settings.database_service_url) or _stored_logins(settings, "database_service_url").service_url


def _stored_logins(settings: Settings, *needed: str) -> Logins:
    """What is set, completed by what `playhead migrate` left."""
    app_url, service_url = revealed(settings.database_app_url), revealed(settings.database_service_url)
    owner_url = revealed(settings.database_url)
    if owner_url is None:
        names = " and ".join(environment_name(name) for name in needed)
        raise SettingsError(f"No database is set: set {names}, or {environment_name('database_url')}.")
    try:
        return stored_logins(owner_url, settings.data_dir, app_url=app_url, service_url=service_url)
    except LoginError as error:
        raise SettingsError(str(error)) from None


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[Database]:
    """Pools for both logins."""
    urls = logins(settings)
    async with open_database(
        urls.app_url,
        urls.service_url,
        connections_max=settings.database_pool_size_max,
        statement_cache_size=settings.database_statement_cache_size,
    ) as opened:
        yield opened


@asynccontextmanager
async def service_database(settings: Settings) -> AsyncIterator[ServiceDatabase]:
    """The pool of the service's login alone."""
    async with open_service_database(
        service_login(settings),
        connections_max=settings.database_pool_size_max,
        statement_cache_size=settings.database_statement_cache_size,
    ) as opened:
        yield opened
