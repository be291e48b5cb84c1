"""Encoders of workers that a test runs in its own process, or in one that it has written for that."""

import pytest

WHERE = ("playhead.transcode.loudness.NICENESS", "playhead.transcode.preparation.NICENESS")


@pytest.fixture(autouse=True)
def encoders_weigh_as_much_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all other tests keep the cores busy, what nobody waits for would get next to nothing of them."""
    for name in WHERE:
        monkeypatch.setattr(name, 0)
