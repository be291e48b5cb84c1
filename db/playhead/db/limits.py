"""Every limit of what is stored, named. The migrations hold the same numbers as check constraints; tests hold both."""

TITLE_CHARS_MAX = 300
"""Code points in a script's title; at least one."""
ERROR_CHARS_MAX = 2_000
"""Code points in the reason why a script failed; longer reasons are cut."""
SOURCE_KEY_CHARS_MAX = 200
SOURCE_CODEC_CHARS_MAX = 64
ARTIST_CHARS_MAX = 300
COVER_KEY_CHARS_MAX = 200
MARKS_MAX = 1_000
"""Chapters of one script."""
LOUDNESS_ATTEMPTS_MAX = 3
"""How often a file is measured that fails, or ends its worker."""
FAILED_KEPT_DAYS = 30
"""How long the row of an upload that could not be played says why."""
FAILED_FORGOTTEN_AT_ONCE = 1_000
FORMER_VERSIONS_MAX = 8
"""Files that a script had before, and that are kept for who listens to them; each takes its room for hours."""
DURATION_MS_MAX = 30 * 24 * 3_600 * 1_000
"""The longest script: thirty days."""
DEVICE_ID_CHARS_MAX = 200

BOOKMARKS_MAX = 1_000
"""Bookmarks of one listener in one script."""
BOOKMARK_TITLE_CHARS_MAX = 200
BOOKMARK_NOTE_CHARS_MAX = 4_000

PAGE_SIZE = 50
"""Rows in a page when nobody says how many."""
PAGE_SIZE_MAX = 200
UNFINISHED_MAX = 1_000
"""Scripts that one sweep for lost jobs looks at, oldest first."""
ENTRIES_MAX = 5_000
"""Entries of the journal in one batch; more would hold a connection for too long."""

EPOCHS_MAX = 1_000_000
"""Epochs that one holder of the lease uses at most: another one with each commit of which nobody knows whether it was
stored, a few a second while PostgreSQL is away."""

POOL_CONNECTIONS_MAX = 8
"""Connections of each of the two pools."""
STATEMENT_CACHE_SIZE = 100
"""Prepared statements per connection; must be 0 behind a pooler in transaction mode."""
CONNECT_TIMEOUT_S = 3.0
"""How long a pool tries to connect."""
OWNER_CONNECT_TIMEOUT_S = 10.0
"""The same for migrations and for making the logins: nobody waits for those, and a database may have to wake up."""
ACQUIRE_TIMEOUT_S = 2.5
"""How long a request waits for a free connection, a new one being made included."""
STATEMENT_TIMEOUT_S = 4.5
"""When PostgreSQL itself ends a transaction's statement; before COMMAND_TIMEOUT_S, so that the connection is kept."""
COMMAND_TIMEOUT_S = 5.0
"""How long one statement may take. A frozen server costs this once: then its connection is cut."""
IDLE_TIMEOUT_S = 3.0
"""How long a transaction waits for its client between two statements: one that is frozen, or whose machine is gone, has
to let go of its locks before those who wait for them give up."""
CANCEL_TIMEOUT_S = 1.0
"""How long PostgreSQL may take to confirm that a statement is cancelled; then its connection is cut."""
BATCH_STATEMENT_TIMEOUT_S = 14.5
"""When PostgreSQL itself ends a batch's statement; before BATCH_TIMEOUT_S, so that the connection is kept."""
BATCH_TIMEOUT_S = 15.0
"""How long one statement of a batch may take. Written behind the requests, so nobody waits for it."""
CLOSE_TIMEOUT_S = 5.0
"""How long closing waits for statements under way."""
