"""PostgreSQL: migrations, logins, pools, and repositories. The only package that speaks to the driver.

Owns: the schema, row level security, what is stored and how it is read. Must not know: commands, HTTP, sockets, files.
How it works: `migrate` and `ensure_logins` prepare a database with its owner's login; `open_database` gives two pools,
and the repositories run each call as the listener it is for (`as_user`), or as the service where no listener may write.
"""

from playhead.db.bookmarks import Bookmark, BookmarkRefusal, BookmarkRepository
from playhead.db.errors import DATABASE_AWAY, DatabaseUnavailable, InvalidValue
from playhead.db.journal import JournalEntry, JournalRepository, OfflineStretch
from playhead.db.leases import SERVERS_NODE, HeldBy, LeaseLost, LeaseRepository
from playhead.db.listening import ListeningRepository, Played, PlayedDay
from playhead.db.logins import LoginError, Logins, ensure_logins, stored_logins
from playhead.db.loudness import LoudnessRepository, Unmeasured
from playhead.db.migrate import MigrationError, migrate
from playhead.db.paging import Page
from playhead.db.pool import Claims, Database, ServiceDatabase, open_database, open_service_database
from playhead.db.script_rows import (
    ClaimedScript,
    CreatedScript,
    Creation,
    FormerVersion,
    Mark,
    Script,
    Source,
    Status,
    StoredParts,
    Tags,
    Visibility,
)
from playhead.db.scripts import ScriptRepository
from playhead.db.sessions import Ending, SessionRepository

__all__ = [
    "DATABASE_AWAY",
    "SERVERS_NODE",
    "Bookmark",
    "BookmarkRefusal",
    "BookmarkRepository",
    "ClaimedScript",
    "Claims",
    "CreatedScript",
    "Creation",
    "Database",
    "DatabaseUnavailable",
    "Ending",
    "FormerVersion",
    "HeldBy",
    "InvalidValue",
    "JournalEntry",
    "JournalRepository",
    "LeaseLost",
    "LeaseRepository",
    "ListeningRepository",
    "LoginError",
    "Logins",
    "LoudnessRepository",
    "Mark",
    "MigrationError",
    "OfflineStretch",
    "Page",
    "Played",
    "PlayedDay",
    "Script",
    "ScriptRepository",
    "ServiceDatabase",
    "SessionRepository",
    "Source",
    "Status",
    "StoredParts",
    "Tags",
    "Unmeasured",
    "Visibility",
    "ensure_logins",
    "migrate",
    "open_database",
    "open_service_database",
    "stored_logins",
]
