"""What happened in a schedule, line by line: cheap to keep, readable when something went wrong, the same every time."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

LINES_SHOWN = 120


@dataclass(slots=True)
class Trace:
    """Lines are formatted when they are read."""

    rows: list[tuple[int, str, str, tuple[Any, ...]]] = field(default_factory=list)

    def add(self, at_us: int, who: str, text: str, *values: Any) -> None:
        """`text` has a `%s` for each of `values`, which must not change afterwards."""
        self.rows.append((at_us, who, text, values))

    def lines(self) -> list[str]:
        return [f"{at_us / 1e6:12.6f}  {who:<12} {text % values}" for at_us, who, text, values in self.rows]

    def tail(self, count: int = LINES_SHOWN) -> str:
        lines = self.lines()
        left_out = len(lines) - count
        return "\n".join([f"… {left_out} lines before", *lines[-count:]] if left_out > 0 else lines)

    def digest(self) -> str:
        """Names the whole trace: two runs of one seed have the same."""
        return hashlib.sha256("\n".join(self.lines()).encode()).hexdigest()
