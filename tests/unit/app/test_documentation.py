"""Tables and documents in docs/ are those of the code. To renew them: python -m tests.unit.app.test_documentation"""

import json
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from playhead.app.asyncapi import asyncapi
from playhead.app.documentation import (
    clauses_markdown,
    metrics_markdown,
    rejections_markdown,
    settings_markdown,
    settings_text,
)
from playhead.runtime.settings import Settings, load

DOCS = Path(__file__).parents[3] / "docs"
GENERATED: list[tuple[str, str, Callable[[], str]]] = [
    ("protocol.md", "rejections", rejections_markdown),
    ("settings.md", "settings", settings_markdown),
    ("operations.md", "metrics", metrics_markdown),
    ("media.md", "clauses", clauses_markdown),
]


def _filled(text: str, name: str, table: str) -> str:
    pattern = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda found: f"{found[1]}\n{table}\n\n{found[2]}", text, count=1, flags=re.DOTALL)


@pytest.mark.parametrize(("file", "name", "table"), GENERATED, ids=[row[0] for row in GENERATED])
def test_table_in_the_documentation_is_that_of_the_code(file: str, name: str, table: Callable[[], str]) -> None:
    text = (DOCS / file).read_text()
    assert table() in text
    assert text == _filled(text, name, table())


def _asyncapi_text() -> str:
    return json.dumps(asyncapi(version("playhead")), indent=2, ensure_ascii=False) + "\n"


def test_the_document_of_the_socket_protocol_is_that_of_the_code() -> None:
    assert (DOCS / "asyncapi.json").read_text() == _asyncapi_text()


def test_effective_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "a-very-secret-secret-of-32-bytes-or-more"
    monkeypatch.setenv("PLAYHEAD_JWT_KEY", secret)
    monkeypatch.setenv("PLAYHEAD_MEDIA_KEYS", f'{{"first": "{secret}"}}')
    monkeypatch.setenv("DATABASE_URL", f"postgresql://owner:{secret}@localhost/playhead")
    text = settings_text(load())
    assert secret not in text
    assert "PLAYHEAD_MEDIA_KEYS" in text and "(keys: first)" in text


def test_every_setting_is_documented() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


if __name__ == "__main__":
    for document, heading, make in GENERATED:
        path = DOCS / document
        path.write_text(_filled(path.read_text(), heading, make()))
    (DOCS / "asyncapi.json").write_text(_asyncapi_text())
