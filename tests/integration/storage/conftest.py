"""The storages that the contract is run on: those of tests/support/buckets.py."""

import pytest

from playhead.storage import Storage


@pytest.fixture
def storage(any_storage: Storage) -> Storage:
    return any_storage
