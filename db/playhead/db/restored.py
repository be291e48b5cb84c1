"""Whether a database that says it is migrated has what makes it work: a backup may come back without.

Roles belong to the server and are in no dump of a database. Where they are missing when it is loaded, policies and
grants are refused one by one, the rest is loaded, and every request fails afterwards. Each migration is applied once,
so none would mend it.
"""

import re
from collections.abc import Iterable

import asyncpg

ROLES = ("anon", "authenticated", "service_role")
POLICY = re.compile(r'^create policy "[^"]+" on (public\.\w+)', re.MULTILINE)

MISSING_ROLES = "select name from unnest($1::text[]) as name where to_regrole(name) is null"
# without a policy, or with policies for nobody; a table that a later migration drops is none of them
CLOSED_TABLES = """
select name from unnest($1::text[]) as name, to_regclass(name) as id
where id is not null and (
    not exists (select from pg_policy where polrelid = id)
    or not (has_table_privilege('authenticated', id, 'select') or has_table_privilege('service_role', id, 'select'))
)
order by name
"""


async def lost_in_restoring(connection: "asyncpg.Connection[asyncpg.Record]", applied: Iterable[str]) -> str | None:
    """What is missing of what the texts of the applied migrations have made, in words; None: nothing."""
    tables = sorted({table for sql in applied for table in POLICY.findall(sql)})
    if not tables:
        return None
    if roles := [row["name"] for row in await connection.fetch(MISSING_ROLES, ROLES)]:
        return f"the roles {', '.join(roles)}"
    if closed := [row["name"] for row in await connection.fetch(CLOSED_TABLES, tables)]:
        return f"policies or grants of {', '.join(closed)}"
    return None
