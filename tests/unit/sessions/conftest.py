"""Everything here is in memory, so the writer need not wait for more to write."""

import pytest

from playhead.sessions import archive


@pytest.fixture(autouse=True)
def _quick_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "WRITE_INTERVAL_S", 0.001)
