"""What is made of settings: keys, above all."""

import json
import time

import pytest

from playhead.app.composition import token_verifier
from playhead.auth.tokens import InvalidToken, issue
from playhead.runtime.settings import load

LISTENER_ID = "11111111-1111-4111-8111-111111111111"
OLD, NEW, STRANGE = (name * 16 for name in ("old", "new", "strange"))


def test_tokens_of_every_key_in_the_settings_are_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAYHEAD_JWT_KEY", OLD)
    monkeypatch.setenv("PLAYHEAD_JWT_OTHER_KEYS", json.dumps([NEW]))
    verifier = token_verifier(load())

    def token(key: str) -> str:
        return issue(key, listener_id=LISTENER_ID, audience="authenticated", expires_at_s=int(time.time()) + 60)

    assert {verifier.verify(token(key)).listener_id for key in (OLD, NEW)} == {LISTENER_ID}
    with pytest.raises(InvalidToken):
        verifier.verify(token(STRANGE))
