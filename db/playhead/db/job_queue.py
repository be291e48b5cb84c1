"""pgqueuer's tables in a schema of their own, `playhead_queue`, and its queries bound to them.

pgqueuer installs and upgrades itself; its environment variables (`PGQUEUER_…`, but also bare `CHANNEL` or `FUNCTION`)
are not listened to, for every process must name the same tables. Jobs are written and taken by service_role alone.
"""

from typing import TYPE_CHECKING

from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.settings import DBSettings
from pgqueuer.domain.types import Channel
from pgqueuer.ports.driver import Driver
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

if TYPE_CHECKING:
    import asyncpg

QUEUE_SCHEMA = "playhead_queue"
QUEUE_CHANNEL = Channel("playhead_queue")
"""NOTIFY channels belong to the database, not to a schema: pgqueuer's managers must be given this one."""

SERVICE_GRANTS = f"""
grant usage on schema {QUEUE_SCHEMA} to service_role;
grant select, insert, update, delete on all tables in schema {QUEUE_SCHEMA} to service_role;
grant usage on all sequences in schema {QUEUE_SCHEMA} to service_role;
"""


class _Settings(DBSettings):
    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def queue_queries(driver: Driver) -> Queries:
    """pgqueuer's operations over `driver`, on our schema."""
    settings = _Settings(db_schema=QUEUE_SCHEMA, channel=QUEUE_CHANNEL)
    return Queries(
        driver,
        qbe=QueryBuilderEnvironment(settings),
        qbq=QueryQueueBuilder(settings),
        qbs=QuerySchedulerBuilder(settings),
    )


async def install_queue(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Makes the queue's schema, or brings it up to the installed pgqueuer; then the grants. Harmless when repeated."""
    queries = queue_queries(AsyncpgDriver(connection))
    if await queries.schema_is_installed():
        await queries.upgrade()
    else:
        async with connection.transaction():
            await queries.install()
    await connection.execute(SERVICE_GRANTS)
