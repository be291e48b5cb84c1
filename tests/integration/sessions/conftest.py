"""The session layer on the real PostgreSQL and Valkey; the database comes migrated, with its real logins."""

import pytest

from tests.integration.db.conftest import database, logins, logins_folder, migrated_template, owner, owner_url

__all__ = ["database", "logins", "logins_folder", "migrated_template", "owner", "owner_url"]


@pytest.fixture(params=["memory", "durable", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each store under the contract: in memory, in memory with its commits in PostgreSQL, in Valkey."""
    if request.param == "durable":
        # here, as a database is prepared without an event loop
        request.getfixturevalue("logins")
    return str(request.param)
