"""Whether a database may be believed when it says that a script has no row, for then all of that script is deleted.

| of the scripts in the storage | then what no row names goes                                                      |
| ----------------------------- | -------------------------------------------------------------------------------- |
| half or more have a row       | when it is old enough                                                            |
| fewer, and only a few lack it | after FEW_GRACE_S: a small installation gets rid of uploads that were broken off |
| fewer, or none has a row      | never by itself: the database may be empty, another one, or an old one           |
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

ASKED_MAX = 1_000
"""Scripts that are looked for in the database before a round, unless that looks at more itself."""
ORPHANS_FEW = 20
FEW_GRACE_S = 30 * 24 * 3_600.0
"""In which it is noticed that a backup was loaded that lacks most scripts."""


class GarbageRefused(Exception):
    """Most scripts of the storage have no row in the database; what no row names was left. The message says more."""


@dataclass(slots=True, kw_only=True)
class Doubt:
    """About a database in which too few of the scripts have a row, and what was left because of it."""

    scripts: int
    rows: int
    objects: int = 0
    size_bytes: int = 0

    @property
    def grace_s(self) -> float:
        """How old something must be to go all the same."""
        return FEW_GRACE_S if self.rows and self.scripts - self.rows <= ORPHANS_FEW else math.inf

    def refusal(self) -> GarbageRefused:
        return GarbageRefused(
            f"Of {self.scripts} scripts in the storage {self.rows} have a row in the database: is it the right one, "
            f"and is all of it there? {self.objects} objects with {self.size_bytes} bytes that no row names are left. "
            "`playhead gc --dry-run` shows them, and `playhead gc --even-if-most` removes them."
        )


def doubt_of(scripts: Collection[str], with_row: Collection[str]) -> Doubt | None:
    """None: it is to be believed."""
    if 2 * len(with_row) >= len(scripts):
        return None
    return Doubt(scripts=len(scripts), rows=len(with_row))
