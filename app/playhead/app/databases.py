"""The pools of a process, from its settings: with the logins that are set, or that `playhead migrate` has left."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import SecretStr

from playhead.db import Database, LoginError, Logins, open_database, stored_logins
from playhead.runtime.settings import Settings, SettingsError, environment_name


def revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def logins(settings: Settings) -> Logins:
    """The two logins: as set, or as `playhead migrate` left them in the data folder. Raises SettingsError."""
    app_url, service_url = revealed(settings.database_app_url), revealed(settings.database_service_url)
    if app_url and service_url:
        return Logins(app_url=app_url, service_url=service_url)
    owner_url = revealed(settings.database_url)
    if owner_url is None:
        names = " and ".join(environment_name(name) for name in ("database_app_url", "database_service_url"))
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
