"""All randomness of a schedule: one generator, seeded, so that the same seed draws the same in the same order."""

import random
from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

T = TypeVar("T")


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
        return str(UUID(int=self.getrandbits(128), version=4))
