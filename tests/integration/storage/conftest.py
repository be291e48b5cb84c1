"""The storages that the contract is run on. A new backend is one more name here."""

from pathlib import Path

import pytest

from playhead.storage import LocalStorage, Storage


@pytest.fixture(params=["local"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return {"local": lambda: LocalStorage(tmp_path / "root")}[request.param]()
