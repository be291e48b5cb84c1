"""All randomness of a schedule: one generator, seeded, so that the same seed draws the same in the same order."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_UUID_FIXED = (0xF000 << 64) | (0xC000 << 48)
_UUID_4 = (0x4000 << 64) | (0x8000 << 48)
"""The bits of a random UUID that say what it is (RFC 9562, section 5.4)."""


class Chance(random.Random):
    """A generator with the draws that a schedule needs."""

    def happens(self, probability: float) -> bool:
        return self.random() < probability

    def ms(self, least_ms: int, most_ms: int) -> int:
        """A time between both; short ones are as likely as long ones."""
        return least_ms + int(self.random() * (most_ms - least_ms + 1))

    def pick(self, rows: Sequence[T]) -> T:
        return rows[int(self.random() * len(rows))]

    def uuid(self) -> str:
        drawn = self.getrandbits(128) & ~_UUID_FIXED | _UUID_4
        text = f"{drawn:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
