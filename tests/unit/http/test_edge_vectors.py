"""What the edge is held to: the vectors are what this origin answers, and they hold something of every kind."""

import json
import tomllib
from pathlib import Path
from typing import Any

from playhead.http.media_refusals import DOES_NOT_OPEN
from tests.vectors import make_media_tokens, make_playlists

ROOT = Path(__file__).parents[3]
CASES: list[dict[str, Any]] = json.loads(make_media_tokens.PATH.read_text())["cases"]


def test_the_vectors_of_tokens_are_what_the_origin_answers() -> None:
    assert json.loads(make_media_tokens.PATH.read_text()) == make_media_tokens.vectors()


def test_the_vectors_of_playlists_are_the_origins() -> None:
    assert json.loads(make_playlists.PATH.read_text()) == make_playlists.vectors()


def test_only_what_is_meant_to_be_good_is() -> None:
    good = {case["name"] for case in CASES if case["status"] == 200}
    assert good == {
        "a token good",
        "a token with a session",
        "a token with a session of null",
        "a token with a listener",
        "a token with a listener that is no text",
        "a token signed by the second key",
        "a token with letters of all alphabets",
        "a token one second left",
        "a token for everything",
        "a token as long as may be",
        "a token of another session of the script",
        "a token of a script that was taken back, signed after it",
        "a path of the multivariant playlist",
        "a path of the facts",
        "a path of a playlist",
        "a path of an init segment",
        "a path of the first segment",
        "a path of a segment far out",
    }


def test_there_is_a_case_for_every_refusal() -> None:
    reasons = {case["reason"] for case in CASES if case["status"] == 403}
    assert len(reasons) == 6, reasons
    assert {case["status"] for case in CASES} == {200, 403, 404}


def test_no_refusal_of_a_token_says_why() -> None:
    assert {case["detail"] for case in CASES if case["status"] == 403} == {DOES_NOT_OPEN}


def test_no_log_of_requests_keeps_their_tokens() -> None:
    """The edge's as it is deployed, and that of the proxy in the documentation: a path of media opens them."""
    deployed = tomllib.loads((ROOT / "edge" / "wrangler.toml").read_text())["observability"]
    assert deployed["logs"]["invocation_logs"] is False
    documented = (ROOT / "docs" / "operations.md").read_text()
    _, found, location = documented.partition("    location /p/ {")
    assert found and "access_log off;" in location.partition("    }\n")[0]
