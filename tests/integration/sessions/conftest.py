"""The session layer on the real PostgreSQL and Valkey; the database comes migrated, with its real logins."""

from tests.integration.db.conftest import database, logins, logins_folder, migrated_template, owner_url

__all__ = ["database", "logins", "logins_folder", "migrated_template", "owner_url"]
