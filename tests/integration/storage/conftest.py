"""The storages that the contract is run on: those of tests/support/buckets.py."""

import pytest

from playhead.storage import Storage
from tests.support.encoders import encoders_weigh_as_much_as_others

__all__ = ["encoders_weigh_as_much_as_others"]


@pytest.fixture
def storage(any_storage: Storage) -> Storage:
    return any_storage
