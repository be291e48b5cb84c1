"""Conversations that are under way."""

import pytest

from tests.unit.client.core.driven import Driven
from tests.unit.client.core.recording import SCRIPT_ID, make_state


@pytest.fixture
def phone() -> Driven:
    """Connected and joined; the script plays on this device."""
    driven = Driven("one", "two")
    driven.join(make_state(), SCRIPT_ID)
    return driven
