"""Where a process runs, when there may be only one: a machine and a data folder, locked while the process lives.

The lock goes with the process, however that ends. So whoever holds it knows that no earlier process of this node is
left, and need not wait for what that process has leased.
"""

import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from playhead.app.embedded import EmbeddedError
from playhead.app.embedded.process import exclusive
from playhead.app.errors import CommandFailed
from playhead.runtime.settings import SettingsError, environment_name

LOCK_NAME = "memory-store.lock"
LOCK_WAIT_S = 5.0
"""What a process that is about to end is given."""


@contextmanager
def exclusive_node(data_dir: Path) -> Iterator[str]:
    """The node's name, the same for every process on `data_dir` of this machine; one at a time.

    Raises CommandFailed while another one runs there, and SettingsError where the folder cannot be used.
    """
    path = data_dir / LOCK_NAME
    with ExitStack() as held:
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            held.enter_context(exclusive(path, LOCK_WAIT_S))
            name = f"{socket.gethostname()}:{_folder_id(path)}"
        except EmbeddedError:
            raise CommandFailed(
                f"Another server runs with PLAYHEAD_STORE=memory on {data_dir}, and there may be only one. Stop it, or "
                "use Redis for several."
            ) from None
        except OSError as error:
            raise SettingsError(
                f"The data folder {data_dir} cannot be used: {error.strerror}. Set {environment_name('data_dir')}."
            ) from None
        yield name


def _folder_id(path: Path) -> str:
    """Made with the folder: a copy of the folder on another machine has another host name."""
    known = path.read_text().strip()
    if not known:
        known = str(uuid.uuid4())
        path.write_text(f"{known}\n")
    return known
