"""Tables in docs/rest.md are those of the code. To renew them: python -m tests.unit.http.test_rest_page"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from playhead.db.limits import BOOKMARKS_MAX, PAGE_SIZE_MAX
from playhead.http.decoding import BODY_BYTES_MAX, BODY_TIMEOUT_S
from playhead.http.intake import INGESTS_MAX, LISTENER_UPLOADS_MAX, UPLOADS_MAX
from playhead.http.problems import HTTP_REASONS
from playhead.http.resumable import OPEN_MAX
from playhead.http.route import API, Route
from playhead.http.routes import ROUTES
from playhead.http.scripts import PREPARE_TTL_S, STREAM_TTL_S
from playhead.http.unreadable import HEADER_BYTES_MAX, HEADERS_MAX, TARGET_BYTES_MAX
from playhead.http.upload_bodies import FIELD_BYTES_MAX, FORM_PARTS_MAX

PAGE = Path(__file__).parents[3] / "docs" / "rest.md"


def _table(names: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    head = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    return "\n".join([*head, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def _fields(route: Route) -> str:
    fields = route.fields.model_fields.items() if route.fields is not None else ()
    outside = [(name, field) for name, field in fields if name not in route.path_names]
    common = ("command_id", "expected_revision", "expected_epoch")
    return ", ".join(
        f"`{field.alias or name}{'' if field.is_required() else '?'}`" for name, field in outside if name not in common
    )


def routes() -> str:
    rows: list[tuple[object, ...]] = [
        (
            f"{route.method} `{route.path.removeprefix(API)}`",
            _fields(route),
            ", ".join(str(good.status) for good in route.good),
            route.summary,
        )
        for route in ROUTES
    ]
    return _table(("route", "fields", "answers", "what it does"), rows)


def problems() -> str:
    rows: list[tuple[object, ...]] = [
        (f"`{code.value}`", reason.status, "yes" if reason.retry else "no", reason.message)
        for code, reason in HTTP_REASONS.items()
    ]
    return _table(("code", "HTTP", "retry", "message"), rows)


def limits() -> str:
    return _table(
        ("limit", "value"),
        [
            ("JSON body", f"{BODY_BYTES_MAX:,} bytes"),
            ("wait for a body, or for the next piece of an upload", f"{BODY_TIMEOUT_S:g} s"),
            ("uploaded file", "`PLAYHEAD_UPLOAD_BYTES_MAX`"),
            ("fields and file of a form", f"{FORM_PARTS_MAX} parts, a field {FIELD_BYTES_MAX:,} bytes"),
            (
                "uploads at once, per process",
                f"{UPLOADS_MAX}, {LISTENER_UPLOADS_MAX} of one listener; {INGESTS_MAX} are measured",
            ),
            ("uploads of a listener that are not whole", f"{OPEN_MAX}, together as large as one file may be"),
            ("rows in a page", PAGE_SIZE_MAX),
            ("bookmarks of a listener in a script", f"{BOOKMARKS_MAX:,}"),
            ("path and query of a request", f"{TARGET_BYTES_MAX:,} bytes"),
            ("value of a header", f"{HEADER_BYTES_MAX:,} bytes; {HEADERS_MAX} headers"),
        ],
    )


GENERATED: list[tuple[str, Callable[[], str]]] = [("routes", routes), ("problems", problems), ("limits", limits)]


def _filled(text: str, name: str, table: str) -> str:
    pattern = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda found: f"{found[1]}\n{table}\n\n{found[2]}", text, count=1, flags=re.DOTALL)


@pytest.mark.parametrize(("name", "table"), GENERATED, ids=[row[0] for row in GENERATED])
def test_table_in_the_page_is_that_of_the_code(name: str, table: Callable[[], str]) -> None:
    text = PAGE.read_text()
    assert table() in text
    assert text == _filled(text, name, table())


def test_times_of_the_cache_are_those_of_the_code() -> None:
    text = PAGE.read_text()
    assert (STREAM_TTL_S, PREPARE_TTL_S) == (24 * 3_600, 5 * 60)
    assert "| `audio:stream:<script>:<quality>` | 24 h |" in text
    assert "| `audio:prepare:<script>:status` | 5 min |" in text


if __name__ == "__main__":
    page = PAGE.read_text()
    for heading, make in GENERATED:
        page = _filled(page, heading, make())
    PAGE.write_text(page)
